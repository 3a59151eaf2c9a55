// Compares what a device shows with what the oracle says, page by page.
//
// What is looked at is the device's to say: the GPU's answer (gpu_verifier.hpp), or the VM's own view where there is no
// GPU to ask (view_verifier.hpp).
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "src/bo.hpp"
#include "src/replay/options.hpp"
#include "src/replay/oracle.hpp"
#include "src/replay/result.hpp"

namespace granule::replay {

struct TracedVm;

class Verifier {
public:
    // `report` is called for each difference.
    explicit Verifier(Report report) : report_(std::move(report)) {}
    Verifier(const Verifier&) = delete;
    Verifier& operator=(const Verifier&) = delete;
    virtual ~Verifier() = default;

    // The replay's BOs, by the oracle's numbers.
    virtual void bo_made(Oracle::BoNumber number, const Bo& bo);
    virtual void bo_gone(Oracle::BoNumber number);

    // The pages of `range`, of the 2 MiB windows that they are in, and the page on either side.
    void check_around(const TracedVm& vm, const VaRange& range);
    // Everything that is mapped, and that nothing else is.
    void check_all(const TracedVm& vm);

    // Adds what was looked at, and what it cost.
    virtual void count(Counts& counts) const;

protected:
    // `range` lies in `window`, the oracle's at its start.
    virtual void check_window(const TracedVm& vm, const Oracle::Window& window, const VaRange& range) = 0;
    // That as much is mapped as the oracle says.
    virtual void check_sums(const TracedVm& vm) = 0;

    void report(std::string what) const { report_(std::move(what)); }
    std::uint64_t pages_checked_ = 0;

private:
    void check_part(const TracedVm& vm, const VaRange& range);

    Report report_;
};

}  // namespace granule::replay
