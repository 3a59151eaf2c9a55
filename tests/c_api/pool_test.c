/* pool.h: small buffers. */
#include <string.h>

#include "check.h"

struct set_up {
    granule_device* device;
    granule_vm* vm;
    granule_pool* pool;
};

static struct set_up set_up(const granule_pool_info* info) {
    struct set_up s = {open_soft(GRANULE_KERNEL_REFUSES), NULL, NULL};

    CHECK_OK(granule_vm_create(s.device, NULL, &s.vm, NULL));
    CHECK_OK(granule_pool_create(s.vm, info, &s.pool, NULL));
    return s;
}

static void tear_down(struct set_up s) {
    granule_pool_destroy(s.pool);
    granule_vm_destroy(s.vm);
    close_clean(s.device);
}

static granule_pool_statistics statistics(const granule_pool* pool) {
    granule_pool_statistics s = GRANULE_SIZED(granule_pool_statistics);

    CHECK_OK(granule_pool_get_statistics(pool, &s));
    return s;
}

static void buffers_share_a_bo_and_no_cache_line(void) {
    const struct set_up s = set_up(NULL);
    granule_buffer buffers[100];
    char seen = 0;

    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(granule_pool_alloc(s.pool, 1 + i * 7, 0, &buffers[i], NULL));
        CHECK_EQUAL(buffers[i].size, 1 + i * 7);
        CHECK_EQUAL(buffers[i].va % 64, 0);
        memset(buffers[i].cpu, (int)i + 1, (size_t)buffers[i].size);
    }
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(granule_soft_read(s.vm, buffers[i].va + buffers[i].size - 1, &seen, 1, NULL));
        CHECK_EQUAL(seen, i + 1);
        CHECK(buffers[i].bo == buffers[0].bo);
        for (unsigned k = 0; k < i; k++) {
            CHECK(buffers[i].va / 64 > (buffers[k].va + buffers[k].size - 1) / 64 ||
                  (buffers[i].va + buffers[i].size - 1) / 64 < buffers[k].va / 64);
        }
    }
    CHECK_EQUAL(statistics(s.pool).buffers, 100);
    CHECK_EQUAL(statistics(s.pool).slabs, 1);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(granule_pool_free(s.pool, &buffers[i], NULL, 0));
    }
    CHECK_EQUAL(statistics(s.pool).used_bytes, 0);
    tear_down(s);
}

static void a_place_is_not_given_away_before_its_fence(void) {
    granule_pool_info info = GRANULE_SIZED(granule_pool_info);
    granule_timeline* timeline = NULL;
    granule_buffer buffers[5]; /* two fill a slab */

    info.slab_size = 64 * KIB;
    const struct set_up s = set_up(&info);
    CHECK_OK(granule_timeline_create(s.device, &timeline, NULL));
    const granule_sync busy = {timeline, 1};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(granule_pool_alloc(s.pool, 32 * KIB, 0, &buffers[i], NULL));
    }
    CHECK(buffers[0].bo == buffers[1].bo);
    CHECK_OK(granule_pool_free(s.pool, &buffers[0], &busy, 1));
    CHECK_EQUAL(statistics(s.pool).waiting_bytes, 32 * KIB);
    for (int i = 2; i < 4; i++) {
        CHECK_OK(granule_pool_alloc(s.pool, 32 * KIB, 0, &buffers[i], NULL));
        CHECK(buffers[i].bo != buffers[0].bo);
    }
    CHECK_OK(granule_timeline_signal(timeline, 1, NULL));
    CHECK_OK(granule_pool_alloc(s.pool, 32 * KIB, 0, &buffers[4], NULL));
    CHECK_EQUAL(buffers[4].va, buffers[0].va);
    CHECK_EQUAL(statistics(s.pool).waiting_bytes, 0);
    CHECK_EQUAL(statistics(s.pool).slabs, 2);
    for (int i = 1; i < 5; i++) {
        CHECK_OK(granule_pool_free(s.pool, &buffers[i], NULL, 0));
    }
    granule_timeline_unref(timeline);
    tear_down(s);
}

static void large_ones_have_a_bo_of_their_own(void) {
    granule_pool_info info = GRANULE_SIZED(granule_pool_info);
    granule_buffer small;
    granule_buffer large;

    info.slab_size = 64 * KIB;
    info.label = "uniforms";
    const struct set_up s = set_up(&info);
    CHECK_OK(granule_pool_alloc(s.pool, 100, 4 * KIB, &small, NULL));
    CHECK_EQUAL(small.va % (4 * KIB), 0);
    CHECK_OK(granule_pool_alloc(s.pool, 3 * MIB, 2 * MIB, &large, NULL));
    CHECK(large.bo != small.bo);
    CHECK_EQUAL(large.va % (2 * MIB), 0);
    memset(large.cpu, 1, 3 * MIB);
    CHECK_OK(granule_pool_free(s.pool, &large, NULL, 0));
    CHECK_OK(granule_pool_free(s.pool, &small, NULL, 0));
    tear_down(s);
}

