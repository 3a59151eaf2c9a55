// Why something about the kernel could not be read: one exception for everything in this folder.
//
// The text names what was wanted, where, and why it failed, so that a test may let it fly to the end of the program:
// "/proc/kcore: read of 0x1000 bytes at PA 0x45a00000: no RAM segment holds it".
//
// These are programs of the test tier: they use exceptions, unlike the library.
#pragma once

#include <stdexcept>
#include <string>

namespace granule::kernel_test {

class ProbeError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;

    // "where: what: strerror(error)"
    ProbeError(const std::string& where, const std::string& what, int error);
};

}  // namespace granule::kernel_test
