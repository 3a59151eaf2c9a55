// BOs that are used again: memory of one device, kept mapped while nobody uses it. Why it is as it is, and what it is
// worth, measured: bo_cache.md.
//
//                  acquire: an idle one of this kind and size          put                  its fences have signalled
//       idle ------------------------------------------> handed out --------> waiting -------------------------+
//        ^ |                                                 ^                   | over max_bytes               |
//        | +---> ended: max_age, max_bytes, high water,      | made: none        v                              |
//        |       shortage, evict_all, shared, purged         | was idle       retiring ---> ended               |
//        +-----------------------------------------------------------------------------------------------------+
//
// With a VM, BOs are handed out mapped in it, and keep their mapping and their CPU view while they are cached: a hit
// asks the kernel nothing. Without one they are plain BOs.
//
// Two BOs stand in for each other where all that was asked for but the size is equal (BoRequest without `made_by`,
// MapFlags, VaRequest), and the size class is: eight classes an octave, so that a BO has at most an eighth more than the
// whole pages that were asked for (bo_size_class.hpp). Larger ones than `largest_bo_bytes` are made to measure and not
// kept.
//
// Contract
//   Caps        After any call returned, what is cached (idle and waiting) is at most `max_bytes`. What the GPU still
//               uses cannot be freed: what must go all the same is retiring, counted apart, and never handed out again.
//   Idle        Only BOs that the GPU is done with are handed out: those whose fences have signalled, or, where the kernel
//               knows (panfrost), of which it says so. No others are ended either, but that this kernel is not asked
//               then: it keeps pages and mapping of a BO for the jobs that use it, whoever closes its handle.
//   P3          acquire that fails has changed nothing, but that BOs which were idle may be gone.
//   P4          put, trim and evict_all allocate nothing and cannot fail for want of anything: what a put needs was set
//               aside by the acquire. Where a kernel does not take an unmap, the BO stays retiring, and trim tries again.
//   P5          The VA of a BO that ends goes back with its fences.
//   Contents    of a BO that was used before are whatever was in it, unless `zeroed` is asked for. A cache serves one
//               device, so what a BO shows are bytes of this process, or of whoever imported them: one cache must not
//               serve clients that may not see each other's memory.
//   Shared      A BO that was exported, or that others hold or show when it is put, is not kept: our mapping of it ends
//               and our reference is released.
//   Complexity  acquire that hits, put: O(1), with O(log waiting) for a put with fences. A look at the fences: each
//               timeline is asked once. Each BO that ends: O(1) of ours.
//   Thread-safety  all members, any thread. One lock, and none is held over an ioctl, a wait, or a BO's making or end.
//   Lifetime    The device and the VM outlive it. All that was handed out is put before it ends: what was not stays its
//               holder's, with its reference and its mapping. What waits when it ends is unmapped all the same: let the
//               GPU finish first.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "allocator/fence_point.hpp"
#include "allocator/mapping.hpp"
#include "allocator/va_request.hpp"
#include "mali/result.hpp"
#include "src/bo_shelf.hpp"
#include "src/device.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"

