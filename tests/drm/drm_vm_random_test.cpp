// Random binds, seeded, through Vm and panthor's address space on the fake kernel: every behaviour, every kind of memory,
// with and without MAP_SPARSE; maps, sparse maps and unmaps of all sizes and policies, alone, in transactions and queued,
// BOs that come and go, and BOs of another driver.
//
// After each operation the kernel's page tables are what a naive oracle says, page by page; the ledger knows every block
// that the kernel has; the kernel has not oopsed, warned or lost the VM, and no call took more than one VM_BIND.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/drm/panthor_uapi.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/page_oracle.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSeed = 0x70616e74686f72;
constexpr std::uint64_t kOperations = kSanitized ? 12'000 : 120'000;
constexpr std::uint64_t kFullCheckEvery = 500;

struct Setup {
    KernelBehaviour behaviour = KernelBehaviour::kSplits;
    FakeMemory memory = FakeMemory::kHuge;
    bool sparse = false;  // the driver has MAP_SPARSE
    bool splits = false;  // kOopses: and splits
    // kOopses: only because its release is not known. It realigns.
    bool unknown = false;
};

std::vector<Setup> setups() {
    std::vector<Setup> all;
    for (const FakeMemory memory : {FakeMemory::kHuge, FakeMemory::kSmall, FakeMemory::kLucky}) {
        for (const bool sparse : {false, true}) {
            all.push_back({KernelBehaviour::kSplits, memory, sparse, true});
            all.push_back({KernelBehaviour::kRefuses, memory, sparse, false});
            all.push_back({KernelBehaviour::kOopses, memory, sparse, false});
            all.push_back({KernelBehaviour::kOopses, memory, sparse, true});
            all.push_back({KernelBehaviour::kOopses, memory, sparse, false, true});
            all.push_back({KernelBehaviour::kRealigns, memory, sparse, false});
        }
    }
    return all;
}

FakeKernel kernel_of(const Setup& setup) {
    FakeKernel kernel = fake_panthor(setup.unknown ? KernelBehaviour::kRealigns : setup.behaviour, setup.memory);
    if (setup.unknown) {
        kernel.release = "7.1.3";
    }
    kernel.splits = setup.splits;
    kernel.map_sparse = setup.sparse;
    kernel.minor = setup.sparse ? panthor::kMinorSparse : std::min(kernel.minor, panthor::kMinorCachedBos);
    return kernel;
}

class RandomRun {
public:
    RandomRun(const Setup& setup, std::uint64_t seed)
        : setup_(setup), random_(seed), fixture_(kernel_of(setup)), vm_(fixture_.make_vm()) {
        REQUIRE(fixture_.device->facts().behaviour == setup.behaviour);
        for (std::size_t i = 0; i < bos_.size(); ++i) {
            bos_.at(i) = new_bo(i);
        }
        Result<Owned<Timeline>, OsError> timeline = fixture_.device->create_timeline();
        REQUIRE(timeline.has_value());
        timeline_ = std::move(*timeline);
    }
    RandomRun(const RandomRun&) = delete;
    RandomRun& operator=(const RandomRun&) = delete;
    ~RandomRun() {
        vm_ = {};
        timeline_ = {};
        for (const BoId bo : bos_) {
            fixture_.release(bo);
        }
    }

    // "" or what went wrong first.
    std::string run(std::uint64_t operations) {
        fixture_.drm.record_calls(8);
        for (std::uint64_t i = 0; i < operations && problem_.empty(); ++i) {
            const std::uint64_t kind = below(100);
            if (kind < 2) {
                exchange_bo();
            } else if (kind < 12) {
                transaction();
            } else if (kind < 17) {
                queued();
            } else {
                single();
            }
            ++steps_;
            check_kernel();
            if (i % kFullCheckEvery == kFullCheckEvery - 1 || i + 1 == operations) {
                check_all();
            }
        }
        return problem_.empty() ? "" : "step " + std::to_string(steps_) + ": " + problem_;
    }

private:
    static constexpr std::size_t kImported = 4;  // a BO of another driver
    static constexpr std::size_t kSmallBo = 5;   // less than a block

    std::uint64_t below(std::uint64_t end) { return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(random_); }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

    BoId new_bo(std::size_t which) {
        BoId bo{};
        if (which == kImported) {
            const int dma_buf = fixture_.drm.make_foreign_dma_buf(8 * kMiB);
            bo = fixture_.import(dma_buf);
            fixture_.drm.close(dma_buf);
        } else {
            bo = fixture_.make_bo(which == kSmallBo ? kMiB : 8 * kMiB);
        }
        objects_[bo] = fixture_.object_of(bo);
        return bo;
    }

    VaRange place(std::uint64_t most) {
        std::uint64_t bytes = (1 + below(16)) * kPageBytes;
        if (one_in(4)) {
            bytes = (1 + below(3)) * kBlock2MBytes;
        } else if (one_in(4)) {
            bytes = (1 + below(1200)) * kPageBytes;
        }
        bytes = std::min(bytes, most);
        const VaRange& window = oracle_.window();
        std::uint64_t start = below((window.size() - bytes) / kPageBytes + 1) * kPageBytes;
        if (one_in(3)) {
            start = align_down(start, kBlock2MBytes);
            if (one_in(2) && start >= kPageBytes) {
                start -= kPageBytes;
            }
        }
        return {window.start + start, window.start + start + bytes};
    }

    BindRequest request() {
        BindRequest made;
        made.va = place(8 * kMiB);
        const std::uint64_t policy = below(10);
        made.policy = policy < 7 ? UnmapPolicy::kSplit : (policy < 9 ? UnmapPolicy::kReject : UnmapPolicy::kEnlarge);
        const std::uint64_t kind = below(20);
        if (kind < 7) {
            return made;
        }
        made.kind = BindRequest::Kind::kMap;
        made.leaves = one_in(4) ? LeafPolicy::kPage : LeafPolicy::kLargest;
        made.shows.flags = {one_in(4), one_in(4), one_in(4)};
        if (kind < 9) {
            return made;
        }
        made.shows.bo = bos_.at(below(bos_.size()));
        const std::uint64_t size = fixture_.bo(made.shows.bo).size;
        made.va.end = made.va.start + std::min(made.va.size(), size);
        made.shows.offset = BoOffset{below((size - made.va.size()) / kPageBytes + 1) * kPageBytes};
        // VA and BO agree, so that there are blocks; or as far off as memory can be by luck.
        if (one_in(2)) {
            const std::uint64_t off = one_in(3) ? 7 * kPageBytes : 0;
            const std::uint64_t phase = (made.va.start.raw() + kBlock2MBytes - off) % kBlock2MBytes;
            if (phase + made.va.size() <= size) {
                made.shows.offset =
                    BoOffset{phase + below((size - phase - made.va.size()) / kBlock2MBytes + 1) * kBlock2MBytes};
            }
        }
        return made;
    }

    void single() {
        const BindRequest asked = request();
        const std::uint64_t binds = fixture_.drm.count(DrmCallKind::kVmBind);
        const Result<BindReport, BindError> done = vm_->bind(asked);
        if (fixture_.drm.count(DrmCallKind::kVmBind) > binds + 1) {
            complain("a bind took more than one ioctl");
        }
        VaRange touched = asked.va;
        if (done) {
            if (asked.policy == UnmapPolicy::kEnlarge && !done->touched.empty()) {
                oracle_.unmap(done->touched);
                touched = done->touched;
            }
            oracle_.bind(asked);
        } else if (done.error().status != Status::kGranuleCut || asked.policy != UnmapPolicy::kReject) {
            complain(std::string("a bind failed: ") + to_string(done.error().status));
        }
        check_windows(touched);
    }

