// The page table of one address space: strict, exact, in the real formats.
//
// Contract
//   State       One tree of 512-entry tables in TableMemory. The GPU walks it while it is written: every entry is
//               stored as one 64-bit atomic store, a table is complete and visible before an entry points to it.
//   Strictness  P1: `map` writes whole leaves over holes, `unmap` clears whole leaves as they were mapped. A request
//               that would cut a leaf, meet a hole, meet a leaf, or put a block over a table that still has live
//               entries (which Linux's io-pgtable drops silently) is refused whole: the error names the leaf, nothing
//               changed. `replace_pages` alone writes over leaves: pages over pages.
//   Memory      P4: unmap allocates nothing. A block sets aside, when it is mapped, the tables that splitting it into 4
//               KiB pages would need (`tables_behind`), so that residuals can be mapped after the block has been
//               unmapped. What an unmap frees (tables that became empty, the credit of blocks) is *held* by this page
//               table until `settle`; `map` uses the held pages first. `hold` adds to them. A transaction is therefore
//               hold -> unmap and map, in any order -> settle, and only `hold` can run out of memory.
//   Invariant   Every table but the root has a live entry: a table that loses its last one is taken out of the tree at
//               once. So a block never stands over an empty table, and a hole is a hole at the highest level possible.
//   Kept tables The exception, for callers who ask for it (PageTableConfig::kept_tables): up to so many tables of pages
//               stay in the tree, empty, when a part of their window is unmapped that was all there was. They are holes
//               to everything but `walk`, which sees how fine the hole is. They are not held: they leave the tree by
//               `prune`, or where a block is mapped over them, and are held from then on. So the range of either is
//               the caller's to invalidate before `settle`, as that of an unmap.
//   Flushing    None here: what the TLB must forget is the caller's to invalidate (mmu_sequence.hpp), before `settle`.
//               Until then an emptied table stays out of the memory's pool. A walker that still has a pointer to it
//               sees holes, or, where all the leaves of the table went at once, those leaves, as it may see them in the
//               TLB; never the tables of somebody else. (This page table itself may put it to use again before that,
//               when no other held page is left: within the locked range of the same transaction.)
//   Locking     None here: one caller at a time. `walk` and `visit` by other threads see each entry whole (old or new);
//               whether the tables they pass are still in place is what an invalidation settles, for them as for the
//               GPU.
//   Complexity  map/unmap: O(tables touched + leaves); no recursion, no per-leaf walk from the root. Whether a run is
//               holes or leaves, and whether a table is empty, is in a bit map beside it (TableBook), not read back.
//               A whole table of leaves is unmapped with one store. `translate`: one load a level.
//
// page_table.md says how it is built and what it costs. Files: page_table_short_run.cpp runs within one table;
// page_table_map.cpp and page_table_unmap.cpp all others, over page_table_path.hpp (the tables that one operation stands
// in); page_table_batch.cpp scattered pages; page_table_walk.cpp reading; page_table_validate.cpp what is true of them all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/result.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

struct PageTableConfig {
    Format format = Format::kMaliLpae;
    unsigned va_bits = 48;
    unsigned pa_bits = 40;
    LeafSizes leaf_sizes = kLeaves4K2M;
    bool coherent_walk = true;
    // False: every operation goes the general way, reads entries back and clears them one table at a time. For finding
    // differences; what the GPU and the caller see is the same.
    bool fast_paths = true;
    // How many tables of pages may stay in the tree when their last leaf has gone, so that a page that is mapped there
    // again finds its table: see Kept tables. UINT64_MAX is what Linux's io-pgtable does. None without the fast paths.
    std::uint64_t kept_tables = 0;
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

// One 4 KiB page of a batch.
struct PageMapping {
    Va va;
    Pa pa;
};

// A piece of physical memory, of a list that is mapped as one run: what drm's sg lists are made of.
struct PaSegment {
    Pa pa;
    std::uint64_t bytes = 0;
};

// Where a VA is translated to.
struct Translated {
    Pa pa;                   // where mapped: of the VA itself
    std::uint64_t span = 0;  // bytes of the leaf; 0 where nothing is mapped

    [[nodiscard]] constexpr bool mapped() const noexcept { return span != 0; }
    constexpr bool operator==(const Translated&) const noexcept = default;
};

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

    // Up to 64 pages of 4 KiB, in one part of 256 KiB, show [pa, ...) from now on, whatever pages or holes were there: an
    // `unmap` and a `map` in one, which takes no memory and reads none of the descriptors that it overwrites. A walker sees each
    // page as it was or as it will be, never a hole; real ones must be locked out, as in any change of a live entry without an
    // invalidation in between (Arm's break-before-make). False, and nothing changed: no table of pages is there; or it is not
    // for such a run, such a PA or attributes, a memory without a window, or no fast paths. Then the two calls do it, or say what
    // is wrong.
    [[nodiscard]] bool replace_pages(const LeafRun& run, Pa pa, const LeafAttributes& attributes) noexcept;

