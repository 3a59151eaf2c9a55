#include "src/backend/shared_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "mali/address.hpp"

namespace granule {
namespace {

// Whether the next call of the OS is to fail.
int injected(Injection* injection) noexcept {
    return injection == nullptr ? 0 : injection->at(Injection::Site::kSharedFile);
}

// 0 or an errno.
template <class Call>
int made(Injection* injection, Call&& call) noexcept {
    if (const int error = injected(injection); error != 0) {
        return error;
    }
    return call() < 0 ? errno : 0;
}

tl::unexpected<OsError> failed(const char* call, int error) noexcept {
    return fail(OsError{Status::kOsFailed, call, error});
}

}  // namespace

Result<int, OsError> duplicate_file(int file, Injection* injection) noexcept {
    int copy = -1;
    if (const int error = made(injection, [&] { return copy = ::fcntl(file, F_DUPFD_CLOEXEC, 0); }); error != 0) {
        return failed("F_DUPFD_CLOEXEC", error);
    }
    return copy;
}

Result<FileFacts, OsError> SharedFile::look_at(int file, Injection* injection) noexcept {
    struct stat status {};
    if (const int error = made(injection, [&] { return ::fstat(file, &status); }); error != 0) {
        return failed("fstat", error);
    }
    FileFacts facts;
    facts.identity = {status.st_dev, status.st_ino};
    facts.bytes = static_cast<std::uint64_t>(status.st_size);
    if (!S_ISREG(status.st_mode) || facts.bytes == 0 || !is_aligned(facts.bytes, kPageBytes) ||
        facts.bytes > kMaxVaEnd) {
        return fail(OsError{Status::kBadArgument, "fstat", 0});
    }
    return facts;
}

Result<SharedFile, OsError> SharedFile::create(std::uint64_t bytes, Injection* injection) noexcept {
    int fd = -1;
    const int error =
        made(injection, [&] { return fd = ::memfd_create("granule shared BO", MFD_CLOEXEC | MFD_ALLOW_SEALING); });
    if (error != 0) {
        return failed("memfd_create", error);
    }
    SharedFile file(fd, {});
    if (const int resized = made(injection, [&] { return ::ftruncate(fd, static_cast<off_t>(bytes)); }); resized != 0) {
        return failed("ftruncate", resized);
    }
    constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (const int sealed = made(injection, [&] { return ::fcntl(fd, F_ADD_SEALS, kSeals); }); sealed != 0) {
        return failed("F_ADD_SEALS", sealed);
    }
    const Result<FileFacts, OsError> facts = look_at(fd, injection);
    if (!facts) {
        return fail(facts.error());
    }
    file.facts_ = *facts;
    return file;
}

Result<SharedFile, OsError> SharedFile::of(int file, Injection* injection) noexcept {
    const Result<FileFacts, OsError> facts = look_at(file, injection);
    if (!facts) {
        return fail(facts.error());
    }
    const Result<int, OsError> copy = duplicate_file(file, injection);
    if (!copy) {
        return fail(copy.error());
    }
    SharedFile shared(*copy, *facts);
    // Tried where it replaces nothing: up to some Linux, a MAP_FIXED that a file refuses (seals, access, huge pages) has
    // made a hole where it was to be.
    void* view = MAP_FAILED;
    const int error = made(injection, [&] {
        view = ::mmap(nullptr, facts->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *copy, 0);
        return view == MAP_FAILED ? -1 : 0;
    });
    if (error != 0) {
        return failed("mmap", error);
    }
    ::munmap(view, facts->bytes);
    return shared;
}

SharedFile::~SharedFile() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

}  // namespace granule
