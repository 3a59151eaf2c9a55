// inspect.h: the BOs of a device.
#include <granule/inspect.h>

#include <atomic>
#include <cstdint>

#include "mali/address.hpp"
#include "src/bo.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"

namespace granule::c_api {
namespace {

granule_bo_entry to_entry(const Bo& bo) noexcept {
    const std::uint64_t shown = bo.mapped_pages();
    const std::uint64_t references = bo.references();
    granule_bo_entry to{};
    to.struct_size = sizeof(to);
    to.id = static_cast<std::uint32_t>(bo.id);
    to.size = bo.size;
    to.mark = bo.made_by;
    // The two are of no one moment where another thread binds.
    to.holders = references > shown ? references - shown : 0;
    to.mapped_bytes = shown * kPageBytes;
    to.imported = bo.imported ? 1 : 0;
    to.cached = bo.cached.load(std::memory_order_relaxed) ? 1 : 0;
    copy_text(to.label, bo.table.short_label(bo.id).view());
    return to;
}

}  // namespace
}  // namespace granule::c_api

granule_status granule_device_walk_bos(const granule_device* device,
                                       int (*visit)(void* data, const granule_bo_entry* entry), void* data) {
    if (device == nullptr || visit == nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    bool ended = false;
    device->device().bos().for_each([&](const granule::Bo& bo) {
        if (!ended) {
            const granule_bo_entry entry = granule::c_api::to_entry(bo);
            ended = visit(data, &entry) != 0;
        }
    });
    return GRANULE_STATUS_OK;
}
