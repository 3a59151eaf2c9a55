// Thousands of binds, committed and submitted, on a kernel that fails now and then: an operation, the undoing of it, a
// queued one, the queueing, the asking. After each, what the VM says is what the oracle says, and after each rebuild the
// kernel shows the same, page for page, in the leaves that the ledger says.
#include <algorithm>
#include <random>

#include "tests/src/scripted_fixture.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSeed = 0x72656275696c64;
constexpr unsigned kRuns = kSanitized ? 12 : 60;
constexpr unsigned kSteps = 400;

class RandomRun {
public:
    RandomRun(KernelBehaviour behaviour, std::uint64_t seed) : random_(seed), space_(behaviour) {}

    // "" or what went wrong first.
    std::string run() {
        for (unsigned step = 0; step < kSteps && problem_.empty(); ++step) {
            bind();
            if (one_in(8)) {
                space_.kernel.follow(script());
                space_.kernel.run_queue();
                space_.kernel.follow({});
            }
            if (one_in(60)) {
                space_.kernel.lose();
            }
            if (one_in(8)) {
                check_and_rebuild();
            }
            compare_with_oracle();
            if (!problem_.empty()) {
                return "step " + std::to_string(step) + ": " + problem_;
            }
        }
        return problem_;
    }

    std::uint64_t rebuilt = 0;
    std::uint64_t undone = 0;
    std::uint64_t lost_by_undo = 0;
    std::uint64_t lost_in_queue = 0;

private:
    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

    // Mostly nothing; or one operation fails, or it and all behind it.
    ScriptedKernel::Script script() {
        ScriptedKernel::Script script;
        if (one_in(4)) {
            script.fail_at = below(12);
            script.fail_count = one_in(4) ? ScriptedKernel::kNever : 1;
            script.in_part = one_in(2);
        }
        if (one_in(20)) {
            script.submit = Status::kOutOfTableMemory;
        }
        if (one_in(20)) {
            script.hold = Status::kOutOfHostMemory;
        }
        return script;
    }

    VaRange place() {
        constexpr std::uint64_t kWindowBytes = 24 * kMiB;
        std::uint64_t start = below(kWindowBytes / kPageBytes) * kPageBytes;
        std::uint64_t bytes = one_in(2) ? (1 + below(8)) * kPageBytes : (1 + below(1200)) * kPageBytes;
        if (one_in(3)) {
            start = align_down(start, kBlock2MBytes);
            bytes = one_in(2) ? align_up(bytes, kBlock2MBytes) : bytes;
        }
        return range_at(kGiB + start, std::min(bytes, kWindowBytes - start));
    }

    BindRequest request() {
        BindRequest made = unmap_request(place(), one_in(8) ? UnmapPolicy::kReject : UnmapPolicy::kSplit);
        if (one_in(3)) {
            return made;
        }
        made.kind = BindRequest::Kind::kMap;
        made.leaves = one_in(5) ? LeafPolicy::kPage : LeafPolicy::kLargest;
        if (!one_in(6)) {
            made.shows.bo = space_.bo[below(space_.bo.size())];
            made.shows.offset = BoOffset{below((ScriptedSpace::kBoBytes - 24 * kMiB) / kPageBytes) * kPageBytes};
            made.shows.flags.readonly = one_in(3);
        }
        return made;
    }

