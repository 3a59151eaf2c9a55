// The promises of the planner, one example each. That they hold for everything is what the exhaustive and the random
// test are for.
#include "allocator/planner.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "mali/page_table.hpp"
#include "tests/support/bound_space.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kKi = std::uint64_t{1} << 10;
constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
constexpr std::uint64_t kGi = std::uint64_t{1} << 30;

Backing bo(unsigned number, std::uint64_t offset) {
    Backing shows;
    shows.bo = BoId{number};
    shows.offset = BoOffset{offset};
    return shows;
}

VaRange range(std::uint64_t start, std::uint64_t end) {
    return {Va{start}, Va{end}};
}

BindRequest map(const VaRange& va, const Backing& shows, UnmapPolicy policy = UnmapPolicy::kReject,
                LeafPolicy leaves = LeafPolicy::kLargest) {
    return {BindRequest::Kind::kMap, va, shows, policy, leaves};
}

BindRequest unmap(const VaRange& va, UnmapPolicy policy) {
    return {BindRequest::Kind::kUnmap, va, {}, policy, LeafPolicy::kLargest};
}

SpaceConfig on_kernel(KernelBehaviour kernel) {
    SpaceConfig config;
    config.kernel = kernel;
    return config;
}

SpaceConfig with_layout(FakeLayout::Kind layout, LeafSizes sizes = kLeaves4K2M) {
    SpaceConfig config;
    config.layout = layout;
    config.leaf_sizes = sizes;
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

PlanError invalid(const BindRequest& request, const VaRange& space = range(0, kMaxVaEnd)) {
    const MappingMap mappings;
    const GranuleLedger ledger;
    AddressSpaceView view{mappings, ledger, space};
    const auto answer = plan(view, request);
    REQUIRE_FALSE(answer.has_value());
    CHECK(answer.error().request == request.va);
    return answer.error();
}

TEST_CASE("a request of no bytes, beyond the space, backwards or off the page grid is refused with its reason") {
    using Code = PlanError::Code;
    const VaRange space = range(16 * kMi, 64 * kMi);
    CHECK(invalid(unmap(range(kMi, kMi), UnmapPolicy::kSplit)).code == Code::kEmptyRange);
    CHECK(invalid(map(range(kMaxVaEnd, kMaxVaEnd), bo(1, 0))).code == Code::kEmptyRange);
    CHECK(invalid(unmap(range(2 * kMi, kMi), UnmapPolicy::kSplit)).code == Code::kOutOfRange);
    CHECK(invalid(unmap(range(0, kMaxVaEnd + kPageBytes), UnmapPolicy::kSplit)).code == Code::kOutOfRange);
    CHECK(invalid(unmap(range(16 * kMi - kPageBytes, 17 * kMi), UnmapPolicy::kSplit), space).code == Code::kOutOfRange);
    CHECK(invalid(map(range(63 * kMi, 64 * kMi + kPageBytes), bo(1, 0)), space).code == Code::kOutOfRange);
    CHECK(invalid(unmap(range(0, ~std::uint64_t{0}), UnmapPolicy::kSplit)).code == Code::kOutOfRange);
    CHECK(invalid(unmap(range(1, kPageBytes), UnmapPolicy::kSplit)).code == Code::kMisaligned);
    CHECK(invalid(map(range(0, kPageBytes + 1), bo(1, 0))).code == Code::kMisaligned);
    CHECK(invalid(map(range(0, kPageBytes), bo(1, 2048))).code == Code::kMisaligned);
}

TEST_CASE("P1: reject names the granule that would be cut, its leaf and the mapping it belongs to") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(2 * kMi, 8 * kMi), bo(7, 2 * kMi)));
    const BindRequest request = unmap(range(5 * kMi, 8 * kMi), UnmapPolicy::kReject);
    const PlanError error = refused(space, request);
    CHECK(error.code == PlanError::Code::kGranuleCut);
    CHECK(error.request == request.va);
    CHECK(error.granule == range(4 * kMi, 6 * kMi));
    CHECK(error.leaf == LeafSize::k2M);
    CHECK(text(error.mapping) == "[2M,8M) bo7+2M");
    CHECK(space.ledger().blocks_2m() == 3);
}

