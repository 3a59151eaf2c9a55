// What the program was asked to do.
#pragma once

#include <cstdint>
#include <granule/granule.hpp>
#include <string>

namespace streaming {

struct Options {
    granule_leaf_policy leaves = GRANULE_LEAVES_LARGEST;
    granule_kernel_behaviour kernel = GRANULE_KERNEL_SPLITS;  // that the soft device plays
    bool compare = false;                                     // both policies, one after the other
    std::uint32_t frames = 60;
    std::uint32_t budget = 192;  // tiles bound at once, without the tail
    int width = 640;
    int height = 360;
    std::string out = ".";
    std::string device;  // a render node; empty: the soft device
};

[[nodiscard]] inline const char* name_of(granule_leaf_policy leaves) noexcept {
    return leaves == GRANULE_LEAVES_LARGEST ? "largest" : "page";
}

}  // namespace streaming
