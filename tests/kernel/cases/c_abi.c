/*
 * The C interface on the real drivers: what a driver in C does with it, with the kernel's own page tables beside it.
 *
 *     c_abi           devices, BOs, binds, fences, cache, pool
 *     c_abi --lose    a VM that the kernel drops, and its rebuild: on a kernel that refuses to cut leaves, driven as if it
 *                     did (granule_device_info::kernel)
 *
 * More than 500 lines, because what a driver does is told in one piece.
 *
 * `ioctl` is this program's own, and counts: what makes none can be seen.
 */
#define _GNU_SOURCE /* syscall */
#include <errno.h>
#include <fcntl.h>
#include <granule/granule.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "c_look.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define SECOND UINT64_C(1000000000)
#define NODE "/dev/dri/renderD128"

/* The number of VM_BIND among the driver's own (Linux include/uapi/drm/panthor_drm.h, drm.h). */
#define PANTHOR_VM_BIND (0x40 + 3)

static unsigned long ioctls;
static unsigned long vm_binds;

int ioctl(int fd, unsigned long request, ...) {
    va_list more;

    va_start(more, request);
    void* const argument = va_arg(more, void*);
    va_end(more);
    ioctls++;
    vm_binds += _IOC_NR(request) == PANTHOR_VM_BIND;
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

static unsigned long held;
static unsigned long failed;

static bool expect(bool good, const char* text, const char* why, int line) {
    if (good) {
        held++;
    } else {
        char name[256];
        failed++;
        (void)snprintf(name, sizeof name, "the C interface, line %d: %s", line, text);
        c_report(name, false, why);
    }
    return good;
}

/* A call that should return `status`, with `error` filled where it does not. */
static bool expect_status(granule_status seen, granule_status status, const granule_error* error, const char* text,
                          int line) {
    char why[512];

    if (seen == status || seen == GRANULE_STATUS_OK || granule_error_text(error, why, sizeof why) == 0) {
        (void)snprintf(why, sizeof why, "%s", granule_status_text(seen));
    }
    return expect(seen == status, text, why, line);
}

static granule_error error = {.struct_size = sizeof error};

#define EXPECT(condition) expect((condition), #condition, "", __LINE__)
#define EXPECT_LOOK(call) expect_look((call), #call, __LINE__)
#define EXPECT_OK(call) expect_status((call), GRANULE_STATUS_OK, &error, #call, __LINE__)
#define EXPECT_STATUS(call, status) expect_status((call), (status), &error, #call, __LINE__)

static bool expect_look(const char* why, const char* text, int line) {
    return expect(why == NULL, text, why, line);
}

struct gpu {
    granule_device* device;
    granule_device_properties properties;
};

static bool is_panfrost(const struct gpu* gpu) {
    return gpu->properties.kind == GRANULE_DEVICE_PANFROST;
}

static granule_device* open_node(granule_kernel_behaviour kernel) {
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;

    info.path = NODE;
    info.kernel = kernel;
    EXPECT_OK(granule_device_open(&info, &device, &error));
    return device;
}

static granule_bo* new_bo(granule_device* device, uint64_t size, uint32_t flags, const char* label) {
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* bo = NULL;

    info.size = size;
    info.flags = flags;
    info.label = label;
    EXPECT_OK(granule_bo_create(device, &info, &bo, &error));
    return bo;
}

static void* cpu_of(granule_bo* bo) {
    void* cpu = NULL;

    EXPECT_OK(granule_bo_map(bo, &cpu, &error));
    return cpu;
}

static granule_bind_op map_op(granule_bo* bo, uint64_t va, uint64_t size, uint64_t bo_offset) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);

    op.type = GRANULE_BIND_MAP;
    op.va = va;
    op.size = size;
    op.bo = bo;
    op.bo_offset = bo_offset;
    op.cut = GRANULE_CUT_SPLIT;
    return op;
}

static granule_bind_op unmap_op(uint64_t va, uint64_t size, uint32_t flags) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);

    op.type = GRANULE_BIND_UNMAP;
    op.va = va;
    op.size = size;
    op.flags = flags;
    op.cut = GRANULE_CUT_SPLIT;
    return op;
}

