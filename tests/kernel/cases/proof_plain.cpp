// What a kernel does with the calls of proof_cases.hpp when a driver makes them as they are: one VM_BIND each, no library
// between. What it finds is no test but a fact, told as a row of the table; tested is only that the mapping is of 2M
// leaves, and that the kernel splits them, takes them whole and maps the rest again, refuses to cut them, or oopses as the
// library expects of it. The first two end alike: what tells them apart is that the second maps something while it unmaps.

#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "allocator/plan.hpp"
#include "src/drm/kernel_facts.hpp"
#include "tests/kernel/cases/proof_cases.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_probe.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

constexpr unsigned kVaBits = 48;

// One VM with the mapping, and the call of one case made in it.
class PlainCase {
public:
    PlainCase(const RawPanthor& gpu, const Kcore& kcore, TableProbe& probe, std::uint32_t bo)
        : gpu_(gpu), kcore_(kcore), probe_(probe) {
        require(gpu.create_vm(vm_), "VM_CREATE");
        root_ = probe.root_touched_by(kcore, [&] {
            const drm_panthor_vm_bind_op op = map_op(bo, 0, kWholeMapping.start.raw(), kWholeMapping.size());
            require(gpu.bind(vm_, {&op, 1}), "VM_BIND of the mapping");
        });
        blocks_ = tables().leaf_counts(kWholeMapping).blocks_2m;
    }
    PlainCase(const PlainCase&) = delete;
    PlainCase& operator=(const PlainCase&) = delete;
    ~PlainCase() { gpu_.destroy_vm(vm_); }

    [[nodiscard]] std::uint64_t blocks() const { return blocks_; }
    // Whether the driver mapped something in the call of `outcome`, which was not queued.
    [[nodiscard]] bool mapped() const { return mapped_; }

    [[nodiscard]] std::string outcome(const ProofCase& what, std::uint32_t over) {
        const drm_panthor_vm_bind_op op = what.kind == ProofCase::Kind::kUnmap
                                              ? unmap_op(what.range.start.raw(), what.range.size())
                                              : map_op(over, 0, what.range.start.raw(), what.range.size());
        std::uint32_t syncobj = 0;
        int result = 0;
        int fence = 0;
        if (what.queued) {
            require(gpu_.create_syncobj(syncobj), "a syncobj");
            const drm_panthor_sync_op signal = then_signal(syncobj, 1);
            const drm_panthor_vm_bind_op queued = with_syncs(op, {&signal, 1});
            result = gpu_.bind(vm_, {&queued, 1}, true);
            fence = gpu_.wait(syncobj, 1, 5000);
            gpu_.destroy_syncobj(syncobj);
        } else {
            const std::vector<PageTableCall> calls = probe_.record([&] { result = gpu_.bind(vm_, {&op, 1}); });
            mapped_ = std::any_of(calls.begin(), calls.end(), [](const PageTableCall& call) {
                return call.kind == PageTableCall::Kind::kMap && call.mapped != 0;
            });
        }
        std::uint32_t state = 0;
        require(gpu_.vm_state(vm_, state), "VM_GET_STATE");
        const bool lost = state != panthor::kVmUsable;
        if (result == 0 && !lost && as_asked(what)) {
            return "works";
        }
        std::string text = result == 0 ? (fence == 0 ? "reports success" : "the fence fails") : error_name(-result);
        if (!as_asked(what)) {
            text += ", not done";
        }
        return text + (lost ? ", VM lost" : "");
    }

private:
    static void require(int result, const char* what) {
        if (result != 0) {
            throw ProbeError("panthor", what, -result);
        }
    }
    static std::string error_name(int error) {
        const char* const name = ::strerrorname_np(error);
        return name == nullptr ? std::to_string(error) : name;
    }
    [[nodiscard]] KernelTables tables() const {
        return KernelTables::read(kcore_, mali::Format::kAarch64_4k, kVaBits, root_);
    }
    // An unmapped range translates nowhere, a mapped one everywhere, and what is around it as before.
    [[nodiscard]] bool as_asked(const ProofCase& what) const {
        std::uint64_t inside = 0;
        std::uint64_t outside = 0;
        tables().visit(kWholeMapping, [&](const KernelLeaf& leaf) {
            const std::uint64_t part = leaf.range().intersection(what.range).size();
            inside += part;
            outside += leaf.range().size() - part;
        });
        const std::uint64_t wanted = what.kind == ProofCase::Kind::kUnmap ? 0 : what.range.size();
        return inside == wanted && outside == kWholeMapping.size() - what.range.size();
    }

