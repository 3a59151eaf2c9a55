// A model of panthor and panfrost at their uAPI, for tests on the host: what Linux does when it is asked, in a process
// that sanitizers watch and in which every call can be made to fail.
//
// It is a model, and stands in for no kernel: what is true is tested on real ones (tests/kernel/). It holds the library
// to the rules of the uAPI (order of checks, limits, handles that are used again, what an asynchronous failure does),
// and shows what no kernel shows: which leaves stand where, and that nothing is left over.
//
//     FakeDrm : DrmCalls       fds, handles, mmap, PRIME, syncobjs, counts            fake_drm.cpp
//                              what tests see and do                                  fake_drm_view.cpp
//                              files, queues, kernels                                 fake_drm_state.cpp
//       panthor ioctls         VMs, binds, the queue of each VM                       fake_panthor.cpp
//       panfrost ioctls        VA that the kernel chooses, madvise                    fake_panfrost.cpp
//       FakeGpuVm              mappings, page tables, and the four behaviours         fake_gpuvm.hpp
//       FakeGemObject          memory                                                 fake_gem.hpp
//       FakeSyncobj            fences                                                 fake_syncobj.hpp
//
// Not in the model: groups, heaps and jobs of GPUs; eviction; more than one device.
// An oops or a warning is what a test fails on: `log()`. After an oops every call fails with EIO.
// Queues run when a fence they wait for signals, in the caller's thread; `hold_queues` makes them wait, as a busy kernel.
//
// Numbers of fds are not the process's: a call of the system with one fails with EBADF.
// A dma-buf of another driver is the same object in all files that import it, which no test can tell from the kernel's one
// object a file.
//
// Thread-safety: all members, any thread; one lock.
// Failure: only as the kernels fail; FailingDrmCalls (failing_drm_calls.hpp) is for the others.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "src/drm/drm_calls.hpp"
#include "src/drm/kernel_facts.hpp"
#include "tests/support/drm_call_kind.hpp"
#include "tests/support/fake_gem.hpp"
#include "tests/support/fake_gpuvm.hpp"
#include "tests/support/fake_syncobj.hpp"

namespace granule::test {

// A kernel: which driver, what it can do, how it behaves.
struct FakeKernel {
    DrmDriver driver = DrmDriver::kPanthor;
    int minor = 0;  // of the driver's version
    KernelBehaviour behaviour = KernelBehaviour::kSplits;
    bool splits = true;                // kOopses only: whether it also splits blocks (6.12.43) or refuses to (6.16.12)
    bool map_sparse = false;           // MAP_SPARSE
    bool checks_range = false;         // VM_BIND refuses VA beyond user space at entry (2026)
    bool huge_page_parameter = false;  // the module has `transparent_hugepage`, and it is on
    unsigned va_bits = 48;
    std::string release;  // of the kernel (uname)
    FakeMemory memory = FakeMemory::kHuge;
};
// As the kernel that was measured: 6.12.107, 6.18.15, 6.16.12, 7.3.4.
[[nodiscard]] FakeKernel fake_panthor(KernelBehaviour behaviour, FakeMemory memory = FakeMemory::kHuge);
[[nodiscard]] FakeKernel fake_panfrost(FakeMemory memory = FakeMemory::kHuge);  // 7.3.4

// What lives in the kernel. After the last file was closed all of it is 0, whatever user space forgot: what it forgot is
// in `forgotten`.
struct FakeDrmCensus {
    std::uint64_t fds = 0;      // of files, dma-bufs and syncobjs
    std::uint64_t handles = 0;  // GEM, of all open files
    std::uint64_t vms = 0;
    std::uint64_t syncobjs = 0;
    std::uint64_t objects = 0;  // GEM objects that somebody still holds: handles, mappings, dma-bufs
    std::uint64_t cpu_maps = 0;
    std::uint64_t mapped_bytes = 0;  // by mappings of the GPU, over all VMs (and files on panfrost)
    bool operator==(const FakeDrmCensus&) const = default;
};

struct FakeDrmState;

class FakeDrm final : public DrmCalls {
public:
    static constexpr const char* kPath = "/dev/dri/renderD128";  // the only one

    explicit FakeDrm(const FakeKernel& kernel);
    ~FakeDrm() override;

