// An address space under test: the real map of mappings, ledger and planner beside a model and an oracle.
//
//   planner --plan--> PlanModel        executes it: would the kernel have survived? which blocks stand now?
//      |
//      +------------> MappingMap, GranuleLedger     as src/ commits it
//
//   oracle: what the request means, page for page, without plans: cut the range, add the new mapping
//
// After every bind: map of mappings == oracle, ledger == blocks of the model, translation of the model == oracle, and
// the plan's costs are what can be counted. `problem()` is the first of these that is not so.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "allocator/planner.hpp"
#include "tests/support/fake_layout.hpp"
#include "tests/support/plan_model.hpp"
#include "tests/support/plan_text.hpp"

namespace granule::test {

struct SpaceConfig {
    FakeLayout::Kind layout = FakeLayout::Kind::kContiguous;
    LeafSizes leaf_sizes = kLeaves4K2M;
    KernelBehaviour kernel = KernelBehaviour::kRefuses;
    VaRange space{Va{0}, Va{kMaxVaEnd}};
    bool atomic_binds = false;
    std::vector<CutRule> rules{};  // by BO; those without one: kExplicit
};

class BoundSpace {
public:
    using Answer = Result<Plan, PlanError>;

    // Everything that a later bind depends on.
    struct State {
        MappingList mappings;
        MappingList vmas;
        PlanModel::Blocks blocks;
    };

    explicit BoundSpace(const SpaceConfig& config)
        : config_(config), layout_(config.layout, config.rules), model_(layout_, config.leaf_sizes, config.kernel) {}

    [[nodiscard]] AddressSpaceView view() const noexcept {
        return {mappings_,
                ledger_,
                config_.space,
                config_.leaf_sizes,
                config_.kernel,
                config_.atomic_binds,
                mali::kSmallestLockLog2,
                &layout_};
    }

    // Plans, and commits where there is a plan. Checks what is near.
    Answer bind(const BindRequest& request) {
        const VaRange whole{granule_at(request.va.start).start, granule_at(request.va.end - kPageBytes).end};
        const Answer answer = plan(view(), request);
        if (!answer) {
            check_refusal(request, whole, answer.error());
            return answer;
        }
        check_plan(request, whole, *answer);
        commit(request, whole, *answer);
        check_near({whole.start.align_down(kBlock2MBytes), whole.end.align_up(kBlock2MBytes)});
        return answer;
    }

    void check_all() {
        check_near({Va{0}, Va{kMaxVaEnd}});
        if (!mappings_.validate() || mappings_.size() != oracle_.all().size()) {
            complain("the map of mappings is broken");
        }
        if (!ledger_.validate()) {
            complain("the ledger is broken");
        }
    }

    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
    [[nodiscard]] const MappingMap& mappings() const noexcept { return mappings_; }
    [[nodiscard]] const GranuleLedger& ledger() const noexcept { return ledger_; }
    [[nodiscard]] const MappingList& oracle() const noexcept { return oracle_; }
    [[nodiscard]] const PlanModel& model() const noexcept { return model_; }

    [[nodiscard]] State state() const { return {oracle_, model_.vmas(), model_.blocks()}; }
    void restore(const State& state) {
        for (const auto& [start, mapping] : oracle_.all()) {
            mappings_.erase(mapping.va);
        }
        for (const auto& [start, size] : model_.blocks()) {
            ledger_.clear({start, start + bytes_of(size)});
        }
        oracle_ = state.mappings;
        model_.set(state.vmas, state.blocks);
        for (const auto& [start, mapping] : oracle_.all()) {
            insert(mapping);
        }
        for (const auto& [start, size] : model_.blocks()) {
            const LeafRun block{start, size, 1};
            if (!ledger_.hold(block.range())) {
                complain("no memory for the ledger");
                return;
            }
            ledger_.mark(block);
        }
    }

private:
    void complain(const std::string& what) {
        if (problem_.empty()) {
            problem_ = what;
        }
    }
    void demand(bool holds, const BindRequest& request, const Plan& made, const char* what) {
        if (!holds) {
            complain(std::string(what) + ": " + (request.kind == BindRequest::Kind::kMap ? "map " : "unmap ") +
                     text(request.va) + " " + to_string(request.policy) + " => " + text(made));
        }
    }

