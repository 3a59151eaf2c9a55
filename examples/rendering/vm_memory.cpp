#include "rendering/vm_memory.hpp"

#include <stdexcept>
#include <string>

namespace rendering {

void VmMemory::read(std::uint64_t va, std::span<std::byte> to) {
    auto fault = granule_sized<granule_gpu_fault>();
    if (!vm_.gpu_read(va, to.data(), to.size(), &fault)) {
        report(fault);
    }
}

void VmMemory::write(std::uint64_t va, std::span<const std::byte> from) {
    auto fault = granule_sized<granule_gpu_fault>();
    if (!vm_.gpu_write(va, from.data(), from.size(), &fault)) {
        report(fault);
    }
}

void VmMemory::report(const granule_gpu_fault& fault) const {
    std::string text(granule_gpu_fault_text(&fault, nullptr, 0), '\0');
    granule_gpu_fault_text(&fault, text.data(), text.size() + 1);
    throw AccessFault(text + "\n" + vm_.describe_text(fault.va));
}

}  // namespace rendering
