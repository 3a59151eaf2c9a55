#include "src/c_api/binding_observer.hpp"

#include "src/c_api/bo_handle.hpp"
#include "src/c_api/convert.hpp"

namespace granule::c_api {

void BindingObserver::tell(const Mapping& mapping, bool bound) const noexcept {
    granule_binding binding{};
    binding.struct_size = sizeof(binding);
    binding.bound = bound ? 1 : 0;
    binding.sparse = mapping.shows.sparse() ? 1 : 0;
    binding.va = to_c(mapping.va);
    binding.bo_id = static_cast<std::uint32_t>(mapping.shows.bo);
    binding.flags = to_c(mapping.shows.flags);
    binding.bo_offset = mapping.shows.offset.raw();
    // The pages that it shows, or showed until now, still hold it.
    if (Bo* const bo = mapping.shows.sparse() ? nullptr : bos_.find(mapping.shows.bo)) {
        binding.bo = to_handle(*bo);
    }
    function_(data_, &binding);
}

}  // namespace granule::c_api
