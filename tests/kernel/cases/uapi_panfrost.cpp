// What panfrost does at its uAPI, as the library relies on it: the cases of IGT's panfrost tests and the errors of Linux
// drivers/gpu/drm/panfrost/panfrost_drv.c, asked of the kernel itself. What a driver is too old for is left out, by the
// version that it tells.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string>

#include "src/drm/panfrost_uapi.hpp"
#include "tests/kernel/cases/expectations.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kVaStart = std::uint64_t{32} << 20U;
constexpr std::uint64_t kVaEnd = std::uint64_t{1} << 32U;

class RawPanfrost {
public:
    RawPanfrost() : fd_(::open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC)) {}
    RawPanfrost(const RawPanfrost&) = delete;
    RawPanfrost& operator=(const RawPanfrost&) = delete;
    ~RawPanfrost() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] int minor() const {
        drmVersion* const version = ::drmGetVersion(fd_);
        const int minor = version == nullptr ? -1 : version->version_minor;
        ::drmFreeVersion(version);
        return minor;
    }
    // 0 or a negative errno. WAIT_BO of 6.16 and 6.18 answers a positive number where it means 0.
    template <class Argument>
    [[nodiscard]] int call(unsigned long request, Argument& argument) const {
        return ::drmIoctl(fd_, request, &argument) < 0 ? -errno : 0;
    }
    [[nodiscard]] int create(std::uint32_t bytes, std::uint32_t flags, drm_panfrost_create_bo& made) const {
        made = {};
        made.size = bytes;
        made.flags = flags;
        return call(panfrost::kCreateBo, made);
    }
    // NOLINTNEXTLINE(modernize-use-nodiscard): who only cleans up does not ask what came of it
    int close_bo(std::uint32_t handle) const { return ::drmCloseBufferHandle(fd_, handle) == 0 ? 0 : -errno; }

private:
    int fd_;
};

void creation(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_create_bo made;
    expect.equal("a BO of a page", gpu.create(kPage, panfrost::kBoNoexec, made), 0);
    expect.holds("has a VA from 32 MiB to 4 GiB", made.offset >= kVaStart && made.offset + kPage <= kVaEnd);
    drm_panfrost_get_bo_offset offset{};
    offset.handle = made.handle;
    expect.equal("which is told again", gpu.call(panfrost::kGetBoOffset, offset), 0);
    expect.equal("the same", offset.offset, made.offset);

    drm_panfrost_mmap_bo place{};
    place.handle = made.handle;
    expect.equal("its place for mmap", gpu.call(panfrost::kMmapBo, place), 0);
    void* const at =
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, gpu.fd(), static_cast<off_t>(place.offset));
    if (expect.holds("is mapped", at != MAP_FAILED, "mmap failed")) {
        const auto* const bytes = static_cast<const unsigned char*>(at);
        expect.holds("and filled with zeroes",
                     std::all_of(bytes, bytes + kPage, [](unsigned char byte) { return byte == 0; }));
        ::munmap(at, kPage);
    }
    place.flags = 1;
    expect.equal("mmap flags that there are not", gpu.call(panfrost::kMmapBo, place), -EINVAL);
    place = {};
    place.handle = 9999;
    expect.equal("the place of a BO that there is not", gpu.call(panfrost::kMmapBo, place), -ENOENT);
    offset.handle = 9999;
    expect.equal("the VA of a BO that there is not", gpu.call(panfrost::kGetBoOffset, offset), -ENOENT);
    expect.equal("a handle is closed", gpu.close_bo(made.handle), 0);
    expect.equal("and not twice", gpu.close_bo(made.handle), -EINVAL);

    expect.equal("a BO of size 0", gpu.create(0, 0, made), -EINVAL);
    expect.equal("a flag that there is not", gpu.create(kPage, 1U << 30U, made), -EINVAL);
    expect.equal("a heap that may be executed", gpu.create(kPage, panfrost::kBoHeap, made), -EINVAL);
    drm_panfrost_create_bo padded{};
    padded.size = kPage;
    padded.pad = 1;
    expect.equal("something in the padding", gpu.call(panfrost::kCreateBo, padded), -EINVAL);

    expect.equal("a heap", gpu.create(kPage, panfrost::kBoHeap | panfrost::kBoNoexec, made), 0);
    expect.equal("begins at a multiple of 2 MiB", made.offset % (std::uint64_t{2} << 20U), std::uint64_t{0});
    place = {};
    place.handle = made.handle;
    expect.equal("and is not mapped for the CPU", gpu.call(panfrost::kMmapBo, place), -EINVAL);
    gpu.close_bo(made.handle);
}

