#include "tests/support/fake_drm.hpp"

#include <sys/mman.h>

#include <chrono>
#include <limits>
#include <utility>

#include "tests/support/fake_drm_state.hpp"

namespace granule::test {
namespace {

// The object that an mmap of the file shows; 0 or an errno.
int find_mmap(FakeDrmState& state, int fd, std::uint64_t offset, std::size_t bytes, FakeGem& object) {
    FakeFile* file = nullptr;
    if (const int error = state.enter(DrmCallKind::kMap, fd, file); error != 0) {
        return error;
    }
    const auto known = state.by_mmap_offset.find(offset);
    object = known == state.by_mmap_offset.end() ? FakeGem{} : known->second.lock();
    if (object == nullptr || bytes == 0 || bytes > object->bytes()) {
        return EINVAL;
    }
    return file->handles.handle_of(*object) == 0 ? EACCES : 0;
}

}  // namespace

int FakeDrm::open(const char* path, int& fd) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kOpen];
    if (state_->log.oopsed()) {
        return EIO;
    }
    if (std::string_view(path) != kPath) {
        return ENOENT;
    }
    const FakeFilePtr file = std::make_shared<FakeFile>();
    state_->files.push_back(file);
    fd = state_->add_fd({file, nullptr, nullptr});
    return 0;
}

int FakeDrm::duplicate(int fd, int& copy) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kDuplicate];
    const auto at = state_->fds.find(fd);
    if (at == state_->fds.end()) {
        return EBADF;
    }
    copy = state_->add_fd(at->second);
    return 0;
}

void FakeDrm::close(int fd) noexcept {
    {
        const std::lock_guard lock(mutex_);
        const auto at = state_->fds.find(fd);
        if (at == state_->fds.end()) {
            state_->log.warnings.push_back("close of an fd that is not open: " + std::to_string(fd));
            return;
        }
        const FakeFilePtr file = at->second.file;
        state_->fds.erase(at);
        const bool last = file != nullptr && std::none_of(state_->fds.begin(), state_->fds.end(),
                                                          [&](const auto& entry) { return entry.second.file == file; });
        if (last) {
            state_->close_file(*file);
        }
    }
    changed_.notify_all();
}

int FakeDrm::version(int fd, DrmVersion& version) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kVersion, fd, file); error != 0) {
        return error;
    }
    const std::string_view name = kernel_.driver == DrmDriver::kPanthor ? "panthor" : "panfrost";
    version = {};
    version.major = 1;
    version.minor = kernel_.minor;
    version.name = ShortLabel(name);
    return 0;
}

int FakeDrm::ioctl(int fd, unsigned long request, void* argument) noexcept {
    int error = 0;
    {
        const std::lock_guard lock(mutex_);
        FakeFile* file = nullptr;
        error = state_->enter(ioctl_kind(kernel_.driver, request), fd, file);
        if (error != 0) {
            return error;
        }
        error = kernel_.driver == DrmDriver::kPanthor ? panthor_ioctl(*state_, *file, request, argument)
                                                      : panfrost_ioctl(*state_, *file, request, argument);
        if (state_->recorded_most != 0 && ioctl_kind(kernel_.driver, request) != DrmCallKind::kVmBind) {
            state_->note(std::string(to_string(ioctl_kind(kernel_.driver, request))) +
                         (error == 0 ? "" : " error " + std::to_string(error)));
        }
    }
    changed_.notify_all();
    return error;
}

int FakeDrm::map(int fd, std::uint64_t offset, std::size_t bytes, int protection, std::byte*& at) noexcept {
    const std::lock_guard lock(mutex_);
    FakeGem object;
    if (const int error = find_mmap(*state_, fd, offset, bytes, object); error != 0) {
        return error;
    }
    const int memory = object->memory_fd();
    void* const mapped = memory < 0 ? MAP_FAILED : ::mmap(nullptr, bytes, protection, MAP_SHARED, memory, 0);
    if (mapped == MAP_FAILED) {
        return ENOMEM;
    }
    at = static_cast<std::byte*>(mapped);
    state_->cpu_maps[at] = {bytes, object};
    return 0;
}

