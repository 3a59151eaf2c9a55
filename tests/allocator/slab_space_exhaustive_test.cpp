// Every script of up to five steps over a slab of eight grains, against a byte map: allocate at each size and alignment
// that matters, release, retire behind a fence, signal and collect. In a slab so small the search is exact: an
// allocation fails if and only if there is no place.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "allocator/piece_queue.hpp"
#include "allocator/slab_space.hpp"
#include "tests/allocator/slab_oracle.hpp"

using namespace granule;
using namespace granule::test;

namespace {

constexpr std::uint64_t kGrain = 16;
constexpr std::uint64_t kSlabGrains = 8;
constexpr TimelineId kTimeline{1};
constexpr std::size_t kSteps = 5;

struct Request {
    std::uint64_t grains;
    std::uint64_t alignment;
};
constexpr std::array kRequests{Request{1, 1}, Request{2, 1}, Request{3, 1}, Request{5, 1}, Request{8, 1},
                               Request{1, 2}, Request{1, 4}, Request{2, 4}, Request{3, 2}};
constexpr std::size_t kOwners = 4;  // which of the pieces that have owners a step means
// Steps: the requests, then release, then retire, by owner, then signal.
constexpr std::size_t kChoices = kRequests.size() + 2 * kOwners + 1;

class World {
public:
    World() {
        const Result<SlabId, SlabError> slab = space_.add_slab(kSlabGrains * kGrain);
        REQUIRE(slab.has_value());
        oracle_.add(*slab, kSlabGrains * kGrain);
    }

    // False: there is nothing that the step means.
    bool step(std::size_t choice) {
        if (choice < kRequests.size()) {
            allocate(kRequests[choice]);
            return true;
        }
        choice -= kRequests.size();
        if (choice == 2 * kOwners) {
            if (waiting_.empty()) {
                return false;
            }
            signal(waiting_.front().value);
            return true;
        }
        const std::size_t owner = choice % kOwners;
        if (owner >= owned_.size()) {
            return false;
        }
        const SlabPiece piece = owned_[owner];
        owned_.erase(owned_.begin() + static_cast<std::ptrdiff_t>(owner));
        if (choice < kOwners) {
            demand(space_.release(piece.id), "release failed");
            note(oracle_.change(piece, SlabOracle::State::kOwned, SlabOracle::State::kFree));
        } else {
            retire(piece);
        }
        return true;
    }

    void check() {
        note(oracle_.disagreement(space_));
        demand(queue_.validate(), "the queue is broken");
        demand(space_.statistics().pieces == owned_.size(), "pieces that have owners");
        demand(space_.statistics().retired == waiting_.size(), "pieces that wait");
    }

    // Back to the one free slab.
    void give_everything_back() {
        while (!owned_.empty()) {
            step(kRequests.size());
        }
        signal(next_value_);
        demand(space_.statistics().idle_slabs == 1 && space_.largest_free() == kSlabGrains * kGrain,
               "all was given back, and the slab is not one free piece");
    }

    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

private:
    struct Waiting {
        SlabPiece piece;
        std::uint64_t value;
    };

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

    void allocate(const Request& request) {
        demand(queue_.hold(), "no memory");
        const std::uint64_t bytes = request.grains * kGrain;
        const std::uint64_t alignment = request.alignment * kGrain;
        const bool has_place = oracle_.has_place(bytes, alignment);
        const Result<SlabPiece, SlabError> piece = space_.allocate(bytes, alignment);
        demand(piece.has_value() == has_place, has_place ? "a place was not found" : "a piece without a place");
        if (piece) {
            demand(piece->offset % alignment == 0 && piece->bytes == bytes && piece->asked == bytes,
                   "the piece is not what was asked for");
            note(oracle_.change(*piece, SlabOracle::State::kFree, SlabOracle::State::kOwned));
            owned_.push_back(*piece);
        } else {
            demand(piece.error() == SlabError::kNoRoom, "another error");
        }
    }

    // Every second piece waits for the same point as the one before it.
    void retire(const SlabPiece& piece) {
        next_value_ += waiting_.size() % 2 == 0 ? 1U : 0U;
        const FencePoint point{kTimeline, next_value_};
        demand(queue_.retire(piece.id, std::span(&point, 1)).has_value(), "retire failed");
        demand(!space_.release(piece.id), "a retired piece was released");
        note(oracle_.change(piece, SlabOracle::State::kOwned, SlabOracle::State::kRetired));
        waiting_.push_back({piece, next_value_});
    }

    void signal(std::uint64_t value) {
        std::uint64_t expected = 0;
        while (!waiting_.empty() && waiting_.front().value <= value) {
            note(oracle_.change(waiting_.front().piece, SlabOracle::State::kRetired, SlabOracle::State::kFree));
            waiting_.erase(waiting_.begin());
            ++expected;
        }
        const std::uint64_t freed = queue_.collect([&](TimelineId) { return value; });
        demand(freed == expected, "another number of pieces became free");
    }

    SlabSpace space_{NodeMemory::process(), kGrain};
    PieceQueue queue_{space_, NodeMemory::process()};
    SlabOracle oracle_{kGrain};
    std::vector<SlabPiece> owned_;
    std::vector<Waiting> waiting_;  // values ascend
    std::uint64_t next_value_ = 0;
    std::string problem_;
};

}  // namespace

TEST_CASE("P5, exactness: every script of five steps leaves what a byte map says, and gives everything back") {
    World world;
    std::array<std::size_t, kSteps> script{};
    std::uint64_t scripts = 0;
    // An odometer: the last step turns fastest. A prefix that cannot be done is skipped with all that begins with it.
    for (bool more = true; more;) {
        std::size_t turn = kSteps - 1;
        bool whole = true;
        for (std::size_t i = 0; i < kSteps && whole; ++i) {
            if (!world.step(script[i])) {
                turn = i;
                whole = false;
            }
        }
        if (whole) {
            ++scripts;
            world.check();
        }
        world.give_everything_back();
        if (!world.problem().empty()) {
            std::string text;
            for (const std::size_t step : script) {
                text += " " + std::to_string(step);
            }
            FAIL(world.problem() << ", script" << text);
        }
        while (++script[turn] == kChoices) {
            script[turn] = 0;
            if (turn == 0) {
                more = false;
                break;
            }
            --turn;
        }
        for (std::size_t i = turn + 1; i < kSteps; ++i) {
            script[i] = 0;
        }
    }
    CHECK(scripts > 100000);
}
