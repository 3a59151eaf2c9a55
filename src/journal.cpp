#include "src/journal.hpp"

#include <ctime>

namespace granule {

std::uint64_t monotonic_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

Journal::Journal(std::size_t capacity, NodeMemory memory) noexcept : ring_(memory), capacity_(capacity) {
    static_cast<void>(ring_.reserve(capacity));  // `valid` says how it went
}

void Journal::record(const Removal& removal) noexcept {
    if (ring_.capacity() == 0) {
        return;
    }
    if (ring_.size() < capacity_) {
        const bool pushed = ring_.push(removal);
        assert(pushed);
        static_cast<void>(pushed);
    } else {
        ring_[recorded_ % capacity_] = removal;
    }
    ++recorded_;
}

std::optional<Removal> Journal::last_at(Va va) const noexcept {
    for (std::size_t back = 1; back <= ring_.size(); ++back) {
        const Removal& removal = ring_[(recorded_ - back) % capacity_];
        if (removal.what.va.contains(va)) {
            return removal;
        }
    }
    return std::nullopt;
}

}  // namespace granule
