// Reads the calls that every DRM driver has, and those of the CPU's mappings.
#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <system_error>
#include <vector>

#include "src/trace/known_calls.hpp"
#include "src/trace/shared_fields.hpp"

namespace granule::trace {
namespace {

// Flags as in Linux include/uapi/drm/drm.h.
constexpr Rule kCreateSignalled{0, 1, 1, "flags are 0 or 1: CREATE_SIGNALED"};
constexpr Rule kFdFlags{0, 3, 1, "flags are 0 to 3: 1 SYNC_FILE, 2 TIMELINE"};
constexpr Rule kWaitFlags{0, 15, 1, "flags are 0 to 15: 1 ALL, 2 FOR_SUBMIT, 4 AVAILABLE, 8 DEADLINE"};
constexpr std::string_view kPointText = "a point is [syncobj, point]";

// "1.9"
bool parse_version(std::string_view text, std::uint32_t& version_major, std::uint32_t& version_minor) {
    const char* const end = text.data() + text.size();
    const auto [dot, major_error] = std::from_chars(text.data(), end, version_major);
    if (major_error != std::errc{} || dot == end || *dot != '.') {
        return false;
    }
    const auto [rest, minor_error] = std::from_chars(dot + 1, end, version_minor);
    return minor_error == std::errc{} && rest == end;
}

SyncPoint sync_point(Fields& fields, std::string_view key) {
    std::array<std::uint64_t, 2> pair{};
    fields.integers(key, pair, kPointText);
    if (!kHandle.holds(pair[0])) {
        fields.reject(key, kPointText);
    }
    return {handle_of<SyncobjHandle>(pair[0]), pair[1]};
}

void sync_points(Fields& fields, std::vector<SyncPoint>& out) {
    fields.each("w", kPointText, [&](std::size_t index, simdjson::dom::element value) {
        std::array<std::uint64_t, 2> pair{};
        if (!Fields::to_integers(value, pair) || !kHandle.holds(pair[0])) {
            fields.reject_element("w", index, value, kPointText);
            return;
        }
        out.push_back({handle_of<SyncobjHandle>(pair[0]), pair[1]});
    });
}

void read(Fields& fields, const Call& call, cpu::Mmap& out) {
    constexpr std::string_view kWhat = "one of \"h\", a handle, and \"mmio\":1 says what is mapped";
    if (fields.has("mmio") == fields.has("h") || (fields.has("mmio") && !fields.boolean("mmio"))) {
        fields.note("cpu.mmap of " + std::string(fields.has("h") ? "two things" : "nothing"), kWhat);
    } else if (fields.has("h")) {
        out.bo = fields.handle<GemHandle>("h");
    }
    out.bytes = fields.integer("len", kAnyBytes);
    out.protection = fields.u32("prot");
    out.map = fields.new_handle<CpuMapId>("m", call.result);
}

void read(Fields& fields, const Call& /*call*/, cpu::Munmap& out) {
    out.map = fields.handle<CpuMapId>("m");
    out.bytes = fields.integer("len", kAnyBytes);
}

void read(Fields& fields, const Call& /*call*/, drm::Open& out) {
    constexpr std::string_view kDrivers = "\"panthor\" or \"panfrost\"";
    constexpr std::string_view kVersion = "a version such as \"1.9\"";
    const std::string_view driver = fields.string("drv", kDrivers);
    if (driver != "panthor" && driver != "panfrost") {
        fields.reject("drv", kDrivers);
    }
    out.driver = driver == "panthor" ? Driver::kPanthor : Driver::kPanfrost;
    if (!parse_version(fields.string("ver", kVersion), out.version_major, out.version_minor)) {
        fields.reject("ver", kVersion);
    }
}

void read(Fields& fields, const Call& /*call*/, drm::CloseFd& out) {
    out.left = fields.u32("left");
}

void read(Fields& fields, const Call& /*call*/, drm::GemClose& out) {
    out.bo = fields.handle<GemHandle>("h");
}

void read(Fields& fields, const Call& call, drm::PrimeExport& out) {
    out.bo = fields.handle<GemHandle>("h");
    out.fd = call.result < 0 ? -1 : static_cast<std::int32_t>(fields.integer("fd", kFd));
}

void read(Fields& fields, const Call& call, drm::PrimeImport& out) {
    out.fd = static_cast<std::int32_t>(fields.integer("fd", kFd));
    out.bytes = call.result < 0 ? 0 : fields.integer("size", kBoBytes);
    out.own = fields.integer_or("own", kBoolean, 0) != 0;
    out.bo = fields.new_handle<GemHandle>("h", call.result);
}

void read(Fields& fields, const Call& call, drm::SyncobjCreate& out) {
    out.signalled = fields.integer("flags", kCreateSignalled) != 0;
    out.syncobj = fields.new_handle<SyncobjHandle>("s", call.result);
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjDestroy& out) {
    out.syncobj = fields.handle<SyncobjHandle>("s");
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjReset& out) {
    out.count = fields.u32("n");
    out.first = fields.handle<SyncobjHandle>("s");
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjSignal& out) {
    out.at.syncobj = fields.handle<SyncobjHandle>("s");
    out.at.point = fields.integer_or("pt", kAnyU64, 0);
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjTransfer& out) {
    out.from = sync_point(fields, "src");
    out.to = sync_point(fields, "dst");
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjWait& out) {
    const std::uint64_t flags = fields.integer("fl", kWaitFlags);
    out.all = (flags & 1U) != 0;
    out.for_submit = (flags & 2U) != 0;
    out.only_available = (flags & 4U) != 0;
    out.poll = fields.boolean("poll");
    sync_points(fields, out.points);
}

void read(Fields& fields, const Call& /*call*/, drm::SyncobjToFd& out) {
    out.syncobj = fields.handle<SyncobjHandle>("s");
    out.sync_file = (fields.integer("flags", kFdFlags) & 1U) != 0;
}

void read(Fields& fields, const Call& call, drm::FdToSyncobj& out) {
    out.sync_file = (fields.integer("flags", kFdFlags) & 1U) != 0;
    // A sync file goes into a syncobj that is there; anything else becomes a new one.
    out.syncobj =
        out.sync_file ? fields.handle<SyncobjHandle>("s") : fields.new_handle<SyncobjHandle>("s", call.result);
}

template <class Kind>
void read_as(Fields& fields, Call& call) {
    read(fields, call, call.what.emplace<Kind>());
}

void read_timeline_wait(Fields& fields, Call& call) {
    auto& wait = call.what.emplace<drm::SyncobjWait>();
    wait.timeline = true;
    read(fields, call, wait);
}

constexpr std::array kCalls = std::to_array<KnownCall>({
    {"cpu.mmap", &read_as<cpu::Mmap>},
    {"cpu.munmap", &read_as<cpu::Munmap>},
    {"drm.close_fd", &read_as<drm::CloseFd>},
    {"drm.fd_to_syncobj", &read_as<drm::FdToSyncobj>},
    {"drm.gem_close", &read_as<drm::GemClose>},
    {"drm.open", &read_as<drm::Open>},
    {"drm.prime_export", &read_as<drm::PrimeExport>},
    {"drm.prime_import", &read_as<drm::PrimeImport>},
    {"drm.syncobj_create", &read_as<drm::SyncobjCreate>},
    {"drm.syncobj_destroy", &read_as<drm::SyncobjDestroy>},
    {"drm.syncobj_eventfd", &read_other},
    {"drm.syncobj_query", &read_other},
    {"drm.syncobj_reset", &read_as<drm::SyncobjReset>},
    {"drm.syncobj_signal", &read_as<drm::SyncobjSignal>},
    {"drm.syncobj_timeline_signal", &read_as<drm::SyncobjSignal>},
    {"drm.syncobj_timeline_wait", &read_timeline_wait},
    {"drm.syncobj_to_fd", &read_as<drm::SyncobjToFd>},
    {"drm.syncobj_transfer", &read_as<drm::SyncobjTransfer>},
    {"drm.syncobj_wait", &read_as<drm::SyncobjWait>},
});
static_assert(std::is_sorted(kCalls.begin(), kCalls.end(), by_name));

}  // namespace

std::span<const KnownCall> cpu_and_drm_calls() noexcept {
    return kCalls;
}

}  // namespace granule::trace
