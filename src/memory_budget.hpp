// How much memory a device's BOs take, and how much they may.
//
//     0            bytes                    limit
//     |------------|---- what may come -----|
//                  ^ reserve moves it up before the memory is taken, give_back down once the memory is gone
//
// So the bytes that are counted are never fewer than what was taken, however many threads take at once: no BO is admitted
// above the limit, and one may be refused for the sake of another that then fails. A limit that is lowered below what is
// taken takes nothing away: nothing more is admitted until enough is given back. Who is just taking is held to the limit
// that was in force when they began.
//
// Memory that comes from elsewhere (imports) is counted apart and has no limit: it is its exporter's.
//
// Thread-safety: all members, any thread, without a lock. A `usage` while others take is of no one moment.
// Failure: reserve; nothing changed.
#pragma once

#include <atomic>
#include <cstdint>

namespace granule {

struct MemoryUsage {
    std::uint64_t bytes = 0;           // of live BOs that the device made
    std::uint64_t peak_bytes = 0;      // the most that was ever
    std::uint64_t limit_bytes = 0;     // 0: none
    std::uint64_t imported_bytes = 0;  // of live BOs that were imported
    std::uint64_t heap_bytes = 0;      // what there is at all: the soft device's memory, the machine's RAM
};

class MemoryBudget {
public:
    MemoryBudget() noexcept = default;

    // False: it would be above the limit.
    [[nodiscard]] bool reserve(std::uint64_t bytes) noexcept;
    // `bytes` were reserved.
    void give_back(std::uint64_t bytes) noexcept { bytes_.fetch_sub(bytes, std::memory_order_release); }

    void add_imported(std::uint64_t bytes) noexcept { imported_.fetch_add(bytes, std::memory_order_relaxed); }
    void remove_imported(std::uint64_t bytes) noexcept { imported_.fetch_sub(bytes, std::memory_order_relaxed); }

    // 0: none.
    void set_limit(std::uint64_t bytes) noexcept { limit_.store(bytes, std::memory_order_release); }
    // Without `heap_bytes`, which is the device's to know.
    [[nodiscard]] MemoryUsage usage() const noexcept;

private:
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> peak_{0};  // only goes up
    std::atomic<std::uint64_t> limit_{0};
    std::atomic<std::uint64_t> imported_{0};
};

}  // namespace granule
