/* base.h: status, errors, allocator, logger, versions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static void every_status_has_a_text_of_its_own(void) {
    for (int i = GRANULE_STATUS_OK; i <= GRANULE_STATUS_OVER_BUDGET; i++) {
        CHECK(strlen(granule_status_text((granule_status)i)) > 1);
        for (int k = GRANULE_STATUS_OK; k < i; k++) {
            CHECK(strcmp(granule_status_text((granule_status)i), granule_status_text((granule_status)k)) != 0);
        }
    }
    CHECK(strcmp(granule_status_text((granule_status)12345), "unknown status") == 0);
    CHECK(strcmp(granule_status_text((granule_status)-1), "unknown status") == 0);
}

static void the_library_has_the_version_of_its_headers(void) {
    CHECK_EQUAL(granule_version(),
                (uint32_t)GRANULE_VERSION_MAJOR << 16 | GRANULE_VERSION_MINOR << 8 | GRANULE_VERSION_PATCH);
}

static void an_error_in_words_is_cut_to_the_callers_buffer(void) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;
    char text[512];
    char small[8];

    info.path = "/nonexistent/renderD128";
    CHECK_STATUS(granule_device_open(&info, &device, &error), GRANULE_STATUS_OS_FAILED);
    CHECK(device == NULL);
    CHECK_EQUAL(error.status, GRANULE_STATUS_OS_FAILED);
    CHECK(error.os_error != 0 && error.call != NULL && strcmp(error.call, "open") == 0);

    const size_t length = granule_error_text(&error, text, sizeof text);
    CHECK(length > 10 && length < sizeof text && strlen(text) == length);
    CHECK(strchr(text, '\n') == NULL);
    CHECK_EQUAL(granule_error_text(&error, NULL, 0), length);
    memset(small, 'x', sizeof small);
    CHECK_EQUAL(granule_error_text(&error, small, sizeof small - 1), length);
    CHECK(small[sizeof small - 2] == 0 && small[sizeof small - 1] == 'x');
    CHECK(strncmp(small, text, sizeof small - 2) == 0);
}

static void success_leaves_the_error_alone(void) {
    granule_error error = GRANULE_SIZED(granule_error);
    granule_error before;
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;

    memset((char*)&error + sizeof error.struct_size, 0x5a, sizeof error - sizeof error.struct_size);
    before = error;
    CHECK_OK(granule_device_open(&info, &device, &error));
    CHECK(memcmp(&error, &before, sizeof error) == 0);
    close_clean(device);
}

static void an_error_without_its_size_is_refused(void) {
    granule_error error;
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;

    memset(&error, 0, sizeof error);
    CHECK_STATUS(granule_device_open(&info, &device, &error), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(device == NULL);
    error.struct_size = 8;
    CHECK_STATUS(granule_device_open(&info, &device, &error), GRANULE_STATUS_BAD_ARGUMENT);
    CHECK_EQUAL(granule_error_text(NULL, NULL, 0), 0);
}

/* An allocator that counts, and fails from the `limit`-th allocation on. */
struct counting {
    uint64_t allocations, releases, limit;
    size_t bytes;
};

static void* count_allocate(void* data, size_t size, size_t alignment) {
    struct counting* const counting = data;
    const size_t whole = (size + alignment - 1) / alignment * alignment;

    CHECK(alignment != 0 && (alignment & (alignment - 1)) == 0);
    if (counting->allocations == counting->limit) {
        return NULL;
    }
    counting->allocations++;
    counting->bytes += size;
    return aligned_alloc(alignment < sizeof(void*) ? sizeof(void*) : alignment,
                         whole < sizeof(void*) ? sizeof(void*) : whole);
}

static void count_release(void* data, void* memory, size_t size, size_t alignment) {
    struct counting* const counting = data;

    (void)alignment;
    counting->releases++;
    counting->bytes -= size;
    free(memory);
}

static void all_memory_comes_from_the_callers_allocator_and_goes_back_to_it(void) {
    struct counting counting = {0, 0, UINT64_MAX, 0};
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;
    granule_vm* vm = NULL;
    granule_bo* bo;

    info.allocator = (granule_allocator){count_allocate, count_release, &counting};
    CHECK_OK(granule_device_open(&info, &device, NULL));
    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    bo = new_bo(device, 64 * KIB, "counted");
    CHECK(counting.allocations >= 3 && counting.bytes > 0);
    granule_bo_unref(bo);
    granule_vm_destroy(vm);
    close_clean(device);
    CHECK_EQUAL(counting.releases, counting.allocations);
    CHECK_EQUAL(counting.bytes, 0);
}

