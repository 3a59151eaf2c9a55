// Reads the calls of the panthor driver.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "src/trace/known_calls.hpp"
#include "src/trace/shared_fields.hpp"

namespace granule::trace {
namespace {

constexpr Rule kVaSpaceBytes{0, kMaxVaEnd, 1, "sizes of VA spaces are integers from 0 to 2^48"};
constexpr Rule kStreamVa{0, kMaxVaEnd, 1, "addresses are integers from 0 to 2^48"};
constexpr Rule kStreamBytes{0, UINT32_MAX, 1, "sizes of streams are integers from 0 to 4294967295"};
// Flags as in Linux include/uapi/drm/panthor_drm.h.
constexpr Rule kBoFlags{0, 3, 1, "flags are 0 to 3: 1 NO_MMAP, 2 WB_MMAP"};
constexpr std::string_view kSyncText =
    "a sync is [\"wt\" or \"st\", syncobj, point], or [\"wb\" or \"sb\", syncobj, 0]";

// ["wt", syncobj, point]: wait for or signal a timeline or binary syncobj.
std::optional<SyncOp> sync_op(simdjson::dom::element value) {
    simdjson::dom::array parts;
    if (value.get(parts) != simdjson::SUCCESS || parts.size() != 3) {
        return std::nullopt;
    }
    std::string_view kind;
    std::uint64_t syncobj = 0;
    std::uint64_t point = 0;
    auto part = parts.begin();
    const bool read = (*part).get(kind) == simdjson::SUCCESS && (*++part).get(syncobj) == simdjson::SUCCESS &&
                      (*++part).get(point) == simdjson::SUCCESS;
    if (!read || !kHandle.holds(syncobj) || kind.size() != 2) {
        return std::nullopt;
    }
    const bool signal = kind[0] == 's';
    const bool timeline = kind[1] == 't';
    if ((!signal && kind[0] != 'w') || (!timeline && kind[1] != 'b') || (!timeline && point != 0)) {
        return std::nullopt;
    }
    return SyncOp{signal, timeline, {handle_of<SyncobjHandle>(syncobj), point}};
}

// Adds the array "syncs" to `pool`.
SyncRun syncs(Fields& fields, std::vector<SyncOp>& pool) {
    const std::size_t first = pool.size();
    fields.each("syncs", kSyncText, [&](std::size_t index, simdjson::dom::element value) {
        if (const std::optional<SyncOp> sync = sync_op(value)) {
            pool.push_back(*sync);
        } else {
            fields.reject_element("syncs", index, value, kSyncText);
        }
    });
    return {first, pool.size() - first};
}

SyncRun syncs_if_any(Fields& fields, std::vector<SyncOp>& pool) {
    return fields.has("syncs") ? syncs(fields, pool) : SyncRun{pool.size(), 0};
}

void read(Fields& fields, const Call& call, panthor::VmCreate& out) {
    out.user_va_bytes = fields.integer("user_va_range", kVaSpaceBytes);
    out.vm = fields.new_handle<VmId>("vm", call.result);
}

void read(Fields& fields, const Call& /*call*/, panthor::VmDestroy& out) {
    out.vm = fields.handle<VmId>("vm");
}

void read(Fields& fields, const Call& call, panthor::VmGetState& out) {
    out.vm = fields.handle<VmId>("vm");
    out.unusable = call.result == 0 && fields.boolean("state");
}

// The letters of "fl".
void map_flags(Fields& fields, panthor::BindOp& op) {
    constexpr std::string_view kText = "letters of R readonly, N noexec, U uncached, S sparse, each at most once";
    const auto once = [](bool& flag) { return !std::exchange(flag, true); };
    for (const char letter : fields.string("fl", kText)) {
        const bool known = (letter == 'R' && once(op.flags.readonly)) || (letter == 'N' && once(op.flags.noexec)) ||
                           (letter == 'U' && once(op.flags.uncached)) || (letter == 'S' && once(op.sparse));
        if (!known) {
            fields.reject("fl", kText);
            return;
        }
    }
}

panthor::BindOp bind_op(Fields& fields, std::vector<SyncOp>& pool) {
    constexpr std::string_view kKinds = "\"map\", \"unmap\" or \"sync\"";
    panthor::BindOp op;
    const std::string_view kind = fields.string("op", kKinds);
    if (kind == "sync") {
        op.kind = panthor::BindKind::kSync;
        op.syncs = syncs(fields, pool);
        return op;
    }
    if (kind != "map" && kind != "unmap") {
        fields.reject("op", kKinds);
        return op;
    }
    op.va = fields.va_range("size", kVa, kSize);
    op.syncs = syncs_if_any(fields, pool);
    if (kind == "unmap") {
        op.kind = panthor::BindKind::kUnmap;
        return op;
    }
    op.kind = panthor::BindKind::kMap;
    map_flags(fields, op);
    op.bo = fields.handle<GemHandle>("h");
    op.offset = BoOffset{fields.integer("off", kBoOffset)};
    if (op.sparse != (op.bo == GemHandle{})) {
        fields.reject("h", op.sparse ? "a sparse map (S) has no BO: 0" : "a map without S has a BO: a handle from 1");
    }
    if (op.sparse && op.offset != BoOffset{}) {
        fields.reject("off", "a sparse map (S) has no BO: 0");
    }
    if (!checked_add(op.offset.raw(), op.va.size())) {
        fields.reject("off", "offset + size is below 2^64");
    }
    return op;
}

void read(Fields& fields, const Call& /*call*/, panthor::VmBind& out) {
    out.vm = fields.handle<VmId>("vm");
    out.async = fields.boolean("async");
    constexpr std::string_view kText = "operations are objects: {\"op\":...}";
    fields.each("ops", kText, [&](std::size_t index, simdjson::dom::element value) {
        simdjson::dom::object object;
        if (value.get(object) != simdjson::SUCCESS) {
            fields.reject_element("ops", index, value, kText);
            return;
        }
        Fields op = fields.nested(object, "op", index);
        out.ops.push_back(bind_op(op, out.syncs));
    });
}

void read(Fields& fields, const Call& call, panthor::BoCreate& out) {
    out.asked = fields.integer("req", kAnyBytes);
    out.bytes = call.result < 0 ? 0 : fields.integer("size", kBoBytes);
    const std::uint64_t flags = fields.integer("flags", kBoFlags);
    out.no_mmap = (flags & 1U) != 0;
    out.wb_mmap = (flags & 2U) != 0;
    out.exclusive = fields.handle<VmId>("vm");
    out.bo = fields.new_handle<GemHandle>("h", call.result);
}

void read(Fields& fields, const Call& /*call*/, panthor::BoMmapOffset& out) {
    out.bo = fields.handle<GemHandle>("h");
}

void read(Fields& fields, const Call& /*call*/, panthor::BoSetLabel& out) {
    out.bo = fields.handle<GemHandle>("h");
    out.label = label(fields);
}

void read(Fields& fields, const Call& /*call*/, panthor::BoSync& out) {
    cache_ops(fields, out.ops);
}

void read(Fields& fields, const Call& call, panthor::GroupCreate& out) {
    out.vm = fields.handle<VmId>("vm");
    out.group = fields.new_handle<GroupHandle>("g", call.result);
}

void read(Fields& fields, const Call& /*call*/, panthor::GroupDestroy& out) {
    out.group = fields.handle<GroupHandle>("g");
}

void read(Fields& fields, const Call& /*call*/, panthor::GroupSubmit& out) {
    out.group = fields.handle<GroupHandle>("g");
    constexpr std::string_view kText = "queue submits are objects: {\"i\":...}";
    fields.each("q", kText, [&](std::size_t index, simdjson::dom::element value) {
        simdjson::dom::object object;
        if (value.get(object) != simdjson::SUCCESS) {
            fields.reject_element("q", index, value, kText);
            return;
        }
        Fields submit = fields.nested(object, "q", index);
        out.queues.push_back(
            {submit.u32("i"), submit.va_range("size", kStreamVa, kStreamBytes), syncs_if_any(submit, out.syncs)});
    });
}

void read(Fields& fields, const Call& call, panthor::TilerHeapCreate& out) {
    out.vm = fields.handle<VmId>("vm");
    out.initial_chunks = fields.u32("init");
    out.max_chunks = fields.u32("max");
    out.chunk_bytes = fields.u32("chunk");
    out.heap = fields.new_handle<TilerHeapHandle>("h", call.result);
}

void read(Fields& fields, const Call& /*call*/, panthor::TilerHeapDestroy& out) {
    out.heap = fields.handle<TilerHeapHandle>("h");
}

template <class Kind>
void read_as(Fields& fields, Call& call) {
    read(fields, call, call.what.emplace<Kind>());
}

constexpr std::array kCalls = std::to_array<KnownCall>({
    {"panthor.bo_create", &read_as<panthor::BoCreate>},
    {"panthor.bo_mmap_offset", &read_as<panthor::BoMmapOffset>},
    {"panthor.bo_query_info", &read_other},
    {"panthor.bo_set_label", &read_as<panthor::BoSetLabel>},
    {"panthor.bo_sync", &read_as<panthor::BoSync>},
    {"panthor.dev_query", &read_other},
    {"panthor.group_create", &read_as<panthor::GroupCreate>},
    {"panthor.group_destroy", &read_as<panthor::GroupDestroy>},
    {"panthor.group_get_state", &read_other},
    {"panthor.group_submit", &read_as<panthor::GroupSubmit>},
    {"panthor.set_user_mmio_offset", &read_other},
    {"panthor.tiler_heap_create", &read_as<panthor::TilerHeapCreate>},
    {"panthor.tiler_heap_destroy", &read_as<panthor::TilerHeapDestroy>},
    {"panthor.vm_bind", &read_as<panthor::VmBind>},
    {"panthor.vm_create", &read_as<panthor::VmCreate>},
    {"panthor.vm_destroy", &read_as<panthor::VmDestroy>},
    {"panthor.vm_get_state", &read_as<panthor::VmGetState>},
});
static_assert(std::is_sorted(kCalls.begin(), kCalls.end(), by_name));

}  // namespace

std::span<const KnownCall> panthor_calls() noexcept {
    return kCalls;
}

}  // namespace granule::trace
