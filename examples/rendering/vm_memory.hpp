// A granule VM as its GPU sees it: each access is translated by the software MMU, and one that faults is told by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <granule/granule.hpp>
#include <span>

#include "rendering/gpu_memory.hpp"

namespace rendering {

// Thread-safety: any thread, also while the VM binds. `vm` outlives it.
class VmMemory final : public GpuMemory {
public:
    explicit VmMemory(granule::Vm& vm) noexcept : vm_(vm) {}

    void read(std::uint64_t va, std::span<std::byte> to) override;
    void write(std::uint64_t va, std::span<const std::byte> from) override;

private:
    // What the GPU says about its fault, and what granule knows of the address (P6).
    [[noreturn]] void report(const granule_gpu_fault& fault) const;

    granule::Vm& vm_;
};

}  // namespace rendering
