// Long random histories against an array of windows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "allocator/granule_ledger.hpp"

using granule::GranuleLedger;
using granule::kBlock1GBytes;
using granule::kBlock2MBytes;
using granule::LeafRun;
using granule::LeafSize;
using granule::Va;
using granule::VaRange;

namespace {

constexpr std::uint64_t kWindowsPerGib = kBlock1GBytes / kBlock2MBytes;
constexpr std::uint64_t kGibs = 6;
constexpr std::uint64_t kWindows = kGibs * kWindowsPerGib;

// The leaf size of every window, from the third GiB before the end of a shelf on.
class World {
public:
    explicit World(std::uint64_t seed) : random_(seed), leaves_(kWindows, LeafSize::k4K) {}

    void step() {
        switch (below(4)) {
            case 0: {
                const std::uint64_t count = 1 + below(3);
                const std::uint64_t first = below(kGibs - count + 1);
                change({at(first * kWindowsPerGib), LeafSize::k1G, count});
                break;
            }
            case 1:
                change({at(cut_free(below(kWindows))), LeafSize::k4K, 512 * (1 + below(10))});
                break;
            default: {
                const std::uint64_t most = below(8) == 0 ? 1200 : 70;
                const std::uint64_t first = below(kWindows);
                change({at(first), LeafSize::k2M, std::min(1 + below(most), kWindows - first)});
                break;
            }
        }
        if (below(3) == 0) {
            const std::uint64_t first = below(kWindows);
            const VaRange range = widened({at(first), at(std::min(kWindows, first + 1 + below(400)))});
            ledger_.clear(range);
            write(range, LeafSize::k4K);
        }
    }

    [[nodiscard]] bool agrees() {
        if (!ledger_.validate()) {
            return false;
        }
        std::uint64_t blocks_2m = 0;
        std::uint64_t windows_1g = 0;
        for (std::uint64_t window = 0; window < kWindows; ++window) {
            blocks_2m += static_cast<std::uint64_t>(leaves_[window] == LeafSize::k2M);
            windows_1g += static_cast<std::uint64_t>(leaves_[window] == LeafSize::k1G);
            if (ledger_.leaf_at(at(window) + below(kBlock2MBytes)) != leaves_[window]) {
                return false;
            }
        }
        most_2m_ = std::max(most_2m_, blocks_2m);
        most_1g_ = std::max(most_1g_, windows_1g / kWindowsPerGib);
        return blocks_2m == ledger_.blocks_2m() && windows_1g == ledger_.blocks_1g() * kWindowsPerGib &&
               runs_agree({at(0), at(kWindows)}) && runs_agree({at(below(kWindows / 2)), at(kWindows / 2 + below(99))});
    }

    // The most blocks of a size that there were at once.
    [[nodiscard]] std::uint64_t most_2m() const { return most_2m_; }
    [[nodiscard]] std::uint64_t most_1g() const { return most_1g_; }

private:
    [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
    [[nodiscard]] static Va at(std::uint64_t window) { return Va{509 * kBlock1GBytes + window * kBlock2MBytes}; }
    [[nodiscard]] static std::uint64_t window_of(Va va) { return (va - at(0)) / kBlock2MBytes; }

    // A window from which ten more fit.
    [[nodiscard]] static std::uint64_t cut_free(std::uint64_t window) { return std::min(window, kWindows - 10); }

    // The range, and what is left of the 1 GiB blocks that it would cut.
    [[nodiscard]] VaRange widened(VaRange range) const {
        if (ledger_.leaf_at(range.start) == LeafSize::k1G) {
            range.start = range.start.align_down(kBlock1GBytes);
        }
        if (ledger_.leaf_at(range.end) == LeafSize::k1G) {
            range.end = range.end.align_up(kBlock1GBytes);
        }
        return range;
    }

    void change(const LeafRun& run) {
        const VaRange cleared = widened(run.range());
        ledger_.clear(cleared);
        write(cleared, LeafSize::k4K);
        if (!ledger_.hold(run.range())) {
            FAIL("no memory for a few regions");
        }
        ledger_.mark(run);
        write(run.range(), run.size);
    }

    void write(VaRange range, LeafSize size) {
        for (std::uint64_t window = window_of(range.start); window < window_of(range.end); ++window) {
            leaves_[window] = size;
        }
    }

    // The runs that the ledger tells of, against those that the array shows window by window.
    [[nodiscard]] bool runs_agree(VaRange range) const {
        std::vector<LeafRun> expected;
        std::uint64_t window = window_of(range.start);
        while (window < window_of(range.end)) {
            const LeafSize size = leaves_[window];
            const Va start = at(window).align_down(bytes_of(size));
            window = window_of(start + bytes_of(size == LeafSize::k4K ? LeafSize::k2M : size));
            if (size == LeafSize::k4K) {
                continue;
            }
            if (!expected.empty() && expected.back().size == size && expected.back().range().end == start) {
                ++expected.back().count;
            } else {
                expected.push_back({start, size, 1});
            }
        }
        std::vector<LeafRun> found;
        ledger_.for_each_block_run(range, [&](const LeafRun& run) { found.push_back(run); });
        return found == expected;
    }

    std::mt19937_64 random_;
    GranuleLedger ledger_;
    std::vector<LeafSize> leaves_;
    std::uint64_t most_2m_ = 0;
    std::uint64_t most_1g_ = 0;
};

}  // namespace

TEST_CASE("random marks and clears agree with an array of windows") {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        World world(seed);
        for (std::uint64_t step = 0; step < 400; ++step) {
            world.step();
            if (!world.agrees()) {
                CAPTURE(seed);
                CAPTURE(step);
                FAIL("the ledger differs from the array of windows");
            }
        }
        // The history got somewhere: whole GiB, and more blocks of 2 MiB than two of the ledger's regions hold.
        CHECK(world.most_1g() >= 2);
        CHECK(world.most_2m() > 2 * kWindowsPerGib);
    }
}
