// The checks of `--verify` find what they are there to find: each is broken once, behind the library's back.
#include <doctest/doctest.h>

#include <string>

#include "src/replay/replay.hpp"
#include "tests/support/replay_script.hpp"

namespace granule::replay::test {
namespace {

constexpr std::uint64_t kBlock = std::uint64_t{2} << 20;
const std::string kTwoBlocks = kMeta + kOpen + bo_create(3, 2 * kBlock) + vm_bind(map_op(kBlock, 2 * kBlock, 3));

Played two_blocks() {
    Options options;
    options.verify = true;
    Played played = play(kTwoBlocks, options);
    REQUIRE(played.stop == "");
    return played;
}

// The page tables under the only VM, to be changed as no driver would.
mali::PageTable& tables(Played& played) {
    Vm& vm = *played.replay.vms().front().object;
    return const_cast<mali::PageTable&>(SoftDevice::address_space(vm).table());
}

std::string first_finding(Played& played) {
    const ReplayResult result = played.replay.finish();
    CHECK_FALSE(result.good());
    return result.findings.empty() ? "" : result.findings.front().what;
}

}  // namespace

TEST_CASE("nothing is found where nothing is wrong") {
    Played played = two_blocks();
    const ReplayResult result = played.replay.finish();
    CHECK(result.good());
    CHECK(result.counts.pages_verified > 1024);
    CHECK(result.counts.leaves_2m == 2);
}

TEST_CASE("P4, P6: what asynchronous binds replace and remove is named, also where one call removes it twice") {
    Options options;
    options.verify = true;
    const std::string text = kMeta + kOpen + bo_create(3, kBlock) + bo_create(4, kBlock) +
                             vm_bind(map_op(kBlock, kBlock, 3), 1) +
                             vm_bind(unmap_op(kBlock, kBlock / 2) + "," + map_op(kBlock + 4096, 8192, 4) + "," +
                                         unmap_op(kBlock, 3 * kBlock / 4) + "," + map_op(kBlock, 4096, 3, 4096),
                                     1) +
                             vm_bind(unmap_op(kBlock, kBlock), 1);
    Played played = play(text, options);
    REQUIRE(played.stop == "");
    const ReplayResult result = played.replay.finish();
    CHECK(result.good());
    CHECK(result.counts.unmaps == 3);
    CHECK(result.counts.allocations_in_unmap == 0);
}

TEST_CASE("P6: what the VM does not know any more because its journal is full is no finding") {
    // More mappings (of one page of a BO, again and again) than the journal has room for, gone with one unmap: its first page is the oldest removal.
    const std::uint64_t pages = VmConfig{}.journal_capacity + 1;
    std::string text = kMeta + kOpen + bo_create(3, 4096);
    for (std::uint64_t page = 0; page < pages;) {
        std::string ops;
        for (std::uint64_t in_call = 0; in_call < 1024 && page < pages; ++in_call, ++page) {
            ops += (in_call == 0 ? "" : ",") + map_op(kBlock + page * 4096, 4096, 3);
        }
        text += vm_bind(ops);
    }
    text += vm_bind(unmap_op(kBlock, pages * 4096));
    Options options;
    options.verify = true;
    Played played = play(text, options);
    REQUIRE(played.stop == "");
    const AddressReport report = played.replay.vms().front().object->address(Va{kBlock});
    CHECK_FALSE(report.removed.has_value());
    CHECK_FALSE(report.history_complete);
    CHECK(played.replay.finish().good());
}

TEST_CASE("a leaf that vanished is found") {
    Played played = two_blocks();
    REQUIRE(tables(played).unmap({Va{kBlock}, LeafSize::k2M, 1}).has_value());
    // The TLB still has it: the check says that the answer is stale before anything faults.
    CHECK(first_finding(played).find("should have been invalidated") != std::string::npos);
}

TEST_CASE("a leaf that shows other memory is found") {
    Played played = two_blocks();
    mali::PageTable& table = tables(played);
    const mali::Walk second = table.walk(Va{2 * kBlock});
    REQUIRE(table.unmap({Va{kBlock}, LeafSize::k2M, 1}).has_value());
    REQUIRE(table.map({Va{kBlock}, LeafSize::k2M, 1}, second.leaf_pa, second.attributes).has_value());
    SoftDevice& device = played.replay.soft_device();
    SoftGpu::Context& context = SoftDevice::address_space(*played.replay.vms().front().object).gpu_context();
    device.gpu().deactivate(context);  // forgets the TLB, so that only the tables are wrong
    CHECK(first_finding(played).find("is at") != std::string::npos);
}

TEST_CASE("a leaf with other attributes is found") {
    Played played = two_blocks();
    mali::PageTable& table = tables(played);
    const mali::Walk first = table.walk(Va{kBlock});
    mali::LeafAttributes attributes = first.attributes;
    attributes.write = false;
    REQUIRE(table.unmap({Va{kBlock}, LeafSize::k2M, 1}).has_value());
    REQUIRE(table.map({Va{kBlock}, LeafSize::k2M, 1}, first.leaf_pa, attributes).has_value());
    SoftGpu::Context& context = SoftDevice::address_space(*played.replay.vms().front().object).gpu_context();
    played.replay.soft_device().gpu().deactivate(context);
    CHECK(first_finding(played).find("other attributes") != std::string::npos);
}

TEST_CASE("a leaf of another size than the ledger says is found") {
    Played played = two_blocks();
    mali::PageTable& table = tables(played);
    const mali::Walk first = table.walk(Va{kBlock});
    REQUIRE(table.unmap({Va{kBlock}, LeafSize::k2M, 1}).has_value());
    REQUIRE(table.map({Va{kBlock}, LeafSize::k4K, 512}, first.leaf_pa, first.attributes).has_value());
    SoftGpu::Context& context = SoftDevice::address_space(*played.replay.vms().front().object).gpu_context();
    played.replay.soft_device().gpu().deactivate(context);
    CHECK(first_finding(played).find("the ledger says") != std::string::npos);
}

TEST_CASE("a page that nobody mapped is found") {
    Played played = two_blocks();
    mali::PageTable& table = tables(played);
    const mali::Walk first = table.walk(Va{kBlock});
    REQUIRE(table.map({Va{0}, LeafSize::k4K, 1}, first.leaf_pa, first.attributes).has_value());
    CHECK(first_finding(played).find("the tables map 1025 pages, the program has mapped 1024") != std::string::npos);
}

}  // namespace granule::replay::test
