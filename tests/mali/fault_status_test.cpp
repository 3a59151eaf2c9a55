#include "mali/fault_status.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>

using namespace granule::mali;

TEST_CASE("a fault status as Linux prints it") {
    // panfrost on a T860: "raw fault status: 0x68002C3 ... SLAVE FAULT ... TRANSLATION_FAULT ... READ ... source
    // 0x680".
    const FaultStatus status = decode_fault_status(0x68002c3);
    CHECK(status.exception == 0xc3);
    CHECK(status.access == AccessKind::kRead);
    CHECK_FALSE(status.decoder_unit);
    CHECK(status.source_id == 0x680);
    CHECK(fault_class(status.exception) == FaultClass::kTranslation);
    CHECK(fault_level(status.exception) == 3U);
    CHECK(std::string(exception_name(status.exception, FaultNames::kJobManager)) == "TRANSLATION_FAULT_3");
    CHECK(std::string(access_name(status.access, false)) == "READ");
    CHECK(encode_fault_status(status) == 0x68002c3);
}

TEST_CASE("encoding what was decoded gives every raw status back") {
    for (std::uint32_t low = 0; low <= 0xffff; ++low) {
        for (const std::uint32_t source : {0x0000U, 0x0680U, 0xffffU}) {
            const std::uint32_t raw = source << 16 | low;
            if (encode_fault_status(decode_fault_status(raw)) != raw) {
                CAPTURE(raw);
                FAIL("not the same raw status");
            }
        }
    }
}

TEST_CASE("the classes of the walk's exceptions, and the level in their last digit") {
    struct Group {
        unsigned base;
        unsigned levels;
        FaultClass meaning;
    };
    constexpr std::array kGroups{
        Group{exception::kTranslationFault, 5, FaultClass::kTranslation},
        Group{exception::kPermissionFault, 4, FaultClass::kPermission},
        Group{exception::kTranstabBusFault, 4, FaultClass::kTranstabBus},
        Group{exception::kAccessFlagFault, 4, FaultClass::kAccessFlag},
        Group{exception::kAddressSizeFaultIn, 4, FaultClass::kAddressSizeIn},
        Group{exception::kAddressSizeFaultOut, 4, FaultClass::kAddressSizeOut},
        Group{exception::kMemoryAttributesFault, 4, FaultClass::kMemoryAttributes},
    };
    for (const Group& group : kGroups) {
        for (unsigned level = 0; level < group.levels; ++level) {
            const auto type = static_cast<std::uint8_t>(group.base + level);
            CAPTURE(static_cast<int>(type));
            CHECK(fault_class(type) == group.meaning);
            CHECK(fault_level(type) == level);
        }
    }
    CHECK(fault_class(0xc7) == FaultClass::kTranslation);  // identity mode has no levels
    CHECK_FALSE(fault_level(0xc7).has_value());
    CHECK(fault_class(0xc5) == FaultClass::kOther);
    CHECK_FALSE(fault_level(0xc5).has_value());
    CHECK(fault_class(0) == FaultClass::kNone);
    CHECK(fault_class(0x80) == FaultClass::kBus);
    CHECK(fault_class(0x88) == FaultClass::kShareability);
    CHECK(fault_class(0xff) == FaultClass::kOther);
}

TEST_CASE("job-manager and CSF GPUs name some exceptions differently, and CSF lacks some") {
    const auto names = [](std::uint8_t type) {
        return std::string(exception_name(type, FaultNames::kJobManager)) + " " +
               exception_name(type, FaultNames::kCsf);
    };
    CHECK(names(0x80) == "DELAYED_BUS_FAULT GPU_BUS_FAULT");
    CHECK(names(0xc7) == "TRANSLATION_FAULT_IDENTITY UNKNOWN");
    CHECK(names(0xc8) == "PERM_FAULT_0 PERM_FAULT_0");
    CHECK(names(0xd3) == "TRANSTAB_BUS_FAULT_3 UNKNOWN");
    CHECK(names(0xd8) == "ACCESS_FLAG_0 UNKNOWN");
    CHECK(names(0xdb) == "ACCESS_FLAG_3 ACCESS_FLAG_3");
    CHECK(names(0xe0) == "ADDR_SIZE_FAULT_IN0 ADDR_SIZE_FAULT_IN");
    CHECK(names(0xe1) == "ADDR_SIZE_FAULT_IN1 UNKNOWN");
    CHECK(names(0xe7) == "ADDR_SIZE_FAULT_OUT3 ADDR_SIZE_FAULT_OUT3");
    CHECK(names(0xeb) == "MEM_ATTR_FAULT_3 MEM_ATTR_FAULT_3");
    CHECK(names(0xef) == "MEM_ATTR_NONCACHE_3 UNKNOWN");
    CHECK(names(0xf0) == "UNKNOWN UNKNOWN");
    CHECK(names(0x42) == "UNKNOWN UNKNOWN");
}

TEST_CASE("every exception type has a name in both dialects, and every class has words") {
    for (unsigned type = 0; type <= 0xff; ++type) {
        for (const FaultNames names : {FaultNames::kJobManager, FaultNames::kCsf}) {
            CHECK_FALSE(std::string(exception_name(static_cast<std::uint8_t>(type), names)).empty());
        }
        CHECK_FALSE(std::string(to_string(fault_class(static_cast<std::uint8_t>(type)))).empty());
    }
}

TEST_CASE("access 0 is an atomic only where the GPU has the AArch64 MMU") {
    CHECK(std::string(access_name(AccessKind::kAtomic, true)) == "ATOMIC");
    CHECK(std::string(access_name(AccessKind::kAtomic, false)) == "UNKNOWN");
    CHECK(std::string(access_name(AccessKind::kExecute, false)) == "EXECUTE");
    CHECK(std::string(access_name(AccessKind::kWrite, true)) == "WRITE");
}

TEST_CASE("MMU_INT has two bits an address space") {
    CHECK(page_fault_bit(0) == 0x1);
    CHECK(page_fault_bit(15) == 0x8000);
    CHECK(second_bit(0) == 0x10000);
    CHECK(second_bit(15) == 0x80000000);
}
