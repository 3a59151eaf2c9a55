// One node of the mapping tree: its searches and its moves, each way to do them against the others.
#include "allocator/mapping_node.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

using granule::kPagesOfVa;
using granule::MappingEntry;
using granule::MappingInner;
using granule::MappingLeaf;
using granule::NodePath;
using granule::SplitPage;

namespace {

void append(MappingLeaf& leaf, std::uint64_t start, std::uint64_t pages) {
    const auto at = static_cast<unsigned>(leaf.count++);
    leaf.put(at, MappingLeaf::Piece::of(start, pages, at));
    leaf.shown[at].pack({start, ~start});
    leaf.free &= leaf.free - 1;
}

// Entries of one page at `starts`, ascending.
void fill(MappingLeaf& leaf, const std::vector<std::uint64_t>& starts) {
    leaf.clear();
    for (const std::uint64_t start : starts) {
        append(leaf, start, 1);
    }
}

// `count` different pages in [`low`, `low` + `span`), ascending.
std::vector<std::uint64_t> pages_of(std::mt19937_64& random, unsigned count, std::uint64_t low, std::uint64_t span) {
    std::vector<std::uint64_t> pages;
    while (pages.size() < count) {
        const std::uint64_t page = low + random() % span;
        if (std::find(pages.begin(), pages.end(), page) == pages.end()) {
            pages.push_back(page);
        }
    }
    std::sort(pages.begin(), pages.end());
    return pages;
}

struct Window {
    std::uint64_t low;
    std::uint64_t span;
};
// Crowded into few sixteens, spread over all, at either end of the space.
constexpr std::array<Window, 6> kWindows = {
    {{0, 128}, {5, 700}, {0, kPagesOfVa}, {kPagesOfVa - 128, 128}, {kPagesOfVa / 2 - 64, 128}, {1U << 30U, 1U << 20U}}};

// `call` with each path that there is, as a type.
template <class Call>
void on_every_path(Call call) {
    call(std::integral_constant<NodePath, NodePath::kPlain>{});
    call(std::integral_constant<NodePath, NodePath::kVectors>{});
    if (granule::has_node_path(NodePath::kAvx512)) {
        call(std::integral_constant<NodePath, NodePath::kAvx512>{});
    }
}

// What is worth asking about: each page, its neighbours, and the ends of the space.
std::vector<std::uint64_t> questions(const std::vector<std::uint64_t>& pages) {
    std::vector<std::uint64_t> all = {0, 1, 15, 16, kPagesOfVa - 17, kPagesOfVa - 16, kPagesOfVa - 1, kPagesOfVa};
    for (const std::uint64_t page : pages) {
        all.insert(all.end(), {page, page + 1, page ^ 15U, page - (page != 0 ? 1 : 0)});
    }
    return all;
}

}  // namespace

TEST_CASE("a page number survives its division, and its upper half is in its order") {
    std::int32_t before = INT32_MIN;
    for (const std::uint64_t page : {std::uint64_t{0}, std::uint64_t{15}, std::uint64_t{16}, kPagesOfVa / 2 - 1,
                                     kPagesOfVa / 2, kPagesOfVa - 1, kPagesOfVa}) {
        const SplitPage split = SplitPage::of(page);
        CHECK(split.joined() == page);
        CHECK(split.upper >= before);
        before = split.upper;
    }
}

TEST_CASE("an entry survives a leaf, at the edges of every field") {
    MappingLeaf leaf;
    for (const std::uint64_t start : {std::uint64_t{0}, std::uint64_t{17}, kPagesOfVa / 2 - 1, kPagesOfVa - 1}) {
        for (const std::uint64_t pages : {std::uint64_t{1}, std::uint64_t{16}, std::uint64_t{17}, kPagesOfVa - start}) {
            if (pages > kPagesOfVa - start) {
                continue;
            }
            leaf.clear();
            append(leaf, start, pages);
            CHECK(leaf.start(0) == start);
            CHECK(leaf.pages(0) == pages);
            CHECK(leaf.end(0) == start + pages);
            leaf.set_pages(0, (pages + 1) / 2);
            CHECK(leaf.start(0) == start);
            CHECK(leaf.pages(0) == (pages + 1) / 2);
            CHECK(leaf.entry(0).shown == granule::ShownPages{start, ~start});
        }
    }
}

TEST_CASE("searches in a leaf agree with counting, on every path") {
    std::mt19937_64 random(1);
    MappingLeaf leaf;
    for (const Window& window : kWindows) {
        for (unsigned count = 0; count <= MappingLeaf::kMost; ++count) {
            const std::vector<std::uint64_t> starts = pages_of(random, count, window.low, window.span);
            fill(leaf, starts);
            for (const std::uint64_t page : questions(starts)) {
                if (page == kPagesOfVa) {
                    continue;
                }
                const auto below =
                    static_cast<unsigned>(std::lower_bound(starts.begin(), starts.end(), page) - starts.begin());
                bool same = true;
                on_every_path([&](auto path) { same = same && leaf.rank_below<path>(page) == below; });
                if (!same) {
                    CAPTURE(page);
                    FAIL("a wrong number of starts below");
                }
                const auto through =
                    static_cast<unsigned>(std::upper_bound(starts.begin(), starts.end(), page) - starts.begin());
                on_every_path([&](auto path) { same = same && leaf.rank_through<path>(page) == through; });
                if (!same) {
                    CAPTURE(page);
                    FAIL("a wrong number of starts at or below");
                }
            }
        }
    }
}

