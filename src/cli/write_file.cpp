#include "src/cli/write_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "src/cli/exit_code.hpp"

namespace granule::cli {
namespace {

std::string reason(int error) {
    return std::generic_category().message(error);
}

// The permissions that open(2) would have given it; mkostemp gives 0600.
mode_t usual_permissions() {
    const mode_t mask = umask(0);
    umask(mask);
    return static_cast<mode_t>(0666) & ~mask;
}

// Of a file that is there; those of a new one otherwise.
mode_t permissions_at(const std::string& place) {
    struct stat there {};
    return stat(place.c_str(), &there) == 0 ? there.st_mode & static_cast<mode_t>(07777) : usual_permissions();
}

bool exists_and_is_no_regular_file(const std::string& path) {
    struct stat there {};
    return stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode);
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path), place_(path) {
    if (path == "-") {
        return;
    }
    if (exists_and_is_no_regular_file(path)) {
        fd_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd_ < 0) {
            fail_with(errno);
        }
        return;
    }
    std::error_code no_such_file;
    if (const auto target = std::filesystem::canonical(path, no_such_file); !no_such_file) {
        place_ = target;
    }
    temporary_ = place_ + ".XXXXXX";
    fd_ = mkostemp(temporary_.data(), O_CLOEXEC);
    if (fd_ < 0) {
        const int error = errno;
        temporary_.clear();
        fail_with(error);
    }
}

OutputFile::~OutputFile() {
    if (fd_ >= 0) {
        close(fd_);
    }
    if (!temporary_.empty()) {
        unlink(temporary_.c_str());
    }
}

void OutputFile::write(std::string_view content) {
    if (path_ == "-") {
        print(content);
        return;
    }
    while (!content.empty()) {
        const ssize_t written = ::write(fd_, content.data(), content.size());
        if (written < 0 && errno != EINTR) {
            fail_with(errno);
        }
        if (written > 0) {
            content.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    if (temporary_.empty()) {
        return;
    }
    if (fchmod(fd_, permissions_at(place_)) != 0 || fsync(fd_) != 0 ||
        rename(temporary_.c_str(), place_.c_str()) != 0) {
        fail_with(errno);
    }
    temporary_.clear();
}

void OutputFile::fail_with(int error) const {
    throw CommandError(ExitCode::kBadInput, path_ + ": cannot be written: " + reason(error) +
                                                ": --json needs a file in a directory that can be written, or -");
}

void print(std::string_view text) {
    // What fails here is kept by the stream for finish_output.
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), stdout));
}

void print_error(std::string_view text) {
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

void finish_output() {
    errno = 0;
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        throw CommandError(ExitCode::kBadInput,
                           "standard output: cannot be written: " + (errno != 0 ? reason(errno) : "write failed"));
    }
}

}  // namespace granule::cli