    // 4 KiB pages wherever they are, in one call. Done is what a `map` of each in turn does, and refused what the first of
    // them would be refused for, with the same words: a page that is twice in the batch is kAlreadyMapped the second
    // time. On failure nothing changed, and nobody has seen half a batch.
    [[nodiscard]] Result<void, TableError> map_pages(std::span<const PageMapping> pages,
                                                     const LeafAttributes& attributes) noexcept;
    // The same for `unmap`: twice in the batch is kNotMapped the second time.
    [[nodiscard]] Result<void, TableError> unmap_pages(std::span<const Va> pages) noexcept;

    // Maps the segments one behind the other from `start` on, with leaves of `size`. What is wrong with the list comes
    // first, in its order: a segment of no bytes (kEmpty), one that is no multiple of the leaf size or does not begin at
    // one (kMisaligned), one that leaves the PA or the VA space (kOutOfRange), each with the VA where it would have
    // begun; then what is in the way; then want of memory. On failure nothing changed.
    [[nodiscard]] Result<void, TableError> map_segments(Va start, LeafSize size, std::span<const PaSegment> segments,
                                                        const LeafAttributes& attributes) noexcept;

    // The two-phase side of memory; see the contract. `hold` on failure changes nothing.
    [[nodiscard]] Result<void, TableError> hold(std::uint64_t pages) noexcept;
    void settle() noexcept;
    // Takes the kept tables out of the tree whose windows overlap `range`: they are held. Returns what these windows span,
    // from the first to the last, which a walker may have passed through: to be invalidated before `settle`, and before a
    // `map` of anything that is not locked with it, because a map may put held tables to use.
    VaRange prune(VaRange range) noexcept;
    [[nodiscard]] std::uint64_t kept() const noexcept { return kept_; }
    [[nodiscard]] std::uint64_t held() const noexcept { return reserved_ + emptied_ - credit(); }

    // Pages that `map` of this run would take and set aside at most, whatever stands in the tables now. The run lies in
    // [0, 2^48]. For 4 KiB pages and 2 MiB blocks this is the number that panthor preallocates for a map.
    [[nodiscard]] static std::uint64_t most_tables_for(const LeafRun& run) noexcept;

    [[nodiscard]] Walk walk(Va va) const noexcept;
    // Brings what mapping or unmapping a few pages at `va` will write into the caches; where there is no table for them
    // yet, the entry that will point to one. Nothing if `va` is not in the space. For a caller who has something else to
    // do before that.
    void prefetch(Va va) noexcept;

    // The PA alone: no attributes, nothing about holes. Any thread, as `walk`.
    [[nodiscard]] Translated translate(Va va) const noexcept;

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
    [[nodiscard]] std::uint64_t table_count() const noexcept { return tables_; }  // the root and the kept ones included
    // Pages set aside for the blocks that are mapped.
    [[nodiscard]] std::uint64_t credit() const noexcept {
        return leaves_.blocks_2m * tables_behind(LeafSize::k2M) + leaves_.blocks_1g * tables_behind(LeafSize::k1G);
    }

    // Checks every invariant against the tables themselves; for tests and debug builds. O(tables * 512).
    [[nodiscard]] bool validate() const noexcept;

private:
    class Path;

    // A table that holds some VA, and its level.
    struct Spot {
        Pa table;
        unsigned level = 0;
    };

    PageTable(const PageTableConfig& config, TableMemory& memory, TablePage root) noexcept;

    using VisitFunction = void (*)(void* context, const VisitedRun& run);
    void visit_erased(VaRange range, VisitFunction visitor, void* context) const;

    // page_table_map.cpp, page_table_unmap.cpp: whether the whole run can be done, before anything is written.
    [[nodiscard]] Result<void, TableError> check_run(const LeafRun& run) const noexcept;
    [[nodiscard]] Result<void, TableError> check_map(const LeafRun& run, Pa pa,
                                                     const LeafAttributes& attributes) const noexcept;
    [[nodiscard]] Result<std::uint64_t, TableError> check_holes(const LeafRun& run) noexcept;
    [[nodiscard]] Result<void, TableError> prepare_map(const LeafRun& run) noexcept;
    [[nodiscard]] Result<void, TableError> check_leaves(Path& path, const LeafRun& run) const noexcept;
    [[nodiscard]] std::size_t first_other(const Path& path, unsigned level, std::size_t first,
                                          std::size_t count) const noexcept;
    // The first leaf below an entry of `level` that spans `va` and is no hole. False: there are only kept tables.
    [[nodiscard]] bool first_leaf_below(std::uint64_t descriptor, Va va, unsigned level,
                                        TableError& leaf) const noexcept;
    // Whether a table that has lost its last leaf stays.
    [[nodiscard]] bool keeps_one_more() const noexcept { return kept_ < config_.kept_tables; }
    // Makes sure that so many pages are held. False: `shortage` of them could not be reserved.
    [[nodiscard]] bool secure(std::uint64_t pages, std::uint64_t& shortage) noexcept;
    [[nodiscard]] Result<void, TableError> map_long(const LeafRun& run, Pa pa,
                                                    const LeafAttributes& attributes) noexcept;
    [[nodiscard]] Result<void, TableError> unmap_long(const LeafRun& run) noexcept;

