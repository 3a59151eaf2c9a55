// Which tiles are resident, and what changes from frame to frame: the streaming itself, without any GPU.
//
// A tile's life:
//
//              frame n wants it          not wanted for long, places are short
//     absent ------------------> resident ---------> retired --------> absent
//              loaded, bound                        | no frame uses it any more; one step later, when the frame
//                                  <----------------+ that may have used it is done, it is unbound
//                                    wanted again
//
// So what a step binds and unbinds is not used by the frame that the GPU is drawing meanwhile. Wanted is what a feedback says,
// and the coarser tiles above it; what was wanted longest ago is retired first. Same feedback, same steps: nothing depends
// on time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "virtual-texture/texture_layout.hpp"
#include "virtual-texture/tile_pool.hpp"

namespace streaming {

// `count` tiles from `tile` on in as many slots from `slot` on: 1, or a window.
struct Load {
    std::uint32_t tile = 0;
    Slot slot = 0;
    std::uint32_t count = 1;
};

struct Unbind {
    std::uint32_t tile = 0;
    std::uint32_t count = 1;  // 1, or a window of which nothing is left
};

// What has to be done before a frame is drawn.
struct Step {
    std::vector<Load> loads;
    std::vector<Unbind> unbinds;
    std::uint32_t tiles_loaded = 0;
    std::uint32_t tiles_unbound = 0;
};

class Residency {
public:
    // `budget`: tiles that may be bound at once, without the tail. `loads`: that a step may load.
    Residency(std::uint32_t budget, std::uint32_t loads);

    [[nodiscard]] Step advance(std::uint32_t frame, std::span<const std::uint32_t> feedback);

    // Which tiles the frame of the last step may use, by number.
    [[nodiscard]] const std::vector<bool>& resident() const noexcept { return resident_; }
    // The same for the GPU: for each tile the finest level, not finer than its own, that is resident there.
    void write_map(std::span<std::byte> to) const;
    // Or kept, because a window of it is.
    [[nodiscard]] bool wanted_in(std::uint32_t tile, std::uint32_t frame) const noexcept {
        return tiles_[tile].last_wanted == frame;
    }

private:
    enum class State : std::uint8_t { kAbsent, kResident, kRetired };
    struct Entry {
        State state = State::kAbsent;
        Slot slot = 0;
        std::uint32_t last_wanted = 0;
        std::uint32_t pixels = 0;  // of the feedback at hand that want it
    };

    void note(std::uint32_t frame, std::span<const std::uint32_t> feedback);
    void keep_window(std::uint32_t tile, std::uint32_t frame);
    void settle_retired(std::uint32_t frame, Step& step);
    void load(std::uint32_t frame, Step& step);
    [[nodiscard]] bool load_window(std::uint32_t frame, std::uint32_t tile, Step& step);
    void join_unbinds(Step& step) const;
    void retire(std::uint32_t frame);
    void set(std::uint32_t tile, State state);

    TilePool pool_;
    const std::uint32_t loads_;
    std::uint32_t loads_left_ = 0;
    std::vector<Entry> tiles_;
    std::vector<bool> resident_;
    std::vector<bool> whole_;  // windows that were loaded whole, until something of them is retired
    std::vector<std::uint32_t> wanted_;
    std::vector<std::uint32_t> retired_;
};

}  // namespace streaming
