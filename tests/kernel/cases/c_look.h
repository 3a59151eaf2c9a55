/*
 * For programs of the tier that are written in C: how they say what they found (inside/test_report.hpp), and what the
 * kernel's own tables of one VM say (inside/kernel_tables.hpp).
 *
 * Texts are why not, good until the next call; NULL: all is well. Thread-safety: none.
 */
#ifndef C_LOOK_H
#define C_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A test; `why` it failed, or how much it looked at. */
void c_report(const char* name, bool passed, const char* why);
/* The kernel will warn in this guest. */
void c_expect_warnings(void);

/* Which VM is looked at from now on: the one that `touch` changes a mapping of. `panfrost`: its format of tables. */
const char* c_look_at(bool panfrost, unsigned va_bits, void (*touch)(void* data), void* data);
/* [va, va + size) translates, page for page, to what stands behind the CPU's `memory`. */
const char* c_look_shows(uint64_t va, uint64_t size, const void* memory);
/* All of it translates to some page, or, where `mapped` is false, nothing of it does. */
const char* c_look_mapped(uint64_t va, uint64_t size, bool mapped);
/* How many leaves of 2 MiB are in it; -1: that cannot be said. */
int64_t c_look_blocks(uint64_t va, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif
