// The short way of a bind against the long one: two devices that are told the same, one of whose VMs has
// VmConfig::direct_binds off, answer the same and are in the same state, failures included.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/src/scripted_fixture.hpp"
#include "tests/src/soft_fixture.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSteps = kSanitized ? 1500 : 6000;
constexpr std::uint64_t kBoBytes = 6 * kMiB;
constexpr std::size_t kBos = 3;

// What a VM tells about its changes.
class Listener final : public BindObserver {
public:
    struct Event {
        Mapping what;
        bool bound = false;
        Removal::By how = Removal::By::kUnmap;
        bool operator==(const Event&) const = default;
    };
    void on_bind(const Mapping& mapping) noexcept override { events.push_back({mapping, true, Removal::By::kUnmap}); }
    void on_unbind(const Mapping& part, Removal::By how) noexcept override { events.push_back({part, false, how}); }

    std::vector<Event> events;
};

class Side {
public:
    Side(KernelBehaviour kernel, BoMemory memory, bool direct_binds) {
        SoftDeviceConfig config = device_config(kernel);
        config.bo_memory = memory;
        config.injection = &failing;
        device = make_device(config);
        VmConfig vm_config;
        vm_config.journal_capacity = 64;
        vm_config.direct_binds = direct_binds;
        vm_config.observer = &listener;
        Result<Owned<Vm>, OsError> made = device->create_vm(vm_config);
        REQUIRE(made.has_value());
        vm = std::move(*made);
        for (std::size_t i = 0; i < kBos; ++i) {
            bos.push_back(make_bo(*device, kBoBytes, i == 0 ? "" : "bo " + std::to_string(i)));
        }
    }

    Failing failing;
    Listener listener;
    Owned<SoftDevice> device;
    std::vector<BoId> bos;  // the same numbers on both sides
    Owned<Vm> vm;
};

class Twins {
public:
    Twins(KernelBehaviour kernel, BoMemory memory)
        : random_(0x6469726563740000U + static_cast<std::uint64_t>(kernel) * 16U + static_cast<std::uint64_t>(memory)),
          direct_(kernel, memory, true),
          long_(kernel, memory, false) {}

    std::string run() {
        for (std::uint64_t step = 0; step < kSteps; ++step) {
            if (std::string problem = one_step(step % 64 == 63); !problem.empty()) {
                return "step " + std::to_string(step) + ": " + problem;
            }
        }
        return disagreement(*direct_.device, *direct_.vm);
    }

private:
    static constexpr std::uint64_t kStart = kGiB - 4 * kMiB;
    static constexpr std::uint64_t kPages = 8 * kMiB / kPageBytes;

    std::uint64_t below(std::uint64_t end) { return random_() % end; }

    BindRequest any_request() {
        const bool tile = below(4) != 0;
        const std::uint64_t pages = tile ? std::uint64_t{16} : 1 + below(below(4) == 0 ? 1200 : 40);
        const std::uint64_t at = below(kPages - pages) / (tile ? 16 : 1) * (tile ? 16 : 1);
        const VaRange va = range_at(kStart + at * kPageBytes, pages * kPageBytes);
        const auto policy = static_cast<UnmapPolicy>(below(3));
        BindRequest request = unmap_request(va, policy);
        const std::uint64_t kind = below(8);
        if (kind == 0) {
            return request;
        }
        request = sparse_request(va, policy);
        if (kind > 2) {
            // Now and then beyond the BO's end, misaligned, or of a BO that is not there.
            request.shows.bo = below(100) == 0 ? BoId{77} : direct_.bos[below(kBos)];
            request.shows.offset = BoOffset{below(kBoBytes / kPageBytes) * kPageBytes + (below(100) == 0 ? 512 : 0)};
            request.shows.flags = {below(2) == 0, below(2) == 0, below(2) == 0};
        }
        if (below(200) == 0) {
            request.va.end = request.va.start + below(2) * 0x800;
        }
        request.leaves = static_cast<LeafPolicy>(below(2));
        return request;
    }

