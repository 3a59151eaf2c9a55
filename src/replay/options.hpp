// How a trace is replayed, and on what.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "allocator/plan.hpp"
#include "mali/gpu_model.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/drm/drm_calls.hpp"
#include "src/replay/oracle.hpp"
#include "src/vm.hpp"

namespace granule::replay {

// A VM between two calls, for whoever can see more of it than the replay can: a program in the kernel's machine that reads
// the kernel's own page tables.
struct VmLook {
    Vm& vm;
    const Oracle& oracle;       // which page has to show what; empty without `verify`
    std::uint32_t process = 0;  // of the trace
    std::uint32_t file = 0;
    std::uint32_t id = 0;
    std::uint32_t kernel_id = 0;  // 0: the kernel has no name for it
    int fd = -1;                  // the device file that it is of; -1: none
    std::uint64_t line = 0;       // of the call that was played last
    bool ends = false;            // the next call ends it
};
// Called with what is wrong, in words: it becomes a finding of the replay.
using Report = std::function<void(std::string)>;
using LookAtVm = std::function<void(const VmLook& look, const Report& report)>;

struct Options {
    std::string device;                   // render node of a DRM device; empty: the soft device
    DrmCalls* calls = nullptr;            // to the DRM device; nullptr: libdrm's. They outlive the replay
    const mali::GpuModel* gpu = nullptr;  // soft device: nullptr: the one that the trace names
    // nullopt: `kSoftKernel` on the soft device; on a DRM device what was found out about its kernel.
    std::optional<KernelBehaviour> kernel;
    UnmapPolicy policy = UnmapPolicy::kSplit;
    LeafPolicy leaves = LeafPolicy::kLargest;
    BoMemory memory = BoMemory::kHuge;  // soft device
    bool queue = true;                  // false: asynchronous binds are synchronous
    bool verify = false;
    LookAtVm look_at_vm;           // at every VM before it ends,
    std::uint64_t look_every = 0;  // and at all of them after so many calls; 0: not in between
};

// What stops the drivers: the behaviour that a replay on the soft device shows unless it is told otherwise.
inline constexpr KernelBehaviour kSoftKernel = KernelBehaviour::kRefuses;

}  // namespace granule::replay
