/* bind.h: maps, unmaps, sparse mappings, queues, plans. More than 500 lines: one set-up for one header. */
#include <errno.h>
#include <string.h>

#include "check.h"

#define VA (UINT64_C(1) << 32)
#define A_SECOND UINT64_C(1000000000)

struct set_up {
    granule_device* device;
    granule_vm* vm;
    granule_bo* bo; /* 4 MiB */
    granule_timeline* timeline;
};

static struct set_up set_up(granule_kernel_behaviour kernel, const granule_vm_info* info) {
    struct set_up s = {open_soft(kernel), NULL, NULL, NULL};

    CHECK_OK(granule_vm_create(s.device, info, &s.vm, NULL));
    CHECK_OK(granule_timeline_create(s.device, &s.timeline, NULL));
    s.bo = new_bo(s.device, 4 * MIB, "texture atlas");
    return s;
}

static void tear_down(struct set_up s) {
    granule_timeline_unref(s.timeline);
    granule_bo_unref(s.bo);
    granule_vm_destroy(s.vm);
    close_clean(s.device);
}

static granule_bind_op map_op(granule_bo* bo, uint64_t va, uint64_t size, uint64_t offset) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);

    op.type = GRANULE_BIND_MAP;
    op.va = va;
    op.size = size;
    op.bo = bo;
    op.bo_offset = offset;
    return op;
}

static granule_bind_op op_of(granule_bind_type type, uint64_t va, uint64_t size, granule_cut_policy cut) {
    granule_bind_op op = GRANULE_SIZED(granule_bind_op);

    op.type = type;
    op.va = va;
    op.size = size;
    op.cut = (uint16_t)cut;
    return op;
}

static granule_status bind(granule_vm* vm, granule_bind_op op) {
    return granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &op, 1, NULL, NULL);
}

/* The VM's mapped bytes. */
static uint64_t mapped(granule_vm* vm) {
    granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);

    CHECK_OK(granule_vm_get_statistics(vm, &statistics));
    return statistics.mapped_bytes;
}

static bool gpu_sees(granule_vm* vm, uint64_t va) {
    char byte;

    return granule_soft_read(vm, va, &byte, 1, NULL) == GRANULE_STATUS_OK;
}

static void a_part_of_a_block_goes_and_the_rest_stays_on_every_kernel(void) {
    for (int kernel = GRANULE_KERNEL_SPLITS; kernel <= GRANULE_KERNEL_REALIGNS; kernel++) {
        const struct set_up s = set_up((granule_kernel_behaviour)kernel, NULL);
        granule_bind_report report = GRANULE_SIZED(granule_bind_report);

        CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
        CHECK_OK(granule_vm_unmap(s.vm, VA + MIB, 64 * KIB, GRANULE_CUT_SPLIT, &report, NULL));
        CHECK_EQUAL(report.unmapped_bytes, 64 * KIB);
        CHECK(report.operations >= 1 && report.serial != 0);
        CHECK(report.granules + report.kernel_cuts == 1);
        CHECK(gpu_sees(s.vm, VA + MIB - 1) && !gpu_sees(s.vm, VA + MIB) && !gpu_sees(s.vm, VA + MIB + 64 * KIB - 1) &&
              gpu_sees(s.vm, VA + MIB + 64 * KIB));
        CHECK_EQUAL(mapped(s.vm), 4 * MIB - 64 * KIB);
        tear_down(s);
    }
}

