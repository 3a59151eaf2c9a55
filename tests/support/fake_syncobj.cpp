#include "tests/support/fake_syncobj.hpp"

#include <algorithm>

namespace granule::test {

void FakeSyncobj::attach(std::uint64_t point, const FakeFencePtr& fence) {
    if (point == 0) {
        chain_.clear();
    }
    // A point below the last one is an error of the caller that the kernel takes all the same: the chain goes on.
    const std::uint64_t last = chain_.empty() ? 0 : chain_.back().value;
    chain_.push_back({std::max(point, last), fence});
}

std::vector<FakeFencePtr> FakeSyncobj::fences_for(std::uint64_t point) const {
    std::vector<FakeFencePtr> fences;
    if (chain_.empty() || chain_.back().value < point) {
        return fences;
    }
    const std::uint64_t end = point == 0 ? chain_.back().value : point;
    for (const Point& earlier : chain_) {
        fences.push_back(earlier.fence);
        if (earlier.value >= end) {
            break;
        }
    }
    return fences;
}

bool FakeSyncobj::signalled(std::uint64_t point) const {
    const std::vector<FakeFencePtr> fences = fences_for(point);
    return !fences.empty() &&
           std::all_of(fences.begin(), fences.end(), [](const FakeFencePtr& fence) { return fence->signalled; });
}

std::uint64_t FakeSyncobj::value() const {
    std::uint64_t value = 0;
    for (const Point& point : chain_) {
        if (!point.fence->signalled) {
            break;
        }
        value = point.value;
    }
    return value;
}

void FakeSyncobj::forget_signalled() {
    // The last one that is signalled stays: it says the value.
    auto pending =
        std::find_if(chain_.begin(), chain_.end(), [](const Point& point) { return !point.fence->signalled; });
    if (pending - chain_.begin() > 1) {
        chain_.erase(chain_.begin(), pending - 1);
    }
}

}  // namespace granule::test
