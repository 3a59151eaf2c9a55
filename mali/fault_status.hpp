// What AS_FAULTSTATUS says: decoded, in words, and encoded back.
//
//      31                    16 15      11  10  9      8 7                0
//     +------------------------+----------+----+--------+------------------+
//     |       source id        |    0     |unit| access |  exception type  |
//     +------------------------+----------+----+--------+------------------+
//
// Example: 0x068002c3 is source 0x680, a read, TRANSLATION_FAULT_3.
// Invariant: encode(decode(raw)) == raw for every raw.
// Sources: Linux drivers/gpu/drm/panfrost/panfrost_device.c, panfrost_mmu.c; drivers/gpu/drm/panthor/panthor_device.c,
// panthor_mmu.c.
//
// Pure functions; the words are static strings.
#pragma once

#include <cstdint>
#include <optional>

namespace granule::mali {

// AS_FAULTSTATUS[9:8]. 0 is an atomic where the GPU has the AArch64 MMU, and says nothing on those that have not.
enum class AccessKind : std::uint8_t { kAtomic = 0, kExecute = 1, kRead = 2, kWrite = 3 };

enum class FaultClass : std::uint8_t {
    kNone,            // exception type 0: no fault
    kTranslation,     // no translation: hole, or an invalid entry
    kPermission,      // a leaf that does not allow this access
    kTranstabBus,     // the walk itself failed on the bus
    kAccessFlag,      // an AArch64 leaf with AF clear
    kAddressSizeIn,   // the VA is larger than the space
    kAddressSizeOut,  // the PA is larger than the bus
    kMemoryAttributes,
    kBus,
    kShareability,
    kOther,
};

// The exception types that a page-table walk raises; the level is added to the bases.
namespace exception {
inline constexpr std::uint8_t kTranslationFault = 0xc0;
inline constexpr std::uint8_t kPermissionFault = 0xc8;
inline constexpr std::uint8_t kTranstabBusFault = 0xd0;
inline constexpr std::uint8_t kAccessFlagFault = 0xd8;
inline constexpr std::uint8_t kAddressSizeFaultIn = 0xe0;
inline constexpr std::uint8_t kAddressSizeFaultOut = 0xe4;
inline constexpr std::uint8_t kMemoryAttributesFault = 0xe8;
}  // namespace exception

struct FaultStatus {
    std::uint8_t exception = 0;  // type
    AccessKind access = AccessKind::kAtomic;
    bool decoder_unit = false;    // bit 10: Linux prints DECODER where set, SLAVE where not
    std::uint8_t reserved = 0;    // bits 15:11, 0 on known hardware; kept so that nothing is lost
    std::uint16_t source_id = 0;  // the unit that made the access

    constexpr bool operator==(const FaultStatus&) const noexcept = default;
};

[[nodiscard]] constexpr FaultStatus decode_fault_status(std::uint32_t raw) noexcept {
    return {
        static_cast<std::uint8_t>(raw & 0xffU),
        static_cast<AccessKind>((raw >> 8) & 3U),
        ((raw >> 10) & 1U) != 0,
        static_cast<std::uint8_t>((raw >> 11) & 0x1fU),
        static_cast<std::uint16_t>(raw >> 16),
    };
}

[[nodiscard]] constexpr std::uint32_t encode_fault_status(const FaultStatus& status) noexcept {
    return std::uint32_t{status.exception} | (static_cast<std::uint32_t>(status.access) << 8) |
           (status.decoder_unit ? 1U << 10 : 0U) | ((status.reserved & 0x1fU) << 11) |
           (std::uint32_t{status.source_id} << 16);
}

[[nodiscard]] FaultClass fault_class(std::uint8_t exception) noexcept;
// The level at which the walk stopped, where the exception type tells it.
[[nodiscard]] std::optional<unsigned> fault_level(std::uint8_t exception) noexcept;

// Which names Linux uses: panfrost (job manager) and panthor (CSF) differ in a few.
enum class FaultNames : std::uint8_t { kJobManager, kCsf };

// "TRANSLATION_FAULT_3"; "UNKNOWN" for types that these GPUs do not raise.
[[nodiscard]] const char* exception_name(std::uint8_t exception, FaultNames names) noexcept;
// "READ"; kAtomic is "ATOMIC" where the GPU has the AArch64 MMU, "UNKNOWN" where it has not.
[[nodiscard]] const char* access_name(AccessKind access, bool aarch64_mmu) noexcept;
[[nodiscard]] const char* to_string(FaultClass fault) noexcept;

// ---- MMU_INT: which address spaces have something to say ----

// Bit n: AS n has faulted.
[[nodiscard]] constexpr std::uint32_t page_fault_bit(unsigned as) noexcept {
    return 1U << as;
}
// Bit n + 16. Job manager: a bus fault of AS n. CSF: a command of AS n is done; Linux keeps it masked and polls.
[[nodiscard]] constexpr std::uint32_t second_bit(unsigned as) noexcept {
    return 1U << (as + 16U);
}

}  // namespace granule::mali
