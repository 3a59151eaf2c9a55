#include "src/replay/end_state.hpp"

#include <optional>

namespace granule::replay {
namespace {

// Whether `next` goes on where `run` ends, in the VA as in what is shown: who looks at pages cannot tell them apart.
bool goes_on(const Mapping& run, const Mapping& next) noexcept {
    return run.va.end == next.va.start && run.shows.bo == next.shows.bo && run.shows.flags == next.shows.flags &&
           (run.shows.sparse() || run.shows.offset + run.va.size() == next.shows.offset);
}

}  // namespace

void EndState::add_edges(const Vm& vm, const VaRange& taken) {
    leaves_.add(static_cast<std::uint64_t>(vm.granule_at(taken.start)));
    leaves_.add(static_cast<std::uint64_t>(vm.granule_at(taken.end - kPageBytes)));
}

void EndState::add(const TracedVm& vm) {
    const auto number_of = [&](const Mapping& mapping) {
        const auto found = vm.in.numbers.find(mapping.shows.bo);
        return found == vm.in.numbers.end() ? std::uint64_t{0} : std::uint64_t{found->second};
    };
    const auto add_run = [&](const Mapping& run) {
        mappings_.add(run.va.start.raw());
        mappings_.add(run.va.end.raw());
        mappings_.add(run.shows.sparse() ? Oracle::kSparse : number_of(run));
        mappings_.add(run.shows.sparse() ? 0 : run.shows.offset.raw());
        mappings_.add((run.shows.flags.readonly ? 1U : 0U) | (run.shows.flags.noexec ? 2U : 0U) |
                      (run.shows.flags.uncached ? 4U : 0U));
    };
    std::optional<Mapping> run;
    vm.vm().for_each_mapping(vm.vm().config().space, [&](const Mapping& mapping) {
        leaves_.add(mapping.va.start.raw());
        leaves_.add(mapping.va.end.raw());
        leaves_.add(number_of(mapping));
        leaves_.add(mapping.shows.offset.raw());
        if (run && goes_on(*run, mapping)) {
            run->va.end = mapping.va.end;
            return;
        }
        if (run) {
            add_run(*run);
        }
        run = mapping;
    });
    if (run) {
        add_run(*run);
    }
    vm.on->add_leaves(leaves_);
}

}  // namespace granule::replay
