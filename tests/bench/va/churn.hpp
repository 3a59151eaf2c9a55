// Steady churn of one allocator: fill it with N allocations, warm it up with 2 N pairs, then chunks of pairs: a random
// allocation goes and a new one comes. Then single operations, and a drain in random order.
//
// A subject that takes too long to fill has no times, and says `dnf`; one whose warm-up stopped early says how far it came
// (`warm`, in multiples of N): its times are lower bounds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/harness/collected.hpp"
#include "tests/bench/harness/heap_count.hpp"
#include "tests/bench/harness/options.hpp"
#include "tests/bench/harness/records.hpp"
#include "tests/bench/harness/statistics.hpp"
#include "tests/bench/harness/stopwatch.hpp"
#include "tests/bench/va/slot.hpp"

namespace granule::bench {

template <class Subject>
class Churn {
public:
    static constexpr std::uint64_t kInstructionPairs = 2000;

    [[nodiscard]] bool finished() const { return finished_; }
    [[nodiscard]] Subject& subject() { return subject_; }
    [[nodiscard]] std::vector<Slot<Subject>>& slots() { return slots_; }

    void fill(Mix mix, std::uint32_t n, std::uint64_t capacity, double limit_s) {
        mix_ = mix;
        capacity_ = capacity;
        slots_.resize(n);
        const std::size_t before = heap_bytes();
        subject_.init(capacity, n);
        const double begin = seconds();
        for (std::uint32_t i = 0; i < n; ++i) {
            allocate(slots_[i]);
            if (i % 256 == 255 && seconds() - begin > limit_s) {
                finished_ = false;
                return;
            }
        }
        fill_ns_ = (seconds() - begin) / n * 1e9;
        bytes_ = heap_bytes() - before + mapped_bytes(subject_);
    }

    void warm_up(double limit_s) {
        if (!finished_) {
            return;
        }
        const double begin = seconds();
        while (warmed_ < 2 * slots_.size() && (warmed_ % 256 != 0 || seconds() - begin < limit_s)) {
            pair();
            ++warmed_;
        }
        const double pair_s = std::max(1e-9, time_ns([&] { pairs(64); }) / 64e9);
        chunk_ = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(kChunkSeconds / pair_s), 32, 40'000);
        operations_ = 0;
        failures_ = 0;
    }

    void round() {
        if (finished_) {
            pair_ns_.push_back(time_ns([&] { pairs(chunk_); }) / static_cast<double>(chunk_));
        }
    }

    void forget_rounds() { pair_ns_.clear(); }
    [[nodiscard]] double moved() const { return drift(pair_ns_); }

    void count_instructions(const std::string& test) {
        if (finished_) {
            collect(test, Subject::name, "pair", kInstructionPairs, [&] { pairs(kInstructionPairs); });
        }
    }

    void time_single_operations(double limit_s) {
        if (!finished_) {
            return;
        }
        const std::uint64_t nothing = ticks_of_nothing();
        const double begin = seconds();
        for (int i = 0; i < kSingles && (i % 64 != 0 || seconds() - begin < limit_s); ++i) {
            Slot<Subject>& slot = any_slot();
            if (slot.live) {
                free_ticks_.push_back(time_once(nothing, [&] { give(subject_, slot); }));
            }
            const UnitRequest request = draw(mix_, random_);
            alloc_ticks_.push_back(time_once(nothing, [&] { take(subject_, slot, request); }));
            ++operations_;
            failures_ += slot.live ? 0U : 1U;
        }
    }

    void report(Records& records, const std::string& test, double drain_limit_s) {
        const auto put = [&](const char* metric, double value) {
            records.put(test, Subject::kRole, Subject::name, metric, value);
        };
        if (!finished_) {
            put("dnf", 1);
            return;
        }
        const double rate = ticks_per_ns();
        put("pair_ns", median(pair_ns_));
        put("fill_ns", fill_ns_);
        put("alloc_p50_ns", quantile(alloc_ticks_, 0.5) / rate);
        put("alloc_p999_ns", quantile(alloc_ticks_, 0.999) / rate);
        put("free_p50_ns", quantile(free_ticks_, 0.5) / rate);
        put("free_p999_ns", quantile(free_ticks_, 0.999) / rate);
        put("bytes_per_live", static_cast<double>(bytes_) / static_cast<double>(slots_.size()));
        put("callers_bytes_per_live", sizeof(Slot<Subject>));
        put("fail_percent",
            operations_ == 0 ? 0 : 100.0 * static_cast<double>(failures_) / static_cast<double>(operations_));
        const Layout layout = checked_layout(slots_, capacity_);
        put("span", layout.span);
        put("big_free", layout.big_free);
        put("warm", static_cast<double>(warmed_) / static_cast<double>(slots_.size()));
        if (Subject::kRole == Role::kNull) {
            records.check_drift(test, moved());
        }
        put("drain_ns", drain(drain_limit_s));
    }

private:
    static constexpr double kChunkSeconds = 0.004;
    static constexpr int kSingles = 40'000;

    [[nodiscard]] Slot<Subject>& any_slot() { return slots_[random_.below(static_cast<std::uint32_t>(slots_.size()))]; }
    void allocate(Slot<Subject>& slot) {
        failures_ += take(subject_, slot, draw(mix_, random_)) ? 0U : 1U;
        ++operations_;
    }
    void pair() {
        Slot<Subject>& slot = any_slot();
        if (slot.live) {
            give(subject_, slot);
        }
        allocate(slot);
    }
    void pairs(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            pair();
        }
    }

    // ns per free.
    [[nodiscard]] double drain(double limit_s) {
        std::vector<std::uint32_t> order(slots_.size());
        for (std::uint32_t i = 0; i < order.size(); ++i) {
            order[i] = i;
        }
        Random random(7);
        for (auto i = static_cast<std::uint32_t>(order.size()); i > 1; --i) {
            std::swap(order[i - 1], order[random.below(i)]);
        }
        const double begin = seconds();
        std::uint64_t done = 0;
        for (const std::uint32_t i : order) {
            if (slots_[i].live) {
                give(subject_, slots_[i]);
            }
            if (++done % 256 == 0 && seconds() - begin > limit_s) {
                break;
            }
        }
        return (seconds() - begin) / static_cast<double>(done) * 1e9;
    }

    Subject subject_;
    std::vector<Slot<Subject>> slots_;
    Random random_{42};
    Mix mix_ = Mix::kM;
    std::uint64_t capacity_ = 0;
    bool finished_ = true;
    std::uint64_t operations_ = 0;
    std::uint64_t failures_ = 0;
    std::uint64_t warmed_ = 0;
    std::uint64_t chunk_ = 32;
    std::size_t bytes_ = 0;
    double fill_ns_ = 0;
    std::vector<double> pair_ns_;
    std::vector<std::uint32_t> alloc_ticks_;
    std::vector<std::uint32_t> free_ticks_;
};

}  // namespace granule::bench
