#include "src/memory_budget.hpp"

namespace granule {

bool MemoryBudget::reserve(std::uint64_t bytes) noexcept {
    const std::uint64_t limit = limit_.load(std::memory_order_acquire);
    std::uint64_t before = bytes_.load(std::memory_order_acquire);
    do {
        if (limit != 0 && (before > limit || bytes > limit - before)) {
            return false;
        }
    } while (
        !bytes_.compare_exchange_weak(before, before + bytes, std::memory_order_acq_rel, std::memory_order_acquire));
    const std::uint64_t now = before + bytes;
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (peak < now && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
    return true;
}

MemoryUsage MemoryBudget::usage() const noexcept {
    MemoryUsage usage;
    usage.bytes = bytes_.load(std::memory_order_relaxed);
    usage.peak_bytes = peak_.load(std::memory_order_relaxed);
    usage.limit_bytes = limit_.load(std::memory_order_relaxed);
    usage.imported_bytes = imported_.load(std::memory_order_relaxed);
    return usage;
}

}  // namespace granule