    void bind() {
        Transaction transaction;
        const std::uint64_t count = one_in(2) ? 1 : 1 + below(6);
        for (std::uint64_t i = 0; i < count; ++i) {
            if (transaction.add(request()) != Status::kOk) {
                complain("no memory");
            }
        }
        // A real kernel's queue is in order, and the backend lets no synchronous bind overtake it.
        const bool later = one_in(3);
        if (!later) {
            space_.kernel.follow({});
            space_.kernel.run_queue();
        }
        const ScriptedSpace::State before = space_.state();
        const bool was_lost = space_.kernel.lost();
        space_.kernel.follow(script());
        const SyncobjPoint signal{1, 1};
        const auto done = later ? space_.vm->submit(transaction, {}, {&signal, 1}) : space_.vm->commit(transaction);
        space_.kernel.follow({});
        if (done) {
            for (const BindRequest& asked : transaction.requests()) {
                oracle_.cut(asked.va);
                if (asked.kind == BindRequest::Kind::kMap) {
                    oracle_.add({asked.va, asked.shows});
                }
            }
            return;
        }
        ScriptedSpace::State after = space_.state();
        const bool lost_now = before.usable && !after.usable;
        if (lost_now && done.error().undone && !was_lost) {
            complain("a VM was lost, and the error says that all was undone");
        }
        if (!lost_now && !done.error().undone) {
            // Unmaps one by one: those before the one that failed stay.
            complain("something was not undone, and the VM is usable");
        }
        undone += before.usable && after.usable && done.error().status == Status::kBackendFailed ? 1U : 0U;
        lost_by_undo += lost_now && !was_lost ? 1U : 0U;
        after.usable = before.usable;
        if (!(after == before)) {
            complain("a call that failed changed something");
        }
    }

    void check_and_rebuild() {
        const bool usable = space_.vm->usable();
        const Status status = space_.vm->check();
        if ((status == Status::kOk) != (usable && !space_.kernel.lost())) {
            complain("check says " + std::string(to_string(status)));
        }
        lost_in_queue += usable && status == Status::kVmUnusable ? 1U : 0U;
        if (status != Status::kVmUnusable) {
            return;
        }
        if (one_in(2)) {
            ScriptedKernel::Script fails;
            fails.fail_at = below(20);
            space_.kernel.follow(fails);
            const bool done = space_.vm->rebuild().has_value();
            if (done == (space_.kernel.failures() != 0)) {
                complain("a rebuild is done that had to fail, or the other way round");
            }
            space_.kernel.follow({});
            if (done) {
                return rebuilt_now();
            }
        }
        if (!space_.vm->rebuild().has_value()) {
            complain("a rebuild failed");
        }
        rebuilt_now();
    }
    void rebuilt_now() {
        ++rebuilt;
        if (const std::string wrong = space_.disagreement(); !wrong.empty()) {
            complain("after a rebuild: " + wrong);
        }
    }

    void compare_with_oracle() {
        const VaRange all = space_.vm->config().space;
        if (space_.mapped().translation(all) != oracle_.translation(all)) {
            complain("the VM says something else than the oracle");
        }
        if (!space_.kernel.problem().empty()) {
            complain(space_.kernel.problem());
        }
        const bool in_step = space_.vm->usable() && !space_.kernel.lost() && space_.kernel.queue().empty();
        if (in_step && !space_.disagreement().empty()) {
            complain(space_.disagreement());
        }
    }

    void complain(const std::string& problem) {
        if (problem_.empty()) {
            problem_ = problem;
        }
    }

    std::mt19937_64 random_;
    ScriptedSpace space_;
    MappingList oracle_;
    std::string problem_;
};

TEST_CASE("P3: binds on a kernel that fails, committed and submitted, and rebuilds: the oracle is right all the time") {
    std::uint64_t rebuilt = 0;
    std::uint64_t undone = 0;
    std::uint64_t lost_by_undo = 0;
    std::uint64_t lost_in_queue = 0;
    for (unsigned i = 0; i < kRuns; ++i) {
        const std::uint64_t seed = kSeed + i;
        const auto behaviour = static_cast<KernelBehaviour>(i % 4);
        CAPTURE(seed);
        CAPTURE(std::string(to_string(behaviour)));
        RandomRun run(behaviour, seed);
        REQUIRE(run.run() == "");
        rebuilt += run.rebuilt;
        undone += run.undone;
        lost_by_undo += run.lost_by_undo;
        lost_in_queue += run.lost_in_queue;
    }
    // What is to be tested must have happened.
    CHECK(rebuilt > 5 * kRuns);
    CHECK(undone > 5 * kRuns);
    CHECK(lost_by_undo > kRuns);
    CHECK(2 * lost_in_queue > kRuns);
}

}  // namespace
}  // namespace granule::test
