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
        std::vector<BindRequest> requests;
        for (std::uint64_t left = below(4) == 0 ? 2 + below(12) : 1; left != 0; --left) {
            requests.push_back(any_request());
        }
        const bool fails = below(20) == 0;
        if (fails) {
            const auto site = below(2) == 0 ? Injection::Site::kOperation : Injection::Site::kTableMemory;
            const std::uint64_t after = below(requests.size() + 1);
            direct_.failing.fail_after(site, after);
            long_.failing.fail_after(site, after);
        }
        Result<BindReport, BindError> short_way = direct_.vm->commit(requests);
        Result<BindReport, BindError> long_way = long_.vm->commit(requests);
        direct_.failing.stop();
        long_.failing.stop();
        if (fails && short_way.has_value() != long_way.has_value()) {
            // The short way asks for tables only where one is missing, and knows of no operations that undo others.
            Side& failed = short_way ? long_ : direct_;
            (short_way ? long_way : short_way) = failed.vm->commit(requests);
        }
        if (short_way.has_value() != long_way.has_value()) {
            return "one succeeds";
        }
        if (short_way && !same(*short_way, *long_way)) {
            return "the reports differ";
        }
        if (!short_way && !same(short_way.error(), long_way.error(), fails && requests.size() > 1)) {
            return "the errors differ";
        }
        if (direct_.listener.events != long_.listener.events) {
            return "the observers were told different things";
        }
        direct_.listener.events.clear();
        long_.listener.events.clear();
        for (const BindRequest& request : requests) {
            if (!same(direct_.vm->address(request.va.start).removed, long_.vm->address(request.va.start).removed)) {
                return "the journals differ";
            }
        }
        if (look_at_all) {
            if (state_of(*direct_.device, *direct_.vm) != state_of(*long_.device, *long_.vm)) {
                return "the states differ";
            }
            return disagreement(*direct_.device, *direct_.vm);
        }
        return "";
    }

    static bool same(const BindReport& a, const BindReport& b) {
        return a.serial == b.serial && a.operations == b.operations && a.granules == b.granules &&
               a.kernel_cuts == b.kernel_cuts && a.residual_bytes == b.residual_bytes &&
               a.exposed_bytes == b.exposed_bytes && a.enlarged_bytes == b.enlarged_bytes &&
               a.unmapped_bytes == b.unmapped_bytes && a.touched == b.touched;
    }
    // Which operation of many it was that was told to fail depends on how many of the unmaps are none.
    static bool same(const BindError& a, const BindError& b, bool any_request) {
        return a.status == b.status && a.group == b.group &&
               (any_request || (a.request == b.request && a.plan == b.plan)) && a.label.view() == b.label.view() &&
               a.error == b.error && a.op == b.op && a.undone == b.undone;
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

TEST_CASE("binds that take the short way answer, tell, remember and leave what the long way does") {
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
    using Calls = std::vector<std::vector<VaRange>>;
    DirectBackend(ScriptedKernel& kernel, Calls& calls) noexcept : ScriptedBackend(kernel), calls_(calls) {}

    [[nodiscard]] bool changes_directly() const noexcept override { return true; }
    [[nodiscard]] Result<DirectChange, BackendFailure> change_directly(
        std::span<const BindRequest> requests) noexcept override {
        DirectChange change;
        calls_.emplace_back();
        for (const BindRequest& request : requests) {
            calls_.back().push_back(request.va);
            ++change.operations;
            change.touched = change.touched.hull(request.va);
        }
        return change;
    }

private:
    Calls& calls_;
};

TEST_CASE("the short way is for maps that cover no window whole and unmaps, where none cuts a block, all or none") {
    using Calls = DirectBackend::Calls;
    ScriptedSpace space(KernelBehaviour::kSplits);
    Calls calls;
    VmConfig config = space.vm->config();
    for (const bool direct_binds : {true, false}) {
        config.direct_binds = direct_binds;
        const Result<Owned<Vm>, Status> vm =
            Vm::create(config, space.bos, space.timelines,
                       make_owned<DirectBackend>(space.memory.memory(), space.kernel, calls), space.memory.memory());
        REQUIRE(vm.has_value());
        const auto goes_directly = [&](const std::vector<BindRequest>& requests) {
            calls.clear();
            CHECK((*vm)->commit(requests).has_value());
            std::vector<VaRange> ranges;
            ranges.reserve(requests.size());
            for (const BindRequest& request : requests) {
                ranges.push_back(request.va);
            }
            const bool went = !calls.empty();
            CHECK(calls == (went ? Calls{ranges} : Calls{}));
            CHECK((!went || direct_binds));
            return went == direct_binds;
        };
        const VaRange tile = range_at(kGiB, 64 * kKiB);
        const VaRange two = range_at(kGiB, 128 * kKiB);
        CHECK(goes_directly({map_request(tile, space.bo[0])}));
        CHECK(goes_directly({sparse_request(two), unmap_request(tile), map_request(tile, space.bo[1])}));
        CHECK(goes_directly({unmap_request(two)}));
        // Over a window's end, with a page of each window left out.
        const VaRange across = range_at(kGiB + 4 * kMiB + kPageBytes, 4 * kMiB - 2 * kPageBytes);
        CHECK(goes_directly({map_request(across, space.bo[0])}));
        // Whole windows, of pages, and away again.
        const VaRange windows = range_at(2 * kGiB - kMiB, 8 * kMiB);
        BindRequest pages = map_request(windows, space.bo[0]);
        pages.leaves = LeafPolicy::kPage;
        CHECK(goes_directly({pages}));
        CHECK(goes_directly({unmap_request(windows)}));
        // A window that becomes a block. From then on it is in doubt whether whole windows cut one.
        const VaRange window = range_at(2 * kGiB, 2 * kMiB);
        const auto goes_the_long_way = [&](const std::vector<BindRequest>& requests) {
            return goes_directly(requests) != direct_binds;
        };
        CHECK(goes_the_long_way({map_request(tile, space.bo[0]), sparse_request(window)}));
        CHECK(goes_the_long_way({map_request(range_at(2 * kGiB + kMiB, 64 * kKiB), space.bo[0])}));
        CHECK(goes_the_long_way({sparse_request(window)}));
        CHECK(goes_the_long_way({unmap_request(range_at(2 * kGiB + 4 * kMiB, 2 * kMiB))}));
        CHECK(goes_the_long_way({sparse_request(range_at(2 * kGiB + 4 * kMiB - kPageBytes, 2 * kMiB + kPageBytes))}));
        CHECK(goes_directly({map_request(tile, space.bo[1]), unmap_request(across)}));
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

// Tiles over tiles, over holes and away, some of them twice.
std::vector<BindRequest> tiles(const std::vector<BoId>& bos) {
    std::vector<BindRequest> requests;
    for (std::uint64_t i = 0; i < 40; ++i) {
        const VaRange tile = range_at(kGiB + i * 7 % 36 * 640 * kKiB, 64 * kKiB);
        if (i % 4 == 3) {
            requests.push_back(unmap_request(tile));
        } else if (i % 4 == 2) {
            requests.push_back(sparse_request(tile));
        } else {
            requests.push_back(map_request(tile, bos[i % bos.size()], i * 64 * kKiB));
        }
    }
    return requests;
}

TEST_CASE("a batch that fails at any step has changed nothing, says why, and succeeds when it is told again") {
    for (const bool direct_binds : {true, false}) {
        for (const auto site :
             {Injection::Site::kOperation, Injection::Site::kTableMemory, Injection::Site::kDeviceMemory}) {
            CAPTURE(direct_binds);
            CAPTURE(static_cast<int>(site));
            std::uint64_t failures = 0;
            for (std::uint64_t granted = 0;; ++granted) {
                Side side(KernelBehaviour::kSplits, BoMemory::kScattered, direct_binds);
                REQUIRE(side.vm->bind(map_request(range_at(kGiB, 3 * kMiB), side.bos[0])).has_value());
                side.listener.events.clear();
                const std::vector<BindRequest> requests = tiles(side.bos);
                const VmState before = state_of(*side.device, *side.vm);
                side.failing.fail_after(site, granted);
                const Result<BindReport, BindError> done = side.vm->commit(requests);
                const bool failed = side.failing.failed();
                side.failing.stop();
                REQUIRE(disagreement(*side.device, *side.vm) == "");
                if (!failed) {
                    REQUIRE(done.has_value());
                    break;
                }
                ++failures;
                REQUIRE(!done.has_value());
                CHECK(done.error().undone);
                if (site == Injection::Site::kOperation) {
                    CHECK(done.error().status == Status::kBackendFailed);
                    CHECK(done.error().error == Failing::kError);
                    CHECK(done.error().request < requests.size());
                    CHECK(done.error().plan.request == requests[done.error().request].va);
                } else {
                    CHECK(is_shortage(done.error().status));
                    CHECK(done.error().request == BindError::kAll);
                }
                CHECK(side.listener.events.empty());
                REQUIRE(state_of(*side.device, *side.vm) == before);
                REQUIRE(side.vm->commit(requests).has_value());
            }
            CHECK(failures != 0);
        }
    }
}

TEST_CASE("a batch for which there is no node memory has changed nothing, and one of unmaps needs none") {
    for (const bool direct_binds : {true, false}) {
        CAPTURE(direct_binds);
        std::uint64_t failures = 0;
        for (std::uint64_t granted = 0;; ++granted) {
            TestMemory memory;
            SoftDeviceConfig config = device_config();
            config.nodes = memory.memory();
            Owned<SoftDevice> device = make_device(config);
            Owned<Vm> vm = make_vm(*device, 64, direct_binds);
            const std::vector<BoId> bos{make_bo(*device, kBoBytes), make_bo(*device, kBoBytes)};
            const std::vector<BindRequest> requests = tiles(bos);
            const VmState before = state_of(*device, *vm);
            const std::uint64_t refusals = memory.refusals();
            memory.refuse_after(granted);
            const Result<BindReport, BindError> done = vm->commit(requests);
            const bool refused = memory.refusals() != refusals;
            memory.refuse_nothing();
            REQUIRE(disagreement(*device, *vm) == "");
            if (!done) {
                ++failures;
                CHECK(done.error().status == Status::kOutOfHostMemory);
                REQUIRE(state_of(*device, *vm) == before);
                REQUIRE(vm->commit(requests).has_value());
            }
            std::vector<BindRequest> unmaps;
            vm->for_each_mapping(vm->config().space,
                                 [&](const Mapping& mapping) { unmaps.push_back(unmap_request(mapping.va)); });
            REQUIRE(unmaps.size() > 10);
            memory.refuse_everything();
            const std::uint64_t asked = memory.requests();
            REQUIRE(vm->commit(unmaps).has_value());
            CHECK((!direct_binds || memory.requests() == asked));
            memory.refuse_nothing();
            CHECK(vm->statistics().mappings == 0);
            for (const BoId bo : bos) {
                CHECK(device->bos().find(bo)->references() == 1);
                device->bos().release(*device->bos().find(bo), 1);
            }
            if (!refused) {
                REQUIRE(done.has_value());
                break;
            }
        }
        CHECK(failures != 0);
    }
}

TEST_CASE("a batch that maps a BO again in place of its last page keeps it, and one that does not ends it") {
    Owned<SoftDevice> device = make_device(device_config());
    Owned<Vm> vm = make_vm(*device);
    const BoId bo = make_bo(*device, kMiB);
    const VaRange tile = range_at(kGiB, 64 * kKiB);
    const VaRange other = range_at(kGiB + kMiB, 64 * kKiB);
    REQUIRE(vm->bind(map_request(tile, bo)).has_value());
    device->bos().release(*device->bos().find(bo), 1);
    const std::vector<BindRequest> moves{unmap_request(tile), map_request(other, bo)};
    REQUIRE(vm->commit(moves).has_value());
    CHECK(device->bos().find(bo)->references() == 16);
    const std::vector<BindRequest> ends{map_request(tile, bo), unmap_request(other), sparse_request(tile)};
    const Result<BindReport, BindError> done = vm->commit(ends);
    REQUIRE(done.has_value());
    CHECK(done->operations == 3);
    CHECK(done->unmapped_bytes == 128 * kKiB);
    CHECK(device->bos().find(bo) == nullptr);
}

TEST_CASE("unmaps of holes write no registers, the short way and the long way") {
    for (const auto protocol : {mali::MmuProtocol::kJobManager, mali::MmuProtocol::kCsfFlush}) {
        for (const bool direct_binds : {true, false}) {
            CAPTURE(static_cast<int>(protocol));
            CAPTURE(direct_binds);
            SoftDeviceConfig config = device_config();
            config.protocol = protocol;
            Owned<SoftDevice> device = make_device(config);
            Owned<Vm> vm = make_vm(*device, 64, direct_binds);
            const VaRange tile = range_at(kGiB, 64 * kKiB);
            REQUIRE(vm->bind(sparse_request(tile)).has_value());
            REQUIRE(translates(*device, *vm, tile.start));
            const std::uint64_t written = device->gpu().counters().register_writes;
            const std::vector<BindRequest> holes{unmap_request(range_at(2 * kGiB, kMiB)),
                                                 unmap_request(range_at(kGiB + kMiB, 64 * kKiB))};
            REQUIRE(vm->commit(holes).has_value());
            REQUIRE(vm->bind(holes.front()).has_value());
            CHECK(device->gpu().counters().register_writes == written);
            REQUIRE(vm->bind(unmap_request(tile)).has_value());
            CHECK(device->gpu().counters().register_writes > written);
        }
    }
}

TEST_CASE("what a batch replaces is out of the TLB when the call returns, on every protocol of the MMU") {
    for (const auto protocol :
         {mali::MmuProtocol::kJobManager, mali::MmuProtocol::kCsfFlush, mali::MmuProtocol::kCsfAtomic}) {
        CAPTURE(static_cast<int>(protocol));
        SoftDeviceConfig config = device_config();
        config.protocol = protocol;
        Owned<SoftDevice> device = make_device(config);
        Owned<Vm> vm = make_vm(*device);
        const BoId bo = make_bo(*device, kMiB);
        std::vector<BindRequest> requests;
        for (std::uint64_t i = 0; i < 20; ++i) {
            requests.push_back(sparse_request(range_at(kGiB + i * kMiB, 64 * kKiB)));
        }
        REQUIRE(vm->commit(requests).has_value());
        for (const BindRequest& request : requests) {
            REQUIRE(translates(*device, *vm, request.va.start));
        }
        for (std::size_t i = 0; i < requests.size(); i += 2) {
            requests[i] = unmap_request(requests[i].va);
            requests[i + 1] = map_request(requests[i + 1].va, bo, i * 4 * kKiB);
        }
        REQUIRE(vm->commit(requests).has_value());
        for (std::size_t i = 0; i < requests.size(); i += 2) {
            CHECK(!translates(*device, *vm, requests[i].va.start));
            const mali::Access access = gpu_access(*device, *vm, requests[i + 1].va.start);
            CHECK(access.outcome == mali::Access::Outcome::kDone);
            CHECK(access.pa == pa_in(*device, bo, i * 4 * kKiB));
        }
        CHECK(device->gpu().counters().stale == 0);
        device->bos().release(*device->bos().find(bo), 1);
    }
}

}  // namespace
}  // namespace granule::test
