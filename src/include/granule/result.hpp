// What the C++ face is built from: results, and owners of C handles. granule.hpp says how they are used.
#ifndef GRANULE_RESULT_HPP
#define GRANULE_RESULT_HPP

#include <granule/base.h>

#include <cassert>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace granule {
// Inline, so that these names never meet those inside the static library.
inline namespace v0 {

// Why a call failed.
class [[nodiscard]] Error {
public:
    Error(granule_status status, const granule_error& detail) noexcept : status_(status), detail_(detail) {}

    [[nodiscard]] granule_status status() const noexcept { return status_; }
    [[nodiscard]] const granule_error& detail() const noexcept { return detail_; }
    // One line: what, where, and what would be right.
    [[nodiscard]] std::string text() const {
        std::string text(granule_error_text(&detail_, nullptr, 0), '\0');
        granule_error_text(&detail_, text.data(), text.size() + 1);
        return text;
    }

private:
    granule_status status_;
    granule_error detail_;
};

// A T, or why there is none.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) noexcept(std::is_nothrow_move_constructible_v<T>)  // NOLINT(google-explicit-constructor)
        : state_(std::in_place_index<0>, std::move(value)) {}
    Result(const Error& error) noexcept
        : state_(std::in_place_index<1>, error) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    // The value of a result that has one.
    [[nodiscard]] T& operator*() & noexcept { return *checked(); }
    [[nodiscard]] const T& operator*() const& noexcept { return *checked(); }
    [[nodiscard]] T&& operator*() && noexcept { return std::move(*checked()); }
    [[nodiscard]] T* operator->() noexcept { return checked(); }
    [[nodiscard]] const T* operator->() const noexcept { return checked(); }
    // The error of a result that has none.
    [[nodiscard]] const Error& error() const noexcept {
        assert(!has_value());
        return *std::get_if<1>(&state_);
    }
    [[nodiscard]] granule_status status() const noexcept { return has_value() ? GRANULE_STATUS_OK : error().status(); }

private:
    [[nodiscard]] T* checked() noexcept {
        assert(has_value());
        return std::get_if<0>(&state_);
    }
    [[nodiscard]] const T* checked() const noexcept {
        assert(has_value());
        return std::get_if<0>(&state_);
    }

    std::variant<T, Error> state_;
};

struct Done {};

namespace detail {

// Calls `function(error)`, and makes a result of what it returned.
template <class Function>
[[nodiscard]] Result<Done> call(Function&& function) {
    auto error = granule_sized<granule_error>();
    const granule_status status = function(&error);
    if (status != GRANULE_STATUS_OK) {
        error.status = status;
        return Error{status, error};
    }
    return Done{};
}

// For C functions without detail.
[[nodiscard]] inline Result<Done> plain(granule_status status) {
    return call([status](granule_error*) { return status; });
}

// A result of the value that `function(value, error)` filled in.
template <class Value, class Function>
[[nodiscard]] Result<Value> filled(Value value, Function&& function) {
    const Result<Done> done = call([&](granule_error* error) { return function(&value, error); });
    if (!done) {
        return done.error();
    }
    return Result<Value>{std::move(value)};
}

template <class Handle, auto Release>
class Owner {
public:
    Owner() noexcept = default;
    explicit Owner(Handle* handle) noexcept : handle_(handle) {}
    Owner(Owner&& other) noexcept : handle_(other.release()) {}
    Owner& operator=(Owner&& other) noexcept {
        if (this != &other) {
            reset(other.release());
        }
        return *this;
    }
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;
    ~Owner() { reset(); }

    [[nodiscard]] Handle* get() const noexcept { return handle_; }
    [[nodiscard]] Handle* release() noexcept { return std::exchange(handle_, nullptr); }
    void reset(Handle* handle = nullptr) noexcept {
        if (Handle* const old = std::exchange(handle_, handle); old != nullptr) {
            Release(old);
        }
    }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    Handle* handle_ = nullptr;
};

// As snprintf, into a string.
template <class Function>
[[nodiscard]] std::string text_of(Function&& function) {
    std::string text(function(nullptr, std::size_t{0}), '\0');
    function(text.data(), text.size() + 1);
    return text;
}

// `create(&handle, error)`, owned.
template <class Owned, class Handle, class Function>
[[nodiscard]] Result<Owned> created(Function&& create) {
    Result<Handle*> handle = filled<Handle*>(nullptr, create);
    if (!handle) {
        return handle.error();
    }
    return Owned{*handle};
}

}  // namespace detail

}  // namespace v0
}  // namespace granule

#endif
