// The contract of bind arrays, by examples.
#include "src/drm/bind_array.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "tests/drm/bind_model.hpp"
#include "tests/drm/gem_table.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
constexpr std::uint32_t kDummy = 99;
constexpr BindArrayRules kNativeSparse{true, 0, true};
constexpr BindArrayRules kDummySparse{false, kDummy, true};
constexpr BindArrayRules kNoMerging{true, 0, false};

VaRange at(std::uint64_t start, std::uint64_t bytes) {
    return {Va{start}, Va{start + bytes}};
}

struct BindArrayFixture {
    GemTable table;
    BoId bo = table.make(64 * kMi);
    BoId other = table.make(64 * kMi);
    BindArray array{NodeMemory::process()};

    static PlanOp unmap(const VaRange& va) {
        PlanOp op;
        op.va = va;
        return op;
    }
    static PlanOp map(const VaRange& va, BoId shown, std::uint64_t offset, LeafPolicy leaves = LeafPolicy::kLargest) {
        PlanOp op;
        op.kind = PlanOp::Kind::kMap;
        op.va = va;
        op.shows.bo = shown;
        op.shows.offset = BoOffset{offset};
        op.leaves = leaves;
        return op;
    }
    static PlanOp sparse(const VaRange& va, LeafPolicy leaves = LeafPolicy::kLargest) {
        return map(va, kNoBo, 0, leaves);
    }

    std::string elements(const std::vector<PlanOp>& ops, const BindArrayRules& rules) {
        array.reset();
        for (std::uint32_t i = 0; i < ops.size(); ++i) {
            REQUIRE(array.add(ops[i], {0, i}, table.bos(), rules));
        }
        return text(array.ops());
    }
};

TEST_CASE_FIXTURE(BindArrayFixture, "a map and an unmap are one element each") {
    CHECK(elements({map(at(0x200000, 8 * kMi), bo, 2 * kMi), unmap(at(0x1000, 0x3000))}, kNativeSparse) ==
          "map 0x200000+0x800000 1+0x200000; unmap 0x1000+0x3000");
}

TEST_CASE_FIXTURE(BindArrayFixture, "flags are those of the mapping") {
    PlanOp op = map(at(0x1000, 0x1000), bo, 0);
    op.shows.flags = {true, true, true};
    CHECK(elements({op}, kNativeSparse) == "map 0x1000+0x1000 1+0x0 ro nx uc");
    op.shows.flags = {false, false, true};
    CHECK(elements({op}, kNativeSparse) == "map 0x1000+0x1000 1+0x0 uc");
}

TEST_CASE_FIXTURE(BindArrayFixture, "a map of pages is cut in the middle of each window that it has whole") {
    // |-----------|-----------|-----------|
    //    |==============|===========|====|
    CHECK(elements({map(at(0x280000, 5 * kMi), bo, 0, LeafPolicy::kPage)}, kNativeSparse) ==
          "unmap 0x280000+0x500000; map 0x280000+0x280000 1+0x0; map 0x500000+0x280000 1+0x280000");
    // |-----------|
    // |=====|=====|
    CHECK(elements({map(at(0x200000, 2 * kMi), bo, 0, LeafPolicy::kPage)}, kNativeSparse) ==
          "unmap 0x200000+0x200000; map 0x200000+0x100000 1+0x0; map 0x300000+0x100000 1+0x100000");
    // |-----------|-----------|
    //     |==============|           no window whole
    CHECK(elements({map(at(0x300000, 2 * kMi), bo, 0, LeafPolicy::kPage)}, kNativeSparse) ==
          "map 0x300000+0x200000 1+0x0");
    CHECK(elements({map(at(0x201000, 4 * kMi - 0x2000), bo, 0, LeafPolicy::kPage)}, kNativeSparse) ==
          "map 0x201000+0x3fe000 1+0x0");
}

TEST_CASE_FIXTURE(BindArrayFixture, "P1: a map of pages is cut only where nothing is: a block there would be cut too") {
    const VaRange window = at(0x200000, 2 * kMi);
    // A kernel that oops must not see an unmap inside a mapping: it has one of its own there first.
    CHECK(elements({map(window, bo, 0, LeafPolicy::kPage)}, kNoMerging) ==
          "map 0x200000+0x200000 1+0x0; unmap 0x200000+0x200000; map 0x200000+0x100000 1+0x0; "
          "map 0x300000+0x100000 1+0x100000");
    // What is mapped again was unmapped by its plan.
    PlanOp residual = map(window, bo, 0, LeafPolicy::kPage);
    residual.purpose = PlanOp::Purpose::kResidual;
    CHECK(elements({residual}, kNativeSparse) == "map 0x200000+0x100000 1+0x0; map 0x300000+0x100000 1+0x100000");
}

