// The map of mappings: which VA shows what, without overlaps.
//
// A B+tree by start page (mapping_tree.hpp) of leaves of up to 63 mappings. What a bind or an unbind does to a leaf is done
// in one step: the left rest of what it cuts, the new mapping, the right rest, and one move of what is behind.
//
// Contract
//   State       Mappings in VA order, none overlapping. Neighbours are never merged: a mapping is one bind or what is
//               left of one, and keeps its serial.
//   Values      VA and size are multiples of 4 KiB within [0, 2^48], offsets are multiples of 4 KiB: asserted.
//   P4          `erase` cuts and removes and cannot fail. Cutting a hole into a mapping makes one mapping more; the
//               worst case of a mapping of n pages is ceil(n / 2) mappings. `hold` sets that much aside, `insert` and
//               `replace` put it into the mapping's credit, and what an erase frees is held until `settle`, so that a
//               roll-back can insert again. `hold` -> erase, insert and replace in any order -> settle; only `hold` can run
//               out of memory.
//   Complexity  find, erase, insert, replace: O(log n) plus the mappings removed; O(1) where a hint tells the leaf.
//               Iteration: O(1) amortised.
//   Thread-safety: none; the VM's lock covers it. Look-ups write nothing.
//   Memory      30 to 31 B per live mapping in random traffic, at most 59 B (and two nodes). Credit is
//               address space, not touched memory: at most 30 B for each page mapped, and half as much again where the
//               pool has just grown. All of it goes back at the map's end.
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

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "allocator/mapping.hpp"
#include "allocator/mapping_node.hpp"
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
    [[nodiscard]] bool hold(std::uint64_t mappings, std::uint64_t pages) noexcept {
        // The sum of ceil(n / 2) is at most (pages + mappings) / 2, which is all that it can be of an integer: each odd n
        // adds a half. In halves, because the sum of the arguments may not fit.
        const std::uint64_t credit = pages / 2 + mappings / 2 + (pages & mappings & 1U);
        if (credit > backed_credit_ - live_credit_ - held_credit_ || (mappings != 0 && !tree_.hints_suit())) {
            return hold_more(credit);
        }
        held_credit_ += credit;
        return true;
    }
    // Removes what is inside `range` and cuts what reaches into it: what is left keeps its backing, byte for byte.
    void erase(VaRange range) noexcept;
    // Precondition: the range is not empty and free, and its credit is held.
    void insert(const Mapping& mapping) noexcept;
    // `erase(taken)` and `insert(mapping)` in one step: what a bind does. `taken` contains the mapping; its credit is held.
    void replace(VaRange taken, const Mapping& mapping) noexcept;
    void replace(const Mapping& mapping) noexcept { replace(mapping.va, mapping); }
    // Bring what an operation at `va` will read into the caches, where the map is too large to be in them anyway: some eight
    // operations ahead what leads to the leaf, and some four ahead all of the leaf. Where there is no time for both, the leaf.
    void prefetch_way(Va va) const noexcept {
        if (size() >= kLarge && va.raw() < kMaxVaEnd) {
            tree_.prefetch_hint(va.raw() / kPageBytes);
        }
    }
    void prefetch(Va va) const noexcept {
        if (size() >= kLarge && va.raw() < kMaxVaEnd) {
            prefetch_leaf(va.raw() / kPageBytes);
        }
    }
    // Gives up what is still held.
    void settle() noexcept { held_credit_ = 0; }

    // How leaves are searched and moved in: by default the widest path that the CPU has. By the plain one, hints are left
    // aside too, and a replacement is an erase and an insert. The answers are the same; for tests, and to find a
    // difference. Precondition: has_node_path(path).
    void use_path(NodePath path) noexcept {
        assert(has_node_path(path));
        path_ = path;
    }
    void use_fast_paths(bool use) noexcept { use_path(use ? widest_node_path() : NodePath::kPlain); }

    [[nodiscard]] std::uint64_t size() const noexcept { return tree_.size(); }
    [[nodiscard]] bool empty() const noexcept { return tree_.size() == 0; }
    [[nodiscard]] std::uint64_t mapped_bytes() const noexcept { return mapped_pages_ * kPageBytes; }
    [[nodiscard]] std::uint64_t credit() const noexcept { return live_credit_; }  // of the mappings, in mappings
    [[nodiscard]] std::uint64_t held_credit() const noexcept { return held_credit_; }
    // Memory in use: that of the nodes, and of the hints where they are.
    [[nodiscard]] std::uint64_t bytes_in_nodes() const noexcept { return tree_.bytes_in_nodes() + bytes_in_hints(); }
    [[nodiscard]] std::uint64_t bytes_in_hints() const noexcept { return tree_.hint_bytes(); }
    [[nodiscard]] std::uint64_t bytes_set_aside() const noexcept { return tree_.bytes_set_aside(); }

    // Checks every invariant; for tests and debug builds. O(size).
    [[nodiscard]] bool validate() const noexcept;

    // Mappings that can be left of one mapping of so many pages.
    [[nodiscard]] static constexpr std::uint64_t credit_of(std::uint64_t pages) noexcept {
        return pages / 2 + pages % 2;
    }

private:
    // Below, a megabyte, the leaves are in the caches closest to the core.
    static constexpr std::uint64_t kLarge = std::uint64_t{1} << 15U;

    using ErasedVisitor = bool (*)(void* context, const Mapping& mapping);
    using Leaf = MappingTree::Leaf;

    void visit_erased(VaRange range, ErasedVisitor visitor, void* context) const;
    // In pages from here on. `Call` is given the path as a type (std::integral_constant).
    template <class Call>
    auto on_path(Call&& call) const noexcept;
    // Takes [`start`, `end`) out of `leaf`, which nothing else in the tree overlaps, and puts `entry`, inside it, there.
    // False: there is no room in the leaf for what this would leave, and nothing changed. In place wherever it is called, so
    // that nothing goes through memory.
    template <NodePath path, bool inserts>
    [[nodiscard, gnu::always_inline]] bool splice(Leaf& leaf, std::uint64_t start, std::uint64_t end,
                                                  const MappingEntry& entry) noexcept;
    template <NodePath path>
    void erase_pages(std::uint64_t start, std::uint64_t end) noexcept;
    template <NodePath path>
    void insert_entry(const MappingEntry& entry) noexcept;
    template <NodePath path>
    void replace_pages(std::uint64_t start, std::uint64_t end, const MappingEntry& entry) noexcept;
    template <NodePath path>
    [[nodiscard]] std::optional<Mapping> find_page(std::uint64_t page) const noexcept;
    [[nodiscard]] bool hold_more(std::uint64_t credit) noexcept;
    void prefetch_leaf(std::uint64_t page) const noexcept;

    MappingTree tree_;
    std::uint64_t mapped_pages_ = 0;
    std::uint64_t live_credit_ = 0;
    std::uint64_t held_credit_ = 0;
    std::uint64_t backed_credit_ = 0;  // what nodes are set aside for
    NodePath path_ = widest_node_path();
};

}  // namespace granule
