// A page-table walk as the hardware does it: out of physical memory, in the format that the registers name, ending at a
// leaf or at the exception that AS_FAULTSTATUS would show.
//
//     what stops it                                                     exception type
//     the VA is larger than the space                                   ADDR_SIZE_FAULT_IN   + level of the root
//     an entry is empty, or nothing that the format has there           TRANSLATION_FAULT    + level
//     a table's or leaf's PA is larger than the bus                     ADDR_SIZE_FAULT_OUT  + level
//     nothing answers where the table should be                         TRANSTAB_BUS_FAULT   + level
//     an AArch64 leaf without its access flag                           ACCESS_FLAG_FAULT    + level
//
// What the leaf permits is not looked at: that is asked of TLB entries too.
// Not modelled: a cache of intermediate levels, hierarchical permissions in table entries.
//
// Pure functions over what they are given; any thread, as far as PhysicalMemory::load allows.
#pragma once

#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/translation_config.hpp"

namespace granule::mali {

// Physical memory as the walker reads it.
class PhysicalMemory {
public:
    PhysicalMemory() noexcept = default;
    PhysicalMemory(const PhysicalMemory&) = delete;
    PhysicalMemory& operator=(const PhysicalMemory&) = delete;
    PhysicalMemory(PhysicalMemory&&) = delete;
    PhysicalMemory& operator=(PhysicalMemory&&) = delete;
    virtual ~PhysicalMemory() = default;

    // Eight bytes at once, aligned. False: nothing answers on the bus.
    [[nodiscard]] virtual bool load(Pa pa, std::uint64_t& value) const noexcept = 0;
};

struct HardwareWalk {
    std::uint8_t exception = 0;    // exception type; 0: a leaf was found
    unsigned level = 0;            // at which the walk ended
    std::uint64_t descriptor = 0;  // the leaf
    Va start;                      // of the leaf
    Entry leaf;                    // decoded
};

// `translation` is of mode kTable. `va_bits` and `pa_bits` are the GPU's (MMU_FEATURES).
[[nodiscard]] HardwareWalk hardware_walk(const PhysicalMemory& memory, const Translation& translation, unsigned va_bits,
                                         unsigned pa_bits, Va va) noexcept;

}  // namespace granule::mali
