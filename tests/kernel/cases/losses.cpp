// What goes wrong in the kernel, and what the library makes of it (P3): on a kernel that refuses to cut leaves, driven
// as if it cut them (behaviour overridden), so that real operations really fail.
//
// - A transaction whose operation k fails is undone from the ledger, for every k: view and tables are what they were.
// - A queued transaction that fails loses the VM. Its fence signals; `check` finds out; `rebuild` binds every mapping
//   again in a new VM, at the same addresses, and the intended state is there.
//
// Only for kernels that refuse: the others cut leaves, so that nothing fails, or oops.

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>

#include "src/drm/drm_device.hpp"
#include "src/transaction.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/cases/watched_vm.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

constexpr Va kStart{std::uint64_t{4} << 30U};
constexpr VaRange kLooked{kStart, kStart + 32 * kBlock2MBytes};
constexpr Va kScratch = kStart + kBlock1GBytes;
constexpr std::uint64_t kBoBytes = 8 * kBlock2MBytes;

class Losses {
public:
    explicit Losses(DrmDevice& device) : device_(device), bos_(device, kcore_) {
        BoRequest request;
        request.bytes = kBoBytes;
        const Result<BoId, OsError> made = device.create_bo(request);
        if (!made) {
            throw ProbeError("no BO");
        }
        bo_ = *made;
        bos_.of(bo_);
    }

    // Seven operations that succeed, and at place `k` one that this kernel refuses.
    std::string undone(std::size_t k) {
        begin();
        Transaction transaction(NodeMemory::process());
        for (std::size_t i = 0; i < 8; ++i) {
            const Status added = transaction.add(i == k ? cut() : harmless(i));
            if (added != Status::kOk) {
                throw ProbeError("no room in a transaction");
            }
        }
        const Result<BindReport, BindError> done = vm_->commit(transaction);
        if (done) {
            return "it succeeded, and should not have";
        }
        if (done.error().request != k) {
            return fmt::format("request {} is blamed, and {} failed", done.error().request, k);
        }
        if (!done.error().undone) {
            return "it was not undone";
        }
        std::string difference = watched_->compare(oracle_, kLooked);
        return difference.empty() ? watched_->compare_ledger(kLooked) : difference;
    }

    std::string rebuilt() {
        begin();
        const Result<Owned<Timeline>, OsError> timeline = device_.create_timeline();
        Transaction transaction(NodeMemory::process());
        const BindRequest before = harmless(0);
        const BindRequest failing = cut();
        const BindRequest behind = harmless(2);
        if (!timeline || transaction.add(before) != Status::kOk || transaction.add(failing) != Status::kOk ||
            transaction.add(behind) != Status::kOk) {
            throw ProbeError("no timeline, or no room in a transaction");
        }
        const SyncobjPoint end{DrmDevice::syncobj_of(**timeline), 1};
        if (!vm_->submit(transaction, {}, {&end, 1})) {
            return "the kernel did not take it into its queue";
        }
        // What was meant to be there.
        for (const BindRequest& request : {before, failing, behind}) {
            oracle_.unmap(request.va);
            if (request.kind == BindRequest::Kind::kMap) {
                oracle_.map(request.va, request.shows);
            }
        }
        if (!(*timeline)->wait(1, std::chrono::seconds{10})) {
            return "the fence does not signal";
        }
        if (vm_->usable() && vm_->check() != Status::kVmUnusable) {
            return "the VM is said to be usable";
        }
        if (vm_->bind(harmless(5)).has_value()) {
            return "a lost VM binds";
        }
        const std::uint32_t lost = vm_->kernel_id();
        const Result<RebuildReport, BindError> rebuilt = vm_->rebuild();
        if (!rebuilt) {
            return fmt::format("rebuild: {} (errno {})", to_string(rebuilt.error().status), rebuilt.error().error);
        }
        if (rebuilt->kernel_id == lost || rebuilt->kernel_id != vm_->kernel_id() || !vm_->usable()) {
            return "it is the VM that was lost";
        }
        watched_->find_root(probe_, bo_, kScratch);
        std::string difference = watched_->compare(oracle_, kLooked);
        if (difference.empty()) {
            difference = watched_->compare_ledger(kLooked);
        }
        if (difference.empty() && !vm_->bind(harmless(5))) {
            difference = "it does not bind";
        }
        return difference;
    }

private:
    void begin() {
        watched_.reset();
        Result<Owned<Vm>, OsError> vm = device_.create_vm({});
        if (!vm) {
            throw ProbeError("no VM");
        }
        vm_ = std::move(*vm);
        oracle_ = {};
        watched_.emplace(*vm_, kcore_, probe_, bos_, bo_, kScratch, device_.facts().va_bits);
        BindRequest request = harmless(0);
        request.va = {kStart, kStart + kBoBytes};
        request.shows.offset = BoOffset{0};
        if (!vm_->bind(request)) {
            throw ProbeError("the first bind");
        }
        oracle_.map(request.va, request.shows);
    }

    // A part of the first leaf.
    static BindRequest cut() {
        BindRequest request;
        request.va = {kStart, kStart + 16 * kPageBytes};
        request.policy = UnmapPolicy::kSplit;
        return request;
    }
    // Maps of whole leaves, over some of those that are there and beside them.
    [[nodiscard]] BindRequest harmless(std::size_t i) const {
        BindRequest request;
        request.kind = BindRequest::Kind::kMap;
        const Va at = kStart + (2 + 2 * i) * kBlock2MBytes;
        request.va = {at, at + kBlock2MBytes};
        request.policy = UnmapPolicy::kSplit;
        request.shows.bo = bo_;
        request.shows.offset = BoOffset{i % 4 * kBlock2MBytes};
        request.shows.flags.readonly = i % 2 == 1;
        return request;
    }

    DrmDevice& device_;
    Kcore kcore_;
    TableProbe probe_;
    BoPages bos_;
    BoId bo_{};
    Owned<Vm> vm_;
    std::optional<WatchedVm> watched_;
    PageOracle oracle_;
};

int run_all() {
    TestRun run;
    run.test("losses", [&]() -> std::string {
        const Result<Owned<DrmDevice>, OsError> found = DrmDevice::open("/dev/dri/renderD128", {});
        if (!found) {
            return "no device";
        }
        if ((*found)->facts().behaviour != KernelBehaviour::kRefuses) {
            return "this kernel refuses nothing: there is nothing to lose";
        }
        report_expected(Expected::kWarnings);
        DrmDeviceConfig config;
        config.kernel = KernelBehaviour::kSplits;
        const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD128", config);
        if (!device) {
            return "no second device";
        }
        Losses losses(**device);
        for (std::size_t k = 0; k < 8; ++k) {
            run.test(fmt::format("losses: a transaction that fails at {} is undone", k),
                     [&] { return losses.undone(k); });
        }
        run.test("losses: a VM that a queued operation lost is rebuilt", [&] { return losses.rebuilt(); });
        return {};
    });
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    return granule::kernel_test::run_all();
}
