// The one way a function of this project fails: a value or a typed error, never an exception.
#pragma once

#include <tl/expected.hpp>

namespace granule {

template <class T, class E>
using Result = tl::expected<T, E>;

template <class E>
[[nodiscard]] constexpr tl::unexpected<std::decay_t<E>> fail(E&& error) {
    return tl::unexpected<std::decay_t<E>>(std::forward<E>(error));
}

}  // namespace granule
