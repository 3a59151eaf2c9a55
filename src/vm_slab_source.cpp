#include "src/vm_slab_source.hpp"

#include <algorithm>
#include <cassert>

namespace granule {

BoRequest slab_bo_request(const VmSlabConfig& config, const Device& device, const Vm& vm, std::uint64_t bytes,
                          std::uint64_t alignment) noexcept {
    const bool rounds = device.properties().kernel_places_bos && alignment > kPageBytes && bytes < kBlock2MBytes;
    BoRequest request;
    request.bytes = rounds ? kBlock2MBytes : bytes;
    request.memory = config.memory;
    request.cpu_visible = config.kind.cpu_visible;
    request.cpu_cached = config.kind.cpu_cached;
    request.executable = config.kind.executable;
    request.only_for_vm = config.only_for_vm ? vm.kernel_id() : 0;
    request.made_by = config.made_by;
    return request;
}

Result<VaRange, OsError> VmSlabSource::map(const Bo& bo, std::uint64_t alignment) noexcept {
    if (device_.properties().kernel_places_bos && (!bo.kernel_va || !bo.kernel_va->is_aligned(alignment))) {
        return fail(os_error(Status::kNotSupported));
    }
    VaRequest place;
    place.alignment = std::max(alignment, bo.size >= kBlock2MBytes ? kBlock2MBytes : kPageBytes);
    place.zone = config_.zone;
    return device_.map_bo(vm_, bo, config_.kind.flags, place);
}

void VmSlabSource::release(const VaRange& va) noexcept {
    const Result<void, VaError> released = vm_.release_va(va);
    assert(released);
    static_cast<void>(released);
}

Result<SlabMemory, OsError> VmSlabSource::acquire(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    if (config_.kind.cpu_cached && !config_.kind.cpu_visible) {
        return fail(os_error(Status::kBadArgument));
    }
    const Result<BoId, OsError> id = device_.create_bo(slab_bo_request(config_, device_, vm_, bytes, alignment));
    if (!id) {
        return fail(id.error());
    }
    BoTable& bos = device_.bos();
    Bo& bo = *bos.find(*id);
    const auto give_up = [&](const OsError& error) noexcept {
        bos.release(bo, 1);
        return fail(error);
    };
    if (const Status labelled = bos.set_label(bo, config_.label.view()); labelled != Status::kOk) {
        return give_up(os_error(labelled));
    }
    SlabMemory slab;
    slab.bo = *id;
    if (config_.kind.cpu_visible) {
        const Result<std::byte*, Status> cpu = bos.map_cpu(bo);
        if (!cpu) {
            return give_up(os_error(cpu.error()));
        }
        slab.cpu = *cpu;
    }
    const Result<VaRange, OsError> va = map(bo, alignment);
    if (!va) {
        return give_up(va.error());
    }
    slab.va = *va;
    return slab;
}

Status VmSlabSource::give_back(const SlabMemory& slab) noexcept {
    if (device_.properties().kernel_places_bos) {
        device_.free_mapped_bo(vm_, slab.bo);
        return Status::kOk;
    }
    if (const Result<BindReport, BindError> unmapped = vm_.unmap(slab.va, UnmapPolicy::kReject); !unmapped) {
        return unmapped.error().status;
    }
    release(slab.va);
    device_.bos().release(*device_.bos().find(slab.bo), 1);
    return Status::kOk;
}

void VmSlabSource::abandon(const SlabMemory& slab) noexcept {
    device_.bos().release(*device_.bos().find(slab.bo), 1);
}

}  // namespace granule
