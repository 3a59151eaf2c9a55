// The life of BOs through the library on the real drivers: how large they become, what the CPU sees, labels, dma-bufs,
// advice, and that nothing of them is left in the kernel. What a driver is too old for has to be refused by name.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "tests/kernel/cases/expectations.hpp"
#include "tests/kernel/inside/gem_counter.hpp"
#include "tests/kernel/inside/gem_debugfs.hpp"
#include "tests/kernel/inside/gem_handles.hpp"
#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

const char* name_of(Status status) {
    return to_string(status);
}
const char* name_of(const Result<BoId, OsError>& made) {
    return made ? "made" : to_string(made.error().status);
}

class Gpu {
public:
    explicit Gpu(DrmDevice& device) : device_(device) {}

    [[nodiscard]] bool panfrost() const { return device_.facts().driver == DrmDriver::kPanfrost; }
    [[nodiscard]] const KernelFacts& facts() const { return device_.facts(); }
    [[nodiscard]] DrmDevice& device() const { return device_; }
    [[nodiscard]] BoTable& bos() const { return device_.bos(); }
    [[nodiscard]] DrmBoBackend& backend() const { return device_.bo_backend(); }
    [[nodiscard]] int fd() const { return device_.file().fd(); }
    [[nodiscard]] Bo& bo(BoId id) const { return *bos().find(id); }
    void release(BoId id) const { bos().release(bo(id), 1); }
    [[nodiscard]] std::size_t handles() const {
        return open_gem_handles(fd(), panfrost() ? Driver::kPanfrost : Driver::kPanthor).size();
    }

private:
    DrmDevice& device_;
};

// Made, used by `body`, and gone; or it was not made.
template <class Body>
void with_bo(const Gpu& gpu, Expectations& expect, const BoRequest& request, Body&& body) {
    const Result<BoId, OsError> id = gpu.device().create_bo(request);
    if (expect.holds("a BO is made", id.has_value(), name_of(id))) {
        body(gpu.bo(*id));
        gpu.release(*id);
    }
}

void sizes(const Gpu& gpu, Expectations& expect) {
    struct Size {
        std::uint64_t asked;
        std::uint64_t given;
    };
    for (const Size& size : {Size{1, 4096}, Size{4096, 4096}, Size{4096 + 904, 8192}, Size{2 * kMiB, 2 * kMiB},
                             Size{6 * kMiB + 1, 6 * kMiB + 4096}}) {
        with_bo(gpu, expect, {.bytes = size.asked}, [&](Bo& bo) {
            expect.equal("of whole pages", bo.size, size.given);
            const Result<std::byte*, Status> cpu = gpu.bos().map_cpu(bo);
            if (!expect.holds("the CPU sees it", cpu.has_value(), cpu ? "" : name_of(cpu.error()))) {
                return;
            }
            std::byte* const bytes = *cpu;
            expect.holds("full of zeroes",
                         std::all_of(bytes, bytes + bo.size, [](std::byte b) { return b == std::byte{0}; }));
            for (std::uint64_t i = 0; i < bo.size; i += 4096) {
                bytes[i] = static_cast<std::byte>(i / 4096 + 1);
            }
            bytes[bo.size - 1] = std::byte{0xa5};
            expect.holds("as it was written", bytes[0] == std::byte{1} && bytes[bo.size - 1] == std::byte{0xa5});
        });
    }
    expect.equal("a BO of no bytes", std::string_view(name_of(gpu.device().create_bo({}))),
                 std::string_view(name_of(Status::kBadArgument)));
    expect.equal("no handle is left", gpu.handles(), std::size_t{0});
}

