// 20,000 seeded random operations through the library on a real panthor, compared with a naive oracle and with the tables
// that the kernel itself keeps.
//
//     differential [--seed N] [--operations N] [--every N] [--bytes MIB]
//
// Maps of both leaf policies and all flags, sparse maps, unmaps of every policy, transactions of several, and queued
// ones, over and through one another, in a VA range of some 2 MiB windows; BOs of a page to 8 MiB. Every N operations
// and at the end: the library's view, the kernel's tables (page for page, physical addresses and attributes included)
// and the oracle are the same; the ledger's granules are at least the leaves that are there; the VM is usable. Kernels
// may not warn meanwhile: the runner looks.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "src/drm/drm_device.hpp"
#include "src/drm/panthor_address_space.hpp"
#include "src/transaction.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/cases/watched_vm.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

constexpr Va kStart{std::uint64_t{4} << 30U};

struct Settings {
    std::uint32_t seed = 1;
    std::uint64_t operations = 20000;
    std::uint64_t every = 500;
    std::uint64_t bytes = std::uint64_t{48} << 20U;  // of VA that is bound
};

class Differential {
public:
    Differential(DrmDevice& device, Vm& vm, const Settings& settings)
        : device_(device),
          vm_(vm),
          settings_(settings),
          space_{kStart, kStart + settings.bytes},
          random_(settings.seed),
          bos_(device, kcore_),
          timeline_(make_timeline(device)) {
        for (const std::uint64_t pages : std::array<std::uint64_t, 8>{1, 16, 511, 512, 600, 1024, 1536, 2048}) {
            BoRequest request;
            request.bytes = pages * kPageBytes;
            const Result<BoId, OsError> made = device.create_bo(request);
            if (!made) {
                throw ProbeError(fmt::format("a BO of {} pages: {}", pages, to_string(made.error().status)));
            }
            ids_.push_back(*made);
            bos_.of(*made);
        }
        watched_.emplace(vm, kcore_, probe_, bos_, ids_.front(), space_.end + kBlock1GBytes, device.facts().va_bits);
    }

    // Throws ProbeError with what differs.
    void run() {
        for (std::uint64_t i = 0; i < settings_.operations; ++i) {
            operation_ = i;
            step();
            if ((i + 1) % settings_.every == 0) {
                compare();
            }
        }
        compare();
        if (guest_has_huge_pages() && blocks_seen_ == 0) {
            fail_with("there never was a leaf of 2 MiB to cut");
        }
    }

    [[nodiscard]] const PageOracle& oracle() const { return oracle_; }
    [[nodiscard]] std::uint64_t rejected() const { return rejected_; }
    [[nodiscard]] std::uint64_t granules() const { return granules_; }
    [[nodiscard]] std::uint64_t queued() const { return queued_; }

private:
    static Owned<Timeline> make_timeline(DrmDevice& device) {
        Result<Owned<Timeline>, OsError> made = device.create_timeline();
        if (!made) {
            throw ProbeError(fmt::format("a timeline: {}", to_string(made.error().status)));
        }
        return std::move(*made);
    }

    std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

    // Edges are anywhere, on the edge of a 2 MiB window, or a page beside one; sizes from a page to some windows.
    VaRange range(std::uint64_t most) {
        const std::uint64_t pages = settings_.bytes / kPageBytes;
        std::uint64_t start = below(pages);
        if (below(2) == 0) {
            start = start / 512 * 512;
            start += below(4) == 0 && start + 1 < pages ? 1U : 0U;
        }
        std::uint64_t size = 1 + below(below(2) == 0 ? 32 : most);
        if (below(4) == 0) {
            size = std::max<std::uint64_t>(1, size / 512) * 512;
        }
        size = std::min({size, most, pages - start});
        return {space_.start + start * kPageBytes, space_.start + (start + size) * kPageBytes};
    }

    BindRequest request() {
        BindRequest made;
        const std::uint64_t kind = below(10);
        made.policy = below(8) == 0 ? UnmapPolicy::kEnlarge : UnmapPolicy::kSplit;
        if (kind < 5) {
            made.kind = BindRequest::Kind::kMap;
            const BoId bo = ids_[below(ids_.size())];
            const std::uint64_t pages = device_.bos().find(bo)->size / kPageBytes;
            std::uint64_t offset = below(pages);
            made.va = range(pages - offset);
            if (below(2) == 0) {
                // So that there can be a block: VA and offset agree modulo 2 MiB.
                const std::uint64_t phase = made.va.start.raw() / kPageBytes % 512;
                if (phase < pages) {
                    offset = phase;
                    made.va = {
                        made.va.start,
                        std::min(space_.end, made.va.start + std::min(pages - offset, 1 + below(pages)) * kPageBytes)};
                }
            }
            made.shows.bo = bo;
            made.shows.offset = BoOffset{offset * kPageBytes};
            made.shows.flags = {below(4) == 0, below(2) == 0, below(4) == 0};
            made.leaves = below(4) == 0 ? LeafPolicy::kPage : LeafPolicy::kLargest;
        } else if (kind == 5) {
            made.kind = BindRequest::Kind::kMap;
            made.va = range(3072);
        } else {
            made.kind = BindRequest::Kind::kUnmap;
            made.va = range(2048);
        }
        return made;
    }

    void apply(const BindRequest& what, const VaRange& taken) {
        oracle_.unmap(taken);
        if (what.kind == BindRequest::Kind::kMap) {
            oracle_.map(what.va, what.shows);
        }
    }

