// A file whose pages are the memory of a soft device's BO, so that several devices, or processes, have the same memory.
//
//     create      a new memfd of the BO's size, zeros, sealed against any other size: who imports it may rely on it
//     of          a duplicate of a file that somebody made; memfds and all other regular files of whole pages
//
// Thread-safety: look_at and the factories: any thread. Moving: none.
// Failure: which call failed, and its errno. kBadArgument: not a regular file, or none of whole pages. Nothing stays.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "mali/result.hpp"
#include "src/backend/injection.hpp"
#include "src/status.hpp"

namespace granule {

// Two descriptors with the same are the same file.
struct FileIdentity {
    dev_t device = 0;
    ino_t inode = 0;

    bool operator==(const FileIdentity&) const noexcept = default;
};

struct FileFacts {
    FileIdentity identity;
    std::uint64_t bytes = 0;  // whole pages, at least one
};

class SharedFile {
public:
    // `injection` may be null.
    [[nodiscard]] static Result<SharedFile, OsError> create(std::uint64_t bytes, Injection* injection) noexcept;
    [[nodiscard]] static Result<SharedFile, OsError> of(int file, Injection* injection) noexcept;
    // Of a file that stays its owner's.
    [[nodiscard]] static Result<FileFacts, OsError> look_at(int file, Injection* injection) noexcept;

    SharedFile(SharedFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)), facts_(other.facts_) {}
    SharedFile(const SharedFile&) = delete;
    SharedFile& operator=(const SharedFile&) = delete;
    SharedFile& operator=(SharedFile&&) = delete;
    ~SharedFile();

    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] const FileFacts& facts() const noexcept { return facts_; }
    // The caller's from now on.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

private:
    SharedFile(int fd, const FileFacts& facts) noexcept : fd_(fd), facts_(facts) {}

    int fd_;
    FileFacts facts_;
};

// A duplicate of `file`, close-on-exec.
[[nodiscard]] Result<int, OsError> duplicate_file(int file, Injection* injection) noexcept;

}  // namespace granule
