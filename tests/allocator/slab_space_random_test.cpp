// Random traffic over several slabs, with fences, against byte maps and a list in which every piece is asked every time.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "allocator/piece_queue.hpp"
#include "allocator/slab_space.hpp"
#include "tests/allocator/slab_oracle.hpp"

using namespace granule;
using namespace granule::test;

namespace {

struct Waiting {
    SlabPiece piece;
    std::vector<FencePoint> points;
};

class Traffic {
public:
    Traffic(std::uint64_t grain, std::uint64_t most, std::uint64_t seed)
        : random_(seed), space_(NodeMemory::process(), grain), oracle_(grain), grain_(grain), most_(most) {}

    void step() {
        switch (below(9)) {
            case 0:
                change_slabs();
                break;
            case 1:
            case 2:
            case 3:
                for (std::uint64_t count = 1 + below(3); count > 0; --count) {
                    allocate();
                }
                break;
            case 4:
            case 5:
                release();
                break;
            case 6:
                retire();
                break;
            case 7:
                now_[below(now_.size())] += below(6);
                break;
            default:
                collect();
                break;
        }
    }
    void check() {
        note(oracle_.disagreement(space_));
        demand(queue_.validate(), "the queue is broken");
    }
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
    [[nodiscard]] std::uint64_t most_live() const noexcept { return most_live_; }
    [[nodiscard]] std::uint64_t freed_behind_fences() const noexcept { return freed_; }

private:
    void note(const std::string& problem) {
        if (problem_.empty()) {
            problem_ = problem;
        }
    }
    void demand(bool holds, const char* what) {
        if (!holds) {
            note(what);
        }
    }
    std::uint64_t below(std::uint64_t bound) {
        return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
    }
    [[nodiscard]] bool pending(const Waiting& waiting) const {
        return std::any_of(waiting.points.begin(), waiting.points.end(), [&](const FencePoint& point) {
            return now_[static_cast<std::size_t>(point.timeline)] < point.value;
        });
    }

    void change_slabs() {
        if (oracle_.slabs().size() < 2 || (oracle_.slabs().size() < 5 && below(4) == 0)) {
            const std::uint64_t bytes = grain_ * (64 + below(960));
            const Result<SlabId, SlabError> slab = space_.add_slab(bytes);
            demand(slab.has_value() && oracle_.slabs().count(*slab) == 0, "a slab with the number of another one");
            oracle_.add(*slab, bytes);
            return;
        }
        std::vector<SlabId> idle;
        space_.visit_idle([&](SlabId slab) { idle.push_back(slab); });
        if (!idle.empty() && below(3) == 0) {
            const SlabId slab = idle[below(idle.size())];
            space_.remove_slab(slab);
            oracle_.remove(slab);
        }
    }

    void allocate() {
        demand(queue_.hold(), "no memory");
        // Small ones mostly, of sizes that come again.
        const std::uint64_t bytes = below(3) == 0 ? 1 + below(most_) : grain_ << below(5);
        const std::uint64_t alignment = below(2) == 0 ? 1 : grain_ << below(7);
        const Result<SlabPiece, SlabError> piece = space_.allocate(bytes, alignment);
        if (!piece) {
            demand(piece.error() == SlabError::kNoRoom, "another error");
            const std::uint64_t promised = (oracle_.rounded(bytes) + std::max(alignment, grain_)) * 17 / 16;
            demand(oracle_.largest_free() < promised, "there is room, and it was not found");
            return;
        }
        demand(piece->offset % alignment == 0 && piece->asked == bytes && piece->bytes == oracle_.rounded(bytes),
               "the piece is not what was asked for");
        note(oracle_.change(*piece, SlabOracle::State::kFree, SlabOracle::State::kOwned));
        owned_.push_back(*piece);
        most_live_ = std::max<std::uint64_t>(most_live_, owned_.size());
    }

