// The path of every bind: what it lands on is looked at, then it is carried out, counted and checked.
//
//     look before --> commit, or queue and wait --> oracle, VA, removals --> granules, verify, sums
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/replay/end_state.hpp"
#include "src/replay/record.hpp"
#include "src/replay/removals.hpp"
#include "src/replay/traced_files.hpp"
#include "src/replay/verifier.hpp"
#include "src/replay/vm_sums.hpp"

namespace granule::replay {

// One operation that the program asked for.
struct AskedBind {
    BindRequest request;
    Oracle::BoNumber number = Oracle::kNothing;
};

class Binder {
public:
    Binder(Record& record, TracedFiles& files, Verifier& verifier, VmSums& sums, EndState& end_state) noexcept
        : record_(record), files_(files), verifier_(verifier), sums_(sums), end_state_(end_state) {}

    // The operations of one call.
    [[nodiscard]] Result<void, Stop> bind(TracedVm& vm, std::span<const AskedBind> asked, bool async);
    // What a kernel did by itself, so that it was not looked at before.
    void note_done(TracedVm& vm, const AskedBind& asked, const Bound& done);

    // How long each commit took.
    [[nodiscard]] std::vector<std::uint32_t>& nanoseconds() noexcept { return nanoseconds_; }

private:
    [[nodiscard]] Result<void, Stop> bind_together(TracedVm& vm, std::span<const AskedBind> asked, bool async);
    [[nodiscard]] Stop refused(const TracedVm& vm, const BindError& error) const;
    void look_before(TracedVm& vm, const AskedBind& asked);
    void settle(TracedVm& vm, std::span<const AskedBind> asked, const VaRange& taken, const BindReport& report,
                std::uint64_t nanoseconds);
    void look_after(TracedVm& vm, const AskedBind& asked, const VaRange& taken);
    [[nodiscard]] VaRange taken_by(const AskedBind& asked, const VaRange& enlarged) const {
        return record_.options.policy == UnmapPolicy::kEnlarge ? enlarged : asked.request.va;
    }

    Record& record_;
    TracedFiles& files_;
    Verifier& verifier_;
    VmSums& sums_;
    EndState& end_state_;
    Removals removals_;
    std::vector<std::uint32_t> nanoseconds_;
};

}  // namespace granule::replay
