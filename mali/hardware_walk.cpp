#include "mali/hardware_walk.hpp"

#include <algorithm>
#include <cassert>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/fault_status.hpp"
#include "mali/translation_config.hpp"

namespace granule::mali {

HardwareWalk hardware_walk(const PhysicalMemory& memory, const Translation& translation, unsigned va_bits,
                           unsigned pa_bits, Va va) noexcept {
    assert(translation.mode == AddressMode::kTable);
    HardwareWalk walk;
    walk.level = start_level(translation.format, translation.va_bits);
    const auto stop = [&walk](std::uint8_t exception_base) {
        walk.exception = static_cast<std::uint8_t>(exception_base + walk.level);
        return walk;
    };
    if ((va.raw() >> std::min(va_bits, translation.va_bits)) != 0) {
        return stop(exception::kAddressSizeFaultIn);
    }
    Pa table = translation.root;
    for (;; ++walk.level) {
        if ((table.raw() >> pa_bits) != 0) {
            return stop(exception::kAddressSizeFaultOut);
        }
        if (!memory.load(table + index_at(va, walk.level) * sizeof(std::uint64_t), walk.descriptor)) {
            return stop(exception::kTranstabBusFault);
        }
        walk.leaf = decode(translation.format, walk.level, walk.descriptor);
        switch (walk.leaf.kind) {
            case EntryKind::kTable:
                table = walk.leaf.pa;
                continue;
            case EntryKind::kLeaf:
                break;
            case EntryKind::kEmpty:
            case EntryKind::kInvalid:
                return stop(exception::kTranslationFault);
        }
        break;
    }
    if (!walk.leaf.access_flag) {
        return stop(exception::kAccessFlagFault);
    }
    if ((walk.leaf.pa.raw() >> pa_bits) != 0) {
        return stop(exception::kAddressSizeFaultOut);
    }
    walk.start = va.align_down(span_at(walk.level));
    return walk;
}

}  // namespace granule::mali
