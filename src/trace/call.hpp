// One call of a memory-traffic trace, typed: what a program asked of DRM, or of mmap, and what came back.
//
// One struct for each kind of call, in a namespace named as the call's prefix and under the call's own name:
// `panthor.vm_bind` is `panthor::VmBind`. The format is described in tests/traces/README.md.
//
// What a Call promises, whoever made it with `Reader`:
// - every number is within the width of its field in the kernel's uAPI, every VA range within [0, 2^48] and, where a
//   page table is concerned, in whole 4 KiB pages; every bo offset + size is below 2^64.
// - what the kernel hands out (handles, ids) is 0 where the call failed (`result` < 0).
// What it does not promise: that a handle or VM exists, or that a call makes sense after the calls before it. Handles
// and VM ids count for each open file of each process: (process, file, handle) names a thing.
//
// Thread-safety: values. They own what they hold and outlive the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule::trace {

// Names that a kernel gives, for one open file. 0 is none.
enum class GemHandle : std::uint32_t {};
enum class VmId : std::uint32_t {};
enum class SyncobjHandle : std::uint32_t {};
enum class GroupHandle : std::uint32_t {};
enum class TilerHeapHandle : std::uint32_t {};
// A CPU mapping, numbered by the recorder, for one process.
enum class CpuMapId : std::uint32_t {};

// A point of a timeline syncobj; point 0 of a binary one.
struct SyncPoint {
    SyncobjHandle syncobj{};
    std::uint64_t point = 0;

    bool operator==(const SyncPoint&) const noexcept = default;
};

// What an operation waits for before it runs, or signals after it did.
struct SyncOp {
    bool signal = false;
    bool timeline = false;
    SyncPoint at;

    bool operator==(const SyncOp&) const noexcept = default;
};

// A run of a call's `syncs`: all syncs of a call are kept in one vector, so that an operation without costs nothing.
struct SyncRun {
    std::size_t first = 0;
    std::size_t count = 0;

    bool operator==(const SyncRun&) const noexcept = default;
};

// A cache operation on a part of a BO that the CPU has mapped.
struct CacheOp {
    GemHandle bo{};
    bool invalidate = false;  // besides flushing
    BoOffset offset;
    std::uint64_t bytes = 0;

    bool operator==(const CacheOp&) const noexcept = default;
};

enum class Driver : std::uint8_t { kPanthor, kPanfrost };

[[nodiscard]] constexpr const char* to_string(Driver driver) noexcept {
    return driver == Driver::kPanthor ? "panthor" : "panfrost";
}

namespace cpu {

struct Mmap {
    std::optional<GemHandle> bo;  // nullopt: the device's register page
    std::uint64_t bytes = 0;
    std::uint32_t protection = 0;  // PROT_* of mmap
    CpuMapId map{};
};
struct Munmap {
    CpuMapId map{};
    std::uint64_t bytes = 0;
};

}  // namespace cpu

namespace drm {

struct Open {
    Driver driver = Driver::kPanthor;
    std::uint32_t version_major = 0;
    std::uint32_t version_minor = 0;
};
struct CloseFd {
    std::uint32_t left = 0;  // other descriptors of the same open file; 0: the file is gone, and all that it held
};
struct GemClose {
    GemHandle bo{};
};
struct PrimeExport {
    GemHandle bo{};
    std::int32_t fd = -1;  // means something within its line only
};
struct PrimeImport {
    std::int32_t fd = -1;
    std::uint64_t bytes = 0;
    bool own = false;  // the file had this BO already: the same handle came back
    GemHandle bo{};
};
struct SyncobjCreate {
    bool signalled = false;
    SyncobjHandle syncobj{};
};
struct SyncobjDestroy {
    SyncobjHandle syncobj{};
};
struct SyncobjReset {
    SyncobjHandle first{};
    std::uint32_t count = 0;  // syncobjs that the call reset; the trace names the first
};
struct SyncobjSignal {
    SyncPoint at;
};
struct SyncobjTransfer {
    SyncPoint from;
    SyncPoint to;
};
struct SyncobjWait {
    bool timeline = false;
    bool all = false;         // DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL: of the points, otherwise any
    bool for_submit = false;  // DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT: also for points without a fence yet
    bool only_available =
        false;          // DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE: until the fence is there, not until it signals
    bool poll = false;  // a look without waiting
    std::vector<SyncPoint> points;
};
struct SyncobjToFd {
    SyncobjHandle syncobj{};
    bool sync_file = false;  // the fence in it, not the syncobj itself
};
struct FdToSyncobj {
    SyncobjHandle syncobj{};
    bool sync_file = false;
};

}  // namespace drm

namespace panthor {

struct VmCreate {
    std::uint64_t user_va_bytes = 0;  // 0: the kernel's choice
    VmId vm{};
};
struct VmDestroy {
    VmId vm{};
};
struct VmGetState {
    VmId vm{};
    bool unusable = false;
};

enum class BindKind : std::uint8_t { kMap, kUnmap, kSync };

struct BindOp {
    BindKind kind = BindKind::kSync;
    bool sparse = false;  // map: shows no BO
    MapFlags flags;       // map
    GemHandle bo{};       // map
    VaRange va;           // map and unmap; may be empty, which a kernel skips
    BoOffset offset;      // map
    SyncRun syncs;

