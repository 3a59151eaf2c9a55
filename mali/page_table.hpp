// The page table of one address space: strict, exact, in the real formats.
//
// Contract
//   State       One tree of 512-entry tables in TableMemory. The GPU walks it while it is written: every entry is
//               stored as one 64-bit atomic store, a table is complete and visible before an entry points to it.
//   Strictness  P1: `map` writes whole leaves over holes, `unmap` clears whole leaves as they were mapped. A request
//               that would cut a leaf, meet a hole, meet a leaf, or put a block over a table that still has live
//               entries (which Linux's io-pgtable drops silently) is refused whole: the error names the leaf, nothing
//               changed.
//   Memory      P4: unmap allocates nothing. A block sets aside, when it is mapped, the tables that splitting it into 4
//               KiB pages would need (`tables_behind`), so that residuals can be mapped after the block has been
//               unmapped. What an unmap frees (tables that became empty, the credit of blocks) is *held* by this page
//               table until `settle`; `map` uses the held pages first. `hold` adds to them. A transaction is therefore
//               hold -> unmap and map, in any order -> settle, and only `hold` can run out of memory.
//   Invariant   Every table but the root has a live entry: a table that loses its last one is taken out of the tree at
//               once. So a block never stands over an empty table, and a hole is a hole at the highest level possible.
//   Flushing    None here: what the TLB must forget is the caller's to invalidate (mmu_sequence.hpp), before `settle`.
//               Until then an emptied table stays out of the memory's pool, all zeros: a walker that still has a
//               pointer to it sees holes, and never the tables of somebody else. (This page table itself may put it to
//               use again before that, when no other held page is left: within the locked range of the same
//               transaction.)
//   Locking     None here: one caller at a time. `walk` and `visit` by other threads see each entry whole (old or new);
//               whether the tables they pass are still in place is what an invalidation settles, for them as for the
//               GPU.
//   Complexity  map/unmap: O(tables touched + leaves); no recursion, no per-leaf walk from the root. Whether a table is
//               empty is counted beside it (TableBook), not scanned for.
//
// Files: page_table_path.hpp has the tables that one operation stands in; page_table_map.cpp, page_table_unmap.cpp and
// page_table_walk.cpp the operations; page_table_validate.cpp what is true of them all.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/result.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

struct PageTableConfig {
    Format format = Format::kMaliLpae;
    unsigned va_bits = 48;
    unsigned pa_bits = 40;
    LeafSizes leaf_sizes = kLeaves4K2M;
    bool coherent_walk = true;
};

struct TableError {
    enum class Code : std::uint8_t {
        kBadConfig,         // format, bits or leaf sizes that the hardware does not have
        kBadLeafSize,       // not one of the configured leaf sizes
        kMisaligned,        // VA or PA is not a multiple of the leaf size
        kOutOfRange,        // the run leaves the VA or the PA space
        kBadAttributes,     // neither read nor write
        kEmpty,             // a run of no leaves
        kAlreadyMapped,     // map: a leaf is there (`at`, `leaf`)
        kTableInTheWay,     // map: a block would drop a table with live entries (`at` is the first live leaf)
        kNotMapped,         // unmap: a hole (`at`)
        kLeafWouldBeCut,    // unmap: the leaf there is larger than asked for
        kSmallerLeaves,     // unmap: the leaves there are smaller than asked for
        kOutOfTableMemory,  // `needed` pages could not be reserved
    };
    Code code = Code::kBadConfig;
    Va at;                          // start of the leaf or hole that is in the way
    LeafSize leaf = LeafSize::k4K;  // its size, where it is a leaf
    std::uint64_t needed = 0;

    constexpr bool operator==(const TableError&) const noexcept = default;
};

[[nodiscard]] const char* to_string(TableError::Code code) noexcept;

// What stands at a VA.
struct Walk {
    bool mapped = false;
    Va leaf_start;                  // of the leaf, or of the hole that the empty entry spans
    std::uint64_t span = 0;         // bytes of the leaf or of the hole
    LeafSize leaf = LeafSize::k4K;  // where mapped
    unsigned level = 0;             // the level at which the walk ended
    Pa leaf_pa;                     // where mapped: of the start of the leaf
    Pa pa;                          // where mapped: of the VA itself
    LeafAttributes attributes;      // where mapped
    std::uint64_t descriptor = 0;   // as it stands in the table
};

// A maximal run of leaves of one size, contiguous in VA and PA, with one set of attributes, within one table.
struct VisitedRun {
    LeafRun leaves;
    Pa pa;
    LeafAttributes attributes;
};

struct LeafCounts {
    std::uint64_t pages_4k = 0;
    std::uint64_t blocks_2m = 0;
    std::uint64_t blocks_1g = 0;
    constexpr bool operator==(const LeafCounts&) const noexcept = default;
};

