#include "src/backend/soft_bo_backend.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <optional>

namespace granule {
namespace {

// How the next run of a BO is allocated when `left` bytes of it have no memory yet.
Bo::Run next_run(std::uint64_t left, BoMemory kind, std::uint64_t& alignment) noexcept {
    Bo::Run run;
    switch (kind) {
        case BoMemory::kContiguous:
            run.bytes = run.allocated = left;
            alignment = left >= kBlock1GBytes ? kBlock1GBytes : (left >= kBlock2MBytes ? kBlock2MBytes : kPageBytes);
            break;
        case BoMemory::kHuge:
            run.bytes = run.allocated = std::min(left, kBlock2MBytes);
            alignment = left >= kBlock2MBytes ? kBlock2MBytes : kPageBytes;
            break;
        case BoMemory::kScattered:
            // The page above each stays unused, so that no two are neighbours.
            run.bytes = kPageBytes;
            run.allocated = alignment = 2 * kPageBytes;
            break;
    }
    return run;
}

}  // namespace

Status SoftBoBackend::create(Bo& bo, const BoRequest& request) noexcept {
    if (request.grows_on_fault) {
        return Status::kNotSupported;
    }
    if (request.bytes > device_memory_.size()) {
        return Status::kOutOfDeviceMemory;  // known before the first of its pages is looked for
    }
    bo.size = align_up(request.bytes, kPageBytes);
    for (std::uint64_t offset = 0; offset < bo.size; offset += bo.runs.back().bytes) {
        std::uint64_t alignment = 0;
        Bo::Run run = next_run(bo.size - offset, request.memory, alignment);
        const std::optional<Pa> pa = device_memory_.allocate(run.allocated, alignment);
        if (!pa) {
            destroy(bo);
            return Status::kOutOfDeviceMemory;
        }
        run.offset = BoOffset{offset};
        run.pa = *pa;
        if (!bo.runs.push(run)) {
            device_memory_.free(run.pa, run.allocated);
            destroy(bo);
            return Status::kOutOfHostMemory;
        }
    }
    return Status::kOk;
}

void SoftBoBackend::destroy(Bo& bo) noexcept {
    for (const Bo::Run& run : bo.runs) {
        device_memory_.free(run.pa, run.allocated);
    }
    bo.runs.clear();
}

Result<std::byte*, Status> SoftBoBackend::map_cpu(Bo& bo) noexcept {
    void* const whole = ::mmap(nullptr, bo.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) {
        return fail(Status::kOutOfHostMemory);
    }
    auto* const start = static_cast<std::byte*>(whole);
    for (const Bo::Run& run : bo.runs) {
        void* const part = ::mmap(start + run.offset.raw(), run.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                                  device_memory_.fd(), static_cast<off_t>(run.pa - DeviceMemory::kStart));
        if (part == MAP_FAILED) {
            ::munmap(start, bo.size);
            return fail(Status::kOutOfHostMemory);
        }
    }
    return start;
}

void SoftBoBackend::unmap_cpu(Bo& bo, std::byte* cpu) noexcept {
    ::munmap(cpu, bo.size);
}

}  // namespace granule
