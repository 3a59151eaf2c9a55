#include "allocator/mapping_map.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace granule {

namespace {

constexpr std::size_t kCacheLine = 64;

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
      path_(other.path_) {}

MappingMap& MappingMap::operator=(MappingMap&& other) noexcept {
    if (this != &other) {
        tree_ = std::move(other.tree_);
        mapped_pages_ = std::exchange(other.mapped_pages_, 0);
        live_credit_ = std::exchange(other.live_credit_, 0);
        held_credit_ = std::exchange(other.held_credit_, 0);
        backed_credit_ = std::exchange(other.backed_credit_, 0);
        path_ = other.path_;
    }
    return *this;
}

template <class Call>
inline auto MappingMap::on_path(Call&& call) const noexcept {
    switch (path_) {
        case NodePath::kPlain:
            return call(std::integral_constant<NodePath, NodePath::kPlain>{});
        case NodePath::kAvx512:
            return call(std::integral_constant<NodePath, NodePath::kAvx512>{});
        case NodePath::kVectors:
            break;
    }
    return call(std::integral_constant<NodePath, NodePath::kVectors>{});
}

template <NodePath path>
inline std::optional<Mapping> MappingMap::find_page(std::uint64_t page) const noexcept {
    const Leaf& leaf = *tree_.seek<path != NodePath::kPlain>(page).leaf;
    const unsigned through = leaf.rank_through<path>(page);
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
    return on_path([&](auto path) { return find_page<path>(page); });
}

std::optional<Mapping> MappingMap::first_from(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd || empty()) {
        return std::nullopt;
    }
    const std::uint64_t page = va.raw() / kPageBytes;
    const auto [leaf, limit] = tree_.descend<true>(page);
    const unsigned through = leaf->rank_through<NodePath::kVectors>(page);
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
    const unsigned before = leaf.rank_through<NodePath::kVectors>(page - 1);
    return before == 0 ? std::nullopt : std::optional{leaf.entry(before - 1).unpack()};
}

