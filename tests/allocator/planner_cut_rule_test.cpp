// Who cuts a leaf: the plan, the kernel, or nobody inside a whole window or a whole mapping (CutRule). Examples of each;
// for everything else the exhaustive and the random test have BOs of all four rules.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "tests/support/bound_space.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kKi = std::uint64_t{1} << 10;
constexpr std::uint64_t kMi = std::uint64_t{1} << 20;

// By the rule that it has.
enum class Of : unsigned { kPlan = 1, kKernel = 2, kWindow = 3, kMapping = 4 };

Backing bo(Of rule, std::uint64_t offset) {
    Backing shows;
    shows.bo = BoId{static_cast<unsigned>(rule)};
    shows.offset = BoOffset{offset};
    return shows;
}

VaRange range(std::uint64_t start, std::uint64_t end) {
    return {Va{start}, Va{end}};
}

BindRequest map(const VaRange& va, const Backing& shows, UnmapPolicy policy = UnmapPolicy::kSplit,
                LeafPolicy leaves = LeafPolicy::kLargest) {
    return {BindRequest::Kind::kMap, va, shows, policy, leaves};
}

BindRequest unmap(const VaRange& va, UnmapPolicy policy = UnmapPolicy::kSplit) {
    return {BindRequest::Kind::kUnmap, va, {}, policy, LeafPolicy::kLargest};
}

SpaceConfig config_of(KernelBehaviour kernel, LeafSizes sizes = kLeaves4K2M) {
    SpaceConfig config;
    config.kernel = kernel;
    config.leaf_sizes = sizes;
    config.layout = FakeLayout::Kind::kUnknown;
    config.rules = {CutRule::kExplicit, CutRule::kExplicit, CutRule::kByKernel, CutRule::kWholeWindow,
                    CutRule::kWholeMapping};
    return config;
}

// The plan, which there must be; everything around it has been checked by BoundSpace.
Plan done(BoundSpace& space, const BindRequest& request) {
    const BoundSpace::Answer answer = space.bind(request);
    space.check_all();
    REQUIRE(space.problem() == "");
    REQUIRE(answer.has_value());
    return *answer;
}

PlanError refused(BoundSpace& space, const BindRequest& request) {
    const BoundSpace::Answer answer = space.bind(request);
    space.check_all();
    REQUIRE(space.problem() == "");
    REQUIRE_FALSE(answer.has_value());
    return answer.error();
}

TEST_CASE("kByKernel: the request is the only operation, nothing is exposed, and what is left of the leaf are pages") {
    //                0           2M          4M          6M
    //     mapping    |===========|===========|===========|
    //     unmap                     [--)
    //     left       |===========|..|  |.....|===========|
    for (const KernelBehaviour kernel : {KernelBehaviour::kSplits, KernelBehaviour::kRealigns}) {
        BoundSpace space(config_of(kernel));
        done(space, map(range(0, 6 * kMi), bo(Of::kKernel, 0)));
        const Plan plan = done(space, unmap(range(3 * kMi, 3 * kMi + 64 * kKi)));
        CHECK(text(plan) == "unmap requested [3M,3M+64K)");
        CHECK(plan.taken == range(3 * kMi, 3 * kMi + 64 * kKi));
        CHECK(plan.touched == range(2 * kMi, 4 * kMi));
        CHECK(plan.cost.kernel_cuts == 1);
        CHECK(plan.cost.granules == 0);
        CHECK(plan.cost.residual_bytes == 0);
        CHECK(plan.cost.exposed_bytes == 0);
        CHECK(plan.cost.locked == range(2 * kMi, 4 * kMi));
        CHECK(space.ledger().blocks_2m() == 2);
        CHECK(space.ledger().leaf_at(Va{2 * kMi}) == LeafSize::k4K);
        // Pages are cut as pages.
        CHECK(done(space, unmap(range(2 * kMi, 2 * kMi + 4 * kKi), UnmapPolicy::kReject)).cost.kernel_cuts == 0);
    }
}

TEST_CASE("kByKernel: a map that cuts a leaf at both of its edges is one operation, and becomes leaves of its own") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(0, 8 * kMi), bo(Of::kKernel, 0)));
    const Plan plan = done(space, map(range(kMi, 7 * kMi), bo(Of::kPlan, kMi)));
    CHECK(text(plan) == "map requested [1M,7M) bo1+1M");
    CHECK(plan.cost.kernel_cuts == 2);
    CHECK(plan.touched == range(0, 8 * kMi));
    CHECK(space.ledger().blocks_2m() == 2);
    CHECK(space.ledger().leaf_at(Va{0}) == LeafSize::k4K);
    CHECK(space.ledger().granule_at(Va{2 * kMi}) == range(2 * kMi, 4 * kMi));
}

