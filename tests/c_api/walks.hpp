// What the walks of inspect.h show of a VM, in the words of the model.
#pragma once

#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cstdint>
#include <set>

#include "tests/c_api/page_model.hpp"
#include "tests/c_api/random_binds.hpp"

namespace granule_test {

inline constexpr granule_range kEverything = {0, std::uint64_t{1} << 48};

[[nodiscard]] inline Pages walked(const granule_vm* vm) {
    Pages pages;
    const auto visit = [](void* data, const granule_mapping* mapping) {
        for (std::uint64_t va = mapping->va.start; va < mapping->va.end; va += kPage) {
            const std::uint64_t offset = mapping->bo_id == 0 ? 0 : mapping->bo_offset + (va - mapping->va.start);
            (*static_cast<Pages*>(data))[va / kPage] = {mapping->bo_id, offset / kPage, mapping->flags};
        }
        return 0;
    };
    REQUIRE(granule_vm_walk(vm, kEverything, visit, &pages) == GRANULE_STATUS_OK);
    return pages;
}

// The pages of all leaves, and the first pages of the blocks among them.
struct Leaves {
    std::uint64_t pages = 0;
    std::set<std::uint64_t> blocks;
};
[[nodiscard]] inline Leaves leaves_of(const granule_vm* vm) {
    Leaves all;
    const auto visit = [](void* data, const granule_leaves* run) {
        auto& leaves = *static_cast<Leaves*>(data);
        leaves.pages += (run->va.end - run->va.start) / kPage;
        for (std::uint64_t va = run->va.start; run->leaf_size != kPage && va < run->va.end; va += run->leaf_size) {
            leaves.blocks.insert(va / kPage);
        }
        return 0;
    };
    REQUIRE(granule_vm_walk_leaves(vm, kEverything, visit, &all) == GRANULE_STATUS_OK);
    return all;
}

[[nodiscard]] inline std::set<Span> reserved_in(const granule_vm* vm) {
    std::set<Span> all;
    const auto visit = [](void* data, const granule_reservation* reservation) {
        static_cast<std::set<Span>*>(data)->insert({reservation->va.start / kPage, reservation->va.end / kPage});
        return 0;
    };
    REQUIRE(granule_vm_walk_reservations(vm, kEverything, visit, &all) == GRANULE_STATUS_OK);
    return all;
}

}  // namespace granule_test
