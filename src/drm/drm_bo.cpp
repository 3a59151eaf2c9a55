#include "src/drm/drm_bo.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "src/backend/cpu_view.hpp"
#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"

namespace granule {
namespace {

static_assert(panthor::kMaxLabelBytes == panfrost::kMaxLabelBytes);

// What panfrost makes of the size of a BO that grows (panfrost_gem.c, panfrost_gem_create: ALIGN to SZ_2M).
constexpr std::uint64_t kHeapBytes = kBlock2MBytes;

std::uint64_t user_address(const void* object) noexcept {
    return reinterpret_cast<std::uintptr_t>(object);
}

Status status_of_create(int error, DrmDriver driver) noexcept {
    switch (error) {
        case 0:
            return Status::kOk;
        case EINVAL:
            return Status::kBadArgument;
        case ENOSPC:  // panfrost's own VA; else that of the tmpfs
            return driver == DrmDriver::kPanfrost ? Status::kOutOfVa : Status::kOutOfDeviceMemory;
        case ENOMEM:
            return Status::kOutOfDeviceMemory;
        default:
            return Status::kOsFailed;
    }
}

// Of asking for an offset and of mmap. NO_MMAP is EPERM where the offset is asked for, up to Linux 6.12 EINVAL of mmap.
Status status_of_map(int error) noexcept {
    switch (error) {
        case ENOMEM:
            return Status::kOutOfHostMemory;
        case EPERM:
        case EACCES:
        case EINVAL:
            return Status::kNotSupported;
        default:
            return Status::kOsFailed;
    }
}

// What no kernel does, or not this one: known before it is asked.
Status check_request(const BoRequest& request, const KernelFacts& facts) noexcept {
    if (request.cpu_cached && (!request.cpu_visible || request.grows_on_fault)) {
        return Status::kBadArgument;  // there is no CPU view
    }
    if (request.cpu_cached && !facts.cpu_cached_bos) {
        return Status::kNotSupported;
    }
    if (facts.driver == DrmDriver::kPanthor) {
        return request.grows_on_fault ? Status::kNotSupported : Status::kOk;
    }
    if (request.only_for_vm != 0) {
        return Status::kNotSupported;  // a file has one VM
    }
    if (request.grows_on_fault && request.executable) {
        return Status::kBadArgument;
    }
    const std::uint64_t least = request.grows_on_fault ? kHeapBytes : kPageBytes;
    return request.bytes > panfrost::kEndVa - least ? Status::kOutOfVa : Status::kOk;  // its size is an u32
}

}  // namespace

DrmBoBackend::DrmBoBackend(DrmFile& file, const KernelFacts& facts, NodeMemory nodes) noexcept
    : file_(file), facts_(facts), by_gem_(nodes) {}

int DrmBoBackend::create_panthor(Bo& bo, const BoRequest& request) noexcept {
    drm_panthor_bo_create create;
    create.size = request.bytes;
    create.flags = (request.cpu_visible ? 0 : panthor::kBoNoMmap) | (request.cpu_cached ? panthor::kBoCached : 0);
    create.exclusive_vm_id = request.only_for_vm;
    if (const int error = file_.ioctl(panthor::kBoCreate, create); error != 0) {
        return error;
    }
    bo.gem = create.handle;
    bo.size = create.size;
    bo.cpu_visible = request.cpu_visible;
    return 0;
}

int DrmBoBackend::create_panfrost(Bo& bo, const BoRequest& request) noexcept {
    drm_panfrost_create_bo create;
    bo.size = align_up(request.bytes, request.grows_on_fault ? kHeapBytes : kPageBytes);
    create.size = static_cast<std::uint32_t>(bo.size);
    create.flags = (request.executable ? 0 : panfrost::kBoNoexec) | (request.grows_on_fault ? panfrost::kBoHeap : 0) |
                   (request.cpu_cached ? panfrost::kBoCached : 0);
    if (const int error = file_.ioctl(panfrost::kCreateBo, create); error != 0) {
        return error;
    }
    bo.gem = create.handle;
    bo.kernel_va = Va{create.offset};
    bo.kernel_flags.noexec = !request.executable;
    bo.grows_on_fault = request.grows_on_fault;
    bo.cpu_visible = request.cpu_visible && !request.grows_on_fault;
    return 0;
}

Result<void, OsError> DrmBoBackend::create(Bo& bo, const BoRequest& request) noexcept {
    if (const Status status = check_request(request, facts_); status != Status::kOk) {
        return fail(OsError{status, "", 0});
    }
    const bool panthor = facts_.driver == DrmDriver::kPanthor;
    if (const int error = panthor ? create_panthor(bo, request) : create_panfrost(bo, request); error != 0) {
        return fail(OsError{status_of_create(error, facts_.driver), panthor ? "BO_CREATE" : "CREATE_BO", error});
    }
    const std::lock_guard lock(mutex_);
    if (owner_of(bo.gem) != nullptr) {
        ++failed_closes_;  // the number is free again: its BO's handle was closed by somebody else
    }
    if (!remember(bo)) {
        file_.calls().close_handle(file_.fd(), bo.gem);
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    return {};
}

bool DrmBoBackend::remember(Bo& bo) noexcept {
    while (by_gem_.size() <= bo.gem) {
        if (!by_gem_.push(nullptr)) {
            return false;
        }
    }
    if (by_gem_[bo.gem] == nullptr) {
        ++open_handles_;
    }
    by_gem_[bo.gem] = &bo;
    return true;
}

Bo* DrmBoBackend::owner_of(std::uint32_t gem) const noexcept {
    return gem < by_gem_.size() ? by_gem_[gem] : nullptr;
}

void DrmBoBackend::destroy(Bo& bo) noexcept {
    const std::lock_guard lock(mutex_);
    if (owner_of(bo.gem) != &bo) {
        return;  // an import has taken the handle over
    }
    by_gem_[bo.gem] = nullptr;
    --open_handles_;
    if (file_.calls().close_handle(file_.fd(), bo.gem) != 0) {
        ++failed_closes_;
    }
}

Result<void, OsError> DrmBoBackend::query_info(Bo& bo) const noexcept {
    if (facts_.driver == DrmDriver::kPanthor) {
        drm_panthor_bo_query_info query;
        query.handle = bo.gem;
        if (const int error = file_.ioctl(panthor::kBoQueryInfo, query); error != 0) {
            return fail(OsError{Status::kOsFailed, "BO_QUERY_INFO", error});
        }
        bo.imported = (query.extra_flags & panthor::kBoImported) != 0;
        bo.cpu_visible = (query.create_flags & panthor::kBoNoMmap) == 0;
        return {};
    }
    drm_panfrost_query_bo_info query;
    query.handle = bo.gem;
    if (const int error = file_.ioctl(panfrost::kQueryBoInfo, query); error != 0) {
        return fail(OsError{Status::kOsFailed, "QUERY_BO_INFO", error});
    }
    bo.imported = (query.extra_flags & panfrost::kBoImported) != 0;
    bo.grows_on_fault = (query.create_flags & panfrost::kBoHeap) != 0;
    bo.kernel_flags.noexec = bo.imported || (query.create_flags & panfrost::kBoNoexec) != 0;
    bo.cpu_visible = !bo.grows_on_fault;
    return {};
}

Result<void, OsError> DrmBoBackend::describe_import(Bo& bo, int dma_buf) const noexcept {
    if (const int error = file_.calls().dma_buf_bytes(dma_buf, bo.size); error != 0) {
        return fail(OsError{Status::kOsFailed, "lseek", error});
    }
    if (bo.size == 0 || bo.size > kMaxVaEnd || !is_aligned(bo.size, kPageBytes)) {
        return fail(OsError{Status::kBadArgument, "lseek", 0});
    }
    // An object of this driver that came back through a dma-buf is what it was; who cannot be asked is taken for foreign.
    bo.imported = true;
    // panfrost_gem.c, panfrost_gem_prime_import_sg_table
    bo.kernel_flags.noexec = facts_.driver == DrmDriver::kPanfrost;
    if (facts_.bo_query_info) {
        if (const Result<void, OsError> queried = query_info(bo); !queried) {
            return queried;
        }
    }
    if (facts_.driver == DrmDriver::kPanfrost) {
        drm_panfrost_get_bo_offset get;
        get.handle = bo.gem;
        if (const int error = file_.ioctl(panfrost::kGetBoOffset, get); error != 0) {
            return fail(OsError{Status::kOsFailed, "GET_BO_OFFSET", error});
        }
        bo.kernel_va = Va{get.offset};
    }
    return {};
}

Result<BoId, OsError> DrmBoBackend::import(BoTable& bos, int dma_buf, std::uint64_t made_by) noexcept {
    const std::lock_guard lock(mutex_);
    std::uint32_t gem = 0;
    if (const int error = file_.calls().import_handle(file_.fd(), dma_buf, gem); error != 0) {
        return fail(OsError{Status::kOsFailed, "PRIME_FD_TO_HANDLE", error});
    }
    const Bo* const owner = owner_of(gem);
    if (owner != nullptr && bos.retain_if_live(owner->id, 1) != nullptr) {
        return owner->id;
    }
    // An owner that is left here ends: it waits in `destroy` for the lock, and stays until it has it.
    const Result<BoId, OsError> id = bos.adopt(made_by, [&](Bo& bo) noexcept -> Result<void, OsError> {
        bo.gem = gem;
        if (owner != nullptr) {
            bo.size = owner->size;
            bo.imported = owner->imported;
            bo.cpu_visible = owner->cpu_visible;
            bo.grows_on_fault = owner->grows_on_fault;
            bo.kernel_va = owner->kernel_va;
            bo.kernel_flags = owner->kernel_flags;
        } else if (const Result<void, OsError> described = describe_import(bo, dma_buf); !described) {
            return described;
        }
        if (!remember(bo)) {
            return fail(OsError{Status::kOutOfHostMemory, "", 0});
        }
        return {};
    });
    if (!id && owner == nullptr) {
        file_.calls().close_handle(file_.fd(), gem);
    }
    return id;
}

Result<int, OsError> DrmBoBackend::export_dma_buf(const Bo& bo) noexcept {
    int dma_buf = -1;
    if (const int error = file_.calls().export_handle(file_.fd(), bo.gem, dma_buf); error != 0) {
        return fail(OsError{Status::kOsFailed, "PRIME_HANDLE_TO_FD", error});
    }
    return dma_buf;
}

int DrmBoBackend::find_mmap_offset(Bo& bo) noexcept {
    if (bo.mmap_offset) {
        return 0;
    }
    std::uint64_t offset = 0;
    int error = 0;
    if (facts_.driver == DrmDriver::kPanthor) {
        drm_panthor_bo_mmap_offset get;
        get.handle = bo.gem;
        error = file_.ioctl(panthor::kBoMmapOffset, get);
        offset = get.offset;
    } else {
        drm_panfrost_mmap_bo get;
        get.handle = bo.gem;
        error = file_.ioctl(panfrost::kMmapBo, get);
        offset = get.offset;
    }
    if (error == 0) {
        bo.mmap_offset = offset;
    }
    return error;
}

Result<std::byte*, Status> DrmBoBackend::map_cpu(Bo& bo) noexcept {
    if (!bo.cpu_visible) {
        return fail(Status::kNotSupported);
    }
    int error = find_mmap_offset(bo);
    std::byte* cpu = nullptr;
    if (error == 0) {
        error = file_.calls().map(file_.fd(), *bo.mmap_offset, bo.size, PROT_READ | PROT_WRITE, cpu);
    }
    if (error != 0) {
        return fail(status_of_map(error));
    }
    return cpu;
}

void DrmBoBackend::unmap_cpu(Bo& bo, std::byte* cpu) noexcept {
    file_.calls().unmap(cpu, bo.size);
}

Status DrmBoBackend::map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept {
    if (!bo.cpu_visible) {
        return Status::kNotSupported;
    }
    if (const int error = find_mmap_offset(bo); error != 0) {
        return status_of_map(error);
    }
    const int error = file_.calls().map_at(file_.fd(), *bo.mmap_offset, bo.size, protection_of(access), where);
    if (error != 0) {
        close_hole(where, bo.size);
        return status_of_map(error);
    }
    return Status::kOk;
}

void DrmBoBackend::set_label(const Bo& bo, std::string_view label) noexcept {
    if (!facts_.labels) {
        return;
    }
    std::array<char, panthor::kMaxLabelBytes> text;  // ends with a NUL
    const std::size_t bytes = utf8_prefix(label, text.size() - 1);
    std::copy_n(label.begin(), bytes, text.begin());
    text[bytes] = '\0';
    const std::uint64_t address = bytes == 0 ? 0 : user_address(text.data());
    if (facts_.driver == DrmDriver::kPanthor) {
        drm_panthor_bo_set_label set;
        set.handle = bo.gem;
        set.label = address;
        static_cast<void>(file_.ioctl(panthor::kBoSetLabel, set));
    } else {
        drm_panfrost_set_label_bo set;
        set.handle = bo.gem;
        set.label = address;
        static_cast<void>(file_.ioctl(panfrost::kSetLabelBo, set));
    }
}

int DrmBoBackend::sync_panthor(std::span<const CacheSync> parts) noexcept {
    std::array<drm_panthor_bo_sync_op, kPartsOfSync> ops;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        drm_panthor_bo_sync_op op;
        op.handle = parts[i].bo->gem;
        op.type = parts[i].operation == CacheOp::kFlush ? panthor::kBoSyncFlush : panthor::kBoSyncFlushAndInvalidate;
        op.offset = parts[i].offset.raw();
        op.size = parts[i].bytes;
        ops[i] = op;
    }
    drm_panthor_bo_sync sync;
    sync.ops = {sizeof ops[0], static_cast<std::uint32_t>(parts.size()), user_address(ops.data())};
    return file_.ioctl(panthor::kBoSync, sync);
}

int DrmBoBackend::sync_panfrost(std::span<const CacheSync> parts) noexcept {
    std::array<drm_panfrost_bo_sync_op, kPartsOfSync> ops;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        drm_panfrost_bo_sync_op op;
        op.handle = parts[i].bo->gem;
        op.type = parts[i].operation == CacheOp::kFlush ? panfrost::kBoSyncFlush : panfrost::kBoSyncFlushAndInvalidate;
        op.offset = static_cast<std::uint32_t>(parts[i].offset.raw());
        op.size = static_cast<std::uint32_t>(parts[i].bytes);
        ops[i] = op;
    }
    drm_panfrost_sync_bo sync;
    sync.ops = user_address(ops.data());
    sync.op_count = static_cast<std::uint32_t>(parts.size());
    return file_.ioctl(panfrost::kSyncBo, sync);
}

