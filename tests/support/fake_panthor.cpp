// panthor's ioctls. Order of the checks and errnos: Linux drivers/gpu/drm/panthor/panthor_drv.c, panthor_mmu.c.
#include <utility>

#include "tests/support/fake_drm_state.hpp"

namespace granule::test {
namespace {

std::string hex(std::uint64_t value) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    do {
        text.insert(text.begin(), kDigits[value % 16]);
        value /= 16;
    } while (value != 0);
    return "0x" + text;
}

std::string text_of(const drm_panthor_vm_bind_op& operation) {
    const std::uint32_t type = operation.flags & panthor::kOpTypeMask;
    std::string text = type == panthor::kOpMap ? "map " : (type == panthor::kOpUnmap ? "unmap " : "sync ");
    text += hex(operation.va) + "+" + hex(operation.size);
    if (type == panthor::kOpMap) {
        text += " of " + std::to_string(operation.bo_handle) + "+" + hex(operation.bo_offset);
    }
    return text;
}

int dev_query(const FakeKernel& kernel, drm_panthor_dev_query& query) {
    drm_panthor_gpu_info gpu;
    gpu.gpu_id = 0xa867'0000;  // G610
    gpu.mmu_features = (40U << 8) | kernel.va_bits;
    gpu.as_present = 0xff;
    gpu.shader_present = 0x50005;
    gpu.l2_present = 1;
    gpu.tiler_present = 1;
    gpu.selected_coherency = kernel.minor >= panthor::kMinorCachedBos ? panthor::kCoherencyNone : 0;
    const drm_panthor_csif_info csif{8, 8, 96, 8, 4, 0};
    const drm_panthor_timestamp_info timestamp{.timestamp_frequency = 24'000'000};
    const drm_panthor_group_priorities_info priorities{.allowed_mask = 3};
    const drm_panthor_mmu_info mmu{kLeaves4K2M};

    struct Answer {
        const void* data = nullptr;
        std::uint32_t bytes = 0;
        std::uint32_t least = 0;
        int minor = 0;
    };
    constexpr std::uint32_t kGpuInfoBefore1_7 = 96;
    const std::array answers{
        Answer{&gpu,
               kernel.minor >= panthor::kMinorCachedBos ? static_cast<std::uint32_t>(sizeof(gpu)) : kGpuInfoBefore1_7,
               panthor::kLeastGpuInfoBytes, 0},
        Answer{&csif, sizeof(csif), sizeof(csif), 0},
        Answer{&timestamp, sizeof(timestamp), 16, panthor::kMinorTimestampInfo},
        Answer{&priorities, sizeof(priorities), sizeof(priorities), panthor::kMinorGroupPriorities},
        Answer{&mmu, sizeof(mmu), sizeof(mmu), panthor::kMinorSparse},
    };
    if (query.type >= answers.size() || kernel.minor < answers.at(query.type).minor) {
        return EINVAL;
    }
    const Answer& answer = answers.at(query.type);
    if (query.pointer == 0) {
        query.size = answer.bytes;
        return 0;
    }
    if (query.size < answer.least) {
        return EINVAL;
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the uAPI's addresses are integers
    auto* const out = reinterpret_cast<std::byte*>(query.pointer);
    std::memset(out, 0, query.size);
    std::memcpy(out, answer.data, std::min(query.size, answer.bytes));
    return 0;
}

// panthor_vm_create_get_user_va_range: what is left to the kernel is a power of two.
int vm_create(FakeDrmState& state, FakeFile& file, drm_panthor_vm_create& create) {
    const std::uint64_t full = std::uint64_t{1} << state.kernel.va_bits;
    if (create.flags != 0 || create.user_va_range > full - panthor::kLeastKernelVa) {
        return EINVAL;
    }
    std::uint64_t user = create.user_va_range;
    if (user == 0) {
        user = full > (std::uint64_t{4} << 30) ? full / 2 : full - panthor::kLeastKernelVa;
    }
    std::uint64_t kernel_part = 1;
    while (kernel_part <= (full - user) / 2) {
        kernel_part *= 2;
    }
    std::uint32_t id = 1;
    while (file.vms.contains(id)) {
        ++id;
    }
    if (id > panthor::kMaxVmsPerFile) {
        return EBUSY;
    }
    create.id = id;
    create.user_va_range = full - kernel_part;
    file.vms.emplace(id, state.make_vm(create.user_va_range));
    return 0;
}

int vm_destroy(FakeDrmState& state, FakeFile& file, const drm_panthor_vm_destroy& destroy) {
    const auto at = file.vms.find(destroy.id);
    if (destroy.pad != 0 || at == file.vms.end()) {
        return EINVAL;
    }
    at->second->space.unmap_all();
    at->second->unusable = true;
    if (!at->second->queue.empty()) {
        state.dying.push_back(std::move(at->second));
    }
    file.vms.erase(at);
    return 0;
}

int bo_create(FakeDrmState& state, FakeFile& file, drm_panthor_bo_create& create) {
    const std::uint32_t known =
        panthor::kBoNoMmap | (state.kernel.minor >= panthor::kMinorCachedBos ? panthor::kBoCached : 0);
    const std::uint32_t both = panthor::kBoNoMmap | panthor::kBoCached;
    if (create.size == 0 || create.pad != 0 || (create.flags & ~known) != 0 || (create.flags & both) == both) {
        return EINVAL;
    }
    const auto vm = file.vms.find(create.exclusive_vm_id);
    if (create.exclusive_vm_id != 0 && vm == file.vms.end()) {
        return EINVAL;
    }
    constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
    if (create.size > kMostBytes) {
        return create.size > UINT64_MAX - kPageBytes ? EINVAL : ENOMEM;
    }
    const FakeGem object = state.make_object(align_up(create.size, kPageBytes));
    object->flags = create.flags;
    object->only_for_vm = create.exclusive_vm_id == 0 ? 0 : vm->second->serial;
    create.size = object->bytes();
    return state.open_handle(file, object, create.handle);
}

// panthor_vm_bind_prepare_op_ctx.
int check_bind(FakeDrmState& state, FakeFile& file, const FakeVm& vm, const drm_panthor_vm_bind_op& operation,
               FakeGem& object) {
    if (!is_aligned(operation.va | operation.size | operation.bo_offset, kPageBytes)) {
        return EINVAL;
    }
    if (state.kernel.checks_range && (operation.va > vm.user_end || operation.size > vm.user_end - operation.va)) {
        return EINVAL;
    }
    switch (operation.flags & panthor::kOpTypeMask) {
        case panthor::kOpMap: {
            constexpr std::uint32_t kAlways = panthor::kOpReadonly | panthor::kOpNoexec | panthor::kOpUncached;
            const std::uint32_t known = kAlways | (state.kernel.map_sparse ? panthor::kOpSparse : 0);
            if ((operation.flags & ~(known | panthor::kOpTypeMask)) != 0) {
                return EINVAL;
            }
            if ((operation.flags & panthor::kOpSparse) != 0) {
                if ((operation.flags & panthor::kOpNoexec) == 0 || operation.bo_handle != 0 ||
                    operation.bo_offset != 0) {
                    return EINVAL;
                }
                if (file.sparse_dummy == nullptr) {
                    file.sparse_dummy = state.make_object(kBlock2MBytes);
                    file.sparse_dummy->sparse_dummy = true;
                }
                object = file.sparse_dummy;
                return 0;
            }
            object = file.handles.find(operation.bo_handle);
            if (object == nullptr || operation.size > object->bytes() ||
                operation.bo_offset > object->bytes() - operation.size ||
                (object->only_for_vm != 0 && object->only_for_vm != vm.serial)) {
                return EINVAL;
            }
            return 0;
        }
        case panthor::kOpUnmap:
            return (operation.flags & ~panthor::kOpTypeMask) != 0 || operation.bo_handle != 0 ||
                           operation.bo_offset != 0
                       ? EINVAL
                       : 0;
        case panthor::kOpSyncOnly:
            return operation.bo_handle != 0 || operation.bo_offset != 0 || operation.va != 0 || operation.size != 0 ||
                           operation.syncs.count == 0
                       ? EINVAL
                       : 0;
        default:
            return EINVAL;
    }
}

int bind_now(FakeDrmState& state, FakeFile& file, FakeVm& vm, drm_panthor_vm_bind& bind,
             const std::vector<drm_panthor_vm_bind_op>& operations) {
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const drm_panthor_vm_bind_op& operation = operations[i];
        int error = operation.syncs.count != 0 ? EINVAL : 0;
        if (error == 0 && operation.size == 0) {
            continue;
        }
        FakeGem object;
        error = error != 0 ? error : check_bind(state, file, vm, operation, object);
        error = error != 0 ? error : execute_bind(state, vm, operation, object);
        if (error != 0) {
            bind.ops.count = static_cast<std::uint32_t>(i);
            return error;
        }
    }
    return 0;
}

// What the operations of one array promise each other: a wait finds the fence of an earlier operation of the array.
class ArrayFences {
public:
    explicit ArrayFences(FakeFile& file) : file_(file) {}

