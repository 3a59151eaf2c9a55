// Kprobes of our own, in a tracing instance of our own: nothing that anybody else traces is touched.
//
//     tracefs/kprobe_events             p:GROUP/NAME_ID ..., where ID is "<pid>_<n>" and GROUP "granule_<ID>"
//     tracefs/instances/GROUP/events/   switched on here only: events reach this instance's buffer and no other
//     tracefs/kprobe_profile            how often NAME_ID was hit, counted also while nothing records
//
// The destructor removes the instance and the probes. What a killed program left behind bears its pid, and the next
// object removes what belongs to no living process.
//
// Failure: ProbeError; for a probe that the kernel refuses with the words of tracefs/error_log.
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace granule::kernel_test {

class TraceInstance {
public:
    // `buffer_kib` for each CPU.
    explicit TraceInstance(std::size_t buffer_kib, std::string tracefs = "/sys/kernel/tracing");
    TraceInstance(const TraceInstance&) = delete;
    TraceInstance& operator=(const TraceInstance&) = delete;
    TraceInstance(TraceInstance&&) = delete;
    TraceInstance& operator=(TraceInstance&&) = delete;
    ~TraceInstance();

    // `kind` is 'p' or 'r'; `what` the function and the arguments, as in Documentation/trace/kprobetrace.rst.
    void add_probe(char kind, const std::string& name, const std::string& what);
    // The same; false where the kernel has no such function, or none that can be probed.
    [[nodiscard]] bool add_probe_if_there(char kind, const std::string& name, const std::string& what);
    // Switches all probes on; from then on they are counted.
    void enable();

    void start();                      // forgets what was recorded, records
    [[nodiscard]] std::string stop();  // records no more; what was recorded

    // How often the probe `name` was hit since it was switched on.
    [[nodiscard]] std::uint64_t hits(std::string_view name) const;

private:
    [[nodiscard]] std::string instance_file(const std::string& name) const;
    [[nodiscard]] std::string last_error() const;
    void throw_if_lost() const;
    void remove() noexcept;

    std::string tracefs_;
    std::string id_;
    std::string group_;
    std::vector<std::string> probes_;  // NAME_ID
    bool has_instance_ = false;
};

struct ProbeHits {
    std::string name;
    std::uint64_t hits = 0;
    std::uint64_t missed = 0;

    bool operator==(const ProbeHits&) const = default;
};

// The lines of a kprobe_profile.
[[nodiscard]] std::vector<ProbeHits> parse_probe_profile(std::string_view text);

// Events that a buffer lost, by a per_cpu/cpuN/stats file: overrun, commit overrun and dropped.
[[nodiscard]] std::uint64_t lost_events(std::string_view stats);

}  // namespace granule::kernel_test
