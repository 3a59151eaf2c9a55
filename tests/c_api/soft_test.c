/* soft.h: the soft device's GPU, and failures on request. */
#include <errno.h>
#include <string.h>

#include "check.h"

/* `size` bytes of a new BO somewhere in the VM. */
static uint64_t map_new(granule_device* device, granule_vm* vm, uint64_t size, uint32_t flags) {
    granule_bo* const bo = new_bo(device, size, "mapped");
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);

    map.va = GRANULE_VA_AUTO;
    map.size = size;
    map.bo = bo;
    map.flags = flags;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    granule_bo_unref(bo);
    return map.va;
}

static void the_gpu_sees_what_is_mapped_and_faults_on_what_is_not(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);
    granule_vm* vm = NULL;
    char text[256];
    char seen[16] = "";

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    const uint64_t va = map_new(device, vm, 8 * KIB, 0);
    CHECK_OK(granule_soft_write(vm, va + 4 * KIB - 6, "over a page", 12, &fault));
    CHECK_OK(granule_soft_read(vm, va + 4 * KIB - 6, seen, 12, NULL));
    CHECK(strcmp(seen, "over a page") == 0);
    CHECK_EQUAL(fault.kind, GRANULE_FAULT_NONE);

    /* What is in front of the fault is transferred. */
    memset(seen, 0, sizeof seen);
    CHECK_OK(granule_soft_write(vm, va + 8 * KIB - 4, "end", 4, NULL));
    CHECK_STATUS(granule_soft_read(vm, va + 8 * KIB - 4, seen, 8, &fault), GRANULE_STATUS_OUT_OF_RANGE);
    CHECK(strcmp(seen, "end") == 0);
    CHECK_EQUAL(fault.kind, GRANULE_FAULT_TRANSLATION);
    CHECK_EQUAL(fault.va, va + 8 * KIB);
    CHECK_EQUAL(fault.write, 0);
    CHECK(fault.status != 0);
    CHECK(granule_gpu_fault_text(&fault, text, sizeof text) > 10 && strstr(text, "read") != NULL);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void what_is_read_only_is_not_written(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);
    granule_vm* vm = NULL;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    const uint64_t va = map_new(device, vm, 4 * KIB, GRANULE_MAP_READ_ONLY);
    CHECK_STATUS(granule_soft_write(vm, va + 8, "x", 1, &fault), GRANULE_STATUS_OUT_OF_RANGE);
    CHECK_EQUAL(fault.kind, GRANULE_FAULT_PERMISSION);
    CHECK_EQUAL(fault.write, 1);
    CHECK_EQUAL(fault.va, va + 8);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void bad_accesses_are_refused(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);
    granule_vm* vm = NULL;
    char byte = 0;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    CHECK_STATUS(granule_soft_read(NULL, 0, &byte, 1, &fault), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_read(vm, 0, NULL, 1, &fault), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_write(vm, 0, NULL, 1, &fault), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_write(NULL, 0, &byte, 1, &fault), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_read(vm, UINT64_C(1) << 50, &byte, 1, &fault), GRANULE_STATUS_OUT_OF_RANGE);
    CHECK_EQUAL(fault.kind, GRANULE_FAULT_ADDRESS);
    CHECK(granule_soft_read(vm, UINT64_MAX, &byte, 1, &fault) != GRANULE_STATUS_OK);
    CHECK(granule_soft_read(vm, (UINT64_C(1) << 48) - 1, &byte, 2, &fault) != GRANULE_STATUS_OK);
    fault.struct_size = 1;
    CHECK_STATUS(granule_soft_read(vm, 0, &byte, 1, &fault), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_gpu_fault_text(NULL, NULL, 0), 0);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void a_failure_on_request_happens_once_and_changes_nothing(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_REFUSES);
    granule_error error = GRANULE_SIZED(granule_error);
    granule_vm_statistics before = GRANULE_SIZED(granule_vm_statistics);
    granule_vm_statistics after = GRANULE_SIZED(granule_vm_statistics);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* bo = NULL;
    granule_vm* vm = NULL;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    const uint64_t va = map_new(device, vm, 4 * MIB, 0);
    CHECK_OK(granule_vm_get_statistics(vm, &before));

    /* The second of the three operations that this unmap becomes. */
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_OPERATION, 1, EIO));
    CHECK_STATUS(granule_vm_unmap(vm, va + MIB, 4 * KIB, GRANULE_CUT_SPLIT, NULL, &error),
                 GRANULE_STATUS_BACKEND_FAILED);
    CHECK_EQUAL(error.os_error, EIO);
    CHECK(!error.vm_lost && !error.partly_done);
    CHECK_OK(granule_vm_get_statistics(vm, &after));
    CHECK_EQUAL(after.mappings, before.mappings);
    CHECK_EQUAL(after.mapped_bytes, before.mapped_bytes);
    CHECK_OK(granule_soft_write(vm, va + MIB, "x", 1, NULL));
    CHECK_OK(granule_vm_unmap(vm, va + MIB, 4 * KIB, GRANULE_CUT_SPLIT, NULL, &error));

    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 0, ENOMEM));
    info.size = 4 * KIB;
    CHECK_STATUS(granule_bo_create(device, &info, &bo, NULL), GRANULE_STATUS_OUT_OF_DEVICE_MEMORY);
    CHECK(bo == NULL);

    info.flags = GRANULE_BO_SHAREABLE;
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_SHARED_FILE, 0, EMFILE));
    CHECK_STATUS(granule_bo_create(device, &info, &bo, &error), GRANULE_STATUS_OS_FAILED);
    CHECK(bo == NULL && error.os_error == EMFILE);
    info.flags = 0;
    granule_bind_op sparse = GRANULE_SIZED(granule_bind_op);
    sparse.type = GRANULE_BIND_MAP_SPARSE;
    sparse.va = GRANULE_VA_AUTO;
    sparse.size = 4 * KIB;
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_TABLE_MEMORY, 0, ENOMEM));
    CHECK_STATUS(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &sparse, 1, NULL, NULL),
                 GRANULE_STATUS_OUT_OF_TABLE_MEMORY);
    CHECK_EQUAL(sparse.va, GRANULE_VA_AUTO);

    /* Asked for, and forgotten. */
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 0, ENOMEM));
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_DEVICE_MEMORY, 0, 0));
    CHECK_OK(granule_bo_create(device, &info, &bo, NULL));
    granule_bo_unref(bo);

    CHECK_STATUS(granule_soft_fail(device, (granule_soft_site)9, 0, EIO), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_fail(NULL, GRANULE_SOFT_OPERATION, 0, EIO), GRANULE_STATUS_BAD_ARGUMENT);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void the_gpu_counts_and_no_leaf_was_ever_cut(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_REFUSES);
    granule_soft_statistics statistics = GRANULE_SIZED(granule_soft_statistics);
    granule_vm* vm = NULL;
    char byte = 0;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    const uint64_t va = map_new(device, vm, 4 * MIB, 0);
    CHECK_OK(granule_soft_read(vm, va, &byte, 1, NULL));
    CHECK_OK(granule_vm_unmap(vm, va + 4 * KIB, 4 * KIB, GRANULE_CUT_SPLIT, NULL, NULL));
    CHECK_STATUS(granule_soft_read(vm, va + 4 * KIB, &byte, 1, NULL), GRANULE_STATUS_OUT_OF_RANGE);
    CHECK_OK(granule_soft_get_statistics(device, &statistics));
    CHECK(statistics.accesses >= 2 && statistics.register_writes > 0);
    CHECK_EQUAL(statistics.faults, 1);
    CHECK_EQUAL(statistics.stale, 0);
    CHECK_EQUAL(statistics.leaf_cuts, 0);
    CHECK_STATUS(granule_soft_get_statistics(NULL, &statistics), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_soft_get_statistics(device, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_vm_destroy(vm);
    close_clean(device);
}

void test_soft(void) {
    RUN(the_gpu_sees_what_is_mapped_and_faults_on_what_is_not);
    RUN(what_is_read_only_is_not_written);
    RUN(bad_accesses_are_refused);
    RUN(a_failure_on_request_happens_once_and_changes_nothing);
    RUN(the_gpu_counts_and_no_leaf_was_ever_cut);
}