Result<void, OsError> DrmBoBackend::sync(std::span<const CacheSync> parts) noexcept {
    if (const Result<void, OsError> checked = check_parts(parts); !checked) {
        return checked;
    }
    const bool imported =
        std::any_of(parts.begin(), parts.end(), [](const CacheSync& part) { return part.bo->imported; });
    if (!facts_.cpu_cached_bos || imported) {
        return fail(OsError{Status::kNotSupported, "", 0});
    }
    const bool panthor = facts_.driver == DrmDriver::kPanthor;
    while (!parts.empty()) {
        const std::span<const CacheSync> now = parts.first(std::min(parts.size(), kPartsOfSync));
        if (const int error = panthor ? sync_panthor(now) : sync_panfrost(now); error != 0) {
            return fail(OsError{Status::kOsFailed, panthor ? "BO_SYNC" : "SYNC_BO", error});
        }
        parts = parts.subspan(now.size());
    }
    return {};
}

Result<bool, OsError> DrmBoBackend::set_evictable(const Bo& bo, bool evictable) noexcept {
    if (facts_.driver != DrmDriver::kPanfrost) {
        return fail(OsError{Status::kNotSupported, "", 0});
    }
    drm_panfrost_madvise advise;
    advise.handle = bo.gem;
    advise.madv = evictable ? panfrost::kMadviseDontNeed : panfrost::kMadviseWillNeed;
    if (const int error = file_.ioctl(panfrost::kMadvise, advise); error != 0) {
        return fail(OsError{Status::kOsFailed, "MADVISE", error});
    }
    return advise.retained != 0;
}

Result<void, OsError> DrmBoBackend::wait(const Bo& bo, std::int64_t timeout_ns) noexcept {
    if (facts_.driver != DrmDriver::kPanfrost) {
        return fail(OsError{Status::kNotSupported, "", 0});
    }
    drm_panfrost_wait_bo wait;
    wait.handle = bo.gem;
    wait.timeout_ns = timeout_ns;
    switch (const int error = file_.ioctl(panfrost::kWaitBo, wait)) {
        case 0:
            return {};
        case ETIMEDOUT:
        case EBUSY:  // where the time was over before it began
            return fail(OsError{Status::kTimedOut, "WAIT_BO", error});
        default:
            return fail(OsError{Status::kOsFailed, "WAIT_BO", error});
    }
}

std::uint64_t DrmBoBackend::open_handles() const noexcept {
    const std::lock_guard lock(mutex_);
    return open_handles_;
}

std::uint64_t DrmBoBackend::failed_closes() const noexcept {
    const std::lock_guard lock(mutex_);
    return failed_closes_;
}

}  // namespace granule
