// The fake panfrost, held to what was measured on real ones.
#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>

#include "src/drm/panfrost_uapi.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST_CASE("fake kernel: panfrost chooses the VA from 32 MiB on, maps the whole BO, and unmaps it with its handle") {
    FakeDrm drm(fake_panfrost());
    int fd = -1;
    REQUIRE(drm.open(FakeDrm::kPath, fd) == 0);
    const auto create = [&](std::uint32_t bytes, std::uint32_t flags) {
        drm_panfrost_create_bo request;
        request.size = bytes;
        request.flags = flags;
        const int error = drm.ioctl(fd, panfrost::kCreateBo, &request);
        return error == 0 ? request : drm_panfrost_create_bo{};
    };
    const drm_panfrost_create_bo first = create(0x1000, panfrost::kBoNoexec);
    CHECK(first.offset == panfrost::kFirstVa);
    const drm_panfrost_create_bo large = create(4 * kMiB, panfrost::kBoNoexec);
    CHECK(large.offset % (2 * kMiB) == 0);
    CHECK(drm.page(fd, 0, large.offset).leaf == LeafSize::k2M);
    CHECK(drm.page(fd, 0, large.offset).flags.noexec);
    const drm_panfrost_create_bo code = create(0x8000, 0);
    CHECK(code.offset % 0x8000 == 0);
    CHECK_FALSE(drm.page(fd, 0, code.offset).flags.noexec);
    const drm_panfrost_create_bo heap = create(0x1000, panfrost::kBoNoexec | panfrost::kBoHeap);
    CHECK(heap.offset % (2 * kMiB) == 0);
    CHECK_FALSE(drm.page(fd, 0, heap.offset).mapped);
    CHECK(create(0x1000, panfrost::kBoHeap).handle == 0);
    CHECK(create(0, 0).handle == 0);
    CHECK(create(0xf000'0000, panfrost::kBoNoexec).handle != 0);
    CHECK(create(0x2000'0000, panfrost::kBoNoexec).handle == 0);  // ENOSPC

    drm_panfrost_mmap_bo mmap{heap.handle, 0, 0};
    CHECK(drm.ioctl(fd, panfrost::kMmapBo, &mmap) == EINVAL);
    drm_panfrost_get_bo_offset get{code.handle, 0, 0};
    CHECK(drm.ioctl(fd, panfrost::kGetBoOffset, &get) == 0);
    CHECK(get.offset == code.offset);
    drm_panfrost_madvise advise{first.handle, panfrost::kMadviseDontNeed, 0};
    CHECK(drm.ioctl(fd, panfrost::kMadvise, &advise) == 0);
    CHECK(advise.retained == 1);
    drm.purge();
    advise = {first.handle, panfrost::kMadviseWillNeed, 1};
    CHECK(drm.ioctl(fd, panfrost::kMadvise, &advise) == 0);
    CHECK(advise.retained == 0);
    CHECK(drm.close_handle(fd, large.handle) == 0);
    CHECK_FALSE(drm.page(fd, 0, large.offset).mapped);
    CHECK(drm.quiet());
}

}  // namespace
}  // namespace granule::test