TEST_CASE("P1: reject names the granule at the end where only the end cuts one") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(2 * kMi, 8 * kMi), bo(7, 2 * kMi)));
    CHECK(refused(space, unmap(range(2 * kMi, 5 * kMi), UnmapPolicy::kReject)).granule == range(4 * kMi, 6 * kMi));
    CHECK(refused(space, map(range(0, 7 * kMi), bo(1, 0))).granule == range(6 * kMi, 8 * kMi));
}

TEST_CASE("P2: both edges inside one granule leave a residual on each side") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(2 * kMi, 8 * kMi), bo(1, 2 * kMi)));
    const Plan plan = done(space, unmap(range(4 * kMi + 4 * kKi, 6 * kMi - 8 * kKi), UnmapPolicy::kSplit));
    CHECK(text(plan) ==
          "unmap granule [4M,6M); map residual [4M,4M+4K) bo1+4M; map residual [5M+1016K,6M) bo1+5M+1016K");
    CHECK(plan.cost.granules == 1);
    CHECK(plan.cost.residual_bytes == 12 * kKi);
    CHECK(space.ledger().blocks_2m() == 2);
}

TEST_CASE("P2: edges in granules of two mappings bring each back with its own BO, offset, flags and serial") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    Backing left = bo(1, 0);
    left.flags = {.readonly = true, .noexec = false, .uncached = true};
    left.serial = BindSerial{11};
    Backing right = bo(2, 64 * kMi);
    right.flags.noexec = true;
    right.serial = BindSerial{12};
    done(space, map(range(0, 2 * kMi), left));
    done(space, map(range(2 * kMi, 4 * kMi), right));
    const Plan plan = done(space, map(range(kMi, 3 * kMi), bo(3, 0), UnmapPolicy::kSplit));
    CHECK(text(plan) ==
          "unmap granule [0,4M); map residual [0,1M) bo1+0 ro; map requested [1M,3M) bo3+0; map residual [3M,4M) "
          "bo2+65M");
    REQUIRE(plan.ops().size() == 4);
    CHECK(plan.ops()[1].shows == left);
    CHECK(plan.ops()[3].shows == right.advanced(kMi));
    CHECK(plan.cost.granules == 2);
}

TEST_CASE("P2: what is left of a 1 GiB leaf are 2 MiB leaves, and pages around the edge") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous, kLeaves4K2M1G));
    done(space, map(range(kGi, 2 * kGi), bo(1, 0)));
    REQUIRE(space.ledger().blocks_1g() == 1);
    const Plan plan = done(space, unmap(range(kGi + 5 * kMi, kGi + 5 * kMi + 4 * kKi), UnmapPolicy::kSplit));
    CHECK(text(plan) == "unmap granule [1G,2G); map residual [1G,1G+5M) bo1+0; map residual [1G+5M+4K,2G) bo1+5M+4K");
    CHECK(plan.cost.tables == 0);
    CHECK(space.ledger().blocks_1g() == 0);
    CHECK(space.ledger().blocks_2m() == 511);
    CHECK(space.ledger().leaf_at(Va{kGi + 4 * kMi}) == LeafSize::k4K);
    CHECK(space.ledger().granule_at(Va{kGi + 6 * kMi}) == range(kGi + 6 * kMi, kGi + 8 * kMi));
}

TEST_CASE("P2: a range over two 1 GiB leaves leaves the outer windows of both") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous, kLeaves4K2M1G));
    done(space, map(range(kGi, 3 * kGi), bo(1, 0)));
    done(space, map(range(2 * kGi - 3 * kMi, 2 * kGi + 4 * kMi), bo(2, 0), UnmapPolicy::kSplit));
    CHECK(space.ledger().blocks_1g() == 0);
    CHECK(space.ledger().leaf_at(Va{2 * kGi - 4 * kMi}) == LeafSize::k4K);  // cut by the edge
    CHECK(space.ledger().leaf_at(Va{2 * kGi - 6 * kMi}) == LeafSize::k2M);
    CHECK(space.ledger().leaf_at(Va{2 * kGi + 4 * kMi}) == LeafSize::k2M);  // the edge is between two windows
}

