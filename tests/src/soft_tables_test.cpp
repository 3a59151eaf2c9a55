// Memory for page tables: as much bookkeeping as there are pages, whatever it grows by.
#include "src/backend/soft_tables.hpp"

#include <doctest/doctest.h>

#include <cstdint>

#include "src/device_memory.hpp"
#include "tests/src/requests.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

TEST_CASE("what is kept beside the pages of page tables grows with them, and no faster") {
    TestMemory of_device;
    const Result<Owned<DeviceMemory>, OsError> memory = DeviceMemory::create(kGiB, of_device.memory());
    REQUIRE(memory.has_value());
    const Result<Owned<SoftTables>, OsError> tables = SoftTables::create(**memory, of_device.memory());
    REQUIRE(tables.has_value());
    TestMemory nodes;
    SoftTableMemory mine(**tables, nodes.memory(), nullptr);
    constexpr std::uint64_t kStep = 300;
    constexpr std::uint64_t kSteps = 500;
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
        REQUIRE(mine.reserve(kStep));
        // Twice the room where it has just doubled, and the chunks.
        REQUIRE(nodes.bytes() <= std::uint64_t{2} * 8 * (step * kStep + 512) + 4096 + 64 * step);
    }
    CHECK(mine.reserved() == kStep * kSteps);
    CHECK(!mine.reserve(kGiB / kPageBytes));
    CHECK(mine.reserved() == kStep * kSteps);
    mine.unreserve(kStep * kSteps);
}

}  // namespace
}  // namespace granule::test
