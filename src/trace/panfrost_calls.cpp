// Reads the calls of the panfrost driver.
#include <algorithm>
#include <array>
#include <vector>

#include "src/trace/known_calls.hpp"
#include "src/trace/shared_fields.hpp"

namespace granule::trace {
namespace {

// Flags as in Linux include/uapi/drm/panfrost_drm.h.
constexpr Rule kBoFlags{0, 7, 1, "flags are 0 to 7: 1 NOEXEC, 2 HEAP, 4 WB_MMAP"};

template <class Handle>
void handles(Fields& fields, std::string_view key, std::vector<Handle>& out) {
    fields.each(key, kHandle.text, [&](std::size_t index, simdjson::dom::element value) {
        std::uint64_t number = 0;
        if (value.get(number) != simdjson::SUCCESS || !kHandle.holds(number)) {
            fields.reject_element(key, index, value, kHandle.text);
            return;
        }
        out.push_back(handle_of<Handle>(number));
    });
}

void read(Fields& fields, const Call& call, panfrost::CreateBo& out) {
    out.asked = fields.integer("req", kAnyBytes);
    const std::uint64_t flags = fields.integer("flags", kBoFlags);
    out.noexec = (flags & 1U) != 0;
    out.heap = (flags & 2U) != 0;
    out.wb_mmap = (flags & 4U) != 0;
    if (call.result == 0) {
        out.va = fields.va_range("size", kVa, kBoBytes);
        out.bytes = out.va.size();
    }
    out.bo = fields.new_handle<GemHandle>("h", call.result);
}

void read(Fields& fields, const Call& /*call*/, panfrost::SetLabelBo& out) {
    out.bo = fields.handle<GemHandle>("h");
    out.label = label(fields);
}

void read(Fields& fields, const Call& call, panfrost::Madvise& out) {
    out.bo = fields.handle<GemHandle>("h");
    out.dont_need = fields.boolean("madv");
    out.retained = call.result == 0 && fields.boolean("retained");
}

void read(Fields& fields, const Call& /*call*/, panfrost::MmapBo& out) {
    out.bo = fields.handle<GemHandle>("h");
}

void read(Fields& fields, const Call& /*call*/, panfrost::SyncBo& out) {
    cache_ops(fields, out.ops);
}

void read(Fields& fields, const Call& /*call*/, panfrost::Submit& out) {
    handles(fields, "bos", out.bos);
    handles(fields, "in", out.waits);
    out.signals = fields.handle<SyncobjHandle>("out");
}

void read(Fields& fields, const Call& /*call*/, panfrost::WaitBo& out) {
    out.bo = fields.handle<GemHandle>("h");
    out.timeout_ns = fields.signed_integer("timeout", INT64_MIN, INT64_MAX, "nanoseconds: a signed 64-bit integer");
}

template <class Kind>
void read_as(Fields& fields, Call& call) {
    read(fields, call, call.what.emplace<Kind>());
}

constexpr std::array kCalls = std::to_array<KnownCall>({
    {"panfrost.create_bo", &read_as<panfrost::CreateBo>},
    {"panfrost.get_bo_offset", &read_other},
    {"panfrost.get_param", &read_other},
    {"panfrost.jm_ctx_create", &read_other},
    {"panfrost.jm_ctx_destroy", &read_other},
    {"panfrost.madvise", &read_as<panfrost::Madvise>},
    {"panfrost.mmap_bo", &read_as<panfrost::MmapBo>},
    {"panfrost.perfcnt_dump", &read_other},
    {"panfrost.perfcnt_enable", &read_other},
    {"panfrost.query_bo_info", &read_other},
    {"panfrost.set_label_bo", &read_as<panfrost::SetLabelBo>},
    {"panfrost.submit", &read_as<panfrost::Submit>},
    {"panfrost.sync_bo", &read_as<panfrost::SyncBo>},
    {"panfrost.wait_bo", &read_as<panfrost::WaitBo>},
});
static_assert(std::is_sorted(kCalls.begin(), kCalls.end(), by_name));

}  // namespace

std::span<const KnownCall> panfrost_calls() noexcept {
    return kCalls;
}

}  // namespace granule::trace
