#include "src/cli/names.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <optional>

#include "src/cli/units.hpp"

namespace granule::cli {

std::string vm_text(const replay::VmView& vm) {
    const std::string process = vm.process == 0 ? "" : fmt::format(" of process {}", vm.process);
    return fmt::format("VM {} of file {}{}, made at line {}", vm.vm, vm.file, process, vm.line);
}

Json vm_json(const replay::VmView& vm) {
    return {{"process", vm.process}, {"file", vm.file}, {"vm", vm.vm}, {"line", vm.line}};
}

std::string backing_text(const replay::Replay& replay, const Backing& shows) {
    std::string text;
    if (shows.sparse()) {
        text = "sparse";
    } else if (const std::optional<replay::BoView> bo = replay.bo(shows.bo)) {
        text = fmt::format("BO {}", bo->handle);
        if (!bo->label.empty()) {
            text += " \"" + printable(bo->label) + "\"";
        }
        text += " + " + hex(shows.offset.raw());
    } else {
        text = "a new BO + " + hex(shows.offset.raw());
    }
    text += shows.flags.readonly ? ", readonly" : "";
    text += shows.flags.noexec ? ", noexec" : "";
    text += shows.flags.uncached ? ", uncached" : "";
    return text;
}

Json backing_json(const replay::Replay& replay, const Vm& vm, const Backing& shows) {
    const std::optional<replay::BoView> bo = replay.bo(shows.bo);
    const std::uint64_t line = replay.line_of(vm, shows.serial);
    return {
        {"sparse", shows.sparse()},
        {"bo", bo ? Json(bo->handle) : Json()},
        {"label", bo ? Json(bo->label) : Json()},
        {"offset", shows.offset.raw()},
        {"readonly", shows.flags.readonly},
        {"noexec", shows.flags.noexec},
        {"uncached", shows.flags.uncached},
        {"line", line != 0 ? Json(line) : Json()},
    };
}

}  // namespace granule::cli
