// bo.h: buffer objects.
#include <granule/bo.h>

#include <array>
#include <chrono>
#include <limits>
#include <mutex>
#include <span>
#include <string_view>

#include "src/array.hpp"
#include "src/c_api/bo_handle.hpp"
#include "src/c_api/bo_request.hpp"
#include "src/c_api/convert.hpp"
#include "src/c_api/device_handle.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/text.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/drm/syncobj_timeline.hpp"

namespace granule::c_api {
namespace {

static_assert(GRANULE_CPU_CACHE_FLUSH == static_cast<int>(CacheOp::kFlush));
static_assert(GRANULE_CPU_CACHE_FLUSH_AND_INVALIDATE == static_cast<int>(CacheOp::kFlushAndInvalidate));

// Why this is no description of a BO of `device`; nullptr: it is one.
const char* wrong_in(const granule_bo_info& info, const granule_device& device) noexcept {
    if (const char* const why = wrong_bo_flags(info.flags)) {
        return why;
    }
    if (info.size == 0 || info.size > kMaxVaEnd) {
        return "size is 0, or more than any VM has";
    }
    if (info.only_for != nullptr && (info.flags & GRANULE_BO_SHAREABLE) != 0) {
        return "only_for and GRANULE_BO_SHAREABLE exclude each other";
    }
    if (info.only_for != nullptr && &info.only_for->device() != &device) {
        return "only_for is a VM of another device";
    }
    return nullptr;
}

// A BO that was just made, with its name and its handle.
granule_status finish(Bo& bo, const char* label, granule_bo** handle, const ErrorOut& out) noexcept {
    if (label != nullptr) {
        if (const Status labelled = bo.table.set_label(bo, label); labelled != Status::kOk) {
            bo.table.release(bo, 1);
            return out.fail(labelled);
        }
    }
    *handle = hand_out(bo);
    return GRANULE_STATUS_OK;
}

const char* wrong_in(const granule_bo_part& part, const granule_device& device) noexcept {
    if (part.bo == nullptr) {
        return "the BO of a part is NULL";
    }
    if (&device_of(to_bo(part.bo)) != &device) {
        return "a BO of another device";
    }
    if (part.operation > GRANULE_CPU_CACHE_FLUSH_AND_INVALIDATE) {
        return "operation is no granule_cpu_cache_op";
    }
    return nullptr;
}

}  // namespace
}  // namespace granule::c_api

using granule::Bo;
using granule::c_api::ErrorOut;
using granule::c_api::to_bo;

granule_status granule_bo_create(granule_device* device, const granule_bo_info* info, granule_bo** bo,
                                 granule_error* error) {
    const ErrorOut out(error);
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    *bo = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr || info == nullptr) {
        return out.bad("device or info is NULL");
    }
    granule_bo_info ours{};
    if (const char* const why = granule::c_api::read_struct(info, ours)) {
        return out.bad(why);
    }
    if (const char* const why = granule::c_api::wrong_in(ours, *device)) {
        return out.bad(why);
    }
    granule::BoRequest request = granule::c_api::to_bo_request(ours.flags);
    request.bytes = ours.size;
    request.made_by = ours.mark;
    if (ours.only_for != nullptr) {
        request.only_for_vm = ours.only_for->vm().kernel_id();
    }
    const granule::Result<granule::BoId, granule::OsError> made = device->device().create_bo(request);
    if (!made) {
        return out.from(made.error());
    }
    Bo& created = *device->device().bos().find(*made);
    created.only_for = ours.only_for != nullptr ? ours.only_for->serial() : 0;
    return granule::c_api::finish(created, ours.label, bo, out);
}

granule_bo* granule_bo_ref(granule_bo* bo) {
    return bo == nullptr ? nullptr : granule::c_api::hand_out_one_more(to_bo(bo));
}

void granule_bo_unref(granule_bo* bo) {
    if (bo != nullptr) {
        granule::c_api::take_back(to_bo(bo));
    }
}

granule_status granule_bo_import(granule_device* device, int fd, granule_bo** bo, granule_error* error) {
    const ErrorOut out(error);
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    *bo = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr || fd < 0) {
        return out.bad("device is NULL, or fd is no open file");
    }
    const granule::Result<granule::BoId, granule::OsError> imported = device->device().import_bo(fd);
    if (!imported) {
        return imported.error().status == granule::Status::kBadArgument
                   ? out.bad("fd is no file whose memory can be shared")
                   : out.from(imported.error());
    }
    *bo = granule::c_api::hand_out(*device->device().bos().find(*imported));
    return GRANULE_STATUS_OK;
}

granule_status granule_bo_export(granule_bo* bo, int* fd, granule_error* error) {
    const ErrorOut out(error);
    if (fd == nullptr) {
        return out.bad("fd is NULL");
    }
    *fd = -1;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    if (!to_bo(bo).shareable) {
        return out.bad("the BO was made without GRANULE_BO_SHAREABLE");
    }
    const granule::Result<int, granule::OsError> file =
        granule::c_api::device_of(to_bo(bo)).device().export_bo(to_bo(bo));
    if (!file) {
        return out.from(file.error());
    }
    *fd = *file;
    return GRANULE_STATUS_OK;
}

granule_status granule_bo_map(granule_bo* bo, void** cpu, granule_error* error) {
    const ErrorOut out(error);
    if (cpu == nullptr) {
        return out.bad("cpu is NULL");
    }
    *cpu = nullptr;
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    Bo& ours = to_bo(bo);
    if (!ours.cpu_visible) {
        return out.fail(granule::Status::kNotSupported, "the BO has no CPU view");
    }
    const granule::Result<std::byte*, granule::Status> view = ours.table.map_cpu(ours);
    if (!view) {
        return out.fail(view.error());
    }
    *cpu = *view;
    return GRANULE_STATUS_OK;
}

