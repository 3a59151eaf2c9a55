// P6's check can fail: what a VM names is compared with an oracle that says otherwise, in each way in which it can.
#include "src/replay/removals.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/replay/traced.hpp"
#include "tests/src/soft_fixture.hpp"

namespace granule::replay::test {
namespace {

using granule::test::make_bo;
using granule::test::make_device;
using granule::test::make_vm;
using granule::test::map_request;

constexpr Va kStart{kBlock1GBytes};
constexpr VaRange kFourPages{kStart, kStart + 4 * kPageBytes};
constexpr VaRange kFirstPage{kStart, kStart + kPageBytes};

// A VM that nothing is asked but to be one.
class BareVm final : public ReplayedVm {
public:
    explicit BareVm(Vm& vm) : vm_(vm) {}
    [[nodiscard]] Vm& vm() noexcept override { return vm_; }
    [[nodiscard]] Bound commit(const Transaction& transaction) override { return {vm_.commit(transaction), 0, 0}; }
    [[nodiscard]] Bound commit_queued(const Transaction& transaction) override { return commit(transaction); }
    [[nodiscard]] TableCounts tables() override { return {}; }
    void add_leaves(Hash&) override {}
    [[nodiscard]] std::uint64_t leaf_cuts() override { return 0; }
    [[nodiscard]] KernelTraffic traffic() override { return {}; }

private:
    Vm& vm_;
};

// BO number 2 from its page 1 on at the four pages, in the VM and in the oracle; number 3 is a BO that shows nowhere.
struct RemovalsFixture {
    RemovalsFixture() {
        file.numbers = {{bo, Oracle::kFirstBo}, {other, Oracle::kFirstBo + 1}};
        traced.on = std::make_unique<BareVm>(*vm);
        REQUIRE(vm->bind(map_request(kFourPages, bo, kPageBytes)).has_value());
        traced.oracle.map(kFourPages, Oracle::kFirstBo, kPageBytes, {});
    }

    // What is reported of a call that unmaps `range`.
    std::vector<std::string> unmap(const VaRange& range) {
        removals.note(traced, range);
        REQUIRE(vm->unmap(range, UnmapPolicy::kSplit).has_value());
        traced.oracle.unmap(range);
        std::vector<std::string> found;
        removals.check(traced, [&](std::string what) { found.push_back(std::move(what)); });
        return found;
    }

    Owned<SoftDevice> device = make_device(granule::test::device_config());
    Owned<Vm> vm = make_vm(*device);
    BoId bo = make_bo(*device, 8 * kPageBytes);
    BoId other = make_bo(*device, 8 * kPageBytes);
    TracedFile file;
    TracedVm traced{file};
    Removals removals;
};

TEST_CASE_FIXTURE(RemovalsFixture, "P6: a removal that is named rightly is no finding") {
    CHECK(unmap(kFirstPage).empty());
    CHECK(unmap(kFourPages).empty());
    CHECK(unmap(kFourPages).empty());  // nothing was there any more
}

TEST_CASE_FIXTURE(RemovalsFixture, "P6: a removal that is named as another page of the BO is found") {
    traced.oracle.map(kFirstPage, Oracle::kFirstBo, 0, {});
    const std::vector<std::string> found = unmap(kFourPages);
    REQUIRE(found.size() == 1);
    CHECK(found[0] == "VA 0x40000000 is said to have shown page 1 of BO number 2, but it was page 0 of number 2 (P6)");
}

TEST_CASE_FIXTURE(RemovalsFixture, "P6: a removal that is named as another BO is found, at the last page too") {
    traced.oracle.map({kFourPages.end - kPageBytes, kFourPages.end}, Oracle::kFirstBo + 1, 4 * kPageBytes, {});
    const std::vector<std::string> found = unmap(kFourPages);
    REQUIRE(found.size() == 1);
    CHECK(found[0] == "VA 0x40003000 is said to have shown page 4 of BO number 2, but it was page 4 of number 3 (P6)");
}

TEST_CASE_FIXTURE(RemovalsFixture, "P6: a removal of sparse memory that is named as a BO is found") {
    traced.oracle.map(kFirstPage, Oracle::kSparse, 0, {});
    CHECK(unmap(kFirstPage).size() == 1);
}

TEST_CASE_FIXTURE(RemovalsFixture, "P6: a removal that nothing is said of is found") {
    const VaRange never{kFourPages.end, kFourPages.end + kPageBytes};
    traced.oracle.map(never, Oracle::kFirstBo, 0, {});
    const std::vector<std::string> found = unmap(never);
    REQUIRE(found.size() == 1);
    CHECK(found[0] == "nothing says what was at VA 0x40004000 before this call (P6)");
}

TEST_CASE_FIXTURE(RemovalsFixture, "P6: of a page that one call takes twice, the later removal is compared") {
    const VaRange second{kStart + kPageBytes, kStart + 2 * kPageBytes};
    removals.note(traced, second);
    REQUIRE(vm->bind(map_request(second, other)).has_value());
    traced.oracle.map(second, Oracle::kFirstBo + 1, 0, {});
    CHECK(unmap(kFourPages).empty());
}

}  // namespace
}  // namespace granule::replay::test