static void policy_reject_names_the_granule_and_whose_it_is(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_error error = GRANULE_SIZED(granule_error);
    char text[256];

    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    CHECK_STATUS(granule_vm_unmap(s.vm, VA + 2 * MIB, 4 * KIB, GRANULE_CUT_REJECT, NULL, &error),
                 GRANULE_STATUS_GRANULE_CUT);
    CHECK_EQUAL(error.granule.start, VA + 2 * MIB);
    CHECK_EQUAL(error.granule.end, VA + 4 * MIB);
    CHECK_EQUAL(error.leaf_size, 2 * MIB);
    CHECK_EQUAL(error.mapping.start, VA);
    CHECK_EQUAL(error.mapping.end, VA + 4 * MIB);
    CHECK_EQUAL(error.request.start, VA + 2 * MIB);
    CHECK_EQUAL(error.bo_id, granule_bo_id(s.bo));
    CHECK_EQUAL(error.op, 0);
    CHECK(strcmp(error.label, "texture atlas") == 0);
    CHECK(granule_error_text(&error, text, sizeof text) < sizeof text && strstr(text, "texture atlas") != NULL);
    CHECK_EQUAL(mapped(s.vm), 4 * MIB);
    tear_down(s);
}

static void policy_enlarge_takes_whole_granules_and_says_how_much(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_bind_report report = GRANULE_SIZED(granule_bind_report);

    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    CHECK_OK(granule_vm_unmap(s.vm, VA + 2 * MIB, 4 * KIB, GRANULE_CUT_ENLARGE, &report, NULL));
    CHECK_EQUAL(report.enlarged_bytes, 2 * MIB - 4 * KIB);
    CHECK_EQUAL(mapped(s.vm), 2 * MIB);
    tear_down(s);
}

static void leaves_of_4k_are_never_cut(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_bind_op map = map_op(s.bo, VA, 4 * MIB, 0);

    map.leaves = GRANULE_LEAVES_PAGES;
    CHECK_OK(bind(s.vm, map));
    CHECK_OK(granule_vm_unmap(s.vm, VA + MIB, 4 * KIB, GRANULE_CUT_REJECT, NULL, NULL));
    CHECK_EQUAL(mapped(s.vm), 4 * MIB - 4 * KIB);
    tear_down(s);
}

static void a_va_is_chosen_and_written_back_and_given_back_with_its_unmap(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_SPLITS, NULL);
    granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);
    granule_bind_op ops[3] = {map_op(s.bo, GRANULE_VA_AUTO, 2 * MIB, 0),
                              map_op(s.bo, GRANULE_VA_AUTO, 64 * KIB, 2 * MIB),
                              op_of(GRANULE_BIND_MAP_SPARSE, GRANULE_VA_AUTO, 4 * MIB, GRANULE_CUT_REJECT)};

    ops[1].zone = GRANULE_ZONE_LOW;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 3, NULL, NULL));
    CHECK(ops[0].va != GRANULE_VA_AUTO && ops[0].va % (2 * MIB) == 0);
    CHECK(ops[1].va >= 32 * MIB && ops[1].va < 4 * GIB);
    CHECK(gpu_sees(s.vm, ops[0].va) && gpu_sees(s.vm, ops[1].va) && gpu_sees(s.vm, ops[2].va + 4 * MIB - 1));
    for (int i = 0; i < 3; i++) {
        ops[i] = op_of(GRANULE_BIND_UNMAP, ops[i].va, ops[i].size, GRANULE_CUT_REJECT);
        ops[i].flags = GRANULE_UNMAP_RELEASE_VA;
    }
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 3, NULL, NULL));
    CHECK_OK(granule_vm_get_statistics(s.vm, &statistics));
    for (int zone = 0; zone < 3; zone++) {
        CHECK_EQUAL(statistics.zones[zone].reserved_bytes, 0);
    }
    CHECK_EQUAL(statistics.mappings, 0);
    tear_down(s);
}

