// A driver's life on panthor, from opening the device to closing it, as steps that can fail.
//
// A step that fails has changed nothing, here or in the kernel (P3), and is done the second time. What gives back
// allocates nothing and cannot fail (P4). A VM that could not be brought back says so, is rebuilt, and shows what it
// showed.
//
// Thread-safety: none.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test::life {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kBase = std::uint64_t{4} << 30;

inline VaRange at(std::uint64_t offset, std::uint64_t bytes) {
    return {Va{kBase + offset}, Va{kBase + offset + bytes}};
}
inline BindRequest map_request(const VaRange& va, BoId bo, std::uint64_t offset,
                               LeafPolicy leaves = LeafPolicy::kLargest) {
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = va;
    request.shows.bo = bo;
    request.shows.offset = BoOffset{offset};
    request.policy = UnmapPolicy::kSplit;
    request.leaves = leaves;
    return request;
}
inline BindRequest sparse_request(const VaRange& va) {
    return map_request(va, kNoBo, 0);
}
inline BindRequest unmap_request(const VaRange& va) {
    BindRequest request;
    request.va = va;
    request.policy = UnmapPolicy::kSplit;
    return request;
}

// Everything that a failed call may not have changed, of one device and its VM.
struct Snapshot {
    FakeDrmCensus census;
    std::uint64_t open_handles = 0;
    std::vector<std::tuple<BoId, std::uint64_t, std::uint64_t>> bos;  // references, pages shown
    std::vector<FakeGpuVm::Leaf> leaves;
    std::vector<Mapping> mappings;
    std::vector<VaAllocation> reserved;
    std::uint64_t blocks = 0;  // in the ledger
    std::uint64_t mapped_bytes = 0;
    std::uint64_t binds = 0;
    bool usable = false;
};

// Thrown by a step where the test is over.
struct Over {};

// How a step ended.
struct Outcome {
    bool done = true;
    bool lost = false;  // the VM: what was done could not be undone, or the kernel dropped it
    std::string how;
};
inline Outcome outcome_of(Status status) {
    return {status == Status::kOk, false, to_string(status)};
}
template <class T>
Outcome outcome_of(const Result<T, Status>& result) {
    return result ? Outcome{} : outcome_of(result.error());
}
template <class T>
Outcome outcome_of(const Result<T, OsError>& result) {
    return result ? Outcome{} : Outcome{false, false, result.error().call};
}
template <class T>
Outcome outcome_of(const Result<T, VaError>& result) {
    return {result.has_value(), false, "VA"};
}
template <class T>
Outcome outcome_of(const Result<T, BindError>& result) {
    if (result) {
        return {};
    }
    const bool lost = !result.error().undone || result.error().status == Status::kVmUnusable;
    return {false, lost, to_string(result.error().status)};
}

// How much had been asked for when a step began: by this a test knows in which step its failure will be.
struct StepStart {
    std::uint64_t calls = 0;
    std::uint64_t binds = 0;
    std::uint64_t allocations = 0;
};
inline constexpr std::size_t kNoStep = std::numeric_limits<std::size_t>::max();

class Life {
public:
    // `watched`: the step that can fail.
    Life(FakeDrm& drm, FailingDrmCalls& calls, TestMemory& memory, std::size_t watched)
        : drm_(drm), calls_(calls), memory_(memory), watched_(watched) {}
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;
    Life(Life&&) = delete;
    Life& operator=(Life&&) = delete;
    ~Life() { end(); }

    // The device may go for good: the first step that fails is the last one then.
    void live(bool device_goes = false) {
        device_goes_ = device_goes;
        try {
            open();
            make_bos();
            bind();
            bind_many();
            bind_later();
            give_back();
        } catch (const Over&) {
        }
        end();
    }