    // For tests: looking.
    [[nodiscard]] const FakeKernel& kernel() const noexcept { return kernel_; }
    [[nodiscard]] FakeKernelLog log() const;
    [[nodiscard]] bool quiet() const;  // no oops, no warning, no VM lost
    [[nodiscard]] FakeDrmCensus census() const;
    // What files still had when their last fd was closed.
    [[nodiscard]] FakeDrmCensus forgotten() const;
    [[nodiscard]] std::uint64_t count(DrmCallKind kind) const;  // calls, failed ones too
    [[nodiscard]] std::uint64_t bind_operations() const;        // elements of VM_BIND arrays that were carried out
    [[nodiscard]] std::uint64_t vms_lost() const;
    // The last calls as text, the oldest first: "VM_BIND vm 1: map 0x200000+0x1000 bo 3+0x0; unmap ... = EINVAL at 1".
    void record_calls(std::size_t most);
    [[nodiscard]] std::vector<std::string> recorded() const;

    // Of a VM (panthor), or of the one address space of a file (panfrost: any `vm`).
    [[nodiscard]] FakePage page(int fd, std::uint32_t vm, std::uint64_t va) const;
    [[nodiscard]] std::vector<FakePage> pages(int fd, std::uint32_t vm, const VaRange& range) const;
    [[nodiscard]] std::vector<FakeGpuVm::Leaf> leaves(int fd, std::uint32_t vm) const;
    [[nodiscard]] std::string disagreement(int fd, std::uint32_t vm) const;
    [[nodiscard]] bool usable(int fd, std::uint32_t vm) const;
    [[nodiscard]] std::size_t queued(int fd, std::uint32_t vm) const;
    [[nodiscard]] std::uint64_t object_of(int fd, std::uint32_t handle) const;  // serial; 0: no such handle
    [[nodiscard]] std::string label_of(int fd, std::uint32_t handle) const;

    // For tests: acting.
    void hold_queues();
    void hold_queue(int fd, std::uint32_t vm);  // that one alone
    void release_queues();                      // all
    // The next queued operation that runs fails in the kernel, without having done anything.
    void fail_next_job(int error);
    // A dma-buf of another driver.
    [[nodiscard]] int make_foreign_dma_buf(std::uint64_t bytes);
    // panfrost: takes the memory of every BO that may be purged.
    void purge();

    // DrmCalls.
    [[nodiscard]] int open(const char* path, int& fd) noexcept override;
    [[nodiscard]] int duplicate(int fd, int& copy) noexcept override;
    void close(int fd) noexcept override;
    [[nodiscard]] int version(int fd, DrmVersion& version) noexcept override;
    [[nodiscard]] int ioctl(int fd, unsigned long request, void* argument) noexcept override;
    [[nodiscard]] int map(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                          std::byte*& at) noexcept override;
    // Whoever chose the place unmaps it without us: it is not among `cpu_maps`.
    [[nodiscard]] int map_at(int fd, std::uint64_t offset, std::size_t bytes, int protection,
                             std::byte* at) noexcept override;
    void unmap(std::byte* at, std::size_t bytes) noexcept override;
    // The kernel's release and the driver's parameter, as much as there is of them.
    [[nodiscard]] int read_text(const char* path, std::span<char> into, std::size_t& bytes) noexcept override;
    int close_handle(int fd, std::uint32_t handle) noexcept override;
    [[nodiscard]] int export_handle(int fd, std::uint32_t handle, int& dma_buf) noexcept override;
    [[nodiscard]] int import_handle(int fd, int dma_buf, std::uint32_t& handle) noexcept override;
    [[nodiscard]] int dma_buf_bytes(int dma_buf, std::uint64_t& bytes) noexcept override;
    [[nodiscard]] int syncobj_create(int fd, bool signalled, std::uint32_t& handle) noexcept override;
    int syncobj_destroy(int fd, std::uint32_t handle) noexcept override;
    [[nodiscard]] int syncobj_export(int fd, std::uint32_t handle, int& syncobj_fd) noexcept override;
    [[nodiscard]] int syncobj_import(int fd, int syncobj_fd, std::uint32_t& handle) noexcept override;
    [[nodiscard]] int syncobj_wait(int fd, std::span<const std::uint32_t> handles,
                                   std::span<const std::uint64_t> points, std::int64_t timeout_ns) noexcept override;
    [[nodiscard]] int syncobj_signal(int fd, std::uint32_t handle, std::uint64_t point) noexcept override;
    [[nodiscard]] int syncobj_query(int fd, std::uint32_t handle, std::uint64_t& point) noexcept override;

private:
    const FakeKernel kernel_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::unique_ptr<FakeDrmState> state_;  // guarded by mutex_
};

}  // namespace granule::test
