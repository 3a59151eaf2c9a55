// granule's results as exceptions: the programs here end at the first failure, with its text.
#pragma once

#include <granule/granule.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace rendering {

// The value of `result`; throws what failed, and why, where there is none.
template <class T>
T checked(granule::Result<T> result, const std::string& what) {
    if (!result) {
        throw std::runtime_error(what + ": " + result.error().text());
    }
    return std::move(*result);
}

inline void check(granule_status status, const std::string& what) {
    if (status != GRANULE_STATUS_OK) {
        throw std::runtime_error(what + ": " + granule_status_text(status));
    }
}

}  // namespace rendering