static void an_array_happens_whole_or_not_at_all(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_vm_statistics statistics = GRANULE_SIZED(granule_vm_statistics);
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bind_op ops[4];
    granule_bind_op before[4];

    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    ops[0] = map_op(s.bo, GRANULE_VA_AUTO, 64 * KIB, 0);
    ops[1] = map_op(s.bo, VA + 8 * MIB, 64 * KIB, 0);
    ops[2] = map_op(s.bo, VA + 8 * MIB + 64 * KIB, 64 * KIB, 64 * KIB); /* joins the one before */
    ops[3] = op_of(GRANULE_BIND_UNMAP, VA + 4 * KIB, 4 * KIB, GRANULE_CUT_REJECT);
    memcpy(before, ops, sizeof ops);
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 4, NULL, &error), GRANULE_STATUS_GRANULE_CUT);
    CHECK_EQUAL(error.op, 3);
    CHECK(memcmp(before, ops, sizeof ops) == 0);
    CHECK_EQUAL(mapped(s.vm), 4 * MIB);
    CHECK(!gpu_sees(s.vm, VA + 8 * MIB));
    CHECK_OK(granule_vm_get_statistics(s.vm, &statistics));
    CHECK_EQUAL(statistics.zones[GRANULE_ZONE_MAIN].reserved_bytes, 0);

    /* At every step of the array. */
    ops[3].cut = GRANULE_CUT_SPLIT;
    granule_status status = GRANULE_STATUS_BACKEND_FAILED;
    uint64_t skip = 0;
    for (; status == GRANULE_STATUS_BACKEND_FAILED && skip < 20; skip++) {
        granule_bind_op again[4];
        memcpy(again, ops, sizeof ops);
        CHECK_OK(granule_soft_fail(s.device, GRANULE_SOFT_OPERATION, skip, EIO));
        status = granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, again, 4, NULL, &error);
        if (status != GRANULE_STATUS_OK) {
            CHECK_STATUS(status, GRANULE_STATUS_BACKEND_FAILED);
            CHECK(!error.vm_lost && mapped(s.vm) == 4 * MIB && gpu_sees(s.vm, VA + 4 * KIB));
            CHECK_EQUAL(again[0].va, GRANULE_VA_AUTO);
        }
    }
    CHECK_OK(status);
    CHECK(skip > 4);
    CHECK_OK(granule_soft_fail(s.device, GRANULE_SOFT_OPERATION, 0, 0));
    CHECK_EQUAL(mapped(s.vm), 4 * MIB - 4 * KIB + 3 * (64 * KIB));
    tear_down(s);
}

static void queued_binds_happen_in_order_between_their_fences(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_vm_state state = GRANULE_SIZED(granule_vm_state);
    const granule_sync one = {s.timeline, 1};
    const granule_sync two = {s.timeline, 2};
    const granule_sync three = {s.timeline, 3};
    granule_bind_op ops[3] = {map_op(s.bo, VA, 4 * MIB, 0),
                              op_of(GRANULE_BIND_UNMAP, VA + 2 * MIB, 4 * KIB, GRANULE_CUT_SPLIT),
                              op_of(GRANULE_BIND_SYNC_ONLY, 0, 0, GRANULE_CUT_REJECT)};

    ops[0].waits = &one;
    ops[0].wait_count = 1;
    ops[0].signals = &two;
    ops[0].signal_count = 1;
    ops[2].signals = &three;
    ops[2].signal_count = 1;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_ASYNC, ops, 3, NULL, NULL));
    CHECK_STATUS(granule_vm_drain(s.vm, 1000000, NULL), GRANULE_STATUS_TIMED_OUT);
    CHECK_OK(granule_vm_get_state(s.vm, &state));
    CHECK(state.queued >= 1);
    CHECK_EQUAL(mapped(s.vm), 0);
    CHECK_OK(granule_timeline_signal(s.timeline, 1, NULL));
    CHECK_OK(granule_timeline_wait(s.timeline, 3, 10 * A_SECOND));
    CHECK_OK(granule_timeline_status(s.timeline));
    CHECK_EQUAL(mapped(s.vm), 4 * MIB - 4 * KIB);
    CHECK_OK(granule_vm_drain(s.vm, GRANULE_WAIT_FOREVER, NULL));
    CHECK_OK(granule_vm_get_state(s.vm, &state));
    CHECK_EQUAL(state.queued, 0);
    CHECK_EQUAL(state.failed_binds, 0);
    tear_down(s);
}

