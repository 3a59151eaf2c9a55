/* bo.h: buffer objects. */
#define _GNU_SOURCE /* memfd_create */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

static granule_status create(granule_device* device, uint64_t size, uint32_t flags, granule_bo** bo) {
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);

    info.size = size;
    info.flags = flags;
    return granule_bo_create(device, &info, bo, NULL);
}

static void a_bo_has_the_size_label_and_mark_that_it_was_made_with(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* bo = NULL;
    char label[32];

    info.size = 4 * KIB + 1;
    info.label = "vertices";
    info.mark = 0x1234;
    CHECK_OK(granule_bo_create(device, &info, &bo, NULL));
    CHECK_EQUAL(granule_bo_size(bo), 8 * KIB);
    CHECK_EQUAL(granule_bo_mark(bo), 0x1234);
    CHECK(granule_bo_id(bo) != 0);
    CHECK_EQUAL(granule_bo_gem_handle(bo), 0);
    CHECK(!granule_bo_is_imported(bo));
    CHECK_EQUAL(granule_bo_get_label(bo, label, sizeof label), 8);
    CHECK(strcmp(label, "vertices") == 0);
    CHECK_OK(granule_bo_set_label(bo, "indices of the teapot"));
    CHECK_EQUAL(granule_bo_get_label(bo, label, 8), 21);
    CHECK(strcmp(label, "indices") == 0);
    CHECK_OK(granule_bo_set_label(bo, NULL));
    CHECK_EQUAL(granule_bo_get_label(bo, NULL, 0), 0);
    granule_bo_unref(bo);
    close_clean(device);
}

