// The guest's physical memory, read through /proc/kcore.
//
// /proc/kcore is an ELF core file of the running kernel: one PT_LOAD program header for each piece of the kernel's
// address space. Those of RAM, the linear map, have a physical address; vmalloc, modules and the kernel's own image
// have p_paddr 0 or -1 and are left out (fs/proc/kcore.c):
//
//     file   | ELF header | program headers | ... | segment at p_offset                |
//     kernel                                      [p_vaddr, p_vaddr + p_filesz)   virtual, as kernel pointers are
//     RAM                                         [p_paddr, p_paddr + p_filesz)   physical, as descriptors are
//
// Invariants: `to_virtual` and `to_physical` are inverse to each other on the RAM segments.
// Thread-safety: reads by many threads. Cost: one pread(2) each.
// Failure: ProbeError; a range that no one segment holds whole is an error, not a short read.
// What it does not do: write; memory that the kernel does not map (reserved "no-map" regions, such as the mock GPU's
// registers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/table_reader.hpp"

namespace granule::kernel_test {

struct RamSegment {
    std::uint64_t va = 0;  // the kernel's
    Pa pa;
    std::uint64_t size = 0;
    std::uint64_t file_offset = 0;

    bool operator==(const RamSegment&) const = default;
};

// The RAM segments that an ELF header and the program headers behind it describe. `bytes` is the beginning of the file,
// as much as holds the program headers; `where` names it in errors.
[[nodiscard]] std::vector<RamSegment> parse_ram_segments(std::span<const std::byte> bytes, const std::string& where);

class Kcore final : public TableReader {
public:
    explicit Kcore(std::string path = "/proc/kcore");

    [[nodiscard]] const std::vector<RamSegment>& segments() const noexcept { return segments_; }

    // nullopt: not an address of the linear map.
    [[nodiscard]] std::optional<Pa> to_physical(std::uint64_t kernel_va) const noexcept;
    [[nodiscard]] std::optional<std::uint64_t> to_virtual(Pa pa) const noexcept;

    void read(Pa pa, std::span<std::byte> bytes) const;
    void read_table(Pa table, TableWords& words) const override;

private:
    std::string path_;
    OwnedFd file_;
    std::vector<RamSegment> segments_;
};

}  // namespace granule::kernel_test