static void without_host_memory_nothing_is_opened_and_nothing_is_lost(void) {
    granule_status status = GRANULE_STATUS_OUT_OF_HOST_MEMORY;

    for (uint64_t limit = 0; status != GRANULE_STATUS_OK && limit < 1000; limit++) {
        struct counting counting = {0, 0, limit, 0};
        granule_device_info info = GRANULE_SIZED(granule_device_info);
        granule_device* device = NULL;
        info.allocator = (granule_allocator){count_allocate, count_release, &counting};
        status = granule_device_open(&info, &device, NULL);
        CHECK(status == GRANULE_STATUS_OK || status == GRANULE_STATUS_OUT_OF_HOST_MEMORY);
        CHECK((device != NULL) == (status == GRANULE_STATUS_OK));
        CHECK_EQUAL(granule_device_close(device), 0);
        CHECK_EQUAL(counting.bytes, 0);
    }
    CHECK_OK(status);
}

struct messages {
    uint64_t errors, warnings, infos;
    bool named;
};

static void hear(void* data, granule_log_level level, const char* text) {
    struct messages* const messages = data;

    messages->errors += level == GRANULE_LOG_ERROR;
    messages->warnings += level == GRANULE_LOG_WARNING;
    messages->infos += level == GRANULE_LOG_INFO;
    messages->named = messages->named || strstr(text, "a forgotten texture") != NULL;
    CHECK(strchr(text, '\n') == NULL);
}

static void what_was_found_and_what_was_undone_is_told_to_the_logger(void) {
    struct messages messages = {0, 0, 0, false};
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_bind_op map = GRANULE_SIZED(granule_bind_op);
    granule_device* device = NULL;
    granule_vm* vm = NULL;

    info.logger = (granule_logger){hear, &messages};
    CHECK_OK(granule_device_open(&info, &device, NULL));
    CHECK_EQUAL(messages.infos, 1);
    CHECK_OK(granule_vm_create(device, NULL, &vm, NULL));
    map.type = GRANULE_BIND_MAP_SPARSE;
    map.va = GRANULE_VA_AUTO;
    map.size = 4 * KIB;
    CHECK_OK(granule_soft_fail(device, GRANULE_SOFT_OPERATION, 0, EIO));
    CHECK_STATUS(granule_vm_bind(vm, GRANULE_BIND_IMMEDIATE, &map, 1, NULL, NULL), GRANULE_STATUS_BACKEND_FAILED);
    CHECK_EQUAL(messages.warnings, 1);
    CHECK_EQUAL(messages.errors, 0);
    granule_vm_destroy(vm);
    close_clean(device);
}

static void what_leaked_is_told_to_the_logger_by_its_name(void) {
    struct messages messages = {0, 0, 0, false};
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_device* device = NULL;
    granule_bo* bo;

    info.logger = (granule_logger){hear, &messages};
    CHECK_OK(granule_device_open(&info, &device, NULL));
    bo = new_bo(device, 4 * KIB, "a forgotten texture");
    CHECK_EQUAL(granule_device_close(device), 1);
    CHECK(messages.errors >= 1 && messages.named);
    /* It is still good, and the device ends with it. */
    CHECK_EQUAL(granule_bo_size(bo), 4 * KIB);
    granule_bo_unref(bo);
}

void test_base(void) {
    RUN(every_status_has_a_text_of_its_own);
    RUN(the_library_has_the_version_of_its_headers);
    RUN(an_error_in_words_is_cut_to_the_callers_buffer);
    RUN(success_leaves_the_error_alone);
    RUN(an_error_without_its_size_is_refused);
    RUN(all_memory_comes_from_the_callers_allocator_and_goes_back_to_it);
    RUN(without_host_memory_nothing_is_opened_and_nothing_is_lost);
    RUN(what_was_found_and_what_was_undone_is_told_to_the_logger);
    RUN(what_leaked_is_told_to_the_logger_by_its_name);
}
