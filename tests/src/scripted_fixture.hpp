// A VM on a kernel that fails as it is told to, BOs without memory, and an oracle: what every page shows.
//
// Thread-safety: none.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/vm.hpp"
#include "tests/src/requests.hpp"
#include "tests/support/scripted_backend.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {

// BOs that have a name in a kernel and nothing else.
class NamedBos final : public BoBackend {
public:
    [[nodiscard]] Result<void, OsError> create(Bo& bo, const BoRequest& request) noexcept override {
        bo.size = align_up(request.bytes, kPageBytes);
        bo.gem = ++last_;
        return {};
    }
    void destroy(Bo& /*bo*/) noexcept override {}
    [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo& /*bo*/) noexcept override {
        return fail(Status::kNotSupported);
    }
    void unmap_cpu(Bo& /*bo*/, std::byte* /*cpu*/) noexcept override {}
    [[nodiscard]] Status map_cpu_at(Bo& /*bo*/, std::byte* /*where*/, CpuAccess /*access*/) noexcept override {
        return Status::kNotSupported;
    }

private:
    std::uint32_t last_ = 0;
};

class ScriptedSpace {
public:
    // Four BOs whose cut rules are those: the first is cut by plans, the second by the kernel where it can, the third
    // never inside a window; the fourth as the first.
    static constexpr std::uint64_t kBoBytes = 64 * kMiB;

    explicit ScriptedSpace(KernelBehaviour behaviour, BindObserver* observer = nullptr)
        : kernel(behaviour, {CutRule::kByKernel, CutRule::kExplicit, CutRule::kByKernel, CutRule::kWholeWindow}),
          timelines(memory.memory()),
          bos(bo_backend_, memory.memory()) {
        VmConfig config;
        config.space = range_at(0, 8 * kGiB);
        config.journal_capacity = 64;
        config.observer = observer;
        Result<Owned<Vm>, Status> made =
            Vm::create(config, bos, timelines, make_owned<ScriptedBackend>(memory.memory(), kernel), memory.memory());
        REQUIRE(made.has_value());
        vm = std::move(*made);
        for (BoId& id : bo) {
            id = new_bo();
        }
    }

    [[nodiscard]] BoId new_bo() {
        BoRequest request;
        request.bytes = kBoBytes;
        const Result<BoId, OsError> id = bos.create(request);
        REQUIRE(id.has_value());
        return *id;
    }

    // The requests as one transaction.
    [[nodiscard]] Transaction transaction(const std::vector<BindRequest>& requests) const {
        Transaction made;
        for (const BindRequest& request : requests) {
            REQUIRE(made.add(request) == Status::kOk);
        }
        return made;
    }

    // Everything that a failed call may not have changed, but for what the kernel has.
    struct State {
        std::vector<Mapping> mappings;
        std::vector<Va> blocks;
        std::vector<VaAllocation> reserved;
        std::map<BoId, std::pair<std::uint64_t, std::uint64_t>> references;  // and pages mapped
        std::uint64_t binds = 0;
        bool usable = false;
        bool operator==(const State&) const = default;
    };
    [[nodiscard]] State state() const {
        State state;
        vm->for_each_mapping(vm->config().space, [&](const Mapping& mapping) { state.mappings.push_back(mapping); });
        for (const Mapping& mapping : state.mappings) {
            for (Va at = mapping.va.start; at < mapping.va.end; at = at.align_down(kBlock2MBytes) + kBlock2MBytes) {
                if (vm->granule_at(at) == LeafSize::k2M) {
                    state.blocks.push_back(at);
                }
            }
        }
        vm->for_each_reserved([&](const VaAllocation& allocation) { state.reserved.push_back(allocation); });
        bos.for_each([&](const Bo& one) { state.references[one.id] = {one.references(), one.mapped_pages()}; });
        state.binds = vm->statistics().binds;
        state.usable = vm->usable();
        return state;
    }

    // Our mappings as the kernel would have them: without the numbers of the binds that made them.
    [[nodiscard]] MappingList mapped() const {
        MappingList list;
        vm->for_each_mapping(vm->config().space, [&](Mapping mapping) {
            mapping.shows.serial = {};
            list.add(mapping);
        });
        return list;
    }

    // "" where the kernel has survived, shows what our state says, has the blocks that the ledger has, and nothing is
    // held for a call that is over.
    [[nodiscard]] std::string disagreement() const {
        if (!kernel.problem().empty()) {
            return kernel.problem();
        }
        const VaRange all = vm->config().space;
        if (kernel.model().vmas().translation(all) != mapped().translation(all)) {
            return "the kernel shows something else than the VM says";
        }
        std::vector<Va> blocks;
        for (const auto& [start, size] : kernel.model().blocks()) {
            blocks.push_back(start);
        }
        if (blocks != state().blocks) {
            return "the ledger differs from the leaves";
        }
        return kernel.held() ? "something is still held" : "";
    }