    Transaction some_requests(std::vector<BindRequest>& requests) {
        Transaction transaction;
        requests.resize(1 + below(16));
        for (BindRequest& asked : requests) {
            asked = request();
            // What enlarge takes depends on the requests before it: the oracle does not know.
            if (asked.policy == UnmapPolicy::kEnlarge || !one_in(10)) {
                asked.policy = UnmapPolicy::kSplit;
            }
            if (transaction.add(asked) != Status::kOk) {
                complain("no memory");
            }
        }
        return transaction;
    }

    void took(const std::vector<BindRequest>& requests, const Result<BindReport, BindError>& done) {
        if (done) {
            for (const BindRequest& asked : requests) {
                oracle_.bind(asked);
            }
        } else if (done.error().status != Status::kGranuleCut) {
            complain(std::string("a transaction failed: ") + to_string(done.error().status));
        }
    }

    void transaction() {
        std::vector<BindRequest> requests;
        const Transaction transaction = some_requests(requests);
        const std::uint64_t binds = fixture_.drm.count(DrmCallKind::kVmBind);
        took(requests, vm_->commit(transaction));
        if (fixture_.drm.count(DrmCallKind::kVmBind) > binds + 1) {
            complain("a transaction took more than one ioctl");
        }
        for (const BindRequest& asked : requests) {
            check_windows(asked.va);
        }
    }

    // Some transactions that wait in the kernel's queue, one behind the other, and then run. Each is two groups, of which
    // one may have nothing but the fences.
    void queued() {
        fixture_.drm.hold_queues();
        const std::uint32_t syncobj = DrmDevice::syncobj_of(*timeline_);
        std::vector<BindRequest> all;
        for (std::uint64_t i = 1 + below(3); i > 0; --i) {
            std::vector<BindRequest> requests;
            const Transaction transaction = some_requests(requests);
            const SyncobjPoint waits{syncobj, point_};
            const SyncobjPoint signals{syncobj, point_ + 1};
            const bool wait = point_ != 0 && one_in(2);
            const std::uint64_t binds = fixture_.drm.count(DrmCallKind::kVmBind);
            const std::size_t first = below(transaction.size() + 1);
            const std::array groups{
                BindGroup{transaction.requests().first(first), {&waits, wait ? std::size_t{1} : 0}, {}},
                BindGroup{transaction.requests().subspan(first), {}, {&signals, 1}}};
            const Result<BindReport, BindError> done = vm_->submit(groups);
            if (fixture_.drm.count(DrmCallKind::kVmBind) > binds + 1) {
                complain("a queued transaction took more than one ioctl");
            }
            point_ += done ? 1U : 0U;
            took(requests, done);
            all.insert(all.end(), requests.begin(), requests.end());
        }
        fixture_.drm.release_queues();
        if (!timeline_->wait(point_, std::chrono::nanoseconds::max()) || timeline_->value() != point_) {
            complain("the queue does not signal");
        }
        if (vm_->check() != Status::kOk) {
            complain("the VM is lost");
        }
        for (const BindRequest& asked : all) {
            check_windows(asked.va);
        }
    }

    // A BO loses its handle, and lives on where it is mapped; another one takes its place, and often its handle.
    void exchange_bo() {
        const std::size_t which = below(bos_.size());
        fixture_.release(bos_.at(which));
        bos_.at(which) = new_bo(which);
    }

    [[nodiscard]] bool agrees(Va va, const FakePage& found) {
        const PageOracle::Page& page = oracle_.at(va);
        if (found.mapped != page.mapped || !page.mapped) {
            return found.mapped == page.mapped;
        }
        if (page.bo == kNoBo) {
            // The kernel's memory for it, or ours: whichever, always the same, and nothing to execute.
            sparse_object_ = sparse_object_ == 0 ? found.object : sparse_object_;
            return found.sparse == setup_.sparse && found.object == sparse_object_ &&
                   found.offset == va.raw() % kBlock2MBytes && found.flags.noexec &&
                   found.flags.readonly == page.flags.readonly && found.flags.uncached == page.flags.uncached;
        }
        return found.object == objects_.at(page.bo) && found.offset == page.page * kPageBytes &&
               found.flags == page.flags;
    }