TEST_CASE("P2: a sparse mapping is one of granules and residuals too") {
    BoundSpace space(with_layout(FakeLayout::Kind::kUnknown));
    done(space, map(range(0, 6 * kMi), Backing{}));
    CHECK(refused(space, map(range(2 * kMi, 3 * kMi), bo(1, 0))).mapping.shows.sparse());
    const Plan plan = done(space, map(range(2 * kMi, 3 * kMi), bo(1, 0), UnmapPolicy::kSplit));
    CHECK(text(plan) == "unmap granule [2M,4M); map requested [2M,3M) bo1+0; map residual [3M,4M) sparse");
}

TEST_CASE("a mapping whose VA and memory never agree modulo 2 MiB has pages only, and is cut as it is") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(0, 8 * kMi), bo(1, 4 * kKi)));
    CHECK(text(done(space, unmap(range(kMi, 5 * kMi), UnmapPolicy::kReject))) == "unmap requested [1M,5M)");
}

TEST_CASE("where nobody knows the memory, every window inside a mapping is a block, whatever the offset") {
    BoundSpace space(with_layout(FakeLayout::Kind::kUnknown, kLeaves4K2M1G));
    done(space, map(range(kMi, kGi + 4 * kMi), bo(1, 4 * kKi)));
    CHECK(space.ledger().blocks_1g() == 0);
    CHECK(refused(space, unmap(range(3 * kMi, 4 * kMi), UnmapPolicy::kReject)).granule == range(2 * kMi, 4 * kMi));
    CHECK(text(done(space, unmap(range(kMi, kMi + 4 * kKi), UnmapPolicy::kReject))) == "unmap requested [1M,1M+4K)");
}

TEST_CASE("enlarge takes whole granules and says how much that is beyond the request") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(0, 8 * kMi), bo(1, 0)));
    const Plan plan = done(space, unmap(range(3 * kMi, 4 * kMi + 4 * kKi), UnmapPolicy::kEnlarge));
    CHECK(text(plan) == "unmap granule [2M,6M)");
    CHECK(plan.taken == range(2 * kMi, 6 * kMi));
    CHECK(plan.cost.enlarged_bytes == 3 * kMi - 4 * kKi);
    CHECK(plan.cost.residual_bytes == 0);
    CHECK(plan.cost.exposed_bytes == 0);

    const Plan over = done(space, map(range(kMi, 7 * kMi), bo(2, 0), UnmapPolicy::kEnlarge));
    CHECK(text(over) == "unmap granule [0,8M); map requested [1M,7M) bo2+0");
    CHECK(over.taken == range(0, 8 * kMi));
    CHECK(over.cost.enlarged_bytes == 2 * kMi);
}

TEST_CASE("what was mapped with the page policy is bound again in pieces without residuals") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous, kLeaves4K2M1G));
    done(space, map(range(0, 2 * kGi), bo(1, 0), UnmapPolicy::kReject, LeafPolicy::kPage));
    for (std::uint64_t tile = 0; tile < 64; ++tile) {
        const VaRange va = range(tile * 31 * kMi + tile * 4 * kKi, tile * 31 * kMi + tile * 4 * kKi + 64 * kKi);
        const Plan plan = done(space, map(va, bo(2, tile * 64 * kKi), UnmapPolicy::kReject, LeafPolicy::kPage));
        REQUIRE(plan.ops().size() == 1);
        REQUIRE(plan.cost.exposed_bytes == 0);
    }
}

TEST_CASE("an unmap of holes is an empty plan under every policy, an unmap with holes in it is one operation") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(4 * kMi, 6 * kMi), bo(1, 0)));
    done(space, map(range(8 * kMi, 10 * kMi), bo(1, 0)));
    for (const UnmapPolicy policy : {UnmapPolicy::kReject, UnmapPolicy::kSplit, UnmapPolicy::kEnlarge}) {
        const Plan plan = done(space, unmap(range(6 * kMi, 8 * kMi), policy));
        CHECK(plan.empty());
        CHECK(plan.cost == PlanCost{});
    }
    CHECK(text(done(space, unmap(range(0, 64 * kMi), UnmapPolicy::kReject))) == "unmap requested [0,64M)");
    CHECK(space.mappings().empty());
}

