// Small buffers inside BOs: a BO, a mapping and an mmap for many of them at once.
//
//     slab (one BO, one mapping)                               own BO
//     |  64K  |32K|    free    |4K|waits|  free  |             |       5 MiB       |
//             ^ va, cpu, offset in the BO   ^ for its fences
//
// Of the BOs that a GL driver makes, 60 to 97 % are of exactly 32 or 64 KiB (glmark2, SuperTuxKart and WebKit on Mesa's
// panfrost without its cache), hundreds a second: out of slabs they cost no call of the kernel, and no mapping.
//
// Slabs grow with the pool: the first has `first_slab_bytes`, each later one as much as there is, up to
// `slab_bytes`: a program with few buffers takes little, and one with many gets slabs of 2 MiB, the block that all these
// GPUs have, so that a slab can be one leaf. What needs more than half a slab gets a BO of its own.
//
// Kinds. A pool's memory is of one kind (SlabKind): a buffer that the CPU caches never shares a BO, a page or a cache line
// with one that it does not. `BoPools` (bo_pools.hpp) is a set of pools, one a kind. Within a pool buffers are apart by
// whole cache lines of the GPU: 64 bytes, or as much as the configuration says.
//
// Contract
//   P3          A call that fails has changed nothing that is the caller's. To find room, `allocate` may have collected
//               what fences were holding and given idle slabs back.
//   P4          `free`, `collect` and `trim` allocate nothing: the node that a piece comes back with, and the one that it
//               waits with, were set aside when it was allocated. A slab that cannot be unmapped (a kernel can fail)
//               stays in the pool, free, and is given back by a later call.
//   P5          Bytes are nobody's until the fences they were freed with are signalled.
//   Complexity  allocate, free: O(1), plus a slab now and then. collect: O(timelines + what is ready); it asks each
//               timeline once. `allocate` collects only where no free space fits.
//   Memory      slab_space.hpp, piece_queue.hpp.
//   Thread-safety: all members, any thread; one lock a pool, held while a slab is made or given back. Two pools share
//               none but their VM's and device's. An observer of the VM must not call the pool.
//   Lifetime    The VM and the timelines outlive it. Its end gives everything back, live buffers too: the GPU is done
//               with them by then.
//
// What it does not do: wait; clear memory; move buffers; tell the CPU's caches anything (Device::sync_caches does).
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "allocator/fence_point.hpp"
#include "allocator/mapping.hpp"
#include "allocator/piece_queue.hpp"
#include "allocator/slab_space.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/device.hpp"
#include "src/owned.hpp"
#include "src/slab_source.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"
#include "src/vm_slab_source.hpp"

namespace granule {

// The line of the GPU's L2 cache, as GPU_L2_FEATURES has it on Malis (log2, in the lowest byte: 6), and of the CPUs that
// they come with.
inline constexpr std::uint64_t kCacheLineBytes = 64;

struct BoPoolConfig {
    std::uint64_t slab_bytes = std::uint64_t{2} << 20;          // a power of two, 64 KiB to 64 MiB
    std::uint64_t first_slab_bytes = std::uint64_t{256} << 10;  // a power of two, 64 KiB to slab_bytes
    // Every buffer begins at a multiple of it and has a multiple of it to itself: a power of two, 64 B to 2 MiB. Above
    // half a slab, every buffer has a BO of its own.
    std::uint64_t alignment = kCacheLineBytes;
    std::uint64_t keep_idle_slabs = 1;  // free ones that stay when others are given back: so that a slab does not come
                                        // and go with one buffer
};

// A buffer. Good until it is freed.
struct PoolBuffer {
    PieceId id{};              // what `free` takes
    BoId bo = kNoBo;           // held by the pool
    BoOffset offset;           // of the buffer in the BO
    Va va;                     // where the GPU sees it
    std::byte* cpu = nullptr;  // where the CPU does; null where the pool's kind is not CPU-visible
    std::uint64_t bytes = 0;   // that are its own: at least what was asked for
};

struct BoPoolStatistics {
    std::uint64_t slabs = 0;           // shared ones
    std::uint64_t idle_slabs = 0;      // of these, without a buffer
    std::uint64_t own_bos = 0;         // for large buffers
    std::uint64_t reserved_bytes = 0;  // of all their BOs
    std::uint64_t peak_reserved_bytes = 0;
    std::uint64_t buffers = 0;
    std::uint64_t live_bytes = 0;   // of buffers, as asked for
    std::uint64_t waste_bytes = 0;  // that buffers have beyond that: rounding
    std::uint64_t waiting = 0;      // freed, but for their fences
    std::uint64_t waiting_bytes = 0;
    std::uint64_t free_bytes = 0;    // in shared slabs
    std::uint64_t largest_free = 0;  // of these, in one piece
    std::uint64_t slabs_made = 0;    // BOs acquired so far, own ones too
    std::uint64_t node_bytes = 0;    // memory set aside for the pool's own structures
};

class BoPool {
public:
    // kBadArgument: a size or alignment that is none of the above; kOutOfHostMemory. Makes no slab yet.
    [[nodiscard]] static Result<Owned<BoPool>, Status> create(const BoPoolConfig& config, Owned<SlabSource> source,
                                                              const TimelineTable& timelines,
                                                              NodeMemory nodes) noexcept;
    // ... with slabs straight from `device`, mapped in `vm`.
    [[nodiscard]] static Result<Owned<BoPool>, Status> create(const BoPoolConfig& config, Device& device, Vm& vm,
                                                              const VmSlabConfig& slabs) noexcept;
    BoPool(const BoPoolConfig& config, Owned<SlabSource> source, const TimelineTable& timelines,
           NodeMemory nodes) noexcept;
    BoPool(const BoPool&) = delete;
    BoPool& operator=(const BoPool&) = delete;
    ~BoPool();

