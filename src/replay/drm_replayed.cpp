#include "src/replay/drm_replayed.hpp"

#include <fmt/core.h>

#include <chrono>
#include <cstring>

#include "src/drm/panthor_address_space.hpp"
#include "src/replay/allocation_count.hpp"
#include "src/replay/view_verifier.hpp"

namespace granule::replay {
namespace {

// A queue that does not come to its end is a kernel that hangs, not a slow one: binds take microseconds.
constexpr std::chrono::seconds kQueueTimeout{60};

// What `work` returns, with its time and allocations.
template <class Work>
Bound measured(Work&& work) {
    static_cast<void>(take_allocations_of_this_thread());
    const auto begin = std::chrono::steady_clock::now();
    Result<BindReport, BindError> result = work();
    const std::chrono::nanoseconds spent = std::chrono::steady_clock::now() - begin;
    return {result, static_cast<std::uint64_t>(spent.count()), take_allocations_of_this_thread()};
}

Result<BindReport, BindError> failed(Status status) {
    BindError error;
    error.status = status;
    return fail(error);
}

class DrmVm final : public ReplayedVm {
public:
    // `timeline`: none where the driver has no queues.
    DrmVm(Owned<Timeline> timeline, Owned<Vm> vm) : timeline_(std::move(timeline)), vm_(std::move(vm)) {}

    [[nodiscard]] Vm& vm() noexcept override { return *vm_; }
    [[nodiscard]] Bound commit(const Transaction& transaction) override {
        return measured([&] { return vm_->commit(transaction); });
    }
    [[nodiscard]] Bound commit_queued(const Transaction& transaction) override {
        return measured([&] { return queue_and_wait(transaction); });
    }

    // As the ledger has it: what could be a block is taken for one.
    [[nodiscard]] TableCounts tables() override {
        const VmStatistics statistics = vm_->statistics();
        return {statistics.blocks_2m, (statistics.mapped_bytes - statistics.blocks_2m * kBlock2MBytes) / kPageBytes, 0};
    }
    void add_leaves(Hash& /*hash*/) override {}
    // A kernel that is asked to cut one says so, by failing or in its log.
    [[nodiscard]] std::uint64_t leaf_cuts() override { return 0; }
    [[nodiscard]] KernelTraffic traffic() override;

private:
    [[nodiscard]] Result<BindReport, BindError> queue_and_wait(const Transaction& transaction);

    Owned<Timeline> timeline_;
    Owned<Vm> vm_;
    std::uint64_t queued_ = 0;
};

Result<BindReport, BindError> DrmVm::queue_and_wait(const Transaction& transaction) {
    if (!timeline_) {
        return failed(Status::kNotSupported);
    }
    const SyncobjPoint done{DrmDevice::syncobj_of(*timeline_), ++queued_};
    Result<BindReport, BindError> queued = vm_->submit(transaction, {}, {&done, 1});
    if (!queued) {
        return queued;
    }
    if (!timeline_->wait(done.point, kQueueTimeout)) {
        return failed(Status::kTimedOut);
    }
    const Status state = vm_->check();
    return state == Status::kOk ? queued : failed(state);
}

KernelTraffic DrmVm::traffic() {
    if (!timeline_) {
        return {};  // panfrost
    }
    const BindTraffic& traffic = static_cast<PanthorAddressSpace&>(vm_->backend()).traffic();
    return {traffic.ioctls, traffic.operations, traffic.residuals, traffic.isolations, traffic.pieces};
}

class DrmFileOfTrace final : public ReplayedFile {
public:
    explicit DrmFileOfTrace(Owned<DrmDevice> device) : device_(std::move(device)) {}

    [[nodiscard]] BoTable& bos() noexcept override { return device_->bos(); }
    [[nodiscard]] int fd() const noexcept override { return device_->file().fd(); }
    [[nodiscard]] VaRange vm_space() const noexcept override { return device_->properties().vm_space; }
    [[nodiscard]] Result<std::unique_ptr<ReplayedVm>, OsError> create_vm(const VmConfig& config) override;
    [[nodiscard]] Result<BoId, OsError> create_bo(const BoRequest& request) override {
        return device_->create_bo(possible(request));
    }

