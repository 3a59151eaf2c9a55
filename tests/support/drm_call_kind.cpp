#include "tests/support/drm_call_kind.hpp"

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"

namespace granule::test {
namespace {

constexpr std::size_t kMostErrors = 6;

struct Row {
    DrmCallKind kind = DrmCallKind::kOther;
    const char* name = "";
    unsigned long panthor = 0;  // the ioctl; 0: none
    unsigned long panfrost = 0;
    bool gives_back = false;
    std::array<int, kMostErrors> errors{};  // up to the first 0
};

constexpr std::array kRows{
    Row{DrmCallKind::kOpen, "open", 0, 0, false, {ENOENT, EACCES, EMFILE, ENOMEM, ENODEV}},
    Row{DrmCallKind::kDuplicate, "dup", 0, 0, false, {EMFILE, EBADF}},
    Row{DrmCallKind::kVersion, "VERSION", 0, 0, false, {ENOMEM, EACCES, ENODEV}},
    Row{DrmCallKind::kMap, "mmap", 0, 0, false, {ENOMEM, EINVAL, EACCES, ENODEV}},
    Row{DrmCallKind::kReadText, "read", 0, 0, false, {ENOENT, EACCES, EIO}},
    Row{DrmCallKind::kCloseHandle, "GEM_CLOSE", 0, 0, true, {ENODEV, EINVAL}},
    Row{DrmCallKind::kExportHandle, "PRIME_HANDLE_TO_FD", 0, 0, false, {ENOMEM, EMFILE, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kImportHandle, "PRIME_FD_TO_HANDLE", 0, 0, false, {ENOMEM, EINVAL, EBADF, ENOSPC, ENODEV}},
    Row{DrmCallKind::kDmaBufBytes, "lseek", 0, 0, false, {EINVAL, ESPIPE, EBADF}},
    Row{DrmCallKind::kSyncobjCreate, "SYNCOBJ_CREATE", 0, 0, false, {ENOMEM, EOPNOTSUPP, ENODEV}},
    Row{DrmCallKind::kSyncobjDestroy, "SYNCOBJ_DESTROY", 0, 0, true, {ENODEV, EINVAL}},
    Row{DrmCallKind::kSyncobjExport, "SYNCOBJ_HANDLE_TO_FD", 0, 0, false, {ENOMEM, EMFILE, EINVAL, ENODEV}},
    Row{DrmCallKind::kSyncobjImport, "SYNCOBJ_FD_TO_HANDLE", 0, 0, false, {ENOMEM, EINVAL, EBADF, ENODEV}},
    Row{DrmCallKind::kSyncobjWait, "SYNCOBJ_TIMELINE_WAIT", 0, 0, false, {ETIME, ENOMEM, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kSyncobjSignal, "SYNCOBJ_TIMELINE_SIGNAL", 0, 0, false, {ENOMEM, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kSyncobjQuery, "SYNCOBJ_QUERY", 0, 0, false, {ENOMEM, EINVAL, ENOENT, ENODEV}},

    Row{DrmCallKind::kDevQuery, "DEV_QUERY", panthor::kDevQuery, 0, false, {EINVAL, EFAULT, ENODEV}},
    Row{DrmCallKind::kVmCreate, "VM_CREATE", panthor::kVmCreate, 0, false, {ENOMEM, EBUSY, EINVAL, ENODEV}},
    Row{DrmCallKind::kVmDestroy, "VM_DESTROY", panthor::kVmDestroy, 0, true, {ENODEV, EINVAL}},
    Row{DrmCallKind::kVmBind, "VM_BIND", panthor::kVmBind, 0, false, {ENOMEM, EINVAL, EFAULT, EBUSY, EIO, ENODEV}},
    Row{DrmCallKind::kVmGetState, "VM_GET_STATE", panthor::kVmGetState, 0, false, {ENODEV, EINVAL}},
    Row{DrmCallKind::kBoCreate, "BO_CREATE", panthor::kBoCreate, 0, false, {ENOMEM, EINVAL, ENOSPC, EFBIG, ENODEV}},
    Row{DrmCallKind::kBoMmapOffset,
        "BO_MMAP_OFFSET",
        panthor::kBoMmapOffset,
        0,
        false,
        {ENOMEM, ENOENT, EPERM, ENOSPC, ENODEV}},
    Row{DrmCallKind::kBoSetLabel,
        "BO_SET_LABEL",
        panthor::kBoSetLabel,
        0,
        false,
        {ENOMEM, ENOENT, E2BIG, EINVAL, ENODEV}},
    Row{DrmCallKind::kSetUserMmioOffset,
        "SET_USER_MMIO_OFFSET",
        panthor::kSetUserMmioOffset,
        0,
        false,
        {EINVAL, ENODEV}},
    Row{DrmCallKind::kBoSync, "BO_SYNC", panthor::kBoSync, 0, false, {ENOMEM, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kBoQueryInfo, "BO_QUERY_INFO", panthor::kBoQueryInfo, 0, false, {ENOENT, EINVAL, ENODEV}},

    Row{DrmCallKind::kWaitBo, "WAIT_BO", 0, panfrost::kWaitBo, false, {ETIMEDOUT, EBUSY, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kCreateBo, "CREATE_BO", 0, panfrost::kCreateBo, false, {ENOMEM, ENOSPC, EINVAL, ENODEV}},
    Row{DrmCallKind::kMmapBo, "MMAP_BO", 0, panfrost::kMmapBo, false, {ENOMEM, ENOSPC, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kGetParam, "GET_PARAM", 0, panfrost::kGetParam, false, {EINVAL, ENODEV}},
    Row{DrmCallKind::kGetBoOffset, "GET_BO_OFFSET", 0, panfrost::kGetBoOffset, false, {EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kMadvise, "MADVISE", 0, panfrost::kMadvise, false, {EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kSetLabelBo,
        "SET_LABEL_BO",
        0,
        panfrost::kSetLabelBo,
        false,
        {ENOMEM, ENOENT, E2BIG, EINVAL, ENODEV}},
    Row{DrmCallKind::kSyncBo, "SYNC_BO", 0, panfrost::kSyncBo, false, {ENOMEM, EINVAL, ENOENT, ENODEV}},
    Row{DrmCallKind::kQueryBoInfo, "QUERY_BO_INFO", 0, panfrost::kQueryBoInfo, false, {ENOENT, EINVAL, ENODEV}},
    Row{DrmCallKind::kOther, "another ioctl", 0, 0, false, {}},
};
static_assert(kRows.size() == kDrmCallKinds);

constexpr bool in_order() noexcept {
    for (std::size_t i = 0; i < kRows.size(); ++i) {
        if (static_cast<std::size_t>(kRows[i].kind) != i) {
            return false;
        }
    }
    return true;
}
static_assert(in_order());

const Row& row_of(DrmCallKind kind) noexcept {
    return kRows[static_cast<std::size_t>(kind)];
}

}  // namespace

const char* to_string(DrmCallKind kind) noexcept {
    return row_of(kind).name;
}

DrmCallKind ioctl_kind(DrmDriver driver, unsigned long request) noexcept {
    // By its number alone, as the DRM core: arguments grow.
    constexpr unsigned long kNumber = 0xff;
    for (const Row& row : kRows) {
        const unsigned long known = driver == DrmDriver::kPanthor ? row.panthor : row.panfrost;
        if (known != 0 && (known & kNumber) == (request & kNumber)) {
            return row.kind;
        }
    }
    return DrmCallKind::kOther;
}

std::span<const int> possible_errors(DrmCallKind kind) noexcept {
    const std::array<int, kMostErrors>& errors = row_of(kind).errors;
    std::size_t count = 0;
    while (count < errors.size() && errors[count] != 0) {
        ++count;
    }
    return {errors.data(), count};
}

bool gives_back(DrmCallKind kind) noexcept {
    return row_of(kind).gives_back;
}

}  // namespace granule::test