static granule_status bind_one(granule_vm* vm, granule_bind_op* op) {
    return granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, op, 1, NULL, &error);
}

/* A page that appears and goes, at an address of its own. panfrost's kernel maps a BO when it is made. */
struct touched {
    granule_device* device;
    granule_vm* vm;
};

static void touch(void* data) {
    const struct touched* const touched = data;
    granule_bo* const page = new_bo(touched->device, 4 * KIB, 0, "touch");
    granule_bind_op map = map_op(page, GRANULE_VA_AUTO, 4 * KIB, 0);

    EXPECT_OK(bind_one(touched->vm, &map));
    granule_bind_op unmap = unmap_op(map.va, 4 * KIB, GRANULE_UNMAP_RELEASE_VA);
    EXPECT_OK(bind_one(touched->vm, &unmap));
    granule_bo_unref(page);
}

static bool look_at(const struct gpu* gpu, granule_vm* vm) {
    struct touched touched = {gpu->device, vm};

    return EXPECT_LOOK(c_look_at(is_panfrost(gpu), gpu->properties.va_bits, touch, &touched));
}

static uint64_t mapped_bytes(granule_vm* vm) {
    granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);

    EXPECT_OK(granule_vm_get_statistics(vm, &statistics));
    return statistics.mapped_bytes;
}

static void count_node(void* data, const granule_device_entry* entry) {
    if (strcmp(entry->path, NODE) == 0 && entry->status == GRANULE_STATUS_OK) {
        (*(int*)data)++;
    }
}

static void devices(const struct gpu* gpu) {
    const char* const driver = getenv("GRANULE_DRIVER");
    const char* const release = getenv("GRANULE_KERNEL");
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device_properties again = GRANULE_SIZED(granule_device_properties);
    granule_device* by_fd = NULL;
    int nodes = 0;
    const int fd = open(NODE, O_RDWR | O_CLOEXEC);

    EXPECT(driver != NULL && strcmp(driver, is_panfrost(gpu) ? "panfrost" : "panthor") == 0);
    EXPECT(release != NULL && strncmp(release, gpu->properties.kernel_release, 4) == 0);
    EXPECT(gpu->properties.kernel != GRANULE_KERNEL_FIND_OUT && gpu->properties.driver_major == 1);
    EXPECT(strcmp(gpu->properties.gpu_name, is_panfrost(gpu) ? "T860" : "G610") == 0);
    EXPECT(granule_device_fd(gpu->device) >= 0);
    EXPECT(ioctls > 0);

    info.fd = fd;
    info.use_fd = 1;
    EXPECT_OK(granule_device_open(&info, &by_fd, &error));
    EXPECT(granule_device_fd(by_fd) != fd);
    EXPECT_OK(granule_device_get_properties(by_fd, &again));
    EXPECT(memcmp(&again, &gpu->properties, sizeof again) == 0);
    EXPECT(granule_device_close(by_fd) == 0);
    EXPECT(fcntl(fd, F_GETFD) != -1);
    close(fd);

    EXPECT_OK(granule_list_devices(count_node, &nodes, &error));
    EXPECT(nodes == 1);
    info.use_fd = 0;
    info.path = "/dev/null";
    EXPECT(granule_device_open(&info, &by_fd, &error) != GRANULE_STATUS_OK && by_fd == NULL);
}

