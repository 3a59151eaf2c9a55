/*
 * Tests of the C interface, in C, by somebody who has only its headers.
 *
 * A test is a function named after a sentence of the contract. CHECK goes on after a failure, so that one run shows all of
 * them; the program's exit code says whether there were any. Any thread of a test may check.
 */
#ifndef CHECK_H
#define CHECK_H

#include <granule/granule.h>
#include <stdbool.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

void check_that(bool good, const char* text, const char* file, int line);
void check_equal(uint64_t seen, uint64_t expected, const char* text, const char* file, int line);
void check_status(granule_status seen, granule_status expected, const char* text, const char* file, int line);

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(seen, expected) check_equal((uint64_t)(seen), (uint64_t)(expected), #seen, __FILE__, __LINE__)
#define CHECK_STATUS(call, expected) check_status((call), (expected), #call, __FILE__, __LINE__)
/* That it is well: GRANULE_STATUS_OK. */
#define CHECK_OK(call) CHECK_STATUS(call, GRANULE_STATUS_OK)

/* Runs a test of this name, and says so if it fails. */
void run_test(void (*test)(void), const char* name);
#define RUN(test) run_test(test, #test)

/* What most tests begin with: a soft device that plays this kernel, and whatever of its memory is still there at the end is a
   failure. */
granule_device* open_soft(granule_kernel_behaviour kernel);
void close_clean(granule_device* device);
/* A BO of this size, or a failed test and NULL. */
granule_bo* new_bo(granule_device* device, uint64_t size, const char* label);

/* One for each header, and one for what they all say of threads. */
void test_base(void);
void test_device(void);
void test_bo(void);
void test_timeline(void);
void test_vm(void);
void test_bind(void);
void test_inspect(void);
void test_bo_cache(void);
void test_pool(void);
void test_soft(void);
void test_vulkan(void);
void test_threads(void);

#endif
