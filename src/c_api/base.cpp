// base.h: what needs no device.
#include <granule/base.h>

#include <string_view>

#include "src/c_api/convert.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/text.hpp"
#include "src/status.hpp"

namespace {

using granule::c_api::TextWriter;

const char* status_text(std::uint32_t number) {
    return number < granule::c_api::kStatuses ? granule::to_string(static_cast<granule::Status>(number))
                                              : "unknown status";
}

bool empty(const granule_range& range) {
    return range.start == range.end;
}

void write_cut(TextWriter& out, const granule_error& error) {
    out.text("granule ").range(error.granule).text(" of ").bytes(error.leaf_size).text(", ");
    out.bo(error.bo_id, granule::c_api::text_in(error.label));
    out.text(", would be cut by the bind of ").range(error.request);
    out.text(": use GRANULE_CUT_SPLIT, or map it with GRANULE_LEAVES_PAGES");
}

void write_occupied(TextWriter& out, const granule_error& error) {
    out.text(status_text(GRANULE_STATUS_VA_OCCUPIED));
    out.text(": ").range(error.request).text(" overlaps ").range(error.occupant);
}

void write_out_of_va(TextWriter& out, const granule_error& error) {
    out.text(status_text(GRANULE_STATUS_OUT_OF_VA));
    out.text(": the largest hole has ").bytes(error.largest_hole);
    if (error.behind_fences != 0) {
        out.text(", and ").bytes(error.behind_fences).text(" wait for fences");
    }
}

void write_other(TextWriter& out, const granule_error& error) {
    out.text(status_text(static_cast<std::uint32_t>(error.status)));
    if (error.why != nullptr) {
        out.text(": ").text(error.why);
    }
    if (!empty(error.request)) {
        out.text(", at ").range(error.request);
    }
    if (!empty(error.occupant)) {
        out.text("; what is there is ").range(error.occupant);
    }
    if (error.call != nullptr) {
        out.text(": ").text(error.call);
    }
    if (error.os_error != 0) {
        out.text(": ").os_error(error.os_error);
    }
}

}  // namespace

const char* granule_status_text(granule_status status) {
    return status_text(granule::c_api::number_of(status));
}

size_t granule_error_text(const granule_error* error, char* text, size_t size) {
    TextWriter out(text, size);
    granule_error ours{};
    if (error == nullptr || granule::c_api::read_struct(error, ours) != nullptr) {
        return out.finish();
    }
    if (ours.op != GRANULE_NO_OP) {
        out.text("operation ").number(ours.op).text(": ");
    }
    switch (ours.status) {
        case GRANULE_STATUS_GRANULE_CUT:
            write_cut(out, ours);
            break;
        case GRANULE_STATUS_VA_OCCUPIED:
            write_occupied(out, ours);
            break;
        case GRANULE_STATUS_OUT_OF_VA:
            write_out_of_va(out, ours);
            break;
        default:
            write_other(out, ours);
    }
    if (ours.vm_lost != 0) {
        out.text("; the VM is lost: granule_vm_rebuild() brings it back");
    }
    if (ours.partly_done != 0) {
        out.text("; what was done before stays done");
    }
    return out.finish();
}

uint32_t granule_version(void) {
    return (std::uint32_t{GRANULE_VERSION_MAJOR} << 16) | (std::uint32_t{GRANULE_VERSION_MINOR} << 8) |
           std::uint32_t{GRANULE_VERSION_PATCH};
}