int FakeDrm::map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection, std::byte* at) noexcept {
    const std::lock_guard lock(mutex_);
    FakeGem object;
    if (const int error = find_mmap(*state_, fd, offset, bytes, object); error != 0) {
        return error;
    }
    const int memory = object->memory_fd();
    const bool mapped = memory >= 0 && ::mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, memory, 0) != MAP_FAILED;
    return mapped ? 0 : ENOMEM;
}

void FakeDrm::unmap(std::byte* at, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    const auto known = state_->cpu_maps.find(at);
    if (known == state_->cpu_maps.end() || known->second.bytes != bytes) {
        state_->log.warnings.emplace_back("munmap of what was not mapped so");
        return;
    }
    ::munmap(at, bytes);
    state_->cpu_maps.erase(known);
}

int FakeDrm::read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kReadText];
    if (state_->log.oopsed()) {
        return EIO;
    }
    const std::string module = kernel_.driver == DrmDriver::kPanthor ? "panthor" : "panfrost";
    std::string text;
    if (std::string_view(path) == "/proc/sys/kernel/osrelease") {
        text = kernel_.release + "\n";
    } else if (path == "/sys/module/" + module + "/parameters/transparent_hugepage" &&
               (kernel_.huge_page_parameter || kernel_.behaviour == KernelBehaviour::kRealigns)) {
        text = kernel_.huge_page_parameter ? "Y\n" : "N\n";
    } else {
        return ENOENT;
    }
    bytes = std::min(text.size(), into.size());
    std::copy_n(text.begin(), bytes, into.begin());
    return 0;
}

int FakeDrm::close_handle(int fd, std::uint32_t handle) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kCloseHandle, fd, file); error != 0) {
        return error;
    }
    state_->note("GEM_CLOSE " + std::to_string(handle));
    return state_->close_handle(*file, handle) ? 0 : EINVAL;
}

int FakeDrm::export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kExportHandle, fd, file); error != 0) {
        return error;
    }
    const FakeGem object = file->handles.find(handle);
    if (object == nullptr) {
        return ENOENT;
    }
    if (object->only_for_vm != 0) {
        return EINVAL;
    }
    dma_buf = state_->add_fd({nullptr, object, nullptr});
    return 0;
}

int FakeDrm::import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kImportHandle];
    if (state_->log.oopsed()) {
        return EIO;
    }
    FakeFile* const file = state_->file_of(fd);
    const auto at = state_->fds.find(dma_buf);
    if (file == nullptr || at == state_->fds.end()) {
        return EBADF;
    }
    return at->second.dma_buf == nullptr ? EINVAL : state_->open_handle(*file, at->second.dma_buf, handle);
}

int FakeDrm::dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kDmaBufBytes];
    const auto at = state_->fds.find(dma_buf);
    if (at == state_->fds.end()) {
        return EBADF;
    }
    if (at->second.dma_buf == nullptr) {
        return ESPIPE;
    }
    bytes = at->second.dma_buf->bytes();
    return 0;
}

int FakeDrm::syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kSyncobjCreate, fd, file); error != 0) {
        return error;
    }
    const FakeSyncobjPtr syncobj = std::make_shared<FakeSyncobj>();
    if (signalled) {
        syncobj->attach(0, std::make_shared<FakeFence>(FakeFence{true, 0}));
    }
    handle = state_->add_syncobj(*file, syncobj);
    return 0;
}

int FakeDrm::syncobj_destroy(int fd, std::uint32_t handle) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kSyncobjDestroy, fd, file); error != 0) {
        return error;
    }
    return file->syncobjs.erase(handle) == 1 ? 0 : EINVAL;
}

