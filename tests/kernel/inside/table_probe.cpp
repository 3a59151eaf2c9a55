#include "tests/kernel/inside/table_probe.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

using Kind = PageTableCall::Kind;

std::optional<Kind> kind_of(std::string_view event) {
    if (event.starts_with("granule_map_")) {
        return Kind::kMap;
    }
    if (event.starts_with("granule_unmap_")) {
        return Kind::kUnmap;
    }
    if (event.starts_with("granule_split_")) {
        return Kind::kSplit;
    }
    return std::nullopt;
}

// One line of a trace file:
//
//      comm-158     [000] d..1.     5.288943: granule_map_158_0: (caller+0x25c/0x420 [module] <- function) key=value ...
//      `--.---'     `cpu'            `time'   `-----.--------'    `--.-'
//         task                                      event         caller
class TraceLine {
public:
    explicit TraceLine(std::string_view line) : line_(line) {
        const std::size_t open = line.find(": (");
        if (line.starts_with('#') || open == std::string_view::npos) {
            return;
        }
        const std::size_t event = line.rfind(' ', open - 1) + 1;
        event_ = line.substr(event, open - event);
        head_ = line.substr(0, event);
        const std::size_t close = line.find(')', open);
        if (close == std::string_view::npos) {
            return;
        }
        place_ = line.substr(open + 3, close - open - 3);
        fields_ = split_words(line.substr(close + 1));
    }

    [[nodiscard]] std::string_view event() const { return event_; }

    [[nodiscard]] std::string caller() const { return std::string(place_.substr(0, place_.find('+'))); }

    [[nodiscard]] int pid() const {
        const std::size_t cpu = head_.rfind(" [");
        const std::string_view task = head_.substr(0, std::min(cpu, head_.size()));
        const std::size_t end = task.find_last_not_of(' ') + 1;
        const std::size_t dash = task.rfind('-');
        const std::optional<std::uint64_t> pid =
            dash < end ? decimal_value(task.substr(dash + 1, end - dash - 1)) : std::nullopt;
        if (!pid) {
            unreadable("the task");
        }
        return static_cast<int>(*pid);
    }

    [[nodiscard]] std::uint64_t field(std::string_view key) const {
        const std::optional<std::uint64_t> value = hex_value(text(key));
        if (!value) {
            unreadable(key);
        }
        return *value;
    }

    // Negative numbers, too: "ret=-17".
    [[nodiscard]] std::int64_t number(std::string_view key) const {
        std::string_view digits = text(key);
        const bool negative = digits.starts_with('-');
        digits.remove_prefix(negative ? 1 : 0);
        const std::optional<std::uint64_t> value = decimal_value(digits);
        if (!value) {
            unreadable(key);
        }
        return negative ? -static_cast<std::int64_t>(*value) : static_cast<std::int64_t>(*value);
    }

private:
    [[nodiscard]] std::string_view text(std::string_view key) const {
        for (const std::string_view field : fields_) {
            if (field.starts_with(key) && field.substr(key.size()).starts_with('=')) {
                return field.substr(key.size() + 1);
            }
        }
        unreadable(key);
    }
    [[noreturn]] void unreadable(std::string_view what) const {
        throw ProbeError("trace: " + std::string(what) + " cannot be read: " + std::string(line_));
    }

    std::string_view line_;
    std::string_view head_;
    std::string_view event_;
    std::string_view place_;
    std::vector<std::string_view> fields_;
};

PageTableCall call_of(Kind kind, const TraceLine& line) {
    PageTableCall call;
    call.kind = kind;
    call.pid = line.pid();
    call.caller = line.caller();
    call.iova = Va{line.field("iova")};
    call.root = line.field("root");
    if (kind == Kind::kSplit) {
        call.result = static_cast<std::int64_t>(line.field("ret"));
        return call;
    }
    call.leaf_bytes = line.field("size");
    call.count = line.field("count");
    if (kind == Kind::kMap) {
        call.pa = Pa{line.field("pa")};
        call.prot = static_cast<std::uint32_t>(line.field("prot"));
        call.mapped = line.field("mapped");
        call.result = line.number("ret");
    } else {
        // A size_t, which some kernels fill with a negative errno.
        call.result = static_cast<std::int64_t>(line.field("ret"));
    }
    return call;
}

