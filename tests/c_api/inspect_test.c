/* inspect.h: what is, or was, at a VA. */
#include <string.h>

#include "check.h"

#define VA (UINT64_C(1) << 32)

struct set_up {
    granule_device* device;
    granule_vm* vm;
    granule_bo* bo;
};

/* A BO of 4 MiB at VA, two blocks. */
static struct set_up set_up(void) {
    struct set_up s = {open_soft(GRANULE_KERNEL_REFUSES), NULL, NULL};
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    granule_va_info va = GRANULE_SIZED(granule_va_info);
    uint64_t at = 0;

    CHECK_OK(granule_vm_create(s.device, NULL, &s.vm, NULL));
    s.bo = new_bo(s.device, 4 * MIB, "texture atlas");
    va.fixed = 1;
    va.address = VA;
    va.size = 8 * MIB;
    CHECK_OK(granule_va_reserve(s.vm, &va, &at, NULL));
    map.va = VA;
    map.size = 4 * MIB;
    map.bo = s.bo;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    return s;
}

static void tear_down(struct set_up s) {
    granule_bo_unref(s.bo);
    granule_vm_destroy(s.vm);
    close_clean(s.device);
}

static granule_address_report describe(granule_vm* vm, uint64_t va) {
    granule_address_report report = GRANULE_SIZED(granule_address_report);

    CHECK_OK(granule_vm_describe(vm, va, &report));
    CHECK_EQUAL(report.va, va);
    return report;
}

