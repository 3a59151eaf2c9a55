#include "src/backend/soft_bo_backend.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "src/backend/cpu_view.hpp"

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

// Calls `visitor(first, end)`, indices of runs, for each stretch of runs that are neighbours in physical memory too, in
// order, for as long as it returns true.
template <class Visitor>
void for_each_stretch(const Bo& bo, Visitor&& visitor) noexcept {
    for (std::size_t first = 0; first < bo.runs.size();) {
        std::size_t end = first + 1;
        while (end < bo.runs.size() && bo.runs[end].pa == bo.runs[end - 1].pa + bo.runs[end - 1].bytes) {
            ++end;
        }
        if (!visitor(first, end)) {
            return;
        }
        first = end;
    }
}

std::uint64_t bytes_of(const Bo& bo, std::size_t first, std::size_t end) noexcept {
    return bo.runs[end - 1].offset + bo.runs[end - 1].bytes - bo.runs[first].offset;
}

OsError error_of(Status status) noexcept {
    return {status, "", 0};
}

}  // namespace

Status SoftBoBackend::allocate_runs(Bo& bo, std::uint64_t bytes, BoMemory memory) noexcept {
    if (bytes > device_memory_.size()) {
        return Status::kOutOfDeviceMemory;  // known before the first of its pages is looked for
    }
    bo.size = align_up(bytes, kPageBytes);
    for (std::uint64_t offset = 0; offset < bo.size; offset += bo.runs.back().bytes) {
        std::uint64_t alignment = 0;
        Bo::Run run = next_run(bo.size - offset, memory, alignment);
        const std::optional<Pa> pa = device_memory_.allocate(run.allocated, alignment);
        if (!pa) {
            free_runs(bo);
            return Status::kOutOfDeviceMemory;
        }
        run.offset = BoOffset{offset};
        run.pa = *pa;
        if (!bo.runs.push(run)) {
            device_memory_.free(run.pa, run.allocated);
            free_runs(bo);
            return Status::kOutOfHostMemory;
        }
    }
    return Status::kOk;
}

void SoftBoBackend::free_runs(Bo& bo) noexcept {
    for (const Bo::Run& run : bo.runs) {
        if (run.allocated != 0) {
            device_memory_.free(run.pa, run.allocated);
        }
    }
    bo.runs.clear();
}

Result<void, OsError> SoftBoBackend::show(Bo& bo, SharedFile file) noexcept {
    int error = 0;
    for_each_stretch(bo, [&](std::size_t first, std::size_t end) noexcept {
        const Bo::Run& run = bo.runs[first];
        error = device_memory_.show_file(run.pa, bytes_of(bo, first, end), file.fd(), run.offset.raw());
        return error == 0;
    });
    bo.share_fd = file.release();
    if (error != 0) {
        return fail(OsError{Status::kOsFailed, "mmap", error});
    }
    return {};
}

void SoftBoBackend::hide(Bo& bo) noexcept {
    for_each_stretch(bo, [&](std::size_t first, std::size_t end) noexcept {
        if (device_memory_.show_memory(bo.runs[first].pa, bytes_of(bo, first, end)) != 0) {
            for (std::size_t i = first; i < end; ++i) {
                bo.runs[i].allocated = 0;  // nobody gets it who would share it with whoever has the file
            }
        }
        return true;
    });
    ::close(bo.share_fd);
    bo.share_fd = -1;
}

Result<void, OsError> SoftBoBackend::share(Bo& bo, SharedFile file) noexcept {
    const FileIdentity identity = file.facts().identity;
    if (const Result<void, OsError> shown = show(bo, std::move(file)); !shown) {
        return shown;
    }
    if (!shared_.push({identity, &bo})) {
        return fail(error_of(Status::kOutOfHostMemory));
    }
    return {};
}

Result<void, OsError> SoftBoBackend::create(Bo& bo, const BoRequest& request) noexcept {
    if (request.grows_on_fault) {
        return fail(error_of(Status::kNotSupported));
    }
    if (request.cpu_cached && !request.cpu_visible) {
        return fail(error_of(Status::kBadArgument));
    }
    bo.cpu_visible = request.cpu_visible;
    if (const Status status = allocate_runs(bo, request.bytes, request.memory.value_or(memory_));
        status != Status::kOk) {
        return fail(error_of(status));
    }
    if (!request.shareable) {
        return {};
    }
    Result<SharedFile, OsError> file = SharedFile::create(bo.size, injection_);
    if (!file) {
        destroy(bo);
        return fail(file.error());
    }
    std::unique_lock lock(mutex_);
    Result<void, OsError> shared = share(bo, std::move(*file));
    lock.unlock();
    if (!shared) {
        destroy(bo);
    }
    return shared;
}

