#include "virtual-texture/gpu_thread.hpp"

#include <stdexcept>

#include "rendering/granule_call.hpp"
#include "virtual-texture/gpu_frame.hpp"

namespace streaming {

GpuThread::GpuThread(granule::Vm& vm, const granule::Timeline& bound, granule::Timeline& rendered)
    : bound_(bound),
      rendered_(rendered),
      memory_(vm),
      cache_(std::make_unique<rendering::LineCache>(memory_)),
      thread_([this] { run(); }) {}

GpuThread::~GpuThread() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void GpuThread::submit(std::uint32_t frame, std::uint64_t job) {
    {
        const std::lock_guard lock(mutex_);
        work_.push_back({frame, job});
    }
    changed_.notify_one();
}

Nanoseconds GpuThread::finished(std::uint32_t frame) {
    const std::lock_guard lock(mutex_);
    if (failure_) {
        std::rethrow_exception(failure_);
    }
    return finished_.at(frame % 2);
}

GpuThread::Counters GpuThread::counters() {
    const std::lock_guard lock(mutex_);
    return counters_;
}

void GpuThread::run() {
    for (;;) {
        Work work;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return closing_ || !work_.empty(); });
            if (work_.empty()) {
                return;
            }
            work = work_.front();
            work_.pop_front();
        }
        try {
            draw(work);
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure_) {
                failure_ = std::current_exception();
            }
        }
        // In any case: nobody waits for a frame that will not come.
        static_cast<void>(rendered_.signal(std::uint64_t{work.frame} + 1));
    }
}

void GpuThread::draw(const Work& work) {
    const Nanoseconds ready = now();
    rendering::checked(bound_.wait(std::uint64_t{work.frame} + 1), "the fence of the frame's binds");
    rendering::check(bound_.status(), "the frame's binds");
    const Nanoseconds begun = now();
    draw_frame(memory_, *cache_, work.job);
    const Nanoseconds done = now();
    const std::lock_guard lock(mutex_);
    counters_.waiting_for_binds += begun - ready;
    counters_.drawing += done - begun;
    counters_.cache_fetches = cache_->fetches();
    finished_.at(work.frame % 2) = done;
}

}  // namespace streaming
