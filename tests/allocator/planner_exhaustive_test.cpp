// All scripts of a few binds on a small space: each is planned, carried out and compared with what was asked for.
//
// A plan depends on the state of the space and on nothing else, so scripts that lead to the same state go on together:
// from every state that n binds can reach, all binds are tried. That covers all scripts of n + 1 binds.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/bound_space.hpp"

namespace granule::test {
namespace {

struct Alphabet {
    std::vector<std::uint64_t> places;  // where ranges start and end
    std::vector<Backing> backings;
    std::vector<LeafPolicy> leaves;
    std::vector<UnmapPolicy> policies;
};

// A BO whose offsets agree with the VAs modulo 1 GiB, or differ from them by one page.
Backing bo(unsigned number, bool in_phase) {
    Backing shows;
    shows.bo = BoId{number};
    shows.offset = BoOffset{in_phase ? 0 : kPageBytes};
    shows.flags.readonly = number == 2;
    return shows;
}

// Every bind that the alphabet has. A BO appears at the offset that belongs to the VA.
std::vector<BindRequest> all_binds(const Alphabet& alphabet) {
    std::vector<BindRequest> binds;
    for (std::size_t from = 0; from < alphabet.places.size(); ++from) {
        for (std::size_t to = from + 1; to < alphabet.places.size(); ++to) {
            const VaRange va{Va{alphabet.places[from]}, Va{alphabet.places[to]}};
            for (const UnmapPolicy policy : alphabet.policies) {
                binds.push_back({BindRequest::Kind::kUnmap, va, {}, policy, LeafPolicy::kLargest});
                for (const Backing& shows : alphabet.backings) {
                    for (const LeafPolicy leaves : alphabet.leaves) {
                        binds.push_back({BindRequest::Kind::kMap, va,
                                         shows.advanced(alphabet.places[from] - alphabet.places[0]), policy, leaves});
                    }
                }
            }
        }
    }
    return binds;
}

// States are the same where all of this is: the serial says nothing here.
std::vector<std::uint64_t> key_of(const BoundSpace::State& state) {
    std::vector<std::uint64_t> key;
    for (const auto& [start, mapping] : state.mappings.all()) {
        key.insert(key.end(), {start.raw(), mapping.va.end.raw(), static_cast<std::uint64_t>(mapping.shows.bo),
                               mapping.shows.offset.raw()});
    }
    key.push_back(UINT64_MAX);
    for (const auto& [start, mapping] : state.vmas.all()) {
        key.insert(key.end(), {start.raw(), mapping.va.end.raw()});
    }
    key.push_back(UINT64_MAX);
    for (const auto& [start, size] : state.blocks) {
        key.push_back(start.raw() | static_cast<std::uint64_t>(size));
    }
    return key;
}

std::string bind_text(const BindRequest& bind) {
    const bool maps = bind.kind == BindRequest::Kind::kMap;
    return (maps ? "map " + text(Mapping{bind.va, bind.shows}) + " " + to_string(bind.leaves)
                 : "unmap " + text(bind.va)) +
           " " + to_string(bind.policy);
}

std::string state_text(const BoundSpace::State& state) {
    std::string out;
    for (const auto& [start, mapping] : state.mappings.all()) {
        out += (out.empty() ? "" : ", ") + text(mapping);
    }
    return out;
}

// Returns how many binds were carried out or refused.
std::uint64_t all_scripts(const SpaceConfig& config, const Alphabet& alphabet, unsigned length) {
    const std::vector<BindRequest> binds = all_binds(alphabet);
    std::set<std::vector<std::uint64_t>> seen;
    std::vector<BoundSpace::State> states(1);
    std::uint64_t carried_out = 0;
    BoundSpace space(config);
    bool changed = false;
    for (unsigned step = 1; step <= length; ++step) {
        std::vector<BoundSpace::State> reached;
        for (const BoundSpace::State& state : states) {
            changed = true;
            for (const BindRequest& bind : binds) {
                if (changed) {
                    space.restore(state);
                }
                changed = space.bind(bind).has_value();
                ++carried_out;
                if (!space.problem().empty()) {
                    INFO("bind ", bind_text(bind), " on ", state_text(state));
                    FAIL(space.problem());
                }
                if (changed && step < length) {
                    BoundSpace::State after = space.state();
                    if (seen.insert(key_of(after)).second) {
                        reached.push_back(std::move(after));
                    }
                }
            }
        }
        space.check_all();
        REQUIRE(space.problem() == "");
        states = std::move(reached);
    }
    return carried_out;
}

SpaceConfig config_of(KernelBehaviour kernel, FakeLayout::Kind layout, LeafSizes sizes) {
    SpaceConfig config;
    config.kernel = kernel;
    config.layout = layout;
    config.leaf_sizes = sizes;
    return config;
}

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
const std::vector<UnmapPolicy> kAllPolicies = {UnmapPolicy::kReject, UnmapPolicy::kSplit, UnmapPolicy::kEnlarge};

// Two windows, cut one page after the start, in the middle and one page before the end.
const std::vector<std::uint64_t> kTwoWindows = {
    0, kPageBytes, 2 * kMi - kPageBytes, 2 * kMi, 2 * kMi + kPageBytes, 3 * kMi + kPageBytes, 4 * kMi};

TEST_CASE("all scripts of two binds over two windows, on every kernel and layout of memory") {
    const Alphabet alphabet{
        kTwoWindows, {bo(1, true), bo(2, false), bo(0, true)}, {LeafPolicy::kLargest, LeafPolicy::kPage}, kAllPolicies};
    for (const FakeLayout::Kind layout : {FakeLayout::Kind::kContiguous, FakeLayout::Kind::kFolios,
                                          FakeLayout::Kind::kOffPhase, FakeLayout::Kind::kUnknown}) {
        for (const KernelBehaviour kernel : {KernelBehaviour::kSplits, KernelBehaviour::kRefuses,
                                             KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
            if (kernel != KernelBehaviour::kOopses && layout != FakeLayout::Kind::kUnknown) {
                continue;  // three kernels get the same plans: the layout that nobody knows stands for the others
            }
            CAPTURE(std::string(to_string(kernel)));
            CAPTURE(static_cast<int>(layout));
            CHECK(all_scripts(config_of(kernel, layout, kLeaves4K2M), alphabet, 2) > 30'000);
        }
    }
}

TEST_CASE("all scripts of three binds over two windows") {
    const Alphabet alphabet{kTwoWindows, {bo(1, true), bo(0, true)}, {LeafPolicy::kLargest}, kAllPolicies};
    for (const KernelBehaviour kernel : {KernelBehaviour::kRefuses, KernelBehaviour::kOopses}) {
        CAPTURE(std::string(to_string(kernel)));
        CHECK(all_scripts(config_of(kernel, FakeLayout::Kind::kUnknown, kLeaves4K2M), alphabet, 3) > 100'000);
    }
}

TEST_CASE("all scripts of four binds over two windows, splitting, on the kernel that oopses") {
    const Alphabet alphabet{
        kTwoWindows, {bo(1, true)}, {LeafPolicy::kLargest, LeafPolicy::kPage}, {UnmapPolicy::kSplit}};
    CHECK(all_scripts(config_of(KernelBehaviour::kOopses, FakeLayout::Kind::kContiguous, kLeaves4K2M), alphabet, 4) >
          20'000);
}

TEST_CASE("all scripts of two binds over two windows of 1 GiB") {
    constexpr std::uint64_t kGi = std::uint64_t{1} << 30;
    const Alphabet alphabet{{0, 2 * kMi + kPageBytes, kGi, kGi + 4 * kMi, 2 * kGi - kPageBytes, 2 * kGi},
                            {bo(1, true)},
                            {LeafPolicy::kLargest},
                            kAllPolicies};
    for (const KernelBehaviour kernel : {KernelBehaviour::kRefuses, KernelBehaviour::kOopses}) {
        CAPTURE(std::string(to_string(kernel)));
        CHECK(all_scripts(config_of(kernel, FakeLayout::Kind::kContiguous, kLeaves4K2M1G), alphabet, 2) > 1'000);
    }
}

// BO 1 is cut by plans, 2 by the kernel, 3 never inside a window, 4 never.
SpaceConfig with_rules(KernelBehaviour kernel) {
    SpaceConfig config = config_of(kernel, FakeLayout::Kind::kUnknown, kLeaves4K2M);
    config.rules = {CutRule::kExplicit, CutRule::kExplicit, CutRule::kByKernel, CutRule::kWholeWindow,
                    CutRule::kWholeMapping};
    return config;
}

// Three windows: a mapping can begin and end inside a window, at its boundary, and have a whole window between.
const std::vector<std::uint64_t> kThreeWindows = {0, kPageBytes, kMi, 2 * kMi, 3 * kMi, 4 * kMi, 5 * kMi, 6 * kMi};

TEST_CASE("all scripts of two binds under all rules of who cuts a leaf, on every kernel: the same end state") {
    const Alphabet alphabet{kThreeWindows,
                            {bo(1, true), bo(2, true), bo(3, true), bo(4, true)},
                            {LeafPolicy::kLargest, LeafPolicy::kPage},
                            kAllPolicies};
    for (const KernelBehaviour kernel :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses, KernelBehaviour::kRealigns}) {
        CAPTURE(std::string(to_string(kernel)));
        CHECK(all_scripts(with_rules(kernel), alphabet, 2) > 50'000);
    }
}

TEST_CASE("all scripts of four binds of a BO that is never cut inside a window: the kernel never looks at its pages") {
    const Alphabet alphabet{kThreeWindows, {bo(3, true)}, {LeafPolicy::kLargest}, {UnmapPolicy::kSplit}};
    for (const KernelBehaviour kernel : {KernelBehaviour::kRealigns, KernelBehaviour::kOopses}) {
        CAPTURE(std::string(to_string(kernel)));
        CHECK(all_scripts(with_rules(kernel), alphabet, 4) > 40'000);
    }
}

TEST_CASE("all scripts of three binds, splitting, of BOs with different rules") {
    const Alphabet alphabet{
        kThreeWindows, {bo(1, true), bo(2, true), bo(3, true)}, {LeafPolicy::kLargest}, {UnmapPolicy::kSplit}};
    CHECK(all_scripts(with_rules(KernelBehaviour::kRealigns), alphabet, 3) > 100'000);
}

}  // namespace
}  // namespace granule::test