static void bos(const struct gpu* gpu) {
    granule_device* const other = open_node(GRANULE_KERNEL_FIND_OUT);
    granule_bo* const bo = new_bo(gpu->device, 3 * MIB, GRANULE_BO_SHAREABLE, "shared");
    granule_bo* const own = new_bo(gpu->device, 5000, 0, NULL);
    granule_bo* same = NULL;
    granule_bo* there = NULL;
    char label[16];
    int fd = -1;
    int retained = -1;

    EXPECT(granule_bo_gem_handle(bo) != 0 && granule_bo_gem_handle(bo) != granule_bo_gem_handle(own));
    EXPECT(granule_bo_size(own) == 8 * KIB);
    EXPECT(granule_bo_get_label(bo, label, sizeof label) == 6 && strcmp(label, "shared") == 0);
    EXPECT_OK(granule_bo_set_label(bo, "shared by two"));
    EXPECT_STATUS(granule_bo_export(own, &fd, &error), GRANULE_STATUS_BAD_ARGUMENT);

    unsigned char* const cpu = cpu_of(bo);
    const unsigned long before = ioctls;
    EXPECT(cpu_of(bo) == cpu && ioctls == before);
    EXPECT(cpu[0] == 0 && cpu[3 * MIB - 1] == 0);
    cpu[2 * MIB + 17] = 42;

    EXPECT_OK(granule_bo_export(bo, &fd, &error));
    EXPECT_OK(granule_bo_import(gpu->device, fd, &same, &error));
    EXPECT(same == bo && !granule_bo_is_imported(same));
    granule_bo_unref(same);
    EXPECT_OK(granule_bo_import(other, fd, &there, &error));
    EXPECT_OK(granule_bo_import(other, fd, &same, &error));
    EXPECT(same == there && granule_bo_size(there) == 3 * MIB);
    EXPECT(((unsigned char*)cpu_of(there))[2 * MIB + 17] == 42);
    granule_bo_unref(same);
    granule_bo_unref(there);
    close(fd);

    if (gpu->properties.bo_wait) {
        EXPECT_OK(granule_bo_wait(own, 0, &error));
    } else {
        EXPECT_STATUS(granule_bo_wait(own, 0, &error), GRANULE_STATUS_NOT_SUPPORTED);
    }
    if (gpu->properties.evictable_bos) {
        EXPECT_OK(granule_bo_set_evictable(own, 1, &retained, &error));
        EXPECT(retained == 1);
        EXPECT_OK(granule_bo_set_evictable(own, 0, &retained, &error));
    } else {
        EXPECT_STATUS(granule_bo_set_evictable(own, 1, &retained, &error), GRANULE_STATUS_NOT_SUPPORTED);
    }
    granule_bo_unref(own);
    granule_bo_unref(bo);
    EXPECT(granule_device_close(other) == 0);
}

