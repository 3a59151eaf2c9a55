#include "src/drm/device_list.hpp"

#include <xf86drm.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <span>

#include "src/drm/drm_file.hpp"

namespace granule {
namespace {

// drmGetDevices2 with an owner.
class SystemDevices {
public:
    SystemDevices() noexcept {
        const int found = drmGetDevices2(0, devices_.data(), static_cast<int>(devices_.size()));
        if (found < 0) {
            error_ = -found;
        } else {
            // It says how many there are, not how many it stored.
            count_ = std::min(static_cast<std::size_t>(found), devices_.size());
        }
    }
    SystemDevices(const SystemDevices&) = delete;
    SystemDevices& operator=(const SystemDevices&) = delete;
    ~SystemDevices() { drmFreeDevices(devices_.data(), static_cast<int>(count_)); }

    [[nodiscard]] int error() const noexcept { return error_; }
    [[nodiscard]] std::span<const drmDevicePtr> devices() const noexcept { return {devices_.data(), count_}; }

private:
    std::array<drmDevicePtr, kMaxDrmDevices> devices_{};
    std::size_t count_ = 0;
    int error_ = 0;
};

ShortLabel bus_of(const drmDevice& device) noexcept {
    std::array<char, ShortLabel::kBytes + 1> text{};
    switch (device.bustype) {
        case DRM_BUS_PCI: {
            const drmPciBusInfo& pci = *device.businfo.pci;
            static_cast<void>(std::snprintf(text.data(), text.size(), "pci %04x:%02x:%02x.%u", unsigned{pci.domain},
                                            unsigned{pci.bus}, unsigned{pci.dev}, unsigned{pci.func}));
            break;
        }
        case DRM_BUS_USB:
            static_cast<void>(std::snprintf(text.data(), text.size(), "usb %03u:%03u",
                                            unsigned{device.businfo.usb->bus}, unsigned{device.businfo.usb->dev}));
            break;
        case DRM_BUS_PLATFORM:
            static_cast<void>(
                std::snprintf(text.data(), text.size(), "platform %.39s", device.businfo.platform->fullname));
            break;
        case DRM_BUS_HOST1X:
            static_cast<void>(std::snprintf(text.data(), text.size(), "host1x %.41s", device.businfo.host1x->fullname));
            break;
        default:
            break;
    }
    return ShortLabel(text.data());
}

}  // namespace

DrmDeviceEntry look_at_drm_device(DrmCalls& calls, const char* path, const KernelFactsOptions& options) noexcept {
    DrmDeviceEntry entry;
    entry.path = ShortLabel(path);
    int fd = -1;
    if (const int error = calls.open(path, fd); error != 0) {
        entry.error = {Status::kOsFailed, "open", error};
        return entry;
    }
    const DrmFile file(calls, fd);
    static_cast<void>(calls.version(fd, entry.version));  // where it fails, the facts say why
    if (const Result<KernelFacts, OsError> facts = find_kernel_facts(calls, fd, options)) {
        entry.facts = *facts;
    } else {
        entry.error = facts.error();
    }
    return entry;
}

Result<Array<DrmDeviceEntry>, OsError> list_drm_devices(DrmCalls& calls, const KernelFactsOptions& options,
                                                        NodeMemory memory) noexcept {
    Array<DrmDeviceEntry> entries(memory);
    const SystemDevices system;
    if (system.error() == ENOENT) {
        return entries;
    }
    if (system.error() != 0) {
        return fail(OsError{Status::kOsFailed, "drmGetDevices2", system.error()});
    }
    if (!entries.reserve(system.devices().size())) {
        return fail(OsError{Status::kOutOfHostMemory, "", ENOMEM});
    }
    for (drmDevice* const device : system.devices()) {
        if ((device->available_nodes & (1 << DRM_NODE_RENDER)) != 0) {
            DrmDeviceEntry entry = look_at_drm_device(calls, device->nodes[DRM_NODE_RENDER], options);
            entry.bus = bus_of(*device);
            const bool pushed = entries.push(entry);
            assert(pushed);
            static_cast<void>(pushed);
        }
    }
    if (!entries.empty()) {
        // The directory has no order. Paths are of one length but for the digits at their end.
        std::sort(&entries[0], &entries[0] + entries.size(),
                  [](const DrmDeviceEntry& a, const DrmDeviceEntry& b) { return a.path.view() < b.path.view(); });
    }
    return entries;
}

}  // namespace granule
