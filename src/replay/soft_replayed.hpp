// A trace's device that is the soft one: one for all files, as they would share a GPU.
//
// Synchronous binds are committed at once; asynchronous ones go through a bind queue, whose fence is waited for.
//
// Thread-safety: none.
#pragma once

#include <memory>
#include <utility>

#include "src/replay/replayed_device.hpp"

namespace granule::replay {

class SoftReplayed final : public ReplayedDevice {
public:
    [[nodiscard]] static Result<std::unique_ptr<ReplayedDevice>, Stop> create(const Options& options,
                                                                              const trace::Meta& meta);
    explicit SoftReplayed(Owned<SoftDevice> device) : device_(std::move(device)) {}

    [[nodiscard]] Result<std::unique_ptr<ReplayedFile>, Stop> open(trace::Driver driver) override;
    [[nodiscard]] std::unique_ptr<Verifier> make_verifier(Report report) override;
    [[nodiscard]] std::uint64_t most_bo_bytes() const noexcept override { return device_->config().memory_bytes; }
    [[nodiscard]] const mali::GpuModel* gpu() const noexcept override { return device_->config().gpu; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return device_->config().kernel; }
    [[nodiscard]] SoftDevice* soft() noexcept override { return device_.get(); }

private:
    Owned<SoftDevice> device_;
};

}  // namespace granule::replay