    void insert(const Mapping& mapping) {
        if (!mappings_.hold(1, mapping.va.size() / kPageBytes)) {
            complain("no memory for the map of mappings");
            return;
        }
        mappings_.insert(mapping);
        mappings_.settle();
    }

    void check_refusal(const BindRequest& request, const VaRange& whole, const PlanError& error) {
        const bool cut = whole != request.va && request.policy == UnmapPolicy::kReject;
        const bool reaches_out = error.granule.start < request.va.start || error.granule.end > request.va.end;
        const bool named = error.code == PlanError::Code::kGranuleCut && error.request == request.va && reaches_out &&
                           error.granule.overlaps(request.va) && error.granule == granule_at(error.granule.start) &&
                           model_.granule_at(error.granule.start).size() == bytes_of(error.leaf) &&
                           oracle_.at(error.granule.start) == std::optional<Mapping>(error.mapping);
        if (!cut || !named) {
            complain("refused " + text(request.va) + ": " + to_string(error.code) + ", granule " + text(error.granule));
        }
    }

    void check_plan(const BindRequest& request, const VaRange& whole, const Plan& made) {
        const bool maps = request.kind == BindRequest::Kind::kMap;
        const bool cuts = whole != request.va;
        const bool enlarges = cuts && request.policy == UnmapPolicy::kEnlarge;
        const bool by_kernel = request.policy == UnmapPolicy::kSplit && left_to_kernel(request.va);
        const std::uint64_t residual = cuts && !enlarges && !by_kernel ? whole.size() - request.va.size() : 0;
        const auto must = [&](bool holds, const char* what) { demand(holds, request, made, what); };

        must(!cuts || request.policy != UnmapPolicy::kReject, "a cut granule was not refused");
        must(made.taken == (enlarges ? whole : request.va), "taken");
        must(made.touched == whole, "touched");
        must(made.empty() == (!maps && oracle_.bytes_in(request.va) == 0),
             "empty if and only if there is nothing to do");
        must(made.cost.granules == (by_kernel ? 0 : cut_by(request.va).size()), "granules");
        must(made.cost.kernel_cuts == (by_kernel ? cut_by(request.va).size() : 0), "kernel cuts");
        must(!by_kernel || (made.ops().size() == 1 && made.ops().front().va == request.va &&
                            made.ops().front().purpose == PlanOp::Purpose::kRequested),
             "what is left to the kernel is the request");
        must(made.cost.residual_bytes == residual, "residual bytes");
        must(made.cost.exposed_bytes == (config_.atomic_binds ? 0 : residual), "exposed bytes");
        must(made.cost.enlarged_bytes == (enlarges ? oracle_.bytes_in(whole) - oracle_.bytes_in(request.va) : 0),
             "enlarged bytes");
        must((made.cost.tables != 0) == maps, "P4: only the new mapping sets tables aside");
        must(made.empty() ? made.cost.locked.empty() : made.cost.locked.contains(whole), "lock region");
        for (const PlanOp& op : made.ops()) {
            must(whole.contains(op.va) && !op.va.empty() && op.va.is_aligned(kPageBytes), "minimal");
            must(op.purpose != PlanOp::Purpose::kResidual || !op.va.overlaps(request.va), "a residual was asked for");
            must(op.purpose != PlanOp::Purpose::kIsolate || config_.kernel == KernelBehaviour::kOopses, "isolates");
        }
    }