    // The blocks around a range, wholly.
    void check_windows(const VaRange& range) {
        const VaRange whole{range.start.align_down(kBlock2MBytes), range.end.align_up(kBlock2MBytes)};
        const std::vector<FakePage> pages = fixture_.drm.pages(fixture_.fd(), vm_->kernel_id(), whole);
        Va va = whole.start;
        for (const FakePage& page : pages) {
            if (!agrees(va, page)) {
                complain("the kernel shows something else at " + std::to_string(va.raw()));
                return;
            }
            if (page.leaf == LeafSize::k2M && va.is_aligned(kBlock2MBytes) && vm_->granule_at(va) < LeafSize::k2M) {
                complain("the ledger does not know of the block at " + std::to_string(va.raw()));
                return;
            }
            va = va + kPageBytes;
        }
    }

    void check_kernel() {
        if (!fixture_.drm.quiet()) {
            const FakeKernelLog log = fixture_.drm.log();
            complain(log.oopsed() ? log.oops : (log.warnings.empty() ? "the VM is lost" : log.warnings.front()));
        }
        const bool kernel_may_cut =
            setup_.behaviour == KernelBehaviour::kSplits || setup_.behaviour == KernelBehaviour::kRealigns;
        if (!kernel_may_cut && fixture_.drm.log().leaf_cuts != 0) {
            complain("P1: a leaf was cut");
        }
    }

    void check_all() {
        check_windows(oracle_.window());
        if (const std::string wrong = fixture_.drm.disagreement(fixture_.fd(), vm_->kernel_id()); !wrong.empty()) {
            complain(wrong);
        }
        PageOracle said(oracle_.window());
        vm_->for_each_mapping(vm_->config().space, [&](const Mapping& mapping) {
            said.bind({BindRequest::Kind::kMap, mapping.va, mapping.shows, UnmapPolicy::kReject, LeafPolicy::kLargest});
        });
        for (Va va = oracle_.window().start; va < oracle_.window().end; va = va + kPageBytes) {
            if (!(said.at(va) == oracle_.at(va))) {
                complain("the mappings say something else at " + std::to_string(va.raw()));
            }
        }
        std::map<BoId, std::uint64_t> shown = oracle_.pages_of_bos();
        for (const BoId bo : bos_) {
            shown.try_emplace(bo, 0);
        }
        if (fixture_.bos().live() != shown.size() || fixture_.device->bo_backend().open_handles() != shown.size()) {
            complain("a BO or a handle lives that nobody holds");
        }
    }

    void complain(const std::string& problem) {
        if (problem_.empty()) {
            problem_ = problem;
            for (const std::string& call : fixture_.drm.recorded()) {
                problem_ += "\n    " + call;
            }
        }
    }

    const Setup setup_;
    std::mt19937_64 random_;
    PageOracle oracle_{VaRange{Va{kGiB - 16 * kMiB}, Va{kGiB + 16 * kMiB}}};
    DeviceFixture fixture_;
    Owned<Vm> vm_;
    Owned<Timeline> timeline_;
    std::uint64_t point_ = 0;
    std::array<BoId, 6> bos_{};
    std::map<BoId, std::uint64_t> objects_;
    std::uint64_t sparse_object_ = 0;
    std::uint64_t steps_ = 0;
    std::string problem_;
};

TEST_CASE("P1 P2: whatever kernel it is, its page tables are what the oracle says after each random operation") {
    const std::vector<Setup> all = setups();
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::uint64_t seed = kSeed + i;
        CAPTURE(seed);
        CAPTURE(std::string(to_string(all[i].behaviour)));
        CAPTURE(static_cast<int>(all[i].memory));
        CAPTURE(all[i].sparse);
        CAPTURE(all[i].splits);
        CAPTURE(all[i].unknown);
        REQUIRE(RandomRun(all[i], seed).run(kOperations / all.size()) == "");
    }
}

}  // namespace
}  // namespace granule::test
