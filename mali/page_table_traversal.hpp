// Every table of a tree, children before their parents, without recursion: four levels are four frames. Private to
// PageTable; for the two operations that want the whole tree, destroying and validating.
//
// `leave(const TablePage&, unsigned level, Va start)` may give the table back: its entries were read, and it is not
// touched again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table_inside.hpp"
#include "mali/table_memory.hpp"

namespace granule::mali {

template <class Leave>
void for_each_table(const TableMemory& memory, const TablePage& root, unsigned start_level, Leave&& leave) {
    struct Frame {
        TablePage table;
        Va start;
        std::size_t next = 0;  // entry to look at
    };
    std::array<Frame, kLastLevel + 1> frames;
    unsigned level = start_level;
    frames[level] = Frame{root, Va{0}};
    for (;;) {
        Frame& frame = frames[level];
        while (frame.next < kTableEntries && !points_to_table(level, frame.table.entries[frame.next])) {
            ++frame.next;
        }
        if (frame.next < kTableEntries) {
            const Va start = frame.start + frame.next * span_at(level);
            const std::uint64_t descriptor = frame.table.entries[frame.next];
            ++frame.next;
            ++level;
            frames[level] = Frame{memory.table_at(table_pa(descriptor)), start};
            continue;
        }
        leave(frame.table, level, frame.start);
        if (level == start_level) {
            return;
        }
        --level;
    }
}

}  // namespace granule::mali