static void slabs_that_nobody_uses_are_given_back(void) {
    granule_pool_info info = GRANULE_SIZED(granule_pool_info);
    granule_buffer buffers[20];

    info.slab_size = 64 * KIB;
    const struct set_up s = set_up(&info);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(granule_pool_alloc(s.pool, 30 * KIB, 0, &buffers[i], NULL));
    }
    CHECK(statistics(s.pool).slabs >= 10);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(granule_pool_free(s.pool, &buffers[i], NULL, 0));
    }
    CHECK(statistics(s.pool).slabs <= 1);
    CHECK_EQUAL(granule_pool_trim(s.pool), 64 * KIB);
    CHECK_EQUAL(statistics(s.pool).slab_bytes, 0);
    tear_down(s);
}

static void slabs_come_from_a_cache_and_go_back_to_it(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_REFUSES);
    granule_pool_info info = GRANULE_SIZED(granule_pool_info);
    granule_bo_cache_statistics cached = GRANULE_SIZED(granule_bo_cache_statistics);
    granule_vm* vm = NULL;
    granule_pool* pool = NULL;
    granule_buffer buffer;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    CHECK_OK(granule_bo_cache_create(device, vm, NULL, &info.cache, NULL));
    CHECK_OK(granule_pool_create(vm, &info, &pool, NULL));
    CHECK_OK(granule_pool_alloc(pool, 100, 0, &buffer, NULL));
    CHECK_OK(granule_bo_cache_get_statistics(info.cache, &cached));
    CHECK(cached.out_bytes >= 64 * KIB);
    const uint64_t slab = cached.out_bytes;
    granule_pool_destroy(pool);
    CHECK_OK(granule_bo_cache_get_statistics(info.cache, &cached));
    CHECK_EQUAL(cached.out_bytes, 0);
    CHECK_EQUAL(cached.cached_bytes, slab);
    granule_bo_cache_destroy(info.cache);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void without_memory_nothing_changes(void) {
    const struct set_up s = set_up(NULL);
    granule_buffer buffer;

    granule_device_set_memory_limit(s.device, 4 * KIB);
    memset(&buffer, 0xff, sizeof buffer);
    CHECK_STATUS(granule_pool_alloc(s.pool, 100, 0, &buffer, NULL), GRANULE_STATUS_OVER_BUDGET);
    CHECK(buffer.va == 0 && buffer.cpu == NULL && buffer.bo == NULL && buffer.size == 0);
    CHECK_EQUAL(statistics(s.pool).slabs, 0);
    granule_device_set_memory_limit(s.device, 0);
    CHECK_OK(granule_pool_alloc(s.pool, 100, 0, &buffer, NULL));
    CHECK_OK(granule_pool_free(s.pool, &buffer, NULL, 0));
    tear_down(s);
}

static void bad_arguments_are_refused(void) {
    const struct set_up s = set_up(NULL);
    granule_pool_info info = GRANULE_SIZED(granule_pool_info);
    granule_pool* pool = NULL;
    granule_buffer buffer;
    granule_buffer foreign = {0};

    CHECK_STATUS(granule_pool_alloc(s.pool, 0, 0, &buffer, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_alloc(s.pool, 64, 3, &buffer, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_alloc(s.pool, 64, 4 * MIB, &buffer, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_alloc(s.pool, 64, 0, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_alloc(NULL, 64, 0, &buffer, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_pool_alloc(s.pool, UINT64_MAX, 0, &buffer, NULL) != GRANULE_STATUS_OK);
    CHECK_OK(granule_pool_alloc(s.pool, 64, 0, &buffer, NULL));

    CHECK_STATUS(granule_pool_free(s.pool, &foreign, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_free(s.pool, NULL, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_free(NULL, &buffer, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_free(s.pool, &buffer, NULL, 1), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_OK(granule_pool_free(s.pool, &buffer, NULL, 0));
    CHECK_STATUS(granule_pool_free(s.pool, &buffer, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT); /* twice */

    CHECK_STATUS(granule_pool_create(NULL, NULL, &pool, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_pool_create(s.vm, NULL, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.slab_size = 100 * KIB;
    CHECK_STATUS(granule_pool_create(s.vm, &info, &pool, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.slab_size = 0;
    info.alignment = 32;
    CHECK_STATUS(granule_pool_create(s.vm, &info, &pool, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.alignment = 0;
    info.bo_flags = GRANULE_BO_SHAREABLE;
    CHECK_STATUS(granule_pool_create(s.vm, &info, &pool, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.bo_flags = 0;
    info.zone = 9;
    CHECK_STATUS(granule_pool_create(s.vm, &info, &pool, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(pool == NULL);
    CHECK_STATUS(granule_pool_get_statistics(NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_pool_trim(NULL), 0);
    granule_pool_destroy(NULL);
    tear_down(s);
}

void test_pool(void) {
    RUN(buffers_share_a_bo_and_no_cache_line);
    RUN(a_place_is_not_given_away_before_its_fence);
    RUN(large_ones_have_a_bo_of_their_own);
    RUN(slabs_that_nobody_uses_are_given_back);
    RUN(slabs_come_from_a_cache_and_go_back_to_it);
    RUN(without_memory_nothing_changes);
    RUN(bad_arguments_are_refused);
}
