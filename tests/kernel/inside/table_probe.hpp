// What a driver asked of io-pgtable, call by call, and with it where the root table of a VM is.
//
// A return probe (kretprobe) on each of arm_lpae_map_pages and arm_lpae_unmap_pages, Linux
// drivers/iommu/io-pgtable-arm.c, records arguments, result and root in one event: since 6.9 a return probe may name
// the arguments of the call. Where arm_lpae_split_blk_unmap is a symbol it gets one too; in the kernels that still
// split (up to 6.12) the compiler usually folds it into its caller, and a split shows as an unmap with smaller leaves
// than those that are mapped.
//
// The root. The first argument is the io_pgtable_ops inside struct arm_lpae_io_pgtable; the pointer to the root table
// lies a few words behind it: 0x30 up to 6.12, 0x38 from 6.16 on. $GRANULE_PGD_OFFSET overrides.
//
// Probes and buffer are this object's own (kprobe group and tracing instance "granule_<pid>_<n>"): nothing that anybody
// else traces is touched, and both are gone when the object is. Calls of the whole machine are recorded, also those
// that a driver makes from a worker (asynchronous binds).
//
// Failure: ProbeError; also where events were lost (the buffer was too small, or a probe was missed): a record is
// complete or it is an error.
// Thread-safety: none. Cost in an emulated guest: 60 microseconds a call, some milliseconds for `start` and `stop`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/trace_instance.hpp"

namespace granule::kernel_test {

// The prot argument of map_pages (include/linux/iommu.h).
namespace prot {
inline constexpr std::uint32_t kRead = 1;
inline constexpr std::uint32_t kWrite = 2;
inline constexpr std::uint32_t kCache = 4;
inline constexpr std::uint32_t kNoExecute = 8;
inline constexpr std::uint32_t kMmio = 0x10;
inline constexpr std::uint32_t kPrivileged = 0x20;
}  // namespace prot

struct PageTableCall {
    enum class Kind : std::uint8_t { kMap, kUnmap, kSplit };

    Kind kind = Kind::kMap;
    Va iova;
    Pa pa;                         // map
    std::uint64_t leaf_bytes = 0;  // as asked for, which is not always a leaf size
    std::uint64_t count = 0;
    std::uint32_t prot = 0;    // map
    std::int64_t result = 0;   // map: 0 or -errno; unmap, split: bytes
    std::uint64_t mapped = 0;  // map: bytes, by *mapped after the call: one call writes into one table at most
    std::uint64_t root = 0;    // the kernel's address of the root table
    int pid = 0;               // of the task that called
    std::string caller;        // "panthor_vm_map_pages"

    [[nodiscard]] VaRange range() const noexcept { return {iova, iova + leaf_bytes * count}; }
    bool operator==(const PageTableCall&) const = default;
};

[[nodiscard]] std::string to_string(const PageTableCall& call);

// The calls in what a tracing instance's `trace` file holds, in order. Lines of other events are passed over; a line of
// these that cannot be read throws ProbeError with the line.
[[nodiscard]] std::vector<PageTableCall> parse_page_table_calls(std::string_view trace);

// The root that all of `calls` touched; nullopt where there is none or more than one.
[[nodiscard]] std::optional<std::uint64_t> only_root(const std::vector<PageTableCall>& calls);

// $GRANULE_PGD_OFFSET, else by `release` ("6.12.107+deb13-arm64").
[[nodiscard]] std::uint64_t root_pointer_offset(std::string_view release);

class TableProbe {
public:
    // The buffer: some 100 bytes a call. `start` takes the longer the larger it is.
    explicit TableProbe(std::size_t buffer_kib = 8192);

    // Forgets what was recorded and records from now on.
    void start();
    // Everything since `start`, and records no more.
    [[nodiscard]] std::vector<PageTableCall> stop();

    // What `action` made the drivers call.
    template <class Action>
    [[nodiscard]] std::vector<PageTableCall> record(Action&& action) {
        start();
        std::forward<Action>(action)();
        return stop();
    }

    // The root table that `action`, a bind into one VM, touches. Throws ProbeError where that is none, several, or not
    // a table in RAM.
    template <class Action>
    [[nodiscard]] Pa root_touched_by(const Kcore& kcore, Action&& action) {
        return checked_root(kcore, record(std::forward<Action>(action)));
    }

    [[nodiscard]] static Pa checked_root(const Kcore& kcore, const std::vector<PageTableCall>& calls);

private:
    TraceInstance instance_;
};

}  // namespace granule::kernel_test