    // "" or what the two do not agree in.
    std::string one_step(bool look_at_all) {
        const BindRequest request = any_request();
        if (below(20) == 0) {
            const auto site = below(2) == 0 ? Injection::Site::kOperation : Injection::Site::kTableMemory;
            const std::uint64_t after = below(2);
            direct_.failing.fail_after(site, after);
            long_.failing.fail_after(site, after);
        }
        const Result<BindReport, BindError> short_way = direct_.vm->bind(request);
        const Result<BindReport, BindError> long_way = long_.vm->bind(request);
        direct_.failing.stop();
        long_.failing.stop();
        if (short_way.has_value() != long_way.has_value()) {
            return "one succeeds";
        }
        if (short_way && !same(*short_way, *long_way)) {
            return "the reports differ";
        }
        if (!short_way && !same(short_way.error(), long_way.error())) {
            return "the errors differ";
        }
        if (direct_.listener.events != long_.listener.events) {
            return "the observers were told different things";
        }
        direct_.listener.events.clear();
        long_.listener.events.clear();
        if (!same(direct_.vm->address(request.va.start).removed, long_.vm->address(request.va.start).removed)) {
            return "the journals differ";
        }
        if (look_at_all && state_of(*direct_.device, *direct_.vm) != state_of(*long_.device, *long_.vm)) {
            return "the states differ";
        }
        return "";
    }

    static bool same(const BindReport& a, const BindReport& b) {
        return a.serial == b.serial && a.operations == b.operations && a.granules == b.granules &&
               a.kernel_cuts == b.kernel_cuts && a.residual_bytes == b.residual_bytes &&
               a.exposed_bytes == b.exposed_bytes && a.enlarged_bytes == b.enlarged_bytes &&
               a.unmapped_bytes == b.unmapped_bytes && a.touched == b.touched;
    }
    static bool same(const BindError& a, const BindError& b) {
        return a.status == b.status && a.group == b.group && a.request == b.request && a.plan == b.plan &&
               a.label.view() == b.label.view() && a.error == b.error && a.op == b.op && a.undone == b.undone;
    }
    // All but when.
    static bool same(const std::optional<Removal>& a, const std::optional<Removal>& b) {
        return a.has_value() == b.has_value() &&
               (!a || (a->what == b->what && a->label.view() == b->label.view() && a->by == b->by && a->how == b->how));
    }

    std::mt19937_64 random_;
    Side direct_;
    Side long_;
};

TEST_CASE("a bind that takes the short way answers, tells, remembers and leaves what the long way does") {
    for (const KernelBehaviour kernel : kKernels) {
        for (const BoMemory memory : kBoMemories) {
            CAPTURE(std::string(to_string(kernel)));
            CAPTURE(static_cast<int>(memory));
            REQUIRE(Twins(kernel, memory).run() == "");
        }
    }
}

// A kernel that is told of the short way, and writes it down.
class DirectBackend final : public ScriptedBackend {
public:
    struct Call {
        VaRange va;
        Replaces replaces;
        bool operator==(const Call&) const = default;
    };
    DirectBackend(ScriptedKernel& kernel, std::vector<Call>& calls) noexcept : ScriptedBackend(kernel), calls_(calls) {}

    [[nodiscard]] bool maps_directly() const noexcept override { return true; }
    [[nodiscard]] Result<void, BackendFailure> map_directly(const PlanOp& op, Replaces replaces) noexcept override {
        calls_.push_back({op.va, replaces});
        return {};
    }

private:
    std::vector<Call>& calls_;
};

