#include "mali/fault_status.hpp"

#include <array>
#include <cstddef>

namespace granule::mali {
namespace {

// Exception types 0xc0 to 0xff in the two dialects; nullptr: the dialect has no such type.
struct Names {
    const char* job_manager;
    const char* csf;
};

constexpr Names both(const char* name) {
    return {name, name};
}
constexpr Names job_manager_only(const char* name) {
    return {name, nullptr};
}

constexpr std::uint8_t kFirstWalkException = 0xc0;

constexpr std::array<Names, 48> kWalkExceptions{{
    both("TRANSLATION_FAULT_0"),  // 0xc0
    both("TRANSLATION_FAULT_1"),
    both("TRANSLATION_FAULT_2"),
    both("TRANSLATION_FAULT_3"),
    both("TRANSLATION_FAULT_4"),
    {nullptr, nullptr},
    {nullptr, nullptr},
    job_manager_only("TRANSLATION_FAULT_IDENTITY"),
    both("PERM_FAULT_0"),  // 0xc8
    both("PERM_FAULT_1"),
    both("PERM_FAULT_2"),
    both("PERM_FAULT_3"),
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    job_manager_only("TRANSTAB_BUS_FAULT_0"),  // 0xd0
    job_manager_only("TRANSTAB_BUS_FAULT_1"),
    job_manager_only("TRANSTAB_BUS_FAULT_2"),
    job_manager_only("TRANSTAB_BUS_FAULT_3"),
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    job_manager_only("ACCESS_FLAG_0"),  // 0xd8
    both("ACCESS_FLAG_1"),
    both("ACCESS_FLAG_2"),
    both("ACCESS_FLAG_3"),
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    {nullptr, nullptr},
    {"ADDR_SIZE_FAULT_IN0", "ADDR_SIZE_FAULT_IN"},  // 0xe0
    job_manager_only("ADDR_SIZE_FAULT_IN1"),
    job_manager_only("ADDR_SIZE_FAULT_IN2"),
    job_manager_only("ADDR_SIZE_FAULT_IN3"),
    both("ADDR_SIZE_FAULT_OUT0"),  // 0xe4
    both("ADDR_SIZE_FAULT_OUT1"),
    both("ADDR_SIZE_FAULT_OUT2"),
    both("ADDR_SIZE_FAULT_OUT3"),
    both("MEM_ATTR_FAULT_0"),  // 0xe8
    both("MEM_ATTR_FAULT_1"),
    both("MEM_ATTR_FAULT_2"),
    both("MEM_ATTR_FAULT_3"),
    job_manager_only("MEM_ATTR_NONCACHE_0"),  // 0xec
    job_manager_only("MEM_ATTR_NONCACHE_1"),
    job_manager_only("MEM_ATTR_NONCACHE_2"),
    job_manager_only("MEM_ATTR_NONCACHE_3"),
}};

constexpr Names names_of(std::uint8_t exception) {
    switch (exception) {
        case 0x00:
            return both("OK");
        case 0x80:
            return {"DELAYED_BUS_FAULT", "GPU_BUS_FAULT"};
        case 0x88:
            return both("GPU_SHAREABILITY_FAULT");
        case 0x89:
            return both("SYS_SHAREABILITY_FAULT");
        case 0x8a:
            return both("GPU_CACHEABILITY_FAULT");
        default:
            break;
    }
    if (exception < kFirstWalkException) {
        return {nullptr, nullptr};
    }
    const std::size_t index = exception - std::size_t{kFirstWalkException};
    return index < kWalkExceptions.size() ? kWalkExceptions[index] : Names{nullptr, nullptr};
}

}  // namespace

FaultClass fault_class(std::uint8_t exception) noexcept {
    switch (exception) {
        case 0x00:
            return FaultClass::kNone;
        case 0x80:
            return FaultClass::kBus;
        case 0x88:
        case 0x89:
        case 0x8a:
            return FaultClass::kShareability;
        default:
            break;
    }
    if (names_of(exception).job_manager == nullptr) {
        return FaultClass::kOther;
    }
    if (exception >= exception::kMemoryAttributesFault) {
        return FaultClass::kMemoryAttributes;
    }
    if (exception >= exception::kAddressSizeFaultOut) {
        return FaultClass::kAddressSizeOut;
    }
    if (exception >= exception::kAddressSizeFaultIn) {
        return FaultClass::kAddressSizeIn;
    }
    if (exception >= exception::kAccessFlagFault) {
        return FaultClass::kAccessFlag;
    }
    if (exception >= exception::kTranstabBusFault) {
        return FaultClass::kTranstabBus;
    }
    return exception >= exception::kPermissionFault ? FaultClass::kPermission : FaultClass::kTranslation;
}

std::optional<unsigned> fault_level(std::uint8_t exception) noexcept {
    constexpr std::uint8_t kTranslationFaultIdentity = 0xc7;
    constexpr std::uint8_t kTranslationFault4 = 0xc4;
    if (exception < kFirstWalkException || exception == kTranslationFaultIdentity ||
        names_of(exception).job_manager == nullptr) {
        return std::nullopt;
    }
    // The types come in aligned groups of four levels; only translation faults have a fifth.
    return exception == kTranslationFault4 ? 4U : exception & 3U;
}

const char* exception_name(std::uint8_t exception, FaultNames names) noexcept {
    const Names of = names_of(exception);
    const char* const name = names == FaultNames::kJobManager ? of.job_manager : of.csf;
    return name == nullptr ? "UNKNOWN" : name;
}

const char* access_name(AccessKind access, bool aarch64_mmu) noexcept {
    switch (access) {
        case AccessKind::kAtomic:
            return aarch64_mmu ? "ATOMIC" : "UNKNOWN";
        case AccessKind::kExecute:
            return "EXECUTE";
        case AccessKind::kRead:
            return "READ";
        case AccessKind::kWrite:
            return "WRITE";
    }
    return "UNKNOWN";
}

const char* to_string(FaultClass fault) noexcept {
    switch (fault) {
        case FaultClass::kNone:
            return "no fault";
        case FaultClass::kTranslation:
            return "no translation";
        case FaultClass::kPermission:
            return "permission";
        case FaultClass::kTranstabBus:
            return "bus fault of the page-table walk";
        case FaultClass::kAccessFlag:
            return "access flag clear";
        case FaultClass::kAddressSizeIn:
            return "virtual address too large";
        case FaultClass::kAddressSizeOut:
            return "physical address too large";
        case FaultClass::kMemoryAttributes:
            return "memory attributes";
        case FaultClass::kBus:
            return "bus fault";
        case FaultClass::kShareability:
            return "shareability";
        case FaultClass::kOther:
            return "other";
    }
    return "other";
}

}  // namespace granule::mali