TEST_CASE("searches in an inner node agree with counting, by vectors and by halving") {
    std::mt19937_64 random(2);
    MappingInner inner;
    for (unsigned count = 1; count <= MappingInner::kMost; ++count) {
        // Children are as far apart as leaves are, at least.
        const bool crowded = count % 2 == 0;
        std::vector<std::uint64_t> firsts;
        std::uint64_t first = crowded ? kPagesOfVa - std::uint64_t{count + 1} * 40 : random() % 1000;
        inner.clear();
        for (unsigned at = 0; at < count; ++at) {
            inner.append({first, nullptr});
            firsts.push_back(first);
            first += MappingLeaf::kLeast + random() % (crowded ? 10 : 100'000'000);
        }
        for (const std::uint64_t page : questions(firsts)) {
            const auto through = std::upper_bound(firsts.begin(), firsts.end(), page) - firsts.begin();
            const unsigned expected = through == 0 ? 0 : static_cast<unsigned>(through - 1);
            if (page != kPagesOfVa &&
                (inner.child_of<true>(page) != expected || inner.child_of<false>(page) != expected)) {
                CAPTURE(count);
                CAPTURE(page);
                FAIL("a wrong child");
            }
        }
    }
}

TEST_CASE("what moves in a leaf arrives on every path, and nothing else changes") {
    std::mt19937_64 random(3);
    MappingLeaf original;
    for (unsigned count = 0; count <= MappingLeaf::kMost; ++count) {
        fill(original, pages_of(random, count, 1000, 100000));
        for (unsigned from = 0; from <= count; ++from) {
            for (unsigned to = 0; to <= from + 2 && to + (count - from) <= MappingLeaf::kMost; ++to) {
                if (to == from) {
                    continue;
                }
                bool same = true;
                on_every_path([&](auto path) {
                    MappingLeaf leaf = original;
                    leaf.move_rest<path>(from, to);
                    same = same && leaf.count == to + (count - from) && leaf.free == original.free &&
                           leaf.reach == original.reach && leaf.shown == original.shown;
                    for (unsigned at = 0; at < MappingLeaf::kMost && same; ++at) {
                        if (at < leaf.count && (at < std::min(from, to) || at >= to)) {
                            const unsigned old = at < to ? at : at - to + from;
                            same = leaf.start(at) == original.start(old) && leaf.pages(at) == original.pages(old) &&
                                   leaf.place(at) == original.place(old);
                        } else if (at >= leaf.count) {
                            same = leaf.starts[at] == granule::kNoUpper;
                        }
                    }
                });
                if (!same) {
                    CAPTURE(count);
                    CAPTURE(from);
                    CAPTURE(to);
                    FAIL("something is lost");
                }
            }
        }
    }
}

TEST_CASE("entries that go to other leaves by a run stay what they were, wherever they were shown") {
    std::mt19937_64 random(4);
    constexpr unsigned kAll = 40 + MappingLeaf::kMost;
    MappingLeaf first;
    MappingLeaf second;
    fill(first, pages_of(random, 40, 0, 1000));
    fill(second, pages_of(random, MappingLeaf::kMost, 2000, 1000));
    // Places in another order than that of the entries.
    for (unsigned at = 0; at + 1 < first.count; at += 2) {
        const MappingEntry left = first.entry(at);
        const MappingEntry right = first.entry(at + 1);
        const unsigned place = first.place(at);
        std::swap(first.shown[place], first.shown[first.place(at + 1)]);
        first.put(at, MappingLeaf::Piece::of(left.start, 1, first.place(at + 1)));
        first.put(at + 1, MappingLeaf::Piece::of(right.start, 1, place));
        REQUIRE(first.entry(at).shown == left.shown);
        REQUIRE(first.entry(at + 1).shown == right.shown);
    }
    MappingLeaf::Run<2> run;
    first.append_to(run);
    second.append_to(run);
    REQUIRE(run.count == kAll);
    for (unsigned cut = 40; cut <= MappingLeaf::kMost; ++cut) {
        MappingLeaf low;
        MappingLeaf high;
        low.assign(run, 0, cut);
        high.assign(run, cut, kAll);
        CHECK(low.count == cut);
        CHECK(high.count == kAll - cut);
        for (unsigned at = 0; at < kAll; ++at) {
            const MappingEntry moved = at < cut ? low.entry(at) : high.entry(at - cut);
            const MappingEntry old = at < 40 ? first.entry(at) : second.entry(at - 40);
            REQUIRE(moved.start == old.start);
            REQUIRE(moved.pages == old.pages);
            REQUIRE(moved.shown == old.shown);
        }
    }
}
