// What the kernel said since a moment: /dev/kmsg from a mark on, as records and as warnings.
//
// A record is "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT", then lines " KEY=VALUE" (Linux
// Documentation/ABI/testing/dev-kmsg). A warning is what stands between the cut and the end of its trace:
//
//     ------------[ cut here ]------------
//     Unmap of a partial large IOPTE is not allowed                                  text, where it has one
//     WARNING: CPU: 0 PID: 151 at drivers/iommu/io-pgtable-arm.c:677 __arm_lpae_unmap+0x464/0x600
//     ...
//     ---[ end trace 0000000000000000 ]---
//
// Newer kernels say "WARNING: drivers/...:677 at __arm_lpae_unmap+0x464/0x600, CPU#0: km/151"; both are read.
//
// A guest that panics on an oops is gone before it can read: an oops is seen here where it does not panic, and in the
// log of the console by the same functions.
// Failure: ProbeError; also where the kernel dropped records before they were read (EPIPE).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kernel/inside/owned_fd.hpp"

namespace granule::kernel_test {

struct KernelRecord {
    unsigned level = 0;  // 0 emergency ... 3 error, 4 warning ... 7 debug
    bool from_user = false;
    std::uint64_t sequence = 0;
    std::uint64_t microseconds = 0;
    std::string text;

    bool operator==(const KernelRecord&) const = default;
};

struct KernelWarning {
    std::string text;      // what the warning says; empty where a plain WARN_ON
    std::string place;     // "drivers/iommu/io-pgtable-arm.c:677"
    std::string function;  // "__arm_lpae_unmap"
    std::string module;    // "panthor"; empty where built in
    std::uint64_t microseconds = 0;

    bool operator==(const KernelWarning&) const = default;
};

[[nodiscard]] KernelRecord parse_record(std::string_view record);
[[nodiscard]] std::vector<KernelWarning> find_warnings(const std::vector<KernelRecord>& records);
// Records that say that the kernel oopsed.
[[nodiscard]] std::vector<KernelRecord> find_oopses(const std::vector<KernelRecord>& records);
// Records of level error or worse that are neither part of a warning nor written by a program: a driver's complaints.
[[nodiscard]] std::vector<KernelRecord> find_errors(const std::vector<KernelRecord>& records);

class KernelLog {
public:
    // From now on.
    explicit KernelLog(const char* path = "/dev/kmsg");

    // Writes a line into the log, to find what belongs to what in a console's output.
    void mark(std::string_view text) const;
    // Everything since the constructor or the last `read`.
    [[nodiscard]] std::vector<KernelRecord> read();
    // The same, and only the warnings in it.
    [[nodiscard]] std::vector<KernelWarning> read_warnings() { return find_warnings(read()); }

private:
    std::string path_;
    OwnedFd file_;
};

}  // namespace granule::kernel_test
