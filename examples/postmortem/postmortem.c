/*
 * What went wrong? Three bugs that every Mali driver has had, and what the library says about each.
 *
 *   1. use after unmap     a job reads a buffer that the driver has let go of already
 *   2. wrong VA            a descriptor points a little behind a buffer
 *   3. a part of a block   4 KiB of a 2 MiB leaf are unmapped, on a kernel that does not split leaves
 *
 * The GPU is the soft device's: a fault is what its MMU reports. On hardware the driver gets the faulting VA from the
 * kernel, and asks the same questions.
 */
#include <granule/granule.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

static granule_device* device;
static granule_vm* vm;

/* Everything that the examples do not expect. */
static void must(granule_status status, const granule_error* error, const char* what) {
    if (status != GRANULE_STATUS_OK) {
        char text[512];
        granule_error_text(error, text, sizeof text);
        (void)fprintf(stderr, "postmortem: %s: %s\n", what, text);
        exit(1);
    }
}

static void expect(bool so, const char* what) {
    if (!so) {
        (void)fprintf(stderr, "postmortem: %s\n", what);
        exit(1);
    }
}

/* Each line of `text` under its head. */
static void print_under(const char* head, const char* text) {
    printf("  %-12s ", head);
    for (; *text; text++) {
        putchar(*text);
        if (*text == '\n' && text[1]) {
            printf("  %-12s ", "");
        }
    }
    puts("");
}

/* A labelled BO somewhere in the VM. The mapping keeps it alive. */
static uint64_t map_new_bo(const char* label, uint64_t size) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);

    info.size = size;
    info.label = label;
    must(granule_bo_create(device, &info, &map.bo, &error), &error, "create a BO");
    map.type = GRANULE_BIND_MAP;
    map.va = GRANULE_VA_AUTO;
    map.size = size;
    must(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, &error), &error, "map it");
    granule_bo_unref(map.bo);
    return map.va;
}

static void unmap_and_release(uint64_t va, uint64_t size) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bind_op unmap = GRANULE_SIZED(granule_bind_op);

    unmap.type = GRANULE_BIND_UNMAP;
    unmap.flags = GRANULE_UNMAP_RELEASE_VA;
    unmap.va = va;
    unmap.size = size;
    must(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &unmap, 1, NULL, &error), &error, "unmap");
}

/* A job that reads four bytes. Returns whether it faulted, and says what is known about the address if so. */
static bool job_reads(uint64_t va) {
    granule_gpu_fault fault = GRANULE_SIZED(granule_gpu_fault);
    granule_address_report report = GRANULE_SIZED(granule_address_report);
    char text[2048];
    uint32_t word;

    if (granule_soft_read(vm, va, &word, sizeof word, &fault) == GRANULE_STATUS_OK) {
        printf("  the job reads 0x%" PRIx64 ": no fault\n", va);
        return false;
    }
    granule_gpu_fault_text(&fault, text, sizeof text);
    print_under("the GPU:", text);
    expect(granule_vm_describe(vm, fault.va, &report) == GRANULE_STATUS_OK, "describe the fault");
    granule_address_report_text(&report, text, sizeof text);
    print_under("the library:", text);
    return true;
}

static void use_after_unmap(void) {
    const uint64_t vertices = map_new_bo("vertices of the teapot", 64 * KIB);

    puts("1. Use after unmap: the driver frees a vertex buffer while a job that reads it is still to come.");
    unmap_and_release(vertices, 64 * KIB);
    expect(job_reads(vertices + 0x1040), "the job should have faulted");
    puts("");
}

static void wrong_va(void) {
    const uint64_t uniforms = map_new_bo("uniforms", 16 * KIB);

    puts("2. Wrong VA: an index that is too large, in a buffer of 16 KiB.");
    expect(job_reads(uniforms + 16 * KIB + 0x20), "the job should have faulted");
    puts("");
}

static void part_of_a_block(void) {
    const uint64_t atlas = map_new_bo("texture atlas", 4 * MIB);
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bind_op unmap = GRANULE_SIZED(granule_bind_op);
    granule_plan plan = GRANULE_SIZED(granule_plan);
    granule_bind_report report = GRANULE_SIZED(granule_bind_report);
    char text[2048];

    puts(
        "3. A part of a block: 4 KiB of a texture atlas go. The kernel at hand refuses to split its 2 MiB leaves: done "
        "plainly,");
    puts("   this is EINVAL, and the memory stays mapped.");
    expect(granule_vm_unmap(vm, atlas + MIB, 4 * KIB, GRANULE_CUT_REJECT, NULL, &error) == GRANULE_STATUS_GRANULE_CUT,
           "the unmap should have been refused");
    granule_error_text(&error, text, sizeof text);
    print_under("reject:", text);

    unmap.type = GRANULE_BIND_UNMAP;
    unmap.cut = GRANULE_CUT_SPLIT;
    unmap.va = atlas + MIB;
    unmap.size = 4 * KIB;
    must(granule_vm_explain(vm, &unmap, &plan, &error), &error, "explain");
    granule_plan_text(&plan, text, sizeof text);
    print_under("split:", text);
    must(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &unmap, 1, &report, &error), &error, "unmap with split");
    printf("  done:        %" PRIu64 " granule taken whole, %" PRIu64 " KiB mapped again\n", report.granules,
           report.residual_bytes / KIB);
    expect(!job_reads(atlas + MIB - 4), "the byte before is still there");
    expect(job_reads(atlas + MIB), "the page is gone");
}

int main(void) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_soft_info soft = GRANULE_SIZED(granule_soft_info);

    soft.kernel = GRANULE_KERNEL_REFUSES;
    info.soft = &soft;
    must(granule_device_open(&info, &device, &error), &error, "open the soft device");
    must(granule_vm_create(device, NULL, &vm, &error), &error, "create a VM");
    use_after_unmap();
    wrong_va();
    part_of_a_block();
    granule_vm_destroy(vm);
    return granule_device_close(device) == 0 ? 0 : 1;
}
