#include "src/replay/oracle.hpp"

#include <algorithm>

namespace granule::replay {

void Oracle::set(std::uint64_t page, const Page& value) {
    Page& here = windows_[page / kWindowPages][page % kWindowPages];
    mapped_pages_ -= here.bo != kNothing ? 1 : 0;
    mapped_pages_ += value.bo != kNothing ? 1 : 0;
    here = value;
}

void Oracle::map(const VaRange& range, BoNumber bo, std::uint64_t bo_offset, const MapFlags& flags) {
    auto bo_page = static_cast<std::uint32_t>(bo_offset / kPageBytes);
    for (std::uint64_t page = range.start.raw() / kPageBytes; page < range.end.raw() / kPageBytes; ++page) {
        set(page, {bo, bo == kSparse ? 0 : bo_page++, flags});
    }
}

void Oracle::unmap(const VaRange& range) {
    for (std::uint64_t page = range.start.raw() / kPageBytes; page < range.end.raw() / kPageBytes; ++page) {
        if (windows_.contains(page / kWindowPages)) {
            set(page, {});
        }
    }
}

const Oracle::Window* Oracle::window_at(Va va) const {
    const auto found = windows_.find(va.raw() / kPageBytes / kWindowPages);
    return found == windows_.end() ? nullptr : &found->second;
}

Oracle::Page Oracle::at(Va va) const {
    const Window* const window = window_at(va);
    return window == nullptr ? Page{} : (*window)[va.raw() / kPageBytes % kWindowPages];
}

std::vector<Va> Oracle::windows() const {
    std::vector<Va> starts;
    starts.reserve(windows_.size());
    for (const auto& [number, window] : windows_) {
        starts.emplace_back(number * kWindowPages * kPageBytes);
    }
    std::sort(starts.begin(), starts.end());
    return starts;
}

}  // namespace granule::replay
