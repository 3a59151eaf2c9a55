// The calls of proof_cases.hpp through the library: on every kernel they do what was asked, and no more. Each in a VM of
// its own; then all of them in one, whose end state is the same on every kernel. Before the call the mapping is of 2M leaves
// where the guest has huge pages, and of none where it has not: what is cut is there.

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "src/drm/drm_device.hpp"
#include "src/drm/panthor_address_space.hpp"
#include "src/transaction.hpp"
#include "tests/kernel/cases/proof_cases.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/cases/watched_vm.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

constexpr VaRange kLooked{kMappingStart, kMappingStart + 8 * kBlock2MBytes};
constexpr Va kScratch = kMappingStart + kBlock1GBytes;

template <class T, class E>
T must(Result<T, E> result, const char* what) {
    if (!result) {
        throw ProbeError(what);
    }
    return std::move(*result);
}

class LibraryCases {
public:
    explicit LibraryCases(DrmDevice& device) : device_(device), bos_(device, kcore_) {
        whole_ = bo(kWholeMapping.size());
        over_ = bo(kBlock2MBytes);
    }

    // What the call became, or how it failed.
    std::string one(const ProofCase& what) {
        Vm& vm = begin();
        return call(vm, what);
    }

    // All of them, in one VM. Empty, or what went wrong.
    std::string together() {
        Vm& vm = begin();
        for (const ProofCase& what : kProofCases) {
            if (const std::string outcome = call(vm, what); !outcome.starts_with("works")) {
                return fmt::format("{}: {}", what.name, outcome);
            }
        }
        return {};
    }
    [[nodiscard]] std::uint64_t end_state() const { return oracle_.hash(); }
    [[nodiscard]] std::uint64_t vms_lost() const { return vms_lost_; }

private:
    BoId bo(std::uint64_t bytes) {
        BoRequest request;
        request.bytes = bytes;
        const BoId made = must(device_.create_bo(request), "a BO");
        bos_.of(made);
        return made;
    }

    Vm& begin() {
        watched_.reset();
        vm_ = must(device_.create_vm({}), "a VM");
        oracle_ = {};
        watched_.emplace(*vm_, kcore_, probe_, bos_, over_, kScratch, device_.facts().va_bits);
        BindRequest request;
        request.kind = BindRequest::Kind::kMap;
        request.va = kWholeMapping;
        request.shows.bo = whole_;
        must(vm_->bind(request), "the bind of the mapping");
        oracle_.map(request.va, request.shows);
        const std::uint64_t blocks = watched_->tables().leaf_counts(kWholeMapping).blocks_2m;
        const std::uint64_t possible = blocks_of(bos_.of(whole_), kWholeMapping, 0);
        const bool huge_pages_lack = guest_has_huge_pages() && possible != kWholeMapping.size() / kBlock2MBytes;
        if (blocks != possible || huge_pages_lack) {
            throw ProbeError(
                fmt::format("the mapping is of {} leaves of 2 MiB before the call; its pages allow {}, huge pages {}",
                            blocks, possible, kWholeMapping.size() / kBlock2MBytes));
        }
        return *vm_;
    }

    std::string call(Vm& vm, const ProofCase& what) {
        BindRequest request;
        request.va = what.range;
        request.policy = UnmapPolicy::kSplit;
        if (what.kind == ProofCase::Kind::kMapOver) {
            request.kind = BindRequest::Kind::kMap;
            request.shows.bo = over_;
        }
        const BindTraffic before = traffic(vm);
        const Result<BindReport, BindError> done = what.queued ? queue(vm, request) : vm.bind(request);
        if (!done) {
            return fmt::format("{} (errno {})", to_string(done.error().status), done.error().error);
        }
        if (vm.check() != Status::kOk) {
            ++vms_lost_;
            return "VM lost";
        }
        oracle_.unmap(request.va);
        if (request.kind == BindRequest::Kind::kMap) {
            oracle_.map(request.va, request.shows);
        }
        if (std::string difference = watched_->compare(oracle_, kLooked); !difference.empty()) {
            return difference;
        }
        if (std::string difference = watched_->compare_ledger(kLooked); !difference.empty()) {
            return difference;
        }
        const std::uint64_t operations = traffic(vm).operations - before.operations;
        return fmt::format("works, {} operation{} in {} ioctl", operations, operations == 1 ? "" : "s",
                           traffic(vm).ioctls - before.ioctls);
    }

    Result<BindReport, BindError> queue(Vm& vm, const BindRequest& request) {
        const Owned<Timeline> timeline = must(device_.create_timeline(), "a timeline");
        Transaction transaction(NodeMemory::process());
        if (transaction.add(request) != Status::kOk) {
            throw ProbeError("no memory for a transaction");
        }
        const SyncobjPoint done{DrmDevice::syncobj_of(*timeline), 1};
        Result<BindReport, BindError> submitted = vm.submit(transaction, {}, {&done, 1});
        if (submitted && !timeline->wait(1, std::chrono::seconds{10})) {
            throw ProbeError("a queued bind did not end within 10 s");
        }
        return submitted;
    }

    static const BindTraffic& traffic(Vm& vm) { return static_cast<PanthorAddressSpace&>(vm.backend()).traffic(); }

    DrmDevice& device_;
    Kcore kcore_;
    TableProbe probe_;
    BoPages bos_;
    BoId whole_{};
    BoId over_{};
    Owned<Vm> vm_;
    std::optional<WatchedVm> watched_;
    PageOracle oracle_;
    std::uint64_t vms_lost_ = 0;
};

int run_all() {
    TestRun run;
    run.test("calls through the library", [&]() -> std::string {
        const Owned<DrmDevice> device = must(DrmDevice::open("/dev/dri/renderD128", {}), "no device");
        LibraryCases cases(*device);
        nlohmann::ordered_json row{{"kernel", std::string(device->facts().release_text.view())},
                                   {"taken for one that", to_string(device->facts().behaviour)}};
        for (const ProofCase& what : kProofCases) {
            const std::string outcome = cases.one(what);
            row[what.name] = outcome;
            run.check(fmt::format("through the library: {}", what.name), outcome.starts_with("works"), outcome);
        }
        std::string together = cases.together();
        row["VMs lost"] = cases.vms_lost();
        row["end state"] = fmt::format("{:016x}", cases.end_state());
        report_row("proof, through the library", row);
        report_same("end state of the calls through the library", row["end state"]);
        return together;
    });
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    return granule::kernel_test::run_all();
}
