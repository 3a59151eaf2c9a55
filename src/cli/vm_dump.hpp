// What is in a VM, copied out of it: the runs of descriptors in its page tables, its mappings, its granules.
#pragma once

#include <cstdint>
#include <vector>

#include "allocator/mapping.hpp"
#include "mali/page_table.hpp"
#include "src/replay/replay.hpp"

namespace granule::cli {

// Leaves of one size, contiguous in VA and PA, with one set of attributes; over the borders of tables.
struct DescriptorRun {
    LeafRun leaves;
    unsigned level = 0;
    Pa pa;
    mali::LeafAttributes attributes;
    std::uint64_t descriptor = 0;  // the first one, as it stands in its table
};

struct VmDump {
    replay::VmView vm;
    VaRange space{};
    mali::PageTableConfig table_config;
    Pa root;
    std::uint64_t tables = 0;
    mali::LeafCounts leaves;
    std::vector<DescriptorRun> descriptors;  // as in the tables
    std::vector<Mapping> mappings;           // as in the map of mappings
    std::vector<LeafRun> granules;           // as in the ledger
};

[[nodiscard]] VmDump dump_vm(const replay::VmView& vm);

}  // namespace granule::cli
