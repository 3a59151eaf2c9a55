// A trace's device that is a driver of the kernel: panthor's traces on panthor, panfrost's on panfrost.
//
// Each file of the trace opens the device anew, as the program did: GEM handles and VMs are a file's.
//
//     panthor    a transaction is one VM_BIND. Asynchronous ones are queued in the kernel with a syncobj to signal, which is
//                waited for; then the VM is asked whether it is still there, because the fence does not say so
//     panfrost   the kernel maps a BO when it is made, where it likes
//
// Thread-safety: none.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "src/drm/drm_device.hpp"
#include "src/replay/replayed_device.hpp"

namespace granule::replay {

class DrmReplayed final : public ReplayedDevice {
public:
    // Opens the device named in the options once, to see what it is.
    [[nodiscard]] static Result<std::unique_ptr<ReplayedDevice>, Stop> create(const Options& options);
    DrmReplayed(std::string path, const DrmDeviceConfig& config, const KernelFacts& facts)
        : path_(std::move(path)), config_(config), facts_(facts) {}

    // Stops where the trace is of the other driver.
    [[nodiscard]] Result<std::unique_ptr<ReplayedFile>, Stop> open(trace::Driver driver) override;
    [[nodiscard]] std::unique_ptr<Verifier> make_verifier(Report report) override;
    [[nodiscard]] std::uint64_t most_bo_bytes() const noexcept override { return facts_.vm_space.size(); }
    [[nodiscard]] const mali::GpuModel* gpu() const noexcept override { return facts_.gpu; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return facts_.behaviour; }
    [[nodiscard]] const KernelFacts* kernel_facts() const noexcept override { return &facts_; }

private:
    const std::string path_;
    const DrmDeviceConfig config_;
    const KernelFacts facts_;
};

}  // namespace granule::replay
