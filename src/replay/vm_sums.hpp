// What all VMs of a trace have together: now, and at the peak.
//
// Thread-safety: none.
#pragma once

#include "src/replay/result.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

class VmSums {
public:
    explicit VmSums(Counts& counts) noexcept : counts_(counts) {}

    // `vm` has changed, or is new.
    void update(TracedVm& vm);
    // `vm` is gone.
    void remove(const TracedVm& vm);

private:
    Counts& counts_;
    VmSize all_;
};

}  // namespace granule::replay
