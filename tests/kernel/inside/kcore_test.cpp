#include "tests/kernel/inside/kcore.hpp"

#include <doctest/doctest.h>
#include <elf.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/page_map.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kLinear = 0xffff'0000'0000'0000;
constexpr std::uint64_t kDataOffset = 0x1000;

Elf64_Phdr load(std::uint64_t va, std::uint64_t pa, std::uint64_t size, std::uint64_t offset) {
    Elf64_Phdr header{};
    header.p_type = PT_LOAD;
    header.p_vaddr = va;
    header.p_paddr = pa;
    header.p_filesz = size;
    header.p_memsz = size;
    header.p_offset = offset;
    return header;
}

Elf64_Ehdr core_header(std::size_t program_headers) {
    Elf64_Ehdr header{};
    std::memcpy(static_cast<unsigned char*>(header.e_ident), ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_CORE;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(program_headers);
    return header;
}

// An ELF header and program headers, as /proc/kcore begins.
std::vector<std::byte> core_file(const Elf64_Ehdr& header, const std::vector<Elf64_Phdr>& programs) {
    std::vector<std::byte> bytes(sizeof header + programs.size() * sizeof(Elf64_Phdr));
    std::memcpy(bytes.data(), &header, sizeof header);
    if (!programs.empty()) {
        std::memcpy(bytes.data() + sizeof header, programs.data(), programs.size() * sizeof(Elf64_Phdr));
    }
    return bytes;
}
std::vector<std::byte> core_file(const std::vector<Elf64_Phdr>& programs) {
    return core_file(core_header(programs.size()), programs);
}

// What arm64 guests have: a note, the kernel's image, vmalloc, modules, and two banks of RAM.
std::vector<Elf64_Phdr> guest_segments() {
    Elf64_Phdr note{};
    note.p_type = PT_NOTE;
    note.p_paddr = 0x1234;
    note.p_filesz = 0x100;
    return {note, load(0xffff'8000'8000'0000, ~std::uint64_t{0}, 0x1000, 0x9000),
            load(0xffff'8000'0000'0000, 0, 0x1000, 0xa000), load(kLinear, 0x4000'0000, 2 * kPageBytes, kDataOffset),
            load(kLinear + 0x1000'0000, 0x5000'0000, kPageBytes, kDataOffset + 2 * kPageBytes)};
}

// A file that is gone with its owner.
class CoreFile {
public:
    explicit CoreFile(std::vector<std::byte> bytes)
        : path_((std::filesystem::temp_directory_path() / ("granule-kcore-" + std::to_string(getpid()))).string()) {
        bytes.resize(kDataOffset);
        for (std::uint64_t word = 0; word < 3 * kPageBytes / sizeof word; ++word) {
            const auto* const raw = reinterpret_cast<const std::byte*>(&word);
            bytes.insert(bytes.end(), raw, raw + sizeof word);
        }
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    CoreFile(const CoreFile&) = delete;
    CoreFile& operator=(const CoreFile&) = delete;
    CoreFile(CoreFile&&) = delete;
    CoreFile& operator=(CoreFile&&) = delete;
    ~CoreFile() { static_cast<void>(std::remove(path_.c_str())); }

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace

TEST_CASE("RAM is the load segments that have a physical address") {
    const std::vector<RamSegment> segments = parse_ram_segments(core_file(guest_segments()), "kcore");
    REQUIRE(segments.size() == 2);
    CHECK(segments[0] == RamSegment{kLinear, Pa{0x4000'0000}, 2 * kPageBytes, kDataOffset});
    CHECK(segments[1] == RamSegment{kLinear + 0x1000'0000, Pa{0x5000'0000}, kPageBytes, kDataOffset + 2 * kPageBytes});
}

TEST_CASE("a file that is no core file of a 64-bit kernel is refused") {
    CHECK_THROWS_AS(static_cast<void>(parse_ram_segments({}, "kcore")), ProbeError);
    std::vector<std::byte> bytes = core_file(guest_segments());
    SUBCASE("another magic number") {
        bytes[0] = std::byte{0};
    }
    SUBCASE("32 bits") {
        bytes[EI_CLASS] = std::byte{ELFCLASS32};
    }
    SUBCASE("big endian") {
        bytes[EI_DATA] = std::byte{ELFDATA2MSB};
    }
    SUBCASE("program headers that are not all there") {
        bytes.resize(bytes.size() - 1);
    }
    SUBCASE("no RAM") {
        bytes = core_file({guest_segments()[0], guest_segments()[1], guest_segments()[2]});
    }
    SUBCASE("an offset beyond everything") {
        Elf64_Ehdr header = core_header(1);
        header.e_phoff = ~std::uint64_t{0} - 8;
        bytes = core_file(header, {load(kLinear, 0x4000'0000, kPageBytes, 0)});
    }
    CHECK_THROWS_AS(static_cast<void>(parse_ram_segments(bytes, "kcore")), ProbeError);
}

TEST_CASE("virtual and physical addresses of RAM are translated both ways, to the last byte of a bank") {
    const CoreFile file(core_file(guest_segments()));
    const Kcore kcore(file.path());
    CHECK(kcore.to_physical(kLinear + 0x123) == Pa{0x4000'0123});
    CHECK(kcore.to_physical(kLinear + 2 * kPageBytes - 1) == Pa{0x4000'1fff});
    CHECK(kcore.to_physical(kLinear + 2 * kPageBytes) == std::nullopt);
    CHECK(kcore.to_physical(0xffff'8000'8000'0000) == std::nullopt);
    CHECK(kcore.to_virtual(Pa{0x5000'0ff8}) == kLinear + 0x1000'0ff8);
    CHECK(kcore.to_virtual(Pa{0x4fff'ffff}) == std::nullopt);
}

TEST_CASE("reads give the bytes at a physical address, or say what was wanted and where") {
    const CoreFile file(core_file(guest_segments()));
    const Kcore kcore(file.path());
    std::uint64_t word = 0;
    kcore.read(Pa{0x4000'0ff8}, std::as_writable_bytes(std::span(&word, 1)));
    CHECK(word == 511);
    TableWords words{};
    kcore.read_table(Pa{0x5000'0000}, words);
    CHECK(words.front() == 1024);
    CHECK(words.back() == 1535);
    CHECK_THROWS_WITH_AS(kcore.read_table(Pa{0x4000'1800}, words), doctest::Contains("0x1000 bytes at PA 0x40001800"),
                         ProbeError);
    CHECK_THROWS_AS(kcore.read_table(Pa{0x3fff'f000}, words), ProbeError);
    CHECK_THROWS_WITH_AS(Kcore("/no/such/kcore"), doctest::Contains("/no/such/kcore"), ProbeError);
}

namespace {

// Tables in a map: what cpu_translate walks.
class MadeUpTables final : public TableReader {
public:
    void set(std::uint64_t table, std::size_t index, std::uint64_t word) { tables_[table / kPageBytes][index] = word; }
    void read_table(Pa table, TableWords& words) const override { words = tables_.at(table.raw() / kPageBytes); }

private:
    std::array<TableWords, 8> tables_{};
};

}  // namespace

TEST_CASE("the CPU's tables are walked through pages, 2 MiB blocks and 1 GiB blocks") {
    MadeUpTables tables;
    tables.set(0x1000, 0, 0x2003);
    tables.set(0x2000, 0, 0x3003);
    tables.set(0x2000, 1, 0x0060'0000'4000'0f51);  // a block of 1 GiB, with attributes around the address
    tables.set(0x3000, 0, 0x4003);
    tables.set(0x3000, 1, 0x0060'0000'4660'0fd1);  // a block of 2 MiB
    tables.set(0x4000, 3, 0x00e8'0000'4680'3fd3);  // a page
    tables.set(0x4000, 4, 0x0000'0000'4680'3fd2);  // not present
    const Pa root{0x1000};
    CHECK(cpu_translate(tables, root, 0x3abc) == Pa{0x4680'3abc});
    CHECK(cpu_translate(tables, root, 0x20'1234) == Pa{0x4660'1234});
    CHECK(cpu_translate(tables, root, 0x4012'3456) == Pa{0x4012'3456});
    CHECK(cpu_translate(tables, root, 0x4000) == std::nullopt);
    CHECK(cpu_translate(tables, root, 0x5000) == std::nullopt);
    CHECK(cpu_translate(tables, root, 0x80'0000'0000) == std::nullopt);
}

TEST_CASE("a word of pagemap names a frame where the page is present and the kernel shows it") {
    CHECK(pagemap_frame(0x8180'0000'0004'5a00) == Pa{0x45a0'0000});
    CHECK(pagemap_frame(0x0180'0000'0004'5a00) == std::nullopt);  // swapped out
    CHECK(pagemap_frame(0x8180'0000'0000'0000) == std::nullopt);  // hidden from who is not root
    CHECK(pagemap_frame(0) == std::nullopt);
}

}  // namespace granule::kernel_test
