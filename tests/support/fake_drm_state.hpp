// The inside of FakeDrm: what the fake kernel knows of files and VMs. For fake_*.cpp only.
//
// Thread-safety: none: FakeDrm's lock.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/drm/panthor_uapi.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {

// One operation in the queue of a VM.
struct FakeBindJob {
    drm_panthor_vm_bind_op operation;
    FakeGem object;  // of a map: held since the ioctl
    std::vector<FakeFencePtr> waits;
    FakeFencePtr done;
};

struct FakeVm {
    FakeVm(std::uint64_t serial_of, std::uint64_t user_end_at, const FakeGpuVmRules& rules, FakeKernelLog& log,
           std::uint64_t end) noexcept
        : serial(serial_of), user_end(user_end_at), space(rules, log, end) {}

    std::uint64_t serial;
    std::uint64_t user_end;  // the kernel's part begins here
    FakeGpuVm space;
    bool unusable = false;
    bool queue_held = false;
    std::deque<FakeBindJob> queue;
};

// An open file, which several fds can be.
struct FakeFile {
    FakeGemHandles handles;
    std::map<std::uint32_t, std::unique_ptr<FakeVm>> vms;
    std::map<std::uint32_t, FakeSyncobjPtr> syncobjs;
    FakeGem sparse_dummy;  // made with the first sparse mapping
    // panfrost: the one address space, and where each object is in it.
    std::unique_ptr<FakeVm> space;
    std::map<const FakeGemObject*, VaRange> shown;
};
using FakeFilePtr = std::shared_ptr<FakeFile>;

// What an fd is: one of the three.
struct FakeFd {
    FakeFilePtr file;
    FakeGem dma_buf;
    FakeSyncobjPtr syncobj;
};

struct FakeDrmState {
    static constexpr int kFirstFd = 1'000'000;
    static constexpr std::uint64_t kFirstMmapOffset = std::uint64_t{1} << 32;

    struct CpuMap {
        std::size_t bytes = 0;
        FakeGem object;
    };

    explicit FakeDrmState(FakeKernel of) : kernel(std::move(of)) {}

    [[nodiscard]] FakeGem make_object(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t mmap_offset(const FakeGem& object);
    [[nodiscard]] int add_fd(FakeFd what);
    [[nodiscard]] FakeFile* file_of(int fd) const;
    // How a call on a device file begins: it is counted, a kernel that oopsed answers no more, and `fd` is a file.
    [[nodiscard]] int enter(DrmCallKind kind, int fd, FakeFile*& file);
    [[nodiscard]] FakeVm* vm_of(int fd, std::uint32_t vm) const;
    [[nodiscard]] std::unique_ptr<FakeVm> make_vm(std::uint64_t user_end);
    void note(const std::string& text);
    // Opens or closes a handle, and on panfrost the mapping that goes with it.
    [[nodiscard]] int open_handle(FakeFile& file, const FakeGem& object, std::uint32_t& handle);
    [[nodiscard]] bool close_handle(FakeFile& file, std::uint32_t handle);
    [[nodiscard]] static std::uint32_t add_syncobj(FakeFile& file, const FakeSyncobjPtr& syncobj);
    void close_file(FakeFile& file);
    void lose(FakeVm& vm);
    // Runs what can run in the queues of all VMs.
    void run_queues();

    const FakeKernel kernel;
    FakeKernelLog log;
    std::map<int, FakeFd> fds;
    std::vector<std::weak_ptr<FakeFile>> files;
    std::deque<std::unique_ptr<FakeVm>> dying;  // destroyed with operations in their queues
    std::map<std::byte*, CpuMap> cpu_maps;
    std::map<std::uint64_t, std::weak_ptr<FakeGemObject>> by_mmap_offset;
    std::shared_ptr<std::uint64_t> live_objects = std::make_shared<std::uint64_t>(0);
    std::uint64_t next_object = 1;
    std::uint64_t next_vm = 1;
    std::uint64_t next_mmap_offset = kFirstMmapOffset;
    int next_fd = kFirstFd;
    FakeDrmCensus forgotten;
    DrmCallCounts counts;
    std::uint64_t bind_operations = 0;
    std::uint64_t vms_lost = 0;
    std::size_t recorded_most = 0;
    std::deque<std::string> recorded;
    bool queues_held = false;
    int next_job_error = 0;

private:
    void run(FakeVm& vm, FakeBindJob& job);
    [[nodiscard]] bool run_queue(FakeVm& vm);
};

// Driver ioctls: 0 or an errno; the argument is written back in any case.
[[nodiscard]] int panthor_ioctl(FakeDrmState& state, FakeFile& file, unsigned long request, void* argument);
[[nodiscard]] int panfrost_ioctl(FakeDrmState& state, FakeFile& file, unsigned long request, void* argument);

// One operation of a bind array in a VM, as the driver executes it, now or from a queue.
[[nodiscard]] int execute_bind(FakeDrmState& state, FakeVm& vm, const drm_panthor_vm_bind_op& operation,
                               const FakeGem& object);

// panfrost: a place for the object in the file's address space, and its pages there.
[[nodiscard]] int panfrost_show(FakeDrmState& state, FakeFile& file, const FakeGem& object);
void panfrost_hide(FakeFile& file, const FakeGem& object);

// The DRM core's way with arguments: a shorter one is filled up with zeroes, a longer one is cut; what the kernel knows is
// copied back, errors or not.
template <class Argument, class Handler>
[[nodiscard]] int with_argument(unsigned long request, void* argument, Handler&& handler) {
    constexpr unsigned long kSizeMask = 0x3fff;
    constexpr unsigned kSizeShift = 16;
    Argument inside;
    const std::size_t bytes = std::min<std::size_t>((request >> kSizeShift) & kSizeMask, sizeof(Argument));
    std::memcpy(&inside, argument, bytes);
    const int error = handler(inside);
    std::memcpy(argument, &inside, bytes);
    return error;
}

// panthor_get_uobj_array: elements of at least `Element`'s size; what is longer must be 0 beyond it.
template <class Element>
[[nodiscard]] int read_array(const drm_panthor_obj_array& array, std::vector<Element>& elements) {
    elements.clear();
    if (array.count == 0) {
        return 0;
    }
    if (array.stride < sizeof(Element)) {
        return EINVAL;
    }
    if (array.array == 0) {
        return EFAULT;
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the uAPI's addresses are integers
    const auto* const first = reinterpret_cast<const std::byte*>(array.array);
    elements.resize(array.count);
    for (std::size_t i = 0; i < elements.size(); ++i) {
        const std::byte* const element = first + i * array.stride;
        if (std::any_of(element + sizeof(Element), element + array.stride,
                        [](std::byte byte) { return byte != std::byte{0}; })) {
            return E2BIG;
        }
        std::memcpy(&elements[i], element, sizeof(Element));
    }
    return 0;
}

// A label from user memory: what BO_SET_LABEL and SET_LABEL_BO do.
[[nodiscard]] int read_label(std::uint64_t address, std::string& label);

}  // namespace granule::test
