// The path of AArch64.
#include "mali/entry_run_paths.hpp"

#if defined(GRANULE_ENTRY_RUN_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "mali/entry_run.hpp"

namespace granule::mali::detail {

namespace {

void store2(std::uint64_t* at, uint64x2_t lanes) noexcept {
    *reinterpret_cast<volatile uint64x2_t*>(at) = lanes;
}

// One store of a pair of registers: half the instructions. There is no intrinsic for it, and the compiler doesn't join
// volatile stores.
void store4(std::uint64_t* at, uint64x2_t low, uint64x2_t high) noexcept {
    asm volatile("stp %q0, %q1, [%2]" : : "w"(low), "w"(high), "r"(at) : "memory");
}

void fill_neon(std::uint64_t* first, std::size_t count, std::uint64_t descriptor, std::uint64_t step) noexcept {
    const std::size_t head = entries_to_boundary(first, 2);
    fill_scalar(first, head, descriptor, step);
    first += head;
    count -= head;
    descriptor += head * step;

    const uint64x2_t by_two = vdupq_n_u64(2 * step);
    const uint64x2_t by_eight = vdupq_n_u64(8 * step);
    uint64x2_t a = vcombine_u64(vcreate_u64(descriptor), vcreate_u64(descriptor + step));
    uint64x2_t b = vaddq_u64(a, by_two);
    uint64x2_t c = vaddq_u64(b, by_two);
    uint64x2_t d = vaddq_u64(c, by_two);
    for (const std::uint64_t* end = first + (count & ~std::size_t{7}); first != end; first += 8) {
        store4(first, a, b);
        store4(first + 4, c, d);
        a = vaddq_u64(a, by_eight);
        b = vaddq_u64(b, by_eight);
        c = vaddq_u64(c, by_eight);
        d = vaddq_u64(d, by_eight);
    }
    if ((count & 4) != 0) {
        store4(first, a, b);
        a = c;
        b = d;
        first += 4;
    }
    if ((count & 2) != 0) {
        store2(first, a);
        a = b;
        first += 2;
    }
    fill_scalar(first, count & 1, vgetq_lane_u64(a, 0), step);
}

// Streams too: a long run of stores is seen by the core itself, which then stops reading what is overwritten (write
// streaming mode, in the technical reference manuals of the Cortex-A cores), and they need no fence of their own.
void clear_neon(std::uint64_t* first, std::size_t count) noexcept {
    fill_neon(first, count, 0, 0);
}

[[nodiscard]] uint64x2_t unlike4(const std::uint64_t* at, uint64x2_t value) noexcept {
    return vorrq_u64(veorq_u64(vld1q_u64(at), value), veorq_u64(vld1q_u64(at + 2), value));
}

std::size_t first_unlike_neon(const std::uint64_t* first, std::size_t count, std::uint64_t mask,
                              std::uint64_t value) noexcept {
    const uint64x2_t masks = vdupq_n_u64(mask);
    const uint64x2_t values = vdupq_n_u64(value);
    std::size_t i = 0;
    for (const std::size_t end = count & ~std::size_t{15}; i != end; i += 16) {
        const uint64x2_t low = vorrq_u64(unlike4(first + i, values), unlike4(first + i + 4, values));
        const uint64x2_t high = vorrq_u64(unlike4(first + i + 8, values), unlike4(first + i + 12, values));
        const uint64x2_t unlike = vandq_u64(vorrq_u64(low, high), masks);
        if (vmaxvq_u32(vreinterpretq_u32_u64(unlike)) != 0) {
            break;
        }
    }
    return first_unlike_scalar(first, i, count, mask, value);
}

}  // namespace

constinit const EntryRunPath kNeonPath = {VectorPath::kNeon, fill_neon, clear_neon, clear_neon, first_unlike_neon};

}  // namespace granule::mali::detail

#endif
