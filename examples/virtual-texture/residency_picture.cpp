#include "virtual-texture/residency_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "rendering/granule_call.hpp"

namespace streaming {
namespace {

using rendering::Picture;
using rendering::Pixel;
using rendering::rgb;

constexpr int kCell = 5;  // pixels a tile, its gap included
constexpr int kMargin = 16;
constexpr int kTitle = 28;
constexpr int kLegendLine = 18;

constexpr int side_of(std::uint32_t level) {
    return kCell * static_cast<int>(tiles_across(level));
}

struct Corner {
    int x;
    int y;
};

// Where each level is, with room for its number beside it:
//
//     +-------+ +---+
//     |       | | 1 |
//     |   0   | +--++
//     |       | |2 | 3
//     |       | +--+ 4 5 6 7
//     +-------+ legend
constexpr std::array<Corner, kLevels> kCorners = [] {
    constexpr int kGap = 18;
    constexpr int kTop = kMargin + kTitle;
    std::array<Corner, kLevels> corners{};
    corners[0] = {kMargin, kTop};
    corners[1] = {kMargin + side_of(0) + kGap, kTop};
    corners[2] = {corners[1].x, kTop + side_of(1) + kGap};
    corners[3] = {corners[2].x + side_of(2) + kGap, corners[2].y};
    corners[4] = {corners[3].x, corners[3].y + side_of(3) + kGap};
    for (std::uint32_t level = 5; level < kLevels; ++level) {
        corners[level] = {corners[level - 1].x + side_of(level - 1) + kGap, corners[4].y};
    }
    return corners;
}();

constexpr Pixel kPaper = rgb(16, 18, 24);
constexpr Pixel kText = rgb(215, 220, 230);

// How a tile is, and how that looks.
enum Look : std::size_t {
    kSparseBlock,
    kSparsePages,
    kTilePages,
    kTileWanted,
    kTileBlock,
    kTileBlockWanted,
    kTail,
    kLooks
};

struct Legend {
    Pixel colour;
    const char* text;
};

constexpr std::array<Legend, kLooks> kLegend{{
    {rgb(38, 44, 58), "SPARSE, IN A LEAF OF 2 MIB"},
    {rgb(92, 62, 52), "SPARSE, PAGES"},
    {rgb(50, 105, 165), "RESIDENT, PAGES"},
    {rgb(110, 190, 255), "... WANTED BY THIS FRAME"},
    {rgb(50, 130, 80), "RESIDENT, IN A LEAF OF 2 MIB"},
    {rgb(120, 235, 140), "... WANTED BY THIS FRAME"},
    {rgb(205, 165, 60), "MIP TAIL, ALWAYS RESIDENT"},
}};

// The leaf of each tile's first page, by number.
std::vector<std::uint64_t> leaves_of(const granule::Vm& vm, granule_range range) {
    struct Walk {
        granule_range range;
        std::vector<std::uint64_t> leaf;
    };
    Walk walk{range, std::vector<std::uint64_t>(kTiles, 0)};
    const auto visit = [](void* data, const granule_leaves* leaves) {
        auto& into = *static_cast<Walk*>(data);
        const std::uint64_t start = std::max(leaves->va.start, into.range.start) - into.range.start;
        const std::uint64_t end = std::min(leaves->va.end, into.range.end) - into.range.start;
        for (std::uint64_t tile = (start + kTileBytes - 1) / kTileBytes; tile * kTileBytes < end && tile < kTiles;
             ++tile) {
            into.leaf[tile] = leaves->leaf_size;
        }
        return 0;
    };
    rendering::check(granule_vm_walk_leaves(vm.get(), range, visit, &walk), "the walk over the leaves");
    return std::move(walk.leaf);
}

Look look_of(std::uint32_t tile, bool resident, bool wanted, std::uint64_t leaf) {
    if (tile >= kFirstTailTile) {
        return kTail;
    }
    const bool block = leaf > 4096;
    if (!resident) {
        return block ? kSparseBlock : kSparsePages;
    }
    if (block) {
        return wanted ? kTileBlockWanted : kTileBlock;
    }
    return wanted ? kTileWanted : kTilePages;
}

}  // namespace

Picture residency_picture(const granule::Vm& vm, granule_range range, const Residency& residency, std::uint32_t frame,
                          std::string_view title) {
    const std::vector<std::uint64_t> leaf = leaves_of(vm, range);
    Picture picture(kCorners[1].x + side_of(1) + 2 * kMargin, 2 * kMargin + kTitle + side_of(0), kPaper);
    picture.write(kMargin, kMargin, fmt::format("POLICY {}, FRAME {}", title, frame), kText, 3);

    std::array<std::uint32_t, kLooks> counts{};
    for (std::uint32_t level = 0; level < kLevels; ++level) {
        const Corner corner = kCorners[level];
        for (std::uint32_t y = 0; y < tiles_across(level); ++y) {
            for (std::uint32_t x = 0; x < tiles_across(level); ++x) {
                const std::uint32_t tile = tile_number({level, x, y});
                const Look look =
                    look_of(tile, residency.resident()[tile], residency.wanted_in(tile, frame), leaf[tile]);
                ++counts[look];
                picture.fill(corner.x + static_cast<int>(x) * kCell, corner.y + static_cast<int>(y) * kCell, kCell - 1,
                             kCell - 1, kLegend[look].colour);
            }
        }
        picture.write(corner.x + side_of(level) + 4, corner.y, std::to_string(level), kText, 2);
    }

    const int left = kCorners[1].x;
    int top = picture.height - kMargin - static_cast<int>(kLooks) * kLegendLine;
    for (std::size_t look = 0; look < kLooks; ++look) {
        picture.fill(left, top, 12, 12, kLegend[look].colour);
        picture.write(left + 20, top + 1, fmt::format("{:>5} {}", counts[look], kLegend[look].text), kText, 2);
        top += kLegendLine;
    }
    return picture;
}

}  // namespace streaming
