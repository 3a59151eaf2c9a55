#include "src/replay/replayed_device.hpp"

namespace granule::replay {
namespace {

constexpr BindError kNotSupported{Status::kNotSupported};

}  // namespace

Result<BoId, BindError> ReplayedFile::create_mapped_bo(Vm& /*vm*/, const BoRequest& /*request*/) {
    return fail(kNotSupported);
}

Bound ReplayedFile::free_mapped_bo(Vm& /*vm*/, BoId /*bo*/) {
    return {fail(kNotSupported)};
}

}  // namespace granule::replay