    [[noreturn]] void fail_with(const std::string& what) const {
        throw ProbeError(fmt::format("seed {}, operation {}: {}", settings_.seed, operation_, what));
    }

    void step() {
        if (below(12) == 0) {
            many();
            return;
        }
        BindRequest what = request();
        if (below(16) == 0) {
            what.policy = UnmapPolicy::kReject;
        }
        // With kEnlarge what is taken is the plan's to say.
        const Result<Plan, BindError> planned = vm_.explain(what);
        const Result<BindReport, BindError> done = vm_.bind(what);
        if (!done) {
            if (what.policy != UnmapPolicy::kReject || done.error().status != Status::kGranuleCut) {
                fail_with(fmt::format("bind: {} (errno {})", to_string(done.error().status), done.error().error));
            }
            ++rejected_;
            return;
        }
        granules_ += done->granules;
        apply(what, planned->taken);
    }

    // A transaction, synchronous or queued behind the last one.
    void many() {
        Transaction transaction(NodeMemory::process());
        std::vector<BindRequest> requests;
        const std::uint64_t count = 2 + below(7);
        requests.reserve(count);
        for (std::uint64_t i = 0; i < count; ++i) {
            BindRequest what = request();
            what.policy = UnmapPolicy::kSplit;
            requests.push_back(what);
            if (transaction.add(what) != Status::kOk) {
                fail_with("a transaction has no room");
            }
        }
        if (below(2) == 0) {
            const Result<BindReport, BindError> done = vm_.commit(transaction);
            if (!done) {
                fail_with(fmt::format("commit: {} (errno {})", to_string(done.error().status), done.error().error));
            }
        } else {
            const SyncobjPoint before{DrmDevice::syncobj_of(*timeline_), queued_};
            const SyncobjPoint after{before.syncobj, queued_ + 1};
            const Result<BindReport, BindError> done = vm_.submit(
                transaction, queued_ == 0 ? std::span<const SyncobjPoint>{} : std::span{&before, 1}, {&after, 1});
            if (!done) {
                fail_with(fmt::format("submit: {} (errno {})", to_string(done.error().status), done.error().error));
            }
            ++queued_;
        }
        for (const BindRequest& what : requests) {
            apply(what, what.va);
        }
    }

    void compare() {
        if (queued_ != 0 && !timeline_->wait(queued_, std::chrono::seconds{10})) {
            fail_with("a queued transaction did not end within 10 s");
        }
        if (const Status status = vm_.check(); status != Status::kOk) {
            fail_with(fmt::format("the VM is lost: {}", to_string(status)));
        }
        if (const std::string difference = watched_->compare(oracle_, kWholeVa); !difference.empty()) {
            fail_with(difference);
        }
        if (const std::string difference = watched_->compare_ledger(kWholeVa); !difference.empty()) {
            fail_with(difference);
        }
        blocks_seen_ += watched_->tables().leaf_counts().blocks_2m;
    }

    DrmDevice& device_;
    Vm& vm_;
    const Settings settings_;
    const VaRange space_;
    std::mt19937_64 random_;
    Kcore kcore_;
    TableProbe probe_;
    BoPages bos_;
    Owned<Timeline> timeline_;
    std::vector<BoId> ids_;
    std::optional<WatchedVm> watched_;
    PageOracle oracle_;
    std::uint64_t operation_ = 0;
    std::uint64_t rejected_ = 0;
    std::uint64_t granules_ = 0;
    std::uint64_t queued_ = 0;
    std::uint64_t blocks_seen_ = 0;  // leaves of 2 MiB, over all comparisons
};

int run_all(const Settings& settings) {
    TestRun run;
    const std::string name = fmt::format("differential, seed {}, {} operations", settings.seed, settings.operations);
    run.test(name, [&]() -> std::string {
        Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD128", {});
        if (!device) {
            return fmt::format("no device: {} in {} (errno {})", to_string(device.error().status), device.error().call,
                               device.error().error);
        }
        Result<Owned<Vm>, OsError> vm = (*device)->create_vm({});
        if (!vm) {
            return fmt::format("no VM: {}", to_string(vm.error().status));
        }
        Differential differential(**device, **vm, settings);
        differential.run();
        const BindTraffic& traffic = static_cast<PanthorAddressSpace&>((*vm)->backend()).traffic();
        report_row("differential",
                   nlohmann::ordered_json{{"kernel", std::string((*device)->facts().release_text.view())},
                                          {"behaviour", to_string((*device)->facts().behaviour)},
                                          {"operations", settings.operations},
                                          {"granules taken whole", differential.granules()},
                                          {"refused by policy", differential.rejected()},
                                          {"queued", differential.queued()},
                                          {"ioctls", traffic.ioctls},
                                          {"VM_BIND operations", traffic.operations},
                                          {"end state", fmt::format("{:016x}", differential.oracle().hash())}});
        report_same(fmt::format("end state of {}", name), fmt::format("{:016x}", differential.oracle().hash()));
        return {};
    });
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main(int argc, char** argv) try {
    using namespace granule::kernel_test;
    Settings settings;
    std::uint64_t mib = settings.bytes >> 20U;
    CLI::App app("random operations on a real panthor, compared with its own page tables");
    app.add_option("--seed", settings.seed);
    app.add_option("--operations", settings.operations);
    app.add_option("--every", settings.every, "operations between two comparisons");
    app.add_option("--bytes", mib, "MiB of VA that are bound");
    CLI11_PARSE(app, argc, argv);
    settings.bytes = mib << 20U;
    return run_all(settings);
} catch (const std::exception& error) {
    static_cast<void>(std::fputs(error.what(), stderr));
    return 1;
}
