#include "tests/kernel/inside/probe_error.hpp"

#include <string>
#include <system_error>

namespace granule::kernel_test {

ProbeError::ProbeError(const std::string& where, const std::string& what, int error)
    : std::runtime_error(where + ": " + what + ": " + std::generic_category().message(error)) {}

}  // namespace granule::kernel_test
