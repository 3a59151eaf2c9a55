#include "src/drm/kernel_facts.hpp"

#include <array>
#include <cerrno>
#include <string_view>

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"

namespace granule {
namespace {

// An ioctl, or the call that failed.
template <class Argument>
Result<void, OsError> ask(DrmCalls& calls, int fd, unsigned long request, Argument& argument, const char* name) {
    if (const int error = calls.ioctl(fd, request, &argument); error != 0) {
        return fail(OsError{Status::kOsFailed, name, error});
    }
    return {};
}

std::string_view trimmed(std::string_view text) noexcept {
    return text.substr(0, text.find('\n'));
}

void read_release(DrmCalls& calls, KernelFacts& facts) noexcept {
    std::array<char, 65> text{};
    std::size_t bytes = 0;
    if (calls.read_text("/proc/sys/kernel/osrelease", text, bytes) == 0) {
        const std::string_view release = trimmed({text.data(), bytes});
        facts.release = parse_release(release);
        facts.release_text = ShortLabel(release);
    }
}

// The module's parameter. Only root may read it; that it is there says that the driver has it, and it is on by default.
bool huge_pages(DrmCalls& calls, DrmDriver driver) noexcept {
    const char* const path = driver == DrmDriver::kPanthor ? "/sys/module/panthor/parameters/transparent_hugepage"
                                                           : "/sys/module/panfrost/parameters/transparent_hugepage";
    std::array<char, 2> text{};
    std::size_t bytes = 0;
    const int error = calls.read_text(path, text, bytes);
    return error == EACCES || (error == 0 && bytes > 0 && text[0] == 'Y');
}

void set_gpu(KernelFacts& facts, std::uint32_t gpu_id, std::uint32_t mmu_features) noexcept {
    facts.gpu_id = gpu_id;
    facts.mmu_features = mmu_features;
    facts.gpu = mali::find_gpu_model(gpu_id);
    const mali::MmuFeatures features = mali::decode_mmu_features(mmu_features);
    facts.va_bits = features.va_bits;
    facts.pa_bits = features.pa_bits;
}

// A VM of panthor's that ends with the function that made it.
class ThrowAwayVm {
public:
    ThrowAwayVm(DrmCalls& calls, int fd) noexcept : calls_(calls), fd_(fd) {}
    ThrowAwayVm(const ThrowAwayVm&) = delete;
    ThrowAwayVm& operator=(const ThrowAwayVm&) = delete;
    ~ThrowAwayVm() {
        if (create_.id != 0) {
            drm_panthor_vm_destroy destroy{create_.id, 0};
            static_cast<void>(calls_.ioctl(fd_, panthor::kVmDestroy, &destroy));
        }
    }

    // 0: as much VA as the driver thinks fit.
    [[nodiscard]] Result<void, OsError> create(std::uint64_t user_va_range) noexcept {
        drm_panthor_vm_create create{0, 0, user_va_range};
        if (const auto done = ask(calls_, fd_, panthor::kVmCreate, create, "VM_CREATE"); !done) {
            return done;
        }
        create_ = create;
        return {};
    }
    [[nodiscard]] std::uint64_t user_va_range() const noexcept { return create_.user_va_range; }

    // One operation. `name`: for the error.
    [[nodiscard]] Result<void, OsError> bind(const drm_panthor_vm_bind_op& op, const char* name) noexcept {
        int error = EINTR;
        while (error == EINTR || error == EAGAIN) {
            // Anew each time: an interrupted call has counted down what it was given.
            drm_panthor_vm_bind bind{create_.id, 0, {sizeof(op), 1, reinterpret_cast<std::uintptr_t>(&op)}};
            error = calls_.ioctl_once(fd_, panthor::kVmBind, &bind);
        }
        if (error != 0) {
            return fail(OsError{Status::kOsFailed, name, error});
        }
        return {};
    }
    [[nodiscard]] Result<bool, OsError> usable() noexcept {
        drm_panthor_vm_get_state get{create_.id, 0};
        if (const auto done = ask(calls_, fd_, panthor::kVmGetState, get, "VM_GET_STATE"); !done) {
            return fail(done.error());
        }
        return get.state == panthor::kVmUsable;
    }

private:
    DrmCalls& calls_;
    const int fd_;
    drm_panthor_vm_create create_{};  // id 0: none; the driver counts from 1
};

class ThrowAwayBo {
public:
    ThrowAwayBo(DrmCalls& calls, int fd) noexcept : calls_(calls), fd_(fd) {}
    ThrowAwayBo(const ThrowAwayBo&) = delete;
    ThrowAwayBo& operator=(const ThrowAwayBo&) = delete;
    ~ThrowAwayBo() {
        if (handle_ != 0) {
            calls_.close_handle(fd_, handle_);
        }
    }