namespace granule {

// Times are in ns of CLOCK_MONOTONIC; where a call takes `now_ns`, 0 has it read the clock.
struct BoCacheConfig {
    std::uint64_t max_bytes = std::uint64_t{256} << 20;
    // 0: none. Where a BO is made and the bytes handed out, cached and retiring together would pass this, idle ones make
    // room first: above it the cache does not add to what its user needs.
    std::uint64_t high_water_bytes = 0;
    std::uint64_t largest_bo_bytes = std::uint64_t{64} << 20;
    std::uint64_t max_age_ns = 2'000'000'000;        // idle for longer: ended by the next trim
    std::uint64_t evictable_after_ns = 500'000'000;  // idle for longer: the kernel may take its pages (panfrost)
    std::uint64_t trim_interval_ns = 100'000'000;    // acquire and put trim too, so often at most; UINT64_MAX: never
};

struct BoCacheRequest {
    BoRequest bo;    // `bytes`: so many at least. `made_by` marks the BO only where it is made for this request
    MapFlags flags;  // with a VM: how it is mapped. Where the kernel places BOs, as that does
    VaRequest va;    // with a VM: where. `size` is not looked at; `alignment` is the least: 64 KiB and 2 MiB for BOs
                     // that are as large. Where the kernel places BOs none of it counts
    // What the BO is called from now on; it is set only where it is called something else. nullopt: as before.
    std::optional<std::string_view> label;
    bool cpu_view = false;  // map it for the CPU, if it is not
    bool zeroed = false;    // costs a memset where it was used before, or a new BO where the CPU cannot see it
    // 0: not at all. Where memory ran out even with all idle BOs gone: how long to wait for those that are busy.
    std::uint64_t wait_ns = 0;  // ~0: for ever
    std::uint64_t now_ns = 0;
};

// A BO that was handed out. The reference is the holder's until `put`.
struct CachedBo {
    BoId id = kNoBo;
    Bo* bo = nullptr;
    VaRange va;                // with a VM: all of it
    std::byte* cpu = nullptr;  // its CPU view, if it has one (always with `cpu_view`)
    bool reused = false;       // false: new, and all zeroes
};

// Until when a BO that is put is busy.
enum class BoBusy : std::uint8_t {
    kUntilFences,    // all fences given have signalled; without fences it is idle
    kAsKernelKnows,  // the kernel says that no job uses it (panfrost). Costs an ioctl when it is to be used again
};

struct BoCacheStatistics {
    // Why a BO ended, or retired.
    enum class Reason : std::uint8_t {
        kAge,        // idle for `max_age_ns`
        kCap,        // `max_bytes`
        kHighWater,  // `high_water_bytes`
        kShortage,   // memory was short
        kAsked,      // evict_all
        kShared,     // others know it
        kLarge,      // above `largest_bo_bytes`
        kPurged,     // the kernel took its pages
    };
    static constexpr std::size_t kReasons = 8;

    BoShelfUsage usage;
    std::uint64_t hits = 0;
    std::uint64_t hits_without_calls = 0;         // of these: the kernel was asked nothing
    std::uint64_t misses = 0;                     // BOs made, `large` ones too
    std::uint64_t large = 0;                      // of these: above `largest_bo_bytes`
    std::uint64_t failures = 0;                   // neither
    std::uint64_t waits = 0;                      // for what was busy, where memory was short
    std::uint64_t offered = 0;                    // to the kernel, for as long as they are idle
    std::uint64_t stuck = 0;                      // times that a kernel did not take an unmap
    std::array<std::uint64_t, kReasons> ended{};  // by Reason: retired ones too

    [[nodiscard]] std::uint64_t ended_by(Reason reason) const noexcept {
        return ended[static_cast<std::size_t>(reason)];
    }
};

class BoCache {
public:
    // `vm` may be nullptr. It is a VM of `device`. kBadArgument: no `max_bytes`; kOutOfHostMemory.
    [[nodiscard]] static Result<Owned<BoCache>, Status> create(Device& device, Vm* vm, const BoCacheConfig& config,
                                                               NodeMemory nodes) noexcept;
    BoCache(Device& device, Vm* vm, const BoCacheConfig& config, NodeMemory nodes) noexcept;
    BoCache(const BoCache&) = delete;
    BoCache& operator=(const BoCache&) = delete;
    ~BoCache();

    // An idle BO of this kind, or a new one. Where memory for a new one is short (kOutOfDeviceMemory, kOverBudget,
    // kOutOfVa, kOutOfTableMemory), first everything idle goes, then, for `wait_ns`, what is busy as it becomes idle.
    // Otherwise as Device::create_bo, Vm::reserve_va, Vm::bind, BoTable::map_cpu.
    [[nodiscard]] Result<CachedBo, OsError> acquire(const BoCacheRequest& request) noexcept;

    // Gives it back with the reference. kUnknownBo: not handed out by this cache, or put already. kBadArgument: fences of
    // a timeline that there never was, or of more than kMaxFencePoints timelines that have not signalled yet; fences
    // and kAsKernelKnows. kNotSupported: kAsKernelKnows where it does not. On failure it is still handed out.
    [[nodiscard]] Status put(BoId id, std::span<const FencePoint> fences = {}, BoBusy busy = BoBusy::kUntilFences,
                             std::uint64_t now_ns = 0) noexcept;