static void a_queued_bind_that_fails_says_so_on_its_fences_and_does_not_spoil_the_next(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_vm_state state = GRANULE_SIZED(granule_vm_state);
    const granule_sync fail = {s.timeline, 1};
    granule_bind_op cut = op_of(GRANULE_BIND_UNMAP, VA, 4 * KIB, GRANULE_CUT_REJECT);

    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    cut.signals = &fail;
    cut.signal_count = 1;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_ASYNC, &cut, 1, NULL, NULL));
    CHECK_OK(granule_timeline_wait(s.timeline, 1, 10 * A_SECOND));
    CHECK_STATUS(granule_timeline_status(s.timeline), GRANULE_STATUS_GRANULE_CUT);
    CHECK_OK(granule_vm_drain(s.vm, GRANULE_WAIT_FOREVER, NULL));
    CHECK_OK(granule_vm_get_state(s.vm, &state));
    CHECK_EQUAL(state.failed_binds, 1);
    CHECK_EQUAL(state.last_failed_bind.status, GRANULE_STATUS_GRANULE_CUT);
    CHECK(strcmp(state.last_failed_bind.label, "texture atlas") == 0);
    CHECK(state.usable);

    granule_bind_op good = op_of(GRANULE_BIND_UNMAP, VA, 4 * MIB, GRANULE_CUT_REJECT);
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_ASYNC, &good, 1, NULL, NULL));
    CHECK_OK(granule_vm_drain(s.vm, GRANULE_WAIT_FOREVER, NULL));
    CHECK_EQUAL(mapped(s.vm), 0);
    tear_down(s);
}

static void a_va_that_a_queued_unmap_releases_is_taken_until_then(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_bind_op map = map_op(s.bo, GRANULE_VA_AUTO, 4 * MIB, 0);
    granule_va_info again = GRANULE_SIZED(granule_va_info);
    const granule_sync go = {s.timeline, 1};
    uint64_t va = 0;

    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    granule_bind_op unmap = op_of(GRANULE_BIND_UNMAP, map.va, 4 * MIB, GRANULE_CUT_REJECT);
    unmap.flags = GRANULE_UNMAP_RELEASE_VA;
    unmap.waits = &go;
    unmap.wait_count = 1;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_ASYNC, &unmap, 1, NULL, NULL));
    again.fixed = 1;
    again.address = map.va;
    again.size = 4 * MIB;
    CHECK_STATUS(granule_va_reserve(s.vm, &again, &va, NULL), GRANULE_STATUS_VA_OCCUPIED);
    CHECK_OK(granule_timeline_signal(s.timeline, 1, NULL));
    CHECK_OK(granule_vm_drain(s.vm, GRANULE_WAIT_FOREVER, NULL));
    CHECK_OK(granule_va_reserve(s.vm, &again, &va, NULL));
    CHECK_EQUAL(va, map.va);
    tear_down(s);
}

static void a_deferred_bind_waits_until_the_vm_is_idle(void) {
    granule_vm_info info = GRANULE_SIZED(granule_vm_info);

    info.flags = GRANULE_VM_TRACK_ACTIVITY;
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, &info);
    granule_bind_op unmap = op_of(GRANULE_BIND_UNMAP, VA, 4 * MIB, GRANULE_CUT_REJECT);
    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    const granule_sync busy = granule_vm_activity_begin(s.vm);
    granule_vm_activity_end(s.vm, busy.point + 1); /* a job */
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_DEFERRED, &unmap, 1, NULL, NULL));
    CHECK_EQUAL(granule_vm_activity(s.vm).point, busy.point + 2);
    CHECK_STATUS(granule_vm_drain(s.vm, 1000000, NULL), GRANULE_STATUS_TIMED_OUT);
    CHECK(gpu_sees(s.vm, VA));
    CHECK_OK(granule_timeline_signal(busy.timeline, busy.point + 1, NULL));
    CHECK_OK(granule_vm_drain(s.vm, GRANULE_WAIT_FOREVER, NULL));
    CHECK(!gpu_sees(s.vm, VA));
    CHECK_OK(granule_timeline_wait(busy.timeline, busy.point + 2, 0));
    tear_down(s);
}

struct bindings {
    uint64_t bound, unbound, count;
    uint32_t last_bo;
};

