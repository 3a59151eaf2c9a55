#include "triangle/gpu.hpp"

#include <stdexcept>
#include <string>

namespace triangle {

GpuCounters run_jobs(rendering::GpuMemory& memory, GpuVa first_job) {
    constexpr std::uint64_t kMostJobs = 1024;  // a chain that goes in a circle ends here
    GpuCounters counters;
    for (GpuVa va = first_job; va != 0;) {
        const auto job = memory.load<Job>(va);
        switch (job.type) {
            case JobType::kVertex:
                run_vertex_stage(memory, job.payload, counters);
                break;
            case JobType::kTiler:
                run_tiler_stage(memory, job.payload, counters);
                break;
            case JobType::kFragment:
                run_fragment_stage(memory, job.payload, counters);
                break;
            default:
                throw std::runtime_error("no job of type " + std::to_string(static_cast<std::uint32_t>(job.type)));
        }
        if (++counters.jobs > kMostJobs) {
            throw std::runtime_error("the job list has no end");
        }
        va = job.next;
    }
    return counters;
}

}  // namespace triangle
