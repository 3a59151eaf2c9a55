/* device.h: opening, properties, memory. */
#include <string.h>

#include "check.h"

static void the_soft_device_is_what_was_asked_for(void) {
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_soft_info soft = GRANULE_SIZED(granule_soft_info);
    granule_device_properties properties = GRANULE_SIZED(granule_device_properties);
    granule_device* device = NULL;

    soft.gpu = "T860";
    soft.memory_size = 64 * MIB;
    info.soft = &soft;
    CHECK_OK(granule_device_open(&info, &device, NULL));
    CHECK_OK(granule_device_get_properties(device, &properties));
    CHECK_EQUAL(properties.kind, GRANULE_DEVICE_SOFT);
    CHECK(strcmp(properties.gpu_name, "T860") == 0);
    CHECK_EQUAL(properties.gpu_id >> 16, 0x860);
    CHECK_EQUAL(properties.kernel, GRANULE_KERNEL_SPLITS);
    CHECK_EQUAL(properties.leaf_sizes, 4 * KIB | 2 * MIB);
    /* panfrost's space. */
    CHECK_EQUAL(properties.default_vm_space.start, 32 * MIB);
    CHECK_EQUAL(properties.default_vm_space.end, 4 * GIB);
    CHECK(properties.sparse && properties.async_binds && !properties.kernel_queue && !properties.kernel_places_bos);
    CHECK(strcmp(properties.kernel_release, "") == 0);
    CHECK_EQUAL(granule_device_fd(device), (uint64_t)-1);
    close_clean(device);

    /* All that the soft device need not find out. */
    soft.gpu = NULL;
    soft.kernel = GRANULE_KERNEL_FIND_OUT;
    info.flags = GRANULE_DEVICE_NO_PROBE;
    CHECK_OK(granule_device_open(&info, &device, NULL));
    CHECK_OK(granule_device_get_properties(device, &properties));
    CHECK_EQUAL(properties.kernel, GRANULE_KERNEL_SPLITS);
    CHECK(strcmp(properties.gpu_name, "G610") == 0);
    close_clean(device);
}

static void it_plays_each_kernel(void) {
    for (int kernel = GRANULE_KERNEL_SPLITS; kernel <= GRANULE_KERNEL_REALIGNS; kernel++) {
        granule_device* const device = open_soft((granule_kernel_behaviour)kernel);
        granule_device_properties properties = GRANULE_SIZED(granule_device_properties);
        CHECK_OK(granule_device_get_properties(device, &properties));
        CHECK_EQUAL(properties.kernel, kernel);
        CHECK_EQUAL(properties.kernel_from, GRANULE_KERNEL_FROM_OVERRIDE);
        close_clean(device);
    }
}

static void every_name_of_a_gpu_can_be_opened(void) {
    uint32_t count = 0;

    for (const char* name; (name = granule_gpu_name(count)) != NULL; count++) {
        granule_device_info info = GRANULE_SIZED(granule_device_info);
        granule_soft_info soft = GRANULE_SIZED(granule_soft_info);
        granule_device* device = NULL;
        soft.gpu = name;
        soft.memory_size = 16 * MIB;
        info.soft = &soft;
        CHECK_OK(granule_device_open(&info, &device, NULL));
        close_clean(device);
    }
    CHECK(count > 20);
    CHECK(granule_gpu_name(UINT32_MAX) == NULL);
}

/* That this is refused, with words for it, and nothing comes of it. */
static void refused(const granule_device_info* info) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device* device = (granule_device*)&error;

    CHECK_STATUS(granule_device_open(info, &device, &error), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(device == NULL && error.why != NULL && strlen(error.why) > 0);
    CHECK_EQUAL(error.op, GRANULE_NO_OP);
}

