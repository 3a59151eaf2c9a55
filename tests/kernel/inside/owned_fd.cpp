#include "tests/kernel/inside/owned_fd.hpp"

#include <unistd.h>

namespace granule::kernel_test {

OwnedFd::~OwnedFd() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

}  // namespace granule::kernel_test
