// The sections of the runner. Each sets all its subjects up first, then takes rounds in which every subject takes one chunk,
// in the same order; see ../README.md for what is measured in each.
#pragma once

#include "tests/bench/harness/options.hpp"
#include "tests/bench/harness/records.hpp"

namespace granule::bench {

void run_va_section(const Options& options, Records& records);
void run_page_table_section(const Options& options, Records& records);
void run_table_growth_section(const Options& options, Records& records);
void run_map_section(const Options& options, Records& records);
void run_bind_section(const Options& options, Records& records);
void run_memory_section(const Options& options, Records& records);
void run_host_section(const Options& options, Records& records);

}  // namespace granule::bench
