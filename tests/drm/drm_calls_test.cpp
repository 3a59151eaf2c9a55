// libdrm's calls as they are on any machine: with files that are none of DRM's. Each function of libdrm has its own way to
// say errno; all must come out as one positive number.
#include "src/drm/drm_calls.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "src/drm/panthor_uapi.hpp"

namespace granule::test {
namespace {

constexpr int kNoFile = -1;

TEST_CASE("a file that is not open is EBADF, by every call") {
    DrmCalls& calls = system_drm_calls();
    int fd = 77;
    std::uint32_t handle = 77;
    std::uint64_t number = 77;
    std::byte* at = nullptr;
    DrmVersion version;
    drm_panthor_vm_get_state argument{1, 0};
    const std::array<std::uint32_t, 1> handles{1};
    const std::array<std::uint64_t, 1> points{1};

    CHECK(calls.duplicate(kNoFile, fd) == EBADF);
    CHECK(calls.version(kNoFile, version) == EBADF);
    CHECK(calls.ioctl(kNoFile, panthor::kVmGetState, &argument) == EBADF);
    CHECK(calls.ioctl_once(kNoFile, panthor::kVmGetState, &argument) == EBADF);
    CHECK(calls.map(kNoFile, 0, 4096, PROT_READ, at) == EBADF);
    CHECK(calls.close_handle(kNoFile, 1) == EBADF);
    CHECK(calls.export_handle(kNoFile, 1, fd) == EBADF);
    CHECK(calls.import_handle(kNoFile, kNoFile, handle) == EBADF);
    CHECK(calls.dma_buf_bytes(kNoFile, number) == EBADF);
    CHECK(calls.syncobj_create(kNoFile, false, handle) == EBADF);
    CHECK(calls.syncobj_destroy(kNoFile, 1) == EBADF);
    CHECK(calls.syncobj_export(kNoFile, 1, fd) == EBADF);
    CHECK(calls.syncobj_import(kNoFile, kNoFile, handle) == EBADF);
    CHECK(calls.syncobj_wait(kNoFile, handles, points, 0) == EBADF);
    CHECK(calls.syncobj_signal(kNoFile, 1, 1) == EBADF);
    CHECK(calls.syncobj_query(kNoFile, 1, number) == EBADF);

    // A call that fails writes no result.
    CHECK(fd == 77);
    CHECK(handle == 77);
    CHECK(number == 77);
    CHECK(at == nullptr);
    CHECK(version.name.view().empty());
}

TEST_CASE("a file of another kind is ENOTTY, by every ioctl") {
    DrmCalls& calls = system_drm_calls();
    int fd = -1;
    REQUIRE(calls.open("/dev/null", fd) == 0);
    std::uint32_t handle = 0;
    std::uint64_t number = 0;
    int other = -1;
    DrmVersion version;
    drm_panthor_vm_get_state argument{1, 0};
    const std::array<std::uint32_t, 1> handles{1};
    const std::array<std::uint64_t, 1> points{1};
    CHECK(calls.version(fd, version) == ENOTTY);
    CHECK(calls.ioctl(fd, panthor::kVmGetState, &argument) == ENOTTY);
    CHECK(calls.close_handle(fd, 1) == ENOTTY);
    CHECK(calls.export_handle(fd, 1, other) == ENOTTY);
    CHECK(calls.import_handle(fd, fd, handle) == ENOTTY);
    CHECK(calls.syncobj_create(fd, true, handle) == ENOTTY);
    CHECK(calls.syncobj_wait(fd, handles, points, 0) == ENOTTY);
    CHECK(calls.syncobj_query(fd, 1, number) == ENOTTY);
    calls.close(fd);
}

TEST_CASE("what is opened or duplicated is closed in programs that this one starts") {
    DrmCalls& calls = system_drm_calls();
    int fd = -1;
    CHECK(calls.open("/dev/dri/there-is-no-such-file", fd) == ENOENT);
    CHECK(fd == -1);
    REQUIRE(calls.open("/dev/null", fd) == 0);
    int copy = -1;
    REQUIRE(calls.duplicate(fd, copy) == 0);
    CHECK(copy != fd);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
    calls.close(fd);
    CHECK(::fcntl(fd, F_GETFD) == -1);
    CHECK(::fcntl(copy, F_GETFD) != -1);
    calls.close(copy);
}

TEST_CASE("memory of a file is mapped shared, and its size is where it ends") {
    DrmCalls& calls = system_drm_calls();
    const int fd = ::memfd_create("granule-test", MFD_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(::ftruncate(fd, 8192) == 0);
    std::uint64_t bytes = 0;
    CHECK(calls.dma_buf_bytes(fd, bytes) == 0);
    CHECK(bytes == 8192);
    std::byte* at = nullptr;
    std::byte* again = nullptr;
    REQUIRE(calls.map(fd, 4096, 4096, PROT_READ | PROT_WRITE, at) == 0);
    REQUIRE(calls.map(fd, 4096, 4096, PROT_READ, again) == 0);
    at[17] = std::byte{0x5a};
    CHECK(again[17] == std::byte{0x5a});
    calls.unmap(at, 4096);
    calls.unmap(again, 4096);
    CHECK(calls.map(fd, 1, 4096, PROT_READ, at) == EINVAL);
    calls.close(fd);
}

TEST_CASE("a text file is read as far as there is room") {
    DrmCalls& calls = system_drm_calls();
    std::array<char, 64> text{};
    std::size_t bytes = 0;
    REQUIRE(calls.read_text("/proc/sys/kernel/ostype", text, bytes) == 0);
    CHECK(std::string_view(text.data(), bytes) == "Linux\n");
    std::array<char, 3> little{};
    REQUIRE(calls.read_text("/proc/sys/kernel/ostype", little, bytes) == 0);
    CHECK(std::string_view(little.data(), bytes) == "Lin");
    bytes = 77;
    CHECK(calls.read_text("/proc/there-is-no-such-file", text, bytes) == ENOENT);
    CHECK(calls.read_text("/proc", text, bytes) == EISDIR);
    CHECK(bytes == 77);
}

TEST_CASE("a wait for handles without points is refused") {
    const std::array<std::uint32_t, 2> handles{1, 2};
    const std::array<std::uint64_t, 1> points{1};
    CHECK(system_drm_calls().syncobj_wait(kNoFile, handles, points, 0) == EINVAL);
}

}  // namespace
}  // namespace granule::test
