// Small buffers inside slabs: what an allocation and a release cost, and how much of the slabs is in use.
//
//   churn    `live` pieces of mixed sizes (64 B to 64 KiB, as many of each octave; alignment 64 B to 4 KiB) are allocated;
//            then one of them goes and a new one comes, all over the place
//   frame    `live` pieces of 32 or 64 KiB, as a driver's command and descriptor buffers: all of a frame come, all of the
//            frame before the last go, behind a fence (SlabSpace alone has fences; the others free at once)
//
// The contestants take slabs of 2 MiB as they need them:
//
//   slab_space   granule's SlabSpace
//   first_fit    a std::map of free ranges by address, the first that fits: the simple way, which packs well
//   best_fit     that, and a std::set of them by size
//   size_bins    a slab is cut into pieces of one power of two each, and a list a size, as Mesa's pb_slab does it
//
// Read `per_op`: of one allocation and one release together. `used` is how much of the slabs was asked for.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "allocator/piece_queue.hpp"
#include "allocator/slab_space.hpp"

namespace {

using granule::FencePoint;
using granule::NodeMemory;
using granule::PieceId;
using granule::PieceQueue;
using granule::SlabSpace;
using granule::TimelineId;

constexpr std::uint64_t kSlabBytes = std::uint64_t{2} << 20;

struct Request {
    std::uint64_t bytes = 0;
    std::uint64_t alignment = 64;
};

std::vector<Request> mixed_requests(std::size_t count) {
    std::mt19937_64 random(0x62656e6368);
    std::vector<Request> requests(count);
    for (Request& request : requests) {
        const std::uint64_t octave = std::uint64_t{64} << random() % 10;
        request.bytes = octave + random() % octave;
        request.alignment = random() % 4 == 0 ? std::uint64_t{64} << random() % 7 : 64;
    }
    return requests;
}

std::vector<Request> frame_requests(std::size_t count) {
    std::mt19937_64 random(0x6672616d65);
    std::vector<Request> requests(count);
    for (Request& request : requests) {
        request.bytes = (random() % 2 == 0 ? 32U : 64U) << 10U;
        request.alignment = 4096;
    }
    return requests;
}

// A piece of any contestant: what its release takes.
struct Piece {
    std::uint64_t at = 0;
    std::uint64_t bytes = 0;
};

class SlabSpaces {
public:
    Piece take(const Request& request) {
        if (!queue_.hold()) {
            std::abort();
        }
        auto piece = space_.allocate(request.bytes, request.alignment);
        if (!piece) {
            if (!space_.add_slab(kSlabBytes)) {
                std::abort();
            }
            piece = space_.allocate(request.bytes, request.alignment);
        }
        return {static_cast<std::uint64_t>(piece->id), request.bytes};
    }
    void give_back(const Piece& piece) { space_.release(PieceId{piece.at}); }
    void retire(const Piece& piece, std::uint64_t frame) {
        const FencePoint point{TimelineId{1}, frame};
        if (!queue_.retire(PieceId{piece.at}, {&point, 1})) {
            std::abort();
        }
    }
    void collect(std::uint64_t frame) {
        queue_.collect([&](TimelineId) noexcept { return frame; });
    }
    [[nodiscard]] std::uint64_t slab_bytes() const { return space_.statistics().slab_bytes; }
    [[nodiscard]] std::uint64_t node_bytes() const { return space_.nodes() * 32; }

private:
    SlabSpace space_{NodeMemory::process(), 64};
    PieceQueue queue_{space_, NodeMemory::process()};
};

// Free ranges by address. Slabs are one behind the other.
class FirstFit {
public:
    Piece take(const Request& request) {
        const std::uint64_t bytes = (request.bytes + 63) / 64 * 64;
        for (;;) {
            for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
                if (const std::optional<std::uint64_t> at = place(*hole, bytes, request.alignment)) {
                    return cut(hole, *at, bytes);
                }
            }
            grow();
        }
    }
    void give_back(const Piece& piece) { add(piece.at, piece.bytes); }
    void retire(const Piece& piece, std::uint64_t) { give_back(piece); }
    void collect(std::uint64_t) {}
    [[nodiscard]] std::uint64_t slab_bytes() const { return end_; }
    // 48 bytes a node of a map of two words, and what its owner keeps of a piece.
    [[nodiscard]] std::uint64_t node_bytes() const { return holes_.size() * 48; }

protected:
    using Holes = std::map<std::uint64_t, std::uint64_t>;

