#include "allocator/granule_ledger.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>
#include <utility>

namespace granule {

namespace {

constexpr std::uint64_t kWindowsPerRegion = kBlock1GBytes / kBlock2MBytes;

// 512 bits.
using Bitmap = std::array<std::uint64_t, 8>;

constexpr bool test(const Bitmap& bits, std::uint64_t at) noexcept {
    return ((bits[at / 64] >> (at % 64)) & 1U) != 0;
}

// Calls visit(word, mask) for the words of a bitmap that bits [first, end) are in, with those bits.
template <class Visit>
constexpr void for_each_word(std::uint64_t first, std::uint64_t end, Visit visit) {
    while (first < end) {
        const std::uint64_t word_end = std::min(end, align_down(first, 64) + 64);
        const std::uint64_t ones = UINT64_MAX >> (64 - (word_end - first));
        visit(first / 64, ones << (first % 64));
        first = word_end;
    }
}

// Both return how many bits changed.
constexpr std::uint64_t set(Bitmap& bits, std::uint64_t first, std::uint64_t end) noexcept {
    std::uint64_t changed = 0;
    for_each_word(first, end, [&](std::uint64_t word, std::uint64_t mask) {
        changed += static_cast<unsigned>(std::popcount(mask & ~bits[word]));
        bits[word] |= mask;
    });
    return changed;
}

constexpr std::uint64_t reset(Bitmap& bits, std::uint64_t first, std::uint64_t end) noexcept {
    std::uint64_t changed = 0;
    for_each_word(first, end, [&](std::uint64_t word, std::uint64_t mask) {
        changed += static_cast<unsigned>(std::popcount(mask & bits[word]));
        bits[word] &= ~mask;
    });
    return changed;
}

constexpr std::uint64_t count(const Bitmap& bits) noexcept {
    std::uint64_t ones = 0;
    for (const std::uint64_t word : bits) {
        ones += static_cast<unsigned>(std::popcount(word));
    }
    return ones;
}

// Joins blocks that follow each other into runs.
class RunJoiner {
public:
    RunJoiner(void (*visitor)(void*, const LeafRun&), void* context) noexcept : visitor_(visitor), context_(context) {}

    void add(const LeafRun& run) {
        if (joined_.count != 0 && joined_.size == run.size && joined_.range().end == run.start) {
            joined_.count += run.count;
            return;
        }
        finish();
        joined_ = run;
    }

    void finish() {
        if (joined_.count != 0) {
            visitor_(context_, joined_);
        }
    }

private:
    void (*visitor_)(void*, const LeafRun&);
    void* context_;
    LeafRun joined_;
};

}  // namespace

// 1 GiB: which of its windows are 2 MiB blocks.
struct alignas(64) GranuleLedger::Region {
    Bitmap blocks_2m{};
};

// 512 GiB: which GiB are 1 GiB blocks, and the regions of those that were ever held.
struct alignas(64) GranuleLedger::Shelf {
    Bitmap blocks_1g{};
    std::array<Region*, kFanOut> regions{};
};

// A part of one GiB: bits [first, end) of its region. `gib` counts from VA 0.
struct GranuleLedger::Part {
    std::uint64_t gib;
    std::uint64_t first;
    std::uint64_t end;

