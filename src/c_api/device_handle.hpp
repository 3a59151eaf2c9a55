// What a granule_device is: a device of the library, the caller's allocator and logger, and who keeps it alive.
//
//     granule_device  <---- the caller, until granule_device_close
//       Owned<Device> <---- each VM, timeline, cache, pool (DeviceChild)
//                     <---- each reference of a caller on a BO (bo_handle.hpp)
//
// It ends with the last of them. So a BO that is still held can be let go of after the device was closed.
//
// Children are in a list, for the report of what leaked and for sums over all of them: from when they are complete until
// they begin to end. All their memory is the caller's allocator's, which is a part of the device: a child gives its memory
// back before it lets go of the device (`end_child`).
//
// Thread-safety: all members, any thread. The list's lock is taken before a cache's, and nothing is called back under it
// but the logger.
#pragma once

#include <granule/granule.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include "allocator/node_memory.hpp"
#include "src/c_api/text.hpp"
#include "src/device.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"

namespace granule::c_api {

class FailureRequests;

// What every handle of a device but a BO has.
class DeviceChild {
public:
    // kVmTimeline: the own one of a VM that is there: not told of beside it when it leaks.
    enum class Kind : std::uint8_t { kVm, kTimeline, kVmTimeline, kBoCache, kPool };

    DeviceChild(Kind kind, granule_device& device, const ShortLabel& label) noexcept
        : kind_(kind), device_(device), label_(label) {}
    DeviceChild(const DeviceChild&) = delete;
    DeviceChild& operator=(const DeviceChild&) = delete;
    ~DeviceChild() = default;

    // The VM of a kVmTimeline is gone: if it is still held, it is a timeline like others.
    void outlives_vm() noexcept { kind_.store(Kind::kTimeline, std::memory_order_relaxed); }
    [[nodiscard]] Kind kind() const noexcept { return kind_.load(std::memory_order_relaxed); }
    [[nodiscard]] granule_device& device() const noexcept { return device_; }
    [[nodiscard]] const ShortLabel& label() const noexcept { return label_; }

private:
    friend struct ::granule_device;

    std::atomic<Kind> kind_;
    granule_device& device_;
    const ShortLabel label_;
    DeviceChild* next_ = nullptr;  // guarded by the device's list lock, both
    DeviceChild* previous_ = nullptr;
};

}  // namespace granule::c_api

struct granule_device {
public:
    // The device's memory comes from its own allocator: nullptr where there is none.
    [[nodiscard]] static granule_device* create(const granule_allocator& allocator,
                                                const granule_logger& logger) noexcept;
    granule_device(const granule_device&) = delete;
    granule_device& operator=(const granule_device&) = delete;

    // Before anybody else knows it.
    void use(granule::Owned<granule::Device> device) noexcept;
    [[nodiscard]] granule::Device& device() noexcept { return *device_; }
    [[nodiscard]] const granule::Device& device() const noexcept { return *device_; }
    [[nodiscard]] granule::NodeMemory nodes() noexcept;
    // The soft device's failures on request.
    [[nodiscard]] granule::c_api::FailureRequests& failures() const noexcept { return *failures_; }
    [[nodiscard]] bool is_soft() const noexcept {
        return device_->properties().kind == granule::DeviceProperties::Kind::kSoft;
    }

    // 1, 2, ...
    [[nodiscard]] std::uint64_t next_vm_serial() noexcept {
        return vms_made_.fetch_add(1, std::memory_order_relaxed) + 1;
    }

    // One who keeps it alive more, or less: it may be gone then.
    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept;

    void add(granule::c_api::DeviceChild& child) noexcept;
    void remove(granule::c_api::DeviceChild& child) noexcept;
    // Calls `visitor(const DeviceChild&)` for each, under the list's lock.
    template <class Visitor>
    void for_each_child(Visitor&& visitor) const {
        const std::lock_guard lock(children_mutex_);
        for (const granule::c_api::DeviceChild* child = first_child_; child != nullptr; child = child->next_) {
            visitor(*child);
        }
    }

    // Tells the caller's logger the line that `write(TextWriter&)` writes.
    template <class Write>
    void log(granule_log_level level, Write&& write) const noexcept {
        if (logger_.message == nullptr) {
            return;
        }
        std::array<char, kLogLineBytes> line{};
        granule::c_api::TextWriter out(line.data(), line.size());
        write(out);
        static_cast<void>(out.finish());
        logger_.message(logger_.data, level, line.data());
    }

private:
    static constexpr std::size_t kLogLineBytes = 512;

    granule_device(const granule_allocator& allocator, const granule_logger& logger) noexcept;
    ~granule_device();

    granule_allocator allocator_;  // does not change
    const granule_logger logger_;
    std::atomic<std::uint64_t> references_{1};
    std::atomic<std::uint64_t> vms_made_{0};
    granule::Owned<granule::c_api::FailureRequests> failures_;
    granule::Owned<granule::Device> device_;
    mutable std::mutex children_mutex_;
    granule::c_api::DeviceChild* first_child_ = nullptr;  // guarded by children_mutex_
};

namespace granule::c_api {

// A child of `device`, which it keeps alive; `arguments` follow the device in its constructor. nullptr: no memory, and
// nothing was moved from. What can fail is done before, and moved in: from here on the child is in the list.
template <class Child, class... Arguments>
[[nodiscard]] Child* make_child(granule_device& device, Arguments&&... arguments) noexcept {
    const NodeMemory nodes = device.nodes();
    void* const block = nodes.allocate(nodes.context, sizeof(Child), alignof(Child));
    if (block == nullptr) {
        return nullptr;
    }
    auto* const child = ::new (block) Child(device, std::forward<Arguments>(arguments)...);
    device.retain();
    device.add(*child);
    return child;
}

template <class Child>
void end_child(Child* child) noexcept {
    granule_device& device = child->device();
    device.remove(*child);
    child->~Child();
    const NodeMemory nodes = device.nodes();
    nodes.release(nodes.context, child, sizeof(Child), alignof(Child));
    device.release();
}

}  // namespace granule::c_api