static void partial_unmaps_and_maps_over(const struct gpu* gpu) {
    granule_bo* const texture = new_bo(gpu->device, 4 * MIB, 0, "texture");
    granule_bo* const tile = new_bo(gpu->device, 64 * KIB, 0, "tile");
    const char* const huge_pages = getenv("GRANULE_HUGE_PAGES");
    const bool huge = huge_pages != NULL && strcmp(huge_pages, "1") == 0;
    granule_bind_report report = GRANULE_SIZED(granule_bind_report);
    granule_address_report address = GRANULE_SIZED(granule_address_report);
    granule_bo* shown = NULL;
    granule_vm* vm = NULL;
    uint64_t offset = 0;

    unsigned char* const texels = cpu_of(texture);
    const void* const tile_texels = cpu_of(tile);
    memset(texels, 1, 4 * MIB);
    EXPECT_OK(granule_vm_create(gpu->device, NULL, &vm, &error));
    if (!look_at(gpu, vm)) {
        return;
    }
    granule_bind_op map = map_op(texture, GRANULE_VA_AUTO, 4 * MIB, 0);
    EXPECT_OK(bind_one(vm, &map));
    const uint64_t va = map.va;
    EXPECT(va % (2 * MIB) == 0);
    EXPECT_LOOK(c_look_shows(va, 4 * MIB, texels));
    /* Without huge pages the texture's pages may still happen to adjoin: watched_vm.hpp, blocks_of(). */
    EXPECT(!huge || c_look_blocks(va, 4 * MIB) == 2);

    /* What this is all about. */
    EXPECT_OK(granule_vm_unmap(vm, va + MIB, 64 * KIB, GRANULE_CUT_SPLIT, &report, &error));
    EXPECT(report.unmapped_bytes == 64 * KIB && report.operations >= 1);
    EXPECT_OK(granule_vm_check(vm, &error));
    EXPECT_LOOK(c_look_shows(va, MIB, texels));
    EXPECT_LOOK(c_look_mapped(va + MIB, 64 * KIB, false));
    EXPECT_LOOK(c_look_shows(va + MIB + 64 * KIB, 3 * MIB - 64 * KIB, texels + MIB + 64 * KIB));
    EXPECT(mapped_bytes(vm) == 4 * MIB - 64 * KIB);
    EXPECT_OK(granule_vm_describe(vm, va + MIB, &address));
    EXPECT(address.condition == GRANULE_ADDRESS_UNMAPPED && strcmp(address.removed_label, "texture") == 0);

    /* The other block: a map over its middle, then nothing behind what is there. */
    granule_bind_op over = map_op(tile, va + 3 * MIB, 64 * KIB, 0);
    EXPECT_OK(bind_one(vm, &over));
    EXPECT_OK(granule_vm_check(vm, &error));
    EXPECT_LOOK(c_look_shows(va + 2 * MIB, MIB, texels + 2 * MIB));
    EXPECT_LOOK(c_look_shows(va + 3 * MIB, 64 * KIB, tile_texels));
    EXPECT_LOOK(c_look_shows(va + 3 * MIB + 64 * KIB, MIB - 64 * KIB, texels + 3 * MIB + 64 * KIB));
    EXPECT_OK(granule_vm_lookup(vm, va + 3 * MIB + 7, &shown, &offset));
    EXPECT(shown == tile && offset == 7);
    granule_bo_unref(shown);
    granule_bind_op sparse = map_op(NULL, va, 2 * MIB, 0);
    sparse.type = GRANULE_BIND_MAP_SPARSE;
    EXPECT_OK(bind_one(vm, &sparse));
    EXPECT_OK(granule_vm_check(vm, &error));
    EXPECT_LOOK(c_look_mapped(va, 4 * MIB, true));
    EXPECT(c_look_shows(va, 4 * KIB, texels) != NULL);

    /* Of a failing array, nothing happens. */
    granule_bind_op array[2] = {map_op(tile, GRANULE_VA_AUTO, 64 * KIB, 0), map_op(tile, va, 64 * KIB, 4 * KIB)};
    EXPECT_STATUS(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, array, 2, NULL, &error), GRANULE_STATUS_OUT_OF_RANGE);
    EXPECT(error.op == 1 && array[0].va == GRANULE_VA_AUTO);
    granule_bind_op all = unmap_op(va, 4 * MIB, GRANULE_UNMAP_RELEASE_VA);
    EXPECT_OK(bind_one(vm, &all));
    EXPECT_LOOK(c_look_mapped(va, 4 * MIB, false));
    EXPECT(mapped_bytes(vm) == 0);
    granule_bo_unref(tile);
    granule_bo_unref(texture);
    granule_vm_destroy(vm);
}

