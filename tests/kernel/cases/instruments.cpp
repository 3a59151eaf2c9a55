// The instruments of inside/ see what happens in this kernel, by things that are known to happen: what all other programs
// find rests on that. With panthor and with panfrost.
//
// One VM, three BOs, one of them bound, everything given back: after each step every instrument that this kernel has must
// show the same. (panfrost has one VM a file, made with it, and binds every BO.)

#include <drm.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/inside/fdinfo.hpp"
#include "tests/kernel/inside/gem_counter.hpp"
#include "tests/kernel/inside/gem_debugfs.hpp"
#include "tests/kernel/inside/gem_handles.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/kmsg.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_probe.hpp"
#include "tests/kernel/inside/text_file.hpp"
#include "tests/kernel/inside/trace_instance.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kBoBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kBos = 3;
constexpr std::uint64_t kBindVa = 0x20'0000;
constexpr unsigned kVaBits = 48;

Driver driver_here() {
    const char* const name = std::getenv("GRANULE_DRIVER");
    if (name == nullptr) {
        throw ProbeError("GRANULE_DRIVER is not set: panthor or panfrost");
    }
    return std::string_view(name) == "panfrost" ? Driver::kPanfrost : Driver::kPanthor;
}

// One file of the device, one VM, BOs.
class Gpu {
public:
    explicit Gpu(Driver driver) : driver_(driver), file_(open(path(), O_RDWR | O_CLOEXEC)) {
        if (!file_.valid()) {
            throw ProbeError(path(), "open", errno);
        }
    }

    [[nodiscard]] int fd() const { return file_.get(); }

    void create_vm() {
        drm_panthor_vm_create create;
        ask(panthor::kVmCreate, &create, "VM_CREATE");
        vm_ = create.id;
    }
    void destroy_vm() {
        drm_panthor_vm_destroy destroy;
        destroy.id = vm_;
        ask(panthor::kVmDestroy, &destroy, "VM_DESTROY");
    }
    void create_bo() {
        if (driver_ == Driver::kPanthor) {
            drm_panthor_bo_create create;
            create.size = kBoBytes;
            ask(panthor::kBoCreate, &create, "BO_CREATE");
            handles_.push_back(create.handle);
        } else {
            drm_panfrost_create_bo create;
            create.size = kBoBytes;
            ask(panfrost::kCreateBo, &create, "CREATE_BO");
            handles_.push_back(create.handle);
        }
    }
    void bind_first_bo() const {
        drm_panthor_vm_bind_op op;
        op.flags = panthor::kOpMap;
        op.bo_handle = handles_.front();
        op.va = kBindVa;
        op.size = kBoBytes;
        drm_panthor_vm_bind bind;
        bind.vm_id = vm_;
        bind.ops.stride = sizeof op;
        bind.ops.count = 1;
        bind.ops.array = reinterpret_cast<std::uintptr_t>(&op);
        ask(panthor::kVmBind, &bind, "VM_BIND");
    }
    void close_bos() {
        for (const std::uint32_t handle : handles_) {
            drm_gem_close close{};
            close.handle = handle;
            ask(DRM_IOCTL_GEM_CLOSE, &close, "GEM_CLOSE");
        }
        handles_.clear();
    }

private:
    static const char* path() {
        const char* const device = std::getenv("GRANULE_DEVICE");
        return device != nullptr ? device : "/dev/dri/renderD128";
    }
    void ask(unsigned long request, void* argument, const char* what) const {
        if (ioctl(file_.get(), request, argument) != 0) {
            throw ProbeError(path(), what, errno);
        }
    }

    Driver driver_;
    OwnedFd file_;
    std::uint32_t vm_ = 0;
    std::vector<std::uint32_t> handles_;
};

// What there should be.
struct Expected {
    std::int64_t objects = 0;   // that live, beyond those that the file has of its own
    std::uint64_t named = 0;    // of them, those that debugfs shows: not the object of a VM's reservations
    std::uint64_t handles = 0;  // of the file
    std::size_t vms = 0;
    std::size_t mappings = 0;
};

