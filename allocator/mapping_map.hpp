// The map of mappings: which VA shows what, without overlaps.
//
// A B+tree by start page (mapping_tree.hpp): leaves of up to 64 mappings hold their start pages in one array, for the
// search, and the rest in another, and are linked. Cutting happens in the leaf, and takes a node only where a leaf is
// full.
//
// Contract
//   State       Mappings in VA order, none overlapping. Neighbours are never merged: a mapping is one bind or what is
//               left of one, and keeps its serial.
//   Values      VA and size are multiples of 4 KiB within [0, 2^48], offsets are multiples of 4 KiB: asserted.
//   P4          `erase` cuts and removes and cannot fail. Cutting a hole into a mapping makes one mapping more; the
//               worst case of a mapping of n pages is ceil(n / 2) mappings. `hold` sets that much aside, `insert` puts
//               it into the mapping's credit, and what an erase frees is held until `settle`, so that a roll-back can
//               insert again. `hold` -> erase and insert in any order -> settle; only `hold` can run out of memory.
//   Complexity  find, erase, insert: O(log n) plus the mappings removed. Iteration: O(1) amortised.
//   Thread-safety: none; the VM's lock covers it.
//   Memory      31 to 37 B per live mapping in random traffic, at most 69 B (and one node). Credit is address space,
//               not touched memory: at most 35 B for each page mapped, and half as much again where the pool has just
//               grown. All of it goes back at the map's end.
//   Not here    what the leaves are (granule_ledger.hpp), which BOs exist, what was there before.
//
// Credit
//   credit_of(n) = ceil(n / 2) for a mapping of n pages: mappings of one page with holes of one page between them are
//   the most that can be left of it. The sum over all mappings never grows by an erase. A hole of h >= 1 pages is cut:
//
//       before  |------------- n -------------|      a + h + b = n
//       after   |---- a ----|  h  |---- b ----|
//
//   ceil(a / 2) + ceil(b / 2) <= ceil(n / 2): if a and b are odd, the left side is
//   (a + b) / 2 + 1 = ceil((a + b + 1) / 2); otherwise it is ceil((a + b) / 2). Cutting an end is the same with b = 0.
//   So at any time there are at most (sum over mappings) + (held) mappings, and nodes are set aside for the largest
//   tree of that many (MappingTree::most_nodes_for).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "allocator/mapping.hpp"
#include "allocator/mapping_tree.hpp"
#include "allocator/node_memory.hpp"
#include "mali/address.hpp"

namespace granule {

class MappingMap {
public:
    explicit MappingMap(NodeMemory memory = NodeMemory::process()) noexcept;
    MappingMap(MappingMap&& other) noexcept;  // `other` becomes an empty map
    MappingMap& operator=(MappingMap&& other) noexcept;
    MappingMap(const MappingMap&) = delete;
    MappingMap& operator=(const MappingMap&) = delete;
    ~MappingMap() = default;

    // The mapping that contains `va`.
    [[nodiscard]] std::optional<Mapping> find(Va va) const noexcept;
    // The first mapping that ends above `va`: the one that contains it, or the next above it.
    [[nodiscard]] std::optional<Mapping> first_from(Va va) const noexcept;
    // The last mapping that starts below `va`: the one that covers the byte below it, or the next lower.
    [[nodiscard]] std::optional<Mapping> last_before(Va va) const noexcept;

    // Calls `visitor(const Mapping&)` for the mappings that overlap `range`, ascending; whole mappings, not clipped.
    // A visitor that returns bool stops the walk with false. It must not change the map.
    template <class Visitor>
    void for_each_overlap(VaRange range, Visitor&& visitor) const {
        visit_erased(
            range,
            [](void* context, const Mapping& mapping) -> bool {
                auto& call = *static_cast<std::remove_reference_t<Visitor>*>(context);
                if constexpr (std::is_same_v<std::invoke_result_t<Visitor&, const Mapping&>, bool>) {
                    return call(mapping);
                } else {
                    call(mapping);
                    return true;
                }
            },
            &visitor);
    }

    // Sets aside what inserting `mappings` mappings that span `pages` pages in total can ever need, erases that cut
    // them later included. Adds to what is held already. False: there is not so much memory, and nothing changed.
    [[nodiscard]] bool hold(std::uint64_t mappings, std::uint64_t pages) noexcept;
    // Removes what is inside `range` and cuts what reaches into it: what is left keeps its backing, byte for byte.
    void erase(VaRange range) noexcept;
    // Precondition: the range is not empty and free, and its credit is held.
    void insert(const Mapping& mapping) noexcept;
    // Gives up what is still held.
    void settle() noexcept { held_credit_ = 0; }

    [[nodiscard]] std::uint64_t size() const noexcept { return tree_.size(); }
    [[nodiscard]] bool empty() const noexcept { return tree_.size() == 0; }
    [[nodiscard]] std::uint64_t mapped_bytes() const noexcept { return mapped_pages_ * kPageBytes; }
    [[nodiscard]] std::uint64_t credit() const noexcept { return live_credit_; }  // of the mappings, in mappings
    [[nodiscard]] std::uint64_t held_credit() const noexcept { return held_credit_; }
    [[nodiscard]] std::uint64_t bytes_in_nodes() const noexcept { return tree_.pool().bytes_in_use(); }
    [[nodiscard]] std::uint64_t bytes_set_aside() const noexcept { return tree_.pool().bytes_reserved(); }

    // Checks every invariant; for tests and debug builds. O(size).
    [[nodiscard]] bool validate() const noexcept;

    // Mappings that can be left of one mapping of so many pages.
    [[nodiscard]] static constexpr std::uint64_t credit_of(std::uint64_t pages) noexcept {
        return pages / 2 + pages % 2;
    }

private:
    using ErasedVisitor = bool (*)(void* context, const Mapping& mapping);

    void visit_erased(VaRange range, ErasedVisitor visitor, void* context) const;
    // Removes and cuts what starts in [`at`, `end`), as far as the leaf of `at` goes; `path` and `at` are spent.
    // Returns where the next entry starts, if it may be below `end` too.
    [[nodiscard]] std::optional<std::uint64_t> erase_in_leaf(MappingTree::Path& path, MappingTree::Place at,
                                                             std::uint64_t end) noexcept;
    // Accounts for a mapping of so many pages that is gone, or that is there.
    void give_up(std::uint64_t pages) noexcept;
    void keep(std::uint64_t pages) noexcept;

    MappingTree tree_;
    std::uint64_t mapped_pages_ = 0;
    std::uint64_t live_credit_ = 0;
    std::uint64_t held_credit_ = 0;
    std::uint64_t backed_credit_ = 0;  // what nodes are set aside for
};

}  // namespace granule