static void queues(const struct gpu* gpu) {
    granule_vm_info info = GRANULE_SIZED(granule_vm_info);
    granule_bo* const bo = new_bo(gpu->device, 4 * MIB, 0, "queued");
    granule_timeline* timeline = NULL;
    granule_vm* vm = NULL;
    const void* const cpu = cpu_of(bo);

    info.flags = GRANULE_VM_TRACK_ACTIVITY;
    EXPECT_OK(granule_vm_create(gpu->device, &info, &vm, &error));
    EXPECT_OK(granule_timeline_create(gpu->device, &timeline, &error));
    EXPECT(granule_timeline_syncobj(timeline) != 0);
    if (!look_at(gpu, vm)) {
        return;
    }
    const granule_sync points[3] = {{timeline, 1}, {timeline, 2}, {timeline, 3}};
    granule_bind_op ops[3] = {map_op(bo, GRANULE_VA_AUTO, 4 * MIB, 0), map_op(bo, GRANULE_VA_AUTO, 64 * KIB, 0),
                              GRANULE_SIZED(granule_bind_op)};
    EXPECT_OK(granule_timeline_signal(timeline, 1, &error));
    ops[0].waits = &points[0];
    ops[0].wait_count = 1;
    ops[0].signals = &points[1];
    ops[0].signal_count = 1;
    ops[1].waits = &points[1];
    ops[1].wait_count = 1;
    ops[2].type = GRANULE_BIND_SYNC_ONLY;
    ops[2].signals = &points[2];
    ops[2].signal_count = 1;
    const unsigned long before = vm_binds;
    EXPECT_OK(granule_vm_bind(vm, GRANULE_BIND_ASYNC, ops, 3, NULL, &error));
    EXPECT(vm_binds == before + 1);
    EXPECT_OK(granule_timeline_wait(timeline, 3, 10 * SECOND));
    EXPECT(granule_timeline_value(timeline) == 3);
    EXPECT_OK(granule_vm_check(vm, &error));
    EXPECT_LOOK(c_look_shows(ops[0].va, 4 * MIB, cpu));
    EXPECT_LOOK(c_look_shows(ops[1].va, 64 * KIB, cpu));

    /* A point that nobody has submitted: a kernel does not take that. */
    const granule_sync never = {timeline, 100};
    granule_bind_op cut = unmap_op(ops[0].va + 4 * KIB, 4 * KIB, 0);
    cut.waits = &never;
    cut.wait_count = 1;
    EXPECT_STATUS(granule_vm_bind(vm, GRANULE_BIND_ASYNC, &cut, 1, NULL, &error), GRANULE_STATUS_BACKEND_FAILED);
    EXPECT(!error.vm_lost && !error.partly_done);
    EXPECT_LOOK(c_look_shows(ops[0].va, 4 * MIB, cpu));
    cut.wait_count = 0;
    cut.waits = NULL;

    /* Behind the job that the driver added. */
    const granule_sync busy = granule_vm_activity_begin(vm);
    EXPECT_OK(granule_timeline_signal(busy.timeline, busy.point + 1, &error));
    granule_vm_activity_end(vm, busy.point + 1);
    EXPECT_OK(granule_vm_bind(vm, GRANULE_BIND_DEFERRED, &cut, 1, NULL, &error));
    EXPECT_OK(granule_timeline_wait(busy.timeline, busy.point + 2, 10 * SECOND));
    EXPECT_OK(granule_vm_drain(vm, GRANULE_WAIT_FOREVER, &error));
    EXPECT_OK(granule_vm_check(vm, &error));
    EXPECT_LOOK(c_look_mapped(ops[0].va + 4 * KIB, 4 * KIB, false));
    EXPECT_LOOK(c_look_shows(ops[0].va + 8 * KIB, 4 * MIB - 8 * KIB, (const char*)cpu + 8 * KIB));
    EXPECT(mapped_bytes(vm) == 4 * MIB + 60 * KIB);
    granule_timeline_unref(timeline);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
}

static void as_many_vms_as_the_driver_has(const struct gpu* gpu) {
    granule_vm* vms[40] = {NULL};
    granule_status status = GRANULE_STATUS_OK;
    int count = 0;

    while (count < 40 && (status = granule_vm_create(gpu->device, NULL, &vms[count], &error)) == GRANULE_STATUS_OK) {
        count++;
    }
    if (is_panfrost(gpu)) {
        EXPECT(count == 1 && status == GRANULE_STATUS_NOT_SUPPORTED);
    } else {
        EXPECT(count == 32 && status == GRANULE_STATUS_OS_FAILED && error.os_error == EBUSY);
    }
    while (count > 0) {
        granule_vm_destroy(vms[--count]);
    }
}

