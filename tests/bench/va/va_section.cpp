// Section va: free + alloc of VA ranges, beside best fit in ordered containers.
#include <cstdio>
#include <memory>
#include <string>
#include <tuple>

#include "tests/bench/harness/rounds.hpp"
#include "tests/bench/harness/sections.hpp"
#include "tests/bench/peers/candidate_va.hpp"
#include "tests/bench/va/best_fit.hpp"
#include "tests/bench/va/cases.hpp"
#include "tests/bench/va/churn.hpp"

namespace granule::bench {
namespace {

// The first is the empty loop.
template <class... Subjects>
class VaSection {
public:
    VaSection(const Options& options, Records& records) : options_(options), records_(records) {}

    void run() {
        for (const Mix mix : {Mix::kM, Mix::kT, Mix::kS}) {
            if (!options_.instructions) {
                (verify<Subjects>(mix), ...);
            }
            for (const std::uint32_t n : options_.n) {
                churn(mix, n);
            }
        }
        if (options_.instructions) {
            return;
        }
        for (const std::uint32_t n : options_.n) {
            if (n <= kMostGrowing) {
                (growing_if_wanted<Subjects>(n), ...);
            }
        }
    }

private:
    static constexpr std::uint32_t kMostGrowing = 100'000;

    template <class Subject>
    void growing_if_wanted(std::uint32_t n) {
        if (options_.wants(Subject::name) || Subject::kRole == Role::kNull) {
            growing<Subject>(records_, n);
        }
    }

    void churn(Mix mix, std::uint32_t n) {
        const std::string test = std::string(1, static_cast<char>(mix)) + " N=" + std::to_string(n);
        static_cast<void>(std::fprintf(stderr, "va: %s\n", test.c_str()));
        const std::uint64_t capacity = capacity_for(mix, n);
        auto runs = std::make_tuple(std::make_unique<Churn<Subjects>>()...);
        const auto each = [&](auto&& step) {
            for_each_subject(runs, [&]<class Subject>(Churn<Subject>& run) {
                if (options_.wants(Subject::name) || Subject::kRole == Role::kNull) {
                    step(run);
                }
            });
        };
        each([&](auto& run) { run.fill(mix, n, capacity, options_.fill_seconds()); });
        each([&](auto& run) { run.warm_up(options_.warm_seconds()); });
        if (options_.instructions) {
            each([&](auto& run) { run.count_instructions(test); });
            return;
        }
        take_rounds(
            options_, options_.seconds, [&](int) { each([](auto& run) { run.round(); }); },
            [&] { return std::get<0>(runs)->moved(); }, [&] { each([](auto& run) { run.forget_rounds(); }); });
        each([&](auto& run) { run.time_single_operations(options_.latency_seconds()); });
        if (mix == Mix::kT) {
            each([&]<class Subject>(Churn<Subject>& run) {
                if (run.finished()) {
                    large_in_churned_heap(records_, run, n);
                    fixed_address(records_, run, n);
                }
            });
        }
        each([&](auto& run) { run.report(records_, test, options_.seconds); });
    }

    const Options& options_;
    Records& records_;
};

}  // namespace

void run_va_section(const Options& options, Records& records) {
    VaSection<NullVa, MapBestFit, BtreeBestFit, Ours<CandidateVa>>(options, records).run();
}

}  // namespace granule::bench
