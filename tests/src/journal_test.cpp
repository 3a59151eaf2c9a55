#include "src/journal.hpp"

#include <string>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

Removal removal(std::uint64_t start, std::uint64_t bytes, std::uint32_t serial) {
    Removal made;
    made.what.va = range_at(start, bytes);
    made.by = BindSerial{serial};
    return made;
}

TEST_CASE("P6: the newest removal that had an address is found, and the oldest are forgotten") {
    Journal journal(3, NodeMemory::process());
    REQUIRE(journal.valid());
    CHECK_FALSE(journal.last_at(Va{0}).has_value());
    journal.record(removal(0x1000, 0x3000, 1));
    journal.record(removal(0x2000, 0x1000, 2));
    CHECK(journal.last_at(Va{0x1fff})->by == BindSerial{1});
    CHECK(journal.last_at(Va{0x2000})->by == BindSerial{2});
    CHECK(journal.last_at(Va{0x3000})->by == BindSerial{1});
    CHECK_FALSE(journal.last_at(Va{0x4000}).has_value());
    CHECK(journal.known() == 2);
    for (std::uint32_t serial = 3; serial < 9; ++serial) {
        journal.record(removal(std::uint64_t{serial} * 0x10000, 0x1000, serial));
        REQUIRE(journal.known() == 3);
        REQUIRE(journal.recorded() == serial);
        REQUIRE(journal.last_at(Va{std::uint64_t{serial} * 0x10000})->by == BindSerial{serial});
        REQUIRE_FALSE(journal.last_at(Va{(std::uint64_t{serial} - 3) * 0x10000}).has_value());
    }
    CHECK(journal.last_at(Va{0x60000})->by == BindSerial{6});
}

TEST_CASE("P6: each removal that is known has the label that it was recorded with, or none") {
    constexpr std::uint32_t kCapacity = 5;
    for (std::uint32_t labelled = 1; labelled <= 4; ++labelled) {  // every so many have one
        Journal journal(kCapacity, NodeMemory::process());
        const auto label_of = [&](std::uint32_t serial) {
            return serial % labelled == 0 ? "bo " + std::to_string(serial) : std::string();
        };
        for (std::uint32_t serial = 0; serial < 6 * kCapacity; ++serial) {
            Removal made = removal(std::uint64_t{serial} * 0x1000, 0x1000, serial);
            made.label = ShortLabel{label_of(serial)};
            journal.record(made);
            for (std::uint32_t back = 0; back < kCapacity && back <= serial; ++back) {
                const std::optional<Removal> known = journal.last_at(Va{(std::uint64_t{serial} - back) * 0x1000});
                REQUIRE(known.has_value());
                REQUIRE(known->by == BindSerial{serial - back});
                REQUIRE(known->label.view() == label_of(serial - back));
            }
        }
    }
}

TEST_CASE("a journal of nothing keeps nothing, and one without memory says so") {
    Journal none(0, NodeMemory::process());
    CHECK(none.valid());
    none.record(removal(0, 0x1000, 1));
    CHECK_FALSE(none.last_at(Va{0}).has_value());
    TestMemory memory;
    memory.refuse_everything();
    Journal journal(8, memory.memory());
    CHECK_FALSE(journal.valid());
    journal.record(removal(0, 0x1000, 1));
    CHECK(journal.known() == 0);
}

TEST_CASE("P4: recording allocates nothing") {
    TestMemory memory;
    Journal journal(100, memory.memory());
    memory.refuse_everything();
    for (std::uint32_t serial = 0; serial < 250; ++serial) {
        journal.record(removal(0, 0x1000, serial));
    }
    CHECK(memory.refusals() == 0);
    CHECK(journal.last_at(Va{0})->by == BindSerial{249});
}

}  // namespace
}  // namespace granule::test
