// The compiler's vectors of x86-64; nothing elsewhere. For files whose functions each name the instructions that they may use
// ([[gnu::target]]): the rest of the library runs on every x86-64, and no flag of a file leaks them into what it shares with
// others (inline functions of headers).
#pragma once

#if defined(__x86_64__)
// GCC 12 takes its own "undefined" vectors, which no lane is taken from, for uninitialised variables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
