#include "src/cli/trace_position.hpp"

#include <fmt/format.h>

#include <utility>

#include "src/cli/exit_code.hpp"
#include "src/cli/interrupt.hpp"
#include "src/cli/names.hpp"
#include "src/cli/replay_trace.hpp"
#include "src/trace/reader.hpp"

namespace granule::cli {
namespace {

constexpr std::uint64_t kFirstCall = 2;

CommandError bad_input(const std::string& what) {
    return {ExitCode::kBadInput, what};
}

CommandError stopped(const std::string& path, const replay::Stop& stop) {
    return {stop.kind == replay::Stop::Kind::kRefused ? ExitCode::kBroken : ExitCode::kBadInput,
            stop_message(path, stop)};
}

std::string list_of(const std::vector<replay::VmView>& vms) {
    std::string list;
    for (const replay::VmView& vm : vms) {
        list += (list.empty() ? "" : ", ") + fmt::format("--process {} --file {} --vm {}", vm.process, vm.file, vm.vm);
    }
    return list;
}

}  // namespace

TracePosition play_to(const std::string& path, std::uint64_t line, const replay::Options& options) {
    if (line < kFirstCall) {
        throw bad_input(fmt::format("{}: --at {}: the first call is at line {}", path, line, kFirstCall));
    }
    auto reader = trace::Reader::open(path);
    if (!reader) {
        throw bad_input(reader.error().message());
    }
    auto replay = replay::Replay::create(options, reader->meta());
    if (!replay) {
        throw stopped(path, replay.error());
    }
    std::uint64_t last = 1;
    for (trace::Call call;;) {
        if (interrupted()) {
            throw CommandError(ExitCode::kInterrupted, "interrupted");
        }
        const auto more = reader->next(call);
        if (!more) {
            throw bad_input(more.error().message());
        }
        if (!*more) {
            if (line > last + 1) {
                throw bad_input(fmt::format("{}: --at {}: the trace ends with line {}: --at is {} to {}", path, line,
                                            last, kFirstCall, last + 1));
            }
            return {path, line, std::move(*replay), std::nullopt};
        }
        if (call.line >= line) {
            return {path, line, std::move(*replay), std::move(call)};
        }
        if (const auto played = replay->play(call); !played) {
            throw stopped(path, played.error());
        }
        last = call.line;
    }
}

std::vector<replay::VmView> choose_vms(const TracePosition& position, const VmChoice& choice) {
    const std::vector<replay::VmView> all = position.replay.vms();
    if (all.empty()) {
        throw bad_input(position.place() +
                        ": no VM is alive here: choose a later line, between its creation and its end");
    }
    std::vector<replay::VmView> chosen;
    for (const replay::VmView& vm : all) {
        if (choice.fits(vm)) {
            chosen.push_back(vm);
        }
    }
    if (chosen.empty()) {
        throw bad_input(position.place() + ": no such VM is alive here: " + list_of(all));
    }
    return chosen;
}

replay::VmView choose_vm(const TracePosition& position, const VmChoice& choice) {
    const std::vector<replay::VmView> chosen = choose_vms(position, choice);
    if (chosen.size() > 1) {
        throw bad_input(position.place() + ": several VMs are alive here: choose one of " + list_of(chosen));
    }
    return chosen.front();
}

}  // namespace granule::cli
