// What a granule_vm is: a VM, and what the C interface keeps beside it.
//
//     granule_vm
//       BindingObserver   the caller's function, told of what appears and goes
//       Vm                the library's
//       Activity          until when jobs use it: a timeline, and the lock of its last point
//       QueuedBinds       what happens later: in the kernel's queue, or on a thread
//       BindTotals        what all binds came to
//
// Lifetime: caches and pools on it end before it. It keeps its device.
// Thread-safety: all members, any thread.
#pragma once

#include <granule/vm.h>

#include <atomic>
#include <cstdint>

#include "src/c_api/activity.hpp"
#include "src/c_api/binding_observer.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/queued_binds.hpp"
#include "src/owned.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule::c_api {

// Sums over all binds that were carried out.
class BindTotals {
public:
    void add(const BindReport& report) noexcept {
        granules_.fetch_add(report.granules, std::memory_order_relaxed);
        residual_bytes_.fetch_add(report.residual_bytes, std::memory_order_relaxed);
        exposed_bytes_.fetch_add(report.exposed_bytes, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t granules() const noexcept { return granules_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t residual_bytes() const noexcept {
        return residual_bytes_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t exposed_bytes() const noexcept {
        return exposed_bytes_.load(std::memory_order_relaxed);
    }

private:
    std::atomic<std::uint64_t> granules_{0};
    std::atomic<std::uint64_t> residual_bytes_{0};
    std::atomic<std::uint64_t> exposed_bytes_{0};
};

// What a granule_vm is made of, all that can fail having gone well.
struct VmParts {
    Owned<BindingObserver> observer;  // empty: none
    Owned<Vm> vm;
    granule_timeline* activity = nullptr;  // a reference; nullptr: not tracked
    Owned<Timeline> queue_tail;            // where the kernel has a queue
};

}  // namespace granule::c_api

struct granule_vm final : public granule::c_api::DeviceChild {
public:
    granule_vm(granule_device& device, const granule::ShortLabel& label, granule::c_api::VmParts parts) noexcept;

    [[nodiscard]] granule::Vm& vm() noexcept { return *vm_; }
    [[nodiscard]] const granule::Vm& vm() const noexcept { return *vm_; }
    // No other VM of the device has, or had, this number; never 0.
    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    [[nodiscard]] granule::c_api::Activity& activity() noexcept { return activity_; }
    [[nodiscard]] granule::c_api::QueuedBinds& queued() noexcept { return queued_; }
    [[nodiscard]] const granule::c_api::QueuedBinds& queued() const noexcept { return queued_; }
    [[nodiscard]] granule::c_api::BindTotals& totals() noexcept { return totals_; }
    [[nodiscard]] const granule::c_api::BindTotals& totals() const noexcept { return totals_; }

    // A bind failed, or a question was asked: the logger is told what had to be undone, and once that the VM is lost.
    // `error`: of a bind, or nullptr.
    void tell_failure(const granule_error* error) noexcept;
    // It is usable again.
    void came_back() noexcept { loss_told_.store(false, std::memory_order_relaxed); }
    // One line about this VM: "VM 'compositor': <what><text of the error>".
    void log(granule_log_level level, const char* what, const granule_error* error) const noexcept;

private:
    const std::uint64_t serial_;
    const granule::Owned<granule::c_api::BindingObserver> observer_;
    const granule::Owned<granule::Vm> vm_;
    granule::c_api::BindTotals totals_;
    std::atomic<bool> loss_told_{false};
    granule::c_api::Activity activity_;
    granule::c_api::QueuedBinds queued_;  // ends first
};
