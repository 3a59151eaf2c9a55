// What a replay found: counts, broken promises, and what the program left behind. Data only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mali/address.hpp"

namespace granule::replay {

// The numbers of one trace. Bytes and leaves at the peak are those of all VMs together, at the moment named.
struct Counts {
    std::uint64_t calls = 0;  // lines after the first
    std::uint64_t binds = 0;  // transactions committed
    std::uint64_t maps = 0;   // map operations asked for, sparse ones included
    std::uint64_t sparse_maps = 0;
    std::uint64_t unmaps = 0;             // unmap operations asked for
    std::uint64_t overmaps = 0;           // maps that replaced something
    std::uint64_t partial_unmaps = 0;     // maps and unmaps that left a part of an older mapping
    std::uint64_t granules_remapped = 0;  // granules unmapped whole, their residuals mapped again
    std::uint64_t granules_cut = 0;       // leaves that an operation would have cleared in part: P1 broken
    std::uint64_t operations = 0;         // given to the backend
    std::uint64_t residual_bytes = 0;
    std::uint64_t exposed_bytes = 0;
    std::uint64_t enlarged_bytes = 0;
    std::uint64_t bos = 0;  // ever created or imported
    std::uint64_t vms = 0;
    std::uint64_t peak_mapped_bytes = 0;  // at the peak:
    std::uint64_t leaves_2m = 0;          //   2 MiB leaves
    std::uint64_t leaves_4k = 0;          //   4 KiB leaves
    std::uint64_t tables_peak = 0;        // most tables in use at once
    std::uint64_t peak_mappings = 0;
    std::uint64_t pages_verified = 0;        // translations compared with the oracle
    std::uint64_t mismatches = 0;            // of these, not as the oracle says; and every other check that failed
    std::uint64_t faults = 0;                // GPU accesses that faulted where something is mapped
    std::uint64_t stale_hits = 0;            // answered by a TLB entry that should have been invalidated
    std::uint64_t allocations_in_unmap = 0;  // P4 broken
    std::uint64_t ns_per_bind_p50 = 0;
    std::uint64_t ns_per_bind_p999 = 0;
    // VM_BIND, and the operations in its arrays: as the program's driver called it, and as the library called a kernel.
    std::uint64_t driver_ioctls = 0;
    std::uint64_t driver_operations = 0;
    std::uint64_t ioctls = 0;  // 0 on the soft device, and on panfrost, whose kernel maps by itself
    std::uint64_t kernel_operations = 0;
    // Of the library's, what the driver left to its kernel:
    std::uint64_t residual_operations =
        0;  //   residuals mapped again, and granules unmapped whole under a map over them
    std::uint64_t isolating_operations = 0;  //   granules mapped over themselves, for kernels that oops
    std::uint64_t piece_operations = 0;      //   maps in pieces: sparse ones without MAP_SPARSE, pages without blocks
    std::uint64_t moved_bos = 0;             // that a kernel put at another VA than the trace says
    // Two hashes over every VM as it ended (end_state.hpp): what the soft device's tables hold, and what its pages show.
    std::uint64_t end_state = 0;
    std::uint64_t end_mappings = 0;
};

// What a VM asked of its kernel.
struct KernelTraffic {
    std::uint64_t ioctls = 0;
    std::uint64_t operations = 0;
    std::uint64_t residuals = 0;   // of these
    std::uint64_t isolations = 0;  // of these
    std::uint64_t pieces = 0;      // of these, all but the first of each operation
};

// Something that the program did not give back, or gave back too early, in a sentence for its author.
struct Leftover {
    enum class Kind : std::uint8_t {
        kBo,           // handle never closed
        kVm,           // never destroyed
        kMapping,      // mapped when its VM or file ended, and its BO was not closed
        kVaRange,      // addresses never unmapped
        kStillMapped,  // the BO's last handle was closed while a mapping still showed it
        kMappedOver,   // ... and a later map landed on such a mapping
    };
    Kind kind = Kind::kBo;
    std::uint64_t line = 0;  // where it was made
    std::uint32_t process = 0;
    std::uint32_t file = 0;
    std::uint64_t bytes = 0;
    VaRange va{};       // where it has one
    std::string label;  // of the BO; empty where it never had one
    std::string sentence;
};

[[nodiscard]] const char* to_string(Leftover::Kind kind) noexcept;

// A broken promise or a mismatch, in words, with the line at which it was found.
struct Finding {
    std::uint64_t line = 0;
    std::string what;
};

struct ReplayResult {
    Counts counts;
    std::vector<Leftover> leftovers;
    std::vector<Finding> findings;  // the first of them; `counts` has how many there are
    bool killed = false;            // files were still open at the end of the trace: the program was killed

    // Nothing broken. Leftovers are the program's, not ours.
    [[nodiscard]] bool good() const noexcept {
        return findings.empty() && counts.mismatches == 0 && counts.granules_cut == 0 && counts.faults == 0 &&
               counts.stale_hits == 0 && counts.allocations_in_unmap == 0;
    }
};

}  // namespace granule::replay
