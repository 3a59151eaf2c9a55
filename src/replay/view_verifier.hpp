// Compares what a VM says of itself with what the oracle says: its mappings, page by page. For devices
// whose tables are a kernel's: what is in those, a program in that kernel's machine can look at (`Options::look_at_vm`).
//
// Thread-safety: none.
#pragma once

#include <utility>

#include "src/replay/verifier.hpp"

namespace granule::replay {

class ViewVerifier final : public Verifier {
public:
    explicit ViewVerifier(Report report) : Verifier(std::move(report)) {}

private:
    void check_window(const TracedVm& vm, const Oracle::Window& window, const VaRange& range) override;
    void check_sums(const TracedVm& vm) override;
};

}  // namespace granule::replay