void MappingMap::visit_erased(VaRange range, ErasedVisitor visitor, void* context) const {
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = page_from(range.end);
    if (range.empty() || empty() || start >= kPagesOfVa) {
        return;
    }
    auto [leaf, limit] = tree_.descend<true>(start);
    unsigned at = leaf->rank_through<NodePath::kVectors>(start);
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

template <NodePath path, bool inserts>
inline bool MappingMap::splice(Leaf& leaf, std::uint64_t start, std::uint64_t end, const MappingEntry& entry) noexcept {
    using Piece = MappingLeaf::Piece;
    // All that starts in [start, end) goes. What starts below may reach into the range, and into its right side too:
    //
    //           start          end
    //     |-------:------|  |-| : |---|     before: cut;  [first, last) go
    //             | |---| |-----:--|                      ... and the last leaves a right rest
    //     |-------:-------------:--|        before is cut, and leaves a right rest
    //
    // The last is found by going there: mostly there is one to go or none, and all that go are to be looked at anyway.
    const unsigned first = leaf.rank_below<path>(start);
    std::uint64_t reach = 0;  // of what starts below `end`
    std::uint64_t gone = 0;   // pages
    std::uint64_t left = inserts ? entry.pages : 0;
    std::uint64_t gone_credit = 0;
    std::uint64_t left_credit = inserts ? credit_of(entry.pages) : 0;
    std::uint64_t kept = 0;  // of what is before
    if (first != 0) {
        const std::uint64_t before = leaf.start(first - 1);
        const std::uint64_t pages = leaf.pages(first - 1);
        reach = before + pages;
        // Whether it is cut or not: to ask would be a branch that nothing predicts.
        kept = std::min(start, reach) - before;
        gone = pages;
        gone_credit = credit_of(pages);
        left += kept;
        left_credit += credit_of(kept);
    }
    std::uint64_t free = leaf.free;
    unsigned last = first;
    for (; last < leaf.count; ++last) {
        const std::uint64_t begin = leaf.start(last);
        if (begin >= end) {
            break;
        }
        const std::uint64_t pages = leaf.pages(last);
        reach = begin + pages;
        gone += pages;
        gone_credit += credit_of(pages);
        free |= std::uint64_t{1} << leaf.place(last);
    }
    const unsigned removed = last - first;
    const bool rests = reach > end;
    const unsigned wanted = (inserts ? 1U : 0U) + (rests ? 1U : 0U);
    if (leaf.count + wanted > MappingLeaf::kMost + removed) {
        return false;
    }
    const std::uint64_t old_first = first == 0 && leaf.count != 0 ? leaf.first_page() : start;
    Piece rest{};
    if (rests) {
        // It keeps the place of what it is the rest of, unless that stays too, cut.
        unsigned place = leaf.place(last - 1);
        if (removed == 0) {
            const PackedShownPages& shown = leaf.shown[place];
            place = static_cast<unsigned>(std::countr_zero(free));
            leaf.shown[place] = shown;
        }
        free &= ~(std::uint64_t{1} << place);
        rest = Piece::of(end, reach - end, place);
        left += reach - end;
        left_credit += credit_of(reach - end);
    }
    if (wanted != removed) {
        leaf.move_rest<path>(last, first + wanted);
    }
    if (first != 0) {
        leaf.set_pages(first - 1, kept);
    }
    if (rests) {
        leaf.put(first + wanted - 1, rest);
    }
    if constexpr (inserts) {
        const auto place = static_cast<unsigned>(std::countr_zero(free));
        free &= free - 1;
        leaf.shown[place].pack(entry.shown);
        leaf.put(first, Piece::of(entry.start, entry.pages, place));
    }
    leaf.free = free;

    mapped_pages_ += left - gone;
    const std::uint64_t change = left_credit - gone_credit;
    live_credit_ += change;
    held_credit_ -= change;
    assert(static_cast<std::int64_t>(held_credit_) >= 0);
    if (first == 0) [[unlikely]] {
        tree_.begins(leaf, old_first);
    }
    tree_.resized(leaf, old_first, static_cast<int>(wanted) - static_cast<int>(removed));
    return true;
}

template <NodePath path>
inline void MappingMap::insert_entry(const MappingEntry& entry) noexcept {
    if (empty()) {
        const bool done = splice<path, true>(tree_.plant(), entry.start, entry.end(), entry);
        assert(done);
        static_cast<void>(done);
        return;
    }
    while (!splice<path, true>(*tree_.seek_to_change<path != NodePath::kPlain>(entry.start, entry.start + 1).leaf,
                               entry.start, entry.end(), entry)) {
        tree_.make_room(entry.start);
    }
}

template <NodePath path>
inline void MappingMap::erase_pages(std::uint64_t start, std::uint64_t end) noexcept {
    while (start < end && !empty()) {
        const auto [leaf, limit] = tree_.seek_to_change<path != NodePath::kPlain>(start, end);
        const std::uint64_t stop = std::min(end, limit);
        if (splice<path, false>(*leaf, start, stop, {})) {
            start = stop;
        } else {
            tree_.make_room(start);
        }
    }
}

void MappingMap::insert(const Mapping& mapping) noexcept {
    assert(!first_from(mapping.va.start) || first_from(mapping.va.start)->va.start >= mapping.va.end);
    const MappingEntry entry = MappingEntry::pack(mapping);
    on_path([&](auto path) { insert_entry<path>(entry); });
}

void MappingMap::erase(VaRange range) noexcept {
    assert(range.is_aligned(kPageBytes) && range.end.raw() <= kMaxVaEnd);
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = range.end.raw() / kPageBytes;
    on_path([&](auto path) { erase_pages<path>(start, end); });
}

template <NodePath path>
inline void MappingMap::replace_pages(std::uint64_t start, std::uint64_t end, const MappingEntry& entry) noexcept {
    while (path != NodePath::kPlain && !empty()) {
        const auto [leaf, limit] = tree_.seek_to_change<true>(start, end);
        if (limit < end) {
            break;
        }
        if (splice<path, true>(*leaf, start, end, entry)) {
            return;
        }
        tree_.make_room(start);
    }
    erase_pages<path>(start, end);
    insert_entry<path>(entry);
}

void MappingMap::replace(VaRange taken, const Mapping& mapping) noexcept {
    assert(taken.contains(mapping.va) && taken.is_aligned(kPageBytes) && taken.end.raw() <= kMaxVaEnd);
    const std::uint64_t start = taken.start.raw() / kPageBytes;
    const std::uint64_t end = taken.end.raw() / kPageBytes;
    const MappingEntry entry = MappingEntry::pack(mapping);
    on_path([&](auto path) { replace_pages<path>(start, end, entry); });
}

// What the mappings show too: which of it the operation reads is only known when the rest is there, and to wait twice is worse
// than to ask for more than that.
void MappingMap::prefetch_leaf(std::uint64_t page) const noexcept {
    const auto* const leaf = reinterpret_cast<const char*>(tree_.expected_leaf(page));
    for (std::size_t at = 0; at < sizeof(Leaf); at += kCacheLine) {
        __builtin_prefetch(leaf + at, 1);
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
           MappingTree::most_nodes_for(backed_credit_).leaves <= tree_.reserved_nodes().leaves &&
           MappingTree::most_nodes_for(backed_credit_).inners <= tree_.reserved_nodes().inners;
}

}  // namespace granule