    [[nodiscard]] bool kernel_maps() const noexcept override { return device_->facts().driver == DrmDriver::kPanfrost; }
    [[nodiscard]] Result<BoId, BindError> create_mapped_bo(Vm& vm, const BoRequest& request) override {
        return device_->create_mapped_bo(vm, possible(request));
    }
    [[nodiscard]] Bound free_mapped_bo(Vm& vm, BoId bo) override {
        return measured([&]() -> Result<BindReport, BindError> {
            device_->free_mapped_bo(vm, bo);
            return BindReport{};
        });
    }

private:
    // Without what this driver does not have.
    [[nodiscard]] BoRequest possible(BoRequest request) const noexcept {
        request.cpu_cached = request.cpu_cached && device_->facts().cpu_cached_bos;
        return request;
    }

    Owned<DrmDevice> device_;
};

Result<std::unique_ptr<ReplayedVm>, OsError> DrmFileOfTrace::create_vm(const VmConfig& config) {
    Result<Owned<Vm>, OsError> vm = device_->create_vm(config);
    if (!vm) {
        return fail(vm.error());
    }
    Owned<Timeline> timeline;
    if (device_->facts().driver == DrmDriver::kPanthor) {
        Result<Owned<Timeline>, OsError> made = device_->create_timeline();
        if (!made) {
            return fail(made.error());
        }
        timeline = std::move(*made);
    }
    return std::make_unique<DrmVm>(std::move(timeline), std::move(*vm));
}

Stop not_opened(const std::string& path, const OsError& why) {
    BindError error;
    error.status = why.status;
    error.error = why.error;
    return {Stop::Kind::kBadTrace, 0,
            fmt::format("{}: {}{}{}", path, why.call, *why.call == '\0' ? "" : ": ",
                        why.error != 0 ? std::strerror(why.error) : to_string(why.status)),
            "the render node of a Mali; `granule devices` lists them", error};
}

}  // namespace

Result<std::unique_ptr<ReplayedDevice>, Stop> DrmReplayed::create(const Options& options) {
    DrmDeviceConfig config;
    config.kernel = options.kernel;
    config.calls = options.calls;
    config.nodes = counting_node_memory();
    const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(options.device.c_str(), config);
    if (!device) {
        return fail(not_opened(options.device, device.error()));
    }
    const KernelFacts& facts = (*device)->facts();
    config.kernel = facts.behaviour;  // found, and so tried out, once for all files
    return std::make_unique<DrmReplayed>(options.device, config, facts);
}

Result<std::unique_ptr<ReplayedFile>, Stop> DrmReplayed::open(trace::Driver driver) {
    const bool is_panthor = facts_.driver == DrmDriver::kPanthor;
    if ((driver == trace::Driver::kPanthor) != is_panthor) {
        const char* const wanted = to_string(driver);
        return fail(Stop{Stop::Kind::kBadTrace,
                         0,
                         fmt::format("the trace is of {}, but {} is {}'s", wanted, path_, to_string(facts_.driver)),
                         fmt::format("the render node of a GPU that {} drives; `granule devices` lists them; without "
                                     "--device it is replayed on the soft device",
                                     wanted),
                         {}});
    }
    Result<Owned<DrmDevice>, OsError> device = DrmDevice::open(path_.c_str(), config_);
    if (!device) {
        Stop stop = not_opened(path_, device.error());
        stop.kind = Stop::Kind::kRefused;  // it is a Mali's: once it opened
        return fail(stop);
    }
    return std::make_unique<DrmFileOfTrace>(std::move(*device));
}

std::unique_ptr<Verifier> DrmReplayed::make_verifier(Report report) {
    return std::make_unique<ViewVerifier>(std::move(report));
}

}  // namespace granule::replay