    // `bytes` (1 to 8 GiB) at a VA that is a multiple of `alignment` (a power of two up to 2 MiB; less than the pool's
    // counts as the pool's). kBadArgument; else what the source says. The content is of no interest: it may be what an
    // earlier buffer left.
    [[nodiscard]] Result<PoolBuffer, OsError> allocate(std::uint64_t bytes, std::uint64_t alignment = 1) noexcept;

    // The owner is done with the buffer; the GPU is when all `fences` are signalled. kBadArgument, and nothing changed:
    // not a live buffer of this pool (freed before, for one); a fence of a timeline that there never was; fences of more
    // than kMaxFencePoints timelines.
    [[nodiscard]] Status free(PieceId buffer, std::span<const FencePoint> fences = {}) noexcept;
    // The buffer as `allocate` returned it; nullopt: not a live one.
    [[nodiscard]] std::optional<PoolBuffer> find(PieceId buffer) const noexcept;

    // Frees what waited for fences that are signalled by now, and gives back slabs that nothing is in but
    // `keep_idle_slabs`. Returns how many buffers waited no more. Once a frame is often enough.
    std::uint64_t collect() noexcept;
    // Gives back the slabs that nothing has been in for `idle_ns` (0: all that nothing is in), so that a program that
    // sleeps keeps nothing. Times are in ns of CLOCK_MONOTONIC; `now_ns` 0 has it read the clock. A slab's idle time begins
    // with the first call that finds it idle. Returns the bytes that were given back.
    std::uint64_t trim(std::uint64_t idle_ns = 0, std::uint64_t now_ns = 0) noexcept;

    // O(holes of about the largest size).
    [[nodiscard]] BoPoolStatistics statistics() const noexcept;
    [[nodiscard]] const BoPoolConfig& config() const noexcept { return config_; }
    // Are all structures in order, and do slabs and free space agree? O(n).
    [[nodiscard]] bool validate() const noexcept;

private:
    struct Slab {
        SlabMemory memory;
        std::uint64_t idle_since_ns = 0;  // 0: not idle, as far as `trim` has seen
        bool own = false;                 // of one large buffer
    };

    [[nodiscard]] Result<PoolBuffer, OsError> allocate_own(std::uint64_t bytes, std::uint64_t alignment) noexcept;
    [[nodiscard]] Result<SlabId, OsError> add_slab(std::uint64_t bytes, std::uint64_t alignment) noexcept;
    [[nodiscard]] std::uint64_t slab_alignment() const noexcept;
    [[nodiscard]] std::uint64_t next_slab_bytes(std::uint64_t bytes, std::uint64_t alignment) const noexcept;
    [[nodiscard]] std::uint64_t usable_bytes(const SlabMemory& memory) const noexcept;
    [[nodiscard]] PoolBuffer describe(const SlabPiece& piece) const noexcept;
    std::uint64_t collect_waiting() noexcept;
    // Gives back the idle slabs of which `goes(Slab&)` says so, but the first `keep` of the shared ones. Returns their
    // bytes.
    template <class Goes>
    std::uint64_t give_back_idle(std::uint64_t keep, Goes&& goes) noexcept;

    const BoPoolConfig config_;
    const TimelineTable& timelines_;
    mutable std::mutex mutex_;
    // All below is guarded by mutex_.
    Owned<SlabSource> source_;
    SlabSpace space_;
    PieceQueue queue_;   // of space_
    Array<Slab> slabs_;  // by SlabId
    std::uint64_t reserved_bytes_ = 0;
    std::uint64_t peak_reserved_bytes_ = 0;
    std::uint64_t own_bos_ = 0;  // of the slabs
    std::uint64_t slabs_made_ = 0;
};

}  // namespace granule
