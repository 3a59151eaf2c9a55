// How failures leave the library: a granule_status returned, and the detail in the caller's granule_error.
//
//     granule_status granule_x(granule_thing* thing, granule_error* error) {
//         const ErrorOut out(error);
//         if (const char* const why = out.unusable()) {
//             return out.bad(why);                              what every function with an `error` begins with
//         }
//         if (thing == nullptr) {
//             return out.bad("thing is NULL");                  BAD_ARGUMENT
//         }
//         const Result<void, OsError> done = thing->...;
//         return done ? GRANULE_STATUS_OK : out.from(done.error());
//     }
//
// Each member fills the caller's struct and returns its status. Success leaves it alone. Nothing is allocated.
#pragma once

#include <granule/base.h>

#include <cstdint>

#include "src/c_api/sized_struct.hpp"
#include "src/status.hpp"

namespace granule::c_api {

class ErrorOut {
public:
    // nullptr: nobody wants to know.
    explicit ErrorOut(granule_error* to) noexcept : to_(to) {}

    // Why nothing can be told through it; nullptr where it can.
    [[nodiscard]] const char* unusable() const noexcept { return to_ == nullptr ? nullptr : bad_struct(to_); }

    // BAD_ARGUMENT, and which rule was broken: static text.
    [[nodiscard]] granule_status bad(const char* why, std::uint32_t op = GRANULE_NO_OP) const noexcept;
    [[nodiscard]] granule_status fail(Status status, const char* why = nullptr,
                                      std::uint32_t op = GRANULE_NO_OP) const noexcept;
    [[nodiscard]] granule_status from(const OsError& error) const noexcept;
    // `request`: what was to be reserved or released.
    [[nodiscard]] granule_status from(const VaError& error, const granule_range& request,
                                      std::uint32_t op = GRANULE_NO_OP) const noexcept;
    // `op`: which of the caller's operations, or GRANULE_NO_OP. `vm_usable`: what is left of the VM.
    [[nodiscard]] granule_status from(const BindError& error, std::uint32_t op, bool vm_usable) const noexcept;
    // What somebody filled in already.
    [[nodiscard]] granule_status from(const granule_error& error) const noexcept;

private:
    granule_error* const to_;
};

// The same without a caller: for errors that are kept.
[[nodiscard]] granule_error to_error(const BindError& error, std::uint32_t op, bool vm_usable) noexcept;

}  // namespace granule::c_api