void parameters(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_get_param get{};
    get.param = panfrost::kParamGpuProdId;
    expect.equal("the GPU's id", gpu.call(panfrost::kGetParam, get), 0);
    expect.holds("is one", get.value != 0);
    get = {};
    get.param = 0xffff;
    expect.equal("a parameter that there is not", gpu.call(panfrost::kGetParam, get), -EINVAL);
    get = {};
    get.pad = 1;
    expect.equal("something in its padding", gpu.call(panfrost::kGetParam, get), -EINVAL);
}

void sharing(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_create_bo made;
    expect.equal("a BO to share", gpu.create(kPage, panfrost::kBoNoexec, made), 0);
    int dma_buf = -1;
    expect.equal("is exported", ::drmPrimeHandleToFD(gpu.fd(), made.handle, DRM_CLOEXEC | DRM_RDWR, &dma_buf), 0);
    std::uint32_t again = 0;
    expect.equal("and imported", ::drmPrimeFDToHandle(gpu.fd(), dma_buf, &again), 0);
    expect.equal("as what it was", again, made.handle);
    const RawPanfrost other;
    std::uint32_t elsewhere = 0;
    expect.equal("and in another file", ::drmPrimeFDToHandle(other.fd(), dma_buf, &elsewhere), 0);
    drm_panfrost_get_bo_offset offset{};
    offset.handle = elsewhere;
    expect.equal("which has a VA of its own for it", other.call(panfrost::kGetBoOffset, offset), 0);
    drm_panfrost_madvise advice{};
    advice.handle = made.handle;
    advice.madv = panfrost::kMadviseDontNeed;
    expect.equal("mapped twice it cannot be purged", gpu.call(panfrost::kMadvise, advice), -EINVAL);
    ::close(dma_buf);
    other.close_bo(elsewhere);
    gpu.close_bo(made.handle);
}

void advice(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_create_bo made;
    expect.equal("a BO to give advice about", gpu.create(kPage, panfrost::kBoNoexec, made), 0);
    drm_panfrost_madvise advice{};
    advice.handle = made.handle;
    advice.madv = panfrost::kMadviseDontNeed;
    expect.equal("that is not needed", gpu.call(panfrost::kMadvise, advice), 0);
    expect.equal("and still there", advice.retained, std::uint32_t{1});
    advice.madv = panfrost::kMadviseWillNeed;
    advice.retained = 0;
    expect.equal("that is needed again", gpu.call(panfrost::kMadvise, advice), 0);
    expect.equal("as it was", advice.retained, std::uint32_t{1});
    advice.handle = 9999;
    expect.equal("advice about none", gpu.call(panfrost::kMadvise, advice), -ENOENT);

    drm_panfrost_wait_bo wait{};
    wait.handle = made.handle;
    expect.equal("no job uses it", gpu.call(panfrost::kWaitBo, wait), 0);
    wait.handle = 9999;
    expect.equal("a wait for none", gpu.call(panfrost::kWaitBo, wait), -ENOENT);
    wait.handle = made.handle;
    wait.pad = 1;
    expect.equal("something in the padding of a wait", gpu.call(panfrost::kWaitBo, wait), -EINVAL);
    gpu.close_bo(made.handle);
}

