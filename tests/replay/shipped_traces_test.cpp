// The shipped traces of real drivers, under all four kernel behaviours: nothing mismatches, nothing is cut, and what
// stands at the end is the same everywhere.
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::replay {
namespace {

const std::vector<std::string> kTraces{"sparse-vtex-g610-v26-k12", "sparse-arena-g610-v26-k19",
                                       "multiclient-g610-v26-clients", "glmark2-g52-v26"};
constexpr std::array kKernels{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                              KernelBehaviour::kRealigns};

struct Outcome {
    ReplayResult result;
    std::string stop;
};

Outcome replay_trace(const std::string& name, const Options& options) {
    auto reader = trace::Reader::open(std::string(GRANULE_TRACES_DIR) + "/" + name + ".jsonl.xz");
    REQUIRE(reader.has_value());
    auto replay = Replay::create(options, reader->meta());
    REQUIRE(replay.has_value());
    Outcome outcome;
    trace::Call call;
    for (;;) {
        const auto more = reader->next(call);
        if (!more.has_value()) {
            FAIL(more.error().message());
        }
        if (!*more) {
            break;
        }
        if (const auto done = replay->play(call); !done.has_value()) {
            outcome.stop = done.error().what;
            break;
        }
    }
    outcome.result = replay->finish();
    return outcome;
}

}  // namespace

TEST_CASE("P1, P2, P4: the shipped traces replay without a mismatch under every kernel, to the same end state") {
    for (const std::string& name : kTraces) {
        std::uint64_t end_state = 0;
        for (const KernelBehaviour kernel : kKernels) {
            CAPTURE(name);
            CAPTURE(to_string(kernel));
            Options options;
            options.kernel = kernel;
            // Under a sanitizer the oracle looks under one kernel, and the end state stands for the others.
            options.verify = !test::kSanitized || kernel == KernelBehaviour::kOopses;
            const Outcome outcome = replay_trace(name, options);
            CHECK(outcome.stop == "");
            CHECK(outcome.result.good());
            CHECK(outcome.result.counts.granules_cut == 0);
            CHECK(outcome.result.counts.mismatches == 0);
            CHECK(outcome.result.counts.binds > 0);
            if (kernel == KernelBehaviour::kSplits) {
                end_state = outcome.result.counts.end_state;
            }
            CHECK(outcome.result.counts.end_state == end_state);
        }
    }
}

TEST_CASE("without the split policy the sparse traces fail, and the failure names the granule") {
    for (const std::string name : {"sparse-vtex-g610-v26-k12", "sparse-arena-g610-v26-k19"}) {
        CAPTURE(name);
        Options options;
        options.policy = UnmapPolicy::kReject;
        const Outcome outcome = replay_trace(name, options);
        CHECK(outcome.stop.find("would cut the 2 MiB leaf") != std::string::npos);
    }
}

TEST_CASE("mappings made of pages have no residuals") {
    Options options;
    options.leaves = LeafPolicy::kPage;
    options.policy = UnmapPolicy::kReject;
    const Outcome outcome = replay_trace("sparse-vtex-g610-v26-k12", options);
    CHECK(outcome.stop == "");
    CHECK(outcome.result.good());
    CHECK(outcome.result.counts.leaves_2m == 0);
    CHECK(outcome.result.counts.residual_bytes == 0);
}

TEST_CASE("the Vulkan traces show the half of panvk's descriptor ring that stays mapped") {
    const Outcome outcome = replay_trace("sparse-vtex-g610-v26-k12", {});
    bool named = false;
    for (const Leftover& leftover : outcome.result.leftovers) {
        named = named || (leftover.kind == Leftover::Kind::kStillMapped &&
                          leftover.sentence.find("mapped the BO twice, back to back") != std::string::npos);
    }
    CHECK(named);
}

}  // namespace granule::replay
