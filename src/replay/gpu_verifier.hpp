// Compares what the soft device's GPU is answered with what the oracle says.
//
// The GPU's side goes the whole way: address space, software MMU, TLB, tables in memory. Checked for a page: that it
// translates exactly if the oracle says so, to which physical page, with which permissions and caching, that the answer
// is not a stale one, and that the leaf is as large as the ledger says.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "src/replay/verifier.hpp"
#include "src/soft_device.hpp"

namespace granule::replay {

class GpuVerifier final : public Verifier {
public:
    GpuVerifier(SoftDevice& device, Report report) : Verifier(std::move(report)), device_(device) {}

    void bo_made(Oracle::BoNumber number, const Bo& bo) override;
    void bo_gone(Oracle::BoNumber number) override;
    void count(Counts& counts) const override;

private:
    void check_window(const TracedVm& vm, const Oracle::Window& window, const VaRange& range) override;
    void check_page(Vm& vm, Va va, const Oracle::Page& expected);
    void check_sums(const TracedVm& vm) override;

    SoftDevice& device_;
    std::vector<std::vector<Pa>> pages_;  // of BOs, by number; empty: gone
    std::uint64_t expected_faults_ = 0;   // accesses that were meant to fault, because nothing is mapped there
};

}  // namespace granule::replay