    TestMemory memory;
    ScriptedKernel kernel;
    TimelineTable timelines;

private:
    NamedBos bo_backend_;

public:
    BoTable bos;
    Owned<Vm> vm;
    std::array<BoId, 4> bo{};
};

// Requests that cut leaves of every rule, in every way that a plan has; on a space that `set_up` made.
struct Scenario {
    const char* name;
    std::vector<BindRequest> (*requests)(const std::array<BoId, 4>& bo);
};

// One mapping of each of the first three BOs, of six windows with half a window before and behind.
inline constexpr std::uint64_t kPlanned = 16 * kMiB;
inline constexpr std::uint64_t kByKernel = 32 * kMiB;
inline constexpr std::uint64_t kWindows = 48 * kMiB;

inline void set_up(ScriptedSpace& space) {
    const std::array<std::uint64_t, 3> at = {kPlanned, kByKernel, kWindows};
    for (std::size_t i = 0; i < at.size(); ++i) {
        REQUIRE(space.vm->bind(map_request(range_at(at[i] - kMiB, 14 * kMiB), space.bo[i], kMiB)).has_value());
    }
    BindRequest pages = map_request(range_at(64 * kMiB, 4 * kMiB), space.bo[3]);
    pages.leaves = LeafPolicy::kPage;
    REQUIRE(space.vm->bind(pages).has_value());
    REQUIRE(space.vm->bind(map_request(range_at(72 * kMiB, 4 * kMiB), kNoBo)).has_value());
    REQUIRE(space.vm->reserve_va_at(range_at(kGiB, kMiB)).has_value());
    REQUIRE(space.disagreement() == "");
}

inline constexpr std::array kScenarios{
    Scenario{"an unmap inside a leaf of each rule",
             [](const std::array<BoId, 4>&) {
                 return std::vector{unmap_request(range_at(kPlanned + 0x5000, 0x3000)),
                                    unmap_request(range_at(kByKernel + 0x5000, 0x3000)),
                                    unmap_request(range_at(kWindows + 0x5000, 0x3000))};
             }},
    Scenario{
        "one unmap across leaves of one rule",
        [](const std::array<BoId, 4>&) { return std::vector{unmap_request(range_at(kPlanned + 0x5000, 5 * kMiB))}; }},
    Scenario{
        "one unmap across leaves that the kernel cuts",
        [](const std::array<BoId, 4>&) { return std::vector{unmap_request(range_at(kByKernel + 0x5000, 5 * kMiB))}; }},
    Scenario{"one map over whole windows and parts of them",
             [](const std::array<BoId, 4>& bo) {
                 return std::vector{map_request(range_at(kWindows + kMiB, 8 * kMiB), bo[3], kMiB)};
             }},
    Scenario{"one map over the edge of a mapping that the kernel cuts",
             [](const std::array<BoId, 4>& bo) {
                 return std::vector{map_request(range_at(kByKernel + 11 * kMiB, 4 * kMiB), bo[3], kMiB)};
             }},
    Scenario{
        "one map of large leaves over nothing",
        [](const std::array<BoId, 4>& bo) { return std::vector{map_request(range_at(2 * kGiB, 8 * kMiB), bo[3])}; }},
    Scenario{"requests that build on each other",
             [](const std::array<BoId, 4>& bo) {
                 return std::vector{map_request(range_at(kByKernel + 0x100000, 4 * kMiB), bo[3], 0x100000),
                                    unmap_request(range_at(kByKernel + 0x180000, 0x1000)),
                                    map_request(range_at(kWindows, 4 * kMiB), bo[1]),
                                    unmap_request(range_at(kWindows + 0x180000, 2 * kMiB)),
                                    map_request(range_at(kPlanned, 12 * kMiB), bo[0]),
                                    unmap_request(range_at(kPlanned + 0x1000, 0x1000), UnmapPolicy::kEnlarge)};
             }},
    Scenario{"only unmaps, the middle of pages among them",
             [](const std::array<BoId, 4>&) {
                 return std::vector{unmap_request(range_at(65 * kMiB, 64 * kKiB)),
                                    unmap_request(range_at(kWindows, 12 * kMiB)),
                                    unmap_request(range_at(72 * kMiB + 0x1000, 2 * kMiB))};
             }},
};

}  // namespace granule::test
