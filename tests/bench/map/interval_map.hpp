// A map of mappings as one writes it without thinking twice: an ordered container of intervals by their start, cut at both
// ends before anything is replaced. The C++ library's tree, and absl's B-tree; and the null subject.
//
// Thread-safety: none.
#pragma once

#include <absl/container/btree_map.h>

#include <cstdint>
#include <iterator>
#include <map>

#include "tests/bench/harness/subject.hpp"

namespace granule::bench {

struct Interval {
    std::uint64_t end = 0;
    std::uint64_t offset = 0;
    std::uint32_t bo = 0;
};

template <class Container>
class IntervalMap {
public:
    void init(std::uint32_t /*expected_mappings*/) {}

    void map(std::uint64_t va, std::uint64_t length, std::uint32_t bo, std::uint64_t offset) {
        unmap(va, length);
        intervals_.emplace(va, Interval{va + length, offset, bo});
    }

    void unmap(std::uint64_t va, std::uint64_t length) {
        const std::uint64_t end = va + length;
        auto at = intervals_.lower_bound(va);
        if (at != intervals_.begin()) {
            const auto before = std::prev(at);
            if (before->second.end > va) {
                const Interval whole = before->second;
                before->second.end = va;
                unmapped_ += (whole.end < end ? whole.end : end) - va;
                if (whole.end > end) {
                    intervals_.emplace(end, Interval{whole.end, whole.offset + (end - before->first), whole.bo});
                    return;
                }
            }
        }
        while (at != intervals_.end() && at->first < end) {
            const std::uint64_t start = at->first;
            const Interval whole = at->second;
            at = intervals_.erase(at);
            if (whole.end > end) {
                unmapped_ += end - start;
                intervals_.emplace(end, Interval{whole.end, whole.offset + (end - start), whole.bo});
                return;
            }
            unmapped_ += whole.end - start;
        }
    }

    [[nodiscard]] bool find(std::uint64_t va, std::uint32_t& bo, std::uint64_t& offset) const {
        const auto above = intervals_.upper_bound(va);
        if (above == intervals_.begin()) {
            return false;
        }
        const auto& [start, interval] = *std::prev(above);
        if (va >= interval.end) {
            return false;
        }
        bo = interval.bo;
        offset = interval.offset + (va - start);
        return true;
    }

    [[nodiscard]] std::uint64_t unmapped_bytes() const { return unmapped_; }

    template <class Visitor>
    void for_each(Visitor&& visitor) const {
        for (const auto& [start, interval] : intervals_) {
            visitor(start, interval.end - start, interval.bo, interval.offset);
        }
    }

private:
    Container intervals_;
    std::uint64_t unmapped_ = 0;
};

struct StdIntervals : IntervalMap<std::map<std::uint64_t, Interval>> {
    static constexpr const char* name = "std::map";
    static constexpr Role kRole = Role::kPeer;
};
struct AbslIntervals : IntervalMap<absl::btree_map<std::uint64_t, Interval>> {
    static constexpr const char* name = "absl::btree_map";
    static constexpr Role kRole = Role::kPeer;
};

// The loop with nothing in it.
struct NullMap {
    static constexpr const char* name = "NULL";
    static constexpr Role kRole = Role::kNull;

    void init(std::uint32_t /*expected_mappings*/) {}
    void map(std::uint64_t va, std::uint64_t /*length*/, std::uint32_t /*bo*/, std::uint64_t /*offset*/) {
        asm volatile("" : : "r"(va) : "memory");
    }
    void unmap(std::uint64_t va, std::uint64_t /*length*/) { asm volatile("" : : "r"(va) : "memory"); }
    [[nodiscard]] bool find(std::uint64_t va, std::uint32_t& bo, std::uint64_t& offset) const {
        bo = 0;
        offset = va;
        return true;
    }
    [[nodiscard]] std::uint64_t unmapped_bytes() const { return 0; }
    template <class Visitor>
    void for_each(Visitor&& /*visitor*/) const {}
};

}  // namespace granule::bench