TEST_CASE_FIXTURE(BindArrayFixture, "sparse is one element where the driver has it, and never executable") {
    CHECK(elements({sparse(at(0x201000, 64 * kMi))}, kNativeSparse) == "map 0x201000+0x4000000 sparse nx");
    CHECK(elements({sparse(at(0x200000, 2 * kMi), LeafPolicy::kPage)}, kNativeSparse) ==
          "unmap 0x200000+0x200000; map 0x200000+0x100000 sparse nx; map 0x300000+0x100000 sparse nx");
}

TEST_CASE_FIXTURE(BindArrayFixture, "sparse shows the dummy again and again where the driver does not have it") {
    // |-----------|-----------|-----------|
    //     |=======|===========|====|
    CHECK(elements({sparse(at(0x280000, 4 * kMi))}, kDummySparse) ==
          "map 0x280000+0x180000 99+0x80000 nx; map 0x400000+0x200000 99+0x0 nx; map 0x600000+0x80000 99+0x0 nx");
    CHECK(elements({sparse(at(0x300000, 4 * kMi), LeafPolicy::kPage)}, kDummySparse) ==
          "unmap 0x300000+0x400000; map 0x300000+0x100000 99+0x100000 nx; map 0x400000+0x100000 99+0x0 nx; "
          "map 0x500000+0x100000 99+0x100000 nx; map 0x600000+0x100000 99+0x0 nx");
}

TEST_CASE_FIXTURE(BindArrayFixture, "neighbours that unmap are one") {
    CHECK(elements({unmap(at(0x1000, 0x1000)), unmap(at(0x2000, 0x5000)), unmap(at(0x7000, 0x1000))}, kNativeSparse) ==
          "unmap 0x1000+0x7000");
    CHECK(elements({unmap(at(0x1000, 0x1000)), unmap(at(0x3000, 0x1000))}, kNativeSparse) ==
          "unmap 0x1000+0x1000; unmap 0x3000+0x1000");
}

TEST_CASE_FIXTURE(BindArrayFixture, "neighbours that map what goes on, and meet at a window, are one") {
    CHECK(elements({map(at(0x300000, kMi), bo, 0), map(at(0x400000, 4 * kMi), bo, kMi)}, kNativeSparse) ==
          "map 0x300000+0x500000 1+0x0");
    CHECK(elements({sparse(at(0x300000, kMi)), sparse(at(0x400000, 0x1000))}, kNativeSparse) ==
          "map 0x300000+0x101000 sparse nx");
    // Pages and blocks: the windows are the blocks'.
    CHECK(elements({map(at(0x300000, kMi), bo, 0, LeafPolicy::kPage), map(at(0x400000, 2 * kMi), bo, kMi)},
                   kNativeSparse) == "map 0x300000+0x300000 1+0x0");
}

TEST_CASE_FIXTURE(BindArrayFixture, "neighbours that map something else, or meet inside a window, are two") {
    const PlanOp first = map(at(0x300000, kMi), bo, 0);
    PlanOp readonly = map(at(0x400000, kMi), bo, kMi);
    readonly.shows.flags.readonly = true;
    for (const PlanOp& next : {map(at(0x400000, kMi), bo, 2 * kMi), map(at(0x400000, kMi), other, kMi), readonly,
                               sparse(at(0x400000, kMi)), unmap(at(0x400000, kMi)), map(at(0x600000, kMi), bo, kMi)}) {
        elements({first, next}, kNativeSparse);
        CHECK(array.ops().size() == 2);
        elements({first, next}, kDummySparse);
        CHECK(array.ops().size() == 2);
    }
    // A window would come together that neither had whole; and one that would not.
    elements({map(at(0x200000, kMi), bo, 0), map(at(0x300000, kMi), bo, kMi)}, kNativeSparse);
    CHECK(array.ops().size() == 2);
    elements({map(at(0x200000, kMi), bo, 0), map(at(0x300000, 0x1000), bo, kMi)}, kNativeSparse);
    CHECK(array.ops().size() == 2);
    // What ends where the other begins, but comes behind it.
    elements({unmap(at(0x2000, 0x1000)), unmap(at(0x1000, 0x1000))}, kNativeSparse);
    CHECK(array.ops().size() == 2);
}

TEST_CASE_FIXTURE(BindArrayFixture, "nothing is merged for kernels that decide by their own mappings") {
    elements({unmap(at(0x1000, 0x1000)), unmap(at(0x2000, 0x5000))}, kNoMerging);
    CHECK(array.ops().size() == 2);
    elements({map(at(0x300000, kMi), bo, 0), map(at(0x400000, 4 * kMi), bo, kMi)}, kNoMerging);
    CHECK(array.ops().size() == 2);
}

