// What panthor does with BOs and tiler heaps at its uAPI: the cases of IGT's panthor_gem and panthor_heap, asked of the
// kernel itself. What a driver is too old for is left out, by the version that it tells.

#include <fcntl.h>
#include <sys/mman.h>
#include <xf86drm.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include "tests/kernel/cases/expectations.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kPage = 4096;

int minor_version(int fd) {
    drmVersion* const version = ::drmGetVersion(fd);
    const int minor = version == nullptr ? -1 : version->version_minor;
    ::drmFreeVersion(version);
    return minor;
}

void creation(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t bo = 0;
    expect.equal("a BO of size 0 is refused", gpu.create_bo(0, bo), -EINVAL);
    expect.equal("a flag that there is not is refused", gpu.create_bo(kPage, bo, 1U << 30), -EINVAL);
    expect.equal("a BO for a VM that there is not is refused", gpu.create_bo(kPage, bo, 0, 1000), -EINVAL);
    expect.holds("a BO of 2^64 - 1 bytes is refused", gpu.create_bo(std::numeric_limits<std::uint64_t>::max(), bo) < 0);
    drm_panthor_bo_create create{};
    create.size = kPage + 904;
    expect.equal("a BO of a page and a bit", gpu.call(panthor::kBoCreate, &create), 0);
    expect.equal("has two pages", create.size, 2 * kPage);

    drm_panthor_bo_mmap_offset offset{};
    offset.handle = create.handle;
    expect.equal("its place for mmap", gpu.call(panthor::kBoMmapOffset, &offset), 0);
    void* const at =
        ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, gpu.fd(), static_cast<off_t>(offset.offset));
    if (expect.holds("is mapped", at != MAP_FAILED, "mmap failed")) {
        const auto* const bytes = static_cast<const unsigned char*>(at);
        expect.holds("and filled with zeroes",
                     std::all_of(bytes, bytes + 2 * kPage, [](unsigned char byte) { return byte == 0; }));
        ::munmap(at, 2 * kPage);
    }
    offset.handle = 9999;
    expect.equal("a BO that there is not has no place", gpu.call(panthor::kBoMmapOffset, &offset), -ENOENT);
    expect.equal("a handle is closed", gpu.close_bo(create.handle), 0);
    expect.equal("and not twice", gpu.close_bo(create.handle), -EINVAL);
}

void labels(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t bo = 0;
    expect.equal("a BO to label", gpu.create_bo(kPage, bo), 0);
    const auto label = [&](std::uint32_t handle, const char* text) {
        drm_panthor_bo_set_label set{};
        set.handle = handle;
        set.label = reinterpret_cast<std::uintptr_t>(text);
        return gpu.call(panthor::kBoSetLabel, &set);
    };
    expect.equal("a label", label(bo, "tiles"), 0);
    expect.equal("an empty one", label(bo, ""), 0);
    expect.equal("none", label(bo, nullptr), 0);
    const std::string longest(4095, 'x');
    expect.equal("4095 bytes and their end", label(bo, longest.c_str()), 0);
    expect.equal("4096 are too many", label(bo, (longest + 'x').c_str()), -E2BIG);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that nothing is at
    expect.equal("a text that is not there", label(bo, reinterpret_cast<const char*>(std::uintptr_t{8})), -EFAULT);
    expect.equal("a BO that there is not", label(9999, "tiles"), -ENOENT);
    gpu.close_bo(bo);
}

void cached_mmaps(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t bo = 0;
    expect.equal("a BO cannot be both cached for the CPU and invisible to it",
                 gpu.create_bo(kPage, bo, panthor::kBoNoMmap | panthor::kBoCached), -EINVAL);
    expect.equal("a BO that the CPU caches", gpu.create_bo(2 * kPage, bo, panthor::kBoCached), 0);
    const auto sync = [&](std::uint32_t handle, std::uint32_t type, std::uint64_t offset, std::uint64_t bytes) {
        drm_panthor_bo_sync_op op{};
        op.handle = handle;
        op.type = type;
        op.offset = offset;
        op.size = bytes;
        drm_panthor_bo_sync sync_all{};
        sync_all.ops.stride = sizeof(op);
        sync_all.ops.count = 1;
        sync_all.ops.array = reinterpret_cast<std::uintptr_t>(&op);
        return gpu.call(panthor::kBoSync, &sync_all);
    };
    constexpr std::uint32_t kFlush = panthor::kBoSyncFlush;
    expect.equal("is flushed", sync(bo, kFlush, 0, 2 * kPage), 0);
    expect.equal("in part", sync(bo, kFlush, 64, 128), 0);
    expect.equal("not at all", sync(bo, kFlush, 0, 0), 0);
    expect.equal("but not behind its end", sync(bo, kFlush, kPage, 2 * kPage), -EINVAL);
    expect.equal("nor with an overflow", sync(bo, kFlush, std::numeric_limits<std::uint64_t>::max(), 2), -EINVAL);
    expect.equal("nor in a way that there is not", sync(bo, 77, 0, kPage), -EINVAL);
    expect.equal("nor where there is no BO", sync(9999, kFlush, 0, kPage), -ENOENT);

    drm_panthor_bo_query_info info{};
    info.handle = bo;
    info.create_flags = 0xdeadbeef;
    info.extra_flags = 0xdeadbeef;
    expect.equal("its flags are told", gpu.call(panthor::kBoQueryInfo, &info), 0);
    expect.equal("as they were", info.create_flags, panthor::kBoCached);
    expect.equal("and that it is ours", info.extra_flags & panthor::kBoImported, std::uint32_t{0});
    info.handle = 9999;
    expect.equal("of a BO that there is not nothing is told", gpu.call(panthor::kBoQueryInfo, &info), -ENOENT);
    gpu.close_bo(bo);
}

