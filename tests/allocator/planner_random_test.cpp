// Hundreds of thousands of binds of all sizes, policies, layouts, kernels and cut rules, each compared with what was asked
// for.
//
// Edges are drawn close to where something can go wrong: the edges of mappings and of 2 MiB and 1 GiB windows, and a
// page beside them; at VA 0, around 2^47 and at 2^48.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <utility>

#include "tests/support/bound_space.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

using Random = std::mt19937_64;

std::uint64_t below(Random& random, std::uint64_t bound) {
    return random() % bound;
}

constexpr std::uint64_t kGi = kBlock1GBytes;
constexpr std::uint64_t kArena = 6 * kGi;
// Most places lie in a small part of the arena, so that they meet. Where every page of memory has to be looked at, all
// do.
constexpr std::uint64_t kSmallArena = std::uint64_t{24} << 20;

struct Scenario {
    std::uint64_t base;
    std::uint64_t bytes;
    SpaceConfig config;
};

Scenario draw_scenario(Random& random) {
    constexpr std::array<std::uint64_t, 3> kBases = {0, (std::uint64_t{1} << 47) - kArena / 2, kMaxVaEnd - kArena};
    constexpr std::array<LeafSizes, 4> kSizes = {kLeaves4K2M, kLeaves4K2M, kLeaves4K2M1G, kLeaves4K};
    Scenario scenario{kBases[below(random, kBases.size())], kArena, {}};
    scenario.config.layout = static_cast<FakeLayout::Kind>(below(random, 5));
    scenario.config.kernel = static_cast<KernelBehaviour>(below(random, 4));
    scenario.config.leaf_sizes = kSizes[below(random, kSizes.size())];
    scenario.config.atomic_binds = below(random, 2) == 0;
    for (unsigned bo = 0; bo <= 4; ++bo) {
        scenario.config.rules.push_back(static_cast<CutRule>(below(random, 4)));
    }
    const bool scattered =
        scenario.config.layout == FakeLayout::Kind::kScattered || scenario.config.layout == FakeLayout::Kind::kFolios;
    if (scattered) {
        scenario.base += scenario.base == 0 ? 0 : kArena - kSmallArena;
        scenario.bytes = kSmallArena;
    }
    scenario.config.space = {Va{scenario.base}, Va{scenario.base + scenario.bytes}};
    return scenario;
}

std::uint64_t draw_size(Random& random) {
    constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
    const std::uint64_t kind = below(random, 1000);
    if (kind < 400) {
        return (1 + below(random, 8)) * kPageBytes;
    }
    if (kind < 700) {
        return (1 + below(random, 1536)) * kPageBytes;  // up to 6 MiB
    }
    if (kind < 985) {
        return below(random, 2) == 0 ? (1 + below(random, 8)) * kBlock2MBytes : (1 + below(random, 4096)) * kPageBytes;
    }
    return below(random, 2) == 0 ? (1 + below(random, 2)) * kGi : (1 + below(random, 1500)) * kMi + kPageBytes;
}

// An edge of a mapping, a multiple of a block, or anything; and sometimes a page or two beside it.
std::uint64_t draw_place(Random& random, const BoundSpace& space, const Scenario& scenario) {
    const std::uint64_t part = below(random, 4) == 0 ? scenario.bytes : kSmallArena;
    std::uint64_t place = scenario.base + below(random, part / kPageBytes) * kPageBytes;
    const std::uint64_t kind = below(random, 8);
    if (kind < 3) {
        const auto& mappings = space.oracle().all();
        const auto near = mappings.lower_bound(Va{place});
        if (near != mappings.end()) {
            place = (kind == 0 ? near->second.va.end : near->second.va.start).raw();
        }
    } else if (kind < 6) {
        place = align_down(place, kBlock2MBytes);
    } else if (kind == 6) {
        place = align_down(place, kGi);
    }
    const std::uint64_t beside = below(random, 8);
    if (beside == 0 && place > scenario.base) {
        place -= kPageBytes;
    } else if (beside <= 2) {
        place += beside * kPageBytes;
    }
    return std::clamp(place, scenario.base, scenario.base + scenario.bytes - kPageBytes);
}

