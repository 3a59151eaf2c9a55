// What the GPU of a soft device finds, against what the pages should show.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/page_oracle.hpp"

namespace granule::test {

// The physical pages of BOs, by their numbers.
class BoPages {
public:
    void add(SoftDevice& device, BoId id) {
        std::vector<Pa>& pages = pages_[id];
        pages.clear();
        for (const Bo::Run& run : device.bos().find(id)->runs) {
            for (std::uint64_t at = 0; at < run.bytes; at += kPageBytes) {
                pages.push_back(run.pa + at);
            }
        }
    }
    [[nodiscard]] Pa at(BoId id, std::uint64_t page) const { return pages_.at(id).at(page); }

private:
    std::map<BoId, std::vector<Pa>> pages_;
};

// "" where an access of the GPU at `va` finds what the oracle says.
inline std::string wrong_at(SoftDevice& device, Vm& vm, const PageOracle& oracle, const BoPages& bos, Va va) {
    const PageOracle::Page& page = oracle.at(va);
    const mali::Access access = gpu_access(device, vm, va);
    const bool done = access.outcome == mali::Access::Outcome::kDone;
    const char* problem = nullptr;
    if (done != page.mapped) {
        problem = done ? "translates, and nothing is mapped" : "faults, and something is mapped";
    } else if (!done) {
        return {};
    } else if (access.stale) {
        problem = "is stale";
    } else if (page.bo == kNoBo ? access.pa != SoftDevice::address_space(vm).sparse_pa() + va.raw() % kBlock2MBytes
                                : access.pa != bos.at(page.bo, page.page) + va.raw() % kPageBytes) {
        problem = "shows another page";
    } else if (access.attributes.write == page.flags.readonly || access.attributes.execute == page.flags.noexec ||
               (access.attributes.memory == mali::MemoryType::kUncached) != page.flags.uncached) {
        problem = "has other attributes";
    }
    return problem == nullptr ? std::string{} : std::to_string(va.raw()) + " " + problem;
}

}  // namespace granule::test