int FakeDrm::syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kSyncobjExport, fd, file); error != 0) {
        return error;
    }
    const auto at = file->syncobjs.find(handle);
    if (at == file->syncobjs.end()) {
        return EINVAL;
    }
    syncobj_fd = state_->add_fd({nullptr, nullptr, at->second});
    return 0;
}

int FakeDrm::syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept {
    const std::lock_guard lock(mutex_);
    ++state_->counts[DrmCallKind::kSyncobjImport];
    if (state_->log.oopsed()) {
        return EIO;
    }
    FakeFile* const file = state_->file_of(fd);
    const auto at = state_->fds.find(syncobj_fd);
    if (file == nullptr || at == state_->fds.end()) {
        return EBADF;
    }
    if (at->second.syncobj == nullptr) {
        return EINVAL;
    }
    handle = state_->add_syncobj(*file, at->second.syncobj);
    return 0;
}

int FakeDrm::syncobj_wait(int fd, std::span<const std::uint32_t> handles, std::span<const std::uint64_t> points,
                          std::int64_t timeout_ns) noexcept {
    std::unique_lock lock(mutex_);
    ++state_->counts[DrmCallKind::kSyncobjWait];
    const FakeFile* const file = state_->file_of(fd);
    if (state_->log.oopsed() || file == nullptr || handles.empty() || handles.size() != points.size()) {
        return state_->log.oopsed() ? EIO : (file == nullptr ? EBADF : EINVAL);
    }
    if (kernel_.driver == DrmDriver::kPanfrost) {
        return EOPNOTSUPP;  // it has no DRIVER_SYNCOBJ_TIMELINE
    }
    std::vector<FakeSyncobjPtr> syncobjs;
    for (const std::uint32_t handle : handles) {
        const auto at = file->syncobjs.find(handle);
        if (at == file->syncobjs.end()) {
            return ENOENT;
        }
        syncobjs.push_back(at->second);
    }
    const auto done = [&] {
        for (std::size_t i = 0; i < syncobjs.size(); ++i) {
            if (!syncobjs[i]->signalled(points[i])) {
                return false;
            }
        }
        return true;
    };
    // CLOCK_MONOTONIC, in steps: a deadline as far as the clock goes is more than wait_until can convert.
    while (!done()) {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        const std::int64_t left = timeout_ns - std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
        if (left <= 0) {
            return ETIME;
        }
        constexpr std::int64_t kStep = 50'000'000;
        changed_.wait_for(lock, std::chrono::nanoseconds(std::min(left, kStep)));
    }
    return 0;
}

int FakeDrm::syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept {
    {
        const std::lock_guard lock(mutex_);
        FakeFile* file = nullptr;
        if (const int error = state_->enter(DrmCallKind::kSyncobjSignal, fd, file); error != 0) {
            return error;
        }
        if (kernel_.driver == DrmDriver::kPanfrost) {
            return EOPNOTSUPP;  // it has no DRIVER_SYNCOBJ_TIMELINE
        }
        const auto at = file->syncobjs.find(handle);
        if (at == file->syncobjs.end()) {
            return ENOENT;
        }
        at->second->attach(point, std::make_shared<FakeFence>(FakeFence{true, 0}));
        at->second->forget_signalled();
        state_->run_queues();
    }
    changed_.notify_all();
    return 0;
}

int FakeDrm::syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFile* file = nullptr;
    if (const int error = state_->enter(DrmCallKind::kSyncobjQuery, fd, file); error != 0) {
        return error;
    }
    if (kernel_.driver == DrmDriver::kPanfrost) {
        return EOPNOTSUPP;  // it has no DRIVER_SYNCOBJ_TIMELINE
    }
    const auto at = file->syncobjs.find(handle);
    if (at == file->syncobjs.end()) {
        return ENOENT;
    }
    point = at->second->value();
    return 0;
}

}  // namespace granule::test
