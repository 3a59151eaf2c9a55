#include "src/c_api/error.hpp"

#include "src/c_api/convert.hpp"

namespace granule::c_api {
namespace {

granule_error empty_error(Status status, std::uint32_t op) noexcept {
    granule_error error{};
    error.struct_size = sizeof(error);
    error.status = static_cast<std::int32_t>(status);
    error.op = op;
    return error;
}

// Text that says nothing is none.
const char* text_or_null(const char* text) noexcept {
    return text == nullptr || *text == '\0' ? nullptr : text;
}

}  // namespace

granule_status ErrorOut::from(const granule_error& error) const noexcept {
    if (to_ != nullptr && unusable() == nullptr) {
        write_struct(to_, error);
    }
    return static_cast<granule_status>(error.status);
}

granule_status ErrorOut::bad(const char* why, std::uint32_t op) const noexcept {
    return fail(Status::kBadArgument, why, op);
}

granule_status ErrorOut::fail(Status status, const char* why, std::uint32_t op) const noexcept {
    granule_error error = empty_error(status, op);
    error.why = text_or_null(why);
    return from(error);
}

granule_status ErrorOut::from(const OsError& failure) const noexcept {
    granule_error error = empty_error(failure.status, GRANULE_NO_OP);
    error.call = text_or_null(failure.call);
    error.os_error = failure.error;
    return from(error);
}

granule_status ErrorOut::from(const VaError& failure, const granule_range& request, std::uint32_t op) const noexcept {
    granule_error error = empty_error(status_of(failure.code), op);
    error.why = failure.code == VaError::Code::kNotAllocated ? "this range is not reserved" : text_or_null(failure.why);
    error.request = request;
    error.occupant = to_c(failure.occupant);
    error.largest_hole = failure.largest_hole;
    error.behind_fences = failure.behind_fences;
    return from(error);
}

granule_error to_error(const BindError& failure, std::uint32_t op, bool vm_usable) noexcept {
    granule_error error = empty_error(failure.status, op);
    error.os_error = failure.error;
    error.vm_lost = !vm_usable ? 1 : 0;
    error.partly_done = vm_usable && !failure.undone ? 1 : 0;
    const PlanError& plan = failure.plan;
    error.request = to_c(plan.request);
    if (failure.status == Status::kGranuleCut) {
        error.granule = to_c(plan.granule);
        error.leaf_size = bytes_of(plan.leaf);
        error.mapping = to_c(plan.mapping.va);
        error.bo_id = static_cast<std::uint32_t>(plan.mapping.shows.bo);
        error.bo_offset = plan.mapping.shows.offset.raw();
        copy_text(error.label, failure.label.view());
    } else if (failure.status == Status::kBadArgument || failure.status == Status::kOutOfRange) {
        error.why = text_or_null(to_string(plan.code));
    }
    return error;
}

granule_status ErrorOut::from(const BindError& error, std::uint32_t op, bool vm_usable) const noexcept {
    return from(to_error(error, op, vm_usable));
}

}  // namespace granule::c_api
