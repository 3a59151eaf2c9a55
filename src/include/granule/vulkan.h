/**
 * @file vulkan.h
 * Between granule and Vulkan: what a Vulkan driver on top of granule would write itself. Header-only, not part of
 * granule.h; needs the Vulkan headers.
 *
 * - status to VkResult
 * - VkAllocationCallbacks as granule's allocator
 * - granule's bindings as VK_EXT_device_address_binding_report wants them
 * - vkQueueBindSparse's binds of buffers and opaque image memory as granule's operations
 */
#ifndef GRANULE_VULKAN_H
#define GRANULE_VULKAN_H

#include <granule/base.h>
#include <granule/bind.h>
#include <granule/vm.h>
#include <vulkan/vulkan_core.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a Vulkan command returns for it. Lost VMs and kernels are VK_ERROR_DEVICE_LOST; no VA, no device memory, and the
 * limit of the device are VK_ERROR_OUT_OF_DEVICE_MEMORY; a fixed address that is taken is what
 * bufferDeviceAddressCaptureReplay calls VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS.
 */
static inline VkResult granule_status_to_vk(granule_status status) {
    switch (status) {
        case GRANULE_STATUS_OK:
            return VK_SUCCESS;
        case GRANULE_STATUS_OUT_OF_HOST_MEMORY:
            return VK_ERROR_OUT_OF_HOST_MEMORY;
        case GRANULE_STATUS_OUT_OF_VA:
        case GRANULE_STATUS_OUT_OF_TABLE_MEMORY:
        case GRANULE_STATUS_OUT_OF_DEVICE_MEMORY:
        case GRANULE_STATUS_OVER_BUDGET:
            return VK_ERROR_OUT_OF_DEVICE_MEMORY;
        case GRANULE_STATUS_VA_OCCUPIED:
            return VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS;
        case GRANULE_STATUS_BACKEND_FAILED:
        case GRANULE_STATUS_VM_UNUSABLE:
        case GRANULE_STATUS_KERNEL_OOPS:
        case GRANULE_STATUS_CANCELLED:
            return VK_ERROR_DEVICE_LOST;
        case GRANULE_STATUS_NOT_SUPPORTED:
            return VK_ERROR_FEATURE_NOT_PRESENT;
        case GRANULE_STATUS_TIMED_OUT:
            return VK_TIMEOUT;
        case GRANULE_STATUS_BAD_ARGUMENT:
        case GRANULE_STATUS_OUT_OF_RANGE:
        case GRANULE_STATUS_GRANULE_CUT:
        case GRANULE_STATUS_UNKNOWN_BO:
        case GRANULE_STATUS_OS_FAILED:
            break;
    }
    return VK_ERROR_UNKNOWN;
}

/** @cond internal */
static inline void* granule_vk_allocate(void* data, size_t size, size_t alignment) {
    const VkAllocationCallbacks* const callbacks = (const VkAllocationCallbacks*)data;
    return callbacks->pfnAllocation(callbacks->pUserData, size, alignment, VK_SYSTEM_ALLOCATION_SCOPE_DEVICE);
}

static inline void granule_vk_release(void* data, void* memory, size_t size, size_t alignment) {
    const VkAllocationCallbacks* const callbacks = (const VkAllocationCallbacks*)data;
    (void)size;
    (void)alignment;
    callbacks->pfnFree(callbacks->pUserData, memory);
}
/** @endcond */

/**
 * For granule_device_info::allocator. `callbacks` outlives the device; NULL: granule's default.
 *
 * Vulkan allows calls of them only by the thread of the command that leads to them, and so it is where a kernel has the
 * queue of binds. The soft device's ASYNC and DEFERRED binds are carried out by a thread that calls them too.
 */
static inline granule_allocator granule_allocator_from_vk(const VkAllocationCallbacks* callbacks) {
    granule_allocator allocator;
    allocator.allocate = callbacks ? granule_vk_allocate : NULL;
    allocator.release = callbacks ? granule_vk_release : NULL;
    allocator.data = (void*)(uintptr_t)callbacks;
    return allocator;
}

/** For a granule_binding_function: the data of the message that VK_EXT_device_address_binding_report sends. */
static inline VkDeviceAddressBindingCallbackDataEXT granule_binding_to_vk(const granule_binding* binding) {
    VkDeviceAddressBindingCallbackDataEXT data;
    data.sType = VK_STRUCTURE_TYPE_DEVICE_ADDRESS_BINDING_CALLBACK_DATA_EXT;
    data.pNext = NULL;
    data.flags = 0;
    data.baseAddress = binding->va.start;
    data.size = binding->va.end - binding->va.start;
    data.bindingType =
        binding->bound ? VK_DEVICE_ADDRESS_BINDING_TYPE_BIND_EXT : VK_DEVICE_ADDRESS_BINDING_TYPE_UNBIND_EXT;
    return data;
}

/**
 * One VkSparseMemoryBind of a resource at `resource_va`, as an operation for granule_vm_bind(): a map of `bo`, which is
 * the BO of `bind->memory` (NULL where that is), or the black hole that reads of unbound residency fall into. It replaces
 * what is mapped there; granules that it cuts are split.
 */
static inline granule_bind_op granule_bind_op_from_vk(uint64_t resource_va, const VkSparseMemoryBind* bind,
                                                      granule_bo* bo, granule_leaf_policy leaves) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);
    op.type = bo ? GRANULE_BIND_MAP : GRANULE_BIND_MAP_SPARSE;
    op.cut = GRANULE_CUT_SPLIT;
    op.leaves = (uint16_t)leaves;
    op.flags = GRANULE_MAP_NO_EXEC;
    op.va = resource_va + bind->resourceOffset;
    op.size = bind->size;
    op.bo = bo;
    op.bo_offset = bo ? bind->memoryOffset : 0;
    return op;
}

#ifdef __cplusplus
}
#endif

#endif