    [[nodiscard]] std::size_t shelf() const noexcept { return gib / kFanOut; }
    [[nodiscard]] std::size_t region() const noexcept { return gib % kFanOut; }
    [[nodiscard]] bool whole() const noexcept { return first == 0 && end == kWindowsPerRegion; }
    [[nodiscard]] Va start() const noexcept { return Va{gib * kBlock1GBytes}; }
    [[nodiscard]] Va window(std::uint64_t at) const noexcept { return start() + at * kBlock2MBytes; }
};

GranuleLedger::GranuleLedger(NodeMemory memory) noexcept
    : shelf_pool_(memory, sizeof(Shelf), alignof(Shelf)), region_pool_(memory, sizeof(Region), alignof(Region)) {}

GranuleLedger::GranuleLedger(GranuleLedger&& other) noexcept
    : shelf_pool_(std::move(other.shelf_pool_)),
      region_pool_(std::move(other.region_pool_)),
      shelves_(std::exchange(other.shelves_, {})),
      blocks_2m_(std::exchange(other.blocks_2m_, 0)),
      blocks_1g_(std::exchange(other.blocks_1g_, 0)) {}

GranuleLedger& GranuleLedger::operator=(GranuleLedger&& other) noexcept {
    if (this != &other) {
        shelf_pool_ = std::move(other.shelf_pool_);
        region_pool_ = std::move(other.region_pool_);
        shelves_ = std::exchange(other.shelves_, {});
        blocks_2m_ = std::exchange(other.blocks_2m_, 0);
        blocks_1g_ = std::exchange(other.blocks_1g_, 0);
    }
    return *this;
}

// Calls visit(Part) for every GiB that windows [first, end) are in, where its shelf is there.
template <class Visit>
void GranuleLedger::for_each_part(std::uint64_t first, std::uint64_t end, Visit visit) const {
    constexpr std::uint64_t kWindowsPerShelf = kWindowsPerRegion * kFanOut;
    while (first < end) {
        if (shelves_[first / kWindowsPerShelf] == nullptr) {
            first = align_down(first, kWindowsPerShelf) + kWindowsPerShelf;
            continue;
        }
        const std::uint64_t region_start = align_down(first, kWindowsPerRegion);
        const std::uint64_t part_end = std::min(end, region_start + kWindowsPerRegion);
        visit(Part{first / kWindowsPerRegion, first - region_start, part_end - region_start});
        first = part_end;
    }
}

bool GranuleLedger::cuts_block(Va va) const noexcept {
    return !va.is_aligned(bytes_of(leaf_at(va)));
}

bool GranuleLedger::hold(VaRange range) noexcept {
    assert(range.end.raw() <= kMaxVaEnd);
    if (range.empty()) {
        return true;
    }
    const std::uint64_t first = range.start.raw() / kBlock1GBytes;
    const std::uint64_t last = (range.end.raw() - 1) / kBlock1GBytes;
    std::uint64_t missing_shelves = 0;
    std::uint64_t missing_regions = 0;
    for (std::uint64_t gib = first; gib <= last; ++gib) {
        const Shelf* shelf = shelves_[gib / kFanOut];
        if (shelf == nullptr && (gib == first || gib % kFanOut == 0)) {
            ++missing_shelves;
        }
        if (shelf == nullptr || shelf->regions[gib % kFanOut] == nullptr) {
            ++missing_regions;
        }
    }
    if (!shelf_pool_.reserve(shelf_pool_.in_use() + missing_shelves) ||
        !region_pool_.reserve(region_pool_.in_use() + missing_regions)) {
        return false;
    }
    for (std::uint64_t gib = first; gib <= last && missing_regions > 0; ++gib) {
        Shelf*& shelf = shelves_[gib / kFanOut];
        if (shelf == nullptr) {
            shelf = ::new (shelf_pool_.take()) Shelf;
        }
        Region*& region = shelf->regions[gib % kFanOut];
        if (region == nullptr) {
            region = ::new (region_pool_.take()) Region;
            --missing_regions;
        }
    }
    return true;
}

void GranuleLedger::mark(const LeafRun& run) noexcept {
    if (run.count == 0) {
        return;
    }
    assert(run.start.is_aligned(bytes_of(run.size)) && run.range().end.raw() <= kMaxVaEnd);
    const std::uint64_t first = run.start.raw() / kBlock2MBytes;
    const std::uint64_t end = run.range().end.align_up(kBlock2MBytes).raw() / kBlock2MBytes;
    clear({run.start.align_down(kBlock2MBytes), run.range().end.align_up(kBlock2MBytes)});
    if (run.size == LeafSize::k4K) {
        return;
    }
    std::uint64_t marked = 0;
    for_each_part(first, end, [&](const Part& part) {
        Shelf& shelf = *shelves_[part.shelf()];
        Region* region = shelf.regions[part.region()];
        assert(region != nullptr);
        if (run.size == LeafSize::k1G) {
            blocks_1g_ += set(shelf.blocks_1g, part.region(), part.region() + 1);
        } else {
            blocks_2m_ += set(region->blocks_2m, part.first, part.end);
        }
        marked += part.end - part.first;
    });
    assert(marked == end - first);
}

void GranuleLedger::clear(VaRange range) noexcept {
    assert(range.end.raw() <= kMaxVaEnd && !cuts_block(range.start) && !cuts_block(range.end));
    // Windows that the range covers in part are no blocks, or it would cut them.
    const std::uint64_t first = range.start.align_up(kBlock2MBytes).raw() / kBlock2MBytes;
    const std::uint64_t end = range.end.raw() / kBlock2MBytes;
    for_each_part(first, end, [&](const Part& part) {
        Shelf& shelf = *shelves_[part.shelf()];
        if (Region* region = shelf.regions[part.region()]; region != nullptr) {
            blocks_2m_ -= reset(region->blocks_2m, part.first, part.end);
        }
        if (part.whole()) {
            blocks_1g_ -= reset(shelf.blocks_1g, part.region(), part.region() + 1);
        }
    });
}

LeafSize GranuleLedger::leaf_at(Va va) const noexcept {
    if (va.raw() >= kMaxVaEnd) {
        return LeafSize::k4K;
    }
    const std::uint64_t gib = va.raw() / kBlock1GBytes;
    const Shelf* shelf = shelves_[gib / kFanOut];
    if (shelf == nullptr) {
        return LeafSize::k4K;
    }
    if (test(shelf->blocks_1g, gib % kFanOut)) {
        return LeafSize::k1G;
    }
    const Region* region = shelf->regions[gib % kFanOut];
    const std::uint64_t window = va.raw() % kBlock1GBytes / kBlock2MBytes;
    return region != nullptr && test(region->blocks_2m, window) ? LeafSize::k2M : LeafSize::k4K;
}

VaRange GranuleLedger::granule_at(Va va) const noexcept {
    assert(va.raw() < kMaxVaEnd);
    const std::uint64_t bytes = bytes_of(leaf_at(va));
    const Va start = va.align_down(bytes);
    return {start, start + bytes};
}

void GranuleLedger::visit_erased(VaRange range, ErasedVisitor visitor, void* context) const {
    if (range.empty()) {
        return;
    }
    assert(range.end.raw() <= kMaxVaEnd);
    const std::uint64_t start = range.start.raw() / kBlock2MBytes;
    const std::uint64_t end = range.end.align_up(kBlock2MBytes).raw() / kBlock2MBytes;
    RunJoiner joiner(visitor, context);
    for_each_part(start, end, [&](const Part& part) {
        const Shelf& shelf = *shelves_[part.shelf()];
        if (test(shelf.blocks_1g, part.region())) {
            joiner.add({part.start(), LeafSize::k1G, 1});
            return;
        }
        const Region* region = shelf.regions[part.region()];
        if (region == nullptr) {
            return;
        }
        for_each_word(part.first, part.end, [&](std::uint64_t word, std::uint64_t mask) {
            std::uint64_t left = region->blocks_2m[word] & mask;
            while (left != 0) {
                const auto first = static_cast<unsigned>(std::countr_zero(left));
                const auto ones = static_cast<unsigned>(std::countr_one(left >> first));
                joiner.add({part.window(word * 64 + first), LeafSize::k2M, ones});
                left &= ~(UINT64_MAX >> (64 - ones) << first);
            }
        });
    });
    joiner.finish();
}

bool GranuleLedger::validate() const noexcept {
    std::uint64_t blocks_2m = 0;
    std::uint64_t blocks_1g = 0;
    std::uint64_t shelves = 0;
    std::uint64_t regions = 0;
    for (const Shelf* shelf : shelves_) {
        if (shelf == nullptr) {
            continue;
        }
        ++shelves;
        blocks_1g += count(shelf->blocks_1g);
        for (std::size_t at = 0; at < kFanOut; ++at) {
            const Region* region = shelf->regions[at];
            const std::uint64_t in_region = region == nullptr ? 0 : count(region->blocks_2m);
            if (in_region != 0 && test(shelf->blocks_1g, at)) {
                return false;
            }
            blocks_2m += in_region;
            if (region != nullptr) {
                ++regions;
            }
        }
    }
    return blocks_2m == blocks_2m_ && blocks_1g == blocks_1g_ && shelves == shelf_pool_.in_use() &&
           regions == region_pool_.in_use();
}

}  // namespace granule