void cpu_views(const Gpu& gpu, Expectations& expect) {
    with_bo(gpu, expect, {.bytes = 4096, .cpu_visible = false}, [&](Bo& bo) {
        const Result<std::byte*, Status> cpu = gpu.bos().map_cpu(bo);
        expect.holds("which the CPU does not see", !cpu && cpu.error() == Status::kNotSupported);
    });
    const Result<BoId, OsError> cached = gpu.device().create_bo({.bytes = 8192, .cpu_cached = true});
    if (!gpu.facts().cpu_cached_bos) {
        expect.equal("a BO that the CPU caches, too early", std::string_view(name_of(cached)),
                     std::string_view(name_of(Status::kNotSupported)));
        return;
    }
    if (!expect.holds("a BO that the CPU caches", cached.has_value(), name_of(cached))) {
        return;
    }
    Bo& bo = gpu.bo(*cached);
    const Result<std::byte*, Status> cpu = gpu.bos().map_cpu(bo);
    expect.holds("and sees", cpu.has_value());
    for (const CacheOp operation : {CacheOp::kFlush, CacheOp::kFlushAndInvalidate}) {
        const std::array parts{CacheSync{&bo, BoOffset{0}, 8192, operation},
                               CacheSync{&bo, BoOffset{64}, 64, operation}};
        expect.holds("is flushed", gpu.device().sync_caches({parts.data(), 1}).has_value());
        expect.holds("in part", gpu.device().sync_caches({&parts[1], 1}).has_value());
        expect.holds("and both with one call", gpu.device().sync_caches(parts).has_value());
    }
    gpu.release(*cached);
}

void labels(const Gpu& gpu, Expectations& expect) {
    // Longer ones than the kernel takes are cut before it sees them: 4096 bytes would be refused, and leave the old name.
    with_bo(gpu, expect, {.bytes = 4096}, [&](Bo& bo) {
        const auto in_kernel = [&]() -> std::optional<std::string> {
            const std::optional<std::vector<GemObject>> gems = read_own_gems();
            if (!gems) {
                return std::nullopt;
            }
            for (const GemObject& object : *gems) {
                if (object.size == bo.size && !object.label.empty()) {
                    return object.label;
                }
            }
            return "";
        };
        for (const std::size_t length : {std::size_t{7}, std::size_t{4095}, std::size_t{4096}}) {
            const std::string label(length, static_cast<char>('a' + length % 26));
            expect.holds("a label", gpu.bos().set_label(bo, label) == Status::kOk);
            const std::optional<std::string> kernel = gpu.facts().labels ? in_kernel() : std::nullopt;
            if (kernel) {  // as much of it as debugfs prints
                const std::string cut = label.substr(0, 4095);
                expect.holds("which the kernel shows", !kernel->empty() && cut.starts_with(*kernel), *kernel);
            }
        }
        expect.holds("none", gpu.bos().set_label(bo, "") == Status::kOk);
    });
}

void sharing(const Gpu& gpu, Expectations& expect, DrmDevice& other) {
    with_bo(gpu, expect, {.bytes = 3 * kMiB, .shareable = true}, [&](Bo& bo) {
        const Result<int, OsError> dma_buf = gpu.device().export_bo(bo);
        if (!expect.holds("is exported", dma_buf.has_value())) {
            return;
        }
        const Result<BoId, OsError> back = gpu.device().import_bo(*dma_buf);
        expect.holds("and comes back as itself", back && *back == bo.id && bo.references() == 2);
        const Result<BoId, OsError> there = other.import_bo(*dma_buf);
        const Result<BoId, OsError> again = other.import_bo(*dma_buf);
        if (expect.holds("another file imports it", there.has_value(), there ? "" : there.error().call)) {
            Bo& seen = *other.bos().find(*there);
            expect.holds("twice, as one", again && *again == *there && seen.references() == 2);
            expect.equal("all of it", seen.size, bo.size);
            // Only a driver that can be asked says that it is its own.
            expect.equal("for what it is", seen.imported, !gpu.facts().bo_query_info);
            expect.equal("at a VA of that file's, or none", seen.kernel_va.has_value(), gpu.panfrost());
            const Result<std::byte*, Status> here = gpu.bos().map_cpu(bo);
            const Result<std::byte*, Status> far = other.bos().map_cpu(seen);
            if (expect.holds("both see it", here && far)) {
                (*here)[2 * kMiB + 17] = std::byte{42};
                expect.holds("the same", (*far)[2 * kMiB + 17] == std::byte{42});
            }
            other.bos().release(seen, 2);
        }
        if (back) {
            gpu.release(*back);
        }
        ::close(*dma_buf);
    });
    const int no_dma_buf = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    const Result<BoId, OsError> nothing = gpu.device().import_bo(no_dma_buf);
    expect.holds("what is no dma-buf is refused", !nothing && nothing.error().error == EINVAL);
    ::close(no_dma_buf);
}