static void what_is_used_again_costs_no_call(const struct gpu* gpu) {
    granule_bo_cache* cache = NULL;
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    granule_cached_bo first;
    granule_cached_bo again;
    granule_pool_info pool_info = GRANULE_SIZED(granule_pool_info);
    granule_pool* pool = NULL;
    granule_buffer buffers[64];
    granule_vm* vm = NULL;

    EXPECT_OK(granule_vm_create(gpu->device, NULL, &vm, &error));
    EXPECT_OK(granule_bo_cache_create(gpu->device, vm, NULL, &cache, &error));
    if (!look_at(gpu, vm)) {
        return;
    }
    info.size = 64 * KIB;
    EXPECT_OK(granule_bo_cache_get(cache, &info, &first, &error));
    EXPECT_LOOK(c_look_shows(first.va, first.size, first.cpu));
    unsigned long before = ioctls;
    EXPECT_OK(granule_bo_cache_put(cache, first.bo, NULL, 0));
    EXPECT_OK(granule_bo_cache_get(cache, &info, &again, &error));
    EXPECT(again.reused && again.bo == first.bo && again.va == first.va && again.cpu == first.cpu);
    /* panfrost is asked whether a job still uses it. */
    EXPECT(ioctls - before == (is_panfrost(gpu) ? 1 : 0));
    EXPECT_LOOK(c_look_shows(again.va, again.size, again.cpu));
    EXPECT_OK(granule_bo_cache_put(cache, again.bo, NULL, 0));

    pool_info.cache = cache;
    pool_info.slab_size = 64 * KIB;
    const granule_status made = granule_pool_create(vm, &pool_info, &pool, &error);
    if (EXPECT(made == GRANULE_STATUS_OK)) {
        EXPECT_OK(granule_pool_alloc(pool, 100, 0, &buffers[0], &error));
        before = ioctls;
        for (int i = 1; i < 64; i++) {
            EXPECT_OK(granule_pool_alloc(pool, 100, 0, &buffers[i], &error));
            EXPECT(buffers[i].bo == buffers[0].bo && buffers[i].va % 64 == 0);
        }
        EXPECT(ioctls == before);
        EXPECT_LOOK(
            c_look_shows(buffers[0].va - buffers[0].bo_offset, 64 * KIB, (char*)buffers[0].cpu - buffers[0].bo_offset));
        for (int i = 0; i < 64; i++) {
            EXPECT_OK(granule_pool_free(pool, &buffers[i], NULL, 0));
        }
        EXPECT(ioctls == before);
    }
    granule_pool_destroy(pool);
    granule_bo_cache_destroy(cache);
    EXPECT(mapped_bytes(vm) == 0);
    granule_vm_destroy(vm);
}

static void whole_bos_where_the_kernel_has_put_them(const struct gpu* gpu) {
    granule_bo* const bos[2] = {new_bo(gpu->device, 4 * MIB, 0, "large"), new_bo(gpu->device, 64 * KIB, 0, "small")};
    granule_vm* vm = NULL;

    EXPECT_OK(granule_vm_create(gpu->device, NULL, &vm, &error));
    if (!look_at(gpu, vm)) {
        return;
    }
    granule_bind_op ops[2] = {map_op(bos[0], GRANULE_VA_AUTO, 4 * MIB, 0),
                              map_op(bos[1], GRANULE_VA_AUTO, 64 * KIB, 0)};
    EXPECT_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, ops, 2, NULL, &error));
    for (int i = 0; i < 2; i++) {
        EXPECT_LOOK(c_look_shows(ops[i].va, ops[i].size, cpu_of(bos[i])));
    }
    EXPECT(granule_vm_unmap(vm, ops[0].va, 4 * KIB, GRANULE_CUT_SPLIT, NULL, &error) == GRANULE_STATUS_NOT_SUPPORTED);
    EXPECT_STATUS(granule_vm_bind(vm, GRANULE_BIND_ASYNC, ops, 1, NULL, &error), GRANULE_STATUS_NOT_SUPPORTED);
    granule_bo_unref(bos[0]);
    granule_bo_unref(bos[1]);
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(granule_vm_unmap(vm, ops[i].va, ops[i].size, GRANULE_CUT_REJECT, NULL, &error));
        EXPECT_LOOK(c_look_mapped(ops[i].va, ops[i].size, false));
    }
    granule_vm_destroy(vm);
}

