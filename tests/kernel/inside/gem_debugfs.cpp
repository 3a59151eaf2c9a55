#include "tests/kernel/inside/gem_debugfs.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

// State and usage bits, as the head of the file explains them.
constexpr std::uint64_t kImported = 1;
constexpr std::uint64_t kExported = 2;
constexpr std::uint64_t kOfKernel = 1;

[[noreturn]] void unreadable(const char* file, std::string_view what, std::string_view line) {
    throw ProbeError(std::string(file) + ": " + std::string(what) + " cannot be read: \"" + std::string(line) + '"');
}

// The columns of a `gems` file, by its heading: kernels add columns in the middle.
class GemColumns {
public:
    explicit GemColumns(std::string_view heading) : heading_(split_words(heading)) {}

    // What stands under `name` in a row; the label is everything behind the last other column.
    [[nodiscard]] std::string_view text(std::string_view row, std::string_view name) const {
        const std::vector<std::string_view> words = split_words(row);
        const std::size_t at = index_of(name);
        if (at >= words.size()) {
            unreadable("gems", name, row);
        }
        return words[at];
    }
    [[nodiscard]] std::uint64_t number(std::string_view row, std::string_view name) const {
        const std::string_view word = text(row, name);
        const std::optional<std::uint64_t> value = word.starts_with("0x") ? hex_value(word) : decimal_value(word);
        if (!value) {
            unreadable("gems", name, row);
        }
        return *value;
    }
    [[nodiscard]] bool has(std::string_view name) const { return index_of(name) < heading_.size(); }

    // Behind the word before it: it may hold blanks itself, and may be missing.
    [[nodiscard]] std::string label(std::string_view row) const {
        const std::size_t at = index_of("label");
        const std::vector<std::string_view> words = split_words(row);
        if (at == 0 || at >= heading_.size() || words.size() <= at) {
            return {};
        }
        const auto start = static_cast<std::size_t>(words[at].data() - row.data());
        return std::string(row.substr(start, row.find_last_not_of(' ') + 1 - start));
    }

private:
    [[nodiscard]] std::size_t index_of(std::string_view name) const {
        return static_cast<std::size_t>(
            std::distance(heading_.begin(), std::find(heading_.begin(), heading_.end(), name)));
    }

    std::vector<std::string_view> heading_;
};

// "survey/117", where the name of a task may hold blanks and slashes.
struct Creator {
    std::string name;
    int pid = 0;
    std::string_view rest;
};

Creator creator_of(std::string_view row) {
    // The first "/<number> ": nothing before it in the row looks so but the name itself, at worst.
    for (std::size_t slash = row.find('/'); slash != std::string_view::npos; slash = row.find('/', slash + 1)) {
        const std::size_t end = std::min(row.find(' ', slash), row.size());
        if (const std::optional<std::uint64_t> pid = decimal_value(row.substr(slash + 1, end - slash - 1))) {
            return {std::string(row.substr(0, slash)), static_cast<int>(*pid), row.substr(slash + 1)};
        }
    }
    unreadable("gems", "created-by", row);
}

GemObject object_of(const GemColumns& columns, std::string_view row) {
    GemObject object;
    const Creator creator = creator_of(row);
    object.creator = creator.name;
    object.pid = creator.pid;
    // From the pid on, so that blanks in the name do not shift the columns.
    row = creator.rest;
    object.references = static_cast<std::uint32_t>(columns.number(row, "refcount"));
    object.size = columns.number(row, "size");
    object.resident = columns.number(row, "resident-size");
    const std::uint64_t state = columns.number(row, "state");
    object.imported = (state & kImported) != 0;
    object.exported = (state & kExported) != 0;
    object.of_kernel = columns.has("usage") && (columns.number(row, "usage") & kOfKernel) != 0;
    object.label = columns.label(row);
    return object;
}

bool is_rule(std::string_view line, char of) {
    return !line.empty() && line.find_first_not_of(of) == std::string_view::npos;
}

// " | 0x0000000000003000 | 0x... |": the numbers between the bars.
std::vector<std::uint64_t> numbers_of(std::string_view row) {
    std::vector<std::uint64_t> numbers;
    for (const std::string_view word : split_words(row)) {
        if (word != "|") {
            const std::optional<std::uint64_t> value = hex_value(word);
            if (!value) {
                unreadable("gpuvas", "a number", row);
            }
            numbers.push_back(*value);
        }
    }
    return numbers;
}

GpuVa gpu_va_of(std::string_view row) {
    const std::vector<std::uint64_t> numbers = numbers_of(row);  // start, size, end, object, offset
    if (numbers.size() != 5) {
        unreadable("gpuvas", "a mapping", row);
    }
    const std::optional<VaRange> range = VaRange::from_size(Va{numbers[0]}, numbers[1]);
    if (!range || range->end != Va{numbers[2]}) {
        unreadable("gpuvas", "a range", row);
    }
    return {*range, numbers[3], numbers[4]};
}

}  // namespace

std::vector<GemObject> parse_gems(std::string_view text) {
    std::vector<GemObject> objects;
    std::optional<GemColumns> columns;
    bool in_table = false;
    bool complete = false;
    for (const std::string_view line : split_lines(text)) {
        if (line.starts_with("created-by")) {
            columns.emplace(line);
        } else if (columns && !in_table && is_rule(line, '-')) {
            in_table = true;
        } else if (in_table && is_rule(line, '=')) {
            in_table = false;
            complete = true;
        } else if (in_table) {
            objects.push_back(object_of(*columns, line));
        }
    }
    if (!complete) {
        throw ProbeError("gems: no table in " + std::to_string(text.size()) + " bytes");
    }
    return objects;
}

std::vector<GpuVaSpace> parse_gpuvas(std::string_view text) {
    constexpr std::string_view kHead = "DRM GPU VA space (";
    constexpr std::string_view kRow = "     | ";
    std::vector<GpuVaSpace> spaces;
    for (const std::string_view line : split_lines(text)) {
        if (line.starts_with(kHead)) {
            const std::size_t close = line.find(')');
            if (close == std::string_view::npos) {
                unreadable("gpuvas", "a name", line);
            }
            spaces.push_back({std::string(line.substr(kHead.size(), close - kHead.size())), {}});
        } else if (line.starts_with(kRow)) {
            if (spaces.empty()) {
                unreadable("gpuvas", "a mapping before any VM", line);
            }
            spaces.back().vas.push_back(gpu_va_of(line));
        }
    }
    return spaces;
}

std::optional<std::vector<GemObject>> read_gems(const std::string& directory) {
    const std::optional<std::string> text = read_text_if_there(directory + "/gems");
    return text ? std::optional(parse_gems(*text)) : std::nullopt;
}

std::optional<std::vector<GemObject>> read_own_gems(const std::string& directory) {
    std::optional<std::vector<GemObject>> objects = read_gems(directory);
    if (objects) {
        std::erase_if(*objects, [](const GemObject& object) { return object.pid != getpid() || object.of_kernel; });
    }
    return objects;
}

std::optional<std::vector<GpuVaSpace>> read_gpuvas(const std::string& directory) {
    const std::optional<std::string> text = read_text_if_there(directory + "/gpuvas");
    if (!text) {
        return std::nullopt;
    }
    std::vector<GpuVaSpace> spaces = parse_gpuvas(*text);
    std::erase_if(spaces, [](const GpuVaSpace& space) { return space.name.find("MCU") != std::string::npos; });
    return spaces;
}

}  // namespace granule::kernel_test
