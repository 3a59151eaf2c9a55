#include "allocator/mapping_map.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace granule {

namespace {

using Leaf = MappingTree::Leaf;
using Place = MappingTree::Place;
using Path = MappingTree::Path;

// The first page that starts at or above `va`: an entry starts below `va` exactly if it starts below that page.
constexpr std::uint64_t page_from(Va va) noexcept {
    return std::min(va.raw(), kMaxVaEnd) / kPageBytes + (va.is_aligned(kPageBytes) || va.raw() > kMaxVaEnd ? 0 : 1);
}

// The next entry in order from `place` on, whose index may be the leaf's count. A leaf that is linked is not empty.
Place settled(Place place) noexcept {
    if (place.leaf != nullptr && place.index == place.leaf->count) {
        return {place.leaf->next, 0};
    }
    return place;
}

std::optional<MappingEntry> entry_at(Place place) noexcept {
    place = settled(place);
    return place.leaf == nullptr ? std::nullopt : std::optional{place.leaf->entry(place.index)};
}

std::optional<MappingEntry> entry_before(const Place& place) noexcept {
    return place.index == 0 ? std::nullopt : std::optional{place.leaf->entry(place.index - 1)};
}

std::optional<Mapping> unpacked(const std::optional<MappingEntry>& entry) noexcept {
    return entry ? std::optional{entry->unpack()} : std::nullopt;
}

}  // namespace

MappingMap::MappingMap(NodeMemory memory) noexcept : tree_(memory) {}

MappingMap::MappingMap(MappingMap&& other) noexcept
    : tree_(std::move(other.tree_)),
      mapped_pages_(std::exchange(other.mapped_pages_, 0)),
      live_credit_(std::exchange(other.live_credit_, 0)),
      held_credit_(std::exchange(other.held_credit_, 0)),
      backed_credit_(std::exchange(other.backed_credit_, 0)) {}

MappingMap& MappingMap::operator=(MappingMap&& other) noexcept {
    if (this != &other) {
        tree_ = std::move(other.tree_);
        mapped_pages_ = std::exchange(other.mapped_pages_, 0);
        live_credit_ = std::exchange(other.live_credit_, 0);
        held_credit_ = std::exchange(other.held_credit_, 0);
        backed_credit_ = std::exchange(other.backed_credit_, 0);
    }
    return *this;
}

std::optional<Mapping> MappingMap::find(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd) {
        return std::nullopt;
    }
    const std::uint64_t page = va.raw() / kPageBytes;
    const std::optional<MappingEntry> entry = entry_before(tree_.seek(page + 1));
    return entry && page < entry->end() ? unpacked(entry) : std::nullopt;
}

std::optional<Mapping> MappingMap::first_from(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd) {
        return std::nullopt;
    }
    const std::uint64_t page = va.raw() / kPageBytes;
    const Place place = tree_.seek(page + 1);
    const std::optional<MappingEntry> entry = entry_before(place);
    return unpacked(entry && page < entry->end() ? entry : entry_at(place));
}

std::optional<Mapping> MappingMap::last_before(Va va) const noexcept {
    return unpacked(entry_before(tree_.seek(page_from(va))));
}

void MappingMap::visit_erased(VaRange range, ErasedVisitor visitor, void* context) const {
    if (range.empty()) {
        return;
    }
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = page_from(range.end);
    Place place = tree_.seek(start);
    if (const std::optional<MappingEntry> before = entry_before(place); before && before->end() > start) {
        --place.index;
    }
    for (place = settled(place); place.leaf != nullptr; place = settled({place.leaf, place.index + 1})) {
        const MappingEntry entry = place.leaf->entry(place.index);
        if (entry.start() >= end || !visitor(context, entry.unpack())) {
            return;
        }
    }
}

bool MappingMap::hold(std::uint64_t mappings, std::uint64_t pages) noexcept {
    // The sum of ceil(n / 2) is at most (pages + mappings) / 2, which is all that it can be of an integer: each odd n
    // adds a half. In halves, because the sum of the arguments may not fit.
    const std::uint64_t credit = pages / 2 + mappings / 2 + (pages & mappings & 1U);
    const std::optional<std::uint64_t> held = checked_add(held_credit_, credit);
    const std::optional<std::uint64_t> all = held ? checked_add(*held, live_credit_) : std::nullopt;
    if (!all) {
        return false;
    }
    if (*all > backed_credit_) {
        if (!tree_.reserve(*all)) {
            return false;
        }
        backed_credit_ = *all;
    }
    held_credit_ = *held;
    return true;
}

