// Replays on a model of a DRM driver: how to have one, and how the model's tables are compared with the oracle.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "src/replay/options.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/seen_leaves.hpp"

namespace granule::test {

inline replay::Options replay_on(FakeDrm& drm) {
    replay::Options options;
    options.device = FakeDrm::kPath;
    options.calls = &drm;
    options.verify = true;
    return options;
}

// For Options::look_at_vm.
inline void compare_tables(const FakeDrm& drm, const replay::VmLook& look, const replay::Report& report) {
    std::vector<SeenLeaf> leaves;
    for (const FakeGpuVm::Leaf& leaf : drm.leaves(look.fd, look.kernel_id)) {
        leaves.push_back({Va{leaf.va}, leaf.page.leaf, (leaf.page.object << 40U) | leaf.page.offset, leaf.page.flags});
    }
    if (std::string what = SeenLeaves(look).compare(leaves); !what.empty()) {
        report(std::move(what));
    }
    if (std::string what = drm.disagreement(look.fd, look.kernel_id); !what.empty()) {
        report(std::move(what));
    }
}

}  // namespace granule::test
