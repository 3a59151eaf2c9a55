#include "mali/translation_config.hpp"

#include <doctest/doctest.h>

#include <cstdint>

#include "mali/descriptor.hpp"

using namespace granule;
using namespace granule::mali;

TEST_CASE("the walker reads out of the registers what was put into them") {
    for (const Pa root : {Pa{0}, Pa{0x80006000}, Pa{kMaxVaEnd - kPageBytes}}) {
        for (const bool coherent : {true, false}) {
            for (unsigned va_bits = 25; va_bits <= kMaxVaBits; ++va_bits) {
                CAPTURE(va_bits);
                const TranslationConfig mali = translation_config(Format::kMaliLpae, va_bits, coherent, root);
                const auto read_mali = read_translation(mali.transtab, mali.transcfg);
                REQUIRE(read_mali.has_value());
                CHECK(read_mali->mode == AddressMode::kTable);
                CHECK(read_mali->format == Format::kMaliLpae);
                CHECK(read_mali->va_bits == 48);
                CHECK(read_mali->root == root);

                const TranslationConfig aarch64 = translation_config(Format::kAarch64_4k, va_bits, coherent, root);
                const auto read_aarch64 = read_translation(aarch64.transtab, aarch64.transcfg);
                REQUIRE(read_aarch64.has_value());
                CHECK(read_aarch64->mode == AddressMode::kTable);
                CHECK(read_aarch64->format == Format::kAarch64_4k);
                CHECK(read_aarch64->va_bits == va_bits);
                CHECK(read_aarch64->root == root);
            }
        }
    }
}

TEST_CASE("an address space that was taken down translates nothing, on GPUs with TRANSCFG and without") {
    CHECK(read_translation(kUnmappedConfig.transtab, kUnmappedConfig.transcfg)->mode == AddressMode::kUnmapped);
    CHECK(read_translation(kUnmappedConfig.transtab, 0)->mode == AddressMode::kUnmapped);
}

TEST_CASE("identity is read in both places, and modes that are not ours are not guessed at") {
    CHECK(read_translation(2, 0)->mode == AddressMode::kIdentity);
    CHECK(read_translation(0x80000007, transcfg::kModeIdentity)->mode == AddressMode::kIdentity);
    CHECK_FALSE(read_translation(1, 0).has_value());
    for (const std::uint64_t mode : {3U, 4U, 5U, 7U, 8U, 9U, 15U}) {
        CAPTURE(mode);
        CHECK_FALSE(read_translation(0x80000007, mode).has_value());
    }
    // More VA bits than four levels translate.
    CHECK_FALSE(read_translation(0, transcfg::kModeAarch64_4k | (std::uint64_t{55 - 49} << 6)).has_value());
}

TEST_CASE("coherency changes the walk and the cached index, never the meaning of uncached and device") {
    const TranslationConfig with = translation_config(Format::kAarch64_4k, 48, true, Pa{});
    const TranslationConfig without = translation_config(Format::kAarch64_4k, 48, false, Pa{});
    const auto byte = [](std::uint64_t memattr, MemoryType type) {
        return (memattr >> (8 * static_cast<unsigned>(type))) & 0xff;
    };
    CHECK(byte(with.memattr, MemoryType::kUncached) == byte(without.memattr, MemoryType::kUncached));
    CHECK(byte(with.memattr, MemoryType::kDevice) == byte(without.memattr, MemoryType::kDevice));
    CHECK(byte(with.memattr, MemoryType::kCached) == 0x9f);
    CHECK(byte(without.memattr, MemoryType::kCached) == 0x8f);
    CHECK((with.transcfg ^ without.transcfg) == transcfg::kWalkOuterShareable);

    const TranslationConfig mali_with = translation_config(Format::kMaliLpae, 48, true, Pa{});
    const TranslationConfig mali_without = translation_config(Format::kMaliLpae, 48, false, Pa{});
    CHECK(mali_with.memattr == mali_without.memattr);
    CHECK((mali_with.transtab ^ mali_without.transtab) == transtab::kShareOuter);
}

TEST_CASE("only write-back, inner and outer, is cached; its allocation hints are kept") {
    CHECK(memattr_from_mair(0xffffffffffffffff, false) == 0x8f8f8f8f8f8f8f8f);  // write-back, read- and write-allocate
    CHECK(memattr_from_mair(0x0000000000000000, true) == 0x4c4c4c4c4c4c4c4c);   // device
    CHECK((memattr_from_mair(0xbb, true) & 0xff) == 0x4c);                      // write-through
    CHECK((memattr_from_mair(0x44, true) & 0xff) == 0x4c);                      // non-cacheable
    CHECK((memattr_from_mair(0xfb, true) & 0xff) == 0x4c);                      // write-through inside
    CHECK((memattr_from_mair(0xfd, false) & 0xff) == 0x8d);                     // write-allocate
    CHECK((memattr_from_mair(0xfe, false) & 0xff) == 0x8e);                     // read-allocate
}