void exclusive(const Gpu& gpu, Expectations& expect) {
    if (gpu.panfrost()) {
        const Result<BoId, OsError> made = gpu.device().create_bo({.bytes = 4096, .only_for_vm = 1});
        expect.holds("a BO for one VM is panthor's", !made && made.error().status == Status::kNotSupported);
        return;
    }
    VmConfig config;
    config.space = {Va{kMiB}, Va{64 * kMiB}};
    const Result<Owned<Vm>, OsError> vm = gpu.device().create_vm(config);
    if (!expect.holds("a VM", vm.has_value())) {
        return;
    }
    with_bo(gpu, expect, {.bytes = 4096, .only_for_vm = (*vm)->kernel_id()}, [&](Bo& bo) {
        const Result<int, OsError> dma_buf = gpu.backend().export_dma_buf(bo);
        expect.holds("for one VM is not exported", !dma_buf && dma_buf.error().error == EINVAL);
    });
    const Result<BoId, OsError> made = gpu.device().create_bo({.bytes = 4096, .only_for_vm = 31});
    expect.holds("nor made for a VM that there is not", !made && made.error().status == Status::kBadArgument);
}

bool drop_kernel_caches() {
    const int fd = ::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    const bool dropped = fd >= 0 && ::write(fd, "2", 1) == 1;  // slab: asks every shrinker
    if (fd >= 0) {
        ::close(fd);
    }
    return dropped;
}

void advice(const Gpu& gpu, Expectations& expect) {
    DrmBoBackend& backend = gpu.backend();
    with_bo(gpu, expect, {.bytes = kMiB}, [&](Bo& bo) {
        if (!gpu.panfrost()) {
            const Result<bool, OsError> kept = backend.set_evictable(bo, true);
            expect.holds("panthor gives no advice", !kept && kept.error().status == Status::kNotSupported);
            const Result<void, OsError> waited = backend.wait(bo, 0);
            expect.holds("nor waits for a BO", !waited && waited.error().status == Status::kNotSupported);
            return;
        }
        expect.holds("which nothing uses", backend.wait(bo, 0).has_value());
        const Result<bool, OsError> kept = backend.set_evictable(bo, true);
        expect.holds("which is not needed, and there", kept && *kept);
        const Result<bool, OsError> needed = backend.set_evictable(bo, false);
        expect.holds("which is needed, and there", needed && *needed);
        expect.holds("the kernel looks for memory", drop_kernel_caches());
        const Result<bool, OsError> after = backend.set_evictable(bo, false);
        expect.holds("and leaves it alone", after && *after);
        expect.holds("which is not needed again", backend.set_evictable(bo, true).has_value());
        expect.holds("the kernel looks for memory again", drop_kernel_caches());
        const Result<bool, OsError> gone = backend.set_evictable(bo, false);
        expect.holds("and has taken it", gone && !*gone);
    });
}

void kernel_vas(const Gpu& gpu, Expectations& expect) {
    if (!gpu.panfrost()) {
        return;
    }
    Result<Owned<Vm>, OsError> vm = gpu.device().create_vm({});
    if (!expect.holds("the file's VM", vm.has_value())) {
        return;
    }
    expect.holds("of which there is one", gpu.device().create_vm({}).error().status == Status::kNotSupported);
    std::vector<BoId> ids;
    for (const BoRequest& request :
         {BoRequest{.bytes = 4096}, BoRequest{.bytes = 5 * kMiB},
          BoRequest{.bytes = std::uint64_t{64} << 10U, .executable = true},
          BoRequest{.bytes = 16 * kMiB, .grows_on_fault = true}, BoRequest{.bytes = 2 * kMiB}}) {
        const Result<BoId, BindError> id = gpu.device().create_mapped_bo(**vm, request);
        if (!expect.holds("a BO where the kernel puts it", id.has_value(), id ? "" : name_of(id.error().status))) {
            continue;
        }
        ids.push_back(*id);
        const Bo& bo = gpu.bo(*id);
        const AddressReport report = (*vm)->address(*bo.kernel_va + bo.size - 1);
        expect.holds("is known by its VA",
                     report.mapping && report.mapping->shows.bo == *id && report.reserved == report.mapping->va);
        const VaRange part{*bo.kernel_va, *bo.kernel_va + 4096};
        if (bo.size > 4096) {
            const Result<BindReport, BindError> cut = (*vm)->unmap(part, UnmapPolicy::kReject);
            expect.holds("and not unmapped in part", !cut && cut.error().status == Status::kGranuleCut);
        }
    }
    // The kernel gives out again what was freed, and the VM has it free too.
    for (int round = 0; round < 50; ++round) {
        const Result<BoId, BindError> id = gpu.device().create_mapped_bo(**vm, {.bytes = 2 * kMiB});
        if (!expect.holds("one more", id.has_value(), id ? "" : name_of(id.error().status))) {
            break;
        }
        gpu.device().free_mapped_bo(**vm, *id);
    }
    for (const BoId id : ids) {
        gpu.device().free_mapped_bo(**vm, id);
    }
    expect.equal("nothing is mapped", (*vm)->statistics().mappings, std::uint64_t{0});
}

