// What a BindObserver is told of each kind of call, and of calls that fail.
#include <vector>

#include "tests/src/scripted_fixture.hpp"
#include "tests/support/event_log.hpp"

namespace granule::test {
namespace {

constexpr VaRange kWindow = range_at(0, 256 * kMiB);
using Event = EventLog::Event;

struct Observed {
    explicit Observed(KernelBehaviour behaviour = KernelBehaviour::kRefuses) : log(kWindow), space(behaviour, &log) {}

    Mapping shown(const VaRange& va, BoId bo, std::uint64_t offset, BindSerial serial) const {
        return {va, {bo, BoOffset{offset}, {}, serial}};
    }
    BindReport bound(const BindRequest& request) {
        const auto done = space.vm->bind(request);
        REQUIRE(done.has_value());
        return *done;
    }
    // What was told since the last time.
    std::vector<Event> told() {
        CHECK(log.disagreement(*space.vm) == "");
        std::vector<Event> events = log.events();
        log.forget_events();
        return events;
    }

    EventLog log;
    ScriptedSpace space;
};

TEST_CASE("a map is told once it is there, and an unmap part by part, without the residuals that are mapped again") {
    Observed test;
    const BoId bo = test.space.bo[0];
    const VaRange whole = range_at(4 * kMiB, 4 * kMiB);
    const BindSerial first = test.bound(map_request(whole, bo, 2 * kMiB)).serial;
    CHECK(test.told() == std::vector<Event>{{true, test.shown(whole, bo, 2 * kMiB, first), {}}});

    const VaRange hole = range_at(5 * kMiB, 0x3000);
    const BindReport cut = test.bound(unmap_request(hole));
    CHECK(cut.residual_bytes != 0);
    CHECK(test.told() == std::vector<Event>{{false, test.shown(hole, bo, 3 * kMiB, first), Removal::By::kUnmap}});

    // Both of what is left, and what was never there is not told.
    test.bound(unmap_request(range_at(kMiB, 16 * kMiB)));
    const VaRange head{whole.start, hole.start};
    const VaRange tail{hole.end, whole.end};
    CHECK(test.told() ==
          std::vector<Event>{{false, test.shown(head, bo, 2 * kMiB, first), Removal::By::kUnmap},
                             {false, test.shown(tail, bo, 3 * kMiB + 0x3000, first), Removal::By::kUnmap}});
    test.bound(unmap_request(range_at(kMiB, 16 * kMiB)));
    CHECK(test.told().empty());
}

TEST_CASE("a map over another tells first what goes, then what comes") {
    Observed test;
    const VaRange old_place = range_at(4 * kMiB, 4 * kMiB);
    const VaRange new_place = range_at(6 * kMiB, 4 * kMiB);
    const BindSerial old_serial = test.bound(map_request(old_place, test.space.bo[0])).serial;
    static_cast<void>(test.told());
    const BindSerial serial = test.bound(sparse_request(new_place)).serial;
    CHECK(test.told() ==
          std::vector<Event>{
              {false, test.shown(old_place.intersection(new_place), test.space.bo[0], 2 * kMiB, old_serial),
               Removal::By::kMap},
              {true, test.shown(new_place, kNoBo, 0, serial), {}}});
}

TEST_CASE("an unmap that takes whole granules tells all that it takes") {
    Observed test;
    const BindSerial serial = test.bound(map_request(range_at(4 * kMiB, 4 * kMiB), test.space.bo[0])).serial;
    static_cast<void>(test.told());
    test.bound(unmap_request(range_at(5 * kMiB, 0x1000), UnmapPolicy::kEnlarge));
    CHECK(test.told() ==
          std::vector<Event>{
              {false, test.shown(range_at(4 * kMiB, 2 * kMiB), test.space.bo[0], 0, serial), Removal::By::kUnmap}});
}

TEST_CASE("a transaction tells request by request, also what it maps and takes away again") {
    Observed test;
    const BoId bo = test.space.bo[3];
    const VaRange pages = range_at(4 * kMiB, 0x4000);
    const VaRange some = range_at(4 * kMiB + 0x1000, 0x2000);
    for (const bool later : {false, true}) {
        CAPTURE(later);
        const Transaction transaction = test.space.transaction(
            {map_request(pages, bo), unmap_request(some), map_request(some, bo, 0x8000), unmap_request(pages)});
        const auto done = later ? test.space.vm->submit(transaction, {}, {}) : test.space.vm->commit(transaction);
        REQUIRE(done.has_value());
        const BindSerial serial = done->serial;
        const VaRange head{pages.start, some.start};
        const VaRange tail{some.end, pages.end};
        CHECK(test.told() == std::vector<Event>{{true, test.shown(pages, bo, 0, serial), {}},
                                                {false, test.shown(some, bo, 0x1000, serial), Removal::By::kUnmap},
                                                {true, test.shown(some, bo, 0x8000, serial), {}},
                                                {false, test.shown(head, bo, 0, serial), Removal::By::kUnmap},
                                                {false, test.shown(some, bo, 0x8000, serial), Removal::By::kUnmap},
                                                {false, test.shown(tail, bo, 0x3000, serial), Removal::By::kUnmap}});
        // Submitted, the kernel has done nothing of it yet.
        CHECK(test.space.kernel.queue().size() == (later ? 1 : 0));
    }
}

TEST_CASE("P3: what fails at any operation tells nothing, whether it can be undone or not") {
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kRealigns}) {
        for (const Scenario& scenario : kScenarios) {
            CAPTURE(std::string(scenario.name));
            for (const bool undo_fails : {false, true}) {
                for (std::uint64_t operation = 0;; ++operation) {
                    EventLog log(range_at(0, 4 * kGiB));
                    ScriptedSpace space(behaviour, &log);
                    set_up(space);
                    log.forget_events();
                    ScriptedKernel::Script script;
                    script.fail_at = operation;
                    script.fail_count = undo_fails ? ScriptedKernel::kNever : 1;
                    space.kernel.follow(script);
                    const bool done = space.vm->commit(space.transaction(scenario.requests(space.bo))).has_value();
                    REQUIRE(log.disagreement(*space.vm) == "");
                    REQUIRE(log.events().empty() != done);
                    if (done) {
                        break;
                    }
                }
            }
        }
    }
}

