// Where the memory of BOs comes from: the one interface between the BO table and whoever owns pages (the soft device's
// memory, GEM objects of a DRM driver).
//
// Thread-safety: all members, any thread, for different BOs; the BO table calls none twice at once for the same BO.
// Failure: create and map_cpu say what ran out, and have changed nothing; destroy and unmap_cpu cannot fail (P4).
// map_cpu_at says what it leaves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "mali/address.hpp"
#include "mali/result.hpp"
#include "src/status.hpp"

namespace granule {

struct Bo;

// How a BO's memory looks physically, where we decide that (soft device).
enum class BoMemory : std::uint8_t { kHuge, kContiguous, kScattered };

struct BoRequest {
    std::uint64_t bytes = 0;
    std::optional<BoMemory> memory = std::nullopt;  // soft device only: nullopt: its own; a kernel decides for itself
    bool cpu_visible = true;                        // false: DRM_PANTHOR_BO_NO_MMAP
    bool shareable = false;                         // may be exported; not together with only_for_vm
    bool cpu_cached = false;        // DRM_PANTHOR_BO_WB_MMAP, PANFROST_BO_WB_MMAP; kNotSupported where it is not known
    bool executable = false;        // panfrost, where the kernel maps: without PANFROST_BO_NOEXEC
    bool grows_on_fault = false;    // PANFROST_BO_HEAP; kNotSupported elsewhere
    std::uint32_t only_for_vm = 0;  // panthor: the kernel's id of the only VM that may show it; 0: any
    std::uint64_t made_by = 0;      // the creator's own mark, for reports

    constexpr bool operator==(const BoRequest&) const noexcept = default;
};

// What the CPU may do in a view of its own (map_cpu_at).
enum class CpuAccess : std::uint8_t { kReadWrite, kReadOnly };

// Of the CPU's caches, for a part of a BO that it sees cached (BO_SYNC).
enum class CacheOp : std::uint8_t {
    kFlush,               // what the CPU wrote, the GPU sees
    kFlushAndInvalidate,  // ... and what the GPU wrote, the CPU sees
};
struct CacheSync {
    const Bo* bo = nullptr;
    BoOffset offset{};
    std::uint64_t bytes = 0;
    CacheOp operation = CacheOp::kFlush;
};

// kBadArgument: a part of no BO; kOutOfRange: one that is not inside its BO.
[[nodiscard]] Result<void, OsError> check_parts(std::span<const CacheSync> parts) noexcept;

class BoBackend {
public:
    BoBackend() noexcept = default;
    BoBackend(const BoBackend&) = delete;
    BoBackend& operator=(const BoBackend&) = delete;
    BoBackend(BoBackend&&) = delete;
    BoBackend& operator=(BoBackend&&) = delete;
    virtual ~BoBackend() = default;

    // Gives `bo` its memory: sets `size` (at least request.bytes, in whole pages) and what says where it is (`runs`, or
    // `gem` and `kernel_va`).
    [[nodiscard]] virtual Result<void, OsError> create(Bo& bo, const BoRequest& request) noexcept = 0;
    virtual void destroy(Bo& bo) noexcept = 0;
    // All of the BO at one place in the CPU's address space.
    [[nodiscard]] virtual Result<std::byte*, Status> map_cpu(Bo& bo) noexcept = 0;
    virtual void unmap_cpu(Bo& bo, std::byte* cpu) noexcept = 0;
    // All of the BO at `where`, in place of whatever is mapped there (MAP_FIXED). It is the caller's from then on. Where
    // it fails, each page of the range is as it was, or reserved and inaccessible.
    [[nodiscard]] virtual Status map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept = 0;
    // Tells the kernel the BO's name, where it wants to know it. Never fails: a name is for people.
    virtual void set_label(const Bo& bo, std::string_view label) noexcept {
        static_cast<void>(bo);
        static_cast<void>(label);
    }
};

}  // namespace granule
