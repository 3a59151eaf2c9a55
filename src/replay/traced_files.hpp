// The open files of a trace, and what its calls name in them. A name that nothing has stops the replay: a bad trace.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "mali/result.hpp"
#include "src/replay/record.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

class TracedFiles {
public:
    explicit TracedFiles(const Record& record) noexcept : record_(record) {}

    // Of the call that is being played: its file, and that where the driver must be this one.
    [[nodiscard]] Result<TracedFile*, Stop> file();
    [[nodiscard]] Result<TracedFile*, Stop> file_of(trace::Driver driver);
    // A VM that the program made itself; panfrost's, one a file, are the kernel's.
    [[nodiscard]] Result<TracedVm*, Stop> vm(trace::VmId id);
    [[nodiscard]] Result<Oracle::BoNumber, Stop> number(const TracedFile& in, trace::GemHandle handle) const;

    // nullptr: no such BO of the file lives.
    [[nodiscard]] const TracedBo* bo_of(const TracedFile& in, BoId id) const {
        const auto found = in.numbers.find(id);
        return found == in.numbers.end() ? nullptr : &bos[found->second];
    }
    // Bytes of BOs, in all files.
    [[nodiscard]] std::uint64_t live_bytes() const;

    std::map<FileKey, TracedFile> open;
    std::vector<TracedBo> bos{Oracle::kFirstBo};  // by number

private:
    const Record& record_;
};

}  // namespace granule::replay
