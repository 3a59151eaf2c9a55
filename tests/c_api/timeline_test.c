/* timeline.h: fences. */
#include "check.h"

static void a_timeline_only_goes_up(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_timeline* timeline = NULL;

    CHECK_OK(granule_timeline_create(device, &timeline, NULL));
    CHECK_EQUAL(granule_timeline_value(timeline), 0);
    CHECK_OK(granule_timeline_signal(timeline, 5, NULL));
    CHECK_OK(granule_timeline_signal(timeline, 3, NULL));
    CHECK_EQUAL(granule_timeline_value(timeline), 5);
    CHECK_OK(granule_timeline_status(timeline));
    CHECK_EQUAL(granule_timeline_syncobj(timeline), 0);
    CHECK(granule_timeline_ref(timeline) == timeline);
    granule_timeline_unref(timeline);
    CHECK_EQUAL(granule_timeline_value(timeline), 5);
    granule_timeline_unref(timeline);
    close_clean(device);
}

static void who_waits_gets_the_value_or_its_time_is_up(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_timeline* timeline = NULL;

    CHECK_OK(granule_timeline_create(device, &timeline, NULL));
    CHECK_OK(granule_timeline_wait(timeline, 0, 0));
    CHECK_STATUS(granule_timeline_wait(timeline, 1, 0), GRANULE_STATUS_TIMED_OUT);
    CHECK_STATUS(granule_timeline_wait(timeline, 1, 2000000), GRANULE_STATUS_TIMED_OUT);
    CHECK_OK(granule_timeline_signal(timeline, UINT64_MAX, NULL));
    CHECK_OK(granule_timeline_wait(timeline, UINT64_MAX, GRANULE_WAIT_FOREVER));
    granule_timeline_unref(timeline);
    close_clean(device);
}

static void what_a_bind_waits_for_is_signalled_by_the_cpu_and_what_it_signals_is_seen(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 4 * KIB, NULL);
    granule_timeline* timeline = NULL;
    granule_vm* vm = NULL;

    CHECK_OK(granule_timeline_create(device, &timeline, NULL));
    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    const granule_sync before = {timeline, 1};
    const granule_sync after = {timeline, 2};
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    map.va = GRANULE_VA_AUTO;
    map.size = 4 * KIB;
    map.bo = bo;
    map.waits = &before;
    map.wait_count = 1;
    map.signals = &after;
    map.signal_count = 1;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_ASYNC, &map, 1, NULL, NULL));
    /* Our holds on the timeline and on the BO are not needed while it is queued. */
    granule_timeline_ref(timeline);
    granule_timeline_unref(timeline);
    granule_bo_unref(bo);
    CHECK_STATUS(granule_timeline_wait(timeline, 2, 1000000), GRANULE_STATUS_TIMED_OUT);
    CHECK_OK(granule_timeline_signal(timeline, 1, NULL));
    CHECK_OK(granule_timeline_wait(timeline, 2, GRANULE_WAIT_FOREVER));
    granule_timeline_unref(timeline);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void syncobjs_are_of_kernels(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_timeline* timeline = NULL;

    CHECK_STATUS(granule_timeline_from_syncobj(device, 1, &timeline, NULL), GRANULE_STATUS_NOT_SUPPORTED);
    CHECK_STATUS(granule_timeline_from_syncobj(device, 0, &timeline, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_timeline_from_syncobj(NULL, 1, &timeline, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(timeline == NULL);
    close_clean(device);
}

static void no_timeline_is_no_crash(void) {
    granule_timeline* timeline = NULL;

    CHECK_STATUS(granule_timeline_create(NULL, &timeline, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_timeline_signal(NULL, 1, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_timeline_wait(NULL, 1, 0), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_timeline_ref(NULL) == NULL);
    granule_timeline_unref(NULL);
    CHECK_EQUAL(granule_timeline_value(NULL), 0);
    CHECK_EQUAL(granule_timeline_syncobj(NULL), 0);
    CHECK_STATUS(granule_timeline_status(NULL), GRANULE_STATUS_BAD_ARGUMENT);
}

void test_timeline(void) {
    RUN(a_timeline_only_goes_up);
    RUN(who_waits_gets_the_value_or_its_time_is_up);
    RUN(what_a_bind_waits_for_is_signalled_by_the_cpu_and_what_it_signals_is_seen);
    RUN(syncobjs_are_of_kernels);
    RUN(no_timeline_is_no_crash);
}
