/**
 * @file granule.h
 * granule: a GPU memory manager for Arm Mali, for drivers. This is the whole C interface; every part of it can be
 * included alone.
 *
 *     base.h        status, errors, allocator, logger, versions
 *     device.h      a Mali: soft, panthor or panfrost
 *     bo.h          buffer objects
 *     timeline.h    fences
 *     vm.h          GPU address spaces: VA, state, rebuild, statistics
 *     bind.h        map, unmap, sparse; plans
 *     inspect.h     what is, or was, at a VA
 *     bo_cache.h    BOs that are used again, mapped as they are
 *     pool.h        small buffers inside BOs
 *     soft.h        the soft device: its GPU's accesses, failures on request
 *
 * Rules that hold everywhere
 * - **Handles** are opaque pointers. What creates one says what gives it back; giving back NULL does nothing.
 * - **Structs** that can grow begin with `struct_size`, which the caller sets to `sizeof`: GRANULE_SIZED(granule_bo_info)
 *   is one with everything else zero, and zero is each member's default. A struct from an older header is understood;
 *   of what the library fills in, it writes no more than there is room for. What a newer
 *   header has in what it gives, and this library does not know, must be zero. A `struct_size` of 0 or less than the first
 *   version's is GRANULE_STATUS_BAD_ARGUMENT. Structs without it never grow.
 * - **Ranges** are half-open, `[start, end)`. Sizes and offsets are in bytes. VAs are below 2^48.
 * - **Failure**: a call that fails has changed nothing, unless its text says otherwise, and the pointers that it would
 *   have filled are NULL. `granule_error *error`, always last, may be NULL; on failure it says which granule, whose BO,
 *   which call of the system. Success leaves it alone.
 * - **NULL** where a handle or a required pointer belongs is GRANULE_STATUS_BAD_ARGUMENT from every function that can
 *   say so, and 0, NULL or nothing from the others. A handle that was given back is not detected.
 * - **Giving back cannot fail** and allocates nothing (P4).
 * - **Threads**: any function may be called from any thread, also for the same object, unless its text says otherwise;
 *   but an object must not be given back while another thread still uses it. There is no global state.
 * - The library neither aborts nor throws, installs no signal handlers, and prints nothing by itself.
 *
 * What it does not do: choose memory types, upload data, lay out images, schedule jobs.
 */
#ifndef GRANULE_GRANULE_H
#define GRANULE_GRANULE_H

#include <granule/base.h>
#include <granule/bind.h>
#include <granule/bo.h>
#include <granule/bo_cache.h>
#include <granule/device.h>
#include <granule/inspect.h>
#include <granule/pool.h>
#include <granule/soft.h>
#include <granule/timeline.h>
#include <granule/vm.h>

#endif
