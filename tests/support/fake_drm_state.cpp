// Files, handles and queues of the fake kernel, and which kernels there are.
#include "tests/support/fake_drm_state.hpp"

#include <cerrno>
#include <utility>

namespace granule::test {
namespace {

FakeGpuVmRules rules_of(const FakeKernel& kernel) {
    switch (kernel.behaviour) {
        case KernelBehaviour::kSplits:
            return {.splits = true};
        case KernelBehaviour::kRefuses:
            return {};
        case KernelBehaviour::kOopses:
            return {.splits = kernel.splits, .oopses = true};
        case KernelBehaviour::kRealigns:
            return {.realigns = true};
    }
    return {};
}

}  // namespace

FakeKernel fake_panthor(KernelBehaviour behaviour, FakeMemory memory) {
    FakeKernel kernel;
    kernel.behaviour = behaviour;
    kernel.memory = memory;
    switch (behaviour) {
        case KernelBehaviour::kSplits:
            kernel.release = "6.12.107+deb13-arm64";
            kernel.minor = 2;
            break;
        case KernelBehaviour::kOopses:
            kernel.release = "6.16.12+deb13-arm64";
            kernel.minor = 4;
            kernel.splits = false;
            break;
        case KernelBehaviour::kRefuses:
            kernel.release = "6.18.15+deb13-arm64";
            kernel.minor = 5;
            break;
        case KernelBehaviour::kRealigns:
            kernel.release = "7.3.4+deb13-arm64";
            kernel.minor = 9;
            kernel.map_sparse = true;
            kernel.checks_range = true;
            kernel.huge_page_parameter = memory == FakeMemory::kHuge;
            break;
    }
    return kernel;
}

FakeKernel fake_panfrost(FakeMemory memory) {
    FakeKernel kernel;
    kernel.driver = DrmDriver::kPanfrost;
    kernel.minor = 6;
    kernel.behaviour = KernelBehaviour::kRealigns;
    kernel.memory = memory;
    kernel.release = "7.3.4+deb13-arm64";
    kernel.huge_page_parameter = memory == FakeMemory::kHuge;
    return kernel;
}

FakeGem FakeDrmState::make_object(std::uint64_t bytes) {
    ++*live_objects;
    return {new FakeGemObject(next_object++, bytes, kernel.memory), [live = live_objects](FakeGemObject* object) {
                --*live;
                delete object;
            }};
}

std::uint64_t FakeDrmState::mmap_offset(const FakeGem& object) {
    for (const auto& [offset, known] : by_mmap_offset) {
        if (known.lock() == object) {
            return offset;
        }
    }
    const std::uint64_t offset = next_mmap_offset;
    next_mmap_offset += object->bytes();
    std::erase_if(by_mmap_offset, [](const auto& entry) { return entry.second.expired(); });
    by_mmap_offset.emplace(offset, object);
    return offset;
}

int FakeDrmState::add_fd(FakeFd what) {
    fds.emplace(next_fd, std::move(what));
    return next_fd++;
}

FakeFile* FakeDrmState::file_of(int fd) const {
    const auto at = fds.find(fd);
    return at == fds.end() ? nullptr : at->second.file.get();
}

int FakeDrmState::enter(DrmCallKind kind, int fd, FakeFile*& file) {
    ++counts[kind];
    if (log.oopsed()) {
        return EIO;
    }
    file = file_of(fd);
    return file == nullptr ? EBADF : 0;
}

FakeVm* FakeDrmState::vm_of(int fd, std::uint32_t vm) const {
    const FakeFile* const file = file_of(fd);
    if (file == nullptr || kernel.driver == DrmDriver::kPanfrost) {
        return file == nullptr ? nullptr : file->space.get();
    }
    const auto at = file->vms.find(vm);
    return at == file->vms.end() ? nullptr : at->second.get();
}

std::unique_ptr<FakeVm> FakeDrmState::make_vm(std::uint64_t user_end) {
    return std::make_unique<FakeVm>(next_vm++, user_end, rules_of(kernel), log, std::uint64_t{1} << kernel.va_bits);
}

void FakeDrmState::note(const std::string& text) {
    if (recorded_most == 0) {
        return;
    }
    if (recorded.size() == recorded_most) {
        recorded.pop_front();
    }
    recorded.push_back(text);
}

int FakeDrmState::open_handle(FakeFile& file, const FakeGem& object, std::uint32_t& handle) {
    const bool known = file.handles.handle_of(*object) != 0;
    if (!known && kernel.driver == DrmDriver::kPanfrost) {
        if (const int error = panfrost_show(*this, file, object); error != 0) {
            return error;
        }
    }
    handle = file.handles.add(object);
    return 0;
}

bool FakeDrmState::close_handle(FakeFile& file, std::uint32_t handle) {
    const FakeGem object = file.handles.find(handle);
    if (object != nullptr) {
        panfrost_hide(file, object);
    }
    return file.handles.close(handle);
}

std::uint32_t FakeDrmState::add_syncobj(FakeFile& file, const FakeSyncobjPtr& syncobj) {
    std::uint32_t handle = 1;
    while (file.syncobjs.contains(handle)) {
        ++handle;
    }
    file.syncobjs.emplace(handle, syncobj);
    return handle;
}

void FakeDrmState::close_file(FakeFile& file) {
    forgotten.handles += file.handles.all().size();
    forgotten.vms += file.vms.size();
    forgotten.syncobjs += file.syncobjs.size();
    for (auto& [id, vm] : file.vms) {
        forgotten.mapped_bytes += vm->space.mapped_bytes();
        vm->space.unmap_all();
    }
}

void FakeDrmState::lose(FakeVm& vm) {
    vm.unusable = true;
    ++vms_lost;
    note("a VM is unusable");
}

void FakeDrmState::run(FakeVm& vm, FakeBindJob& job) {
    int error = std::exchange(next_job_error, 0);
    if (error == 0) {
        error = execute_bind(*this, vm, job.operation, job.object);
    }
    job.done->error = error;
    job.done->signalled = true;
    if (error != 0 && !vm.unusable) {
        lose(vm);
    }
}

bool FakeDrmState::run_queue(FakeVm& vm) {
    bool ran = false;
    while (!vm.queue_held && !vm.queue.empty() && !log.oopsed()) {
        FakeBindJob& job = vm.queue.front();
        if (!std::all_of(job.waits.begin(), job.waits.end(),
                         [](const FakeFencePtr& fence) { return fence->signalled; })) {
            break;
        }
        run(vm, job);
        vm.queue.pop_front();
        ran = true;
    }
    return ran;
}

void FakeDrmState::run_queues() {
    std::erase_if(files, [](const std::weak_ptr<FakeFile>& file) { return file.expired(); });
    for (bool ran = !queues_held; ran;) {
        ran = false;
        for (const std::weak_ptr<FakeFile>& weak : files) {
            const FakeFilePtr file = weak.lock();
            for (auto& [id, vm] : file->vms) {
                ran = run_queue(*vm) || ran;
            }
        }
        for (const std::unique_ptr<FakeVm>& vm : dying) {
            ran = run_queue(*vm) || ran;
        }
    }
    std::erase_if(dying, [](const std::unique_ptr<FakeVm>& vm) { return vm->queue.empty(); });
}

int read_label(std::uint64_t address, std::string& label) {
    if (address == 0) {
        label.clear();
        return 0;
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the uAPI's addresses are integers
    const auto* const text = reinterpret_cast<const char*>(address);
    const std::size_t bytes = ::strnlen(text, panthor::kMaxLabelBytes);
    if (bytes == panthor::kMaxLabelBytes) {
        return E2BIG;
    }
    label.assign(text, bytes);
    return 0;
}

}  // namespace granule::test