TEST_CASE("a range that starts in a hole and ends in a granule cuts only that") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(4 * kMi, 6 * kMi), bo(1, 0)));
    const Plan plan = done(space, unmap(range(3 * kMi, 5 * kMi), UnmapPolicy::kSplit));
    CHECK(text(plan) == "unmap granule [3M,6M); map residual [5M,6M) bo1+1M");
    CHECK(plan.touched == range(3 * kMi, 6 * kMi));
}

TEST_CASE("the edges of the space: VA 0, across 2^47 and up to 2^48") {
    constexpr std::uint64_t kMiddle = kMaxVaEnd / 2;
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous, kLeaves4K2M1G));
    done(space, map(range(0, kGi), bo(1, 0)));
    done(space, map(range(kMiddle - kGi, kMiddle + kGi), bo(2, 0)));
    done(space, map(range(kMaxVaEnd - kGi, kMaxVaEnd), bo(3, 0)));
    CHECK(space.ledger().blocks_1g() == 4);
    done(space, unmap(range(0, 4 * kKi), UnmapPolicy::kSplit));
    done(space, unmap(range(kMiddle - 4 * kKi, kMiddle + 4 * kKi), UnmapPolicy::kSplit));
    const Plan last = done(space, unmap(range(kMaxVaEnd - 4 * kKi, kMaxVaEnd), UnmapPolicy::kSplit));
    CHECK(last.cost.locked.end == Va{kMaxVaEnd});
    CHECK(space.ledger().blocks_1g() == 0);
    CHECK(space.ledger().blocks_2m() == 4 * 511);
    done(space, unmap(range(0, kMaxVaEnd), UnmapPolicy::kReject));
    CHECK(space.mappings().empty());
    done(space, map(range(kMaxVaEnd - 4 * kKi, kMaxVaEnd), bo(3, 0)));
}

TEST_CASE("the new mapping sets aside the tables that the page table can need for it; residuals need no more") {
    const auto need = [](std::uint64_t start, LeafSize size, std::uint64_t count) {
        return mali::PageTable::most_tables_for({Va{start}, size, count});
    };
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous, kLeaves4K2M1G));
    const auto tables = [&](std::uint64_t start, std::uint64_t end, std::uint64_t offset) {
        return done(space, map(range(start, end), bo(1, offset), UnmapPolicy::kSplit)).cost.tables;
    };
    CHECK(tables(2 * kMi, 4 * kMi, 0) >= need(2 * kMi, LeafSize::k2M, 1));
    CHECK(tables(2 * kMi, 4 * kMi, 4 * kKi) >= need(2 * kMi, LeafSize::k4K, 512));
    CHECK(tables(kGi, 2 * kGi, 0) >= need(kGi, LeafSize::k1G, 1));
    CHECK(tables(2 * kMi - 4 * kKi, 2 * kMi + 4 * kKi, 0) >= need(2 * kMi - 4 * kKi, LeafSize::k4K, 2));
    constexpr std::uint64_t kL0Span = std::uint64_t{1} << 39;
    CHECK(tables(kL0Span - 4 * kKi, kL0Span + 4 * kKi, 0) >= need(kL0Span - 4 * kKi, LeafSize::k4K, 2));
    // Three leaves of three sizes: what the page table wants for each on its own is more than for all together.
    CHECK(tables(kGi - 2 * kMi - 4 * kKi, 2 * kGi, kGi - 2 * kMi - 4 * kKi) >=
          need(kGi, LeafSize::k1G, 1) + 2 + 1);  // and a table for pages, one for 2 MiB leaves or a credit
    CHECK(done(space, unmap(range(0, kMaxVaEnd), UnmapPolicy::kReject)).cost.tables == 0);
}