TEST_CASE(
    "the short way is for maps that cover no window whole and cut no block, and the backend is told what is there") {
    using Replaces = AddressSpaceBackend::Replaces;
    using Calls = std::vector<DirectBackend::Call>;
    ScriptedSpace space(KernelBehaviour::kSplits);
    Calls calls;
    VmConfig config = space.vm->config();
    for (const bool direct_binds : {true, false}) {
        config.direct_binds = direct_binds;
        const Result<Owned<Vm>, Status> vm =
            Vm::create(config, space.bos, space.timelines,
                       make_owned<DirectBackend>(space.memory.memory(), space.kernel, calls), space.memory.memory());
        REQUIRE(vm.has_value());
        const auto calls_of = [&](const BindRequest& request) {
            calls.clear();
            CHECK((*vm)->bind(request).has_value());
            return calls;
        };
        const auto told = [&](const VaRange& va, Replaces replaces) {
            return direct_binds ? Calls{{va, replaces}} : Calls{};
        };
        const VaRange tile = range_at(kGiB, 64 * kKiB);
        const VaRange two = range_at(kGiB, 128 * kKiB);
        CHECK(calls_of(map_request(tile, space.bo[0])) == told(tile, Replaces::kNothing));
        CHECK(calls_of(map_request(two, space.bo[0])) == told(two, Replaces::kSomething));
        CHECK(calls_of(map_request(tile, space.bo[1])) == told(tile, Replaces::kPagesOnly));
        CHECK(calls_of(sparse_request(two)) == told(two, Replaces::kPagesOnly));
        // Over a window's end, with a page of each window left out.
        const VaRange across = range_at(kGiB + 4 * kMiB + kPageBytes, 4 * kMiB - 2 * kPageBytes);
        CHECK(calls_of(map_request(across, space.bo[0])) == told(across, Replaces::kNothing));
        // More parts than it counts.
        const VaRange pieces = range_at(kGiB + 3 * kMiB, 5 * kPageBytes);
        for (Va page = pieces.start; page < pieces.end; page = page + kPageBytes) {
            const VaRange one{page, page + kPageBytes};
            CHECK(calls_of(map_request(one, space.bo[0])) == told(one, Replaces::kNothing));
        }
        CHECK(calls_of(map_request(pieces, space.bo[0], kMiB)).empty());
        // A window, either of whose ends is then inside the block, and what is no map.
        const VaRange window = range_at(2 * kGiB, 2 * kMiB);
        CHECK(calls_of(sparse_request(window)).empty());
        CHECK(calls_of(map_request(range_at(2 * kGiB + kMiB, 64 * kKiB), space.bo[0])).empty());
        CHECK(calls_of(sparse_request(range_at(2 * kGiB + 4 * kMiB - kPageBytes, 2 * kMiB + kPageBytes))).empty());
        CHECK(calls_of(unmap_request(tile)).empty());
    }
}

TEST_CASE("the short way ends a BO that nobody holds any more, and keeps one that is mapped over itself") {
    Owned<SoftDevice> device = make_device(device_config());
    Owned<Vm> vm = make_vm(*device);
    const BoId first = make_bo(*device, kMiB);
    const BoId second = make_bo(*device, kMiB);
    const VaRange tile = range_at(kGiB, 64 * kKiB);
    REQUIRE(vm->bind(map_request(tile, first)).has_value());
    REQUIRE(vm->bind(map_request(tile, first, 64 * kKiB)).has_value());
    device->bos().release(*device->bos().find(first), 1);
    REQUIRE(vm->bind(map_request(tile, first)).has_value());
    CHECK(device->bos().find(first)->references() == 16);
    CHECK(device->bos().find(first)->mapped_pages() == 16);
    REQUIRE(vm->bind(map_request(tile, second)).has_value());
    CHECK(device->bos().find(first) == nullptr);
    CHECK(vm->bind(map_request(tile, first)).error().status == Status::kUnknownBo);
    CHECK(device->bos().find(second)->references() == 17);
    device->bos().release(*device->bos().find(second), 1);
}

}  // namespace
}  // namespace granule::test
