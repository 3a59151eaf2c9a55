// What the calls of a trace name: files, VMs and BOs, with the lines that made and ended them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/replay/oracle.hpp"
#include "src/replay/replayed_device.hpp"
#include "src/trace/call.hpp"

namespace granule::replay {

// A BO, by its number, which is also the oracle's. Kept after its end, because reports speak of it.
struct TracedBo {
    BoId id = kNoBo;  // in its file
    std::uint32_t process = 0;
    std::uint32_t file = 0;
    std::uint32_t handle = 0;
    std::uint64_t made = 0;    // line
    std::uint64_t closed = 0;  // line; 0: the handle is open
    std::uint64_t bytes = 0;
    bool imported = false;
    std::string label;
    VaRange va{};  // panfrost: where it is mapped
};

// A VA range as the program's own heap must have given it out.
struct ReservedVa {
    Va end;
    std::uint64_t line = 0;
};

// What a VM has at one moment.
struct VmSize {
    std::uint64_t mapped_bytes = 0;
    std::uint64_t mappings = 0;
    std::uint64_t leaves_2m = 0;
    std::uint64_t leaves_4k = 0;
    std::uint64_t tables = 0;
};

struct TracedFile;

struct TracedVm {
    explicit TracedVm(TracedFile& of) : in(of) {}

    [[nodiscard]] Vm& vm() const noexcept { return on->vm(); }
    [[nodiscard]] std::uint64_t line_of(BindSerial serial) const {
        const auto index = static_cast<std::size_t>(serial) - 1;
        return index < lines.size() ? lines[index] : 0;
    }

    TracedFile& in;
    std::uint32_t process = 0;
    std::uint32_t file = 0;
    std::uint32_t id = 0;
    std::uint64_t made = 0;  // line
    std::unique_ptr<ReplayedVm> on;
    Oracle oracle;
    std::vector<std::uint64_t> lines;  // of binds, by serial - 1
    std::map<Va, ReservedVa> reserved;
    VmSize counted;  // for sums over all VMs
};

struct TracedFile {
    trace::Driver driver = trace::Driver::kPanthor;
    std::uint64_t opened = 0;  // line
    std::unique_ptr<ReplayedFile> on;
    std::unordered_map<std::uint32_t, Oracle::BoNumber> handles;
    std::map<BoId, Oracle::BoNumber> numbers;                // of BOs that live
    std::map<std::uint32_t, std::unique_ptr<TracedVm>> vms;  // panfrost: one, 0
};

using FileKey = std::pair<std::uint32_t, std::uint32_t>;  // process, file

// "BO 7 of file 1 (512 KiB, no label, made at line 16)"
[[nodiscard]] std::string describe(const TracedBo& bo);

}  // namespace granule::replay