    [[nodiscard]] SlabPiece any_owned() {
        std::swap(owned_[below(owned_.size())], owned_.back());
        const SlabPiece piece = owned_.back();
        owned_.pop_back();
        demand(space_.find(piece.id) == piece, "a piece is not what it was");
        return piece;
    }

    void release() {
        if (owned_.empty()) {
            return;
        }
        const SlabPiece piece = any_owned();
        demand(space_.release(piece.id), "release failed");
        demand(!space_.release(piece.id), "released twice");
        note(oracle_.change(piece, SlabOracle::State::kOwned, SlabOracle::State::kFree));
    }

    void retire() {
        // As a frame does: some at once, with the same points.
        std::vector<FencePoint> points;
        for (std::uint64_t count = below(4); count > 0; --count) {
            const std::uint64_t timeline = below(now_.size());
            points.push_back({TimelineId{static_cast<std::uint32_t>(timeline)}, now_[timeline] + below(12)});
        }
        for (std::uint64_t count = 1 + below(6); count > 0 && !owned_.empty(); --count) {
            const SlabPiece piece = any_owned();
            demand(queue_.retire(piece.id, points).has_value(), "retire failed");
            demand(queue_.retire(piece.id, points).error() == PieceQueueError::kNotOwned, "retired twice");
            if (points.empty()) {
                note(oracle_.change(piece, SlabOracle::State::kOwned, SlabOracle::State::kFree));
            } else {
                note(oracle_.change(piece, SlabOracle::State::kOwned, SlabOracle::State::kRetired));
                waiting_.push_back({piece, points});
            }
        }
    }

    void collect() {
        std::array<int, 5> asked{};
        const std::uint64_t freed = queue_.collect([&](TimelineId timeline) {
            ++asked[static_cast<std::size_t>(timeline)];
            return now_[static_cast<std::size_t>(timeline)];
        });
        const auto ready =
            std::stable_partition(waiting_.begin(), waiting_.end(), [&](const Waiting& each) { return pending(each); });
        demand(freed == static_cast<std::uint64_t>(waiting_.end() - ready), "another number of pieces became free");
        for (auto each = ready; each != waiting_.end(); ++each) {
            note(oracle_.change(each->piece, SlabOracle::State::kRetired, SlabOracle::State::kFree));
        }
        waiting_.erase(ready, waiting_.end());
        demand(*std::max_element(asked.begin(), asked.end()) <= 1, "a timeline was asked twice");
        freed_ += freed;
    }

    std::mt19937_64 random_;
    SlabSpace space_;
    PieceQueue queue_{space_, NodeMemory::process()};
    SlabOracle oracle_;
    std::uint64_t grain_;
    std::uint64_t most_;
    std::array<std::uint64_t, 5> now_{};
    std::vector<SlabPiece> owned_;
    std::vector<Waiting> waiting_;
    std::uint64_t most_live_ = 0;
    std::uint64_t freed_ = 0;
    std::string problem_;
};

}  // namespace

TEST_CASE("P5: random traffic over slabs is what byte maps and a list of fences say, and room is found as promised") {
    struct Scenario {
        std::uint64_t grain;
        std::uint64_t most;
        std::uint64_t seed;
    };
    for (const Scenario& scenario : {Scenario{16, 256, 0x736c616231}, Scenario{64, 16384, 0x736c616232},
                                     Scenario{64, 40000, 0x736c616233}, Scenario{4096, 300000, 0x736c616234}}) {
        CAPTURE(scenario.grain);
        CAPTURE(scenario.seed);
        Traffic traffic(scenario.grain, scenario.most, scenario.seed);
        for (int step = 0; step < 20000; ++step) {
            traffic.step();
            if (step % 16 == 0) {
                traffic.check();
            }
            if (!traffic.problem().empty()) {
                FAIL(traffic.problem() << " at step " << step);
            }
        }
        CHECK(traffic.most_live() > 20);
        CHECK(traffic.freed_behind_fences() > 1000);
    }
}