    // The least around `va` that can be unmapped: its leaf, or what its mapping has in the window, or the mapping.
    [[nodiscard]] VaRange granule_at(Va va) const {
        const VaRange leaf = model_.granule_at(va);
        const std::optional<Mapping> mapping = oracle_.at(va);
        if (mapping && layout_.cut_rule(mapping->shows) == CutRule::kWholeMapping) {
            return mapping->va;
        }
        if (!mapping || layout_.cut_rule(mapping->shows) != CutRule::kWholeWindow) {
            return leaf;
        }
        const Va window = va.align_down(kBlock2MBytes);
        return leaf.hull(mapping->va.intersection({window, window + kBlock2MBytes}));
    }

    // The granules that the edges of `range` cut.
    [[nodiscard]] std::vector<VaRange> cut_by(const VaRange& range) const {
        std::vector<VaRange> cut;
        for (const Va inside : {range.start, range.end - kPageBytes}) {
            const VaRange granule = granule_at(inside);
            if (!range.contains(granule) && (cut.empty() || cut.front() != granule)) {
                cut.push_back(granule);
            }
        }
        return cut;
    }

    [[nodiscard]] bool left_to_kernel(const VaRange& range) const {
        const std::vector<VaRange> cut = cut_by(range);
        const bool can = config_.kernel == KernelBehaviour::kSplits || config_.kernel == KernelBehaviour::kRealigns;
        return can && !cut.empty() && std::all_of(cut.begin(), cut.end(), [&](const VaRange& granule) {
                   return granule.size() == kBlock2MBytes &&
                          layout_.cut_rule(oracle_.at(granule.start)->shows) == CutRule::kByKernel;
               });
    }

    void commit(const BindRequest& request, const VaRange& whole, const Plan& made) {
        for (const PlanOp& op : made.ops()) {
            if (const std::string wrong = model_.execute(op); !wrong.empty()) {
                demand(false, request, made, wrong.c_str());
            }
        }
        const bool maps = request.kind == BindRequest::Kind::kMap;
        oracle_.cut(request.policy == UnmapPolicy::kEnlarge ? whole : request.va);
        mappings_.erase(made.taken);
        if (maps) {
            oracle_.add({request.va, request.shows});
            insert({request.va, request.shows});
        }
        if (!hold_ledger(ledger_, made)) {
            complain("no memory for the ledger");
            return;
        }
        apply_to_ledger(ledger_, made, layout_, config_.leaf_sizes);
    }

    // Everything that overlaps `range`, and the mappings beside it.
    void check_near(const VaRange& range) {
        std::vector<Mapping> mapped;
        mappings_.for_each_overlap(range, [&](const Mapping& mapping) { mapped.push_back(mapping); });
        if (mapped != oracle_.overlapping(range)) {
            complain("P2: the map of mappings differs from what was asked for near " + text(range));
        }
        const VaRange wider{mapped.empty() ? range.start : std::min(range.start, mapped.front().va.start),
                            mapped.empty() ? range.end : std::max(range.end, mapped.back().va.end)};
        if (model_.vmas().translation(wider) != oracle_.translation(wider)) {
            complain("P2: the translation differs from what was asked for near " + text(range));
        }
        auto expected = model_.blocks().lower_bound(model_.granule_at(range.start).start);
        bool same = true;
        ledger_.for_each_block_run(range, [&](const LeafRun& run) {
            for (std::uint64_t i = 0; i < run.count && same; ++i) {
                const Va start = run.start + i * bytes_of(run.size);
                same = expected != model_.blocks().end() && *expected == std::pair<const Va, LeafSize>{start, run.size};
                expected = same ? std::next(expected) : expected;
            }
        });
        if (!same || (expected != model_.blocks().end() && expected->first < range.end)) {
            complain("the ledger differs from the leaves near " + text(range));
        }
    }

    SpaceConfig config_;
    FakeLayout layout_;
    PlanModel model_;
    MappingList oracle_;
    MappingMap mappings_;
    GranuleLedger ledger_;
    std::string problem_;
};

}  // namespace granule::test
