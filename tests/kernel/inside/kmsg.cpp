#include "tests/kernel/inside/kmsg.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::string_view kCut = "------------[ cut here ]------------";
constexpr std::string_view kEndTrace = "---[ end trace ";
constexpr std::string_view kWarning = "WARNING: ";
constexpr unsigned kLevelError = 3;

bool begins_warning(const KernelRecord& record) {
    return !record.from_user && record.text == kCut;
}

bool ends_warning(const KernelRecord& record) {
    return !record.from_user && record.text.starts_with(kEndTrace);
}

// "__arm_lpae_unmap+0x464/0x600" or "panthor_vm_unmap_pages+0x15c/0x1e0 [panthor]", perhaps with ", CPU#0: km/151".
void set_function(KernelWarning& warning, std::string_view where) {
    warning.function = where.substr(0, where.find_first_of("+, "));
    const std::size_t open = where.find('[');
    const std::size_t close = where.find(']');
    if (open < close && close != std::string_view::npos) {
        warning.module = where.substr(open + 1, close - open - 1);
    }
}

// "WARNING: CPU: 0 PID: 151 at FILE:LINE FUNCTION", or "WARNING: [CONDITION] FILE:LINE at FUNCTION, CPU#0: km/151", the
// condition only where the kernel is built to say it.
void set_place(KernelWarning& warning, std::string_view line) {
    line.remove_prefix(kWarning.size());
    if (const std::size_t end = line.find("] "); line.starts_with('[') && end != std::string_view::npos) {
        warning.text += (warning.text.empty() ? "" : "\n") + std::string(line.substr(1, end - 1));
        line.remove_prefix(end + 2);
    }
    const std::size_t at = line.find(" at ");
    if (at == std::string_view::npos) {
        return;
    }
    const std::string_view before = line.substr(0, at);
    const std::string_view after = line.substr(at + 4);
    if (before.starts_with("CPU: ")) {
        warning.place = after.substr(0, after.find(' '));
        set_function(warning, after.substr(std::min(after.find(' ') + 1, after.size())));
    } else {
        warning.place = before;
        set_function(warning, after);
    }
}

}  // namespace

KernelRecord parse_record(std::string_view record) {
    const std::size_t semicolon = record.find(';');
    std::array<std::uint64_t, 3> numbers{};
    std::string_view head = record.substr(0, std::min(semicolon, record.size()));
    for (std::uint64_t& number : numbers) {
        const std::size_t comma = head.find(',');
        const std::optional<std::uint64_t> value = decimal_value(head.substr(0, comma));
        if (semicolon == std::string_view::npos || comma == std::string_view::npos || !value) {
            throw ProbeError("kmsg: not a record: " + std::string(record.substr(0, 80)));
        }
        number = *value;
        head.remove_prefix(comma + 1);
    }
    constexpr std::uint64_t kLevelMask = 7;
    constexpr unsigned kFacilityShift = 3;
    const std::string_view text = record.substr(semicolon + 1);
    return {static_cast<unsigned>(numbers[0] & kLevelMask), (numbers[0] >> kFacilityShift) != 0, numbers[1], numbers[2],
            std::string(text.substr(0, text.find('\n')))};
}

std::vector<KernelWarning> find_warnings(const std::vector<KernelRecord>& records) {
    std::vector<KernelWarning> warnings;
    bool open = false;  // between a cut and its WARNING line
    for (const KernelRecord& record : records) {
        if (begins_warning(record)) {
            warnings.push_back({{}, {}, {}, {}, record.microseconds});
            open = true;
        } else if (open && !record.from_user && record.text.starts_with(kWarning)) {
            set_place(warnings.back(), record.text);
            open = false;
        } else if (!open && !record.from_user && record.text.starts_with(kWarning)) {
            // Without a cut: what lockdep and others say.
            warnings.push_back({record.text, {}, {}, {}, record.microseconds});
        } else if (open && !record.from_user) {
            std::string& text = warnings.back().text;
            text += (text.empty() ? "" : "\n") + record.text;
        }
    }
    return warnings;
}

std::vector<KernelRecord> find_oopses(const std::vector<KernelRecord>& records) {
    constexpr std::array<std::string_view, 4> kOopses{"Unable to handle kernel", "Internal error: ", "Kernel panic",
                                                      "kernel BUG at "};
    std::vector<KernelRecord> found;
    for (const KernelRecord& record : records) {
        const bool is_oops = std::any_of(kOopses.begin(), kOopses.end(),
                                         [&](std::string_view start) { return record.text.starts_with(start); });
        if (is_oops && !record.from_user) {
            found.push_back(record);
        }
    }
    return found;
}

std::vector<KernelRecord> find_errors(const std::vector<KernelRecord>& records) {
    std::vector<KernelRecord> found;
    bool in_warning = false;
    for (const KernelRecord& record : records) {
        in_warning = in_warning || begins_warning(record);
        if (!in_warning && !record.from_user && record.level <= kLevelError) {
            found.push_back(record);
        }
        in_warning = in_warning && !ends_warning(record);
    }
    return found;
}

KernelLog::KernelLog(const char* path) : path_(path), file_(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
    if (!file_.valid()) {
        throw ProbeError(path_, "open", errno);
    }
    if (lseek(file_.get(), 0, SEEK_END) < 0) {
        throw ProbeError(path_, "seek to the end", errno);
    }
}

void KernelLog::mark(std::string_view text) const {
    // Without the newline the record would stay open for the kernel to continue, and could not be read yet.
    write_text(path_, std::string(text) + '\n');
}

std::vector<KernelRecord> KernelLog::read() {
    std::vector<KernelRecord> records;
    std::array<char, 8192> buffer{};
    for (;;) {
        const ssize_t count = ::read(file_.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno == EAGAIN) {
            return records;
        }
        if (count < 0) {
            throw ProbeError(path_, errno == EPIPE ? "records were lost before they were read" : "read", errno);
        }
        if (count == 0) {
            return records;
        }
        records.push_back(parse_record({buffer.data(), static_cast<std::size_t>(count)}));
    }
}

}  // namespace granule::kernel_test