TEST_CASE("kByKernel: reject still refuses, enlarge still takes the leaf whole") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(0, 4 * kMi), bo(Of::kKernel, 0)));
    const PlanError error = refused(space, unmap(range(kMi, 2 * kMi), UnmapPolicy::kReject));
    CHECK(error.code == PlanError::Code::kGranuleCut);
    CHECK(error.granule == range(0, 2 * kMi));
    const Plan plan = done(space, unmap(range(kMi, 2 * kMi), UnmapPolicy::kEnlarge));
    CHECK(text(plan) == "unmap granule [0,2M)");
    CHECK(plan.cost.granules == 1);
    CHECK(plan.cost.kernel_cuts == 0);
    CHECK(plan.cost.enlarged_bytes == kMi);
}

TEST_CASE("where the edges cut leaves of different rules, the plan cuts both") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(0, 2 * kMi), bo(Of::kKernel, 0)));
    done(space, map(range(2 * kMi, 4 * kMi), bo(Of::kPlan, 0)));
    const Plan plan = done(space, unmap(range(kMi, 3 * kMi)));
    CHECK(text(plan) == "unmap granule [0,4M); map residual [0,1M) bo2+0; map residual [3M,4M) bo1+1M");
    CHECK(plan.cost.granules == 2);
    CHECK(plan.cost.kernel_cuts == 0);
}

TEST_CASE("an edge that cuts nothing does not matter to who cuts at the other one") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(0, 2 * kMi), bo(Of::kKernel, 0)));
    done(space, map(range(2 * kMi, 6 * kMi), bo(Of::kPlan, 0)));
    CHECK(text(done(space, unmap(range(kMi, 4 * kMi)))) == "unmap requested [1M,4M)");
}

TEST_CASE("a kernel that refuses to cut, and a leaf that no kernel cuts, are left to the plan whatever the rule says") {
    for (const KernelBehaviour kernel : {KernelBehaviour::kRefuses, KernelBehaviour::kOopses}) {
        BoundSpace space(config_of(kernel));
        done(space, map(range(0, 2 * kMi), bo(Of::kKernel, 0)));
        CHECK(text(done(space, unmap(range(0, kMi)))) == "unmap granule [0,2M); map residual [1M,2M) bo2+1M");
    }
    SpaceConfig config = config_of(KernelBehaviour::kSplits, kLeaves4K2M1G);
    config.layout = FakeLayout::Kind::kContiguous;
    BoundSpace space(config);
    done(space, map(range(0, kBlock1GBytes), bo(Of::kKernel, 0)));
    CHECK(done(space, unmap(range(0, kMi))).cost.granules == 1);
    CHECK(space.ledger().blocks_2m() == 511);
}

TEST_CASE("kWholeWindow: what a mapping has in a window goes whole, pages or not, and comes back around the request") {
    SUBCASE("pages in the last window of the mapping: no leaf is cut, and the kernel would look") {
        //                0           2M      3M+512K  4M
        //     mapping    |===========|..........|
        //     unmap                     [--)
        BoundSpace space(config_of(KernelBehaviour::kRealigns));
        done(space, map(range(0, 3 * kMi + 512 * kKi), bo(Of::kWindow, 0)));
        const Plan plan = done(space, unmap(range(3 * kMi, 3 * kMi + 64 * kKi)));
        CHECK(text(plan) ==
              "unmap granule [2M,3M+512K); map residual [2M,3M) bo3+2M; map residual [3M+64K,3M+512K) bo3+3M+64K");
        CHECK(plan.cost.granules == 1);
        CHECK(plan.cost.exposed_bytes == kMi + 448 * kKi);
        // What remains is cut in the same way, again and again.
        CHECK(text(done(space, unmap(range(2 * kMi + 512 * kKi, 3 * kMi)))) ==
              "unmap granule [2M,3M); map residual [2M,2M+512K) bo3+2M");
    }
    SUBCASE("a mapping made of pages") {
        BoundSpace space(config_of(KernelBehaviour::kRealigns));
        done(space, map(range(0, 4 * kMi), bo(Of::kWindow, 4 * kKi), UnmapPolicy::kSplit, LeafPolicy::kPage));
        CHECK(space.ledger().blocks_2m() == 0);
        CHECK(text(done(space, unmap(range(kMi, 2 * kMi)))) == "unmap granule [0,2M); map residual [0,1M) bo3+4K");
    }
    SUBCASE("a map over it, from one window into the next") {
        BoundSpace space(config_of(KernelBehaviour::kRealigns));
        done(space, map(range(kMi, 6 * kMi), bo(Of::kWindow, 0)));
        CHECK(text(done(space, map(range(3 * kMi, 5 * kMi), bo(Of::kPlan, 0)))) ==
              "unmap granule [2M,6M); map residual [2M,3M) bo3+1M; map requested [3M,5M) bo1+0; "
              "map residual [5M,6M) bo3+4M");
    }
    SUBCASE("whole windows, and whole mappings, are asked for as they are") {
        BoundSpace space(config_of(KernelBehaviour::kRealigns));
        done(space, map(range(kMi, 5 * kMi), bo(Of::kWindow, 0)));
        CHECK(text(done(space, unmap(range(kMi, 2 * kMi), UnmapPolicy::kReject))) == "unmap requested [1M,2M)");
        CHECK(text(done(space, unmap(range(4 * kMi, 6 * kMi), UnmapPolicy::kReject))) == "unmap requested [4M,6M)");
        CHECK(text(done(space, unmap(range(0, 8 * kMi), UnmapPolicy::kReject))) == "unmap requested [0,8M)");
    }
}

