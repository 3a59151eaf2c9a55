/* kmod: address spaces and what is bound in them. */
#include "kmod.h"

/* More ops than this at once are carried out in an array from the allocator. */
#define FEW_OPS 16

struct kmod_vm* kmod_vm_create(struct kmod_dev* dev, uint32_t flags, uint64_t va_start, uint64_t va_size) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_vm_info info = GRANULE_SIZED(granule_vm_info);
    struct kmod_vm* const vm = dev->allocator->zalloc(dev->allocator, sizeof *vm, false);

    if (!vm) {
        return NULL;
    }
    info.flags = flags & KMOD_VM_TRACK_ACTIVITY ? GRANULE_VM_TRACK_ACTIVITY : 0u;
    info.space.start = va_start;
    info.space.end = va_start + va_size;
    if (granule_vm_create(dev->granule, &info, &vm->granule, &error) != GRANULE_STATUS_OK) {
        kmod_log("create a VM", &error);
        dev->allocator->free(dev->allocator, vm);
        return NULL;
    }
    vm->dev = dev;
    vm->flags = flags;
    return vm;
}

void kmod_vm_destroy(struct kmod_vm* vm) {
    granule_vm_destroy(vm->granule);
    vm->dev->allocator->free(vm->dev->allocator, vm);
}

static granule_bind_op translate(const struct kmod_vm* vm, const struct kmod_vm_op* op) {
    static const granule_bind_type types[] = {
        [KMOD_VM_OP_TYPE_MAP] = GRANULE_BIND_MAP,
        [KMOD_VM_OP_TYPE_MAP_SPARSE] = GRANULE_BIND_MAP_SPARSE,
        [KMOD_VM_OP_TYPE_UNMAP] = GRANULE_BIND_UNMAP,
        [KMOD_VM_OP_TYPE_SYNC_ONLY] = GRANULE_BIND_SYNC_ONLY,
    };
    granule_bind_op bind = GRANULE_SIZED(granule_bind_op);

    bind.type = types[op->type];
    bind.va = op->va.start;
    bind.size = op->va.size;
    /* What a driver always relied on, on every kernel: a map or an unmap may cut what is there. */
    bind.cut = GRANULE_CUT_SPLIT;
    if (op->type == KMOD_VM_OP_TYPE_MAP) {
        bind.bo = op->map.bo->granule;
        bind.bo_offset = op->map.bo_offset;
        bind.flags = op->map.bo->flags & KMOD_BO_EXECUTABLE ? GRANULE_MAP_READ_ONLY : GRANULE_MAP_NO_EXEC;
        if (op->map.bo->flags & KMOD_BO_GPU_UNCACHED) {
            bind.flags |= GRANULE_MAP_UNCACHED;
        }
    } else if (op->type == KMOD_VM_OP_TYPE_UNMAP && vm->flags & KMOD_VM_AUTO_VA) {
        bind.flags = GRANULE_UNMAP_RELEASE_VA;
    }
    bind.waits = op->syncs.waits;
    bind.wait_count = op->syncs.wait_count;
    bind.signals = op->syncs.signals;
    bind.signal_count = op->syncs.signal_count;
    return bind;
}

int kmod_vm_bind(struct kmod_vm* vm, enum kmod_vm_op_mode mode, struct kmod_vm_op* ops, uint32_t op_count) {
    static const granule_bind_mode modes[] = {
        [KMOD_VM_OP_MODE_IMMEDIATE] = GRANULE_BIND_IMMEDIATE,
        [KMOD_VM_OP_MODE_ASYNC] = GRANULE_BIND_ASYNC,
        [KMOD_VM_OP_MODE_DEFER_TO_NEXT_IDLE_POINT] = GRANULE_BIND_DEFERRED,
    };
    const struct kmod_allocator* const allocator = vm->dev->allocator;
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bind_op few[FEW_OPS];
    granule_bind_op* binds = few;
    granule_status status;
    uint32_t i;

    if (op_count > FEW_OPS) {
        binds = allocator->zalloc(allocator, op_count * (uint64_t)sizeof *binds, true);
        if (!binds) {
            return -1;
        }
    }
    for (i = 0; i < op_count; i++) {
        binds[i] = translate(vm, &ops[i]);
    }
    status = granule_vm_bind(vm->granule, modes[mode], binds, op_count, NULL, &error);
    if (status == GRANULE_STATUS_OK) {
        for (i = 0; i < op_count; i++) {
            ops[i].va.start = binds[i].va;
        }
    } else {
        kmod_log("bind", &error);
    }
    if (binds != few) {
        allocator->free(allocator, binds);
    }
    return status == GRANULE_STATUS_OK ? 0 : -1;
}

enum kmod_vm_state kmod_vm_query_state(struct kmod_vm* vm) {
    return granule_vm_check(vm->granule, NULL) == GRANULE_STATUS_OK ? KMOD_VM_USABLE : KMOD_VM_FAULTY;
}
