/* Any function, from any thread: what threads did to the same VMs, BOs and queues adds up in the end. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define THREADS 4
#define ROUNDS 100
#define KEPT 4
#define VMS 2

/* A mapping with a hole of a page, for the end. */
struct kept {
    granule_vm* vm;
    uint64_t va, size, hole;
    uint32_t bo_id;
};

struct worker {
    pthread_t thread;
    granule_device* device;
    granule_vm* const* vms;
    granule_bo* shared;
    uint64_t random;
    unsigned number;
    struct kept kept[KEPT];
};

static uint64_t next(struct worker* worker) {
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random;
}

static granule_bind_op op_of(granule_bind_type type, granule_bo* bo, uint64_t va, uint64_t size) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);

    op.type = type;
    op.bo = bo;
    op.va = va;
    op.size = size;
    op.cut = GRANULE_CUT_SPLIT;
    return op;
}

static void release(granule_vm* vm, uint64_t va, uint64_t size) {
    granule_bind_op op = op_of(GRANULE_BIND_UNMAP, NULL, va, size);

    op.flags = GRANULE_UNMAP_RELEASE_VA;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &op, 1, NULL, NULL));
}

/* The BO that `vm` shows at `va`; 0: none. */
static uint32_t shown(const granule_vm* vm, uint64_t va) {
    granule_bo* bo = NULL;

    CHECK_OK(granule_vm_lookup(vm, va, &bo, NULL));
    const uint32_t id = granule_bo_id(bo);
    granule_bo_unref(bo);
    return id;
}

/* A BO that is made, written, mapped, and unmapped in part. */
static struct kept map_with_hole(struct worker* worker, granule_vm* vm) {
    static const uint64_t sizes[] = {8 * KIB, 64 * KIB, 2 * MIB};
    struct kept kept = {.vm = vm, .size = sizes[next(worker) % 3]};
    granule_bo* const bo = new_bo(worker->device, kept.size, "a thread's");
    granule_bind_op map = op_of(GRANULE_BIND_MAP, bo, GRANULE_VA_AUTO, kept.size);
    void* cpu = NULL;
    unsigned char seen = 0;

    CHECK_OK(granule_bo_map(bo, &cpu, NULL));
    memset(cpu, (int)worker->number + 1, (size_t)kept.size);
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    kept.va = map.va;
    kept.bo_id = granule_bo_id(bo);
    granule_bo_unref(bo);
    kept.hole = kept.va + next(worker) % (kept.size / (4 * KIB)) * 4 * KIB;
    CHECK_OK(granule_vm_unmap(vm, kept.hole, 4 * KIB, GRANULE_CUT_SPLIT, NULL, NULL));
    CHECK_EQUAL(shown(vm, kept.hole), 0);
    const uint64_t beside = kept.hole == kept.va ? kept.va + kept.size - 1 : kept.va;
    CHECK_EQUAL(shown(vm, beside), kept.bo_id);
    CHECK_OK(granule_soft_read(vm, beside, &seen, 1, NULL));
    CHECK_EQUAL(seen, worker->number + 1);
    return kept;
}

static void* map_and_unmap(void* data) {
    struct worker* const worker = data;

    for (unsigned round = 0; round < ROUNDS; round++) {
        granule_vm* const vm = worker->vms[next(worker) % VMS];
        const struct kept kept = map_with_hole(worker, vm);
        struct kept* const place = &worker->kept[next(worker) % KEPT];
        if (place->vm != NULL) {
            release(place->vm, place->va, place->size);
        }
        *place = kept;
    }
    return NULL;
}

struct sum {
    uint64_t bytes, count;
};

static int add(void* data, const granule_mapping* mapping) {
    struct sum* const sum = data;

    sum->bytes += mapping->va.end - mapping->va.start;
    sum->count++;
    return 0;
}

struct onlooker {
    pthread_t thread;
    granule_vm* vm;
    atomic_bool stop;
};

/* Mappings do not overlap, whenever one looks. */
static int look_at_one(void* data, const granule_mapping* mapping) {
    uint64_t* const last = data;

    CHECK(mapping->va.start >= *last && mapping->va.end > mapping->va.start && mapping->bo_id != 0);
    *last = mapping->va.end;
    return 0;
}

