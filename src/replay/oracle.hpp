// The oracle: what a program has mapped where, page by page, as naively as it can be kept.
//
// It knows nothing of leaves, mappings, plans or tables, and shares no code with them: a page shows a page of a BO, or
// the sparse block, or nothing. What the GPU must be answered follows from that and from where the BO's pages are in
// memory.
//
// Windows of 512 pages, so that a look-up in a hash table serves a whole window. Thread-safety: none.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule::replay {

class Oracle {
public:
    // Which BO: a number that is not used again. 0 is nothing, 1 the sparse block.
    using BoNumber = std::uint32_t;
    static constexpr BoNumber kNothing = 0;
    static constexpr BoNumber kSparse = 1;
    static constexpr BoNumber kFirstBo = 2;

    struct Page {
        BoNumber bo = kNothing;
        std::uint32_t bo_page = 0;
        MapFlags flags;

        bool operator==(const Page&) const noexcept = default;
    };
    static constexpr std::uint64_t kWindowPages = 512;
    using Window = std::array<Page, kWindowPages>;

    void map(const VaRange& range, BoNumber bo, std::uint64_t bo_offset, const MapFlags& flags);
    void unmap(const VaRange& range);

    [[nodiscard]] Page at(Va va) const;
    // The window that `va` is in; nullptr where nothing in it was ever mapped.
    [[nodiscard]] const Window* window_at(Va va) const;
    [[nodiscard]] std::uint64_t mapped_pages() const noexcept { return mapped_pages_; }
    // Starts of the windows that ever had something, ascending.
    [[nodiscard]] std::vector<Va> windows() const;

private:
    void set(std::uint64_t page, const Page& value);

    std::unordered_map<std::uint64_t, Window> windows_;
    std::uint64_t mapped_pages_ = 0;
};

}  // namespace granule::replay