static void bad_bos_are_refused(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_error error = GRANULE_SIZED(granule_error);
    granule_bo* bo = (granule_bo*)&info;

    CHECK_STATUS(granule_bo_create(device, &info, &bo, &error), GRANULE_STATUS_BAD_ARGUMENT); /* no size */
    CHECK(bo == NULL && error.why != NULL);
    CHECK_STATUS(create(device, 4 * KIB, 1u << 20, &bo), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(create(device, 4 * KIB, GRANULE_BO_GROWS_ON_FAULT, &bo), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(create(device, 4 * KIB, GRANULE_BO_GROWS_ON_FAULT | GRANULE_BO_NO_CPU_ACCESS, &bo),
                 GRANULE_STATUS_NOT_SUPPORTED);
    CHECK_STATUS(create(device, 4 * KIB, GRANULE_BO_CPU_CACHED | GRANULE_BO_NO_CPU_ACCESS, &bo),
                 GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(create(NULL, 4 * KIB, 0, &bo), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(create(device, 4 * KIB, 0, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(create(device, UINT64_MAX, 0, &bo) != GRANULE_STATUS_OK);
    CHECK(create(device, UINT64_MAX - 4095, 0, &bo) != GRANULE_STATUS_OK);
    CHECK_STATUS(create(device, 128 * GIB, 0, &bo), GRANULE_STATUS_OUT_OF_DEVICE_MEMORY);
    CHECK(bo == NULL);
    info.size = 4 * KIB;
    info.struct_size = 3;
    CHECK_STATUS(granule_bo_create(device, &info, &bo, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_create(device, NULL, &bo, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    close_clean(device);
}

static void a_device_says_whether_it_has_bos_that_the_cpu_sees_cached(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_device_properties properties = GRANULE_SIZED(granule_device_properties);
    granule_bo* bo = NULL;

    CHECK_OK(granule_device_get_properties(device, &properties));
    CHECK_STATUS(create(device, 4 * KIB, GRANULE_BO_CPU_CACHED, &bo),
                 properties.cached_bos ? GRANULE_STATUS_OK : GRANULE_STATUS_NOT_SUPPORTED);
    granule_bo_unref(bo);
    CHECK_OK(create(device, 4 * KIB, GRANULE_BO_EXECUTABLE, &bo)); /* elsewhere the bind says so */
    granule_bo_unref(bo);
    close_clean(device);
}

static void a_bo_may_be_for_one_vm_only(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_device* const other = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    granule_bo* bo = NULL;
    granule_vm* vm = NULL;

    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    info.size = 4 * KIB;
    info.only_for = vm;
    CHECK_STATUS(granule_bo_create(other, &info, &bo, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.flags = GRANULE_BO_SHAREABLE;
    CHECK_STATUS(granule_bo_create(device, &info, &bo, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    info.flags = 0;
    CHECK_OK(granule_bo_create(device, &info, &bo, NULL));
    map.va = GRANULE_VA_AUTO;
    map.size = 4 * KIB;
    map.bo = bo;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    close_clean(other);
    close_clean(device);
}

static void a_bo_lives_as_long_as_somebody_holds_or_shows_it(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_memory_usage usage = GRANULE_SIZED(granule_memory_usage);
    granule_bo* const bo = new_bo(device, 4 * KIB, NULL);
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    granule_vm* vm = NULL;

    CHECK(granule_bo_ref(bo) == bo);
    granule_bo_unref(bo);
    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    map.va = GRANULE_VA_AUTO;
    map.size = 4 * KIB;
    map.bo = bo;
    CHECK_OK(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL));
    granule_bo_unref(bo);
    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.bos, 1);
    CHECK_OK(granule_vm_unmap(vm, map.va, 4 * KIB, GRANULE_CUT_REJECT, NULL, NULL));
    CHECK_OK(granule_device_get_memory_usage(device, &usage));
    CHECK_EQUAL(usage.bos, 0);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void the_cpu_sees_a_bo_at_one_place_all_its_life(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 3 * MIB, NULL);
    granule_bo* hidden = NULL;
    void* cpu = NULL;
    void* again = NULL;

    CHECK_OK(granule_bo_map(bo, &cpu, NULL));
    CHECK_OK(granule_bo_map(bo, &again, NULL));
    CHECK(cpu != NULL && cpu == again);
    CHECK_EQUAL(((const unsigned char*)cpu)[3 * MIB - 1], 0);
    memset(cpu, 7, 3 * MIB);

    /* The same memory at a place of the caller's. */
    unsigned char* const reserved = mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_OK(granule_bo_map_at(bo, reserved + 4 * KIB, 1, NULL));
    CHECK_EQUAL(reserved[4 * KIB + 2 * MIB + 17], 7);
    reserved[4 * KIB] = 9;
    CHECK_EQUAL(((const unsigned char*)cpu)[0], 9);
    CHECK_STATUS(granule_bo_map_at(bo, reserved + 5, 1, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_map_at(bo, NULL, 1, NULL), GRANULE_STATUS_BAD_ARGUMENT);

    CHECK_OK(create(device, 4 * KIB, GRANULE_BO_NO_CPU_ACCESS, &hidden));
    CHECK_STATUS(granule_bo_map(hidden, &again, NULL), GRANULE_STATUS_NOT_SUPPORTED);
    CHECK(again == NULL);
    CHECK_STATUS(granule_bo_map(NULL, &again, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_map(bo, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bo_unref(hidden);
    granule_bo_unref(bo);
    CHECK_EQUAL(munmap(reserved, 4 * MIB), 0);
    close_clean(device);
}

static void what_one_device_exports_another_imports(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_device* const other = open_soft(GRANULE_KERNEL_REALIGNS);
    granule_bo* shared = NULL;
    granule_bo* imported = NULL;
    granule_bo* again = NULL;
    void* here = NULL;
    void* there = NULL;
    int fd = -1;

    CHECK_OK(create(device, 64 * KIB, GRANULE_BO_SHAREABLE, &shared));
    CHECK_OK(granule_bo_export(shared, &fd, NULL));
    CHECK_OK(granule_bo_import(other, fd, &imported, NULL));
    CHECK(granule_bo_is_imported(imported));
    CHECK_EQUAL(granule_bo_size(imported), 64 * KIB);
    CHECK_OK(granule_bo_map(shared, &here, NULL));
    CHECK_OK(granule_bo_map(imported, &there, NULL));
    strcpy(here, "seen by both");
    CHECK(strcmp(there, "seen by both") == 0);

    /* The same again is the same BO, there and here. */
    CHECK_OK(granule_bo_import(other, fd, &again, NULL));
    CHECK(again == imported);
    granule_bo_unref(again);
    CHECK_OK(granule_bo_import(device, fd, &again, NULL));
    CHECK(again == shared);
    granule_bo_unref(again);

    /* Its memory outlives the device that made it. */
    granule_bo_unref(shared);
    close_clean(device);
    CHECK(strcmp(there, "seen by both") == 0);
    granule_bo_unref(imported);
    close(fd);
    close_clean(other);
}

static void what_cannot_be_shared_says_so(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 4 * KIB, NULL);
    granule_bo* imported = NULL;
    granule_error error = GRANULE_SIZED(granule_error);
    int fd = 5;
    const int odd = memfd_create("odd", MFD_CLOEXEC);

    CHECK_STATUS(granule_bo_export(bo, &fd, &error), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(fd == -1 && error.why != NULL);
    CHECK_STATUS(granule_bo_export(NULL, &fd, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_export(bo, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(granule_bo_import(device, -1, &imported, NULL) != GRANULE_STATUS_OK);
    CHECK(granule_bo_import(device, odd, &imported, NULL) != GRANULE_STATUS_OK); /* of no bytes */
    CHECK_EQUAL(ftruncate(odd, 4097), 0);
    CHECK(granule_bo_import(device, odd, &imported, NULL) != GRANULE_STATUS_OK); /* no whole pages */
    CHECK(imported == NULL);
    close(odd);
    granule_bo_unref(bo);
    close_clean(device);
}

static void cpu_caches_are_cleaned_where_there_is_something_to_clean(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 8 * KIB, NULL);
    granule_bo_part parts[2] = {{bo, 0, 4 * KIB, GRANULE_CPU_CACHE_FLUSH},
                                {bo, 4 * KIB, 4 * KIB, GRANULE_CPU_CACHE_FLUSH_AND_INVALIDATE}};

    CHECK_OK(granule_bo_sync(device, parts, 2, NULL));
    CHECK_OK(granule_bo_sync(device, NULL, 0, NULL));
    parts[1].size = 4 * KIB + 1;
    CHECK_STATUS(granule_bo_sync(device, parts, 2, NULL), GRANULE_STATUS_OUT_OF_RANGE);
    parts[1].offset = UINT64_MAX;
    CHECK_STATUS(granule_bo_sync(device, parts, 2, NULL), GRANULE_STATUS_OUT_OF_RANGE);
    parts[1] = parts[0];
    parts[1].operation = 2;
    CHECK_STATUS(granule_bo_sync(device, parts, 2, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    parts[1].bo = NULL;
    CHECK_STATUS(granule_bo_sync(device, parts, 2, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_sync(device, NULL, 1, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bo_unref(bo);
    close_clean(device);
}

static void what_only_some_kernels_can_is_said(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 4 * KIB, NULL);
    int retained = 7;

    CHECK_STATUS(granule_bo_wait(bo, 0, NULL), GRANULE_STATUS_NOT_SUPPORTED);
    CHECK_STATUS(granule_bo_set_evictable(bo, 1, &retained, NULL), GRANULE_STATUS_NOT_SUPPORTED);
    CHECK_STATUS(granule_bo_wait(NULL, 0, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_STATUS(granule_bo_set_evictable(NULL, 1, NULL, NULL), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bo_unref(bo);
    close_clean(device);
}

static void a_pointer_of_the_callers_hangs_on_a_bo(void) {
    granule_device* const device = open_soft(GRANULE_KERNEL_SPLITS);
    granule_bo* const bo = new_bo(device, 4 * KIB, NULL);
    int first = 0;
    int second = 0;

    CHECK(granule_bo_get_user_data(bo) == NULL);
    granule_bo_set_user_data(bo, &first);
    CHECK(granule_bo_exchange_user_data(bo, &second, NULL) == &first);
    CHECK(granule_bo_get_user_data(bo) == &first);
    CHECK(granule_bo_exchange_user_data(bo, &first, &second) == &first);
    CHECK(granule_bo_get_user_data(bo) == &second);
    granule_bo_unref(bo);
    close_clean(device);
}

static void no_bo_is_no_crash(void) {
    granule_bo_unref(NULL);
    CHECK(granule_bo_ref(NULL) == NULL);
    CHECK_EQUAL(granule_bo_size(NULL), 0);
    CHECK_EQUAL(granule_bo_id(NULL), 0);
    CHECK_EQUAL(granule_bo_gem_handle(NULL), 0);
    CHECK_EQUAL(granule_bo_mark(NULL), 0);
    CHECK(!granule_bo_is_imported(NULL));
    CHECK_EQUAL(granule_bo_get_label(NULL, NULL, 0), 0);
    CHECK_STATUS(granule_bo_set_label(NULL, "x"), GRANULE_STATUS_BAD_ARGUMENT);
    granule_bo_set_user_data(NULL, NULL);
    CHECK(granule_bo_get_user_data(NULL) == NULL);
    CHECK(granule_bo_exchange_user_data(NULL, NULL, NULL) == NULL);
}

void test_bo(void) {
    RUN(a_bo_has_the_size_label_and_mark_that_it_was_made_with);
    RUN(bad_bos_are_refused);
    RUN(a_device_says_whether_it_has_bos_that_the_cpu_sees_cached);
    RUN(a_bo_may_be_for_one_vm_only);
    RUN(a_bo_lives_as_long_as_somebody_holds_or_shows_it);
    RUN(the_cpu_sees_a_bo_at_one_place_all_its_life);
    RUN(what_one_device_exports_another_imports);
    RUN(what_cannot_be_shared_says_so);
    RUN(cpu_caches_are_cleaned_where_there_is_something_to_clean);
    RUN(what_only_some_kernels_can_is_said);
    RUN(a_pointer_of_the_callers_hangs_on_a_bo);
    RUN(no_bo_is_no_crash);
}
