#include "virtual-texture/residency.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <tuple>

#include "virtual-texture/gpu_frame.hpp"

namespace streaming {

Residency::Residency(std::uint32_t budget, std::uint32_t loads)
    : pool_(budget),
      loads_(std::min(loads, budget / 2)),
      tiles_(kTiles),
      resident_(kTiles, false),
      whole_(kTiles / kWindowTiles + 1, false) {
    std::fill(resident_.begin() + kFirstTailTile, resident_.end(), true);
}

Step Residency::advance(std::uint32_t frame, std::span<const std::uint32_t> feedback) {
    Step step;
    note(frame, feedback);
    settle_retired(frame, step);
    load(frame, step);
    join_unbinds(step);
    retire(frame);
    return step;
}

// Who is wanted: by the pixels of the feedback, each of which is a wish for the coarser tiles above too.
void Residency::note(std::uint32_t frame, std::span<const std::uint32_t> feedback) {
    for (const std::uint32_t tile : wanted_) {
        tiles_[tile].pixels = 0;
    }
    wanted_.clear();
    for (const std::uint32_t number : feedback) {
        if (number == kNoTile) {
            continue;
        }
        for (Tile tile = tile_of(number); tile.level < kTailLevel; tile = parent_of(tile)) {
            const std::uint32_t wanted = tile_number(tile);
            Entry& entry = tiles_[wanted];
            if (entry.pixels++ == 0) {
                wanted_.push_back(wanted);
            }
            entry.last_wanted = frame;
        }
    }
    // A window that was loaded whole stays whole while any of it is wanted.
    for (const std::uint32_t tile : wanted_) {
        if (whole_[tile / kWindowTiles]) {
            keep_window(tile, frame);
        }
    }
}

void Residency::keep_window(std::uint32_t tile, std::uint32_t frame) {
    const std::size_t first = std::size_t{tile / kWindowTiles} * kWindowTiles;
    for (Entry& entry : std::span(tiles_).subspan(first, kWindowTiles)) {
        entry.last_wanted = frame;
    }
}

void Residency::settle_retired(std::uint32_t frame, Step& step) {
    for (const std::uint32_t tile : retired_) {
        if (tiles_[tile].last_wanted == frame) {
            set(tile, State::kResident);
            continue;
        }
        set(tile, State::kAbsent);
        pool_.give_back(tiles_[tile].slot);
        step.unbinds.push_back({tile, 1});
    }
    retired_.clear();
}

// The coarse ones first, so that there is something everywhere soon; then what most pixels want.
void Residency::load(std::uint32_t frame, Step& step) {
    std::vector<std::uint32_t> missing;
    std::ranges::copy_if(wanted_, std::back_inserter(missing),
                         [this](std::uint32_t tile) { return tiles_[tile].state == State::kAbsent; });
    const auto urgency = [this](std::uint32_t tile) {
        return std::tuple(kLevels - tile_of(tile).level, UINT32_MAX - tiles_[tile].pixels, tile);
    };
    std::ranges::sort(missing, {}, urgency);
    loads_left_ = loads_;
    for (const std::uint32_t tile : missing) {
        if (tiles_[tile].state != State::kAbsent || load_window(frame, tile, step)) {
            continue;
        }
        const std::optional<Slot> slot = loads_left_ > 0 ? pool_.take() : std::nullopt;
        if (!slot) {
            break;
        }
        tiles_[tile].slot = *slot;
        set(tile, State::kResident);
        step.loads.push_back({tile, *slot, 1});
        ++step.tiles_loaded;
        --loads_left_;
    }
}

// Where much of a window is wanted and none of it is there, all of it is loaded, into one block.
bool Residency::load_window(std::uint32_t frame, std::uint32_t tile, Step& step) {
    constexpr std::ptrdiff_t kEnough = 10;
    const std::uint32_t first = tile / kWindowTiles * kWindowTiles;
    const std::span<Entry> window = std::span(tiles_).subspan(first, kWindowTiles);
    const auto wanted = std::ranges::count_if(window, [](const Entry& entry) { return entry.pixels > 0; });
    const bool empty = std::ranges::all_of(window, [](const Entry& entry) { return entry.state == State::kAbsent; });
    if (wanted < kEnough || !empty || loads_left_ < kWindowTiles) {
        return false;
    }
    const std::optional<Slot> slot = pool_.take_block();
    if (!slot) {
        return false;
    }
    for (std::uint32_t i = 0; i < kWindowTiles; ++i) {
        window[i].slot = *slot + i;
        set(first + i, State::kResident);
    }
    whole_[first / kWindowTiles] = true;
    keep_window(first, frame);
    step.loads.push_back({first, *slot, kWindowTiles});
    step.tiles_loaded += kWindowTiles;
    loads_left_ -= kWindowTiles;
    return true;
}

// A window of which nothing is left is unbound whole: one operation, and it can be one leaf again.
void Residency::join_unbinds(Step& step) const {
    step.tiles_unbound = static_cast<std::uint32_t>(step.unbinds.size());
    for (Unbind& unbind : step.unbinds) {
        const std::uint32_t first = unbind.tile / kWindowTiles * kWindowTiles;
        const std::span<const Entry> window = std::span(tiles_).subspan(first, kWindowTiles);
        if (std::ranges::all_of(window, [](const Entry& entry) { return entry.state == State::kAbsent; })) {
            unbind = {first, kWindowTiles};
        }
    }
    std::ranges::sort(step.unbinds, {}, &Unbind::tile);
    const auto same = [](const Unbind& a, const Unbind& b) { return a.tile == b.tile; };
    step.unbinds.erase(std::unique(step.unbinds.begin(), step.unbinds.end(), same), step.unbinds.end());
}

// Makes room for what the next step may load.
void Residency::retire(std::uint32_t frame) {
    if (pool_.free_slots() >= loads_) {
        return;
    }
    std::vector<std::uint32_t> idle;
    for (std::uint32_t tile = 0; tile < kFirstTailTile; ++tile) {
        if (tiles_[tile].state == State::kResident && tiles_[tile].last_wanted != frame) {
            idle.push_back(tile);
        }
    }
    const std::size_t count = std::min<std::size_t>(loads_ - pool_.free_slots(), idle.size());
    const auto age = [this](std::uint32_t tile) { return std::tuple(tiles_[tile].last_wanted, tile); };
    std::ranges::partial_sort(idle, idle.begin() + static_cast<std::ptrdiff_t>(count), {}, age);
    for (std::size_t i = 0; i < count; ++i) {
        set(idle[i], State::kRetired);
        whole_[idle[i] / kWindowTiles] = false;
        retired_.push_back(idle[i]);
    }
}

void Residency::set(std::uint32_t tile, State state) {
    tiles_[tile].state = state;
    resident_[tile] = state == State::kResident;
}

void Residency::write_map(std::span<std::byte> to) const {
    for (std::uint32_t level = kLevels; level-- > 0;) {
        for (std::uint32_t y = 0; y < tiles_across(level); ++y) {
            for (std::uint32_t x = 0; x < tiles_across(level); ++x) {
                const Tile tile{level, x, y};
                const std::uint32_t number = tile_number(tile);
                to[number] = resident_[number] ? static_cast<std::byte>(level) : to[tile_number(parent_of(tile))];
            }
        }
    }
}

}  // namespace streaming
