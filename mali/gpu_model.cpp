#include "mali/gpu_model.hpp"

#include <bit>
#include <charconv>
#include <cstddef>
#include <system_error>

namespace granule::mali {
namespace {

using Aliases = std::array<std::string_view, 3>;

// Rows of one generation differ in name, id and what their registers say; the rest follows from the architecture.
constexpr GpuModel midgard(std::string_view name, std::uint16_t id, unsigned arch, unsigned va_bits,
                           unsigned address_spaces, Aliases aliases = {}) {
    GpuModel model;
    model.name = name;
    model.aliases = aliases;
    model.product_id = id;
    model.match_mask = 0xffff;
    model.family = GpuFamily::kMidgard;
    model.arch = arch;
    model.va_bits = va_bits;
    model.address_spaces = address_spaces;
    model.smallest_lock_log2 = 12;
    return model;
}

constexpr std::uint16_t kArchAndProduct = 0xf00f;
constexpr std::uint16_t kArchMinorToo = 0xff0f;

constexpr GpuModel job_manager(std::string_view name, std::uint16_t id, unsigned va_bits, bool aarch64_mmu,
                               std::uint16_t mask = kArchAndProduct) {
    GpuModel model;
    model.name = name;
    model.product_id = id;
    model.match_mask = mask;
    model.arch = static_cast<unsigned>(id >> 12);
    model.family = model.arch >= 9 ? GpuFamily::kValhall : GpuFamily::kBifrost;
    model.va_bits = va_bits;
    model.aarch64_mmu = aarch64_mmu;
    return model;
}

constexpr GpuModel csf(std::string_view name, std::uint16_t id, Aliases aliases = {}) {
    GpuModel model;
    model.name = name;
    model.aliases = aliases;
    model.product_id = id;
    model.match_mask = kArchAndProduct;
    model.arch = static_cast<unsigned>(id >> 12);
    model.family = model.arch >= 12 ? GpuFamily::kFifthGen : GpuFamily::kValhall;
    model.aarch64_mmu = true;
    model.format = Format::kAarch64_4k;
    model.driver = KernelDriver::kPanthor;
    return model;
}

constexpr std::array kModels{
    //      name          id      arch VA  AS
    midgard("Mali-T600", 0x0600, 4, 48, 4, {"Mali-T604"}),
    midgard("Mali-T620", 0x0620, 4, 48, 4, {"Mali-T622", "Mali-T624", "Mali-T628"}),
    midgard("Mali-T720", 0x0720, 4, 33, 4),
    midgard("Mali-T760", 0x0750, 5, 48, 8),
    midgard("Mali-T820", 0x0820, 5, 48, 8),
    midgard("Mali-T830", 0x0830, 5, 48, 8),
    midgard("Mali-T860", 0x0860, 5, 48, 8),
    midgard("Mali-T880", 0x0880, 5, 48, 8),

    //          name            id      VA  AArch64 MMU
    job_manager("Mali-G71", 0x6000, 48, false),
    job_manager("Mali-G72", 0x6221, 48, false),
    job_manager("Mali-G51", 0x7000, 48, false),
    job_manager("Mali-G31", 0x7093, 33, true),
    job_manager("Mali-G76", 0x7211, 48, true),
    job_manager("Mali-G52", 0x7212, 48, false),
    job_manager("Mali-G52 r1", 0x7402, 35, false, kArchMinorToo),
    job_manager("Mali-G77", 0x9000, 48, true),
    job_manager("Mali-G57", 0x9091, 48, true),
    job_manager("Mali-G57", 0x9093, 48, true),  // MediaTek's: MT8192, MT8188
    job_manager("Mali-G78", 0x9202, 48, true),
    job_manager("Mali-G68", 0x9004, 48, true),
    job_manager("Mali-G78AE", 0x9005, 48, true),

    csf("Mali-G710", 0xa002),
    csf("Mali-G510", 0xa003),
    csf("Mali-G310", 0xac74),
    csf("Mali-G610", 0xa867),
    // From here on one id serves several products, which differ in cores and ray tracing.
    csf("Mali-G715", 0xb802, {"Mali-G715-Immortalis", "Immortalis-G715"}),
    csf("Mali-G615", 0xb803),
    csf("Mali-G720", 0xc870, {"Mali-G720-Immortalis", "Immortalis-G720"}),
    csf("Mali-G620", 0xc001),
    csf("Mali-G725", 0xd800, {"Mali-G925-Immortalis", "Immortalis-G925", "Mali-G925"}),
    csf("Mali-G625", 0xd001),
    csf("Mali-G1-Ultra", 0xe800, {"Mali-G1"}),
    csf("Mali-G1-Premium", 0xe801),
    csf("Mali-G1-Pro", 0xe803),
};

constexpr char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (lower(a[i]) != lower(b[i])) {
            return false;
        }
    }
    return true;
}

constexpr std::string_view kVendorPrefix = "Mali-";

std::string_view without_prefix(std::string_view name) {
    const bool prefixed = same(name.substr(0, kVendorPrefix.size()), kVendorPrefix);
    return prefixed ? name.substr(kVendorPrefix.size()) : name;
}

bool is_called(const GpuModel& model, std::string_view wanted) {
    if (same(without_prefix(model.name), wanted)) {
        return true;
    }
    for (const std::string_view alias : model.aliases) {
        if (!alias.empty() && same(without_prefix(alias), wanted)) {
            return true;
        }
    }
    return false;
}

}  // namespace

const char* to_string(GpuFamily family) noexcept {
    switch (family) {
        case GpuFamily::kMidgard:
            return "Midgard";
        case GpuFamily::kBifrost:
            return "Bifrost";
        case GpuFamily::kValhall:
            return "Valhall";
        case GpuFamily::kFifthGen:
            return "5th Gen";
    }
    return "unknown";
}

const char* to_string(KernelDriver driver) noexcept {
    return driver == KernelDriver::kPanfrost ? "panfrost" : "panthor";
}

std::span<const GpuModel> gpu_models() noexcept {
    return kModels;
}

const GpuModel* find_gpu_model(std::uint32_t gpu_id) noexcept {
    const std::uint16_t product = decode_gpu_id(gpu_id).product;
    const GpuModel* found = nullptr;
    for (const GpuModel& model : kModels) {
        const bool matches = ((product ^ model.product_id) & model.match_mask) == 0;
        if (matches && (found == nullptr || std::popcount(model.match_mask) > std::popcount(found->match_mask))) {
            found = &model;
        }
    }
    return found;
}

const GpuModel* find_gpu_model(std::string_view text) noexcept {
    if (text.size() > 2 && text[0] == '0' && lower(text[1]) == 'x') {
        std::uint32_t id = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data() + 2, end, id, 16);
        return error == std::errc{} && stop == end ? find_gpu_model(id) : nullptr;
    }
    const std::string_view wanted = without_prefix(text);
    for (const GpuModel& model : kModels) {
        if (is_called(model, wanted)) {
            return &model;
        }
    }
    return nullptr;
}

}  // namespace granule::mali