    const RawPanthor& gpu_;
    const Kcore& kcore_;
    TableProbe& probe_;
    std::uint32_t vm_ = 0;
    Pa root_;
    std::uint64_t blocks_ = 0;
    bool mapped_ = false;
};

// What the library would have to know of this kernel for the outcomes to be as they are. `mapped`: while it unmapped at
// the edge.
KernelBehaviour behaviour_of(const std::string& edge, bool mapped, const std::string& inside_leaf) {
    if (inside_leaf == "oops") {
        return KernelBehaviour::kOopses;
    }
    if (edge != "works") {
        return KernelBehaviour::kRefuses;
    }
    return mapped ? KernelBehaviour::kRealigns : KernelBehaviour::kSplits;
}

int run_all() {
    TestRun run;
    run.test("plain calls", [&]() -> std::string {
        utsname name{};
        ::uname(&name);
        const ExpectedBehaviour expected = expected_behaviour(DrmDriver::kPanthor, parse_release(name.release));
        const bool oopses = expected.behaviour == KernelBehaviour::kOopses;
        if (oopses || expected.behaviour == KernelBehaviour::kRefuses) {
            report_expected(Expected::kWarnings);
        }
        const RawPanthor gpu;
        const Kcore kcore;
        TableProbe probe;
        std::uint32_t bo = 0;
        std::uint32_t over = 0;
        if (gpu.fd() < 0 || gpu.create_bo(kWholeMapping.size(), bo) != 0 || gpu.create_bo(kBlock2MBytes, over) != 0) {
            return std::string("no panthor, or no BO: ") + std::strerror(errno);
        }
        nlohmann::ordered_json row{{"kernel", name.release}};
        std::string edge;
        bool mapped_at_edge = false;
        for (const ProofCase& what : kProofCases) {
            if (what.may_oops && oopses) {
                // The last thing that this kernel does.
                row[what.name] = "oops";
                row["behaviour"] = to_string(behaviour_of(edge, mapped_at_edge, "oops"));
                report_row(kProofTable, row);
                run.check("plain calls: until it oopses, this kernel refuses", edge != "works", edge);
                report_expected(Expected::kOops);
            }
            PlainCase plain(gpu, kcore, probe, bo);
            row["2M leaves"] = plain.blocks();
            if (plain.blocks() != kWholeMapping.size() / kBlock2MBytes) {
                return "the mapping is not of 2M leaves: there is nothing to cut";
            }
            const std::string outcome = plain.outcome(what, over);
            row[what.name] = outcome;
            if (edge.empty()) {
                edge = outcome;
                mapped_at_edge = plain.mapped();
            }
            if (what.may_oops && oopses) {
                return std::string("a kernel that was expected to oops did not: ") + outcome;
            }
        }
        const std::string inside_leaf = row[kProofCases.back().name];
        const KernelBehaviour found = behaviour_of(edge, mapped_at_edge, inside_leaf);
        row["behaviour"] = to_string(found);
        report_row(kProofTable, row);
        if (found != expected.behaviour) {
            return std::string("expected a kernel that ") + to_string(expected.behaviour) + ", found one that " +
                   to_string(found) + ": \"" + edge + '"';
        }
        return {};
    });
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    return granule::kernel_test::run_all();
}
