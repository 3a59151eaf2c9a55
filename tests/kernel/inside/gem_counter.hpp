// How many GEM objects live that were made since: on any kernel, whatever its debugfs shows.
//
// Kprobes on drm_gem_private_object_init and drm_gem_object_release (Linux drivers/gpu/drm/drm_gem.c), which every GEM
// object passes once each, counted by the kernel. No buffer, so nothing is lost and nothing fills up.
//
// What counts as well: the object that each VM of panthor has for its reservations (drm_gpuvm: one a VM), what the
// driver makes for itself (ring buffers, tiler heaps), and from 7.3 on the dummy BO of each open file of panthor. So
// tests compare before and after. Objects are of the whole machine, which has one GPU and one test.
//
// Failure: ProbeError.
#pragma once

#include <chrono>
#include <cstdint>

#include "tests/kernel/inside/trace_instance.hpp"

namespace granule::kernel_test {

class GemCounter {
public:
    GemCounter();

    [[nodiscard]] std::uint64_t created() const;
    [[nodiscard]] std::uint64_t released() const;
    // Negative where objects went that were there before.
    [[nodiscard]] std::int64_t live() const;
    // Until `live` is `expected`, as some objects are freed by workers; false after `timeout`.
    [[nodiscard]] bool wait_for_live(std::int64_t expected,
                                     std::chrono::milliseconds timeout = std::chrono::seconds{2}) const;

private:
    TraceInstance instance_;
};

}  // namespace granule::kernel_test