void sharing(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    std::uint32_t only = 0;
    expect.equal("a VM", gpu.create_vm(vm), 0);
    expect.equal("a BO of one VM", gpu.create_bo(kPage, only, 0, vm), 0);
    expect.equal("a BO of any VM", gpu.create_bo(kPage, bo), 0);
    int dma_buf = -1;
    expect.holds("the first is not exported",
                 ::drmPrimeHandleToFD(gpu.fd(), only, DRM_CLOEXEC | DRM_RDWR, &dma_buf) != 0 && errno == EINVAL);
    expect.equal("the second is", ::drmPrimeHandleToFD(gpu.fd(), bo, DRM_CLOEXEC | DRM_RDWR, &dma_buf), 0);
    std::uint32_t again = 0;
    expect.equal("and imported", ::drmPrimeFDToHandle(gpu.fd(), dma_buf, &again), 0);
    expect.equal("as what it was", again, bo);
    ::close(dma_buf);
    gpu.close_bo(bo);
    gpu.close_bo(only);
    gpu.destroy_vm(vm);
}

void tiler_heaps(const RawPanthor& gpu, Expectations& expect) {
    constexpr std::uint32_t kSmallest = 128 * 1024;
    constexpr std::uint32_t kLargest = 8 * 1024 * 1024;
    std::uint32_t vm = 0;
    expect.equal("a VM for heaps", gpu.create_vm(vm), 0);
    drm_panthor_tiler_heap_create made{};
    const auto create = [&](std::uint32_t in, std::uint32_t chunk, std::uint32_t initial, std::uint32_t most) {
        made = {};
        made.vm_id = in;
        made.chunk_size = chunk;
        made.initial_chunk_count = initial;
        made.max_chunks = most;
        made.target_in_flight = 2;
        return gpu.call(panthor::kTilerHeapCreate, &made);
    };
    const auto destroy = [&](std::uint32_t handle) {
        drm_panthor_tiler_heap_destroy what{};
        what.handle = handle;
        return gpu.call(panthor::kTilerHeapDestroy, &what);
    };
    expect.equal("a VM without heaps has none to destroy", destroy(vm << 16U), -ENOENT);
    expect.equal("a chunk of 0 bytes", create(vm, 0, 1, 2), -EINVAL);
    expect.equal("a chunk below 128 KiB", create(vm, kSmallest - kPage, 1, 2), -EINVAL);
    expect.equal("a chunk above 8 MiB", create(vm, kLargest + kPage, 1, 2), -EINVAL);
    expect.equal("a chunk that is not in whole pages", create(vm, kSmallest + 1, 1, 2), -EINVAL);
    expect.equal("no chunk to begin with", create(vm, kSmallest, 0, 2), -EINVAL);
    expect.equal("more to begin with than there may be", create(vm, kSmallest, 3, 2), -EINVAL);
    expect.equal("a VM that there is not", create(1000, kSmallest, 1, 2), -EINVAL);
    expect.equal("a heap", create(vm, kSmallest + kPage, 1, 2), 0);
    expect.holds("whose memory lies in the kernel's half of the VA",
                 made.tiler_heap_ctx_gpu_va >= std::uint64_t{1} << 47U && made.first_heap_chunk_gpu_va != 0);
    const std::uint32_t heap = made.handle;
    expect.equal("is destroyed", destroy(heap), 0);
    expect.equal("and not twice", destroy(heap), -EINVAL);
    gpu.destroy_vm(vm);
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    using namespace granule::kernel_test;
    Expectations expect("panthor BOs");
    const RawPanthor gpu;
    if (gpu.fd() < 0) {
        return expect.give_up(std::string("cannot open ") + kRenderNode + ": " + std::strerror(errno));
    }
    const int minor = minor_version(gpu.fd());
    creation(gpu, expect);
    if (minor >= granule::panthor::kMinorBoLabels) {
        labels(gpu, expect);
    }
    if (minor >= granule::panthor::kMinorCachedBos) {
        cached_mmaps(gpu, expect);
    }
    sharing(gpu, expect);
    tiler_heaps(gpu, expect);
    return expect.finish();
}
