#include "allocator/mapping_map.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <utility>

namespace granule {

namespace {

// The first page that starts at or above `va`: an entry starts below `va` exactly if it starts below that page.
constexpr std::uint64_t page_from(Va va) noexcept {
    return std::min(va.raw(), kMaxVaEnd) / kPageBytes + (va.is_aligned(kPageBytes) || va.raw() > kMaxVaEnd ? 0 : 1);
}

}  // namespace

MappingMap::MappingMap(NodeMemory memory) noexcept : tree_(memory) {}

MappingMap::MappingMap(MappingMap&& other) noexcept
    : tree_(std::move(other.tree_)),
      mapped_pages_(std::exchange(other.mapped_pages_, 0)),
      live_credit_(std::exchange(other.live_credit_, 0)),
      held_credit_(std::exchange(other.held_credit_, 0)),
      backed_credit_(std::exchange(other.backed_credit_, 0)),
      plain_(other.plain_) {}

MappingMap& MappingMap::operator=(MappingMap&& other) noexcept {
    if (this != &other) {
        tree_ = std::move(other.tree_);
        mapped_pages_ = std::exchange(other.mapped_pages_, 0);
        live_credit_ = std::exchange(other.live_credit_, 0);
        held_credit_ = std::exchange(other.held_credit_, 0);
        backed_credit_ = std::exchange(other.backed_credit_, 0);
        plain_ = other.plain_;
    }
    return *this;
}

template <bool fast>
inline std::optional<Mapping> MappingMap::find_page(std::uint64_t page) const noexcept {
    const Leaf& leaf = *tree_.seek<fast>(page).leaf;
    const unsigned through = leaf.rank_through<fast>(page);
    if (through == 0 || leaf.end(through - 1) <= page) {
        return std::nullopt;
    }
    return leaf.entry(through - 1).unpack();
}

std::optional<Mapping> MappingMap::find(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd || empty()) {
        return std::nullopt;
    }
    const std::uint64_t page = va.raw() / kPageBytes;
    return plain_ ? find_page<false>(page) : find_page<true>(page);
}

std::optional<Mapping> MappingMap::first_from(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd || empty()) {
        return std::nullopt;
    }
    const std::uint64_t page = va.raw() / kPageBytes;
    const auto [leaf, limit] = tree_.descend<true>(page);
    const unsigned through = leaf->rank_through<true>(page);
    if (through != 0 && leaf->end(through - 1) > page) {
        return leaf->entry(through - 1).unpack();
    }
    if (through < leaf->count) {
        return leaf->entry(through).unpack();
    }
    return limit == kPagesOfVa ? std::nullopt : std::optional{tree_.descend<true>(limit).leaf->entry(0).unpack()};
}

std::optional<Mapping> MappingMap::last_before(Va va) const noexcept {
    const std::uint64_t page = page_from(va);
    if (page == 0 || empty()) {
        return std::nullopt;
    }
    const Leaf& leaf = *tree_.seek<true>(page - 1).leaf;
    const unsigned before = leaf.rank_below<true>(page);
    return before == 0 ? std::nullopt : std::optional{leaf.entry(before - 1).unpack()};
}

void MappingMap::visit_erased(VaRange range, ErasedVisitor visitor, void* context) const {
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = page_from(range.end);
    if (range.empty() || empty() || start >= kPagesOfVa) {
        return;
    }
    auto [leaf, limit] = tree_.descend<true>(start);
    unsigned at = leaf->rank_through<true>(start);
    at -= (at != 0 && leaf->end(at - 1) > start) ? 1U : 0U;
    for (;;) {
        for (; at < leaf->count; ++at) {
            const MappingEntry entry = leaf->entry(at);
            if (entry.start >= end || !visitor(context, entry.unpack())) {
                return;
            }
        }
        if (limit >= end) {
            return;
        }
        const MappingTree::Seat next = tree_.descend<true>(limit);
        leaf = next.leaf;
        limit = next.limit;
        at = 0;
    }
}

bool MappingMap::hold_more(std::uint64_t credit) noexcept {
    const std::optional<std::uint64_t> held = checked_add(held_credit_, credit);
    const std::optional<std::uint64_t> all = held ? checked_add(*held, live_credit_) : std::nullopt;
    if (!all || !tree_.reserve(*all)) {
        return false;
    }
    backed_credit_ = std::max(backed_credit_, *all);
    held_credit_ = *held;
    return true;
}