    // Looks at the fences; ends what has been idle for longer than `max_age_ns` and what is retiring and done; lets the
    // kernel take the pages of what has been idle for `evictable_after_ns`. Returns the bytes that ended. A driver calls
    // it where it is idle; as long as it acquires and puts, these do.
    std::uint64_t trim(std::uint64_t now_ns = 0) noexcept;
    // Ends everything that is idle; what is waiting retires. Returns the bytes that ended.
    std::uint64_t evict_all() noexcept;
    // Lets the kernel take the pages of everything that is idle, now. Nothing where it cannot (panthor, soft).
    void offer_idle() noexcept;

    [[nodiscard]] BoCacheStatistics statistics() const noexcept;
    [[nodiscard]] const BoCacheConfig& config() const noexcept { return config_; }
    // Do all its invariants hold? While no other call runs. O(BOs).
    [[nodiscard]] bool validate() const noexcept;

private:
    struct Wanted;
    using Reason = BoCacheStatistics::Reason;

    [[nodiscard]] Wanted wanted_by(const BoCacheRequest& request) const noexcept;
    // An idle one, in hand, or nullptr. `asked`: whether the kernel was asked anything.
    [[nodiscard]] BoEntry* find(const Wanted& wanted, std::uint64_t now_ns, bool& asked) noexcept;
    [[nodiscard]] bool kernel_says_idle(const Bo& bo) noexcept;
    // Its pages are there and stay.
    [[nodiscard]] bool retained(const BoEntry& entry, bool& asked) noexcept;
    // What the request wants of a BO beyond being there: zeroes, a CPU view, its name.
    [[nodiscard]] Result<std::byte*, OsError> dress(Bo& bo, const BoCacheRequest& request, bool reused,
                                                    bool& asked) noexcept;
    [[nodiscard]] Result<CachedBo, OsError> use_again(BoEntry& entry, const BoCacheRequest& request,
                                                      std::uint64_t now_ns, bool asked) noexcept;
    [[nodiscard]] Result<CachedBo, OsError> make(const Wanted& wanted, const BoCacheRequest& request,
                                                 std::uint64_t now_ns) noexcept;
    [[nodiscard]] Result<CachedBo, OsError> make_into(BoEntry& entry, const Wanted& wanted,
                                                      const BoCacheRequest& request) noexcept;
    void abandon(BoEntry& entry) noexcept;
    // False: the kernel did not unmap, and all is as before.
    [[nodiscard]] bool unmap_and_release(Bo& bo, const VaRange& va, std::span<const FencePoint> fences) noexcept;

    // Whether nobody but us knows the BO.
    [[nodiscard]] bool only_ours(const BoEntry& entry) const noexcept;
    // Asks each timeline that something waits for. Returns the bytes of what ended.
    std::uint64_t look_at_fences(std::uint64_t now_ns) noexcept;
    // The oldest that waits. False: nothing does, or not within the time.
    [[nodiscard]] bool wait_for_one(std::uint64_t until_ns) noexcept;
    // Ends them, without the lock. Returns the bytes.
    std::uint64_t end(EntriesByAge& ended) noexcept;
    // Ends all that is idle; `until_ns` != 0: what only the kernel knows, after it says so.
    std::uint64_t end_idle(Reason reason, std::uint64_t until_ns) noexcept;
    // Under the lock: until what is cached is at most that much.
    void shrink_to(std::uint64_t bytes, EntriesByAge& ended) noexcept;
    void end_older_than(std::uint64_t since_ns, EntriesByAge& ended) noexcept;
    // Lets the kernel take the pages of what has been idle since before `since_ns`.
    void offer(std::uint64_t since_ns) noexcept;
    void trim_if_due(std::uint64_t now_ns) noexcept;
    void count(Reason reason) noexcept;  // under the lock

    Device& device_;
    Vm* const vm_;
    const BoCacheConfig config_;
    std::atomic<std::uint64_t> next_trim_ns_{0};
    mutable std::mutex mutex_;
    BoShelf shelf_;                 // guarded by mutex_
    BoCacheStatistics statistics_;  // guarded by mutex_; without what the shelf counts
};

}  // namespace granule