static void bad_descriptions_are_refused_with_the_rule_that_they_break(void) {
    const granule_device_info good = GRANULE_SIZED(granule_device_info);
    const granule_soft_info good_soft = GRANULE_SIZED(granule_soft_info);
    granule_device* device = NULL;
    granule_device_info info;
    granule_soft_info soft;

    refused(NULL);
    CHECK_STATUS(granule_device_open(&good, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info = good;
    info.struct_size = 0;
    refused(&info);
    info.struct_size = sizeof info - 1;
    refused(&info);
    info = good;
    info.flags = 1u << 31;
    refused(&info);
    info = good;
    info.reserved = 1;
    refused(&info);
    info = good;
    info.kernel = GRANULE_KERNEL_REALIGNS + 1;
    refused(&info);
    info = good;
    info.path = "/dev/null";
    info.use_fd = 1;
    refused(&info);
    info = good;
    info.use_fd = 1;
    info.fd = -1;
    refused(&info);
    info = good;
    info.path = "/dev/null";
    info.soft = &good_soft;
    refused(&info);

    soft = good_soft;
    info = good;
    info.soft = &soft;
    soft.gpu = "RTX";
    refused(&info);
    soft = good_soft;
    soft.kernel = 77;
    refused(&info);
    soft = good_soft;
    soft.memory_size = 3 * MIB;
    refused(&info);
    soft = good_soft;
    soft.memory_size = UINT64_MAX - (2 * MIB - 1);
    refused(&info);
    soft = good_soft;
    soft.struct_size = 4;
    refused(&info);
    CHECK_EQUAL(granule_device_close(device), 0);
}

static void what_is_no_mali_is_not_opened(void) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;

    info.path = "/dev/null";
    CHECK(granule_device_open(&info, &device, &error) != GRANULE_STATUS_OK);
    CHECK(device == NULL);
    CHECK(error.status == GRANULE_STATUS_NOT_SUPPORTED || error.status == GRANULE_STATUS_OS_FAILED);
}

static void a_struct_of_a_later_header_is_understood_where_its_news_are_zero(void) {
    struct {
        granule_device_info info;
        uint64_t news;
    } later;
    granule_device* device = NULL;

    memset(&later, 0, sizeof later);
    later.info.struct_size = sizeof later;
    CHECK_OK(granule_device_open(&later.info, &device, NULL));
    close_clean(device);
    later.news = 1;
    refused(&later.info);
}

static void of_what_is_filled_in_no_more_is_written_than_there_is_room_for(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    struct {
        granule_memory_usage usage;
        uint64_t behind[2];
    } more;
    granule_memory_usage usage = GRANULE_SIZED(granule_memory_usage);

    memset(&more, 0xff, sizeof more);
    more.usage.struct_size = sizeof more.usage + sizeof more.behind[0];
    CHECK_OK(granule_device_get_memory_usage(device, &more.usage));
    CHECK_EQUAL(more.usage.struct_size, sizeof more.usage + sizeof more.behind[0]);
    CHECK_EQUAL(more.behind[0], 0);
    CHECK_EQUAL(more.behind[1], UINT64_MAX);
    usage.struct_size = 4;
    CHECK_STATUS(granule_device_get_memory_usage(device, &usage), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(usage.heap_bytes, 0);
    CHECK_STATUS(granule_device_get_memory_usage(NULL, &usage), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_device_get_memory_usage(device, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_device_get_properties(device, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_device_get_properties(NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    close_clean(device);
}

static void memory_is_counted_and_limited(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_memory_usage usage = GRANULE_SIZED(granule_memory_usage);
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* more = NULL;
    granule_bo* const bo = new_bo(device, 5000, NULL);

    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.bos, 1);
    CHECK_EQUAL(usage.bo_bytes, 8 * KIB);
    CHECK_EQUAL(usage.bo_bytes_peak, 8 * KIB);
    CHECK_EQUAL(usage.limit, 0);
    CHECK_EQUAL(usage.heap_bytes, 64 * GIB);
    CHECK_EQUAL(usage.budget, usage.heap_bytes);

    granule_device_set_memory_limit(device, 12 * KIB);
    info.size = 4 * KIB + 1;
    CHECK_STATUS(granule_bo_create(device, &info, &more, &error), GRANULE_STATUS_OVER_BUDGET);
    CHECK(more == NULL && error.status == GRANULE_STATUS_OVER_BUDGET);
    info.size = 4 * KIB;
    CHECK_OK(granule_bo_create(device, &info, &more, &error));
    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.budget, 12 * KIB);
    CHECK_EQUAL(usage.bo_bytes, 12 * KIB);
    granule_bo_unref(more);
    granule_device_set_memory_limit(device, 0);
    granule_device_set_memory_limit(NULL, 1);
    granule_bo_unref(bo);
    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.bos, 0);
    CHECK_EQUAL(usage.bo_bytes, 0);
    CHECK_EQUAL(usage.bo_bytes_peak, 12 * KIB);
    close_clean(device);
}

static void a_closed_device_lives_as_long_as_what_is_left_of_it(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_vm* vm = NULL;
    granule_timeline* timeline = NULL;
    granule_bo* bo = new_bo(device, 4 * KIB, NULL);
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    CHECK_OK(granule_timeline_create(device, &timeline, NULL));
    CHECK_EQUAL(granule_device_close(device), 3);
    map.va = GRANULE_VA_AUTO;
    map.size = 4 * KIB;
    map.bo = bo;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    granule_bo_unref(bo);
    granule_timeline_unref(timeline);
    granule_vm_destroy(vm);
    CHECK_EQUAL(granule_device_close(NULL), 0);
}

static void see(void* data, const granule_device_entry* entry) {
    uint32_t* const seen = data;

    (*seen)++;
    CHECK_EQUAL(entry->struct_size, sizeof *entry);
    CHECK(strlen(entry->path) > 0);
    CHECK(entry->status != GRANULE_STATUS_OK || entry->properties.kind == GRANULE_DEVICE_PANTHOR ||
          entry->properties.kind == GRANULE_DEVICE_PANFROST);
    CHECK(entry->properties.kernel_from != GRANULE_KERNEL_FROM_PROBE); /* probes none */
    CHECK(entry->status == GRANULE_STATUS_OK || granule_status_text((granule_status)entry->status) != NULL);
}

static void the_devices_of_the_machine_can_be_listed(void) {
    uint32_t seen = 0;

    CHECK_OK(granule_list_devices(see, &seen, NULL));
    CHECK(seen <= 64);
    CHECK_STATUS(granule_list_devices(NULL, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
}

void test_device(void) {
    RUN(the_soft_device_is_what_was_asked_for);
    RUN(it_plays_each_kernel);
    RUN(every_name_of_a_gpu_can_be_opened);
    RUN(bad_descriptions_are_refused_with_the_rule_that_they_break);
    RUN(what_is_no_mali_is_not_opened);
    RUN(a_struct_of_a_later_header_is_understood_where_its_news_are_zero);
    RUN(of_what_is_filled_in_no_more_is_written_than_there_is_room_for);
    RUN(memory_is_counted_and_limited);
    RUN(a_closed_device_lives_as_long_as_what_is_left_of_it);
    RUN(the_devices_of_the_machine_can_be_listed);
}