void SoftBoBackend::destroy(Bo& bo) noexcept {
    if (bo.share_fd >= 0) {
        const std::lock_guard lock(mutex_);
        leave(bo);
        return;
    }
    free_runs(bo);
}

void SoftBoBackend::leave(Bo& bo) noexcept {
    for (std::size_t i = 0; i < shared_.size(); ++i) {
        if (shared_[i].bo == &bo) {
            shared_[i] = shared_.back();
            shared_.truncate(shared_.size() - 1);
            break;
        }
    }
    hide(bo);
    free_runs(bo);
}

Bo* SoftBoBackend::retain_shared(BoTable& bos, const FileIdentity& file) noexcept {
    for (const Shared& shared : shared_) {
        // One that is not live ends: it waits in `destroy` for the lock, and stays until it has it.
        if (shared.file == file && bos.retain_if_live(shared.bo->id, 1) != nullptr) {
            return shared.bo;
        }
    }
    return nullptr;
}

Result<BoId, OsError> SoftBoBackend::import(BoTable& bos, int file, std::uint64_t made_by) noexcept {
    const Result<FileFacts, OsError> facts = SharedFile::look_at(file, injection_);
    if (!facts) {
        return fail(facts.error());
    }
    const std::lock_guard lock(mutex_);
    if (const Bo* const bo = retain_shared(bos, facts->identity)) {
        return bo->id;
    }
    return bos.adopt(made_by, [&](Bo& bo) noexcept -> Result<void, OsError> {
        Result<SharedFile, OsError> copy = SharedFile::of(file, injection_);
        if (!copy) {
            return fail(copy.error());
        }
        if (const Status status = allocate_runs(bo, copy->facts().bytes, memory_); status != Status::kOk) {
            return fail(error_of(status));
        }
        bo.imported = true;
        Result<void, OsError> shared = share(bo, std::move(*copy));
        if (!shared) {
            leave(bo);
        }
        return shared;
    });
}

Result<int, OsError> SoftBoBackend::export_file(const Bo& bo) noexcept {
    return duplicate_file(bo.share_fd, injection_);
}

std::uint64_t SoftBoBackend::shared() const noexcept {
    const std::lock_guard lock(mutex_);
    return shared_.size();
}

int SoftBoBackend::view(Bo& bo, std::byte* where, CpuAccess access) noexcept {
    const int protection = protection_of(access);
    int error = 0;
    for_each_stretch(bo, [&](std::size_t first, std::size_t end) noexcept {
        const Bo::Run& run = bo.runs[first];
        std::byte* const part = where + run.offset.raw();
        const std::uint64_t bytes = bytes_of(bo, first, end);
        error = injection_ == nullptr ? 0 : injection_->at(Injection::Site::kCpuView);
        if (error == 0) {
            error = bo.share_fd < 0
                        ? view_file_at(part, bytes, protection, device_memory_.fd(), run.pa - DeviceMemory::kStart)
                        : view_file_at(part, bytes, protection, bo.share_fd, run.offset.raw());
        }
        if (error != 0) {
            close_hole(part, bytes);
            reserve_again(where, run.offset.raw());
        }
        return error == 0;
    });
    return error;
}

Result<std::byte*, Status> SoftBoBackend::map_cpu(Bo& bo) noexcept {
    if (!bo.cpu_visible) {
        return fail(Status::kNotSupported);
    }
    void* const whole = ::mmap(nullptr, bo.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) {
        return fail(Status::kOutOfHostMemory);
    }
    auto* const start = static_cast<std::byte*>(whole);
    if (view(bo, start, CpuAccess::kReadWrite) != 0) {
        ::munmap(start, bo.size);
        return fail(Status::kOutOfHostMemory);
    }
    return start;
}

void SoftBoBackend::unmap_cpu(Bo& bo, std::byte* cpu) noexcept {
    ::munmap(cpu, bo.size);
}

Status SoftBoBackend::map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept {
    return view(bo, where, access) == 0 ? Status::kOk : Status::kOutOfHostMemory;
}

}  // namespace granule
