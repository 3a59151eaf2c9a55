#include "src/replay/soft_replayed.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "src/bind_queue.hpp"
#include "src/replay/allocation_count.hpp"
#include "src/replay/gpu_verifier.hpp"

namespace granule::replay {
namespace {

// "Mali-G610 (0xa867, panthor)": the id in the brackets says which.
const mali::GpuModel* model_of(const trace::Meta& meta) {
    const std::size_t at = meta.gpu.find("0x");
    const std::size_t end = meta.gpu.find_first_of(",)", at == std::string::npos ? 0 : at);
    return at == std::string::npos || end == std::string::npos
               ? nullptr
               : mali::find_gpu_model(std::string_view{meta.gpu}.substr(at, end - at));
}

Bound failed(const OsError& why) {
    BindError error;
    error.status = why.status;
    error.error = why.error;
    return {fail(error)};
}

class SoftVm final : public ReplayedVm {
public:
    SoftVm(SoftDevice& device, Owned<Timeline> timeline, Owned<Vm> vm)
        : device_(device), timeline_(std::move(timeline)), vm_(std::move(vm)) {}

    [[nodiscard]] Vm& vm() noexcept override { return *vm_; }
    [[nodiscard]] Bound commit(const Transaction& transaction) override;
    [[nodiscard]] Bound commit_queued(const Transaction& transaction) override;

    [[nodiscard]] TableCounts tables() override {
        const mali::PageTable& table = space().table();
        return {table.leaf_counts().blocks_2m, table.leaf_counts().pages_4k, table.table_count()};
    }
    void add_leaves(Hash& hash) override;
    [[nodiscard]] std::uint64_t leaf_cuts() override { return space().leaf_cuts(); }
    [[nodiscard]] KernelTraffic traffic() override { return {}; }

private:
    [[nodiscard]] SoftAddressSpace& space() noexcept { return SoftDevice::address_space(*vm_); }

    SoftDevice& device_;
    Owned<Timeline> timeline_;
    Owned<Vm> vm_;
    Owned<BindQueue> queue_;  // from the first asynchronous bind on
    std::uint64_t queued_ = 0;
};

Bound SoftVm::commit(const Transaction& transaction) {
    static_cast<void>(take_allocations_of_this_thread());
    const auto begin = std::chrono::steady_clock::now();
    Result<BindReport, BindError> done = vm_->commit(transaction);
    const std::chrono::nanoseconds spent = std::chrono::steady_clock::now() - begin;
    return {done, static_cast<std::uint64_t>(spent.count()), take_allocations_of_this_thread()};
}

Bound SoftVm::commit_queued(const Transaction& transaction) {
    if (!queue_) {
        Result<Owned<BindQueue>, OsError> queue = BindQueue::create(*vm_, device_.config().nodes);
        if (!queue) {
            return failed(queue.error());
        }
        queue_ = std::move(*queue);
    }
    struct Outcome {
        QueuedBind bind{BindReport{}, 0};
        std::uint64_t allocations = 0;  // of the queue's thread since the transaction before, or since it began
    };
    Outcome done;
    const TimelinePoint fence{timeline_.get(), ++queued_};
    const Status queued = queue_->submit(
        transaction, {}, {&fence, 1},
        [](void* context, const QueuedBind& result) {
            *static_cast<Outcome*>(context) = {result, take_allocations_of_this_thread()};
        },
        &done);
    if (queued != Status::kOk) {
        return failed({queued, "", 0});
    }
    while (!timeline_->wait(fence.value, std::chrono::seconds(1))) {
    }
    return {done.bind.result, done.bind.nanoseconds, done.allocations};
}

void SoftVm::add_leaves(Hash& hash) {
    space().table().visit(vm_->config().space, [&](const mali::VisitedRun& run) {
        hash.add(run.leaves.start.raw());
        hash.add(bytes_of(run.leaves.size));
        hash.add(run.leaves.count);
        hash.add(run.pa.raw());  // BOs come and go in the trace's order: they have the same memory in every replay
        hash.add((run.attributes.read ? 1U : 0U) | (run.attributes.write ? 2U : 0U) |
                 (run.attributes.execute ? 4U : 0U) | (static_cast<std::uint64_t>(run.attributes.memory) << 3U));
    });
}

class SoftFile final : public ReplayedFile {
public:
    explicit SoftFile(SoftDevice& device) : device_(device) {}

    [[nodiscard]] BoTable& bos() noexcept override { return device_.bos(); }
    [[nodiscard]] VaRange vm_space() const noexcept override { return device_.properties().default_vm_space; }
    [[nodiscard]] Result<std::unique_ptr<ReplayedVm>, OsError> create_vm(const VmConfig& config) override;
    [[nodiscard]] Result<BoId, OsError> create_bo(const BoRequest& request) override {
        return device_.create_bo(request.bytes, request.made_by);
    }

private:
    SoftDevice& device_;
};

Result<std::unique_ptr<ReplayedVm>, OsError> SoftFile::create_vm(const VmConfig& config) {
    Result<Owned<Vm>, OsError> vm = device_.create_vm(config);
    if (!vm) {
        return fail(vm.error());
    }
    Result<Owned<Timeline>, OsError> timeline = device_.create_timeline();
    if (!timeline) {
        return fail(timeline.error());
    }
    return std::make_unique<SoftVm>(device_, std::move(*timeline), std::move(*vm));
}

}  // namespace

Result<std::unique_ptr<ReplayedDevice>, Stop> SoftReplayed::create(const Options& options, const trace::Meta& meta) {
    SoftDeviceConfig config;
    config.gpu = options.gpu != nullptr ? options.gpu : model_of(meta);
    if (config.gpu == nullptr) {
        return fail(Stop{Stop::Kind::kBadTrace,
                         1,
                         fmt::format("the trace's GPU \"{}\" is not known", meta.gpu),
                         "name one with --gpu; `granule gpus` lists them",
                         {}});
    }
    config.kernel = options.kernel.value_or(kSoftKernel);
    config.bo_memory = options.memory;
    config.nodes = counting_node_memory();
    config.injection = &counting_injection();
    Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config);
    if (!device) {
        BindError error;
        error.status = device.error().status;
        error.error = device.error().error;
        return fail(Stop{Stop::Kind::kRefused, 0,
                         fmt::format("no soft device: {} {}", to_string(error.status), device.error().call), "",
                         error});
    }
    return std::make_unique<SoftReplayed>(std::move(*device));
}

Result<std::unique_ptr<ReplayedFile>, Stop> SoftReplayed::open(trace::Driver /*driver*/) {
    return std::make_unique<SoftFile>(*device_);
}

std::unique_ptr<Verifier> SoftReplayed::make_verifier(Report report) {
    return std::make_unique<GpuVerifier>(*device_, std::move(report));
}

}  // namespace granule::replay
