// A granule device and one VM of it. Small things come from a pool, out of few BOs; each surface is a BO of whole 2 MiB, so
// that it can be mapped with leaves of 2 MiB.
#pragma once

#include <cstdint>
#include <granule/granule.hpp>
#include <string>
#include <vector>

#include "rendering/vm_memory.hpp"
#include "triangle/gpu_space.hpp"

namespace triangle {

class VmSpace final : public GpuSpace {
public:
    VmSpace();
    ~VmSpace() override;
    VmSpace(const VmSpace&) = delete;
    VmSpace& operator=(const VmSpace&) = delete;

    Place buffer(const std::string& name, std::uint64_t bytes) override;
    Place surface(const std::string& name, std::uint64_t bytes) override;
    rendering::GpuMemory& memory() noexcept override { return memory_; }

    // The bug that `--forget` makes: the surface of this name is not mapped any more. False: there is none.
    [[nodiscard]] bool unmap(const std::string& name);
    [[nodiscard]] std::vector<std::string> surfaces() const;

    [[nodiscard]] granule::Device& device() noexcept { return device_; }
    // What is where, leaf by leaf; what the pool came to; what the GPU did.
    void print_use() const;

private:
    struct Surface {
        std::string name;
        granule_range va;
    };

    void print_map() const;

    granule::Device device_;
    granule::Vm vm_;
    granule::Pool pool_;
    rendering::VmMemory memory_;
    std::vector<granule_buffer> buffers_;
    std::vector<Surface> surfaces_;
};

}  // namespace triangle