std::string release_of_kernel() {
    utsname name{};
    return uname(&name) == 0 ? static_cast<const char*>(name.release) : "";
}

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::kMap:
            return "map";
        case Kind::kUnmap:
            return "unmap";
        case Kind::kSplit:
            return "split";
    }
    return "?";
}

}  // namespace

std::string to_string(const PageTableCall& call) {
    std::string text = std::string(name_of(call.kind)) + ' ' + hex(call.iova.raw());
    if (call.kind != Kind::kSplit) {
        text += " " + std::to_string(call.count) + " x " + hex(call.leaf_bytes);
    }
    if (call.kind == Kind::kMap) {
        text += " -> " + hex(call.pa.raw()) + " prot " + hex(call.prot) + " = " + std::to_string(call.result) +
                ", mapped " + hex(call.mapped);
    } else {
        text += " = " + hex(static_cast<std::uint64_t>(call.result));
    }
    return text + " (" + call.caller + ")";
}

std::vector<PageTableCall> parse_page_table_calls(std::string_view trace) {
    std::vector<PageTableCall> calls;
    for (const std::string_view text : split_lines(trace)) {
        const TraceLine line(text);
        if (const std::optional<Kind> kind = kind_of(line.event())) {
            calls.push_back(call_of(*kind, line));
        }
    }
    return calls;
}

std::optional<std::uint64_t> only_root(const std::vector<PageTableCall>& calls) {
    if (calls.empty() || std::any_of(calls.begin(), calls.end(),
                                     [&](const PageTableCall& call) { return call.root != calls.front().root; })) {
        return std::nullopt;
    }
    return calls.front().root;
}

std::uint64_t root_pointer_offset(std::string_view release) {
    if (const char* const set = std::getenv("GRANULE_PGD_OFFSET"); set != nullptr) {
        const std::optional<std::uint64_t> offset = hex_value(set);
        return offset ? *offset : throw ProbeError(std::string("GRANULE_PGD_OFFSET is no hex number: ") + set);
    }
    const std::optional<std::uint64_t> major = decimal_value(release.substr(0, release.find('.')));
    const std::string_view rest = release.substr(std::min(release.find('.') + 1, release.size()));
    const std::optional<std::uint64_t> minor = decimal_value(rest.substr(0, rest.find_first_not_of("0123456789")));
    if (!major || !minor) {
        throw ProbeError("the release of a kernel is not \"" + std::string(release) + "\"");
    }
    return *major < 6 || (*major == 6 && *minor <= 12) ? 0x30 : 0x38;
}

TableProbe::TableProbe(std::size_t buffer_kib) : instance_(buffer_kib) {
    const std::string root = " root=+" + hex(root_pointer_offset(release_of_kernel())) + "($arg1):x64";
    instance_.add_probe('r', "granule_map",
                        "arm_lpae_map_pages iova=$arg2:x64 pa=$arg3:x64 size=$arg4:x64 count=$arg5:x64 prot=$arg6:x32 "
                        "mapped=+0($arg8):x64 ret=$retval:s32" +
                            root);
    instance_.add_probe('r', "granule_unmap",
                        "arm_lpae_unmap_pages iova=$arg2:x64 size=$arg3:x64 count=$arg4:x64 ret=$retval:x64" + root);
    static_cast<void>(instance_.add_probe_if_there('r', "granule_split",
                                                   "arm_lpae_split_blk_unmap iova=$arg3:x64 ret=$retval:x64" + root));
    instance_.enable();
}

void TableProbe::start() {
    instance_.start();
}

std::vector<PageTableCall> TableProbe::stop() {
    return parse_page_table_calls(instance_.stop());
}

Pa TableProbe::checked_root(const Kcore& kcore, const std::vector<PageTableCall>& calls) {
    const std::optional<std::uint64_t> root = only_root(calls);
    if (!root) {
        throw ProbeError("no one root table: " + std::to_string(calls.size()) +
                         " calls into io-pgtable, which touched none or several");
    }
    const std::optional<Pa> pa = kcore.to_physical(*root);
    if (!pa || !pa->is_aligned(kPageBytes)) {
        throw ProbeError("the root table's address " + hex(*root) +
                         " is not one of RAM: is GRANULE_PGD_OFFSET right for this kernel?");
    }
    return *pa;
}

}  // namespace granule::kernel_test