// Threads that import and give back the same dma-buf, whose handle comes and goes with the last of them.
void meetings(const Gpu& gpu, Expectations& expect, DrmDevice& other) {
    with_bo(gpu, expect, {.bytes = 4096, .shareable = true}, [&](Bo& bo) {
        const Result<int, OsError> dma_buf = gpu.device().export_bo(bo);
        const Result<std::byte*, Status> cpu = gpu.bos().map_cpu(bo);
        if (!expect.holds("is exported and seen", dma_buf && cpu)) {
            return;
        }
        (*cpu)[9] = std::byte{77};
        std::atomic<int> failed{0};
        std::array<std::thread, 3> threads;
        for (std::thread& thread : threads) {
            thread = std::thread([&] {
                for (int round = 0; round < 100; ++round) {
                    const Result<BoId, OsError> id = other.import_bo(*dma_buf);
                    if (!id) {
                        ++failed;
                        continue;
                    }
                    Bo& seen = *other.bos().find(*id);
                    const Result<std::byte*, Status> far = other.bos().map_cpu(seen);
                    failed += far && (*far)[9] == std::byte{77} ? 0 : 1;
                    other.bos().release(seen, 1);
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        expect.equal("imports that met a release", failed.load(), 0);
        expect.equal("handles closed behind our back", other.bo_backend().failed_closes(), std::uint64_t{0});
        ::close(*dma_buf);
    });
}

void lives(const Gpu& gpu, Expectations& expect, DrmDevice& other) {
    sizes(gpu, expect);
    cpu_views(gpu, expect);
    labels(gpu, expect);
    sharing(gpu, expect, other);
    exclusive(gpu, expect);
    advice(gpu, expect);
    kernel_vas(gpu, expect);
    meetings(gpu, expect, other);
    for (int i = 0; i < 1000; ++i) {
        const Result<BoId, OsError> id = gpu.device().create_bo({.bytes = 4096});
        if (!expect.holds("thousands of BOs", id.has_value())) {
            break;
        }
        gpu.release(*id);
    }
}

int run(Expectations& expect) {
    const DrmDeviceConfig config;
    Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD128", config);
    Result<Owned<DrmDevice>, OsError> other = DrmDevice::open("/dev/dri/renderD128", config);
    if (!device || !other) {
        const OsError& error = device ? other.error() : device.error();
        return expect.give_up(fmt::format("{}: {}, error {}", error.call, name_of(error.status), error.error));
    }
    const Gpu gpu(**device);
    const GemCounter objects;
    lives(gpu, expect, **other);
    expect.equal("handles left", gpu.handles(), std::size_t{0});
    expect.equal("handles left in the other file", Gpu(**other).handles(), std::size_t{0});
    expect.equal("handles that we think are open", gpu.backend().open_handles(), std::uint64_t{0});
    expect.equal("handles closed behind our back", gpu.backend().failed_closes(), std::uint64_t{0});
    expect.holds("no object of the kernel's is left", objects.wait_for_live(0), fmt::format("{} are", objects.live()));
    return expect.finish();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    using granule::kernel_test::Expectations;
    Expectations expect("the life of BOs");
    try {
        return granule::kernel_test::run(expect);
    } catch (const granule::kernel_test::ProbeError& error) {
        return expect.give_up(error.what());
    }
}
