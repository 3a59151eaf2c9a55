#include "src/replay/traced_files.hpp"

#include <fmt/core.h>

namespace granule::replay {

Result<TracedFile*, Stop> TracedFiles::file() {
    const auto found = open.find(record_.key);
    if (found == open.end()) {
        return fail(record_.bad(fmt::format("file {} of process {} is not open", record_.key.second, record_.key.first),
                                "a drm.open of it comes first"));
    }
    return &found->second;
}

Result<TracedFile*, Stop> TracedFiles::file_of(trace::Driver driver) {
    Result<TracedFile*, Stop> in = file();
    if (in && (*in)->driver != driver) {
        const char* const name = to_string(driver);
        return fail(record_.bad(
            fmt::format("a call of {} on file {}, which was opened with another driver", name, record_.key.second),
            fmt::format("its drm.open, at line {}, says \"drv\":\"{}\"", (*in)->opened, name)));
    }
    return in;
}

Result<TracedVm*, Stop> TracedFiles::vm(trace::VmId id) {
    const Result<TracedFile*, Stop> in = file_of(trace::Driver::kPanthor);
    if (!in) {
        return fail(in.error());
    }
    const auto found = (*in)->vms.find(static_cast<std::uint32_t>(id));
    if (found == (*in)->vms.end()) {
        return fail(record_.bad(fmt::format("file {} has no VM {}", record_.key.second, static_cast<std::uint32_t>(id)),
                                "a panthor.vm_create of it comes first"));
    }
    return found->second.get();
}

Result<Oracle::BoNumber, Stop> TracedFiles::number(const TracedFile& in, trace::GemHandle handle) const {
    const auto found = in.handles.find(static_cast<std::uint32_t>(handle));
    if (found == in.handles.end()) {
        return fail(record_.bad(
            fmt::format("file {} has no BO with handle {}", record_.key.second, static_cast<std::uint32_t>(handle)),
            "a call that creates or imports it comes first"));
    }
    return found->second;
}

std::uint64_t TracedFiles::live_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& [key, in] : open) {
        for (const auto& [id, number] : in.numbers) {
            bytes += in.on->bos().find(id) == nullptr ? 0 : bos[number].bytes;
        }
    }
    return bytes;
}

}  // namespace granule::replay