void labels(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_create_bo made;
    expect.equal("a BO to label", gpu.create(kPage, panfrost::kBoNoexec, made), 0);
    const auto label = [&](std::uint32_t handle, const char* text) {
        drm_panfrost_set_label_bo set{};
        set.handle = handle;
        set.label = reinterpret_cast<std::uintptr_t>(text);
        return gpu.call(panfrost::kSetLabelBo, set);
    };
    const std::string longest(4095, 'x');
    expect.equal("a label", label(made.handle, "tiles"), 0);
    expect.equal("none", label(made.handle, nullptr), 0);
    expect.equal("4095 bytes and their end", label(made.handle, longest.c_str()), 0);
    expect.equal("4096 are too many", label(made.handle, (longest + 'x').c_str()), -E2BIG);
    expect.equal("of a BO that there is not", label(9999, "tiles"), -ENOENT);
    gpu.close_bo(made.handle);
}

void jobs(const RawPanfrost& gpu, Expectations& expect) {
    drm_panfrost_create_bo made;
    std::uint32_t syncobj = 0;
    expect.equal("a BO for a job", gpu.create(kPage, panfrost::kBoNoexec, made), 0);
    expect.equal("a syncobj for a job", ::drmSyncobjCreate(gpu.fd(), 0, &syncobj), 0);
    const auto good = [&] {
        drm_panfrost_submit job{};
        job.jc = made.offset;
        job.out_sync = syncobj;
        job.bo_handles = reinterpret_cast<std::uintptr_t>(&made.handle);
        job.bo_handle_count = 1;
        return job;
    };
    drm_panfrost_submit job = good();
    job.jc = 0;
    expect.equal("a job at VA 0", gpu.call(panfrost::kSubmit, job), -EINVAL);
    job = good();
    job.requirements = 1U << 30U;
    expect.equal("a requirement that there is not", gpu.call(panfrost::kSubmit, job), -EINVAL);
    job = good();
    job.out_sync = 9999;
    expect.equal("a syncobj that there is not", gpu.call(panfrost::kSubmit, job), -ENODEV);
    job = good();
    job.bo_handles = 8;
    expect.equal("BOs that are not there", gpu.call(panfrost::kSubmit, job), -EFAULT);
    const std::uint32_t unknown = 9999;
    job = good();
    job.bo_handles = reinterpret_cast<std::uintptr_t>(&unknown);
    expect.equal("a BO that there is not", gpu.call(panfrost::kSubmit, job), -ENOENT);

    // Nothing executes here: a job ends when the driver loses patience, after half a second, and the BO lives as long.
    job = good();
    expect.equal("a job", gpu.call(panfrost::kSubmit, job), 0);
    drm_panfrost_wait_bo wait{};
    wait.handle = made.handle;
    expect.equal("is not done at once", gpu.call(panfrost::kWaitBo, wait), -EBUSY);
    expect.equal("its BO's handle can be closed meanwhile", gpu.close_bo(made.handle), 0);
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::int64_t until = (std::int64_t{now.tv_sec} + 10) * 1'000'000'000;
    expect.equal("and it ends", ::drmSyncobjWait(gpu.fd(), &syncobj, 1, until, 0, nullptr), 0);
    ::drmSyncobjDestroy(gpu.fd(), syncobj);
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    using namespace granule;
    using namespace granule::kernel_test;
    Expectations expect("panfrost");
    const RawPanfrost gpu;
    if (gpu.fd() < 0) {
        return expect.give_up(std::string("cannot open the render node: ") + std::strerror(errno));
    }
    creation(gpu, expect);
    parameters(gpu, expect);
    sharing(gpu, expect);
    advice(gpu, expect);
    if (gpu.minor() >= panfrost::kMinorBoLabels) {
        labels(gpu, expect);
    }
    jobs(gpu, expect);
    return expect.finish();
}
