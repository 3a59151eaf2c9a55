// The calls that tell kernels apart, made plainly by proof_plain.cpp and through the library by proof_library.cpp: on a
// mapping of 8 MiB that is four leaves of 2 MiB,
//
//     kMappingStart                                                  kMappingEnd
//        |=====2M=====|=====2M=====|=====2M=====|=====2M=====|
//        |4K|                                                      an edge of the mapping, a part of a leaf
//                            |4K|                                  inside the mapping, a part of a leaf
//                                    |64K|                         mapped over: a part of a leaf
//                     |---- 2M ----|                               inside the mapping, a whole leaf
#pragma once

#include <array>
#include <cstdint>

#include "mali/address.hpp"

namespace granule::kernel_test {

inline constexpr Va kMappingStart{std::uint64_t{4} << 30U};
inline constexpr VaRange kWholeMapping{kMappingStart, kMappingStart + 4 * kBlock2MBytes};

struct ProofCase {
    enum class Kind : std::uint8_t { kUnmap, kMapOver };

    const char* name;  // the column
    Kind kind;
    bool queued;
    // Kernels that set one new mapping aside for an unmap, and need two, dereference NULL; never where a leaf is cut that
    // they refuse to cut, as they stop before that.
    bool may_oops;
    VaRange range;
};

inline constexpr std::uint64_t kTile = std::uint64_t{64} << 10U;

inline constexpr std::array<ProofCase, 5> kProofCases{{
    {"unmap 4K at the edge", ProofCase::Kind::kUnmap, false, false, {kMappingStart, kMappingStart + kPageBytes}},
    {"unmap 4K inside",
     ProofCase::Kind::kUnmap,
     false,
     false,
     {kMappingStart + kBlock2MBytes + kTile, kMappingStart + kBlock2MBytes + kTile + kPageBytes}},
    {"the same, queued",
     ProofCase::Kind::kUnmap,
     true,
     false,
     {kMappingStart + kBlock2MBytes + kTile, kMappingStart + kBlock2MBytes + kTile + kPageBytes}},
    {"map 64K over it",
     ProofCase::Kind::kMapOver,
     false,
     false,
     {kMappingStart + 2 * kBlock2MBytes + kTile, kMappingStart + 2 * kBlock2MBytes + 2 * kTile}},
    {"unmap a leaf inside",
     ProofCase::Kind::kUnmap,
     false,
     true,
     {kMappingStart + kBlock2MBytes, kMappingStart + 2 * kBlock2MBytes}},
}};

inline constexpr const char* kProofTable = "proof";

}  // namespace granule::kernel_test
