// Where tables are read from: the guest's physical memory, or a made-up one in tests.
#pragma once

#include <array>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/table_memory.hpp"

namespace granule::kernel_test {

using TableWords = std::array<std::uint64_t, mali::kTableEntries>;

class TableReader {
public:
    TableReader() noexcept = default;
    TableReader(const TableReader&) = delete;
    TableReader& operator=(const TableReader&) = delete;
    TableReader(TableReader&&) = delete;
    TableReader& operator=(TableReader&&) = delete;
    virtual ~TableReader() = default;

    // The 512 words of the table at `table`, a multiple of 4 KiB. Throws ProbeError where there is no memory.
    virtual void read_table(Pa table, TableWords& words) const = 0;
};

}  // namespace granule::kernel_test