    // page_table_short_run.cpp: runs within one table. False: none of theirs, or the tables don't allow it; nothing
    // changed. A `shortage` of pages is an answer too.
    [[nodiscard]] Result<void, TableError> map_any(const LeafRun& run, Pa pa,
                                                   const LeafAttributes& attributes) noexcept;
    [[nodiscard]] Result<void, TableError> unmap_any(const LeafRun& run) noexcept;
    [[nodiscard]] Result<void, TableError> fill_and_show(std::uint64_t* entries, std::size_t count,
                                                         std::uint64_t descriptor) noexcept;
    [[nodiscard]] Result<void, TableError> clear_and_show(std::uint64_t* entries, std::size_t count) noexcept;
    [[nodiscard]] Result<void, TableError> clear_and_unlink(const TablePage& table, std::size_t first,
                                                            const LeafRun& run) noexcept;
    [[nodiscard]] bool are_few_pages(const LeafRun& run) const noexcept;
    [[nodiscard]] bool can_show(const LeafRun& pages, Pa pa, const LeafAttributes& attributes) const noexcept;
    using AddedPath = std::array<Pa, 4>;  // by level
    template <unsigned kLevel>
    [[nodiscard]] bool is_short(const LeafRun& run) const noexcept;
    template <unsigned kLevel>
    [[nodiscard]] bool map_short(const LeafRun& run, Pa pa, const LeafAttributes& attributes,
                                 std::uint64_t& shortage) noexcept;
    template <unsigned kLevel>
    [[nodiscard]] bool map_in_table(Va start, std::size_t count, std::uint64_t descriptor,
                                    std::uint64_t& shortage) noexcept;
    template <unsigned kLevel>
    [[nodiscard]] bool add_and_map(Va start, std::size_t count, std::uint64_t descriptor, Spot spot,
                                   std::uint64_t& shortage) noexcept;
    template <unsigned kLevel>
    [[nodiscard]] bool unmap_in_table(Va start, std::size_t count) noexcept;
    template <unsigned kLevel>
    void pass(Va va, Pa table) noexcept;
    template <unsigned kLevel, bool kInWindow = false>
    [[nodiscard]] Spot find(Va va) noexcept;
    template <unsigned kLevel>
    void link(const TablePage& table, const AddedPath& added, Va va, unsigned top) noexcept;
    template <unsigned kLevel>
    void unlink(const TablePage& table, Va va, unsigned stays) noexcept;
    void let_go(const TablePage& table, Va va) noexcept;
    void unlink_leaves(const TablePage& table, Va va) noexcept;
    // `prune` that leaves the tables of level `stays` and above in the tree, even where they become empty.
    VaRange prune_below(unsigned stays, VaRange range) noexcept;

    // page_table_batch.cpp
    struct Descent {
        TablePage table;               // of the level reached
        std::uint64_t descriptor = 0;  // the entry that points to it
        unsigned level = 0;
    };
    struct Added {
        TablePage table;
        TablePage above;
        unsigned index = 0;  // of the table above
        bool was_emptied = false;
    };
    [[nodiscard]] Descent descend(Va va, unsigned level) const noexcept;
    [[nodiscard]] Result<Descent, TableError> add_tables(Descent at, Va va) noexcept;
    [[nodiscard]] Added pop_added() noexcept;
    void publish_added() noexcept;
    void withdraw_added() noexcept;
    struct Upper {
        std::uint64_t prefix;  // VA over what a table of level 1 spans; UINT64_MAX: of none
        const std::uint64_t* entries;
    };
    [[nodiscard]] Pa table_of_leaves(Va va, Upper& upper) const noexcept;
    // Whether the page is claimed; if not, why.
    [[nodiscard]] bool claim_without_table(Va va, std::uint64_t& filled, TableError& error) noexcept;
    [[nodiscard]] bool claim_hole(Va va, const TablePage& table, std::uint64_t& filled, TableError& error) noexcept;
    [[nodiscard]] TableError why_no_leaf(Va va) const noexcept;
    void clear_claimed(const TablePage& table, Va va) noexcept;

