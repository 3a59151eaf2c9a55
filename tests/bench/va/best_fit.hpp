// What one writes without thinking twice: holes by address and by size in ordered containers, the smallest that fits.
//
//     by_address   start -> units          to merge with the neighbours
//     by_size      (units, start)          to find the smallest
//
// A hole that is large enough but not once its start is aligned is stepped over: that walk is the cost of mixed alignments.
// The C++ library's trees, and absl's B-trees.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "tests/bench/harness/subject.hpp"

namespace granule::bench {

template <class ByAddress, class BySize>
class BestFit {
public:
    struct Handle {};

    void init(std::uint64_t capacity_units, std::uint32_t /*expected_live*/) { add(0, capacity_units); }

    bool alloc(std::uint32_t units, std::uint32_t alignment, Handle& /*handle*/, std::uint64_t& offset) {
        for (auto fitting = by_size_.lower_bound({units, 0}); fitting != by_size_.end(); ++fitting) {
            const auto [size, start] = *fitting;
            const std::uint64_t at = (start + alignment - 1) / alignment * alignment;
            if (at + units > start + size) {
                continue;
            }
            by_size_.erase(fitting);
            by_address_.erase(start);
            cut(start, size, at, units);
            offset = at;
            return true;
        }
        return false;
    }

    bool alloc_at(std::uint64_t at, std::uint32_t units, Handle& /*handle*/) {
        auto above = by_address_.upper_bound(at);
        if (above == by_address_.begin()) {
            return false;
        }
        const auto [start, size] = *std::prev(above);
        if (at + units > start + size) {
            return false;
        }
        remove(std::prev(above));
        cut(start, size, at, units);
        return true;
    }

    void free(const Handle& /*handle*/, std::uint64_t offset, std::uint32_t units) {
        std::uint64_t size = units;
        auto next = by_address_.lower_bound(offset);
        if (next != by_address_.end() && next->first == offset + units) {
            size += next->second;
            next = remove(next);
        }
        if (next != by_address_.begin()) {
            const auto before = std::prev(next);
            if (before->first + before->second == offset) {
                offset = before->first;
                size += before->second;
                remove(before);
            }
        }
        add(offset, size);
    }

private:
    void cut(std::uint64_t start, std::uint64_t size, std::uint64_t at, std::uint64_t units) {
        if (at > start) {
            add(start, at - start);
        }
        if (at + units < start + size) {
            add(at + units, start + size - at - units);
        }
    }
    void add(std::uint64_t start, std::uint64_t units) {
        by_address_.emplace(start, units);
        by_size_.emplace(units, start);
    }
    typename ByAddress::iterator remove(typename ByAddress::iterator hole) {
        by_size_.erase({hole->second, hole->first});
        return by_address_.erase(hole);
    }

    ByAddress by_address_;
    BySize by_size_;
};

using SizeAndStart = std::pair<std::uint64_t, std::uint64_t>;

struct MapBestFit : BestFit<std::map<std::uint64_t, std::uint64_t>, std::set<SizeAndStart>> {
    static constexpr const char* name = "std::map best fit";
    static constexpr Role kRole = Role::kPeer;
};
struct BtreeBestFit : BestFit<absl::btree_map<std::uint64_t, std::uint64_t>, absl::btree_set<SizeAndStart>> {
    static constexpr const char* name = "absl::btree_map best fit";
    static constexpr Role kRole = Role::kPeer;
};

// The loop with nothing in it.
struct NullVa {
    static constexpr const char* name = "NULL";
    static constexpr Role kRole = Role::kNull;
    struct Handle {};

    void init(std::uint64_t /*capacity_units*/, std::uint32_t /*expected_live*/) {}
    bool alloc(std::uint32_t /*units*/, std::uint32_t /*alignment*/, Handle& /*handle*/, std::uint64_t& offset) {
        offset = 0;
        return true;
    }
    bool alloc_at(std::uint64_t /*at*/, std::uint32_t /*units*/, Handle& /*handle*/) { return true; }
    void free(const Handle& /*handle*/, std::uint64_t /*offset*/, std::uint32_t /*units*/) {}
};

}  // namespace granule::bench