/* The kernel refuses to cut a leaf, which we have it do in its queue: it drops the VM, and the fence signals all the same. */
static void a_vm_is_lost_and_comes_back(const struct gpu* gpu) {
    granule_bo* const bo = new_bo(gpu->device, 4 * MIB, 0, "survivor");
    granule_timeline* timeline = NULL;
    granule_vm_state state = GRANULE_SIZED(granule_vm_state);
    granule_rebuild_report report = GRANULE_SIZED(granule_rebuild_report);
    granule_vm* vm = NULL;
    char* const cpu = cpu_of(bo);

    memset(cpu, 1, 4 * MIB);
    EXPECT_OK(granule_vm_create(gpu->device, NULL, &vm, &error));
    EXPECT_OK(granule_timeline_create(gpu->device, &timeline, &error));
    granule_bind_op map = map_op(bo, GRANULE_VA_AUTO, 4 * MIB, 0);
    EXPECT_OK(bind_one(vm, &map));
    EXPECT_OK(granule_vm_get_state(vm, &state));
    const uint32_t lost = state.kernel_id;
    const granule_sync done = {timeline, 1};
    granule_bind_op cut = unmap_op(map.va, 64 * KIB, 0);
    cut.signals = &done;
    cut.signal_count = 1;
    c_expect_warnings();
    EXPECT_OK(granule_vm_bind(vm, GRANULE_BIND_ASYNC, &cut, 1, NULL, &error));
    EXPECT_OK(granule_timeline_wait(timeline, 1, 10 * SECOND));
    EXPECT_OK(granule_vm_drain(vm, 10 * SECOND, &error));
    EXPECT_STATUS(granule_vm_check(vm, &error), GRANULE_STATUS_VM_UNUSABLE);
    EXPECT_OK(granule_vm_get_state(vm, &state));
    EXPECT(!state.usable && state.lost_because == GRANULE_STATUS_VM_UNUSABLE);
    granule_bind_op another = map_op(bo, GRANULE_VA_AUTO, 64 * KIB, 0);
    EXPECT_STATUS(bind_one(vm, &another), GRANULE_STATUS_VM_UNUSABLE);

    EXPECT_OK(granule_vm_rebuild(vm, &report, &error));
    EXPECT(report.kernel_id != lost && report.mappings == 1 && report.bytes == 4 * MIB - 64 * KIB);
    EXPECT_OK(granule_vm_check(vm, &error));
    if (look_at(gpu, vm)) {
        EXPECT_LOOK(c_look_mapped(map.va, 64 * KIB, false));
        EXPECT_LOOK(c_look_shows(map.va + 64 * KIB, 4 * MIB - 64 * KIB, cpu + 64 * KIB));
    }
    EXPECT_OK(bind_one(vm, &another));
    granule_timeline_unref(timeline);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
}

int main(int argc, char** argv) {
    const bool lose = argc > 1 && strcmp(argv[1], "--lose") == 0;
    struct gpu gpu = {open_node(lose ? GRANULE_KERNEL_SPLITS : GRANULE_KERNEL_FIND_OUT),
                      GRANULE_SIZED(granule_device_properties)};
    char what[64];

    if (gpu.device != NULL) {
        EXPECT_OK(granule_device_get_properties(gpu.device, &gpu.properties));
        if (lose) {
            a_vm_is_lost_and_comes_back(&gpu);
        } else {
            devices(&gpu);
            bos(&gpu);
            what_is_used_again_costs_no_call(&gpu);
            as_many_vms_as_the_driver_has(&gpu);
            if (is_panfrost(&gpu)) {
                whole_bos_where_the_kernel_has_put_them(&gpu);
            } else {
                partial_unmaps_and_maps_over(&gpu);
                queues(&gpu);
            }
        }
        EXPECT(granule_device_close(gpu.device) == 0);
    }
    (void)snprintf(what, sizeof what, "%lu expectations, %lu failed", held + failed, failed);
    c_report(lose ? "the C interface, a lost VM" : "the C interface", failed == 0 && held != 0, what);
    return failed == 0 && held != 0 ? 0 : 1;
}