BindRequest draw_bind(Random& random, const BoundSpace& space, const Scenario& scenario) {
    BindRequest bind;
    std::uint64_t start = draw_place(random, space, scenario);
    std::uint64_t end = below(random, 4) == 0 ? draw_place(random, space, scenario) : start + draw_size(random);
    if (end < start) {
        std::swap(start, end);
    }
    end = std::min(std::max(end, start + kPageBytes), scenario.base + scenario.bytes);
    bind.va = {Va{start}, Va{end}};
    bind.kind = below(random, 5) < 3 ? BindRequest::Kind::kMap : BindRequest::Kind::kUnmap;
    bind.policy = below(random, 8) == 0   ? UnmapPolicy::kReject
                  : below(random, 8) == 0 ? UnmapPolicy::kEnlarge
                                          : UnmapPolicy::kSplit;
    if (bind.kind == BindRequest::Kind::kMap) {
        bind.leaves = below(random, 5) == 0 ? LeafPolicy::kPage : LeafPolicy::kLargest;
        if (below(random, 8) != 0) {
            constexpr std::array<std::uint64_t, 5> kPhases = {0, 0, 0, kBlock2MBytes, 3 * kPageBytes};
            bind.shows.bo = BoId{static_cast<unsigned>(1 + below(random, 4))};
            bind.shows.offset =
                BoOffset{start - scenario.base + below(random, 2) * kGi + kPhases[below(random, kPhases.size())]};
        }
        bind.shows.flags.readonly = below(random, 4) == 0;
        bind.shows.serial = BindSerial{static_cast<unsigned>(below(random, 1000))};
    }
    return bind;
}

struct Tally {
    std::uint64_t binds = 0;
    std::uint64_t refused = 0;
    std::uint64_t split = 0;
    std::uint64_t enlarged = 0;
    std::uint64_t isolated = 0;
    std::uint64_t both_edges = 0;
    std::uint64_t by_kernel = 0;
};

void count(Tally& tally, const BoundSpace::Answer& answer) {
    ++tally.binds;
    if (!answer) {
        ++tally.refused;
        return;
    }
    tally.split += answer->cost.residual_bytes != 0 ? 1U : 0U;
    tally.enlarged += answer->cost.enlarged_bytes != 0 ? 1U : 0U;
    tally.both_edges += answer->cost.granules == 2 ? 1U : 0U;
    tally.by_kernel += answer->cost.kernel_cuts;
    for (const PlanOp& op : answer->ops()) {
        tally.isolated += op.purpose == PlanOp::Purpose::kIsolate ? 1U : 0U;
    }
}

void run(std::uint64_t seed, std::uint64_t binds, Tally& tally) {
    Random random(seed);
    const Scenario scenario = draw_scenario(random);
    BoundSpace space(scenario.config);
    for (std::uint64_t i = 0; i < binds; ++i) {
        const BindRequest bind = draw_bind(random, space, scenario);
        count(tally, space.bind(bind));
        if (i % 1000 == 999 || i + 1 == binds) {
            space.check_all();
        }
        if (!space.problem().empty()) {
            INFO("seed ", seed, ", bind ", i);
            FAIL(space.problem());
        }
    }
}

TEST_CASE("random binds have the old semantics page for page, cut no granule, and cost what the plan says") {
    Tally tally;
    constexpr std::uint64_t kRuns = kSanitized ? 20 : 100;
    for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
        run(seed, 3'000, tally);
    }
    CHECK(tally.binds == kRuns * 3'000);
    // What is to be tested must have happened.
    CHECK(tally.refused > kRuns * 10);
    CHECK(tally.split > kRuns * 100);
    CHECK(tally.enlarged > kRuns * 10);
    CHECK(tally.isolated > kRuns * 10);
    CHECK(tally.both_edges > kRuns * 10);
    CHECK(tally.by_kernel > kRuns * 5);  // of few kernels: the first runs have fewer
}

}  // namespace
}  // namespace granule::test
