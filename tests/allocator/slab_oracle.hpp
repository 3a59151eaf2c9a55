// What slabs should look like: a byte a grain, without pieces, bins or joins.
//
// Thread-safety: none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "allocator/slab_space.hpp"

namespace granule::test {

class SlabOracle {
public:
    using State = SlabSpace::State;

    explicit SlabOracle(std::uint64_t grain) : grain_(grain) {}

    void add(SlabId slab, std::uint64_t bytes) { slabs_[slab].assign(bytes / grain_, State::kFree); }
    void remove(SlabId slab) { slabs_.erase(slab); }
    [[nodiscard]] const std::map<SlabId, std::vector<State>>& slabs() const noexcept { return slabs_; }

    [[nodiscard]] std::uint64_t rounded(std::uint64_t bytes) const { return (bytes + grain_ - 1) / grain_ * grain_; }

    // What `piece` covers becomes `state`. "": all of it was `before`.
    std::string change(const SlabPiece& piece, State before, State state) {
        if (piece.offset % grain_ != 0 || piece.bytes % grain_ != 0 || piece.bytes == 0) {
            return "a piece is not of whole grains";
        }
        const auto slab = slabs_.find(piece.slab);
        if (slab == slabs_.end() || (piece.offset + piece.bytes) / grain_ > slab->second.size()) {
            return "a piece reaches out of its slab";
        }
        const auto first = slab->second.begin() + static_cast<std::ptrdiff_t>(piece.offset / grain_);
        const auto end = first + static_cast<std::ptrdiff_t>(piece.bytes / grain_);
        if (!std::all_of(first, end, [&](State at) { return at == before; })) {
            return "a piece overlaps another one";
        }
        std::fill(first, end, state);
        return "";
    }

    // Is there a run of free grains of `bytes` that begins at a multiple of `alignment`?
    [[nodiscard]] bool has_place(std::uint64_t bytes, std::uint64_t alignment) const {
        const std::uint64_t step = std::max(alignment, grain_) / grain_;
        const std::uint64_t grains = rounded(bytes) / grain_;
        for (const auto& [id, map] : slabs_) {
            for (std::uint64_t first = 0; first + grains <= map.size(); first += step) {
                const auto begin = map.begin() + static_cast<std::ptrdiff_t>(first);
                if (std::all_of(begin, begin + static_cast<std::ptrdiff_t>(grains),
                                [](State at) { return at == State::kFree; })) {
                    return true;
                }
            }
        }
        return false;
    }

    // The longest run of free grains, in bytes.
    [[nodiscard]] std::uint64_t largest_free() const {
        std::uint64_t most = 0;
        for (const auto& [id, map] : slabs_) {
            std::uint64_t run = 0;
            for (const State at : map) {
                run = at == State::kFree ? run + 1 : 0;
                most = std::max(most, run);
            }
        }
        return most * grain_;
    }

    // Why `space` is not as it should be; "" if it is.
    [[nodiscard]] std::string disagreement(const SlabSpace& space) const {
        if (!space.validate()) {
            return "an invariant is broken";
        }
        SlabStatistics sums;
        for (const auto& each : slabs_) {
            const SlabId id = each.first;
            const std::vector<State>& map = each.second;
            std::vector<State> seen;
            space.visit(id, [&](State state, std::uint64_t offset, std::uint64_t bytes) {
                if (offset == seen.size() * grain_) {
                    seen.insert(seen.end(), bytes / grain_, state);
                }
            });
            if (seen != map) {
                return "slab " + std::to_string(static_cast<std::uint32_t>(id)) + " is cut otherwise";
            }
            const auto of = [&](State state) {
                return grain_ * static_cast<std::uint64_t>(std::count(map.begin(), map.end(), state));
            };
            const bool idle = of(State::kFree) == map.size() * grain_;
            if (space.is_idle(id) != idle || space.bytes_of(id) != map.size() * grain_) {
                return "a slab is idle, or is not";
            }
            ++sums.slabs;
            sums.idle_slabs += idle ? 1U : 0U;
            sums.slab_bytes += map.size() * grain_;
            sums.piece_bytes += of(State::kOwned);
            sums.retired_bytes += of(State::kRetired);
            sums.free_bytes += of(State::kFree);
        }
        sums.pieces = space.statistics().pieces;
        sums.asked_bytes = space.statistics().asked_bytes;
        sums.retired = space.statistics().retired;
        if (!(sums == space.statistics())) {
            return "the statistics are of something else";
        }
        return space.largest_free() == largest_free() ? "" : "the largest free piece is of another size";
    }

private:
    std::uint64_t grain_;
    std::map<SlabId, std::vector<State>> slabs_;
};

}  // namespace granule::test