granule_status granule_bo_map_at(granule_bo* bo, void* where, int writable, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (bo == nullptr || where == nullptr) {
        return out.bad("bo or where is NULL");
    }
    if (reinterpret_cast<std::uintptr_t>(where) % granule::kPageBytes != 0) {
        return out.bad("where is not a multiple of 4096");
    }
    Bo& ours = to_bo(bo);
    if (!ours.cpu_visible) {
        return out.fail(granule::Status::kNotSupported, "the BO has no CPU view");
    }
    const granule::CpuAccess access = writable != 0 ? granule::CpuAccess::kReadWrite : granule::CpuAccess::kReadOnly;
    const granule::Status mapped = ours.table.map_cpu_at(ours, static_cast<std::byte*>(where), access);
    return mapped == granule::Status::kOk ? GRANULE_STATUS_OK : out.fail(mapped);
}

granule_status granule_bo_sync(granule_device* device, const granule_bo_part* parts, uint32_t count,
                               granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (device == nullptr || (parts == nullptr && count != 0)) {
        return out.bad("device or parts is NULL");
    }
    granule::Array<granule::CacheSync> syncs(device->nodes());
    if (!syncs.reserve(count)) {
        return out.fail(granule::Status::kOutOfHostMemory);
    }
    const std::span<const granule_bo_part> all(parts, count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const granule_bo_part& part = all[i];
        if (const char* const why = granule::c_api::wrong_in(part, *device)) {
            return out.bad(why, i);
        }
        const std::uint64_t whole = to_bo(part.bo).size;
        if (part.offset > whole || part.size > whole - part.offset) {
            return out.fail(granule::Status::kOutOfRange, "a part is not inside its BO", i);
        }
        if (part.size == 0) {
            continue;
        }
        const bool pushed = syncs.push({&to_bo(part.bo), granule::BoOffset{part.offset}, part.size,
                                        static_cast<granule::CacheOp>(part.operation)});
        if (!pushed) {
            return out.fail(granule::Status::kOutOfHostMemory);
        }
    }
    const granule::Result<void, granule::OsError> done = device->device().sync_caches(syncs.view());
    return done ? GRANULE_STATUS_OK : out.from(done.error());
}

granule_status granule_bo_set_label(granule_bo* bo, const char* label) {
    if (bo == nullptr) {
        return GRANULE_STATUS_BAD_ARGUMENT;
    }
    return granule::c_api::to_c(to_bo(bo).table.set_label(to_bo(bo), granule::c_api::view_of(label)));
}

size_t granule_bo_get_label(const granule_bo* bo, char* label, size_t size) {
    granule::c_api::TextWriter out(label, size);
    if (bo != nullptr) {
        const std::lock_guard lock(to_bo(bo).label_mutex);
        out.text({to_bo(bo).label.begin(), to_bo(bo).label.size()});
    }
    return out.finish();
}

granule_status granule_bo_wait(granule_bo* bo, uint64_t timeout_ns, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    const std::int64_t until = granule::monotonic_deadline(granule::c_api::to_timeout(timeout_ns));
    const granule::Result<void, granule::OsError> idle =
        granule::c_api::device_of(to_bo(bo)).device().wait_bo(to_bo(bo), until);
    return idle ? GRANULE_STATUS_OK : out.from(idle.error());
}

granule_status granule_bo_set_evictable(granule_bo* bo, int evictable, int* retained, granule_error* error) {
    const ErrorOut out(error);
    if (const char* const why = out.unusable()) {
        return out.bad(why);
    }
    if (bo == nullptr) {
        return out.bad("bo is NULL");
    }
    const granule::Result<bool, granule::OsError> kept =
        granule::c_api::device_of(to_bo(bo)).device().set_evictable(to_bo(bo), evictable != 0);
    if (!kept) {
        return out.from(kept.error());
    }
    if (retained != nullptr) {
        *retained = *kept ? 1 : 0;
    }
    return GRANULE_STATUS_OK;
}

uint64_t granule_bo_size(const granule_bo* bo) {
    return bo == nullptr ? 0 : to_bo(bo).size;
}

uint32_t granule_bo_id(const granule_bo* bo) {
    return bo == nullptr ? 0 : static_cast<std::uint32_t>(to_bo(bo).id);
}

uint32_t granule_bo_gem_handle(const granule_bo* bo) {
    return bo == nullptr ? 0 : to_bo(bo).gem;
}

int granule_bo_is_imported(const granule_bo* bo) {
    return bo != nullptr && to_bo(bo).imported ? 1 : 0;
}

uint64_t granule_bo_mark(const granule_bo* bo) {
    return bo == nullptr ? 0 : to_bo(bo).made_by;
}

void granule_bo_set_user_data(granule_bo* bo, void* data) {
    if (bo != nullptr) {
        to_bo(bo).user.store(data, std::memory_order_release);
    }
}

void* granule_bo_get_user_data(const granule_bo* bo) {
    return bo == nullptr ? nullptr : to_bo(bo).user.load(std::memory_order_acquire);
}

void* granule_bo_exchange_user_data(granule_bo* bo, void* expected, void* data) {
    if (bo == nullptr) {
        return nullptr;
    }
    // Where it is another, `was` becomes that.
    void* was = expected;
    to_bo(bo).user.compare_exchange_strong(was, data, std::memory_order_acq_rel, std::memory_order_acquire);
    return was;
}
