#include "src/c_api/vm_handle.hpp"

#include <array>
#include <optional>
#include <utility>

#include "src/c_api/text.hpp"

granule_vm::granule_vm(granule_device& device, const granule::ShortLabel& label, granule::c_api::VmParts parts) noexcept
    : DeviceChild(Kind::kVm, device, label),
      serial_(device.next_vm_serial()),
      observer_(std::move(parts.observer)),
      vm_(std::move(parts.vm)),
      activity_(parts.activity),
      queued_(*this, std::move(parts.queue_tail)) {}

void granule_vm::log(granule_log_level level, const char* what, const granule_error* error) const noexcept {
    device().log(level, [&](granule::c_api::TextWriter& out) {
        out.text("VM ").quoted(label().view()).text(": ").text(what);
        if (error != nullptr) {
            std::array<char, 384> detail{};
            static_cast<void>(granule_error_text(error, detail.data(), detail.size()));
            out.text(detail.data());
        }
    });
}

void granule_vm::tell_failure(const granule_error* error) noexcept {
    if (error != nullptr && error->partly_done != 0) {
        log(GRANULE_LOG_ERROR, "a bind failed, and what was done of it stays done: ", error);
    } else if (error != nullptr && error->status == GRANULE_STATUS_BACKEND_FAILED && error->vm_lost == 0) {
        log(GRANULE_LOG_WARNING, "a bind failed, and was undone: ", error);
    }
    const std::optional<granule::VmLoss> loss = vm_->lost_because();
    if (!loss || loss_told_.exchange(true, std::memory_order_relaxed)) {
        return;
    }
    if (loss->how == granule::VmLoss::How::kKernelLost) {
        log(GRANULE_LOG_ERROR, "it is lost: the kernel dropped the address space; granule_vm_rebuild()", nullptr);
        return;
    }
    granule_error undo{};
    undo.struct_size = sizeof(undo);
    undo.status = static_cast<std::int32_t>(loss->status);
    undo.os_error = loss->error;
    undo.op = GRANULE_NO_OP;
    log(GRANULE_LOG_ERROR, "it is lost: a bind could not be undone; granule_vm_rebuild(): ", &undo);
}
