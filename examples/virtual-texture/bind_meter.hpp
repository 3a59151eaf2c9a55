// Watches a VM's binds: how many mappings, or parts of mappings, appeared and went, and when the last one did.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <granule/granule.hpp>

namespace streaming {

using Nanoseconds = std::uint64_t;

[[nodiscard]] inline Nanoseconds now() noexcept {
    return static_cast<Nanoseconds>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// Thread-safety: any thread asks, the VM's lock covers what is told.
class BindMeter {
public:
    // For granule_vm_info; the meter outlives the VM.
    void watch(granule_vm_info& info) noexcept {
        info.on_binding = &BindMeter::on_binding;
        info.on_binding_data = this;
    }

    [[nodiscard]] std::uint64_t appeared() const noexcept { return appeared_; }
    [[nodiscard]] std::uint64_t gone() const noexcept { return gone_; }
    // When the transaction that was carried out last was done.
    [[nodiscard]] Nanoseconds last() const noexcept { return last_; }

private:
    static void on_binding(void* data, const granule_binding* binding) {
        auto& meter = *static_cast<BindMeter*>(data);
        ++(binding->bound != 0 ? meter.appeared_ : meter.gone_);
        meter.last_ = now();
    }

    std::atomic<std::uint64_t> appeared_{0};
    std::atomic<std::uint64_t> gone_{0};
    std::atomic<Nanoseconds> last_{0};
};

}  // namespace streaming