static void a_va_leads_to_its_bo(void) {
    const struct set_up s = set_up();
    granule_bo* bo = NULL;
    uint64_t offset = 0;

    CHECK_OK(granule_vm_lookup(s.vm, VA + 3 * MIB + 5, &bo, &offset));
    CHECK(bo == s.bo && offset == 3 * MIB + 5);
    granule_bo_unref(bo);
    CHECK_OK(granule_vm_lookup(s.vm, VA + 4 * MIB, &bo, NULL));
    CHECK(bo == NULL);
    CHECK_OK(granule_vm_lookup(s.vm, UINT64_MAX, &bo, &offset));
    CHECK(bo == NULL);
    CHECK_STATUS(granule_vm_lookup(NULL, VA, &bo, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_lookup(s.vm, VA, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    tear_down(s);
}

static void what_is_mapped_is_described_with_its_granule_and_its_label(void) {
    const struct set_up s = set_up();
    const granule_address_report report = describe(s.vm, VA + 2 * MIB + 0x1234);

    CHECK_EQUAL(report.condition, GRANULE_ADDRESS_MAPPED);
    CHECK_EQUAL(report.mapping.va.start, VA);
    CHECK_EQUAL(report.mapping.va.end, VA + 4 * MIB);
    CHECK_EQUAL(report.mapping.bo_id, granule_bo_id(s.bo));
    CHECK_EQUAL(report.granule.start, VA + 2 * MIB);
    CHECK_EQUAL(report.granule.end, VA + 4 * MIB);
    CHECK(strcmp(report.label, "texture atlas") == 0);
    CHECK_EQUAL(report.reserved_range.start, VA);
    CHECK_EQUAL(report.reserved_range.end, VA + 8 * MIB);
    tear_down(s);
}

static void what_was_there_is_remembered_with_who_removed_it(void) {
    const struct set_up s = set_up();
    granule_bind_report bind = GRANULE_SIZED(granule_bind_report);
    granule_bind_op over = GRANULE_SIZED(granule_bind_op);
    char text[1024];

    CHECK_OK(granule_vm_unmap(s.vm, VA, 4 * KIB, GRANULE_CUT_SPLIT, &bind, NULL));
    granule_address_report report = describe(s.vm, VA + 7);
    CHECK_EQUAL(report.condition, GRANULE_ADDRESS_UNMAPPED);
    CHECK_EQUAL(report.removed.va.start, VA);
    CHECK_EQUAL(report.removed.va.end, VA + 4 * KIB);
    CHECK_EQUAL(report.removed.bo_id, granule_bo_id(s.bo));
    CHECK_EQUAL(report.removed_by, bind.serial);
    CHECK(!report.removed_by_map && report.removed_ns != 0 && report.history_complete);
    CHECK(strcmp(report.removed_label, "texture atlas") == 0);
    CHECK(strcmp(report.above_label, "texture atlas") == 0);
    CHECK_EQUAL(report.above.va.start, VA + 4 * KIB);
    CHECK_EQUAL(report.below.va.end, 0);
    CHECK(granule_address_report_text(&report, text, sizeof text) < sizeof text);
    CHECK(strstr(text, "texture atlas") != NULL && strstr(text, "unmap") != NULL);
    CHECK_EQUAL(granule_address_report_text(&report, NULL, 0), strlen(text));

    over.type = GRANULE_BIND_MAP_SPARSE;
    over.va = VA + 64 * KIB;
    over.size = 64 * KIB;
    over.cut = GRANULE_CUT_SPLIT;
    CHECK_OK(granule_vm_bind(s.vm, GRANULE_BIND_IMMEDIATE, &over, 1, NULL, NULL));
    report = describe(s.vm, VA + 64 * KIB);
    CHECK_EQUAL(report.condition, GRANULE_ADDRESS_SPARSE);
    CHECK(report.removed_by_map);
    tear_down(s);
}

static void every_condition_has_its_name(void) {
    const struct set_up s = set_up();
    granule_timeline* timeline = NULL;
    granule_va_info va = GRANULE_SIZED(granule_va_info);
    uint64_t at = 0;

    CHECK_EQUAL(describe(s.vm, VA + 6 * MIB).condition, GRANULE_ADDRESS_RESERVED);
    CHECK_EQUAL(describe(s.vm, VA + 64 * MIB).condition, GRANULE_ADDRESS_NEVER_USED);
    CHECK_EQUAL(describe(s.vm, (UINT64_C(1) << 48) - 1).condition, GRANULE_ADDRESS_OUTSIDE);
    CHECK_EQUAL(describe(s.vm, UINT64_MAX).condition, GRANULE_ADDRESS_OUTSIDE);
    CHECK_OK(granule_timeline_create(s.device, &timeline, NULL));
    const granule_sync fence = {timeline, 1};
    va.size = 4 * KIB;
    CHECK_OK(granule_va_reserve(s.vm, &va, &at, NULL));
    CHECK_OK(granule_va_release(s.vm, at, 4 * KIB, &fence, 1, NULL));
    const granule_address_report report = describe(s.vm, at);
    CHECK_EQUAL(report.condition, GRANULE_ADDRESS_WAITING);
    CHECK(report.reserved_waiting);
    granule_timeline_unref(timeline);
    CHECK_STATUS(granule_vm_describe(NULL, VA, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_describe(s.vm, VA, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_address_report_text(NULL, NULL, 0), 0);
    tear_down(s);
}

struct walked {
    uint64_t count, bytes, last, limit;
};

static int walk_mapping(void* data, const granule_mapping* mapping) {
    struct walked* const walked = data;

    CHECK(mapping->va.start >= walked->last && mapping->va.end > mapping->va.start);
    walked->last = mapping->va.end;
    walked->bytes += mapping->va.end - mapping->va.start;
    return ++walked->count == walked->limit;
}

static int walk_leaves(void* data, const granule_leaves* leaves) {
    struct walked* const walked = data;

    CHECK(leaves->va.start >= walked->last && (leaves->va.end - leaves->va.start) % leaves->leaf_size == 0);
    CHECK(leaves->leaf_size == 4 * KIB || leaves->leaf_size == 2 * MIB);
    walked->last = leaves->va.end;
    walked->bytes += leaves->va.end - leaves->va.start;
    return ++walked->count == walked->limit;
}

static int walk_reservation(void* data, const granule_reservation* reservation) {
    struct walked* const walked = data;

    CHECK(reservation->zone <= GRANULE_ZONE_REPLAY);
    CHECK(reservation->with_guards.start <= reservation->va.start &&
          reservation->va.end <= reservation->with_guards.end);
    walked->bytes += reservation->va.end - reservation->va.start;
    return ++walked->count == walked->limit;
}

static void everything_can_be_walked_in_order_and_the_walk_ended(void) {
    const struct set_up s = set_up();
    const granule_range all = {0, UINT64_C(1) << 48};
    const granule_range second_block = {VA + 2 * MIB, VA + 2 * MIB + 1};
    struct walked walked = {0, 0, 0, 0};

    for (int i = 0; i < 4; i++) {
        CHECK_OK(granule_vm_unmap(s.vm, VA + (uint64_t)i * 64 * KIB, 4 * KIB, GRANULE_CUT_SPLIT, NULL, NULL));
    }
    CHECK_OK(granule_vm_walk(s.vm, all, walk_mapping, &walked));
    CHECK_EQUAL(walked.count, 4);
    CHECK_EQUAL(walked.bytes, 4 * MIB - 4 * (4 * KIB));
    walked = (struct walked){0, 0, 0, 2};
    CHECK_OK(granule_vm_walk(s.vm, all, walk_mapping, &walked));
    CHECK_EQUAL(walked.count, 2);
    walked = (struct walked){0, 0, 0, 0};
    CHECK_OK(granule_vm_walk_leaves(s.vm, all, walk_leaves, &walked));
    CHECK_EQUAL(walked.bytes, 4 * MIB - 4 * (4 * KIB));
    walked = (struct walked){0, 0, 0, 0};
    CHECK_OK(granule_vm_walk(s.vm, second_block, walk_mapping, &walked));
    CHECK_EQUAL(walked.count, 1);
    walked = (struct walked){0, 0, 0, 0};
    CHECK_OK(granule_vm_walk_reservations(s.vm, all, walk_reservation, &walked));
    CHECK_EQUAL(walked.bytes, 8 * MIB);

    const granule_range backwards = {VA, VA - 1};
    CHECK_STATUS(granule_vm_walk(s.vm, backwards, walk_mapping, &walked), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk(s.vm, all, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk(NULL, all, walk_mapping, &walked), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk_leaves(s.vm, all, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk_leaves(NULL, all, walk_leaves, &walked), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk_reservations(s.vm, all, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_vm_walk_reservations(NULL, all, walk_reservation, &walked), GRANULE_STATUS_BAD_ARGUMENT);
    tear_down(s);
}

static int see_bo(void* data, const granule_bo_entry* entry) {
    granule_bo_entry* const seen = data;

    CHECK_EQUAL(entry->struct_size, sizeof *entry);
    *seen = *entry;
    return 0;
}

static void every_live_bo_is_listed(void) {
    const struct set_up s = set_up();
    granule_bo_entry seen = GRANULE_SIZED(granule_bo_entry);

    granule_bo_ref(s.bo);
    CHECK_OK(granule_device_walk_bos(s.device, see_bo, &seen));
    CHECK_EQUAL(seen.id, granule_bo_id(s.bo));
    CHECK_EQUAL(seen.size, 4 * MIB);
    CHECK_EQUAL(seen.holders, 2);
    CHECK_EQUAL(seen.mapped_bytes, 4 * MIB);
    CHECK(!seen.imported && !seen.cached);
    CHECK(strcmp(seen.label, "texture atlas") == 0);
    granule_bo_unref(s.bo);
    CHECK_STATUS(granule_device_walk_bos(NULL, see_bo, &seen), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_device_walk_bos(s.device, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    tear_down(s);
}

void test_inspect(void) {
    RUN(a_va_leads_to_its_bo);
    RUN(what_is_mapped_is_described_with_its_granule_and_its_label);
    RUN(what_was_there_is_remembered_with_who_removed_it);
    RUN(every_condition_has_its_name);
    RUN(everything_can_be_walked_in_order_and_the_walk_ended);
    RUN(every_live_bo_is_listed);
}
