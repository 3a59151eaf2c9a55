/* See check.h. */
#include "check.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_ullong checks;
static atomic_ullong failures;
static const char* running = ""; /* written while there is one thread */

static void failed(const char* file, int line) {
    failures++;
    (void)fprintf(stderr, "%s:%d: in %s: ", file, line, running);
}

void check_that(bool good, const char* text, const char* file, int line) {
    checks++;
    if (!good) {
        failed(file, line);
        (void)fprintf(stderr, "not so: %s\n", text);
    }
}

void check_equal(uint64_t seen, uint64_t expected, const char* text, const char* file, int line) {
    checks++;
    if (seen != expected) {
        failed(file, line);
        (void)fprintf(stderr, "%s is %" PRIu64 " (0x%" PRIx64 "), not %" PRIu64 " (0x%" PRIx64 ")\n", text, seen, seen,
                      expected, expected);
    }
}

void check_status(granule_status seen, granule_status expected, const char* text, const char* file, int line) {
    checks++;
    if (seen != expected) {
        failed(file, line);
        (void)fprintf(stderr, "%s is '%s', not '%s'\n", text, granule_status_text(seen), granule_status_text(expected));
    }
}

void run_test(void (*test)(void), const char* name) {
    running = name;
    test();
}

granule_device* open_soft(granule_kernel_behaviour kernel) {
    granule_device_info info = GRANULE_SIZED(granule_device_info);
    granule_soft_info soft = GRANULE_SIZED(granule_soft_info);
    granule_device* device = NULL;

    soft.kernel = kernel;
    info.soft = &soft;
    CHECK_OK(granule_device_open(&info, &device, NULL));
    return device;
}

void close_clean(granule_device* device) {
    CHECK_EQUAL(granule_device_close(device), 0);
}

granule_bo* new_bo(granule_device* device, uint64_t size, const char* label) {
    granule_bo_info info = GRANULE_SIZED(granule_bo_info);
    granule_bo* bo = NULL;

    info.size = size;
    info.label = label;
    CHECK_OK(granule_bo_create(device, &info, &bo, NULL));
    return bo;
}

int main(void) {
    test_base();
    test_device();
    test_bo();
    test_timeline();
    test_vm();
    test_bind();
    test_inspect();
    test_bo_cache();
    test_pool();
    test_soft();
    test_vulkan();
    test_threads();
    printf("%llu checks, %llu failed\n", checks, failures);
    return failures == 0 && checks > 0 ? 0 : 1;
}
