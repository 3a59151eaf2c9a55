#include "tests/kernel/inside/kcore.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

// Room for far more segments than a machine of a few banks of RAM has.
constexpr std::size_t kHeaderBytes = std::size_t{64} * 1024;

template <class Struct>
Struct struct_at(std::span<const std::byte> bytes, std::uint64_t offset, const std::string& where, const char* what) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(Struct)) {
        throw ProbeError(where + ": " + what + " at " + hex(offset) + " lies beyond the " + hex(bytes.size()) +
                         " bytes that were read");
    }
    Struct result{};
    std::memcpy(&result, bytes.data() + offset, sizeof(Struct));
    return result;
}

OwnedFd open_or_throw(const std::string& path) {
    OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) {
        throw ProbeError(path, "open", errno);
    }
    return file;
}

std::vector<RamSegment> segments_of(const OwnedFd& file, const std::string& path) {
    std::vector<std::byte> bytes(kHeaderBytes);
    const ssize_t count = pread(file.get(), bytes.data(), bytes.size(), 0);
    if (count < 0) {
        throw ProbeError(path, "read of the ELF header", errno);
    }
    bytes.resize(static_cast<std::size_t>(count));
    return parse_ram_segments(bytes, path);
}

}  // namespace

std::vector<RamSegment> parse_ram_segments(std::span<const std::byte> bytes, const std::string& where) {
    const auto header = struct_at<Elf64_Ehdr>(bytes, 0, where, "the ELF header");
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_CORE) {
        throw ProbeError(where + ": not a 64-bit little-endian ELF core file");
    }
    if (header.e_phentsize != sizeof(Elf64_Phdr)) {
        throw ProbeError(where + ": program headers of " + std::to_string(header.e_phentsize) + " bytes");
    }
    std::vector<RamSegment> segments;
    for (std::uint64_t index = 0; index < header.e_phnum; ++index) {
        const auto program =
            struct_at<Elf64_Phdr>(bytes, header.e_phoff + index * sizeof(Elf64_Phdr), where, "a program header");
        const bool has_physical = program.p_paddr != 0 && program.p_paddr != ~Elf64_Addr{0};
        if (program.p_type == PT_LOAD && has_physical && program.p_filesz > 0) {
            segments.push_back({program.p_vaddr, Pa{program.p_paddr}, program.p_filesz, program.p_offset});
        }
    }
    if (segments.empty()) {
        throw ProbeError(where + ": none of " + std::to_string(header.e_phnum) + " segments is RAM");
    }
    return segments;
}

Kcore::Kcore(std::string path)
    : path_(std::move(path)), file_(open_or_throw(path_)), segments_(segments_of(file_, path_)) {}

std::optional<Pa> Kcore::to_physical(std::uint64_t kernel_va) const noexcept {
    for (const RamSegment& segment : segments_) {
        if (kernel_va >= segment.va && kernel_va - segment.va < segment.size) {
            return segment.pa + (kernel_va - segment.va);
        }
    }
    return std::nullopt;
}

std::optional<std::uint64_t> Kcore::to_virtual(Pa pa) const noexcept {
    for (const RamSegment& segment : segments_) {
        if (pa >= segment.pa && pa - segment.pa < segment.size) {
            return segment.va + (pa - segment.pa);
        }
    }
    return std::nullopt;
}

void Kcore::read(Pa pa, std::span<std::byte> bytes) const {
    const std::string what = "read of " + hex(bytes.size()) + " bytes at PA " + hex(pa.raw());
    for (const RamSegment& segment : segments_) {
        if (pa < segment.pa || pa - segment.pa >= segment.size || segment.size - (pa - segment.pa) < bytes.size()) {
            continue;
        }
        const std::uint64_t offset = segment.file_offset + (pa - segment.pa);
        const ssize_t count = pread(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count != static_cast<ssize_t>(bytes.size())) {
            throw ProbeError(path_, what, count < 0 ? errno : EIO);
        }
        return;
    }
    throw ProbeError(path_ + ": " + what + ": no RAM segment holds it");
}

void Kcore::read_table(Pa table, TableWords& words) const {
    read(table, std::as_writable_bytes(std::span(words)));
}

}  // namespace granule::kernel_test