    // Every syncobj that the array signals (panthor_submit_ctx_collect_job_signal_ops).
    [[nodiscard]] int collect(const std::vector<drm_panthor_sync_op>& syncs) {
        for (const drm_panthor_sync_op& sync : syncs) {
            constexpr std::uint32_t kKnown = panthor::kSyncHandleTypeMask | panthor::kSyncSignal;
            const std::uint32_t type = sync.flags & panthor::kSyncHandleTypeMask;
            if ((sync.flags & ~kKnown) != 0 || type > panthor::kSyncTimeline ||
                (type == panthor::kSyncBinary && sync.timeline_value != 0)) {
                return EINVAL;
            }
            if ((sync.flags & panthor::kSyncSignal) == 0) {
                continue;
            }
            const auto at = file_.syncobjs.find(sync.handle);
            if (at == file_.syncobjs.end()) {
                return EINVAL;
            }
            signals_.try_emplace({sync.handle, sync.timeline_value}, at->second->fences_for(sync.timeline_value));
        }
        return 0;
    }
    // The fences that a job has to wait for; afterwards what it signals is its own fence.
    [[nodiscard]] int add(const std::vector<drm_panthor_sync_op>& syncs, FakeBindJob& job) {
        for (const drm_panthor_sync_op& sync : syncs) {
            if ((sync.flags & panthor::kSyncSignal) != 0) {
                continue;
            }
            std::vector<FakeFencePtr> fences;
            if (const auto own = signals_.find({sync.handle, sync.timeline_value}); own != signals_.end()) {
                fences = own->second;
            } else {
                const auto at = file_.syncobjs.find(sync.handle);
                if (at == file_.syncobjs.end()) {
                    return ENOENT;
                }
                fences = at->second->fences_for(sync.timeline_value);
            }
            if (fences.empty()) {
                return EINVAL;
            }
            job.waits.insert(job.waits.end(), fences.begin(), fences.end());
        }
        for (const drm_panthor_sync_op& sync : syncs) {
            if ((sync.flags & panthor::kSyncSignal) != 0) {
                signals_[{sync.handle, sync.timeline_value}] = {job.done};
            }
        }
        return 0;
    }
    void publish() {
        for (const auto& [key, fences] : signals_) {
            const auto& [handle, point] = key;
            for (const FakeFencePtr& fence : fences) {
                file_.syncobjs.at(handle)->attach(point, fence);
            }
        }
    }

private:
    FakeFile& file_;
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<FakeFencePtr>> signals_;
};

// All of the array is checked before any of it is queued.
int bind_later(FakeDrmState& state, FakeFile& file, FakeVm& vm, const std::vector<drm_panthor_vm_bind_op>& operations) {
    std::vector<std::vector<drm_panthor_sync_op>> syncs(operations.size());
    std::vector<FakeBindJob> jobs(operations.size());
    ArrayFences fences(file);
    for (std::size_t i = 0; i < operations.size(); ++i) {
        if (vm.unusable) {
            return EINVAL;
        }
        if (const int error = check_bind(state, file, vm, operations[i], jobs[i].object); error != 0) {
            return error;
        }
        jobs[i].operation = operations[i];
        jobs[i].done = std::make_shared<FakeFence>();
        if (const int error = read_array(operations[i].syncs, syncs[i]); error != 0) {
            return error;
        }
    }
    for (const std::vector<drm_panthor_sync_op>& of_one : syncs) {
        if (const int error = fences.collect(of_one); error != 0) {
            return error;
        }
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        if (const int error = fences.add(syncs[i], jobs[i]); error != 0) {
            return error;
        }
    }
    fences.publish();
    for (FakeBindJob& job : jobs) {
        vm.queue.push_back(std::move(job));
    }
    state.run_queues();
    return 0;
}

int vm_bind(FakeDrmState& state, FakeFile& file, drm_panthor_vm_bind& bind) {
    const auto at = file.vms.find(bind.vm_id);
    if (at == file.vms.end()) {
        return EINVAL;
    }
    std::vector<drm_panthor_vm_bind_op> operations;
    if (const int error = read_array(bind.ops, operations); error != 0) {
        return error;
    }
    const bool later = (bind.flags & panthor::kBindAsync) != 0;
    const int error =
        later ? bind_later(state, file, *at->second, operations) : bind_now(state, file, *at->second, bind, operations);
    if (state.recorded_most != 0) {
        std::string text = std::string("VM_BIND ") + (later ? "async " : "") + "vm " + std::to_string(bind.vm_id) + ":";
        for (const drm_panthor_vm_bind_op& operation : operations) {
            text += " " + text_of(operation) + ";";
        }
        state.note(text +
                   (error == 0 ? "" : " error " + std::to_string(error) + " at " + std::to_string(bind.ops.count)));
    }
    return error;
}

int bo_sync(FakeFile& file, const drm_panthor_bo_sync& sync) {
    std::vector<drm_panthor_bo_sync_op> operations;
    if (const int error = read_array(sync.ops, operations); error != 0) {
        return error;
    }
    for (const drm_panthor_bo_sync_op& operation : operations) {
        const FakeGem object = file.handles.find(operation.handle);
        if (object == nullptr) {
            return ENOENT;
        }
        if (operation.type > panthor::kBoSyncFlushAndInvalidate || operation.size > object->bytes() ||
            operation.offset > object->bytes() - operation.size || object->imported) {
            return EINVAL;
        }
    }
    return 0;
}

int bo_mmap_offset(FakeDrmState& state, FakeFile& file, drm_panthor_bo_mmap_offset& mmap) {
    if (mmap.pad != 0) {
        return EINVAL;
    }
    const FakeGem object = file.handles.find(mmap.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    if ((object->flags & panthor::kBoNoMmap) != 0) {
        return EPERM;
    }
    mmap.offset = state.mmap_offset(object);
    return 0;
}

int bo_set_label(FakeFile& file, const drm_panthor_bo_set_label& set) {
    if (set.pad != 0) {
        return EINVAL;
    }
    const FakeGem object = file.handles.find(set.handle);
    return object == nullptr ? ENOENT : read_label(set.label, object->label);
}

int bo_query_info(FakeFile& file, drm_panthor_bo_query_info& query) {
    const FakeGem object = file.handles.find(query.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    query.pad = 0;
    query.create_flags = object->flags;
    query.extra_flags = object->imported ? panthor::kBoImported : 0;
    return 0;
}

}  // namespace

int execute_bind(FakeDrmState& state, FakeVm& vm, const drm_panthor_vm_bind_op& operation, const FakeGem& object) {
    const std::uint32_t type = operation.flags & panthor::kOpTypeMask;
    int error = 0;
    if (type == panthor::kOpMap) {
        const MapFlags flags{(operation.flags & panthor::kOpReadonly) != 0, (operation.flags & panthor::kOpNoexec) != 0,
                             (operation.flags & panthor::kOpUncached) != 0};
        error = vm.unusable ? EINVAL : vm.space.map(operation.va, operation.size, object, operation.bo_offset, flags);
    } else if (type == panthor::kOpUnmap) {
        error = vm.space.unmap(operation.va, operation.size);
    }
    if (vm.space.lost() && !vm.unusable) {
        state.lose(vm);
    }
    state.bind_operations += error == 0 ? 1U : 0U;
    return state.log.oopsed() ? EFAULT : error;
}

int panthor_ioctl(FakeDrmState& state, FakeFile& file, unsigned long request, void* argument) {
    const int minor = state.kernel.minor;
    switch (ioctl_kind(DrmDriver::kPanthor, request)) {
        case DrmCallKind::kDevQuery:
            return with_argument<drm_panthor_dev_query>(
                request, argument, [&](drm_panthor_dev_query& query) { return dev_query(state.kernel, query); });
        case DrmCallKind::kVmCreate:
            return with_argument<drm_panthor_vm_create>(
                request, argument, [&](drm_panthor_vm_create& create) { return vm_create(state, file, create); });
        case DrmCallKind::kVmDestroy:
            return with_argument<drm_panthor_vm_destroy>(
                request, argument, [&](drm_panthor_vm_destroy& destroy) { return vm_destroy(state, file, destroy); });
        case DrmCallKind::kVmBind:
            return with_argument<drm_panthor_vm_bind>(
                request, argument, [&](drm_panthor_vm_bind& bind) { return vm_bind(state, file, bind); });
        case DrmCallKind::kVmGetState:
            return with_argument<drm_panthor_vm_get_state>(request, argument, [&](drm_panthor_vm_get_state& get) {
                const auto at = file.vms.find(get.vm_id);
                if (at == file.vms.end()) {
                    return EINVAL;
                }
                get.state = at->second->unusable ? panthor::kVmUnusable : panthor::kVmUsable;
                return 0;
            });
        case DrmCallKind::kBoCreate:
            return with_argument<drm_panthor_bo_create>(
                request, argument, [&](drm_panthor_bo_create& create) { return bo_create(state, file, create); });
        case DrmCallKind::kBoMmapOffset:
            return with_argument<drm_panthor_bo_mmap_offset>(
                request, argument, [&](drm_panthor_bo_mmap_offset& mmap) { return bo_mmap_offset(state, file, mmap); });
        case DrmCallKind::kBoSetLabel:
            return minor < panthor::kMinorBoLabels
                       ? EINVAL
                       : with_argument<drm_panthor_bo_set_label>(
                             request, argument, [&](drm_panthor_bo_set_label& set) { return bo_set_label(file, set); });
        case DrmCallKind::kSetUserMmioOffset:
            return minor < panthor::kMinorUserMmioOffset
                       ? EINVAL
                       : with_argument<drm_panthor_set_user_mmio_offset>(
                             request, argument, [](drm_panthor_set_user_mmio_offset& set) {
                                 const bool known =
                                     set.offset == panthor::kMmioOffset32 || set.offset == panthor::kMmioOffset64;
                                 return known ? 0 : EINVAL;
                             });
        case DrmCallKind::kBoSync:
            return minor < panthor::kMinorCachedBos
                       ? EINVAL
                       : with_argument<drm_panthor_bo_sync>(
                             request, argument, [&](drm_panthor_bo_sync& sync) { return bo_sync(file, sync); });
        case DrmCallKind::kBoQueryInfo:
            return minor < panthor::kMinorCachedBos ? EINVAL
                                                    : with_argument<drm_panthor_bo_query_info>(
                                                          request, argument, [&](drm_panthor_bo_query_info& query) {
                                                              return bo_query_info(file, query);
                                                          });
        default:
            return EINVAL;
    }
}

}  // namespace granule::test