    static std::optional<std::uint64_t> place(const Holes::value_type& hole, std::uint64_t bytes,
                                              std::uint64_t alignment) {
        const std::uint64_t start = (hole.first + alignment - 1) / alignment * alignment;
        return start + bytes <= hole.first + hole.second ? std::optional(start) : std::nullopt;
    }
    Piece cut(Holes::iterator hole, std::uint64_t at, std::uint64_t bytes) {
        const std::uint64_t end = hole->first + hole->second;
        const std::uint64_t start = hole->first;
        forget(hole);
        if (at != start) {
            remember(start, at - start);
        }
        if (at + bytes != end) {
            remember(at + bytes, end - at - bytes);
        }
        return {at, bytes};
    }
    void add(std::uint64_t at, std::uint64_t bytes) {
        auto next = holes_.lower_bound(at);
        if (next != holes_.end() && next->first == at + bytes) {
            bytes += next->second;
            const auto joined = next++;
            forget(joined);
        }
        if (next != holes_.begin()) {
            const auto before = std::prev(next);
            if (before->first + before->second == at) {
                at = before->first;
                bytes += before->second;
                forget(before);
            }
        }
        remember(at, bytes);
    }
    void grow() {
        add(end_, kSlabBytes);
        end_ += kSlabBytes;
    }
    virtual void remember(std::uint64_t at, std::uint64_t bytes) { holes_.emplace(at, bytes); }
    virtual void forget(Holes::iterator hole) { holes_.erase(hole); }

    Holes holes_;
    std::uint64_t end_ = 0;

public:
    FirstFit() = default;
    FirstFit(const FirstFit&) = delete;
    FirstFit& operator=(const FirstFit&) = delete;
    virtual ~FirstFit() = default;
};

class BestFit final : public FirstFit {
public:
    Piece take(const Request& request) {
        const std::uint64_t bytes = (request.bytes + 63) / 64 * 64;
        for (;;) {
            for (auto at = by_size_.lower_bound({bytes, 0}); at != by_size_.end(); ++at) {
                const auto hole = holes_.find(at->second);
                if (const std::optional<std::uint64_t> start = place(*hole, bytes, request.alignment)) {
                    return cut(hole, *start, bytes);
                }
            }
            grow();
        }
    }
    [[nodiscard]] std::uint64_t node_bytes() const { return holes_.size() * 96; }

private:
    void remember(std::uint64_t at, std::uint64_t bytes) override {
        holes_.emplace(at, bytes);
        by_size_.emplace(bytes, at);
    }
    void forget(Holes::iterator hole) override {
        by_size_.erase({hole->second, hole->first});
        holes_.erase(hole);
    }

    std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;
};