class Instruments {
public:
    Instruments(TestRun& run, Driver driver) : run_(run), driver_(driver) {}

    // What the open file has of its own: none, or from 7.3 on panthor's dummy BO.
    void opened() {
        own_objects_ = counter_.live();
        const auto gems = read_own_gems();
        run_.check("an open file has no object, or the dummy alone", own_objects_ == 0 || own_objects_ == 1,
                   std::to_string(own_objects_) + " objects");
        run_.check("debugfs shows what an open file has",
                   !gems || gems->size() == static_cast<std::size_t>(own_objects_),
                   gems ? std::to_string(gems->size()) + " objects" : "");
    }

    void agree(const std::string& when, const Gpu& gpu, const Expected& expected) {
        const std::int64_t live = counter_.live() - own_objects_;
        run_.check(when + ": the kprobes count the objects", live == expected.objects, std::to_string(live));

        const std::size_t handles = open_gem_handles(gpu.fd(), driver_, 64).size();
        run_.check(when + ": the handles are there", handles == expected.handles, std::to_string(handles));

        if (const std::optional<std::uint64_t> bytes = FdInfo::of(gpu.fd()).total_memory()) {
            run_.check(when + ": fdinfo has their bytes", *bytes == expected.handles * kBoBytes, hex(*bytes));
        }
        if (const auto gems = read_own_gems()) {
            const std::uint64_t named = gems->size() - static_cast<std::uint64_t>(own_objects_);
            run_.check(when + ": gems lists the objects", named == expected.named, std::to_string(named));
        }
        if (const auto spaces = read_gpuvas()) {
            std::size_t mappings = 0;
            for (const GpuVaSpace& space : *spaces) {
                mappings += space.vas.size();
            }
            run_.check(when + ": gpuvas lists the VMs and their mappings",
                       spaces->size() == expected.vms && mappings == expected.mappings,
                       std::to_string(spaces->size()) + " VMs, " + std::to_string(mappings) + " mappings");
        }
    }

    void closed() {
        run_.check("after the file is closed no object is left", counter_.wait_for_live(0),
                   std::to_string(counter_.live()));
    }

private:
    TestRun& run_;
    Driver driver_;
    GemCounter counter_;
    std::int64_t own_objects_ = 0;
};

void count_objects(TestRun& run, Driver driver) {
    Instruments instruments(run, driver);
    auto gpu = std::make_unique<Gpu>(driver);
    instruments.opened();
    const bool has_vms = driver == Driver::kPanthor;
    Expected expected;
    if (has_vms) {
        gpu->create_vm();
        expected.objects = 1;
        expected.vms = 1;
        instruments.agree("a VM", *gpu, expected);
    }
    for (std::uint64_t bo = 0; bo < kBos; ++bo) {
        gpu->create_bo();
    }
    expected.objects += static_cast<std::int64_t>(kBos);
    expected.named = kBos;
    expected.handles = kBos;
    instruments.agree("three BOs", *gpu, expected);
    if (has_vms) {
        gpu->bind_first_bo();
        expected.mappings = 1;
        instruments.agree("one of them bound", *gpu, expected);
    }
    gpu->close_bos();
    expected.handles = 0;
    expected.objects = has_vms ? 2 : 0;  // the VM's, and the bound BO, which the mapping keeps
    expected.named = has_vms ? 1 : 0;
    instruments.agree("handles closed", *gpu, expected);
    if (has_vms) {
        gpu->destroy_vm();
        instruments.agree("the VM destroyed", *gpu, Expected{});
    }
    gpu.reset();
    instruments.closed();
}