    [[nodiscard]] Translated translate_by_calls(Va va) const noexcept;
    [[nodiscard]] static Translated leaf_target(Va va, std::uint64_t descriptor, std::uint64_t span) noexcept;

    // page_table_inside.hpp
    [[nodiscard]] TablePage page_at(Pa pa) const noexcept;
    [[nodiscard]] TablePage page_in_window(Pa pa) const noexcept;  // where there is one
    void make_visible(const std::uint64_t* first, std::size_t count) noexcept;
    [[nodiscard]] Pa take_table() noexcept;
    bool prefetch_upcoming() noexcept;  // false: it is not known, or not out of the memory
    void put_emptied(const TablePage& table) noexcept;
    [[nodiscard]] Pa pop_emptied() noexcept;
    void forget(Pa table) noexcept;
    [[nodiscard]] std::uint64_t& count_of(LeafSize size) noexcept;
    void release() noexcept;

    // nullptr: moved from. Such an object can only be assigned to or destroyed.
    TableMemory* memory_ = nullptr;
    // Of the window, if there is one: what is added to the PA of a table for its entries, and to the number of its page
    // for its book, all in bytes and modulo 2^64.
    bool has_window_ = false;
    bool is_coherent_ = false;
    std::uintptr_t entries_base_ = 0;
    std::uintptr_t books_base_ = 0;
    // See `translate`. Where there is no window the end is 0.
    std::uintptr_t walk_base_ = 0;
    Va walk_end_;
    std::uint64_t table_bits_ = 0;  // of an entry that points to a table, all but its address
    Va last_va_;
    Pa last_pa_;
    unsigned start_level_ = 0;
    PageTableConfig config_;
    TablePage root_;

    // Pages that are ours and in no tree: reserved in memory_, or emptied (a list through TableBook::next, from
    // last_emptied_ on). They back the credit of the blocks first; the rest is held.
    Pa last_emptied_;
    std::uint64_t reserved_ = 0;
    std::uint64_t emptied_ = 0;
    std::uint64_t tables_ = 0;
    std::uint64_t kept_ = 0;  // of tables_
    LeafCounts leaves_;

    // By level, below the root: the table that the writer passed last. `prefix` is the VA over what the table spans. A
    // table that leaves the tree is forgotten. Readers don't use them.
    struct Passed {
        std::uint64_t prefix = UINT64_MAX;
        Pa table;
    };
    std::array<Passed, 4> passed_;

    // Within a batch: the tables that it has added and not yet published, a list through TableBook::next. Its end is no
    // page's address; 0 may be one.
    static constexpr Pa kNoTable{1};
    Pa last_added_ = kNoTable;
};

// ---- inline, because a walk is little more than its loads ----

// Where there is a window, the CPU's address of an entry is a sum: of the entry above as it stands (a table's PA, and bits
// that are the same in all of them), of the index, and of one constant that takes the rest back. So there is nothing to
// compute between one load and the next.
inline Translated PageTable::translate(Va va) const noexcept {
    if (va >= walk_end_) {
        return translate_by_calls(va);
    }
    const auto below = [base = walk_base_, va](std::uint64_t descriptor, unsigned level) noexcept {
        const std::uintptr_t address = descriptor + (base + index_at(va, level) * sizeof(std::uint64_t));
        // NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer plus what would leave its object on the way
        return load_entry(*reinterpret_cast<const std::uint64_t*>(address));
    };
    // Above the last level only tables have bit 1: blocks don't, nor do entries that are taken for empty.
    const auto is_table = [](std::uint64_t descriptor) noexcept {
        return (descriptor & bits::kTypeTable & ~bits::kTypeBlock) != 0;
    };
    std::uint64_t descriptor = 0;
    if (start_level_ == 0) {
        descriptor = load_entry(root_.entries[index_at(va, 0)]);
        if (!is_table(descriptor)) {
            return {};
        }
        descriptor = below(descriptor, 1);
    } else {
        descriptor = load_entry(root_.entries[index_at(va, 1)]);
    }
    if (!is_table(descriptor)) {
        return leaf_target(va, descriptor, kBlock1GBytes);
    }
    descriptor = below(descriptor, 2);
    if (!is_table(descriptor)) {
        return leaf_target(va, descriptor, kBlock2MBytes);
    }
    return leaf_target(va, below(descriptor, 3), kPageBytes);
}

// `descriptor` is a leaf that spans `span` bytes, or no translation. Bit 0 is set in leaves only.
inline Translated PageTable::leaf_target(Va va, std::uint64_t descriptor, std::uint64_t span) noexcept {
    if ((descriptor & 1) == 0) {
        return {};
    }
    return {Pa{(descriptor & bits::kAddressMask & ~(span - 1)) | (va.raw() & (span - 1))}, span};
}

}  // namespace granule::mali
