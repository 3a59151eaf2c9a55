#include "src/journal.hpp"

#include <algorithm>
#include <ctime>

namespace granule {

namespace {

constexpr std::size_t kLabelMask = (std::size_t{1} << 31U) - 1;
constexpr std::size_t kMostCapacity = kLabelMask;  // what Entry::label can name

}  // namespace

std::uint64_t monotonic_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

Journal::Journal(std::size_t capacity, NodeMemory memory) noexcept
    : entries_(memory), labels_(memory), capacity_(std::min(capacity, kMostCapacity)) {
    // `valid` says how it went.
    if (labels_.reserve(capacity_)) {
        static_cast<void>(entries_.reserve(capacity_));
    }
}

void Journal::record(const Removal& removal) noexcept {
    if (entries_.capacity() == 0) {
        return;
    }
    std::size_t label = 0;
    if (!removal.label.view().empty()) {
        label = next_label_ + 1;
        put(labels_, next_label_, removal.label);
    }
    put({MappingEntry::pack(removal.what), removal.time_ns, removal.by, static_cast<std::uint32_t>(label & kLabelMask),
         removal.how == Removal::By::kMap ? 1U : 0U});
}

std::optional<Removal> Journal::last_at(Va va) const noexcept {
    const std::uint64_t page = va.raw() / kPageBytes;
    for (std::size_t back = 1; back <= entries_.size(); ++back) {
        const Entry& entry = entries_[next_ >= back ? next_ - back : next_ + capacity_ - back];
        if (entry.what.start <= page && page < entry.what.end()) {
            return Removal{entry.what.unpack(), entry.label == 0 ? ShortLabel{} : labels_[entry.label - 1], entry.by,
                           entry.by_map != 0 ? Removal::By::kMap : Removal::By::kUnmap, entry.time_ns};
        }
    }
    return std::nullopt;
}

}  // namespace granule