TEST_CASE("kWholeWindow: reject names what would have to go, whose leaves are pages; enlarge takes it") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(kMi, 4 * kMi), bo(Of::kWindow, 0)));
    const PlanError error = refused(space, unmap(range(kMi, kMi + 4 * kKi), UnmapPolicy::kReject));
    CHECK(error.code == PlanError::Code::kGranuleCut);
    CHECK(error.granule == range(kMi, 2 * kMi));
    CHECK(error.leaf == LeafSize::k4K);
    CHECK(text(error.mapping) == "[1M,4M) bo3+0");
    const Plan plan = done(space, unmap(range(kMi, kMi + 4 * kKi), UnmapPolicy::kEnlarge));
    CHECK(text(plan) == "unmap granule [1M,2M)");
    CHECK(plan.cost.enlarged_bytes == kMi - 4 * kKi);
}

TEST_CASE("kWholeWindow beside kByKernel: the plan cuts both") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(0, 2 * kMi), bo(Of::kKernel, 0)));
    done(space, map(range(2 * kMi, 3 * kMi), bo(Of::kWindow, 0)));
    const Plan plan = done(space, unmap(range(kMi, 2 * kMi + 64 * kKi)));
    CHECK(text(plan) == "unmap granule [0,3M); map residual [0,1M) bo2+0; map residual [2M+64K,3M) bo3+64K");
    CHECK(plan.cost.kernel_cuts == 0);
}

TEST_CASE("kWholeWindow on a kernel that oopses: what is isolated is all that the mapping has in the window") {
    BoundSpace space(config_of(KernelBehaviour::kOopses));
    done(space, map(range(0, 6 * kMi), bo(Of::kWindow, 0), UnmapPolicy::kSplit, LeafPolicy::kPage));
    CHECK(text(done(space, unmap(range(2 * kMi, 4 * kMi)))) == "map isolate [2M,4M) bo3+2M; unmap requested [2M,4M)");
}

TEST_CASE("kWholeMapping: the mapping is one granule, whatever its size: named, taken whole, or mapped again around") {
    BoundSpace space(config_of(KernelBehaviour::kRealigns));
    done(space, map(range(kMi, 6 * kMi), bo(Of::kMapping, 0)));
    for (const VaRange& part : {range(kMi, kMi + 4 * kKi), range(2 * kMi, 4 * kMi), range(4 * kMi, 8 * kMi)}) {
        const PlanError error = refused(space, unmap(part, UnmapPolicy::kReject));
        CHECK(error.code == PlanError::Code::kGranuleCut);
        CHECK(error.granule == range(kMi, 6 * kMi));
        CHECK(text(error.mapping) == "[1M,6M) bo4+0");
    }
    CHECK(text(done(space, unmap(range(2 * kMi, 4 * kMi)))) ==
          "unmap granule [1M,6M); map residual [1M,2M) bo4+0; map residual [4M,6M) bo4+3M");
    CHECK(text(done(space, unmap(range(5 * kMi, 6 * kMi), UnmapPolicy::kEnlarge))) == "unmap granule [4M,6M)");
    CHECK(text(done(space, unmap(range(0, 8 * kMi), UnmapPolicy::kReject))) == "unmap requested [0,8M)");
}

TEST_CASE("without rules, what could be left to the kernel is planned") {
    MappingMap mappings;
    GranuleLedger ledger;
    const VaRange va = range(0, 2 * kMi);
    REQUIRE(mappings.hold(1, va.size() / kPageBytes));
    mappings.insert({va, bo(Of::kKernel, 0)});
    REQUIRE(ledger.hold(va));
    ledger.mark({va.start, LeafSize::k2M, 1});
    AddressSpaceView view{mappings, ledger, range(0, kMaxVaEnd)};
    const auto answer = plan(view, unmap(range(0, kMi)));
    REQUIRE(answer.has_value());
    CHECK(answer->cost.granules == 1);
    CHECK(granule_at(view, Va{kMi}) == va);
}

}  // namespace
}  // namespace granule::test