    [[nodiscard]] std::uint64_t failed_steps() const noexcept { return failed_; }
    [[nodiscard]] std::uint64_t rebuilds() const noexcept { return rebuilds_; }
    // Handles that the kernel did not take back.
    [[nodiscard]] std::uint64_t failed_closes() const noexcept { return failed_closes_; }
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
    [[nodiscard]] const std::vector<StepStart>& steps() const noexcept { return steps_; }

private:
    void open() {
        step("open the device", 0, [&] {
            DrmDeviceConfig config;
            config.calls = &calls_;
            config.nodes = memory_.memory();
            Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, config);
            if (opened) {
                device_ = std::move(*opened);
            }
            return outcome_of(opened);
        });
        step("create a VM", 0, [&] { return keep(device_->create_vm(vm_config()), vm_); });
        lost_ = vm_.get();
        step("create a timeline", 0, [&] { return keep(device_->create_timeline(), timeline_); });
    }

    void make_bos() {
        for (BoId& bo : bos_) {
            step("create a BO", 0, [&] {
                BoRequest request;
                request.bytes = 6 * kMiB;
                request.shareable = true;
                return keep(device_->create_bo(request), bo);
            });
        }
        step("label a BO", 0, [&] { return outcome_of(bos().set_label(*bos().find(bos_[0]), "a label")); });
        step("look at a BO", 0, [&] { return outcome_of(bos().map_cpu(*bos().find(bos_[0]))); });
        int dma_buf = -1;
        step("export a BO", 0, [&] { return keep(device_->export_bo(*bos().find(bos_[1])), dma_buf); });
        fds_.push_back(dma_buf);
        step("import it again", 0, [&] {
            BoId again = kNoBo;
            Outcome imported = keep(device_->import_bo(dma_buf), again);
            require(!imported.done || again == bos_[1], "an import is another BO");
            return imported;
        });
        bos().release(*bos().find(bos_[1]), 1);
        const int foreign = drm_.make_foreign_dma_buf(4 * kMiB);
        fds_.push_back(foreign);
        step("import a BO of another driver", 0, [&] { return keep(device_->import_bo(foreign), foreign_); });
    }

    void bind() {
        step("reserve VA", 0, [&] { return outcome_of(vm_->reserve_va_at(at(0, 64 * kMiB))); });
        bind_step("map", map_request(at(0, 6 * kMiB), bos_[0], 0));
        bind_step("map another one", map_request(at(6 * kMiB, 6 * kMiB), bos_[1], 0));
        bind_step("map over a part of a block", map_request(at(kMiB, 64 * kKiB), bos_[1], 0));
        bind_step("map over a part of two", map_request(at(5 * kMiB, 2 * kMiB), bos_[2], 0));
        bind_step("unmap a page of a block", unmap_request(at(3 * kMiB, 4 * kKiB)));
        bind_step("unmap a block inside a mapping", unmap_request(at(8 * kMiB, 2 * kMiB)));
        bind_step("map the same over it again", map_request(at(0, 6 * kMiB), bos_[0], 0));
        bind_step("map pages over blocks", map_request(at(2 * kMiB, 2 * kMiB), bos_[2], 2 * kMiB, LeafPolicy::kPage));
        bind_step("map sparse", sparse_request(at(16 * kMiB + 64 * kKiB, 4 * kMiB)));
        bind_step("map into sparse", map_request(at(18 * kMiB, 64 * kKiB), bos_[2], 0));
        bind_step("map what is of another driver", map_request(at(24 * kMiB, 4 * kMiB), foreign_, 0));
        bind_step("map over a part of it", map_request(at(25 * kMiB, 2 * kMiB), bos_[1], kMiB));
    }

    void bind_many() {
        Transaction transaction;
        for (const BindRequest& request :
             {map_request(at(0, 64 * kKiB), bos_[2], 0), map_request(at(64 * kKiB, 64 * kKiB), bos_[2], 64 * kKiB),
              unmap_request(at(4 * kMiB, 8 * kKiB)), map_request(at(7 * kMiB, kMiB), bos_[0], 3 * kMiB),
              sparse_request(at(6 * kMiB, 2 * kMiB)), map_request(at(10 * kMiB, 2 * kMiB), bos_[2], 4 * kMiB),
              unmap_request(at(10 * kMiB + 512 * kKiB, 4 * kKiB)),
              map_request(at(32 * kMiB, 6 * kMiB), bos_[1], 0, LeafPolicy::kPage)}) {
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        step("a transaction", kMakesDummy, [&] { return outcome_of(vm_->commit(transaction)); });
    }

    void bind_later() {
        Transaction transaction;
        for (const BindRequest& request :
             {map_request(at(40 * kMiB, 4 * kMiB), bos_[0], 0), unmap_request(at(41 * kMiB, 4 * kKiB)),
              map_request(at(42 * kMiB, kMiB), bos_[1], 0), sparse_request(at(44 * kMiB, 4 * kMiB))}) {
            REQUIRE(transaction.add(request) == Status::kOk);
        }
        const SyncobjPoint waits{DrmDevice::syncobj_of(*timeline_), 1};
        const SyncobjPoint signals{DrmDevice::syncobj_of(*timeline_), 2};
        timeline_->signal(1);
        if (timeline_->status() != Status::kOk) {  // the kernel does not know of it yet
            timeline_->signal(1);
        }
        step("queue a transaction", kMakesDummy | kMakesSyncobj, [&] {
            return outcome_of(vm_->submit(transaction, {&waits, 1}, {&signals, 1}));
        });
        static_cast<void>(timeline_->wait(2, std::chrono::seconds(1)));
        step("ask for the VM", 0, [&] {
            const Status status = vm_->check();
            return Outcome{status == Status::kOk, status == Status::kVmUnusable, to_string(status)};
        });
        bind_step("map over what is queued", map_request(at(41 * kMiB, 2 * kMiB), bos_[2], 0));
        // A VM that is there for a while.
        Owned<Vm> other;
        step("create another VM", 0, [&] { return keep(device_->create_vm(vm_config()), other); });
        lost_ = other.get();
        step("map in it", 0, [&] { return outcome_of(other->bind(map_request(at(0, 2 * kMiB), bos_[0], 0))); });
        lost_ = vm_.get();
        giving_back([&] { other = {}; });
    }

    void give_back() {
        // Its pages keep it.
        giving_back([&] { bos().release(*bos().find(bos_[2]), 1); });
        released_ = true;
        Transaction unmaps;
        for (const VaRange& va : {at(6 * kMiB, kMiB), at(16 * kMiB, 5 * kMiB), at(24 * kMiB, 8 * kKiB)}) {
            REQUIRE(unmaps.add(unmap_request(va)) == Status::kOk);
        }
        step("a transaction of unmaps", 0, [&] { return outcome_of(vm_->commit(unmaps)); });
        bind_step("unmap without memory", unmap_request(at(kMiB, 4 * kMiB)), true);
        bind_step("unmap all", unmap_request(at(0, 64 * kMiB)), true);
        giving_back([&] { require(vm_->release_va(at(0, 64 * kMiB)).has_value(), "P4: VA is not taken back"); });
    }

    void end() {
        for (const int fd : std::exchange(fds_, {})) {
            drm_.close(fd);
        }
        giving_back([&] {
            vm_ = {};
            timeline_ = {};
            if (device_) {
                for (std::size_t i = 0; i < bos_.size(); ++i) {
                    if (bos_[i] != kNoBo && !(released_ && i == 2)) {
                        bos().release(*bos().find(bos_[i]), 1);
                    }
                }
                if (foreign_ != kNoBo) {
                    bos().release(*bos().find(foreign_), 1);
                }
                bos_ = {kNoBo, kNoBo, kNoBo};
                foreign_ = kNoBo;
                require(bos().live() == 0, "a BO is left");
                require(device_->bo_backend().open_handles() == 0, "a handle is left");
                failed_closes_ = device_->bo_backend().failed_closes();
            }
            device_ = {};
        });
    }

    // What a VM makes when it needs it for the first time, and keeps.
    static constexpr unsigned kMakesDummy = 1;
    static constexpr unsigned kMakesSyncobj = 2;

    // Failures are planned for: what fails changes nothing, and is done the second time.
    template <class Body>
    void step(const char* name, unsigned makes, Body&& body) {
        const bool watched = steps_.size() == watched_;
        steps_.push_back({calls_.calls(), calls_.calls(DrmCallKind::kVmBind), memory_.requests()});
        const Snapshot before = watched ? snapshot() : Snapshot{};
        const Outcome first = body();
        if (!problem_.empty()) {
            throw Over{};
        }
        if (first.done) {
            return;
        }
        ++failed_;
        if (device_goes_) {
            throw Over{};
        }
        const auto complain = [&](const std::string& what) {
            require(false, std::string(name) + ": " + what);
            throw Over{};
        };
        if (!watched || (!calls_.failed() && memory_.refusals() == 0)) {
            complain("failed for nothing: " + first.how);
        }
        calls_.stop();
        memory_.refuse_nothing();
        if (first.lost) {
            ++rebuilds_;
            require(drm_.leaves(fd(), lost_->kernel_id()).empty(), "the GPU sees something of a VM that is lost");
            if (const Result<RebuildReport, BindError> rebuilt = lost_->rebuild(); !rebuilt) {
                complain(std::string("is not rebuilt: ") + to_string(rebuilt.error().status));
            }
        }
        if (const std::string changed = difference(before, snapshot(), makes, first.lost); !changed.empty()) {
            complain("P3: failed, and " + changed + " changed");
        }
        if (const Outcome second = body(); !second.done) {
            complain("fails again: " + second.how);
        }
    }
    void bind_step(const char* name, const BindRequest& request, bool no_memory = false) {
        const unsigned makes = request.kind == BindRequest::Kind::kMap && request.shows.bo == kNoBo ? kMakesDummy : 0;
        step(name, makes, [&] {
            if (no_memory) {
                memory_.refuse_everything();
            }
            Outcome outcome = outcome_of(vm_->bind(request));
            if (no_memory) {
                memory_.refuse_nothing();
                outcome.done = outcome.done || !calls_.failed();
                require(outcome.done || calls_.failed(), "P4: an unmap needs memory");
            }
            return outcome;
        });
    }
    template <class Body>
    void giving_back(Body&& body) {
        const std::uint64_t requests = memory_.requests();
        body();
        require(memory_.requests() == requests, "P4: giving back asks for memory");
    }

    template <class T, class Error>
    static Outcome keep(Result<T, Error> result, T& into) {
        if (result) {
            into = std::move(*result);
        }
        return outcome_of(result);
    }

    [[nodiscard]] Snapshot snapshot() {
        Snapshot now;
        now.census = drm_.census();
        if (!device_) {
            return now;
        }
        now.open_handles = device_->bo_backend().open_handles();
        bos().for_each([&](const Bo& bo) { now.bos.emplace_back(bo.id, bo.references(), bo.mapped_pages()); });
        if (!vm_) {
            return now;
        }
        now.leaves = drm_.leaves(fd(), vm_->kernel_id());
        vm_->for_each_mapping(vm_->config().space, [&](const Mapping& mapping) { now.mappings.push_back(mapping); });
        vm_->for_each_reserved([&](const VaAllocation& reserved) { now.reserved.push_back(reserved); });
        const VmStatistics statistics = vm_->statistics();
        now.blocks = statistics.blocks_2m;
        now.mapped_bytes = statistics.mapped_bytes;
        now.binds = statistics.binds;
        now.usable = vm_->usable() && drm_.usable(fd(), vm_->kernel_id());
        require(drm_.disagreement(fd(), vm_->kernel_id()).empty(), "the kernel disagrees with itself");
        return now;
    }

    // "" or what is not the same.
    static std::string difference(const Snapshot& a, const Snapshot& b, unsigned makes, bool rebuilt) {
        FakeDrmCensus expected = a.census;
        if ((makes & kMakesDummy) != 0 && b.census.handles > a.census.handles) {
            ++expected.handles;
            ++expected.objects;
        }
        // A rebuilt VM has no queue yet.
        if ((makes & kMakesSyncobj) != 0 || rebuilt) {
            const std::uint64_t more = b.census.syncobjs > a.census.syncobjs ? b.census.syncobjs - a.census.syncobjs
                                                                             : a.census.syncobjs - b.census.syncobjs;
            expected.syncobjs = more <= 1 ? b.census.syncobjs : a.census.syncobjs;
        }
        const std::vector<std::pair<const char*, bool>> same{
            {"what the kernel holds", expected == b.census},
            {"handles", a.open_handles == b.open_handles},
            {"BOs", a.bos == b.bos},
            {"the kernel's page tables", a.leaves == b.leaves},
            {"mappings", a.mappings == b.mappings},
            {"VA", a.reserved == b.reserved},
            {"the ledger", a.blocks == b.blocks},
            {"bytes mapped", a.mapped_bytes == b.mapped_bytes},
            {"binds", a.binds == b.binds},
            {"usable", a.usable == b.usable},
        };
        std::string changed;
        for (const auto& [what, equal] : same) {
            changed += equal ? "" : std::string(changed.empty() ? "" : ", ") + what;
        }
        return changed;
    }

    void require(bool holds, const std::string& what) {
        if (!holds && problem_.empty()) {
            problem_ = what;
        }
    }
    static VmConfig vm_config() {
        VmConfig config;
        config.journal_capacity = 64;
        return config;
    }
    [[nodiscard]] BoTable& bos() { return device_->bos(); }
    [[nodiscard]] int fd() { return device_->file().fd(); }

    FakeDrm& drm_;
    FailingDrmCalls& calls_;
    TestMemory& memory_;
    std::size_t watched_;
    std::vector<StepStart> steps_;
    Owned<DrmDevice> device_;
    Owned<Vm> vm_;
    Vm* lost_ = nullptr;  // that a step can lose
    Owned<Timeline> timeline_;
    std::array<BoId, 3> bos_{kNoBo, kNoBo, kNoBo};
    BoId foreign_ = kNoBo;
    std::vector<int> fds_;
    bool released_ = false;  // bos_[2]
    bool device_goes_ = false;
    std::uint64_t failed_ = 0;
    std::uint64_t rebuilds_ = 0;
    std::uint64_t failed_closes_ = 0;
    std::string problem_;
};

}  // namespace granule::test::life