    bool operator==(const BindOp&) const noexcept = default;
};

struct VmBind {
    VmId vm{};
    bool async = false;
    std::vector<BindOp> ops;
    std::vector<SyncOp> syncs;

    [[nodiscard]] std::span<const SyncOp> syncs_of(const BindOp& op) const noexcept {
        return std::span(syncs).subspan(op.syncs.first, op.syncs.count);
    }
};

struct BoCreate {
    std::uint64_t asked = 0;  // bytes
    std::uint64_t bytes = 0;  // `asked` in whole pages
    bool no_mmap = false;     // DRM_PANTHOR_BO_NO_MMAP
    bool wb_mmap = false;     // DRM_PANTHOR_BO_WB_MMAP
    VmId exclusive{};         // the only VM that may bind it; 0: any
    GemHandle bo{};
};
struct BoMmapOffset {
    GemHandle bo{};
};
struct BoSetLabel {
    GemHandle bo{};
    std::string label;
};
struct BoSync {
    std::vector<CacheOp> ops;
};
struct GroupCreate {
    VmId vm{};
    GroupHandle group{};
};
struct GroupDestroy {
    GroupHandle group{};
};

// Work for one queue of a group. Without a stream (0 bytes) it only waits and signals.
struct QueueSubmit {
    std::uint32_t queue = 0;
    VaRange stream;  // not page aligned
    SyncRun syncs;

    bool operator==(const QueueSubmit&) const noexcept = default;
};
struct GroupSubmit {
    GroupHandle group{};
    std::vector<QueueSubmit> queues;
    std::vector<SyncOp> syncs;

    [[nodiscard]] std::span<const SyncOp> syncs_of(const QueueSubmit& queue) const noexcept {
        return std::span(syncs).subspan(queue.syncs.first, queue.syncs.count);
    }
};
struct TilerHeapCreate {
    VmId vm{};
    std::uint32_t initial_chunks = 0;
    std::uint32_t max_chunks = 0;
    std::uint64_t chunk_bytes = 0;
    TilerHeapHandle heap{};
};
struct TilerHeapDestroy {
    TilerHeapHandle heap{};
};

}  // namespace panthor

namespace panfrost {

struct CreateBo {
    std::uint64_t asked = 0;  // bytes
    std::uint64_t bytes = 0;  // `asked` in whole pages
    bool noexec = false;      // PANFROST_BO_NOEXEC
    bool heap = false;        // PANFROST_BO_HEAP: grows when the GPU faults on it
    bool wb_mmap = false;     // PANFROST_BO_WB_MMAP
    GemHandle bo{};
    VaRange va;  // where the recorder's stand-in kernel mapped it, for as long as the handle lives
};
struct SetLabelBo {
    GemHandle bo{};
    std::string label;
};
struct Madvise {
    GemHandle bo{};
    bool dont_need = false;
    bool retained = false;  // the contents were still there
};
struct MmapBo {
    GemHandle bo{};
};
struct SyncBo {
    std::vector<CacheOp> ops;
};
struct Submit {
    std::vector<GemHandle> bos;        // all that the job uses
    std::vector<SyncobjHandle> waits;  // before it runs
    SyncobjHandle signals{};           // after it did; 0: none
};
struct WaitBo {
    GemHandle bo{};
    std::int64_t timeout_ns = 0;
};

}  // namespace panfrost

// A call that does nothing to memory: queries, states. `Call::name` says which.
struct OtherCall {};

using What = std::variant<OtherCall, cpu::Mmap, cpu::Munmap, drm::Open, drm::CloseFd, drm::GemClose, drm::PrimeExport,
                          drm::PrimeImport, drm::SyncobjCreate, drm::SyncobjDestroy, drm::SyncobjReset,
                          drm::SyncobjSignal, drm::SyncobjTransfer, drm::SyncobjWait, drm::SyncobjToFd,
                          drm::FdToSyncobj, panthor::VmCreate, panthor::VmDestroy, panthor::VmGetState, panthor::VmBind,
                          panthor::BoCreate, panthor::BoMmapOffset, panthor::BoSetLabel, panthor::BoSync,
                          panthor::GroupCreate, panthor::GroupDestroy, panthor::GroupSubmit, panthor::TilerHeapCreate,
                          panthor::TilerHeapDestroy, panfrost::CreateBo, panfrost::SetLabelBo, panfrost::Madvise,
                          panfrost::MmapBo, panfrost::SyncBo, panfrost::Submit, panfrost::WaitBo>;

struct Call {
    std::uint64_t line = 0;     // in the file, from 1
    std::uint64_t time_us = 0;  // since the process started; threads may disagree on the order
    std::uint32_t process = 0;
    std::uint32_t thread = 0;
    std::uint32_t file = 0;   // number of the open DRM file; 0: none
    std::int32_t result = 0;  // 0 or a negative errno
    std::string_view name;    // "panthor.vm_bind"; lives as long as the program
    What what;
};

// The first line of a trace: how it came about.
struct Meta {
    std::string name;
    std::string gpu;          // "Mali-G610 (0xa867, panthor)"
    std::string mesa;         // "26.2.6"
    std::string kernel_uapi;  // "panthor 1.9"
    std::string host;         // "amd64 native"; empty where unknown
    std::uint32_t processes = 1;
};

}  // namespace granule::trace
