// Two numbers for what a replay came to, so that runs can be compared.
//
//     mappings   every page of every VM as it ended: VA, which BO, which page of it, with which flags. The same for the
//                same trace on every device, under every kernel: what the program sees (P2).
//     leaves     also the mappings as they are cut, the granules at the edges of every bind, and the leaves of the tables
//                with size, PA and attributes where they can be seen: the same under every behaviour of the soft device.
//
// Thread-safety: none.
#pragma once

#include <cstdint>

#include "src/replay/hash.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

class EndState {
public:
    // The granules at both ends of what an operation took.
    void add_edges(const Vm& vm, const VaRange& taken);
    // A VM that is about to end.
    void add(const TracedVm& vm);

    [[nodiscard]] std::uint64_t leaves() const noexcept { return leaves_.value(); }
    [[nodiscard]] std::uint64_t mappings() const noexcept { return mappings_.value(); }

private:
    Hash leaves_;
    Hash mappings_;
};

}  // namespace granule::replay
