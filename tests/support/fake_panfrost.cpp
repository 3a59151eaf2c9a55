// panfrost's ioctls, and the VAs that it chooses: Linux drivers/gpu/drm/panfrost/panfrost_drv.c, panfrost_gem.c,
// panfrost_mmu.c.
#include <limits>
#include <optional>

#include "src/drm/panfrost_uapi.hpp"
#include "tests/support/fake_drm_state.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kFourGib = std::uint64_t{4} << 30;
constexpr std::uint64_t kSixteenMib = std::uint64_t{16} << 20;

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
    return (value + step - 1) / step * step;
}

// panfrost_drm_mm_color_adjust: what executes neither begins nor ends at a multiple of 4 GiB, nor lies within 16 MiB
// below one.
VaRange usable_part(const VaRange& hole, bool executable) {
    std::uint64_t start = hole.start.raw();
    std::uint64_t end = hole.end.raw();
    if (executable) {
        start += start % kFourGib == 0 ? kPageBytes : 0;
        end -= end % kFourGib == 0 ? kPageBytes : 0;
        if (align_up(start, kFourGib) - start <= kSixteenMib) {
            start = align_up(start, kFourGib) + kPageBytes;
        }
        end = std::min(end, align_up(start, kFourGib) - kPageBytes);
    }
    return start < end ? VaRange{Va{start}, Va{end}} : VaRange{};
}

// DRM_MM_INSERT_BEST: the smallest hole that it fits into, at its lower end.
std::optional<VaRange> best_place(const FakeFile& file, std::uint64_t bytes, std::uint64_t alignment, bool executable) {
    std::vector<VaRange> taken;
    taken.reserve(file.shown.size() + 1);
    for (const auto& [object, range] : file.shown) {
        taken.push_back(range);
    }
    std::sort(taken.begin(), taken.end(), [](const VaRange& a, const VaRange& b) { return a.start < b.start; });
    taken.push_back({Va{panfrost::kEndVa}, Va{panfrost::kEndVa}});
    std::optional<VaRange> best;
    std::uint64_t best_hole = std::numeric_limits<std::uint64_t>::max();
    Va from{panfrost::kFirstVa};
    for (const VaRange& next : taken) {
        const VaRange hole{from, next.start};
        from = next.end;
        const VaRange part = usable_part(hole, executable);
        const std::uint64_t start = round_up(part.start.raw(), alignment);
        if (!part.empty() && start < part.end.raw() && part.end.raw() - start >= bytes && hole.size() < best_hole) {
            best = VaRange{Va{start}, Va{start + bytes}};
            best_hole = hole.size();
        }
    }
    return best;
}

int create_bo(FakeDrmState& state, FakeFile& file, drm_panfrost_create_bo& create) {
    const std::uint32_t known = panfrost::kBoNoexec | panfrost::kBoHeap |
                                (state.kernel.minor >= panfrost::kMinorCachedBos ? panfrost::kBoCached : 0);
    const bool heap = (create.flags & panfrost::kBoHeap) != 0;
    if (create.size == 0 || create.pad != 0 || (create.flags & ~known) != 0 ||
        (heap && ((create.flags & panfrost::kBoNoexec) == 0 || (create.flags & panfrost::kBoCached) != 0))) {
        return EINVAL;
    }
    const FakeGem object = state.make_object(align_up(create.size, heap ? kBlock2MBytes : kPageBytes));
    object->flags = create.flags;
    if (const int error = state.open_handle(file, object, create.handle); error != 0) {
        return error;
    }
    create.offset = file.shown.at(object.get()).start.raw();
    return 0;
}

int get_param(const FakeKernel& kernel, drm_panfrost_get_param& get) {
    constexpr std::uint32_t kLast = panfrost::kParamSelectedCoherency;
    const bool newer =
        (get.param >= panfrost::kParamSystemTimestamp && kernel.minor < panfrost::kMinorTimestamps) ||
        (get.param == panfrost::kParamAllowedContextPriorities && kernel.minor < panfrost::kMinorContexts) ||
        (get.param == panfrost::kParamSelectedCoherency && kernel.minor < panfrost::kMinorCachedBos);
    if (get.pad != 0 || get.param > kLast || newer) {
        return EINVAL;
    }
    switch (get.param) {
        case panfrost::kParamGpuProdId:
            get.value = 0x0860;  // T860
            break;
        case panfrost::kParamMmuFeatures:
            get.value = (40U << 8) | 48U;
            break;
        case panfrost::kParamAsPresent:
            get.value = 0xff;
            break;
        case panfrost::kParamShaderPresent:
            get.value = 0xf;
            break;
        case panfrost::kParamSelectedCoherency:
            get.value = panfrost::kCoherencyNone;
            break;
        default:
            get.value = 0;
            break;
    }
    return 0;
}