static void hear(void* data, const granule_binding* binding) {
    struct bindings* const bindings = data;

    *(binding->bound ? &bindings->bound : &bindings->unbound) += binding->va.end - binding->va.start;
    bindings->count++;
    bindings->last_bo = binding->bo_id;
    CHECK_EQUAL(binding->struct_size, sizeof *binding);
    CHECK((binding->bo == NULL) == (binding->sparse || binding->bo_id == 0) || !binding->bound);
}

static void what_appears_and_goes_is_told(void) {
    struct bindings bindings = {0, 0, 0, 0};
    granule_vm_info info = GRANULE_SIZED(granule_vm_info);

    info.on_binding = hear;
    info.on_binding_data = &bindings;
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, &info);
    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    CHECK_EQUAL(bindings.bound, 4 * MIB);
    CHECK_EQUAL(bindings.last_bo, granule_bo_id(s.bo));
    CHECK_OK(granule_vm_unmap(s.vm, VA, 4 * KIB, GRANULE_CUT_SPLIT, NULL, NULL));
    CHECK_EQUAL(bindings.bound, 4 * MIB); /* residuals were there all the time */
    CHECK_EQUAL(bindings.unbound, 4 * KIB);
    const uint64_t count = bindings.count;
    CHECK_STATUS(granule_vm_unmap(s.vm, VA + 2 * MIB, 4 * KIB, GRANULE_CUT_REJECT, NULL, NULL),
                 GRANULE_STATUS_GRANULE_CUT);
    CHECK_EQUAL(bindings.count, count);
    granule_bo_unref(s.bo);
    granule_timeline_unref(s.timeline);
    granule_vm_destroy(s.vm);
    CHECK_EQUAL(bindings.unbound, bindings.bound);
    close_clean(s.device);
}

