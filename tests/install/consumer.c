/* An outside program in C: what a driver author would try first. Exit code 0: it all worked. */
#include <granule/granule.h>
#include <stdio.h>
#include <string.h>

#define BLOCK UINT64_C(0x200000)

static int failed(const char* what, const granule_error* error) {
    char text[256];
    granule_error_text(error, text, sizeof text);
    (void)fprintf(stderr, "%s: %s\n", what, text);
    return 1;
}

int main(void) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_soft_info soft = GRANULE_SIZED(granule_soft_info);
    granule_device* device = NULL;
    granule_vm* vm = NULL;
    granule_bo_info bo_info = GRANULE_SIZED(granule_bo_info);
    granule_bo* bo = NULL;
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    granule_bind_report report = GRANULE_SIZED(granule_bind_report);
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);
    void* cpu = NULL;
    char seen[6] = "";

    soft.kernel = GRANULE_KERNEL_REFUSES;
    info.soft = &soft;
    if (granule_device_open(&info, &device, &error) != GRANULE_STATUS_OK) {
        return failed("open", &error);
    }
    bo_info.size = 2 * BLOCK;
    bo_info.label = "two blocks";
    if (granule_bo_create(device, &bo_info, &bo, &error) != GRANULE_STATUS_OK ||
        granule_bo_map(bo, &cpu, &error) != GRANULE_STATUS_OK ||
        granule_vm_create(device, NULL, &vm, &error) != GRANULE_STATUS_OK) {
        return failed("create", &error);
    }
    memcpy(cpu, "hello", 6);
    map.type = GRANULE_BIND_MAP;
    map.va = GRANULE_VA_AUTO;
    map.size = bo_info.size;
    map.bo = bo;
    if (granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, &error) != GRANULE_STATUS_OK) {
        return failed("bind", &error);
    }
    /* 4 KiB out of the second block: on the kernels that this device plays, plainly, an EINVAL. */
    if (granule_vm_unmap(vm, map.va + BLOCK + 0x1000, 0x1000, GRANULE_CUT_SPLIT, &report, &error) !=
        GRANULE_STATUS_OK) {
        return failed("unmap", &error);
    }
    if (granule_soft_read(vm, map.va, seen, sizeof seen, &fault) != GRANULE_STATUS_OK || strcmp(seen, "hello") != 0 ||
        granule_soft_read(vm, map.va + BLOCK + 0x1000, seen, sizeof seen, &fault) != GRANULE_STATUS_OUT_OF_RANGE ||
        report.granules != 1 || report.residual_bytes != BLOCK - 0x1000) {
        (void)fprintf(stderr, "the GPU sees something else\n");
        return 1;
    }
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    if (granule_device_close(device) != 0) {
        (void)fprintf(stderr, "something leaked\n");
        return 1;
    }
    printf("granule %u.%u\n", granule_version() >> 16, granule_version() >> 8 & 0xff);
    return 0;
}
