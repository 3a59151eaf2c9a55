#include "src/cli/dump_command.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "src/cli/dump_format.hpp"
#include "src/cli/interrupt.hpp"
#include "src/cli/options.hpp"
#include "src/cli/trace_position.hpp"
#include "src/cli/units.hpp"
#include "src/cli/write_file.hpp"

namespace granule::cli {
namespace {

struct Arguments {
    replay::Options options;
    std::optional<std::uint64_t> at;
    std::string trace;
    VmChoice vm;
    DumpParts parts{true, true, true};
    std::string json;
};

// "tables,mappings,granules", or some of them.
DumpParts parse_parts(const std::string& text) {
    DumpParts parts;
    std::istringstream names(text);
    for (std::string name; std::getline(names, name, ',');) {
        if (name == "tables") {
            parts.tables = true;
        } else if (name == "mappings") {
            parts.mappings = true;
        } else if (name == "granules") {
            parts.granules = true;
        } else {
            throw CLI::ValidationError("--what", "'" + name + "' is none of tables, mappings, granules");
        }
    }
    return parts;
}

void run(const Arguments& arguments) {
    const DumpParts& parts = arguments.parts;
    catch_interrupts();
    std::optional<OutputFile> json_file;
    if (!arguments.json.empty()) {
        json_file.emplace(arguments.json);
    }
    TracePosition position = play_to(arguments.trace, *arguments.at, arguments.options);

    Json vms = Json::array();
    std::string text = fmt::format("{}, on {}\n", printable(position.place()), position.gpu().name);
    for (const replay::VmView& vm : choose_vms(position, arguments.vm)) {
        const VmDump dump = dump_vm(vm);
        vms.push_back(dump_json(position.replay, dump, parts));
        text += "\n" + dump_text(position.replay, dump, parts);
    }
    if (json_file) {
        const Json json{
            {"trace", position.path}, {"at", position.line}, {"gpu", position.gpu().name}, {"vms", std::move(vms)}};
        json_file->write(to_text(json));
    }
    if (arguments.json != "-") {
        print(text);
    }
}

}  // namespace

void add_dump_command(CLI::App& app) {
    const auto arguments = std::make_shared<Arguments>();
    CLI::App& command =
        *app.add_subcommand("dump", "Print page tables, mappings and granules of the VMs of a trace at a call");
    add_number_option(command, "--at", arguments->at, 64, "the line of a call: the state is the one before it")
        ->required();
    command
        .add_option_function<std::string>(
            "--what", [arguments](const std::string& text) { arguments->parts = parse_parts(text); },
            "only these parts; default: all")
        ->type_name("tables,mappings,granules");
    add_vm_options(command, arguments->vm);
    add_policy_option(command, arguments->options.policy, "what to do where a call cuts a granule");
    add_device_options(command, arguments->options);
    command.add_option("--json", arguments->json, "write it to this file; -: to standard output, instead of the text")
        ->type_name("FILE");
    command.add_option("TRACE", arguments->trace, ".jsonl or .jsonl.xz")->required()->type_name("");
    command.footer(
        "Without --process, --file and --vm: all VMs that are alive there. The line after the last shows the end.\n"
        "Example:\n"
        "  granule dump --at 1234 --what mappings,granules trace.jsonl.xz");
    command.callback([arguments] { run(*arguments); });
}

}  // namespace granule::cli