static void a_plan_says_what_a_bind_would_do_and_does_nothing(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_plan plan = GRANULE_SIZED(granule_plan);
    granule_bind_op unmap = op_of(GRANULE_BIND_UNMAP, VA + MIB, 4 * KIB, GRANULE_CUT_SPLIT);
    granule_bind_report report = GRANULE_SIZED(granule_bind_report);
    char text[1024];

    CHECK_OK(bind(s.vm, map_op(s.bo, VA, 4 * MIB, 0)));
    CHECK_OK(granule_vm_explain(s.vm, &unmap, &plan, NULL));
    CHECK_EQUAL(plan.op_count, 3);
    CHECK_EQUAL(plan.ops[0].type, GRANULE_BIND_UNMAP);
    CHECK_EQUAL(plan.ops[0].purpose, GRANULE_PLAN_GRANULE);
    CHECK_EQUAL(plan.ops[0].va.start, VA);
    CHECK_EQUAL(plan.ops[0].va.end, VA + 2 * MIB);
    CHECK_EQUAL(plan.ops[2].purpose, GRANULE_PLAN_RESIDUAL);
    CHECK_EQUAL(plan.ops[2].bo_id, granule_bo_id(s.bo));
    CHECK_EQUAL(plan.ops[2].bo_offset, MIB + 4 * KIB);
    CHECK_EQUAL(plan.residual_bytes, 2 * MIB - 4 * KIB);
    CHECK_EQUAL(plan.locked.end - plan.locked.start, 2 * MIB);
    CHECK(granule_plan_text(&plan, text, sizeof text) < sizeof text && strstr(text, "residual") != NULL);
    CHECK_EQUAL(mapped(s.vm), 4 * MIB);
    CHECK_OK(granule_vm_unmap(s.vm, VA + MIB, 4 * KIB, GRANULE_CUT_SPLIT, &report, NULL));
    CHECK_EQUAL(report.operations, plan.op_count);
    CHECK_EQUAL(report.residual_bytes, plan.residual_bytes);

    unmap.type = GRANULE_BIND_SYNC_ONLY;
    CHECK_STATUS(granule_vm_explain(s.vm, &unmap, &plan, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bind_op map = map_op(s.bo, GRANULE_VA_AUTO, 4 * MIB, 0);
    CHECK_STATUS(granule_vm_explain(s.vm, &map, &plan, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_explain(NULL, &map, &plan, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_explain(s.vm, NULL, &plan, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_explain(s.vm, &map, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_plan_text(NULL, NULL, 0), 0);
    tear_down(s);
}

static void a_plan_isolates_what_a_kernel_would_oops_on(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_OOPSES, NULL);
    granule_plan plan = GRANULE_SIZED(granule_plan);
    granule_bind_op map = map_op(s.bo, VA, 4 * MIB, 0);
    granule_bind_op unmap = op_of(GRANULE_BIND_UNMAP, VA, 4 * MIB, GRANULE_CUT_REJECT);

    map.leaves = GRANULE_LEAVES_PAGES;
    CHECK_OK(bind(s.vm, map));
    CHECK_OK(granule_vm_explain(s.vm, &unmap, &plan, NULL));
    CHECK_EQUAL(plan.op_count, 1);
    CHECK_EQUAL(plan.ops[0].purpose, GRANULE_PLAN_REQUESTED);
    unmap.va = VA + MIB;
    unmap.size = 4 * KIB;
    CHECK_OK(granule_vm_explain(s.vm, &unmap, &plan, NULL));
    CHECK(plan.op_count > 1);
    CHECK_EQUAL(plan.ops[0].purpose, GRANULE_PLAN_ISOLATE);
    CHECK_EQUAL(plan.ops[plan.op_count - 1].purpose, GRANULE_PLAN_REQUESTED);
    CHECK_OK(bind(s.vm, unmap));
    tear_down(s);
}

static int see_flags(void* data, const granule_mapping* mapping) {
    *(uint32_t*)data = mapping->flags;
    return 0;
}

static void a_mapping_has_the_flags_that_it_was_made_with(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_SPLITS, NULL);
    const granule_range all = {VA, VA + 4 * KIB};

    for (uint32_t flags = 0; flags <= (GRANULE_MAP_READ_ONLY | GRANULE_MAP_NO_EXEC | GRANULE_MAP_UNCACHED); flags++) {
        granule_bind_op map = map_op(s.bo, VA, 4 * KIB, 0);
        uint32_t seen = UINT32_MAX;
        map.flags = flags;
        CHECK_OK(bind(s.vm, map));
        CHECK_OK(granule_vm_walk(s.vm, all, see_flags, &seen));
        CHECK_EQUAL(seen, flags);
        CHECK_STATUS(granule_soft_write(s.vm, VA, "x", 1, NULL),
                     flags & GRANULE_MAP_READ_ONLY ? GRANULE_STATUS_OUT_OF_RANGE : GRANULE_STATUS_OK);
    }
    tear_down(s);
}

static void bad_operations_are_refused_and_named(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    granule_device* const other = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const foreign = new_bo(other, 4 * KIB, NULL);
    const granule_bind_op good = map_op(s.bo, VA, 64 * KIB, 0);
    const granule_sync no_timeline = {NULL, 1};
    struct {
        granule_bind_op op;
        granule_status status;
    } bad[18];
    int count = 0;

    for (int i = 0; i < 18; i++) {
        bad[i].op = good;
        bad[i].status = GRANULE_STATUS_BAD_ARGUMENT;
    }
    bad[count++].op.type = 4;
    bad[count++].op.flags = 1u << 20;
    bad[count++].op.flags = GRANULE_UNMAP_RELEASE_VA; /* of a map */
    bad[count++].op.cut = 3;
    bad[count++].op.leaves = 2;
    bad[count++].op.va = VA + 1;
    bad[count++].op.size = 0;
    bad[count++].op.size = 100;
    bad[count++].op.bo = NULL;
    bad[count++].op.bo_offset = 1;
    bad[count++].op.reserved = 1;
    bad[count++].op.wait_count = 1; /* immediate, and no waits either */
    bad[count].op.waits = &no_timeline;
    bad[count++].op.wait_count = 1;
    bad[count].status = GRANULE_STATUS_OUT_OF_RANGE;
    bad[count++].op.bo_offset = 4 * MIB - 4 * KIB;
    bad[count].status = GRANULE_STATUS_OUT_OF_RANGE;
    bad[count++].op.va = UINT64_C(1) << 50;
    bad[count].status = GRANULE_STATUS_OUT_OF_RANGE;
    bad[count++].op.size = UINT64_MAX - 4095;
    bad[count].status = GRANULE_STATUS_UNKNOWN_BO;
    bad[count++].op.bo = foreign;
    bad[count].op.va = GRANULE_VA_AUTO;
    bad[count++].op.zone = 3;
    CHECK_EQUAL(count, 18);
    for (int i = 0; i < count; i++) {
        granule_error error = GRANULE_SIZED(granule_error);
        granule_bind_op ops[2] = {map_op(s.bo, VA + 16 * MIB, 4 * KIB, 0), bad[i].op};
        const granule_status seen = granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 2, NULL, &error);
        if (seen != bad[i].status) {
            CHECK_STATUS(seen, bad[i].status);
            CHECK_EQUAL(i, UINT64_MAX); /* which one */
        }
        CHECK_EQUAL(error.op, 1);
        CHECK_EQUAL(mapped(s.vm), 0);
    }
    granule_bind_op ops[2] = {good, good};
    ops[1].struct_size = 40;
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 2, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    ops[0].struct_size = 0;
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, ops, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    ops[0] = good;
    CHECK_STATUS(granule_vm_bind(NULL, GRANULE_BIND_IMMEDIATE, ops, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, NULL, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_bind(s.vm, (granule_bind_mode)7, ops, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_DEFERRED, ops, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, NULL, 0, NULL, NULL));
    CHECK_STATUS(granule_vm_unmap(s.vm, VA, 4 * KIB, (granule_cut_policy)9, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_unmap(NULL, VA, 4 * KIB, GRANULE_CUT_SPLIT, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_drain(NULL, 0, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bo_unref(foreign);
    close_clean(other);
    tear_down(s);
}

static void operations_of_a_later_header_are_as_far_apart_as_they_say(void) {
    const struct set_up s = set_up(GRANULE_KERNEL_REFUSES, NULL);
    struct later {
        granule_bind_op op;
        uint64_t news;
    } ops[2] = {{map_op(s.bo, VA, 4 * KIB, 0), 0}, {map_op(s.bo, VA + MIB, 4 * KIB, 0), 0}};

    ops[0].op.struct_size = ops[1].op.struct_size = sizeof *ops;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, &ops[0].op, 2, NULL, NULL));
    CHECK(gpu_sees(s.vm, VA) && gpu_sees(s.vm, VA + MIB));
    ops[1].news = 1;
    CHECK_STATUS(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, &ops[0].op, 2, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    tear_down(s);
}

void test_bind(void) {
    RUN(a_part_of_a_block_goes_and_the_rest_stays_on_every_kernel);
    RUN(policy_reject_names_the_granule_and_whose_it_is);
    RUN(policy_enlarge_takes_whole_granules_and_says_how_much);
    RUN(leaves_of_4k_are_never_cut);
    RUN(a_va_is_chosen_and_written_back_and_given_back_with_its_unmap);
    RUN(an_array_happens_whole_or_not_at_all);
    RUN(queued_binds_happen_in_order_between_their_fences);
    RUN(a_queued_bind_that_fails_says_so_on_its_fences_and_does_not_spoil_the_next);
    RUN(a_va_that_a_queued_unmap_releases_is_taken_until_then);
    RUN(a_deferred_bind_waits_until_the_vm_is_idle);
    RUN(what_appears_and_goes_is_told);
    RUN(a_plan_says_what_a_bind_would_do_and_does_nothing);
    RUN(a_plan_isolates_what_a_kernel_would_oops_on);
    RUN(a_mapping_has_the_flags_that_it_was_made_with);
    RUN(bad_operations_are_refused_and_named);
    RUN(operations_of_a_later_header_are_as_far_apart_as_they_say);
}
