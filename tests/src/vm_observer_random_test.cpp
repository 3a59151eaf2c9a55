// Thousands of binds, alone, in transactions and in submitted groups, on a kernel that fails now and then and with memory
// that ends now and then: what was told, written down page by page, always is what the VM says.
#include <algorithm>
#include <random>

#include "tests/src/scripted_fixture.hpp"
#include "tests/support/event_log.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSeed = 0x6f62736572766572;
constexpr unsigned kRuns = kSanitized ? 8 : 40;
constexpr unsigned kSteps = 300;
constexpr VaRange kWindow = range_at(kGiB, 16 * kMiB);

class RandomRun {
public:
    RandomRun(KernelBehaviour behaviour, std::uint64_t seed) : random_(seed), log_(kWindow), space_(behaviour, &log_) {}

    // "" or what went wrong first.
    std::string run() {
        for (unsigned step = 0; step < kSteps; ++step) {
            log_.forget_events();
            const bool done = one_in(3) ? submit() : commit();
            space_.memory.refuse_nothing();
            space_.kernel.follow({});
            if (const std::string wrong = log_.disagreement(*space_.vm); !wrong.empty()) {
                return "step " + std::to_string(step) + ": " + wrong;
            }
            if (!done) {
                ++failed;
                told_though_failed += log_.events().empty() ? 0U : 1U;
            }
            space_.kernel.run_queue();
            if (one_in(50)) {
                space_.kernel.lose();
            }
            if (space_.vm->check() == Status::kVmUnusable) {
                ++lost;
                if (!space_.vm->rebuild()) {
                    return "step " + std::to_string(step) + ": no rebuild";
                }
            }
        }
        space_.vm = {};
        return log_.bound_pages() == 0 ? log_.problem() : "the end of the VM does not unbind all";
    }

    std::uint64_t failed = 0;
    std::uint64_t told_though_failed = 0;  // unmaps one by one
    std::uint64_t lost = 0;

private:
    std::uint64_t below(std::uint64_t end) { return random_() % end; }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

    BindRequest request(bool only_unmaps) {
        const std::uint64_t pages = kWindow.size() / kPageBytes;
        std::uint64_t start = below(pages) * kPageBytes;
        std::uint64_t bytes = (one_in(2) ? 1 + below(8) : 1 + below(1200)) * kPageBytes;
        if (one_in(3)) {
            start = align_down(start, kBlock2MBytes);
            bytes = one_in(2) ? align_up(bytes, kBlock2MBytes) : bytes;
        }
        const VaRange va = range_at(kWindow.start.raw() + start, std::min(bytes, kWindow.size() - start));
        const std::uint64_t policy = below(10);
        BindRequest made = unmap_request(
            va, policy < 7 ? UnmapPolicy::kSplit : (policy < 9 ? UnmapPolicy::kEnlarge : UnmapPolicy::kReject));
        if (only_unmaps || one_in(3)) {
            return made;
        }
        made.kind = BindRequest::Kind::kMap;
        made.leaves = one_in(5) ? LeafPolicy::kPage : LeafPolicy::kLargest;
        if (!one_in(6)) {
            made.shows.bo = space_.bo[below(space_.bo.size())];
            made.shows.offset = BoOffset{below((ScriptedSpace::kBoBytes - kWindow.size()) / kPageBytes) * kPageBytes};
            made.shows.flags.readonly = one_in(3);
        }
        return made;
    }

    std::vector<BindRequest> requests() {
        const bool only_unmaps = one_in(4);
        std::vector<BindRequest> made;
        const std::uint64_t count = one_in(2) ? 1 : 1 + below(6);
        for (std::uint64_t i = 0; i < count; ++i) {
            made.push_back(request(only_unmaps));
        }
        return made;
    }

    void plan_a_failure() {
        ScriptedKernel::Script script;
        if (one_in(4)) {
            script.fail_at = below(12);
            script.fail_count = one_in(4) ? ScriptedKernel::kNever : 1;
            script.in_part = one_in(2);
        }
        script.submit = one_in(12) ? Status::kBackendFailed : Status::kOk;
        script.submit_at = one_in(2) ? 0 : below(4);
        script.hold = one_in(20) ? Status::kOutOfTableMemory : Status::kOk;
        space_.kernel.follow(script);
        if (one_in(12)) {
            space_.memory.refuse_everything();
        } else if (one_in(12)) {
            space_.memory.refuse_after(below(12));
        }
    }

    bool commit() {
        const std::vector<BindRequest> asked = requests();
        plan_a_failure();
        return space_.vm->commit(asked).has_value();
    }
    bool submit() {
        std::vector<std::vector<BindRequest>> asked(1 + below(3));
        std::vector<BindGroup> groups;
        const SyncobjPoint point{1, 1};
        for (std::vector<BindRequest>& of_one : asked) {
            if (!one_in(5)) {
                of_one = requests();
            }
            groups.push_back({of_one, {&point, 1}, {}});
        }
        plan_a_failure();
        return space_.vm->submit(groups).has_value();
    }

    std::mt19937_64 random_;
    EventLog log_;
    ScriptedSpace space_;
};

TEST_CASE("after each of thousands of binds that may fail, the events lead to what the VM says") {
    std::uint64_t failed = 0;
    std::uint64_t told_though_failed = 0;
    std::uint64_t lost = 0;
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kRealigns}) {
        for (unsigned i = 0; i < kRuns; ++i) {
            const std::uint64_t seed = kSeed + i;
            CAPTURE(seed);
            CAPTURE(std::string(to_string(behaviour)));
            RandomRun run(behaviour, seed);
            REQUIRE(run.run() == "");
            failed += run.failed;
            told_though_failed += run.told_though_failed;
            lost += run.lost;
        }
    }
    CHECK(failed > 1000);
    CHECK(told_though_failed > 5);
    CHECK(lost > 100);
}

}  // namespace
}  // namespace granule::test
