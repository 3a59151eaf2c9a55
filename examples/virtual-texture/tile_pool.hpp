// Which places for tiles are free. The memory is in a few large BOs, so that residency is a matter of which offset is mapped
// where, and nothing is allocated while flying.
//
//     BO    |.......... block 0: 2 MiB, 32 slots ..........|.......... block 1 ..........|
//
// A window of 32 tiles that is wanted as a whole takes a block: 2 MiB that can be one leaf. Single tiles fill the blocks that
// are in use already, so that whole ones stay.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "virtual-texture/texture_layout.hpp"

namespace streaming {

using Slot = std::uint32_t;

class TilePool {
public:
    explicit TilePool(std::uint32_t slots)
        : free_((slots + kWindowTiles - 1) / kWindowTiles, kAll), free_count_(slots) {
        if (const std::uint32_t rest = slots % kWindowTiles; rest != 0) {
            free_.back() = (1U << rest) - 1;
        }
    }

    [[nodiscard]] std::uint32_t free_slots() const noexcept { return free_count_; }

    [[nodiscard]] std::optional<Slot> take() noexcept {
        std::size_t best = free_.size();
        for (std::size_t block = 0; block < free_.size(); ++block) {
            if (free_[block] != 0 &&
                (best == free_.size() || std::popcount(free_[block]) < std::popcount(free_[best]))) {
                best = block;
            }
        }
        if (best == free_.size()) {
            return std::nullopt;
        }
        const auto place = static_cast<Slot>(std::countr_zero(free_[best]));
        free_[best] &= free_[best] - 1;
        --free_count_;
        return static_cast<Slot>(best) * kWindowTiles + place;
    }
    // The first of 32 that are a block.
    [[nodiscard]] std::optional<Slot> take_block() noexcept {
        for (std::size_t block = 0; block < free_.size(); ++block) {
            if (free_[block] == kAll) {
                free_[block] = 0;
                free_count_ -= kWindowTiles;
                return static_cast<Slot>(block) * kWindowTiles;
            }
        }
        return std::nullopt;
    }
    void give_back(Slot slot) noexcept {
        free_[slot / kWindowTiles] |= 1U << slot % kWindowTiles;
        ++free_count_;
    }

private:
    static constexpr std::uint32_t kAll = UINT32_MAX;

    std::vector<std::uint32_t> free_;  // a bit a slot
    std::uint32_t free_count_;
};

}  // namespace streaming