    [[nodiscard]] Result<void, OsError> create(std::uint64_t bytes) noexcept {
        drm_panthor_bo_create create{};
        create.size = bytes;
        create.flags = panthor::kBoNoMmap;
        if (const auto done = ask(calls_, fd_, panthor::kBoCreate, create, "BO_CREATE"); !done) {
            return done;
        }
        handle_ = create.handle;
        return {};
    }
    [[nodiscard]] std::uint32_t handle() const noexcept { return handle_; }

private:
    DrmCalls& calls_;
    const int fd_;
    std::uint32_t handle_ = 0;
};

constexpr std::uint64_t kProbeVa = 4 * kBlock2MBytes;

// Whether an unmap of the first page of what can be a block does as it should. Not for kernels that may oops on it.
Result<bool, OsError> cuts_blocks(DrmCalls& calls, int fd) noexcept {
    ThrowAwayVm vm(calls, fd);
    ThrowAwayBo bo(calls, fd);
    if (const auto made = vm.create(0); !made) {
        return fail(made.error());
    }
    if (const auto made = bo.create(kBlock2MBytes); !made) {
        return fail(made.error());
    }
    const drm_panthor_vm_bind_op map{panthor::kOpMap | panthor::kOpNoexec, bo.handle(), 0, kProbeVa, kBlock2MBytes, {}};
    if (const auto mapped = vm.bind(map, "VM_BIND of a map"); !mapped) {
        return fail(mapped.error());
    }
    const drm_panthor_vm_bind_op unmap{panthor::kOpUnmap, 0, 0, kProbeVa, kPageBytes, {}};
    if (const auto unmapped = vm.bind(unmap, "VM_BIND of an unmap"); !unmapped) {
        return unmapped.error().error == EINVAL ? Result<bool, OsError>(false) : fail(unmapped.error());
    }
    return vm.usable();
}

Result<bool, OsError> maps_sparse(ThrowAwayVm& vm) noexcept {
    const drm_panthor_vm_bind_op map{
        panthor::kOpMap | panthor::kOpSparse | panthor::kOpNoexec, 0, 0, kProbeVa, kPageBytes, {}};
    if (const auto mapped = vm.bind(map, "VM_BIND of a sparse map"); !mapped) {
        return mapped.error().error == EINVAL ? Result<bool, OsError>(false) : fail(mapped.error());
    }
    return true;
}

Result<void, OsError> ask_panthor_gpu(DrmCalls& calls, int fd, KernelFacts& facts) noexcept {
    drm_panthor_gpu_info gpu{};
    drm_panthor_dev_query query{panthor::kQueryGpuInfo, sizeof(gpu), reinterpret_cast<std::uintptr_t>(&gpu)};
    if (const auto done = ask(calls, fd, panthor::kDevQuery, query, "DEV_QUERY of the GPU"); !done) {
        return done;
    }
    set_gpu(facts, gpu.gpu_id, gpu.mmu_features);
    // Older drivers leave the field 0, which would be ACE-Lite.
    facts.coherent =
        facts.version.minor >= panthor::kMinorCachedBos && gpu.selected_coherency != panthor::kCoherencyNone;
    if (facts.version.minor >= panthor::kMinorSparse) {
        drm_panthor_mmu_info mmu{};
        query = {panthor::kQueryMmuInfo, sizeof(mmu), reinterpret_cast<std::uintptr_t>(&mmu)};
        if (const auto done = ask(calls, fd, panthor::kDevQuery, query, "DEV_QUERY of the MMU"); !done) {
            return done;
        }
        facts.leaf_sizes = mmu.page_size_bitmap;
    }
    return {};
}

Result<void, OsError> find_panthor_facts(DrmCalls& calls, int fd, KernelFacts& facts) noexcept {
    const int minor = facts.version.minor;
    facts.labels = minor >= panthor::kMinorBoLabels;
    facts.cpu_cached_bos = minor >= panthor::kMinorCachedBos;
    facts.bo_query_info = minor >= panthor::kMinorCachedBos;
    facts.sparse = minor >= panthor::kMinorSparse;
    if (const auto asked = ask_panthor_gpu(calls, fd, facts); !asked) {
        return asked;
    }
    if (facts.va_bits < 32 || facts.va_bits > 48) {
        return fail(OsError{Status::kNotSupported, "DEV_QUERY of the GPU", 0});
    }
    ThrowAwayVm vm(calls, fd);
    if (const auto made = vm.create((std::uint64_t{1} << facts.va_bits) - panthor::kLeastKernelVa); !made) {
        return made;
    }
    const std::optional<VaRange> space = VaRange::from_size(Va(0), vm.user_va_range());
    if (!space) {
        return fail(OsError{Status::kNotSupported, "VM_CREATE", 0});
    }
    facts.vm_space = *space;
    if (minor == panthor::kMinorSparse - 1) {
        const Result<bool, OsError> sparse = maps_sparse(vm);
        if (!sparse) {
            return fail(sparse.error());
        }
        facts.sparse = *sparse;
    }
    return {};
}

Result<std::uint64_t, OsError> panfrost_parameter(DrmCalls& calls, int fd, std::uint32_t parameter,
                                                  const char* name) noexcept {
    drm_panfrost_get_param get{parameter, 0, 0};
    if (const auto done = ask(calls, fd, panfrost::kGetParam, get, name); !done) {
        return fail(done.error());
    }
    return get.value;
}

Result<void, OsError> find_panfrost_facts(DrmCalls& calls, int fd, KernelFacts& facts) noexcept {
    const int minor = facts.version.minor;
    facts.labels = minor >= panfrost::kMinorBoLabels;
    facts.cpu_cached_bos = minor >= panfrost::kMinorCachedBos;
    facts.bo_query_info = minor >= panfrost::kMinorCachedBos;
    facts.vm_space = {Va(panfrost::kFirstVa), Va(panfrost::kEndVa)};
    const auto product = panfrost_parameter(calls, fd, panfrost::kParamGpuProdId, "GET_PARAM of the product");
    if (!product) {
        return fail(product.error());
    }
    const auto revision = panfrost_parameter(calls, fd, panfrost::kParamGpuRevision, "GET_PARAM of the revision");
    if (!revision) {
        return fail(revision.error());
    }
    const auto mmu = panfrost_parameter(calls, fd, panfrost::kParamMmuFeatures, "GET_PARAM of the MMU");
    if (!mmu) {
        return fail(mmu.error());
    }
    set_gpu(facts, (static_cast<std::uint32_t>(*product) << 16) | (static_cast<std::uint32_t>(*revision) & 0xffff),
            static_cast<std::uint32_t>(*mmu));
    if (minor >= panfrost::kMinorCachedBos) {
        const auto coherency =
            panfrost_parameter(calls, fd, panfrost::kParamSelectedCoherency, "GET_PARAM of the coherency");
        if (!coherency) {
            return fail(coherency.error());
        }
        facts.coherent = *coherency != panfrost::kCoherencyNone;
    }
    return {};
}

std::optional<DrmDriver> driver_of(const DrmVersion& version) noexcept {
    if (version.major == 1 && version.name.view() == "panthor") {
        return DrmDriver::kPanthor;
    }
    if (version.major == 1 && version.name.view() == "panfrost") {
        return DrmDriver::kPanfrost;
    }
    return std::nullopt;
}

// Whether a probe can harm nobody: see the header.
bool may_probe(const KernelFacts& facts) noexcept {
    if (facts.driver != DrmDriver::kPanthor || facts.behaviour_from != KernelFacts::From::kRelease) {
        return false;
    }
    return facts.behaviour == KernelBehaviour::kSplits ||
           (facts.behaviour == KernelBehaviour::kRealigns && facts.huge_pages);
}

}  // namespace

const char* to_string(KernelFacts::From from) noexcept {
    switch (from) {
        case KernelFacts::From::kRelease:
            return "release";
        case KernelFacts::From::kUnknown:
            return "unknown";
        case KernelFacts::From::kProbe:
            return "probe";
        case KernelFacts::From::kOverride:
            return "override";
    }
    return "?";
}

Result<KernelFacts, OsError> find_kernel_facts(DrmCalls& calls, int fd, const KernelFactsOptions& options) noexcept {
    KernelFacts facts;
    if (const int error = calls.version(fd, facts.version); error != 0) {
        return fail(OsError{Status::kOsFailed, "VERSION", error});
    }
    const std::optional<DrmDriver> driver = driver_of(facts.version);
    if (!driver) {
        return fail(OsError{Status::kNotSupported, "VERSION", 0});
    }
    facts.driver = *driver;
    read_release(calls, facts);
    facts.huge_pages = huge_pages(calls, *driver);
    const auto found =
        *driver == DrmDriver::kPanthor ? find_panthor_facts(calls, fd, facts) : find_panfrost_facts(calls, fd, facts);
    if (!found) {
        return fail(found.error());
    }

    if (options.override_behaviour) {
        facts.behaviour = *options.override_behaviour;
        facts.behaviour_from = KernelFacts::From::kOverride;
        return facts;
    }
    const ExpectedBehaviour expected = expected_behaviour(*driver, facts.release);
    facts.behaviour = expected.behaviour;
    facts.behaviour_from = expected.certain ? KernelFacts::From::kRelease : KernelFacts::From::kUnknown;
    if (options.probe && may_probe(facts)) {
        const Result<bool, OsError> cuts = cuts_blocks(calls, fd);
        if (!cuts) {
            return fail(cuts.error());
        }
        if (!*cuts) {
            facts.behaviour = KernelBehaviour::kRefuses;
            facts.behaviour_from = KernelFacts::From::kProbe;
        }
    }
    return facts;
}

}  // namespace granule