// The probe sees the calls of one bind, and the tables under the root that it names have that bind's leaves.
void see_a_bind(TestRun& run, Driver driver) {
    const Kcore kcore;
    TableProbe probe(512);
    Gpu gpu(driver);
    if (driver == Driver::kPanthor) {
        gpu.create_vm();
        gpu.create_bo();
    }
    const std::vector<PageTableCall> calls =
        probe.record([&] { driver == Driver::kPanthor ? gpu.bind_first_bo() : gpu.create_bo(); });
    std::uint64_t mapped = 0;
    for (const PageTableCall& call : calls) {
        mapped += call.kind == PageTableCall::Kind::kMap && call.result == 0 ? call.mapped : 0;
    }
    run.check("a bind's calls map all of it", mapped == kBoBytes, hex(mapped));
    const mali::Format format = driver == Driver::kPanthor ? mali::Format::kAarch64_4k : mali::Format::kMaliLpae;
    const KernelTables tables = KernelTables::read(kcore, format, kVaBits, TableProbe::checked_root(kcore, calls));
    std::uint64_t leaf_bytes = 0;
    tables.visit(kWholeVa, [&](const KernelLeaf& leaf) { leaf_bytes += bytes_of(leaf.size); });
    run.check("the tables under its root have its leaves", leaf_bytes == kBoBytes, hex(leaf_bytes));
    const std::vector<PageTableCall> none = probe.record([] {});
    run.check("nothing is recorded while nothing happens", none.empty(),
              none.empty() ? std::string{} : to_string(none.front()));
}

void lose_nothing_silently(TestRun& run, Driver driver) {
    constexpr std::size_t kSmallBufferKiB = 4;
    constexpr int kBinds = 300;  // some 80 bytes each, and more
    TableProbe probe(kSmallBufferKiB);
    Gpu gpu(driver);
    if (driver == Driver::kPanthor) {
        gpu.create_vm();
        gpu.create_bo();
    }
    run.test("a record that does not fit is an error", [&]() -> std::string {
        probe.start();
        for (int bind = 0; bind < kBinds; ++bind) {
            if (driver == Driver::kPanthor) {
                gpu.bind_first_bo();
            } else {
                gpu.create_bo();
                gpu.close_bos();
            }
        }
        try {
            return std::to_string(probe.stop().size()) + " calls were told as if that were all";
        } catch (const ProbeError& error) {
            return std::string_view(error.what()).find("lost") != std::string_view::npos ? "" : error.what();
        }
    });
}

void leave_nothing_behind(TestRun& run) {
    const std::string probes = read_text("/sys/kernel/tracing/kprobe_events");
    run.check("no kprobe of ours is left", probes.find("granule_") == std::string::npos, probes);
}

void read_the_log(TestRun& run) {
    KernelLog log;
    log.mark("granule instruments: a mark");
    const std::vector<KernelRecord> records = log.read();
    const bool found = std::any_of(records.begin(), records.end(), [](const KernelRecord& record) {
        return record.from_user && record.text == "granule instruments: a mark";
    });
    run.check("a mark in the kernel's log is read back", found, std::to_string(records.size()) + " records");
    run.check("what was read is not read again", log.read().empty());
    run.check("a kernel that is left alone does not warn",
              find_warnings(records).empty() && find_oopses(records).empty());
}

int run() {
    TestRun tests;
    const Driver driver = driver_here();
    const auto part = [&](const char* name, const auto& body) {
        tests.test(name, [&]() -> std::string {
            body();
            return {};
        });
    };
    part("objects, handles and mappings are counted", [&] { count_objects(tests, driver); });
    part("a bind is seen", [&] { see_a_bind(tests, driver); });
    part("losses are told", [&] { lose_nothing_silently(tests, driver); });
    part("probes go with their owner", [&] { leave_nothing_behind(tests); });
    part("the kernel's log is read", [&] { read_the_log(tests); });
    return tests.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    try {
        return granule::kernel_test::run();
    } catch (const std::exception& error) {
        granule::kernel_test::report_test("instruments", false, error.what());
        return 1;
    }
}