int mmap_bo(FakeDrmState& state, FakeFile& file, drm_panfrost_mmap_bo& mmap) {
    if (mmap.flags != 0) {
        return EINVAL;
    }
    const FakeGem object = file.handles.find(mmap.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    if ((object->flags & panfrost::kBoHeap) != 0) {
        return EINVAL;
    }
    mmap.offset = state.mmap_offset(object);
    return 0;
}

int get_bo_offset(FakeFile& file, drm_panfrost_get_bo_offset& get) {
    const FakeGem object = file.handles.find(get.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    const auto shown = file.shown.find(object.get());
    if (shown == file.shown.end()) {
        return EINVAL;
    }
    get.offset = shown->second.start.raw();
    return 0;
}

int madvise(FakeFile& file, drm_panfrost_madvise& advise) {
    const FakeGem object = file.handles.find(advise.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    const bool unneeded = advise.madv == panfrost::kMadviseDontNeed;
    if (unneeded && object->open_mappings > 1) {
        return EINVAL;
    }
    if (!object->purged) {
        object->purgeable = unneeded;
    }
    advise.retained = object->purged ? 0 : 1;
    return 0;
}

int set_label(FakeFile& file, const drm_panfrost_set_label_bo& set) {
    if (set.pad != 0) {
        return EINVAL;
    }
    const FakeGem object = file.handles.find(set.handle);
    return object == nullptr ? ENOENT : read_label(set.label, object->label);
}

int sync_bo(FakeFile& file, const drm_panfrost_sync_bo& sync) {
    if (sync.pad != 0) {
        return EINVAL;
    }
    std::vector<drm_panfrost_bo_sync_op> operations;
    if (const int error = read_array({sizeof(drm_panfrost_bo_sync_op), sync.op_count, sync.ops}, operations);
        error != 0) {
        return error;
    }
    for (const drm_panfrost_bo_sync_op& operation : operations) {
        const FakeGem object = file.handles.find(operation.handle);
        if (object == nullptr) {
            return ENOENT;
        }
        if (operation.type > 1 || operation.size > object->bytes() ||
            operation.offset > object->bytes() - operation.size || object->imported) {
            return EINVAL;
        }
    }
    return 0;
}

int query_info(FakeFile& file, drm_panfrost_query_bo_info& query) {
    const FakeGem object = file.handles.find(query.handle);
    if (object == nullptr) {
        return ENOENT;
    }
    query.pad = 0;
    query.create_flags = object->flags;
    query.extra_flags = object->imported ? panfrost::kBoImported : 0;
    return 0;
}

}  // namespace

int panfrost_show(FakeDrmState& state, FakeFile& file, const FakeGem& object) {
    if (file.space == nullptr) {
        file.space = state.make_vm(panfrost::kEndVa);
    }
    const bool executable = (object->flags & panfrost::kBoNoexec) == 0 && !object->imported;
    const std::uint64_t bytes = object->bytes();
    const std::uint64_t alignment = executable ? bytes : (bytes >= kBlock2MBytes ? kBlock2MBytes : kPageBytes);
    const std::optional<VaRange> place = best_place(file, bytes, alignment, executable);
    if (!place) {
        return ENOSPC;
    }
    if ((object->flags & panfrost::kBoHeap) == 0) {
        const MapFlags flags{.noexec = !executable};
        if (const int error = file.space->space.map(place->start.raw(), bytes, object, 0, flags); error != 0) {
            return error;
        }
    }
    file.shown.emplace(object.get(), *place);
    ++object->open_mappings;
    return 0;
}

void panfrost_hide(FakeFile& file, const FakeGem& object) {
    const auto shown = file.shown.find(object.get());
    if (shown == file.shown.end()) {
        return;
    }
    static_cast<void>(file.space->space.unmap(shown->second.start.raw(), shown->second.size()));
    file.shown.erase(shown);
    --object->open_mappings;
}

int panfrost_ioctl(FakeDrmState& state, FakeFile& file, unsigned long request, void* argument) {
    const int minor = state.kernel.minor;
    switch (ioctl_kind(DrmDriver::kPanfrost, request)) {
        case DrmCallKind::kWaitBo:
            return with_argument<drm_panfrost_wait_bo>(request, argument, [&](const drm_panfrost_wait_bo& wait) {
                return wait.pad != 0 ? EINVAL : (file.handles.find(wait.handle) == nullptr ? ENOENT : 0);
            });
        case DrmCallKind::kCreateBo:
            return with_argument<drm_panfrost_create_bo>(
                request, argument, [&](drm_panfrost_create_bo& create) { return create_bo(state, file, create); });
        case DrmCallKind::kMmapBo:
            return with_argument<drm_panfrost_mmap_bo>(
                request, argument, [&](drm_panfrost_mmap_bo& mmap) { return mmap_bo(state, file, mmap); });
        case DrmCallKind::kGetParam:
            return with_argument<drm_panfrost_get_param>(
                request, argument, [&](drm_panfrost_get_param& get) { return get_param(state.kernel, get); });
        case DrmCallKind::kGetBoOffset:
            return with_argument<drm_panfrost_get_bo_offset>(
                request, argument, [&](drm_panfrost_get_bo_offset& get) { return get_bo_offset(file, get); });
        case DrmCallKind::kMadvise:
            return with_argument<drm_panfrost_madvise>(
                request, argument, [&](drm_panfrost_madvise& advise) { return madvise(file, advise); });
        case DrmCallKind::kSetLabelBo:
            return minor < panfrost::kMinorBoLabels ? EINVAL
                                                    : with_argument<drm_panfrost_set_label_bo>(
                                                          request, argument, [&](const drm_panfrost_set_label_bo& set) {
                                                              return set_label(file, set);
                                                          });
        case DrmCallKind::kSyncBo:
            return minor < panfrost::kMinorCachedBos
                       ? EINVAL
                       : with_argument<drm_panfrost_sync_bo>(
                             request, argument, [&](const drm_panfrost_sync_bo& sync) { return sync_bo(file, sync); });
        case DrmCallKind::kQueryBoInfo:
            return minor < panfrost::kMinorCachedBos ? EINVAL
                                                     : with_argument<drm_panfrost_query_bo_info>(
                                                           request, argument, [&](drm_panfrost_query_bo_info& query) {
                                                               return query_info(file, query);
                                                           });
        default:
            return EINVAL;
    }
}

}  // namespace granule::test
