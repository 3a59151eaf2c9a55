// What tests see of the fake kernel, and what they make it do.
#include <utility>

#include "tests/support/fake_drm_state.hpp"

namespace granule::test {

FakeDrm::FakeDrm(const FakeKernel& kernel) : kernel_(kernel), state_(std::make_unique<FakeDrmState>(kernel)) {}

FakeDrm::~FakeDrm() = default;

FakeKernelLog FakeDrm::log() const {
    const std::lock_guard lock(mutex_);
    return state_->log;
}

bool FakeDrm::quiet() const {
    const std::lock_guard lock(mutex_);
    return !state_->log.oopsed() && state_->log.warnings.empty() && state_->vms_lost == 0;
}

FakeDrmCensus FakeDrm::census() const {
    const std::lock_guard lock(mutex_);
    FakeDrmCensus census;
    census.fds = state_->fds.size();
    census.objects = *state_->live_objects;
    census.cpu_maps = state_->cpu_maps.size();
    for (const std::weak_ptr<FakeFile>& weak : state_->files) {
        const FakeFilePtr file = weak.lock();
        if (file == nullptr) {
            continue;
        }
        census.handles += file->handles.all().size();
        census.vms += file->vms.size();
        census.syncobjs += file->syncobjs.size();
        // The kernel keeps its own for as long as the file is open.
        census.objects -= file->sparse_dummy == nullptr ? 0U : 1U;
        for (const auto& [id, vm] : file->vms) {
            census.mapped_bytes += vm->space.mapped_bytes();
        }
        census.mapped_bytes += file->space == nullptr ? 0 : file->space->space.mapped_bytes();
    }
    return census;
}

FakeDrmCensus FakeDrm::forgotten() const {
    const std::lock_guard lock(mutex_);
    return state_->forgotten;
}

std::uint64_t FakeDrm::count(DrmCallKind kind) const {
    const std::lock_guard lock(mutex_);
    return state_->counts[kind];
}

std::uint64_t FakeDrm::bind_operations() const {
    const std::lock_guard lock(mutex_);
    return state_->bind_operations;
}

std::uint64_t FakeDrm::vms_lost() const {
    const std::lock_guard lock(mutex_);
    return state_->vms_lost;
}

void FakeDrm::record_calls(std::size_t most) {
    const std::lock_guard lock(mutex_);
    state_->recorded_most = most;
    state_->recorded.clear();
}

std::vector<std::string> FakeDrm::recorded() const {
    const std::lock_guard lock(mutex_);
    return {state_->recorded.begin(), state_->recorded.end()};
}

FakePage FakeDrm::page(int fd, std::uint32_t vm, std::uint64_t va) const {
    const std::lock_guard lock(mutex_);
    const FakeVm* const found = state_->vm_of(fd, vm);
    return found == nullptr ? FakePage{} : found->space.page(va);
}

std::vector<FakePage> FakeDrm::pages(int fd, std::uint32_t vm, const VaRange& range) const {
    const std::lock_guard lock(mutex_);
    std::vector<FakePage> pages(range.size() / kPageBytes);
    if (const FakeVm* const found = state_->vm_of(fd, vm); found != nullptr) {
        std::uint64_t va = range.start.raw();
        for (FakePage& page : pages) {
            page = found->space.page(va);
            va += kPageBytes;
        }
    }
    return pages;
}

std::vector<FakeGpuVm::Leaf> FakeDrm::leaves(int fd, std::uint32_t vm) const {
    const std::lock_guard lock(mutex_);
    const FakeVm* const found = state_->vm_of(fd, vm);
    return found == nullptr ? std::vector<FakeGpuVm::Leaf>{} : found->space.leaves();
}

std::string FakeDrm::disagreement(int fd, std::uint32_t vm) const {
    const std::lock_guard lock(mutex_);
    const FakeVm* const found = state_->vm_of(fd, vm);
    return found == nullptr ? "no such VM" : found->space.disagreement();
}

bool FakeDrm::usable(int fd, std::uint32_t vm) const {
    const std::lock_guard lock(mutex_);
    const FakeVm* const found = state_->vm_of(fd, vm);
    return found != nullptr && !found->unusable;
}

std::size_t FakeDrm::queued(int fd, std::uint32_t vm) const {
    const std::lock_guard lock(mutex_);
    const FakeVm* const found = state_->vm_of(fd, vm);
    return found == nullptr ? 0 : found->queue.size();
}

std::uint64_t FakeDrm::object_of(int fd, std::uint32_t handle) const {
    const std::lock_guard lock(mutex_);
    const FakeFile* const file = state_->file_of(fd);
    const FakeGem object = file == nullptr ? FakeGem{} : file->handles.find(handle);
    return object == nullptr ? 0 : object->serial();
}

std::string FakeDrm::label_of(int fd, std::uint32_t handle) const {
    const std::lock_guard lock(mutex_);
    const FakeFile* const file = state_->file_of(fd);
    const FakeGem object = file == nullptr ? FakeGem{} : file->handles.find(handle);
    return object == nullptr ? "" : object->label;
}

void FakeDrm::hold_queues() {
    const std::lock_guard lock(mutex_);
    state_->queues_held = true;
}

void FakeDrm::hold_queue(int fd, std::uint32_t vm) {
    const std::lock_guard lock(mutex_);
    if (FakeVm* const found = state_->vm_of(fd, vm)) {
        found->queue_held = true;
    }
}

void FakeDrm::release_queues() {
    {
        const std::lock_guard lock(mutex_);
        state_->queues_held = false;
        for (const std::weak_ptr<FakeFile>& weak : state_->files) {
            if (const FakeFilePtr file = weak.lock()) {
                for (auto& [id, vm] : file->vms) {
                    vm->queue_held = false;
                }
            }
        }
        for (const std::unique_ptr<FakeVm>& vm : state_->dying) {
            vm->queue_held = false;
        }
        state_->run_queues();
    }
    changed_.notify_all();
}

void FakeDrm::fail_next_job(int error) {
    const std::lock_guard lock(mutex_);
    state_->next_job_error = error;
}

int FakeDrm::make_foreign_dma_buf(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const FakeGem object = state_->make_object(align_up(bytes, kPageBytes));
    object->imported = true;
    return state_->add_fd({nullptr, object, nullptr});
}

void FakeDrm::purge() {
    const std::lock_guard lock(mutex_);
    for (const std::weak_ptr<FakeFile>& weak : state_->files) {
        const FakeFilePtr file = weak.lock();
        if (file == nullptr) {
            continue;
        }
        for (const auto& [handle, object] : file->handles.all()) {
            if (object->purgeable && !object->purged) {
                object->purged = true;
                panfrost_hide(*file, object);
            }
        }
    }
}

}  // namespace granule::test
