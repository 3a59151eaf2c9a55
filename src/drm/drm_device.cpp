#include "src/drm/drm_device.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "src/drm/panfrost_address_space.hpp"
#include "src/drm/panthor_address_space.hpp"
#include "src/drm/syncobj_timeline.hpp"

namespace granule {
namespace {

DrmCalls& calls_of(const DrmDeviceConfig& config) noexcept {
    return config.calls == nullptr ? system_drm_calls() : *config.calls;
}

Result<Owned<DrmDevice>, OsError> make_device(const DrmDeviceConfig& config, DrmFile file) noexcept {
    const Result<KernelFacts, OsError> facts =
        find_kernel_facts(file.calls(), file.fd(), {config.kernel, config.probe});
    if (!facts) {
        return fail(facts.error());
    }
    Owned<DrmDevice> device = make_owned<DrmDevice>(config.nodes, config, std::move(file), *facts);
    if (!device) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    return device;
}

BindError bind_error(Status status) noexcept {
    BindError error;
    error.status = status;
    return error;
}

Status status_of(const VaError& error) noexcept {
    switch (error.code) {
        case VaError::Code::kOutOfMemory:
            return Status::kOutOfHostMemory;
        case VaError::Code::kOccupied:
            return Status::kVaOccupied;
        default:
            return Status::kOutOfRange;  // the VM was made for less than the kernel uses
    }
}

}  // namespace

Result<Owned<DrmDevice>, OsError> DrmDevice::open(const char* path, const DrmDeviceConfig& config) noexcept {
    DrmCalls& calls = calls_of(config);
    int fd = -1;
    if (const int error = calls.open(path, fd); error != 0) {
        return fail(OsError{Status::kOsFailed, "open", error});
    }
    return make_device(config, DrmFile{calls, fd});
}

Result<Owned<DrmDevice>, OsError> DrmDevice::adopt(int fd, const DrmDeviceConfig& config) noexcept {
    DrmCalls& calls = calls_of(config);
    int copy = -1;
    if (const int error = calls.duplicate(fd, copy); error != 0) {
        return fail(OsError{Status::kOsFailed, "F_DUPFD_CLOEXEC", error});
    }
    return make_device(config, DrmFile{calls, copy});
}

DrmDevice::DrmDevice(const DrmDeviceConfig& config, DrmFile file, const KernelFacts& facts) noexcept
    : config_(config),
      file_(std::move(file)),
      facts_(facts),
      bo_backend_(file_, facts_, config.nodes),
      bos_(bo_backend_, config.nodes),
      timelines_(config.nodes) {}

Result<Owned<Vm>, Status> DrmDevice::create_vm(VmConfig config) noexcept {
    if (config.space.empty()) {
        config.space = facts_.vm_space;
        if (facts_.driver == DrmDriver::kPanthor) {
            config.space.end = std::min(config.space.end, Va{std::uint64_t{1} << (facts_.va_bits - 1)});
        }
    }
    if (config.space.end < config.space.start) {
        return fail(Status::kBadArgument);
    }
    if (!facts_.vm_space.contains(config.space)) {
        return fail(Status::kOutOfRange);
    }
    if (facts_.driver == DrmDriver::kPanthor) {
        PanthorAddressSpaceConfig space_config;
        space_config.space = config.space;
        Result<Owned<PanthorAddressSpace>, OsError> space =
            PanthorAddressSpace::create(space_config, file_, facts_, bos_, config_.nodes);
        if (!space) {
            return fail(space.error().status);
        }
        return Vm::create(config, bos_, timelines_, std::move(*space), config_.nodes);
    }
    if (has_vm_.exchange(true, std::memory_order_acquire)) {
        return fail(Status::kNotSupported);
    }
    Owned<PanfrostAddressSpace> space = make_owned<PanfrostAddressSpace>(config_.nodes, facts_, bos_, has_vm_);
    if (!space) {
        has_vm_.store(false, std::memory_order_release);
        return fail(Status::kOutOfHostMemory);
    }
    return Vm::create(config, bos_, timelines_, std::move(space), config_.nodes);
}

Result<BindReport, BindError> DrmDevice::show_bo(Vm& vm, BoId bo_id) noexcept {
    const Bo* const bo = bos_.find(bo_id);
    if (bo == nullptr) {
        return fail(bind_error(Status::kUnknownBo));
    }
    if (!bo->kernel_va) {
        return fail(bind_error(Status::kNotSupported));
    }
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = {*bo->kernel_va, *bo->kernel_va + bo->size};
    request.shows.bo = bo_id;
    request.shows.flags = bo->kernel_flags;
    if (const Result<VaRange, VaError> reserved = vm.reserve_va_at(request.va); !reserved) {
        BindError error = bind_error(status_of(reserved.error()));
        error.plan.request = request.va;
        return fail(error);
    }
    Result<BindReport, BindError> shown = vm.bind(request);
    if (!shown) {
        const Result<void, VaError> released = vm.release_va(request.va);
        assert(released);
        static_cast<void>(released);
    }
    return shown;
}

void DrmDevice::free_mapped_bo(Vm& vm, BoId bo_id) noexcept {
    Bo* const bo = bos_.find(bo_id);
    assert(bo != nullptr && bo->kernel_va);
    const VaRange range{*bo->kernel_va, *bo->kernel_va + bo->size};
    const Result<BindReport, BindError> unmapped = vm.unmap(range, UnmapPolicy::kReject);
    assert(unmapped);
    static_cast<void>(unmapped);
    // Before the handle is closed: from then on the kernel may give the VA to another BO, which is to find it free here.
    const Result<void, VaError> released = vm.release_va(range);
    assert(released);
    static_cast<void>(released);
    bos_.release(*bo, 1);
}

Result<BoId, BindError> DrmDevice::create_mapped_bo(Vm& vm, const BoRequest& request) noexcept {
    const Result<BoId, Status> bo = bos_.create(request);
    if (!bo) {
        return fail(bind_error(bo.error()));
    }
    if (const Result<BindReport, BindError> shown = show_bo(vm, *bo); !shown) {
        bos_.release(*bos_.find(*bo), 1);
        return fail(shown.error());
    }
    return *bo;
}

Result<Owned<Timeline>, Status> DrmDevice::create_timeline() noexcept {
    Result<Owned<SyncobjTimeline>, OsError> syncobj = SyncobjTimeline::create(file_, config_.nodes);
    if (!syncobj) {
        return fail(syncobj.error().status);
    }
    return timelines_.create(std::move(*syncobj));
}

std::uint32_t DrmDevice::syncobj_of(const Timeline& timeline) noexcept {
    return static_cast<const SyncobjTimeline*>(timeline.source())->syncobj();
}

}  // namespace granule