static void* look_on(void* data) {
    struct onlooker* const onlooker = data;
    const granule_range all = {0, UINT64_C(1) << 48};

    while (!atomic_load(&onlooker->stop)) {
        granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);
        granule_address_report report = GRANULE_SIZED(granule_address_report);
        uint64_t last = 0;
        CHECK_OK(granule_vm_walk(onlooker->vm, all, look_at_one, &last));
        CHECK_OK(granule_vm_get_statistics(onlooker->vm, &statistics));
        CHECK(statistics.mapped_bytes <= statistics.mapped_bytes_peak);
        CHECK_OK(granule_vm_describe(onlooker->vm, last - 1, &report));
        CHECK_OK(granule_vm_check(onlooker->vm, NULL));
    }
    return NULL;
}

static void start(struct worker* workers, granule_device* device, granule_vm* const* vms, granule_bo* shared,
                  void* (*run)(void*)) {
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .device = device, .vms = vms, .shared = shared, .random = 0x9e3779b97f4a7c15 + i, .number = i};
        CHECK_EQUAL(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
}

static void join(struct worker* workers) {
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_join(workers[i].thread, NULL), 0);
    }
}

static void check_empty(granule_vm* vm) {
    granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);

    CHECK_OK(granule_vm_get_statistics(vm, &statistics));
    CHECK_EQUAL(statistics.mappings, 0);
    CHECK_EQUAL(statistics.mapped_bytes, 0);
    for (int zone = GRANULE_ZONE_MAIN; zone <= GRANULE_ZONE_REPLAY; zone++) {
        CHECK_EQUAL(statistics.zones[zone].reserved_bytes, 0);
    }
}

/* What the threads kept is there, each byte of it and its hole, and nothing else is. */
static void check_kept(const struct worker* workers, granule_vm* const* vms) {
    const granule_range all = {0, UINT64_C(1) << 48};
    struct sum kept = {0, 0};
    struct sum there = {0, 0};

    for (unsigned i = 0; i < THREADS * KEPT; i++) {
        const struct kept* const one = &workers[i / KEPT].kept[i % KEPT];
        for (uint64_t va = one->va; va < one->va + one->size; va += 4 * KIB) {
            const uint32_t expected = va == one->hole ? 0 : one->bo_id;
            if (shown(one->vm, va) != expected) {
                CHECK_EQUAL(shown(one->vm, va), expected);
            }
        }
        kept.bytes += one->vm == NULL ? 0 : one->size - 4 * KIB;
    }
    for (unsigned i = 0; i < VMS; i++) {
        CHECK_OK(granule_vm_walk(vms[i], all, add, &there));
    }
    CHECK_EQUAL(there.bytes, kept.bytes);
}

static void what_threads_bind_in_two_vms_adds_up(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_REFUSES);
    granule_soft_statistics gpu = GRANULE_SIZED(granule_soft_statistics);
    granule_memory_usage usage = GRANULE_SIZED(granule_memory_usage);
    granule_vm* vms[VMS] = {NULL};
    struct worker workers[THREADS];
    struct onlooker onlooker;

    for (unsigned i = 0; i < VMS; i++) {
        CHECK_OK(granule_vm_create(device, NULL, &vms[i], NULL));
    }
    onlooker.vm = vms[0];
    atomic_init(&onlooker.stop, false);
    CHECK_EQUAL(pthread_create(&onlooker.thread, NULL, look_on, &onlooker), 0);
    start(workers, device, vms, NULL, map_and_unmap);
    join(workers);
    atomic_store(&onlooker.stop, true);
    CHECK_EQUAL(pthread_join(onlooker.thread, NULL), 0);

    check_kept(workers, vms);
    for (unsigned i = 0; i < THREADS * KEPT; i++) {
        const struct kept* const one = &workers[i / KEPT].kept[i % KEPT];
        if (one->vm != NULL) {
            release(one->vm, one->va, one->size);
        }
    }
    CHECK_OK(granule_soft_get_statistics(device, &gpu));
    CHECK_EQUAL(gpu.stale, 0);
    CHECK_EQUAL(gpu.leaf_cuts, 0);
    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.bos, 0);
    for (unsigned i = 0; i < VMS; i++) {
        check_empty(vms[i]);
        granule_vm_destroy(vms[i]);
    }
    close_clean(device);
}