void MappingMap::give_up(std::uint64_t pages) noexcept {
    mapped_pages_ -= pages;
    live_credit_ -= credit_of(pages);
    held_credit_ += credit_of(pages);
}

void MappingMap::keep(std::uint64_t pages) noexcept {
    assert(held_credit_ >= credit_of(pages));
    mapped_pages_ += pages;
    live_credit_ += credit_of(pages);
    held_credit_ -= credit_of(pages);
}

void MappingMap::insert(const Mapping& mapping) noexcept {
    const MappingEntry entry = MappingEntry::pack(mapping);
    Path path;
    const Place place = tree_.seek(entry.start(), path);
    assert(!entry_before(place) || entry_before(place)->end() <= entry.start());
    assert(!entry_at(place) || entry_at(place)->start() >= entry.end());
    keep(entry.pages());
    tree_.insert(path, place, entry);
}

void MappingMap::erase(VaRange range) noexcept {
    assert(range.is_aligned(kPageBytes) && range.end.raw() <= kMaxVaEnd);
    if (range.empty()) {
        return;
    }
    const std::uint64_t start = range.start.raw() / kPageBytes;
    const std::uint64_t end = range.end.raw() / kPageBytes;
    Path path;
    Place at = tree_.seek(start, path);
    //          start       end
    //   |--before--:--------|                        keeps its head,
    //   |--before--:---------:--tail--|              and its tail too, as a mapping of its own
    if (const std::optional<MappingEntry> before = entry_before(at); before && before->end() > start) {
        at.leaf->values[at.index - 1].set_pages(start - before->start());
        give_up(before->pages());
        keep(start - before->start());
        if (before->end() > end) {
            keep(before->end() - end);
            tree_.insert(path, at, before->from(end));
            return;
        }
    }
    if (at.leaf == nullptr) {
        return;
    }
    std::optional<std::uint64_t> next = erase_in_leaf(path, at, end);
    while (next && *next < end) {
        at = tree_.seek(*next + 1, path);  // the leaf that it is in: a search for itself ends in the one before
        next = erase_in_leaf(path, {at.leaf, at.index - 1}, end);
    }
}

std::optional<std::uint64_t> MappingMap::erase_in_leaf(Path& path, Place at, std::uint64_t end) noexcept {
    Leaf& leaf = *at.leaf;
    unsigned last = leaf.rank(end);
    std::optional<std::uint64_t> next;
    if (last == leaf.count && leaf.next != nullptr) {
        next = leaf.next->first_page();
    }
    //          start              end
    //            |--:--|  |---|  |--:--tail--|
    if (last > at.index) {
        if (const MappingEntry entry = leaf.entry(last - 1); entry.end() > end) {
            --last;
            give_up(entry.pages());
            keep(entry.end() - end);
            tree_.cut_front(path, {&leaf, last}, end);
        }
    }
    for (unsigned index = at.index; index < last; ++index) {
        give_up(leaf.values[index].pages());
    }
    tree_.remove(path, at, last - at.index);
    return next;
}

bool MappingMap::validate() const noexcept {
    std::uint64_t pages = 0;
    std::uint64_t credit = 0;
    std::uint64_t end = 0;
    for (Place place = settled(tree_.seek(0)); place.leaf != nullptr; place = settled({place.leaf, place.index + 1})) {
        const MappingEntry entry = place.leaf->entry(place.index);
        if (entry.start() < end) {
            return false;
        }
        end = entry.end();
        pages += entry.pages();
        credit += credit_of(entry.pages());
    }
    return tree_.validate() && end <= kMaxVaEnd / kPageBytes && pages == mapped_pages_ && credit == live_credit_ &&
           live_credit_ + held_credit_ <= backed_credit_ &&
           MappingTree::most_nodes_for(backed_credit_) <= tree_.pool().capacity();
}

}  // namespace granule
