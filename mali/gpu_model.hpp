// Which Mali this is: from GPU_ID or from what a user typed to the facts that the layers above need.
//
// GPU_ID has had two layouts. The product id is its upper half in both:
//
//      31                                    16 15   12 11        4 3      0
//     +----------------------------------------+-------+-----------+--------+
//     | Midgard     0x0600 ... 0x0fff: product | major |   minor   | status |
//     +---------+----------+---------+---------+       |           |        |
//     | arch    | arch     | arch    | product |       |           |        |
//     | major   | minor    | rev     |         |       |           |        |
//     +---------+----------+---------+---------+-------+-----------+--------+
//
// - A product id whose upper four bits are zero is Midgard's; else the architecture's major version stands there. The
//   first T60x breaks the rule: it says 0x6956, which Linux reads as 0x0600.
// - A whole GPU_ID is above 0xffff, because no product id is 0; a value up to 0xffff is a product id alone, as the DRM
//   drivers print it. So both forms are accepted without being told which.
// - What identifies a GPU is the architecture's major version and the product. Where an architecture minor changed what
//   is in this table (G52 r1), it has its own row, and the row that matches the most bits counts.
//
// VA bits, PA bits and address spaces are those that boards report in MMU_FEATURES and AS_PRESENT in public Linux boot
// logs; rows without such a log have the usual 48, 40 and 8. They are defaults for where there are no registers: on
// hardware, what the registers say holds.
//
// Sources: Linux drivers/gpu/drm/panfrost/panfrost_gpu.c, panfrost_features.h, panfrost_device.h;
// drivers/gpu/drm/panthor/panthor_hw.c, panthor_regs.h; Mesa src/panfrost/model/pan_model.c; Arm's kbase
// mali_kbase_gpu_id.h for the job-manager Valhalls.
//
// Immutable table; any thread. Look-ups are linear in some forty rows.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "mali/attributes.hpp"

namespace granule::mali {

enum class GpuFamily : std::uint8_t { kMidgard, kBifrost, kValhall, kFifthGen };
enum class KernelDriver : std::uint8_t { kPanfrost, kPanthor };

[[nodiscard]] const char* to_string(GpuFamily family) noexcept;
[[nodiscard]] const char* to_string(KernelDriver driver) noexcept;

struct GpuId {
    std::uint16_t product = 0;  // GPU_ID[31:16]
    std::uint8_t version_major = 0;
    std::uint8_t version_minor = 0;
    std::uint8_t version_status = 0;

    // Which layout `product` has, and its parts. Midgard has no architecture in its id: 0.
    [[nodiscard]] constexpr bool is_midgard() const noexcept { return (product & 0xf000U) == 0; }
    [[nodiscard]] constexpr unsigned arch_major() const noexcept { return product >> 12; }
    [[nodiscard]] constexpr unsigned arch_minor() const noexcept { return is_midgard() ? 0 : (product >> 8) & 0xfU; }
    [[nodiscard]] constexpr unsigned arch_rev() const noexcept { return is_midgard() ? 0 : (product >> 4) & 0xfU; }

    constexpr bool operator==(const GpuId&) const noexcept = default;
};

// A whole GPU_ID, or a product id alone (the version is 0 then).
[[nodiscard]] constexpr GpuId decode_gpu_id(std::uint32_t gpu_id) noexcept {
    constexpr std::uint32_t kFirstT60x = 0x6956;
    const bool whole = gpu_id > 0xffff;
    const std::uint32_t product = whole ? gpu_id >> 16 : gpu_id;
    const std::uint32_t version = whole ? gpu_id & 0xffff : 0;
    return {
        static_cast<std::uint16_t>(product == kFirstT60x ? 0x0600 : product),
        static_cast<std::uint8_t>(version >> 12),
        static_cast<std::uint8_t>((version >> 4) & 0xff),
        static_cast<std::uint8_t>(version & 0xf),
    };
}

// GPU_MMU_FEATURES.
struct MmuFeatures {
    unsigned va_bits = 0;
    unsigned pa_bits = 0;

    constexpr bool operator==(const MmuFeatures&) const noexcept = default;
};

[[nodiscard]] constexpr MmuFeatures decode_mmu_features(std::uint32_t raw) noexcept {
    return {raw & 0xffU, (raw >> 8) & 0xffU};
}
[[nodiscard]] constexpr std::uint32_t encode_mmu_features(const MmuFeatures& features) noexcept {
    return (features.va_bits & 0xffU) | ((features.pa_bits & 0xffU) << 8);
}

struct GpuModel {
    std::string_view name;                    // "Mali-G610"
    std::array<std::string_view, 3> aliases;  // other products of this id; by core count, as Linux tells them apart
    std::uint16_t product_id = 0;             // as hardware reports it; bits outside match_mask are not known for all
    std::uint16_t match_mask = 0;             // the bits of a product id that make it this model
    GpuFamily family = GpuFamily::kMidgard;
    unsigned arch = 0;  // major version: 4 to 14
    unsigned va_bits = 48;
    unsigned pa_bits = 40;
    unsigned address_spaces = 8;
    bool aarch64_mmu = false;           // can walk the AArch64 format, and reports atomics in faults
    Format format = Format::kMaliLpae;  // what Linux uses: AArch64 where there is nothing else
    unsigned smallest_lock_log2 = 15;   // what the hardware can; Linux locks 2^15 on all
    KernelDriver driver = KernelDriver::kPanfrost;

    // A command stream frontend in place of the job manager: panthor, and cache flushes through GPU_CMD.
    [[nodiscard]] constexpr bool has_csf() const noexcept { return arch >= 10; }
    // TRANSCFG and FAULTEXTRA exist.
    [[nodiscard]] constexpr bool has_transcfg() const noexcept { return arch >= 6; }
};

// Every model known, oldest first.
[[nodiscard]] std::span<const GpuModel> gpu_models() noexcept;

// nullptr where unknown. See the top for the forms of `gpu_id`.
[[nodiscard]] const GpuModel* find_gpu_model(std::uint32_t gpu_id) noexcept;

// From a user: a name with or without "Mali-" ("G610", "mali-g610", "Immortalis-G715"), or an id in hexadecimal with
// "0x" ("0xa867", "0xa8670005"); case does not matter. nullptr where unknown or malformed.
[[nodiscard]] const GpuModel* find_gpu_model(std::string_view text) noexcept;

}  // namespace granule::mali
