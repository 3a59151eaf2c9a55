/* bo_cache.h: BOs that are used again. */
#include <string.h>

#include "check.h"

struct set_up {
    granule_device* device;
    granule_vm* vm;
    granule_bo_cache* cache;
};

static struct set_up set_up(const granule_bo_cache_info* info) {
    struct set_up s = {open_soft(GRANULE_KERNEL_REFUSES), NULL, NULL};

    CHECK_OK(granule_vm_create(s.device, NULL, &s.vm, NULL));
    CHECK_OK(granule_bo_cache_create(s.device, s.vm, info, &s.cache, NULL));
    return s;
}

static void tear_down(struct set_up s) {
    granule_bo_cache_destroy(s.cache);
    granule_vm_destroy(s.vm);
    close_clean(s.device);
}

static granule_cached_bo get(granule_bo_cache* cache, uint64_t size, uint32_t flags) {
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    granule_cached_bo bo;

    info.size = size;
    info.flags = flags;
    CHECK_OK(granule_bo_cache_get(cache, &info, &bo, NULL));
    return bo;
}

static granule_bo_cache_statistics statistics(const granule_bo_cache* cache) {
    granule_bo_cache_statistics s = GRANULE_SIZED(granule_bo_cache_statistics);

    CHECK_OK(granule_bo_cache_get_statistics(cache, &s));
    return s;
}

static void a_bo_that_came_back_is_used_again_with_its_mapping_and_its_view(void) {
    const struct set_up s = set_up(NULL);
    granule_vm_statistics vm = GRANULE_SIZED(granule_vm_statistics);
    const granule_cached_bo first = get(s.cache, 64 * KIB, 0);

    CHECK(first.bo != NULL && first.va != 0 && first.cpu != NULL && first.size >= 64 * KIB && !first.reused);
    memset(first.cpu, 0x11, 64 * KIB);
    CHECK_OK(granule_vm_get_statistics(s.vm, &vm));
    const uint64_t binds = vm.binds;
    CHECK_OK(granule_bo_cache_put(s.cache, first.bo, NULL, 0));
    CHECK_EQUAL(statistics(s.cache).cached_bytes, first.size);

    const granule_cached_bo again = get(s.cache, 64 * KIB, 0);
    CHECK(again.bo == first.bo && again.va == first.va && again.cpu == first.cpu && again.reused);
    CHECK_EQUAL(((unsigned char*)again.cpu)[5], 0x11);
    CHECK_OK(granule_vm_get_statistics(s.vm, &vm));
    CHECK_EQUAL(vm.binds, binds);
    CHECK_OK(granule_bo_cache_put(s.cache, again.bo, NULL, 0));

    const granule_cached_bo zeros = get(s.cache, 64 * KIB, GRANULE_CACHE_ZEROED);
    CHECK_EQUAL(((unsigned char*)zeros.cpu)[5], 0);
    CHECK_OK(granule_bo_cache_put(s.cache, zeros.bo, NULL, 0));
    CHECK(statistics(s.cache).hits >= 1);
    tear_down(s);
}

static void what_the_gpu_still_uses_is_not_used_again(void) {
    const struct set_up s = set_up(NULL);
    granule_timeline* timeline = NULL;
    const granule_cached_bo first = get(s.cache, 32 * KIB, 0);

    CHECK_OK(granule_timeline_create(s.device, &timeline, NULL));
    const granule_sync busy = {timeline, 1};
    CHECK_OK(granule_bo_cache_put(s.cache, first.bo, &busy, 1));
    const granule_cached_bo second = get(s.cache, 32 * KIB, 0);
    CHECK(second.bo != first.bo && !second.reused);
    CHECK_OK(granule_timeline_signal(timeline, 1, NULL));
    const granule_cached_bo third = get(s.cache, 32 * KIB, 0);
    CHECK(third.bo == first.bo && third.reused);
    CHECK_OK(granule_bo_cache_put(s.cache, second.bo, NULL, 0));
    CHECK_OK(granule_bo_cache_put(s.cache, third.bo, NULL, 0));
    granule_timeline_unref(timeline);
    tear_down(s);
}