// Tables that splitting one leaf of this size down to 4 KiB pages needs: 0, 1, and 1 + 512.
[[nodiscard]] constexpr std::uint64_t tables_behind(LeafSize size) noexcept {
    return size == LeafSize::k4K ? 0 : (size == LeafSize::k2M ? 1 : 1 + kTableEntries);
}

class PageTable {
public:
    // `memory` outlives the page table. Takes one table for the root.
    [[nodiscard]] static Result<PageTable, TableError> create(const PageTableConfig& config,
                                                              TableMemory& memory) noexcept;
    PageTable(PageTable&& other) noexcept;
    PageTable& operator=(PageTable&& other) noexcept;
    PageTable(const PageTable&) = delete;
    PageTable& operator=(const PageTable&) = delete;
    ~PageTable();  // gives every table and reservation back, whatever is mapped

    // Maps `run.count` leaves of `run.size` from `run.start` to [pa, pa + run bytes). Uses held pages first and
    // reserves the rest itself. On failure nothing changed.
    [[nodiscard]] Result<void, TableError> map(const LeafRun& run, Pa pa, const LeafAttributes& attributes) noexcept;

    // Clears exactly these leaves. Never fails for want of memory. On failure nothing changed.
    [[nodiscard]] Result<void, TableError> unmap(const LeafRun& run) noexcept;

    // The two-phase side of memory; see the contract. `hold` on failure changes nothing.
    [[nodiscard]] Result<void, TableError> hold(std::uint64_t pages) noexcept;
    void settle() noexcept;
    [[nodiscard]] std::uint64_t held() const noexcept { return reserved_ + emptied_ - credit(); }

    // Pages that `map` of this run would take and set aside at most, whatever stands in the tables now. The run lies in
    // [0, 2^48]. For 4 KiB pages and 2 MiB blocks this is the number that panthor preallocates for a map.
    [[nodiscard]] static std::uint64_t most_tables_for(const LeafRun& run) noexcept;

    [[nodiscard]] Walk walk(Va va) const noexcept;

    // Calls `visitor(const VisitedRun&)` for the leaves that overlap `range`, ascending; whole leaves, not clipped.
    template <class Visitor>
    void visit(VaRange range, Visitor&& visitor) const {
        using Callable = std::remove_reference_t<Visitor>;
        Callable* callable = std::addressof(visitor);
        visit_erased(
            range, [](void* context, const VisitedRun& run) { (**static_cast<Callable**>(context))(run); }, &callable);
    }

    [[nodiscard]] const PageTableConfig& config() const noexcept { return config_; }
    [[nodiscard]] Pa root() const noexcept { return root_.pa; }
    [[nodiscard]] const LeafCounts& leaf_counts() const noexcept { return leaves_; }
    [[nodiscard]] std::uint64_t table_count() const noexcept { return tables_; }  // the root included
    // Pages set aside for the blocks that are mapped.
    [[nodiscard]] std::uint64_t credit() const noexcept {
        return leaves_.blocks_2m * tables_behind(LeafSize::k2M) + leaves_.blocks_1g * tables_behind(LeafSize::k1G);
    }

    // Checks every invariant against the tables themselves; for tests and debug builds. O(tables * 512).
    [[nodiscard]] bool validate() const noexcept;

private:
    class Path;

    PageTable(const PageTableConfig& config, TableMemory& memory, TablePage root) noexcept;

    using VisitFunction = void (*)(void* context, const VisitedRun& run);
    void visit_erased(VaRange range, VisitFunction visitor, void* context) const;

    // page_table_map.cpp, page_table_unmap.cpp: whether the whole run can be done, before anything is written.
    [[nodiscard]] Result<void, TableError> check_run(const LeafRun& run) const noexcept;
    [[nodiscard]] Result<std::uint64_t, TableError> check_holes(Path& path, const LeafRun& run) const noexcept;
    [[nodiscard]] Result<void, TableError> check_leaves(Path& path, const LeafRun& run) const noexcept;
    // The first leaf below a table entry of `level` that spans `va`.
    [[nodiscard]] TableError first_leaf_below(TableError::Code code, std::uint64_t descriptor, Va va,
                                              unsigned level) const noexcept;

    [[nodiscard]] TablePage take_table() noexcept;
    void put_emptied(const TablePage& table) noexcept;
    [[nodiscard]] TablePage pop_emptied() noexcept;
    [[nodiscard]] std::uint64_t& count_of(LeafSize size) noexcept;
    void release() noexcept;

    // nullptr: moved from. Such an object can only be assigned to or destroyed.
    TableMemory* memory_ = nullptr;
    PageTableConfig config_;
    TablePage root_;
    unsigned start_level_ = 0;
    std::uint64_t tables_ = 0;
    LeafCounts leaves_;

    // Pages that are ours and in no tree: reserved in memory_, or emptied (a list through TableBook::next_emptied, from
    // last_emptied_ on). They back the credit of the blocks first; the rest is held.
    std::uint64_t reserved_ = 0;
    std::uint64_t emptied_ = 0;
    Pa last_emptied_;
};

}  // namespace granule::mali
