// Compares what the GPU is answered with what the oracle says.
//
// The GPU's side goes the whole way: address space, software MMU, TLB, tables in memory. Checked for a page: that it
// translates exactly if the oracle says so, to which physical page, with which permissions and caching, that the answer
// is not a stale one, and that the leaf is as large as the ledger says.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/device.hpp"
#include "src/replay/oracle.hpp"

namespace granule::replay {

// Where the pages of the trace's BOs are in memory, by the oracle's numbers. Kept by the replay.
class BoPages {
public:
    // nullptr: no such BO, or gone.
    [[nodiscard]] const std::vector<Pa>* find(Oracle::BoNumber bo) const {
        return bo < pages_.size() && !pages_[bo].empty() ? &pages_[bo] : nullptr;
    }
    [[nodiscard]] Oracle::BoNumber add(const Bo& bo);
    void remove(Oracle::BoNumber bo) { std::vector<Pa>().swap(pages_[bo]); }

private:
    std::vector<std::vector<Pa>> pages_{Oracle::kFirstBo};
};

class Verifier {
public:
    // `report(what)` is called for each difference.
    Verifier(SoftDevice& device, const BoPages& pages, std::function<void(std::string)> report)
        : device_(device), pages_(pages), report_(std::move(report)) {}

    // The pages of `range`, of the 2 MiB windows that they are in, and the page on either side.
    void check_around(Vm& vm, const Oracle& oracle, const VaRange& range);
    // Everything that is mapped, and that nothing else is: counts of pages and leaves, the tables' own invariants.
    void check_all(Vm& vm, const Oracle& oracle);

    [[nodiscard]] std::uint64_t pages_checked() const noexcept { return pages_checked_; }
    // Accesses that were meant to fault, because nothing is mapped there.
    [[nodiscard]] std::uint64_t expected_faults() const noexcept { return expected_faults_; }

private:
    void check_window(Vm& vm, const Oracle& oracle, const VaRange& range);
    void check_page(Vm& vm, Va va, const Oracle::Page& expected);

    SoftDevice& device_;
    const BoPages& pages_;
    std::function<void(std::string)> report_;
    std::uint64_t pages_checked_ = 0;
    std::uint64_t expected_faults_ = 0;
};

}  // namespace granule::replay