TEST_CASE("exposure is what the residuals lack between unmap and map, and nothing where binds are atomic") {
    for (const bool atomic : {false, true}) {
        SpaceConfig config;
        config.atomic_binds = atomic;
        BoundSpace space(config);
        done(space, map(range(0, 4 * kMi), bo(1, 0)));
        const Plan plan = done(space, unmap(range(kMi, 2 * kMi), UnmapPolicy::kSplit));
        CHECK(plan.cost.residual_bytes == kMi);
        CHECK(plan.cost.exposed_bytes == (atomic ? 0 : kMi));
    }
}

TEST_CASE("the lock region covers the granules that are cut, not only the request") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(4 * kMi, 8 * kMi), bo(1, 0)));
    CHECK(done(space, unmap(range(4 * kMi, 4 * kMi + 4 * kKi), UnmapPolicy::kSplit)).cost.locked ==
          range(4 * kMi, 6 * kMi));
    CHECK(done(space, unmap(range(5 * kMi, 5 * kMi + 4 * kKi), UnmapPolicy::kSplit)).cost.locked ==
          range(5 * kMi, 5 * kMi + 32 * kKi));  // pages by now: the smallest region
}

TEST_CASE("a map replaces the leaves that it covers whole; only those that it cuts are unmapped before") {
    BoundSpace space(with_layout(FakeLayout::Kind::kContiguous));
    done(space, map(range(0, 8 * kMi), bo(1, 0)));
    CHECK(text(done(space, map(range(2 * kMi, 4 * kMi), bo(2, 0)))) == "map requested [2M,4M) bo2+0");
    CHECK(text(done(space, map(range(2 * kMi, 7 * kMi), bo(3, 0), UnmapPolicy::kSplit))) ==
          "unmap granule [6M,8M); map requested [2M,7M) bo3+0; map residual [7M,8M) bo1+7M");
}

TEST_CASE("the kernel that oopses gets an isolated start where an unmap leaves parts on both sides") {
    SUBCASE("pages inside one mapping") {
        BoundSpace space(on_kernel(KernelBehaviour::kOopses));
        done(space, map(range(0, kMi), bo(1, 0)));
        CHECK(text(done(space, unmap(range(64 * kKi, 128 * kKi), UnmapPolicy::kReject))) ==
              "map isolate [64K,68K) bo1+64K; unmap requested [64K,128K)");
    }
    SUBCASE("blocks inside one mapping") {
        BoundSpace space(on_kernel(KernelBehaviour::kOopses));
        done(space, map(range(0, 8 * kMi), bo(1, 0)));
        CHECK(text(done(space, unmap(range(2 * kMi, 6 * kMi), UnmapPolicy::kReject))) ==
              "map isolate [2M,4M) bo1+2M; unmap requested [2M,6M)");
    }
    SUBCASE("from inside one mapping into another") {
        BoundSpace space(on_kernel(KernelBehaviour::kOopses));
        done(space, map(range(0, kMi), bo(1, 0)));
        done(space, map(range(kMi, 2 * kMi), bo(2, 0)));
        CHECK(text(done(space, unmap(range(kMi - 64 * kKi, kMi + 64 * kKi), UnmapPolicy::kReject))) ==
              "map isolate [960K,964K) bo1+960K; unmap requested [960K,1M+64K)");
    }
    SUBCASE("with residuals and a map: as many operations as there can be") {
        BoundSpace space(on_kernel(KernelBehaviour::kOopses));
        done(space, map(range(0, 8 * kMi), bo(1, 0)));
        const Plan plan = done(space, map(range(3 * kMi, 5 * kMi), bo(2, 0), UnmapPolicy::kSplit));
        CHECK(text(plan) ==
              "map isolate [2M,4M) bo1+2M; unmap granule [2M,6M); map residual [2M,3M) bo1+2M; "
              "map requested [3M,5M) bo2+0; map residual [5M,6M) bo1+5M");
        CHECK(plan.ops().size() == Plan::kMaxOps);
        CHECK(plan.cost.residual_bytes == 2 * kMi);
    }
}

