#include "triangle/vm_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "rendering/granule_call.hpp"

namespace triangle {
namespace {

using rendering::check;
using rendering::checked;

constexpr std::uint64_t kBlock2M = 2U << 20;

granule::Pool make_pool(const granule::Vm& vm) {
    auto info = granule_sized<granule_pool_info>();
    info.label = "vertices, descriptors, jobs";
    return checked(granule::Device::create_pool(vm, &info), "a pool");
}

// Bytes of each size of leaf.
struct LeafBytes {
    std::uint64_t pages = 0;
    std::uint64_t blocks = 0;
};

int add_leaves(void* data, const granule_leaves* leaves) {
    auto& sum = *static_cast<LeafBytes*>(data);
    (leaves->leaf_size >= kBlock2M ? sum.blocks : sum.pages) += leaves->va.end - leaves->va.start;
    return 0;
}

int add_range(void* data, const granule_mapping* mapping) {
    static_cast<std::vector<granule_range>*>(data)->push_back(mapping->va);
    return 0;
}

}  // namespace

VmSpace::VmSpace()
    : device_(checked(granule::Device::open(), "the soft device")),
      vm_(checked(device_.create_vm(), "a VM")),
      pool_(make_pool(vm_)),
      memory_(vm_) {}

VmSpace::~VmSpace() {
    for (const granule_buffer& buffer : buffers_) {
        static_cast<void>(granule_pool_free(pool_.get(), &buffer, nullptr, 0));
    }
}

Place VmSpace::buffer(const std::string& name, std::uint64_t bytes) {
    const granule_buffer buffer = checked(pool_.alloc(bytes), name);
    buffers_.push_back(buffer);
    return {buffer.va, {static_cast<std::byte*>(buffer.cpu), bytes}};
}

Place VmSpace::surface(const std::string& name, std::uint64_t bytes) {
    const std::uint64_t size = (bytes + kBlock2M - 1) / kBlock2M * kBlock2M;
    granule::Bo bo = checked(device_.create_bo(size, name.c_str()), name);
    const std::uint64_t va = checked(vm_.map(bo), name);
    std::byte* const cpu = checked(bo.map(), name);
    surfaces_.push_back({name, {va, va + size}});
    return {va, {cpu, bytes}};  // the mapping keeps the BO
}

bool VmSpace::unmap(const std::string& name) {
    const auto found = std::ranges::find(surfaces_, name, &Surface::name);
    if (found == surfaces_.end()) {
        return false;
    }
    checked(vm_.unmap(found->va.start, found->va.end - found->va.start, GRANULE_CUT_REJECT), "unmap of " + name);
    return true;
}

std::vector<std::string> VmSpace::surfaces() const {
    std::vector<std::string> names;
    std::ranges::transform(surfaces_, std::back_inserter(names), &Surface::name);
    return names;
}

void VmSpace::print_map() const {
    std::vector<granule_range> mappings;
    check(granule_vm_walk(vm_.get(), {0, UINT64_MAX}, add_range, &mappings), "the walk over the mappings");
    fmt::print("{:<15} {:>8} {:>5} {:>5}  {}\n", "VA", "KiB", "2M", "4K", "what");
    for (const granule_range& va : mappings) {
        LeafBytes leaves;
        check(granule_vm_walk_leaves(vm_.get(), va, add_leaves, &leaves), "the walk over the leaves");
        const std::string label = static_cast<const char*>(vm_.describe(va.start).label);
        const auto buffers = std::ranges::count_if(
            buffers_, [&](const granule_buffer& buffer) { return buffer.va >= va.start && buffer.va < va.end; });
        fmt::print("{:#015x} {:>8} {:>5} {:>5}  {}{}\n", va.start, (va.end - va.start) / 1024, leaves.blocks / kBlock2M,
                   leaves.pages / 4096, label, buffers == 0 ? "" : fmt::format(": {} buffers of the pool", buffers));
    }
}

void VmSpace::print_use() const {
    print_map();
    auto pool = granule_sized<granule_pool_statistics>();
    check(granule_pool_get_statistics(pool_.get(), &pool), "the pool's statistics");
    auto gpu = granule_sized<granule_soft_statistics>();
    check(granule_soft_get_statistics(device_.get(), &gpu), "the GPU's statistics");
    const granule_vm_statistics vm = vm_.statistics();
    fmt::print("\nVM    {} mappings, {:.1f} MiB, {} leaves of 2 MiB, {} KiB of page tables\n", vm.mappings,
               static_cast<double>(vm.mapped_bytes) / (1 << 20), vm.blocks_2m, vm.table_bytes / 1024);
    fmt::print("pool  {} buffers in {} slabs: {} bytes asked for, {} used, {} of BOs\n", pool.buffers, pool.slabs,
               pool.asked_bytes, pool.used_bytes, pool.slab_bytes);
    fmt::print("MMU   {} accesses, {} faults, {} stale answers\n", gpu.accesses, gpu.faults, gpu.stale);
}

}  // namespace triangle