TEST_CASE_FIXTURE(BindArrayFixture, "an element says whose it is, and whether the operation began before it") {
    array.reset();
    REQUIRE(array.add(unmap(at(0x1000, 0x1000)), {0, 0}, table.bos(), kNativeSparse));
    REQUIRE(array.add(unmap(at(0x2000, 0x1000)), {1, 0}, table.bos(), kNativeSparse));
    REQUIRE(array.add(map(at(0x200000, 2 * kMi), bo, 0, LeafPolicy::kPage), {1, 1}, table.bos(), kNativeSparse));
    REQUIRE(array.add(map(at(0x400000, 2 * kMi), bo, 2 * kMi), {2, 0}, table.bos(), kNativeSparse));
    REQUIRE(array.ops().size() == 4);
    CHECK(array.origin(0).first == BindArray::PlanPosition{0, 0});
    CHECK(array.origin(0).last == BindArray::PlanPosition{1, 0});
    CHECK_FALSE(array.origin(0).continues);
    CHECK(array.origin(1).first == BindArray::PlanPosition{1, 1});
    CHECK(array.origin(1).last == BindArray::PlanPosition{1, 1});
    CHECK_FALSE(array.origin(1).continues);
    CHECK(array.origin(2).continues);
    CHECK(array.origin(3).first == BindArray::PlanPosition{1, 1});
    CHECK(array.origin(3).last == BindArray::PlanPosition{2, 0});
    CHECK(array.origin(3).continues);
}

TEST_CASE_FIXTURE(BindArrayFixture, "an operation that finds no room goes on where it was") {
    const PlanOp op = sparse(at(0x300000, 2 * kMi * 100));
    array.reset();
    REQUIRE_FALSE(array.add(op, {0, 0}, table.bos(), kDummySparse));
    CHECK(array.ops().size() == BindArray::kBaseOps);
    const drm_panthor_vm_bind_op last = array.ops().back();
    array.clear();
    REQUIRE(array.add(op, {0, 0}, table.bos(), kDummySparse));
    CHECK(array.ops().size() == 101 - BindArray::kBaseOps);
    CHECK(array.ops().front().va == last.va + last.size);
    CHECK(array.ops().back().va + array.ops().back().size == op.va.end.raw());
    CHECK(array.origin(0).continues);

    // Plans that begin again do not go on.
    array.reset();
    REQUIRE_FALSE(array.add(op, {0, 0}, table.bos(), kDummySparse));
    array.reset();
    REQUIRE(array.add(map(at(0x1000, 0x1000), bo, 0), {0, 0}, table.bos(), kDummySparse));
    CHECK_FALSE(array.origin(0).continues);
    CHECK(array.ops().front().va == 0x1000);
}

TEST_CASE("P4: any plan of one unmap has room from the beginning, and takes no memory") {
    TestMemory memory;
    GemTable table;
    const BoId bo = table.make(64 * kMi);
    {
        BindArray array(memory.memory());
        REQUIRE(array.valid());
        memory.refuse_everything();
        array.reset();
        PlanOp op;
        op.kind = PlanOp::Kind::kMap;
        op.leaves = LeafPolicy::kPage;
        std::uint32_t number = 0;
        for (std::uint64_t start = 0x201000; number < Plan::kMaxOps; start += 4 * kMi) {
            op.va = at(start, 2 * kMi);
            op.shows.bo = number % 2 == 0 ? bo : kNoBo;
            REQUIRE(array.add(op, {0, number++}, table.bos(), {false, kDummy, false}));
        }
        CHECK(memory.refusals() == 0);
    }
    CHECK(memory.blocks().empty());
    CHECK(memory.misuses() == 0);
}

TEST_CASE_FIXTURE(BindArrayFixture, "hold makes room for all plans at once, or changes nothing") {
    TestMemory memory;
    std::vector<Plan> plans(200);
    std::uint64_t va = 0x200000;
    for (Plan& plan : plans) {
        plan.push(map(at(va, 2 * kMi), bo, 0, LeafPolicy::kPage));
        va += 4 * kMi;
    }
    for (std::uint64_t granted = 0;; ++granted) {
        BindArray held(memory.memory());
        memory.refuse_after(granted);
        const bool enough = held.hold(plans, kNativeSparse);
        memory.refuse_everything();
        held.reset();
        std::uint32_t fits = 0;
        while (fits < plans.size() && held.add(plans[fits].ops()[0], {fits, 0}, table.bos(), kNativeSparse)) {
            ++fits;
        }
        CHECK(fits == (enough ? 200 : BindArray::kBaseOps / BindArray::elements(plans[0].ops()[0], kNativeSparse)));
        memory.refuse_nothing();
        if (enough) {
            CHECK(granted == 2);
            break;
        }
    }
    CHECK(memory.blocks().empty());
}

TEST_CASE_FIXTURE(BindArrayFixture, "without memory for the first elements there is no array") {
    for (const std::uint64_t granted : {0U, 1U}) {
        TestMemory memory;
        memory.refuse_after(granted);
        const BindArray none(memory.memory());
        CHECK_FALSE(none.valid());
    }
}

}  // namespace
}  // namespace granule::test