class SizeBins {
public:
    Piece take(const Request& request) {
        const std::uint64_t bytes = std::bit_ceil(std::max(request.bytes, request.alignment));
        std::vector<std::uint64_t>& free = free_[static_cast<std::size_t>(std::countr_zero(bytes))];
        if (free.empty()) {
            for (std::uint64_t at = kSlabBytes; at != 0; at -= bytes) {
                free.push_back(end_ + at - bytes);
            }
            end_ += kSlabBytes;
        }
        const std::uint64_t at = free.back();
        free.pop_back();
        return {at, bytes};
    }
    void give_back(const Piece& piece) {
        free_[static_cast<std::size_t>(std::countr_zero(piece.bytes))].push_back(piece.at);
    }
    void retire(const Piece& piece, std::uint64_t) { give_back(piece); }
    void collect(std::uint64_t) {}
    [[nodiscard]] std::uint64_t slab_bytes() const { return end_; }
    [[nodiscard]] std::uint64_t node_bytes() const {
        std::uint64_t bytes = 0;
        for (const std::vector<std::uint64_t>& free : free_) {
            bytes += free.size() * sizeof(free[0]);
        }
        return bytes;
    }

private:
    std::vector<std::vector<std::uint64_t>> free_ = std::vector<std::vector<std::uint64_t>>(22);
    std::uint64_t end_ = 0;
};

template <class Contestant>
void count(benchmark::State& state, const Contestant& contestant, std::uint64_t asked, std::size_t live,
           std::size_t operations) {
    state.counters["per_op"] = benchmark::Counter(
        static_cast<double>(operations), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    state.counters["used"] = static_cast<double>(asked) / static_cast<double>(contestant.slab_bytes());
    state.counters["bytes_a_piece"] = static_cast<double>(contestant.node_bytes()) / static_cast<double>(live);
}

template <class Contestant>
void churn(benchmark::State& state) {
    const auto live = static_cast<std::size_t>(state.range(0));
    const std::vector<Request> requests = mixed_requests(8 * live);
    Contestant contestant;
    std::vector<std::pair<Piece, std::uint64_t>> pieces;
    std::uint64_t asked = 0;
    for (std::size_t i = 0; i < live; ++i) {
        pieces.emplace_back(contestant.take(requests[i]), requests[i].bytes);
        asked += requests[i].bytes;
    }
    std::size_t next = 0;
    for (auto _ : state) {
        for (std::size_t i = 0; i < live; ++i) {
            auto& [piece, bytes] = pieces[i * 7919 % live];  // a prime: not in the order of allocation
            const Request& request = requests[next];
            next = (next + 1) % requests.size();
            contestant.give_back(piece);
            piece = contestant.take(request);
            asked = asked - bytes + request.bytes;
            bytes = request.bytes;
        }
    }
    count(state, contestant, asked, live, live);
}

template <class Contestant>
void frame(benchmark::State& state) {
    const auto live = static_cast<std::size_t>(state.range(0));
    const std::vector<Request> requests = frame_requests(live);
    Contestant contestant;
    std::vector<std::vector<Piece>> frames(3);
    std::uint64_t number = 0;
    std::uint64_t asked = 0;
    for (auto _ : state) {
        ++number;
        contestant.collect(number - 1);
        std::vector<Piece>& pieces = frames[number % frames.size()];
        pieces.clear();
        asked = 0;
        for (const Request& request : requests) {
            pieces.push_back(contestant.take(request));
            asked += request.bytes;
        }
        for (const Piece& piece : pieces) {
            contestant.retire(piece, number);
        }
    }
    count(state, contestant, asked, live, live);
}

void counts(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(100)->Arg(1000)->Arg(10000)->Arg(100000);
}
void frame_counts(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(20)->Arg(200);
}

}  // namespace

BENCHMARK_TEMPLATE(churn, SlabSpaces)->Apply(counts);
BENCHMARK_TEMPLATE(churn, FirstFit)->Arg(100)->Arg(1000)->Arg(10000);
BENCHMARK_TEMPLATE(churn, BestFit)->Apply(counts);
BENCHMARK_TEMPLATE(churn, SizeBins)->Apply(counts);
BENCHMARK_TEMPLATE(frame, SlabSpaces)->Apply(frame_counts);
BENCHMARK_TEMPLATE(frame, FirstFit)->Apply(frame_counts);
BENCHMARK_TEMPLATE(frame, BestFit)->Apply(frame_counts);
BENCHMARK_TEMPLATE(frame, SizeBins)->Apply(frame_counts);

BENCHMARK_MAIN();
