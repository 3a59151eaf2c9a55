// Ranges and requests as tests write them.
#pragma once

#include <cstdint>

#include "allocator/plan.hpp"

namespace granule::test {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

inline constexpr VaRange range_at(std::uint64_t start, std::uint64_t bytes) {
    return {Va{start}, Va{start + bytes}};
}

inline BindRequest map_request(const VaRange& va, BoId bo, std::uint64_t offset = 0,
                               UnmapPolicy policy = UnmapPolicy::kSplit, MapFlags flags = {}) {
    return {BindRequest::Kind::kMap, va, {bo, BoOffset{offset}, flags, BindSerial{}}, policy, LeafPolicy::kLargest};
}
inline BindRequest sparse_request(const VaRange& va, UnmapPolicy policy = UnmapPolicy::kSplit) {
    return map_request(va, kNoBo, 0, policy);
}
inline BindRequest unmap_request(const VaRange& va, UnmapPolicy policy = UnmapPolicy::kSplit) {
    return {BindRequest::Kind::kUnmap, va, {}, policy, LeafPolicy::kLargest};
}

}  // namespace granule::test