static void* hold_and_show(void* data) {
    struct worker* const worker = data;

    for (unsigned round = 0; round < ROUNDS; round++) {
        granule_vm* const vm = worker->vms[next(worker) % VMS];
        granule_bind_op map = op_of(GRANULE_BIND_MAP, worker->shared, GRANULE_VA_AUTO, 64 * KIB);
        granule_bo* again = NULL;
        char label[32];
        int fd = -1;
        CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
        CHECK_EQUAL(shown(vm, map.va), granule_bo_id(worker->shared));
        granule_bo_unref(granule_bo_ref(worker->shared));
        CHECK_OK(granule_bo_set_label(worker->shared, worker->number % 2 == 0 ? "even" : "odd"));
        granule_bo_get_label(worker->shared, label, sizeof label);
        CHECK(strcmp(label, "even") == 0 || strcmp(label, "odd") == 0);
        CHECK_OK(granule_bo_export(worker->shared, &fd, NULL));
        CHECK_OK(granule_bo_import(worker->device, fd, &again, NULL));
        CHECK(again == worker->shared);
        granule_bo_unref(again);
        CHECK_EQUAL(close(fd), 0);
        release(vm, map.va, 64 * KIB);
    }
    return NULL;
}

static int see_bo(void* data, const granule_bo_entry* entry) {
    *(granule_bo_entry*)data = *entry;
    return 0;
}

static void a_bo_of_all_threads_has_one_holder_again(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo_entry entry = GRANULE_SIZED(granule_bo_entry);
    granule_vm* vms[VMS] = {NULL};
    granule_bo* shared = NULL;
    struct worker workers[THREADS];

    info.size = 64 * KIB;
    info.flags = GRANULE_BO_SHAREABLE;
    info.label = "even";
    CHECK_OK(granule_bo_create(device, &info, &shared, NULL));
    for (unsigned i = 0; i < VMS; i++) {
        CHECK_OK(granule_vm_create(device, NULL, &vms[i], NULL));
    }
    start(workers, device, vms, shared, hold_and_show);
    join(workers);
    CHECK_OK(granule_device_walk_bos(device, see_bo, &entry));
    CHECK_EQUAL(entry.holders, 1);
    CHECK_EQUAL(entry.mapped_bytes, 0);
    granule_bo_unref(shared);
    for (unsigned i = 0; i < VMS; i++) {
        check_empty(vms[i]);
        granule_vm_destroy(vms[i]);
    }
    close_clean(device);
}

static void* queue_binds(void* data) {
    struct worker* const worker = data;
    granule_vm* const vm = worker->vms[worker->number % VMS];
    granule_bo* const bo = new_bo(worker->device, 64 * KIB, NULL);
    granule_timeline* timeline = NULL;

    CHECK_OK(granule_timeline_create(worker->device, &timeline, NULL));
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const granule_sync go = {timeline, 2 * round + 1};
        const granule_sync done = {timeline, 2 * round + 2};
        granule_bind_op map = op_of(GRANULE_BIND_MAP, bo, GRANULE_VA_AUTO, 64 * KIB);
        CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_ASYNC, &map, 1, NULL, NULL));
        granule_bind_op unmap = op_of(GRANULE_BIND_UNMAP, NULL, map.va, 64 * KIB);
        unmap.flags = GRANULE_UNMAP_RELEASE_VA;
        unmap.waits = &go;
        unmap.wait_count = 1;
        unmap.signals = &done;
        unmap.signal_count = 1;
        CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_ASYNC, &unmap, 1, NULL, NULL));
        CHECK_OK(granule_timeline_signal(timeline, go.point, NULL));
        if (round % 16 == 0) {
            CHECK_OK(granule_timeline_wait(timeline, done.point, GRANULE_WAIT_FOREVER));
        }
    }
    granule_timeline_unref(timeline);
    granule_bo_unref(bo);
    return NULL;
}

static void what_threads_queue_is_done_when_the_queue_is_empty(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_REALIGNS);
    granule_vm* vms[VMS] = {NULL};
    struct worker workers[THREADS];

    for (unsigned i = 0; i < VMS; i++) {
        CHECK_OK(granule_vm_create(device, NULL, &vms[i], NULL));
    }
    start(workers, device, vms, NULL, queue_binds);
    join(workers);
    for (unsigned i = 0; i < VMS; i++) {
        granule_vm_state state = GRANULE_SIZED(granule_vm_state);
        CHECK_OK(granule_vm_drain(vms[i], GRANULE_WAIT_FOREVER, NULL));
        CHECK_OK(granule_vm_get_state(vms[i], &state));
        CHECK_EQUAL(state.failed_binds, 0);
        CHECK_EQUAL(state.queued, 0);
        check_empty(vms[i]);
        granule_vm_destroy(vms[i]);
    }
    close_clean(device);
}

void test_threads(void) {
    RUN(what_threads_bind_in_two_vms_adds_up);
    RUN(a_bo_of_all_threads_has_one_holder_again);
    RUN(what_threads_queue_is_done_when_the_queue_is_empty);
}