TEST_CASE("P4: unmaps that are done one by one are told one by one, and those that were done stay told") {
    Observed test;
    const VaRange whole = range_at(4 * kMiB, 8 * kMiB);
    test.bound(map_request(whole, test.space.bo[0]));
    static_cast<void>(test.told());
    const Transaction transaction = test.space.transaction(
        {unmap_request(range_at(4 * kMiB, 2 * kMiB)), unmap_request(range_at(8 * kMiB, 2 * kMiB))});
    ScriptedKernel::Script second_fails;
    second_fails.fail_at = 1;
    test.space.kernel.follow(second_fails);
    test.space.memory.refuse_everything();
    const auto done = test.space.vm->commit(transaction);
    test.space.memory.refuse_nothing();
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().request == 1);
    const std::vector<Event> told = test.told();
    REQUIRE(told.size() == 1);
    CHECK(told.front().what.va == range_at(4 * kMiB, 2 * kMiB));
}

TEST_CASE("a VM that is lost and rebuilt tells nothing; its end tells all that it had, while the BOs are still there") {
    class LooksAtBos final : public BindObserver {
    public:
        void on_bind(const Mapping& /*mapping*/) noexcept override {}
        void on_unbind(const Mapping& part, Removal::By /*how*/) noexcept override {
            found += part.shows.sparse() || bos->find(part.shows.bo) != nullptr ? 1 : 0;
            ++parts;
        }
        const BoTable* bos = nullptr;
        int found = 0;
        int parts = 0;
    } looks;
    Observed test;
    set_up(test.space);
    static_cast<void>(test.told());
    test.space.kernel.lose();
    REQUIRE(test.space.vm->check() == Status::kVmUnusable);
    CHECK(test.told().empty());
    REQUIRE(test.space.vm->rebuild().has_value());
    CHECK(test.told().empty());
    const std::uint64_t mappings = test.space.vm->statistics().mappings;
    test.space.vm = {};
    CHECK(test.log.problem() == "");
    CHECK(test.log.events().size() == mappings);
    CHECK(test.log.bound_pages() == 0);

    ScriptedSpace space(KernelBehaviour::kRefuses, &looks);
    looks.bos = &space.bos;
    set_up(space);
    for (const BoId bo : space.bo) {
        space.bos.release(*space.bos.find(bo), 1);  // only the VM has them now
    }
    REQUIRE(space.vm->unmap(range_at(kPlanned - kMiB, 14 * kMiB), UnmapPolicy::kReject).has_value());
    CHECK(space.bos.find(space.bo[0]) == nullptr);
    space.vm = {};
    CHECK(space.bos.live() == 0);
    CHECK(looks.parts == static_cast<int>(mappings));
    CHECK(looks.found == looks.parts);
}

}  // namespace
}  // namespace granule::test
