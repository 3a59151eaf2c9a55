/* vulkan.h: granule's values as Vulkan's. */
#include <granule/vulkan.h>
#include <stdlib.h>

#include "check.h"

static void every_status_is_a_vulkan_result(void) {
    CHECK(granule_status_to_vk(GRANULE_STATUS_OK) == VK_SUCCESS);
    for (int i = GRANULE_STATUS_OK + 1; i <= GRANULE_STATUS_OVER_BUDGET; i++) {
        CHECK(granule_status_to_vk((granule_status)i) != VK_SUCCESS);
    }
    CHECK(granule_status_to_vk(GRANULE_STATUS_OUT_OF_HOST_MEMORY) == VK_ERROR_OUT_OF_HOST_MEMORY);
    CHECK(granule_status_to_vk(GRANULE_STATUS_OVER_BUDGET) == VK_ERROR_OUT_OF_DEVICE_MEMORY);
    CHECK(granule_status_to_vk(GRANULE_STATUS_VM_UNUSABLE) == VK_ERROR_DEVICE_LOST);
    CHECK(granule_status_to_vk(GRANULE_STATUS_VA_OCCUPIED) == VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
}

static uint64_t vk_allocations;
static uint64_t vk_frees;

static VKAPI_ATTR void* VKAPI_CALL vk_allocate(void* data, size_t size, size_t alignment,
                                               VkSystemAllocationScope scope) {
    CHECK(data == &vk_allocations && scope == VK_SYSTEM_ALLOCATION_SCOPE_DEVICE);
    vk_allocations++;
    alignment = alignment < sizeof(void*) ? sizeof(void*) : alignment;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static VKAPI_ATTR void VKAPI_CALL vk_free(void* data, void* memory) {
    CHECK(data == &vk_allocations);
    vk_frees++;
    free(memory);
}

static void an_applications_allocator_serves_a_device(void) {
    const VkAllocationCallbacks callbacks = {
        .pUserData = &vk_allocations, .pfnAllocation = vk_allocate, .pfnFree = vk_free};
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;

    info.allocator = granule_allocator_from_vk(&callbacks);
    CHECK_OK(granule_device_open(&info, &device, NULL));
    CHECK(vk_allocations > 0);
    close_clean(device);
    CHECK_EQUAL(vk_frees, vk_allocations);
    CHECK(granule_allocator_from_vk(NULL).allocate == NULL);
}

struct reported {
    VkDeviceAddressBindingCallbackDataEXT last;
    uint32_t count;
};

static void report(void* data, const granule_binding* binding) {
    struct reported* const reported = data;

    reported->last = granule_binding_to_vk(binding);
    reported->count++;
}

/* A sparse buffer of 4 MiB: black hole, a bind of memory, and unbound again, as vkQueueBindSparse brings them. */
static void sparse_binds_and_their_reports_are_vulkans(void) {
    struct reported reported = {0};
    granule_device* const device = open_soft(GRANULE_KERNEL_REFUSES);
    granule_bo* const memory = new_bo(device, 2 * MIB, "VkDeviceMemory");
    granule_vm_info vm_info = GRANULE_SIZED(granule_vm_info);
    granule_va_info va_info = GRANULE_SIZED(granule_va_info);
    granule_vm* vm = NULL;
    uint64_t va = 0;
    VkSparseMemoryBind bind = {.resourceOffset = 0, .size = 4 * MIB};

    vm_info.on_binding = report;
    vm_info.on_binding_data = &reported;
    CHECK_OK(granule_vm_create(device, &vm_info, &vm, NULL));
    va_info.size = 4 * MIB;
    CHECK_OK(granule_va_reserve(vm, &va_info, &va, NULL));

    granule_bind_op op = granule_bind_op_from_vk(va, &bind, NULL, GRANULE_LEAVES_LARGEST);
    CHECK_EQUAL(op.type, GRANULE_BIND_MAP_SPARSE);
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &op, 1, NULL, NULL));
    CHECK_EQUAL(reported.count, 1);

    bind = (VkSparseMemoryBind){.resourceOffset = 64 * KIB, .size = 64 * KIB, .memoryOffset = 128 * KIB};
    op = granule_bind_op_from_vk(va, &bind, memory, GRANULE_LEAVES_LARGEST);
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &op, 1, NULL, NULL));
    CHECK_EQUAL(reported.count, 3); /* the black hole's part goes, the memory appears */
    CHECK(reported.last.sType == VK_STRUCTURE_TYPE_DEVICE_ADDRESS_BINDING_CALLBACK_DATA_EXT);
    CHECK_EQUAL(reported.last.bindingType, VK_DEVICE_ADDRESS_BINDING_TYPE_BIND_EXT);
    CHECK_EQUAL(reported.last.baseAddress, va + 64 * KIB);
    CHECK_EQUAL(reported.last.size, 64 * KIB);

    uint64_t offset = 0;
    granule_bo* shown = NULL;
    CHECK_OK(granule_vm_lookup(vm, va + 64 * KIB + 5, &shown, &offset));
    CHECK(shown == memory && offset == 128 * KIB + 5);
    granule_bo_unref(shown);

    CHECK_OK(granule_vm_unmap(vm, va, 4 * MIB, GRANULE_CUT_REJECT, NULL, NULL));
    CHECK_EQUAL(reported.last.bindingType, VK_DEVICE_ADDRESS_BINDING_TYPE_UNBIND_EXT);
    granule_bo_unref(memory);
    granule_vm_destroy(vm);
    close_clean(device);
}

void test_vulkan(void) {
    RUN(every_status_is_a_vulkan_result);
    RUN(an_applications_allocator_serves_a_device);
    RUN(sparse_binds_and_their_reports_are_vulkans);
}
