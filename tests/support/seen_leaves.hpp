// Page tables that a replay's looks see (src/replay/options.hpp), compared with its oracle: a model's, or a kernel's own.
//
// Where memory lies is not the oracle's to know. But every page of a BO lies in one place and no two in the same, so that
// what stands at two VAs tells whether they show the same: within a look, each page of a BO has to be the same memory
// wherever it is shown, and nothing else may be there. A sparse page is one of a block of 2 MiB, by its VA.
//
// Thread-safety: none.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "src/replay/options.hpp"

namespace granule::test {

struct SeenLeaf {
    Va va;
    LeafSize size = LeafSize::k4K;
    std::uint64_t memory = 0;  // a number for its first byte, that goes up with the memory behind it
    MapFlags flags;
};

class SeenLeaves {
public:
    explicit SeenLeaves(const replay::VmLook& look) noexcept : look_(look) {}

    // The first difference, or nothing. `leaves` are all that the VM has.
    [[nodiscard]] std::string compare(std::span<const SeenLeaf> leaves) {
        std::uint64_t pages = 0;
        for (const SeenLeaf& leaf : leaves) {
            if (const LeafSize granule = look_.vm.granule_at(leaf.va); bytes_of(granule) < bytes_of(leaf.size)) {
                return fmt::format("a leaf of {} bytes is at {:#x}, but the ledger says {}", bytes_of(leaf.size),
                                   leaf.va.raw(), bytes_of(granule));
            }
            for (std::uint64_t at = 0; at < bytes_of(leaf.size); at += kPageBytes, ++pages) {
                if (std::string what = compare_page(leaf.va + at, leaf.memory + at, leaf.flags); !what.empty()) {
                    return what;
                }
            }
        }
        if (pages != look_.oracle.mapped_pages()) {
            return fmt::format("{} pages are mapped, but the program has mapped {}", pages,
                               look_.oracle.mapped_pages());
        }
        return {};
    }

private:
    using Page = replay::Oracle::Page;

    [[nodiscard]] std::string compare_page(Va va, std::uint64_t memory, const MapFlags& flags) {
        const Page page = look_.oracle.at(va);
        if (page.bo == replay::Oracle::kNothing) {
            return fmt::format("{:#x} is mapped, but the program mapped nothing there", va.raw());
        }
        const bool sparse = page.bo == replay::Oracle::kSparse;
        MapFlags wanted = page.flags;
        wanted.noexec = wanted.noexec || sparse;
        if (!(flags == wanted) && !sparse) {
            return fmt::format("{:#x} has other flags than it was mapped with", va.raw());
        }
        const std::uint64_t bo_page = sparse ? va.raw() / kPageBytes % replay::Oracle::kWindowPages : page.bo_page;
        const std::uint64_t shown = (std::uint64_t{page.bo} << 32U) | bo_page;
        const std::uint64_t is = memory_.try_emplace(shown, memory).first->second;
        const std::uint64_t in = shown_.try_emplace(memory, shown).first->second;
        if (is != memory || in != shown) {
            return fmt::format("{:#x} shows memory {:#x}, but page {} of BO number {} is at {:#x}", va.raw(), memory,
                               bo_page, page.bo, is);
        }
        return {};
    }

    const replay::VmLook& look_;
    std::unordered_map<std::uint64_t, std::uint64_t> memory_;  // of a page of a BO
    std::unordered_map<std::uint64_t, std::uint64_t> shown_;   // the other way round
};

}  // namespace granule::test
