#include "src/cli/explain_command.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "src/cli/explanation.hpp"
#include "src/cli/interrupt.hpp"
#include "src/cli/names.hpp"
#include "src/cli/options.hpp"
#include "src/cli/trace_position.hpp"
#include "src/cli/units.hpp"
#include "src/cli/write_file.hpp"

namespace granule::cli {
namespace {

struct Arguments {
    replay::Options options;
    UnmapPolicy policy = UnmapPolicy::kSplit;  // of what is explained; what comes before it is always split
    std::optional<std::uint64_t> at;
    std::string trace;
    VmChoice vm;
    std::optional<VaRange> unmap;
    std::optional<VaRange> map;
    std::optional<VaRange> sparse;
    std::optional<std::uint64_t> bo;
    std::optional<std::uint64_t> offset;
    std::string json;

    [[nodiscard]] bool has_operation() const { return unmap || map || sparse; }
};

// What is explained, and of which VM.
struct Subject {
    replay::VmView vm;
    std::vector<Explanation> operations;
};

CommandError bad_input(const TracePosition& position, const std::string& what) {
    return {ExitCode::kBadInput, position.place() + ": " + what};
}

BindRequest request_for(const Arguments& arguments) {
    BindRequest request;
    request.policy = arguments.policy;
    request.leaves = arguments.options.leaves;
    return request;
}

BoId find_bo(const TracePosition& position, const replay::VmView& vm, std::uint32_t handle) {
    const std::optional<BoId> bo = position.replay.find_bo(vm.process, vm.file, handle);
    if (!bo) {
        throw bad_input(position, fmt::format("file {} has no BO {} here", vm.file, handle));
    }
    return *bo;
}

// What --map shows: the BO that was named, or a new one of that size.
Backing backing_of_map(TracePosition& position, const Arguments& arguments, const replay::VmView& vm) {
    Backing shows;
    shows.offset = BoOffset{arguments.offset.value_or(0)};
    if (arguments.bo) {
        shows.bo = find_bo(position, vm, static_cast<std::uint32_t>(*arguments.bo));
        return shows;
    }
    const Result<BoId, OsError> made = position.replay.soft_device().create_bo(arguments.map->size());
    if (!made) {
        throw bad_input(position, fmt::format("no BO of {}: {}: --bo names one that is there",
                                              bytes_text(arguments.map->size()), to_string(made.error().status)));
    }
    shows.bo = *made;
    return shows;
}

Subject explain_operation(TracePosition& position, const Arguments& arguments) {
    const replay::VmView vm = choose_vm(position, arguments.vm);
    BindRequest request = request_for(arguments);
    if (arguments.unmap) {
        request.va = *arguments.unmap;
    } else {
        request.kind = BindRequest::Kind::kMap;
        request.va = arguments.map ? *arguments.map : *arguments.sparse;
        if (arguments.map) {
            request.shows = backing_of_map(position, arguments, vm);
        }
    }
    return {vm, {explain(*vm.object, request)}};
}

// One operation of the call. Those before it have been carried out, so that its plan is the one that it would have.
Explanation explain_op(const TracePosition& position, const Arguments& arguments, const replay::VmView& vm,
                       const trace::panthor::BindOp& op) {
    Explanation explanation;
    if (op.kind == trace::panthor::BindKind::kSync) {
        explanation.remark = "sync: changes no mapping";
        return explanation;
    }
    if (op.va.empty()) {
        explanation.remark = "an empty range: kernels skip it";
        return explanation;
    }
    BindRequest request = request_for(arguments);
    request.va = op.va;
    if (op.kind == trace::panthor::BindKind::kMap) {
        request.kind = BindRequest::Kind::kMap;
        request.shows.flags = op.flags;
        if (!op.sparse) {
            request.shows.bo = find_bo(position, vm, static_cast<std::uint32_t>(op.bo));
            request.shows.offset = op.offset;
        }
    }
    return explain(*vm.object, request);
}

Subject explain_call(const TracePosition& position, const Arguments& arguments) {
    const trace::panthor::VmBind* const bind =
        position.next ? std::get_if<trace::panthor::VmBind>(&position.next->what) : nullptr;
    if (bind == nullptr) {
        const std::string there =
            position.next ? "the call is " + std::string(position.next->name) : "the trace has ended";
        throw bad_input(position,
                        there + ": name an operation (--unmap, --map, --sparse), or the line of a panthor.vm_bind");
    }
    const VmChoice choice{position.next->process, position.next->file, static_cast<std::uint32_t>(bind->vm)};
    Subject subject{choose_vm(position, choice), {}};
    for (const trace::panthor::BindOp& op : bind->ops) {
        subject.operations.push_back(explain_op(position, arguments, subject.vm, op));
        const Explanation& last = subject.operations.back();
        if (last.refusal) {
            break;
        }
        if (last.plan) {
            if (const auto done = subject.vm.object->bind(last.request); !done) {
                throw CommandError(ExitCode::kBroken, position.place() + ": " + replay::describe(done.error()));
            }
        }
    }
    return subject;
}

std::string text_of(TracePosition& position, const Arguments& arguments, const Subject& subject) {
    std::string text =
        fmt::format("{}\n{}, on {}, kernel {}, policy {}\n", printable(position.place()), vm_text(subject.vm),
                    position.gpu().name, to_string(position.replay.kernel()), to_string(arguments.policy));
    std::size_t number = 0;
    for (const Explanation& operation : subject.operations) {
        text += "\n";
        if (subject.operations.size() > 1) {
            text += fmt::format("{} of {}: ", ++number, subject.operations.size());
        }
        text += explanation_text(position.replay, *subject.vm.object, operation);
    }
    return text;
}

Json json_of(TracePosition& position, const Subject& subject) {
    Json operations = Json::array();
    for (const Explanation& operation : subject.operations) {
        operations.push_back(explanation_json(position.replay, *subject.vm.object, operation));
    }
    return {
        {"trace", position.path},     {"at", position.line},
        {"gpu", position.gpu().name}, {"kernel", to_string(position.replay.kernel())},
        {"vm", vm_json(subject.vm)},  {"operations", std::move(operations)},
    };
}

ExitCode run(const Arguments& arguments) {
    catch_interrupts();
    std::optional<OutputFile> json;
    if (!arguments.json.empty()) {
        json.emplace(arguments.json);
    }
    TracePosition position = play_to(arguments.trace, *arguments.at, arguments.options);
    const Subject subject =
        arguments.has_operation() ? explain_operation(position, arguments) : explain_call(position, arguments);
    if (json) {
        json->write(to_text(json_of(position, subject)));
    }
    if (arguments.json != "-") {
        print(text_of(position, arguments, subject));
    }
    const bool refused = !subject.operations.empty() && subject.operations.back().refusal;
    return refused ? ExitCode::kBroken : ExitCode::kGood;
}

}  // namespace

void add_explain_command(CLI::App& app, ExitCode& exit_code) {
    const auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *app.add_subcommand(
        "explain", "Print the plan for a change of a VM, as a trace had it at a call, without making the change");
    add_number_option(command, "--at", arguments->at, 64,
                      "the line of a call: the state is the one before it. Without an operation, what is explained is "
                      "the panthor.vm_bind at this line")
        ->required();
    CLI::Option* const unmap = add_range_option(command, "--unmap", arguments->unmap, "unmap this range");
    CLI::Option* const map =
        add_range_option(command, "--map", arguments->map, "map a BO here: that of --bo, otherwise a new one");
    CLI::Option* const sparse = add_range_option(command, "--sparse", arguments->sparse, "map no BO here");
    unmap->excludes(map)->excludes(sparse);
    map->excludes(sparse);
    add_number_option(command, "--bo", arguments->bo, 32, "the BO's handle in the VM's file")->needs(map);
    add_number_option(command, "--offset", arguments->offset, 48, "where in the BO")->needs(map);
    add_policy_option(command, arguments->policy, "what to do where it cuts a granule; the calls before it are split");
    add_vm_options(command, arguments->vm);
    add_device_options(command, arguments->options);
    command.add_option("--json", arguments->json, "write it to this file; -: to standard output, instead of the text")
        ->type_name("FILE");
    command.add_option("TRACE", arguments->trace, ".jsonl or .jsonl.xz")->required()->type_name("");
    command.footer(
        "Numbers: 4096, 0x1000, 64K, 2M, 1G. Exit code: 0 planned; 1 refused; 2 bad usage or a bad trace.\n"
        "Example:\n"
        "  granule explain --at 1234 --unmap 0x7fff00010000+64K --kernel realigns trace.jsonl.xz");
    command.callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace granule::cli
