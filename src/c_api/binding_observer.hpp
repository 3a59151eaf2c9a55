// Tells a caller's function what a VM shows, as it changes (granule_vm_info::on_binding).
//
// Thread-safety: called under the VM's lock.
#pragma once

#include <granule/vm.h>

#include "allocator/mapping.hpp"
#include "src/bind_observer.hpp"
#include "src/bo.hpp"

namespace granule::c_api {

class BindingObserver final : public BindObserver {
public:
    // `bos` outlives it.
    BindingObserver(granule_binding_function function, void* data, const BoTable& bos) noexcept
        : function_(function), data_(data), bos_(bos) {}

    void on_bind(const Mapping& mapping) noexcept override { tell(mapping, true); }
    void on_unbind(const Mapping& part, Removal::By /*how*/) noexcept override { tell(part, false); }

private:
    void tell(const Mapping& mapping, bool bound) const noexcept;

    const granule_binding_function function_;
    void* const data_;
    const BoTable& bos_;
};

}  // namespace granule::c_api
