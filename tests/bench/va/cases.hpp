// What steady churn does not show.
//
//     verify     every answer of 20 000 pairs against a map of what is live, the same requests for everybody
//     growing    the adversary of fragmentation: N x 16 units, every second one freed, then N/2 x 33 units, which fit in no
//                hole. Whoever moves nothing ends at 1.33 of what is live
//     2 MiB      64 x 2 MiB, aligned, in a heap churned with tiles, and their frees
//     fixed      a random allocation goes and comes back at the same address, in a heap churned with tiles
#pragma once

#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/va/churn.hpp"

namespace granule::bench {

template <class Subject>
void verify(Mix mix) {
    if constexpr (Subject::kRole != Role::kNull) {
        constexpr std::uint32_t kLive = 500;
        const std::uint64_t capacity = capacity_for(mix, kLive);
        Subject subject;
        subject.init(capacity, kLive);
        std::vector<Slot<Subject>> slots(kLive);
        std::map<std::uint64_t, std::uint64_t> live;  // start -> end
        Random random(11);
        int failures = 0;
        for (int i = 0; i < 20'000; ++i) {
            Slot<Subject>& slot = slots[random.below(kLive)];
            if (slot.live) {
                give(subject, slot);
                live.erase(slot.offset);
            }
            if (!take(subject, slot, draw(mix, random))) {
                ++failures;
                continue;
            }
            const std::uint64_t end = slot.offset + slot.units;
            const auto [at, fresh] = live.emplace(slot.offset, end);
            const bool apart = fresh && (at == live.begin() || std::prev(at)->second <= slot.offset) &&
                               (std::next(at) == live.end() || std::next(at)->first >= end);
            if (!apart || end > capacity || slot.offset % slot.alignment != 0) {
                wrong(Subject::name, "an allocation overlaps, is not aligned or lies outside the heap");
            }
        }
        if (failures > 400) {
            wrong(Subject::name, "more than 2 % of the allocations failed in a heap that is half empty");
        }
    }
}

template <class Subject>
void growing(Records& records, std::uint32_t n) {
    const std::uint32_t half = n / 2;
    std::vector<double> free_ns;
    std::vector<double> alloc_ns;
    double span = 0;
    double failures = 0;
    for (int repeat = 0; repeat < 3; ++repeat) {
        const auto subject = std::make_unique<Subject>();
        const std::uint64_t capacity = std::uint64_t{n} * 16 * 3;
        subject->init(capacity, 2 * n);
        std::vector<Slot<Subject>> slots(n + n / 2);
        for (std::uint32_t i = 0; i < n; ++i) {
            take(*subject, slots[i], {16, 16});
        }
        free_ns.push_back(time_ns([&] {
                              for (std::uint32_t i = 0; i < n; i += 2) {
                                  give(*subject, slots[i]);
                              }
                          }) /
                          half);
        failures = 0;
        alloc_ns.push_back(time_ns([&] {
                               for (std::uint32_t i = n; i < slots.size(); ++i) {
                                   failures += take(*subject, slots[i], {33, 1}) ? 0 : 1;
                               }
                           }) /
                           half);
        span = checked_layout(slots, capacity).span;
    }
    const std::string test = "growing N=" + std::to_string(n);
    records.put(test, Subject::kRole, Subject::name, "free_ns", median(free_ns));
    records.put(test, Subject::kRole, Subject::name, "alloc_ns", median(alloc_ns));
    records.put(test, Subject::kRole, Subject::name, "span", span);
    records.put(test, Subject::kRole, Subject::name, "failures", failures);
}

template <class Subject>
void large_in_churned_heap(Records& records, Churn<Subject>& churn, std::uint32_t n) {
    constexpr UnitRequest kLarge{512, 512};
    const std::uint64_t nothing = ticks_of_nothing();
    std::array<Slot<Subject>, 64> slots;
    std::vector<std::uint32_t> alloc_ticks;
    std::vector<std::uint32_t> free_ticks;
    double failures = 0;
    const double begin = seconds();
    for (int round = 0; round < 200 && seconds() - begin < 1; ++round) {
        for (Slot<Subject>& slot : slots) {
            alloc_ticks.push_back(time_once(nothing, [&] { take(churn.subject(), slot, kLarge); }));
            failures += slot.live ? 0 : 1;
            if (Subject::kRole != Role::kNull && slot.live && slot.offset % 512 != 0) {
                wrong(Subject::name, "2 MiB that are not aligned");
            }
        }
        for (Slot<Subject>& slot : slots) {
            if (slot.live) {
                free_ticks.push_back(time_once(nothing, [&] { give(churn.subject(), slot); }));
            }
        }
    }
    const double rate = ticks_per_ns();
    const std::string test = "2 MiB N=" + std::to_string(n);
    records.put(test, Subject::kRole, Subject::name, "alloc_p50_ns", quantile(alloc_ticks, 0.5) / rate);
    records.put(test, Subject::kRole, Subject::name, "alloc_mean_ns", trimmed_mean(alloc_ticks) / rate);
    records.put(test, Subject::kRole, Subject::name, "alloc_p999_ns", quantile(alloc_ticks, 0.999) / rate);
    records.put(test, Subject::kRole, Subject::name, "free_p50_ns", quantile(free_ticks, 0.5) / rate);
    records.put(test, Subject::kRole, Subject::name, "free_mean_ns", trimmed_mean(free_ticks) / rate);
    records.put(test, Subject::kRole, Subject::name, "free_p999_ns", quantile(free_ticks, 0.999) / rate);
    records.put(test, Subject::kRole, Subject::name, "failures", failures);
}

template <class Subject>
void fixed_address(Records& records, Churn<Subject>& churn, std::uint32_t n) {
    if constexpr (requires(Subject & subject, typename Subject::Handle & handle) {
                      subject.alloc_at(std::uint64_t{}, std::uint32_t{}, handle);
                  }) {
        const std::uint64_t nothing = ticks_of_nothing();
        Random random(13);
        std::vector<std::uint32_t> alloc_ticks;
        std::vector<std::uint32_t> free_ticks;
        const double begin = seconds();
        for (int i = 0; i < 20'000 && (i % 64 != 0 || seconds() - begin < 1); ++i) {
            Slot<Subject>& slot = churn.slots()[random.below(n)];
            if (!slot.live) {
                continue;
            }
            free_ticks.push_back(time_once(nothing, [&] { give(churn.subject(), slot); }));
            alloc_ticks.push_back(time_once(
                nothing, [&] { slot.live = churn.subject().alloc_at(slot.offset, slot.units, slot.handle); }));
            if (!slot.live) {
                wrong(Subject::name, "a range that was just freed is not free");
            }
        }
        const double rate = ticks_per_ns();
        const std::string test = "fixed N=" + std::to_string(n);
        records.put(test, Subject::kRole, Subject::name, "alloc_p50_ns", quantile(alloc_ticks, 0.5) / rate);
        records.put(test, Subject::kRole, Subject::name, "alloc_mean_ns", trimmed_mean(alloc_ticks) / rate);
        records.put(test, Subject::kRole, Subject::name, "alloc_p999_ns", quantile(alloc_ticks, 0.999) / rate);
        records.put(test, Subject::kRole, Subject::name, "free_p50_ns", quantile(free_ticks, 0.5) / rate);
        records.put(test, Subject::kRole, Subject::name, "free_mean_ns", trimmed_mean(free_ticks) / rate);
        records.put(test, Subject::kRole, Subject::name, "free_p999_ns", quantile(free_ticks, 0.999) / rate);
    }
}

}  // namespace granule::bench