TEST_CASE("nothing is isolated where it need not be") {
    BoundSpace space(on_kernel(KernelBehaviour::kOopses));
    const auto again = [&] {
        done(space, map(range(0, 8 * kMi), bo(1, 0)));
        done(space, map(range(8 * kMi, 16 * kMi), bo(2, 0)));
    };
    const auto isolates = [&](const BindRequest& request) {
        again();
        return done(space, request).ops().front().purpose == PlanOp::Purpose::kIsolate;
    };
    CHECK_FALSE(isolates(unmap(range(0, 4 * kMi), UnmapPolicy::kReject)));
    CHECK_FALSE(isolates(unmap(range(4 * kMi, 8 * kMi), UnmapPolicy::kReject)));
    CHECK_FALSE(isolates(unmap(range(4 * kMi, 16 * kMi), UnmapPolicy::kReject)));
    CHECK_FALSE(isolates(unmap(range(0, 12 * kMi), UnmapPolicy::kReject)));
    CHECK_FALSE(isolates(map(range(2 * kMi, 6 * kMi), bo(3, 0))));  // a map has what it needs
    CHECK_FALSE(isolates(unmap(range(kMi, 8 * kMi), UnmapPolicy::kEnlarge)));
    CHECK(isolates(unmap(range(2 * kMi, 6 * kMi), UnmapPolicy::kReject)));

    for (const KernelBehaviour kernel :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kRealigns}) {
        BoundSpace other(on_kernel(kernel));
        done(other, map(range(0, 8 * kMi), bo(1, 0)));
        CHECK(text(done(other, unmap(range(2 * kMi, 6 * kMi), UnmapPolicy::kReject))) == "unmap requested [2M,6M)");
    }
}

// Node memory that counts, and refuses once it has been told to.
struct CountingMemory {
    std::uint64_t asked = 0;
    bool refuse = false;

    [[nodiscard]] NodeMemory as_node_memory() noexcept {
        return {[](void* context, std::size_t bytes, std::size_t alignment) noexcept -> void* {
                    auto& self = *static_cast<CountingMemory*>(context);
                    ++self.asked;
                    return self.refuse ? nullptr : ::operator new (bytes, std::align_val_t{alignment}, std::nothrow);
                },
                [](void*, void* block, std::size_t, std::size_t alignment) noexcept {
                    ::operator delete (block, std::align_val_t{alignment});
                },
                this};
    }
};

TEST_CASE(
    "P4: planning, and writing residuals into the ledger, allocate nothing; P3: a ledger without memory is unchanged") {
    CountingMemory memory;
    MappingMap mappings(memory.as_node_memory());
    GranuleLedger ledger(memory.as_node_memory());
    const FakeLayout layout(FakeLayout::Kind::kContiguous);
    const AddressSpaceView view{mappings, ledger, range(0, kMaxVaEnd), kLeaves4K2M1G};
    const Mapping whole{range(0, kGi), bo(1, 0)};

    const auto first = plan(view, map(whole.va, whole.shows));
    REQUIRE(first.has_value());
    CHECK(memory.asked == 0);
    memory.refuse = true;
    CHECK_FALSE(hold_ledger(ledger, *first));
    CHECK(ledger.bytes() == 0);
    CHECK(ledger.leaf_at(Va{0}) == LeafSize::k4K);

    memory.refuse = false;
    REQUIRE(hold_ledger(ledger, *first));
    REQUIRE(mappings.hold(1, kGi / kPageBytes));
    mappings.insert(whole);
    mappings.settle();
    apply_to_ledger(ledger, *first, layout, kLeaves4K2M1G);
    CHECK(ledger.blocks_1g() == 1);

    memory.refuse = true;
    const std::uint64_t asked = memory.asked;
    const auto split = plan(view, unmap(range(kMi, 2 * kMi), UnmapPolicy::kSplit));
    REQUIRE(split.has_value());
    CHECK(hold_ledger(ledger, *split));
    mappings.erase(split->taken);
    apply_to_ledger(ledger, *split, layout, kLeaves4K2M1G);
    CHECK(memory.asked == asked);
    CHECK(ledger.blocks_2m() == 511);
    CHECK(mappings.size() == 2);
    CHECK(ledger.validate());
    CHECK(mappings.validate());
}

}  // namespace
}  // namespace granule::test
