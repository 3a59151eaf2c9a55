// Arrays of binds, written down in few words.
#pragma once

#include <doctest/doctest.h>
#include <granule/granule.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/c_api/caller.hpp"

namespace granule::test {

[[nodiscard]] inline granule_bind_op map_of(granule_bo* bo, std::uint64_t va, std::uint64_t size,
                                            std::uint64_t bo_offset = 0) {
    auto op = GRANULE_SIZED(granule_bind_op);
    op.type = GRANULE_BIND_MAP;
    op.bo = bo;
    op.bo_offset = bo_offset;
    op.va = va;
    op.size = size;
    return op;
}
[[nodiscard]] inline granule_bind_op unmap_of(std::uint64_t va, std::uint64_t size, std::uint32_t flags = 0) {
    auto op = GRANULE_SIZED(granule_bind_op);
    op.type = GRANULE_BIND_UNMAP;
    op.flags = flags;
    op.va = va;
    op.size = size;
    return op;
}
[[nodiscard]] inline granule_bind_op sync_only() {
    auto op = GRANULE_SIZED(granule_bind_op);
    op.type = GRANULE_BIND_SYNC_ONLY;
    return op;
}
// `sync` outlives the operation.
[[nodiscard]] inline granule_bind_op waiting_for(granule_bind_op op, const granule_sync& sync) {
    op.waits = &sync;
    op.wait_count = 1;
    return op;
}
[[nodiscard]] inline granule_bind_op signalling(granule_bind_op op, const granule_sync& sync) {
    op.signals = &sync;
    op.signal_count = 1;
    return op;
}

inline granule_status bind(granule_vm* vm, std::vector<granule_bind_op>& ops,
                           granule_bind_mode mode = GRANULE_BIND_IMMEDIATE, granule_error* error = nullptr) {
    return granule_vm_bind(vm, mode, ops.data(), static_cast<std::uint32_t>(ops.size()), nullptr, error);
}

[[nodiscard]] inline granule_vm* make_vm(granule_device* device, std::uint32_t flags = 0) {
    auto info = GRANULE_SIZED(granule_vm_info);
    info.flags = flags;
    info.label = "test";
    granule_vm* vm = nullptr;
    REQUIRE(granule_vm_create(device, &info, &vm, nullptr) == GRANULE_STATUS_OK);
    return vm;
}

inline granule_status reserve_at(granule_vm* vm, std::uint64_t va, std::uint64_t size) {
    auto info = GRANULE_SIZED(granule_va_info);
    info.fixed = 1;
    info.address = va;
    info.size = size;
    std::uint64_t got = 0;
    return granule_va_reserve(vm, &info, &got, nullptr);
}

// All that is mapped and reserved, as text that compares.
[[nodiscard]] inline std::string shown(const granule_vm* vm) {
    std::string all;
    const granule_range everything{0, std::uint64_t{1} << 48};
    const auto mapping = [](void* text, const granule_mapping* here) {
        *static_cast<std::string*>(text) += std::to_string(here->va.start) + "-" + std::to_string(here->va.end) +
                                            " BO " + std::to_string(here->bo_id) + "+" +
                                            std::to_string(here->bo_offset) + " | ";
        return 0;
    };
    const auto reservation = [](void* text, const granule_reservation* here) {
        *static_cast<std::string*>(text) += "reserved " + std::to_string(here->va.start) + "-" +
                                            std::to_string(here->va.end) + (here->waiting != 0 ? " waiting | " : " | ");
        return 0;
    };
    REQUIRE(granule_vm_walk(vm, everything, mapping, &all) == GRANULE_STATUS_OK);
    REQUIRE(granule_vm_walk_reservations(vm, everything, reservation, &all) == GRANULE_STATUS_OK);
    return all;
}

[[nodiscard]] inline granule_vm_state state_of(const granule_vm* vm) {
    auto state = GRANULE_SIZED(granule_vm_state);
    REQUIRE(granule_vm_get_state(vm, &state) == GRANULE_STATUS_OK);
    return state;
}

}  // namespace granule::test
