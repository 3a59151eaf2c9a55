// Who wants to know what a VM shows, as it changes: a driver's report of address bindings (Vulkan's
// VK_EXT_device_address_binding_report), a decoder of command streams that follows pointers.
//
// Told is what really happened, in order. Whoever writes the events down, page by page, always has the VM's mappings:
//
//     before        |------------- A -------------|
//     map B                 |---- B ----|
//     after         |-- A --|---- B ----|--- A ---|
//     told           unbind A [==========) by a map, then bind B; nothing of what stays of A, though a plan may have
//                    unmapped it and mapped it again
//
// - A call that fails tells nothing: neither what it had begun, nor that it was undone. Nor does a VM that is lost, or
//   `Vm::rebuild`: its mappings stay what they are. (Unmaps that are carried out one by one for want of memory are each
//   told when they are done; see src/vm.hpp.)
// - A transaction tells request by request, after all of it is done: also what one request maps and a later one of the
//   same takes away.
// - What is submitted is told when our state follows, at once: before the kernel carries it out.
// - The end of a VM unbinds all that is mapped, when the GPU cannot reach it any more.
//
// Nothing is allocated for it, and so nothing can fail (P4), because nothing has to be remembered for it: what one request
// takes, its VM still has when the backend is done; and a transaction, which changes our state first, keeps for its way
// back every mapping that was there and each that it made, which is what there is to tell. Events are made from that when
// there is no way back any more.
//
// Thread-safety: called under the VM's lock, by whoever called the VM: of one VM one call at a time. It must not call that
// VM. It may look at BOs: those of a part that goes are still there.
#pragma once

#include "allocator/mapping.hpp"
#include "src/journal.hpp"

namespace granule {

class BindObserver {
public:
    BindObserver() noexcept = default;
    BindObserver(const BindObserver&) = delete;
    BindObserver& operator=(const BindObserver&) = delete;
    BindObserver(BindObserver&&) = delete;
    BindObserver& operator=(BindObserver&&) = delete;
    virtual ~BindObserver() = default;

    // It is mapped, whole.
    virtual void on_bind(const Mapping& mapping) noexcept = 0;
    // A part of one mapping, or all of it, is not mapped any more. `shows` is what the part showed.
    virtual void on_unbind(const Mapping& part, Removal::By how) noexcept = 0;
};

}  // namespace granule
