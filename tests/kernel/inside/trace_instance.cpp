#include "tests/kernel/inside/trace_instance.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::string_view kGroupPrefix = "granule_";

std::string next_id() {
    static std::atomic<unsigned> count{0};
    return std::to_string(getpid()) + '_' + std::to_string(count++);
}

// "granule_<pid>_<n>" of a process that is no more.
bool is_left_behind(std::string_view group) {
    if (!group.starts_with(kGroupPrefix)) {
        return false;
    }
    group.remove_prefix(kGroupPrefix.size());
    const std::optional<std::uint64_t> pid = decimal_value(group.substr(0, group.find('_')));
    return pid && kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH;
}

// A line of kprobe_events is "p:GROUP/name function arguments".
std::string_view event_of(std::string_view line) {
    const std::size_t colon = line.find(':');
    return colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1, line.find(' ') - colon - 1);
}

void remove_left_behind(const std::string& tracefs) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(tracefs + "/instances", ignored)) {
        if (is_left_behind(entry.path().filename().string())) {
            rmdir(entry.path().c_str());
        }
    }
    const std::string probes = read_text(tracefs + "/kprobe_events");
    for (const std::string_view line : split_lines(probes)) {
        const std::string_view event = event_of(line);
        if (is_left_behind(event.substr(0, event.find('/')))) {
            append_text(tracefs + "/kprobe_events", "-:" + std::string(event));
        }
    }
}

}  // namespace

TraceInstance::TraceInstance(std::size_t buffer_kib, std::string tracefs)
    : tracefs_(std::move(tracefs)), id_(next_id()), group_(std::string(kGroupPrefix) + id_) {
    remove_left_behind(tracefs_);
    const std::string directory = tracefs_ + "/instances/" + group_;
    if (mkdir(directory.c_str(), 0700) != 0) {
        throw ProbeError(directory, "mkdir", errno);
    }
    has_instance_ = true;
    try {
        write_text(instance_file("tracing_on"), "0");
        write_text(instance_file("buffer_size_kb"), std::to_string(buffer_kib));
    } catch (...) {
        remove();
        throw;
    }
}

TraceInstance::~TraceInstance() {
    remove();
}

std::string TraceInstance::instance_file(const std::string& name) const {
    return tracefs_ + "/instances/" + group_ + '/' + name;
}

void TraceInstance::add_probe(char kind, const std::string& name, const std::string& what) {
    const std::string event = name + '_' + id_;
    try {
        append_text(tracefs_ + "/kprobe_events", std::string{kind} + ':' + group_ + '/' + event + ' ' + what);
    } catch (const ProbeError& error) {
        throw ProbeError(error.what() + ('\n' + last_error()));
    }
    probes_.push_back(event);
}

bool TraceInstance::add_probe_if_there(char kind, const std::string& name, const std::string& what) {
    try {
        add_probe(kind, name, what);
        return true;
    } catch (const ProbeError& error) {
        if (std::string_view(error.what()).find("Invalid probed address or symbol") != std::string_view::npos) {
            return false;
        }
        throw;
    }
}

// The last entry of the log: the reason, the command, and a caret under what is wrong.
std::string TraceInstance::last_error() const {
    const std::string log = read_text_if_there(tracefs_ + "/error_log").value_or("");
    const std::size_t last = log.rfind("trace_kprobe: error:");
    return last == std::string::npos ? std::string{} : log.substr(last);
}

void TraceInstance::enable() {
    write_text(instance_file("events/" + group_ + "/enable"), "1");
}

void TraceInstance::start() {
    write_text(instance_file("tracing_on"), "0");
    write_text(instance_file("trace"), "");
    write_text(instance_file("tracing_on"), "1");
}

std::string TraceInstance::stop() {
    write_text(instance_file("tracing_on"), "0");
    throw_if_lost();
    return read_text(instance_file("trace"));
}

void TraceInstance::throw_if_lost() const {
    for (const auto& cpu : std::filesystem::directory_iterator(instance_file("per_cpu"))) {
        if (const std::uint64_t lost = lost_events(read_text(cpu.path().string() + "/stats")); lost > 0) {
            throw ProbeError(cpu.path().string() + ": " + std::to_string(lost) +
                             " events were lost: the buffer is too small");
        }
    }
    for (const ProbeHits& probe : parse_probe_profile(read_text(tracefs_ + "/kprobe_profile"))) {
        for (const std::string& own : probes_) {
            if (probe.name == own && probe.missed > 0) {
                throw ProbeError(tracefs_ + "/kprobe_profile: " + own + " missed " + std::to_string(probe.missed) +
                                 " calls");
            }
        }
    }
}

std::uint64_t TraceInstance::hits(std::string_view name) const {
    const std::string event = std::string(name) + '_' + id_;
    for (const ProbeHits& probe : parse_probe_profile(read_text(tracefs_ + "/kprobe_profile"))) {
        if (probe.name == event) {
            return probe.hits;
        }
    }
    throw ProbeError(tracefs_ + "/kprobe_profile: no probe " + event);
}

// In this order: a probe that is switched on cannot be removed.
void TraceInstance::remove() noexcept {
    try {
        if (!probes_.empty()) {
            write_text(instance_file("events/" + group_ + "/enable"), "0");
        }
    } catch (const std::exception&) {
        // An instance that is gone records nothing; its probes are removed below all the same.
    }
    if (has_instance_) {
        rmdir((tracefs_ + "/instances/" + group_).c_str());
        has_instance_ = false;
    }
    for (const std::string& probe : probes_) {
        try {
            append_text(tracefs_ + "/kprobe_events", "-:" + group_ + '/' + probe);
        } catch (const std::exception&) {
            // The next object removes what is left, once this process is gone.
        }
    }
    probes_.clear();
}

std::vector<ProbeHits> parse_probe_profile(std::string_view text) {
    std::vector<ProbeHits> probes;
    for (const std::string_view line : split_lines(text)) {
        const std::vector<std::string_view> words = split_words(line);
        if (words.empty()) {
            continue;
        }
        const std::optional<std::uint64_t> hits = words.size() == 3 ? decimal_value(words[1]) : std::nullopt;
        const std::optional<std::uint64_t> missed = words.size() == 3 ? decimal_value(words[2]) : std::nullopt;
        if (!hits || !missed) {
            throw ProbeError("kprobe_profile: not \"name hits missed\": " + std::string(line));
        }
        probes.push_back({std::string(words[0]), *hits, *missed});
    }
    return probes;
}

std::uint64_t lost_events(std::string_view stats) {
    std::uint64_t lost = 0;
    for (const std::string_view line : split_lines(stats)) {
        for (const std::string_view key : {"overrun: ", "commit overrun: ", "dropped events: "}) {
            if (line.starts_with(key)) {
                const std::optional<std::uint64_t> count = decimal_value(line.substr(key.size()));
                if (!count) {
                    throw ProbeError("stats: not a number: " + std::string(line));
                }
                lost += *count;
            }
        }
    }
    return lost;
}

}  // namespace granule::kernel_test