static void a_bo_of_another_kind_or_of_much_more_bytes_is_not_used(void) {
    const struct set_up s = set_up(NULL);
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    granule_cached_bo other;
    const granule_cached_bo large = get(s.cache, MIB, 0);

    CHECK_OK(granule_bo_cache_put(s.cache, large.bo, NULL, 0));
    info.size = 64 * KIB;
    CHECK_OK(granule_bo_cache_get(s.cache, &info, &other, NULL));
    CHECK(other.bo != large.bo);
    CHECK_OK(granule_bo_cache_put(s.cache, other.bo, NULL, 0));
    info.size = MIB;
    info.map_flags = GRANULE_MAP_NO_EXEC;
    CHECK_OK(granule_bo_cache_get(s.cache, &info, &other, NULL));
    CHECK(other.bo != large.bo && !other.reused);
    CHECK_OK(granule_bo_cache_put(s.cache, other.bo, NULL, 0));
    tear_down(s);
}

static void it_keeps_no_more_than_it_may(void) {
    granule_bo_cache_info info = GRANULE_SIZED(granule_bo_cache_info);
    granule_cached_bo bos[8];

    info.max_bytes = 4 * (64 * KIB);
    const struct set_up s = set_up(&info);
    for (int i = 0; i < 8; i++) {
        bos[i] = get(s.cache, 64 * KIB, 0);
    }
    for (int i = 0; i < 8; i++) {
        CHECK_OK(granule_bo_cache_put(s.cache, bos[i].bo, NULL, 0));
        CHECK(statistics(s.cache).cached_bytes <= info.max_bytes);
    }
    CHECK_EQUAL(statistics(s.cache).cached_bos, 4);
    CHECK(statistics(s.cache).evicted_by_size > 0);
    CHECK_EQUAL(granule_bo_cache_evict_all(s.cache), 4 * (64 * KIB));
    CHECK_EQUAL(statistics(s.cache).cached_bytes, 0);
    CHECK_EQUAL(granule_bo_cache_trim(s.cache), 0);
    tear_down(s);
}

static void what_is_old_goes_when_it_is_trimmed(void) {
    granule_bo_cache_info info = GRANULE_SIZED(granule_bo_cache_info);

    info.max_age_ns = 1;
    const struct set_up s = set_up(&info);
    const granule_cached_bo bo = get(s.cache, 64 * KIB, 0);
    CHECK_OK(granule_bo_cache_put(s.cache, bo.bo, NULL, 0));
    granule_bo_cache_trim(s.cache);
    CHECK_EQUAL(statistics(s.cache).cached_bytes, 0);
    tear_down(s);
}

static void what_others_hold_is_not_kept(void) {
    const struct set_up s = set_up(NULL);
    const granule_cached_bo bo = get(s.cache, 64 * KIB, 0);

    granule_bo_ref(bo.bo);
    CHECK_OK(granule_bo_cache_put(s.cache, bo.bo, NULL, 0));
    CHECK_EQUAL(statistics(s.cache).cached_bytes, 0);
    CHECK_EQUAL(statistics(s.cache).not_kept, 1);
    CHECK_EQUAL(granule_bo_size(bo.bo), bo.size);
    granule_bo_unref(bo.bo);
    tear_down(s);
}

static void without_a_vm_its_bos_are_not_mapped(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo_cache* cache = NULL;

    CHECK_OK(granule_bo_cache_create(device, NULL, NULL, &cache, NULL));
    const granule_cached_bo bo = get(cache, 4 * KIB, 0);
    CHECK_EQUAL(bo.va, 0);
    CHECK(bo.cpu != NULL);
    CHECK_OK(granule_bo_cache_put(cache, bo.bo, NULL, 0));
    granule_bo_cache_destroy(cache);
    close_clean(device);
}

