#include "src/cli/dump_format.hpp"

#include <fmt/format.h>

#include <iterator>

#include "src/cli/names.hpp"
#include "src/cli/units.hpp"

namespace granule::cli {
namespace {

const char* name_of(mali::Format format) {
    return format == mali::Format::kMaliLpae ? "ARM_MALI_LPAE" : "AArch64 4K";
}

const char* name_of(mali::MemoryType memory) {
    switch (memory) {
        case mali::MemoryType::kUncached:
            return "uncached";
        case mali::MemoryType::kCached:
            return "cached";
        case mali::MemoryType::kDevice:
            return "device";
    }
    return "?";
}

// "rwx": what is not allowed is a dash.
std::string access_text(const mali::LeafAttributes& attributes) {
    return fmt::format("{}{}{}", attributes.read ? 'r' : '-', attributes.write ? 'w' : '-',
                       attributes.execute ? 'x' : '-');
}

// "0x7fff00000000  0x7fff00010000    64 KiB": where every line of a dump begins.
std::string place_text(const VaRange& va) {
    return fmt::format("  {:#014x}  {:#014x}  {:>9}", va.start.raw(), va.end.raw(), bytes_text(va.size()));
}

std::string tables_text(const VmDump& dump) {
    std::string text = fmt::format("tables: {}, root {:#x}; leaves: {} x 4K, {} x 2M, {} x 1G\n", dump.tables,
                                   dump.root.raw(), dump.leaves.pages_4k, dump.leaves.blocks_2m, dump.leaves.blocks_1g);
    for (const DescriptorRun& run : dump.descriptors) {
        fmt::format_to(std::back_inserter(text), "{}  level {}  {:>6} x {}  PA {:#x}  {} {}  descriptor {:#018x}\n",
                       place_text(run.leaves.range()), run.level, run.leaves.count, leaf_text(run.leaves.size),
                       run.pa.raw(), access_text(run.attributes), name_of(run.attributes.memory), run.descriptor);
    }
    return text;
}

std::string mappings_text(const replay::Replay& replay, const VmDump& dump) {
    std::string text = fmt::format("mappings: {}\n", dump.mappings.size());
    for (const Mapping& mapping : dump.mappings) {
        fmt::format_to(std::back_inserter(text), "{}  {}, line {}\n", place_text(mapping.va),
                       backing_text(replay, mapping.shows), replay.line_of(*dump.vm.object, mapping.shows.serial));
    }
    return text;
}

std::string granules_text(const VmDump& dump) {
    std::string text = "granules:\n";
    for (const LeafRun& run : dump.granules) {
        fmt::format_to(std::back_inserter(text), "{}  {:>6} x {}\n", place_text(run.range()), run.count,
                       leaf_text(run.size));
    }
    return text;
}

Json tables_json(const VmDump& dump) {
    Json runs = Json::array();
    for (const DescriptorRun& run : dump.descriptors) {
        runs.push_back({
            {"va", range_json(run.leaves.range())},
            {"level", run.level},
            {"leaf_bytes", bytes_of(run.leaves.size)},
            {"leaves", run.leaves.count},
            {"pa", hex(run.pa.raw())},
            {"read", run.attributes.read},
            {"write", run.attributes.write},
            {"execute", run.attributes.execute},
            {"privileged", run.attributes.privileged},
            {"memory", name_of(run.attributes.memory)},
            {"descriptor", hex(run.descriptor)},
        });
    }
    return {
        {"count", dump.tables},
        {"root", hex(dump.root.raw())},
        {"leaves_4k", dump.leaves.pages_4k},
        {"leaves_2m", dump.leaves.blocks_2m},
        {"leaves_1g", dump.leaves.blocks_1g},
        {"runs", std::move(runs)},
    };
}

Json mappings_json(const replay::Replay& replay, const VmDump& dump) {
    Json mappings = Json::array();
    for (const Mapping& mapping : dump.mappings) {
        mappings.push_back({
            {"va", range_json(mapping.va)},
            {"shows", backing_json(replay, *dump.vm.object, mapping.shows)},
        });
    }
    return mappings;
}

Json granules_json(const VmDump& dump) {
    Json granules = Json::array();
    for (const LeafRun& run : dump.granules) {
        granules.push_back({
            {"va", range_json(run.range())},
            {"leaf_bytes", bytes_of(run.size)},
            {"leaves", run.count},
        });
    }
    return granules;
}

}  // namespace

std::string dump_text(const replay::Replay& replay, const VmDump& dump, const DumpParts& parts) {
    std::string text =
        fmt::format("{}: {}, {}\n", vm_text(dump.vm), range_text(dump.space), name_of(dump.table_config.format));
    text += parts.tables ? tables_text(dump) : "";
    text += parts.mappings ? mappings_text(replay, dump) : "";
    text += parts.granules ? granules_text(dump) : "";
    return text;
}

Json dump_json(const replay::Replay& replay, const VmDump& dump, const DumpParts& parts) {
    Json json = vm_json(dump.vm);
    json["space"] = range_json(dump.space);
    json["format"] = name_of(dump.table_config.format);
    if (parts.tables) {
        json["tables"] = tables_json(dump);
    }
    if (parts.mappings) {
        json["mappings"] = mappings_json(replay, dump);
    }
    if (parts.granules) {
        json["granules"] = granules_json(dump);
    }
    return json;
}

}  // namespace granule::cli
