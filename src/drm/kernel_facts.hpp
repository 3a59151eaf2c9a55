// What kernel is this? Which driver, how old, what it can do, and what it does where an operation would cut a leaf.
//
// The behaviour follows from the driver and the kernel's release (kernel_release.hpp). Distributions carry changes
// backwards and forwards, so that a probe checks it where a probe is safe:
//
//     release says     probe
//     splits           in a VM of its own: maps a BO of 2 MiB where it can be a block, unmaps its first 4 KiB, looks
//     realigns         whether the VM is still usable. EINVAL or an unusable VM: it refuses. Realigning kernels only with
//                      huge pages on: else a block comes by luck, and those kernels do not see that it is one
//     refuses, oopses  none: such a kernel would warn, or die
//     not known        none
//
// A success is no proof, because memory may have been too scattered for a block; then the release stands. And whoever
// knows better overrides all of it.
//
// Cost: some ten ioctls, at most two VMs and one BO for a moment. Nothing stays, errors or not.
// Thread-safety: values; `find_kernel_facts` blocks in ioctls.
// Failure: kNotSupported: not a Mali's driver, or another major version of it. kOsFailed: which call, and its errno.
#pragma once

#include <cstdint>
#include <optional>

#include "allocator/plan.hpp"
#include "mali/address.hpp"
#include "mali/gpu_model.hpp"
#include "mali/result.hpp"
#include "src/drm/drm_calls.hpp"
#include "src/drm/kernel_release.hpp"
#include "src/status.hpp"

namespace granule {

struct KernelFacts {
    // kUnknown: neither, so that the safest was taken. kProbe: a probe found something else than the release says.
    enum class From : std::uint8_t { kRelease, kUnknown, kProbe, kOverride };

    DrmDriver driver = DrmDriver::kPanthor;
    DrmVersion version;                    // of the driver
    std::optional<KernelRelease> release;  // of the kernel; nullopt: it could not be read
    ShortLabel release_text;               // as it names itself
    KernelBehaviour behaviour = KernelBehaviour::kOopses;
    From behaviour_from = From::kUnknown;

    // What the GPU said of itself.
    std::uint32_t gpu_id = 0;
    std::uint32_t mmu_features = 0;
    const mali::GpuModel* gpu = nullptr;  // nullptr: one that we do not know
    unsigned va_bits = 0;
    unsigned pa_bits = 0;
    LeafSizes leaf_sizes = kLeaves4K2M;
    bool coherent = false;  // the GPU snoops CPU caches
    // panthor: as much as a VM gives its user at most, from VA 0 on. panfrost: 32 MiB to 4 GiB.
    VaRange vm_space;

    // What the driver can do: by its version; where that does not tell, by asking.
    bool sparse = false;          // MAP_SPARSE: panthor 1.9, and Linux 7.2 with a driver that says 1.8
    bool cpu_cached_bos = false;  // WB_MMAP, BO_SYNC
    bool bo_query_info = false;
    bool labels = false;
    bool huge_pages = false;  // the driver has a tmpfs of its own with huge pages (7.0), and it is not off
};

struct KernelFactsOptions {
    std::optional<KernelBehaviour> override_behaviour;
    bool probe = true;
};

[[nodiscard]] Result<KernelFacts, OsError> find_kernel_facts(DrmCalls& calls, int fd,
                                                             const KernelFactsOptions& options) noexcept;

[[nodiscard]] const char* to_string(KernelFacts::From from) noexcept;

}  // namespace granule
