// "The GPU": a thread that draws the frames it is given, in order, each behind the fence of its binds.
//
//     submit(frame n, ...)   ring buffer ->   wait: bound >= n + 1    draw    signal: rendered = n + 1
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <granule/granule.hpp>
#include <memory>
#include <mutex>
#include <thread>

#include "rendering/line_cache.hpp"
#include "rendering/vm_memory.hpp"
#include "virtual-texture/bind_meter.hpp"

namespace streaming {

class GpuThread {
public:
    struct Counters {
        Nanoseconds drawing = 0;
        Nanoseconds waiting_for_binds = 0;
        std::uint64_t cache_fetches = 0;
    };

    // All three outlive it.
    GpuThread(granule::Vm& vm, const granule::Timeline& bound, granule::Timeline& rendered);
    GpuThread(const GpuThread&) = delete;
    GpuThread& operator=(const GpuThread&) = delete;
    // Draws what was submitted first.
    ~GpuThread();

    // The binds that `bound` waits for are queued already.
    void submit(std::uint32_t frame, std::uint64_t job);
    // When frame `frame`, the last that is done, was. Throws the fault of a frame that faulted.
    [[nodiscard]] Nanoseconds finished(std::uint32_t frame);
    [[nodiscard]] Counters counters();

private:
    struct Work {
        std::uint32_t frame = 0;
        std::uint64_t job = 0;
    };

    void run();
    void draw(const Work& work);

    const granule::Timeline& bound_;
    granule::Timeline& rendered_;
    rendering::VmMemory memory_;
    std::unique_ptr<rendering::LineCache> cache_;  // the GPU thread's

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Work> work_;                  // guarded by mutex_, like all below
    std::exception_ptr failure_;             // of the first frame that failed; nothing is drawn after it
    std::array<Nanoseconds, 2> finished_{};  // by frame % 2
    Counters counters_;
    bool closing_ = false;
    std::thread thread_;
};

}  // namespace streaming
