// Fences and syncobjs of the fake kernel: binary and timeline, as Linux drivers/gpu/drm/drm_syncobj.c keeps them.
//
// A fence of a job that failed is as signalled as any other: who waits does not learn of it.
// A timeline is a chain: a point is signalled once all points up to it are.
//
// Thread-safety: none: FakeDrm's lock. (Waiting is FakeDrm's.)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace granule::test {

struct FakeFence {
    bool signalled = false;
    int error = 0;
};
using FakeFencePtr = std::shared_ptr<FakeFence>;

class FakeSyncobj {
public:
    // `point` 0: the one fence of a binary syncobj, in the place of what was there.
    void attach(std::uint64_t point, const FakeFencePtr& fence);
    // The fences that have to be signalled for `point`; empty: nobody has promised that point yet.
    [[nodiscard]] std::vector<FakeFencePtr> fences_for(std::uint64_t point) const;
    [[nodiscard]] bool promised(std::uint64_t point) const { return !fences_for(point).empty(); }
    [[nodiscard]] bool signalled(std::uint64_t point) const;
    [[nodiscard]] std::uint64_t value() const;  // the last point that is signalled
    void forget_signalled();                    // points that no question depends on any more, as dma_fence_chain does

private:
    struct Point {
        std::uint64_t value = 0;
        FakeFencePtr fence;
    };
    std::vector<Point> chain_;  // ascending; one of value 0: binary
};
using FakeSyncobjPtr = std::shared_ptr<FakeSyncobj>;

}  // namespace granule::test