static void where_memory_is_out_it_gives_up_what_it_keeps(void) {
    const struct set_up s = set_up(NULL);
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    granule_cached_bo out;
    const granule_cached_bo kept = get(s.cache, MIB, 0);

    CHECK_OK(granule_bo_cache_put(s.cache, kept.bo, NULL, 0));
    granule_device_set_memory_limit(s.device, MIB + 512 * KIB);
    const granule_cached_bo other = get(s.cache, 768 * KIB, 0);
    CHECK(other.bo != NULL);
    CHECK_EQUAL(statistics(s.cache).cached_bytes, 0);

    info.size = 16 * MIB;
    info.flags = GRANULE_CACHE_DONT_WAIT;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_OVER_BUDGET);
    CHECK(out.bo == NULL && out.va == 0);
    CHECK_OK(granule_bo_cache_put(s.cache, other.bo, NULL, 0));
    tear_down(s);
}

static void bad_arguments_are_refused(void) {
    const struct set_up s = set_up(NULL);
    granule_bo* const foreign = new_bo(s.device, 4 * KIB, NULL);
    granule_cached_bo_info info = GRANULE_SIZED(granule_cached_bo_info);
    granule_bo_cache_info bad = GRANULE_SIZED(granule_bo_cache_info);
    granule_bo_cache* cache = NULL;
    granule_cached_bo out;
    const granule_sync no_timeline = {NULL, 1};

    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT); /* no size */
    info.size = 4 * KIB;
    CHECK_STATUS(granule_bo_cache_get(NULL, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_get(s.cache, NULL, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.bo_flags = GRANULE_BO_SHAREABLE;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.bo_flags = 0;
    info.zone = 3;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.zone = 0;
    info.flags = 1u << 9;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.flags = 0;
    info.map_flags = 1u << 30;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.map_flags = 0;
    info.struct_size = 1;
    CHECK_STATUS(granule_bo_cache_get(s.cache, &info, &out, NULL), GRANULE_STATUS_BAD_ARGUMENT);

    /* Not one of its BOs; and fences that are none: it stays the caller's. */
    CHECK_STATUS(granule_bo_cache_put(s.cache, foreign, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_put(s.cache, NULL, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    const granule_cached_bo good = get(s.cache, 4 * KIB, 0);
    CHECK_STATUS(granule_bo_cache_put(s.cache, good.bo, &no_timeline, 1), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_put(s.cache, good.bo, NULL, 1), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_put(NULL, good.bo, NULL, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_OK(granule_bo_cache_put(s.cache, good.bo, NULL, 0));

    CHECK_STATUS(granule_bo_cache_create(NULL, NULL, NULL, &cache, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_cache_create(s.device, s.vm, NULL, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    bad.reserved = 1;
    CHECK_STATUS(granule_bo_cache_create(s.device, s.vm, &bad, &cache, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(cache == NULL);
    CHECK_STATUS(granule_bo_cache_get_statistics(NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_bo_cache_trim(NULL), 0);
    CHECK_EQUAL(granule_bo_cache_evict_all(NULL), 0);
    granule_bo_cache_destroy(NULL);
    granule_bo_unref(foreign);
    tear_down(s);
}

void test_bo_cache(void) {
    RUN(a_bo_that_came_back_is_used_again_with_its_mapping_and_its_view);
    RUN(what_the_gpu_still_uses_is_not_used_again);
    RUN(a_bo_of_another_kind_or_of_much_more_bytes_is_not_used);
    RUN(it_keeps_no_more_than_it_may);
    RUN(what_is_old_goes_when_it_is_trimmed);
    RUN(what_others_hold_is_not_kept);
    RUN(without_a_vm_its_bos_are_not_mapped);
    RUN(where_memory_is_out_it_gives_up_what_it_keeps);
    RUN(bad_arguments_are_refused);
}