template <bool fast, bool inserts>
inline bool MappingMap::splice(Leaf& leaf, std::uint64_t start, std::uint64_t end, const MappingEntry& entry) noexcept {
    using Piece = MappingLeaf::Piece;
    const unsigned first = leaf.rank_below<fast>(start);
    const unsigned last = leaf.rank_below<fast>(end);
    // All that starts in [start, end) goes. What starts below may reach into the range, and into its right side too:
    //
    //           start          end
    //     |-------:------|  |-| : |---|     before: cut;  [first, last) go
    //             | |---| |-----:--|                      ... and the last leaves a right rest
    //     |-------:-------------:--|        before is cut, and leaves a right rest
    const std::uint64_t last_end = last == 0 ? 0 : leaf.end(last - 1);
    const std::uint64_t right = last_end > end ? last_end - end : 0;
    const unsigned wanted = (inserts ? 1U : 0U) + (right != 0 ? 1U : 0U);
    const unsigned removed = last - first;
    if (leaf.count + wanted > MappingLeaf::kMost + removed) {
        return false;
    }
    std::uint64_t gone = 0;      // pages
    std::uint64_t gone_odd = 0;  // entries of an odd number of pages
    std::uint64_t left = right + (inserts ? entry.pages : 0);
    std::uint64_t left_odd = (right & 1) + (inserts ? entry.pages & 1 : 0);
    if (first != 0) {
        const std::uint64_t before = leaf.start(first - 1);
        const std::uint64_t pages = leaf.pages(first - 1);
        const std::uint64_t kept = std::min(pages, start - before);
        gone = pages;
        gone_odd = pages & 1;
        left += kept;
        left_odd += kept & 1;
        leaf.set_pages(first - 1, kept);
    }
    const std::uint64_t old_first = leaf.count == 0 ? entry.start : leaf.first_page();
    std::uint64_t free = leaf.free;
    for (unsigned at = first; at < last; ++at) {
        const std::uint64_t pages = leaf.pages(at);
        gone += pages;
        gone_odd += pages & 1;
        free |= std::uint64_t{1} << leaf.place(at);
    }
    Piece rest{};
    if (right != 0) {
        // It keeps the place of what it is the rest of, unless that stays too, cut.
        unsigned place = leaf.place(last - 1);
        if (removed == 0) {
            const ShownPages& shown = leaf.shown[place];
            place = static_cast<unsigned>(std::countr_zero(free));
            leaf.shown[place] = shown;
        }
        free &= ~(std::uint64_t{1} << place);
        rest = Piece::of(end, right, place);
    }
    if (wanted != removed) {
        leaf.move_rest<fast>(last, first + wanted);
    }
    if (right != 0) {
        leaf.put(first + wanted - 1, rest);
    }
    if constexpr (inserts) {
        const auto place = static_cast<unsigned>(std::countr_zero(free));
        free &= free - 1;
        leaf.shown[place] = entry.shown;
        leaf.put(first, Piece::of(entry.start, entry.pages, place));
    }
    leaf.free = free;

    mapped_pages_ += left - gone;
    const std::uint64_t change = (left + left_odd) / 2 - (gone + gone_odd) / 2;  // the sum of ceil(pages / 2)
    live_credit_ += change;
    held_credit_ -= change;
    assert(static_cast<std::int64_t>(held_credit_) >= 0);
    tree_.changed(leaf, old_first, static_cast<int>(wanted) - static_cast<int>(removed));
    return true;
}

template <bool fast>
inline void MappingMap::insert_entry(const MappingEntry& entry) noexcept {
    if (empty()) {
        const bool done = splice<fast, true>(tree_.plant(), entry.start, entry.end(), entry);
        assert(done);
        static_cast<void>(done);
        return;
    }
    while (!splice<fast, true>(*tree_.seek_to_change<fast>(entry.start, entry.start + 1).leaf, entry.start, entry.end(),
                               entry)) {
        tree_.make_room(entry.start);
    }
}

template <bool fast>
inline void MappingMap::erase_pages(std::uint64_t start, std::uint64_t end) noexcept {
    while (start < end && !empty()) {
        const auto [leaf, limit] = tree_.seek_to_change<fast>(start, end);
        const std::uint64_t stop = std::min(end, limit);
        if (splice<fast, false>(*leaf, start, stop, {})) {
            start = stop;
        } else {
            tree_.make_room(start);
        }
    }
}

void MappingMap::insert(const Mapping& mapping) noexcept {
    assert(!first_from(mapping.va.start) || first_from(mapping.va.start)->va.start >= mapping.va.end);
    const MappingEntry entry = MappingEntry::pack(mapping);
    plain_ ? insert_entry<false>(entry) : insert_entry<true>(entry);
}

void MappingMap::erase(VaRange range) noexcept {
    assert(range.is_aligned(kPageBytes) && range.end.raw() <= kMaxVaEnd);
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = range.end.raw() / kPageBytes;
    plain_ ? erase_pages<false>(start, end) : erase_pages<true>(start, end);
}

void MappingMap::replace(VaRange taken, const Mapping& mapping) noexcept {
    assert(taken.contains(mapping.va) && taken.is_aligned(kPageBytes) && taken.end.raw() <= kMaxVaEnd);
    const std::uint64_t start = taken.start.raw() / kPageBytes;
    const std::uint64_t end = taken.end.raw() / kPageBytes;
    const MappingEntry entry = MappingEntry::pack(mapping);
    while (!plain_ && !empty()) {
        const auto [leaf, limit] = tree_.seek_to_change<true>(start, end);
        if (limit < end) {
            break;
        }
        if (splice<true, true>(*leaf, start, end, entry)) {
            return;
        }
        tree_.make_room(start);
    }
    erase(taken);
    insert(mapping);
}

void MappingMap::prefetch_leaf(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd) {
        return;
    }
    const auto* bytes = reinterpret_cast<const char*>(tree_.expected_leaf(va.raw() / kPageBytes));
    for (std::size_t at = 0; at < offsetof(MappingLeaf, shown); at += 64) {
        __builtin_prefetch(bytes + at, 1);
    }
}

bool MappingMap::validate() const noexcept {
    std::uint64_t pages = 0;
    std::uint64_t credit = 0;
    for_each_overlap({Va{0}, Va{kMaxVaEnd}}, [&](const Mapping& mapping) {
        pages += mapping.va.size() / kPageBytes;
        credit += credit_of(mapping.va.size() / kPageBytes);
    });
    return tree_.validate() && pages == mapped_pages_ && credit == live_credit_ &&
           live_credit_ + held_credit_ <= backed_credit_ &&
           MappingTree::most_nodes_for(backed_credit_) <= tree_.pool().capacity();
}

}  // namespace granule
