// The kernel's own tables of a replay's VMs, compared with the replay's oracle: for Options::look_at_vm.
//
// What a page of a BO lies at is not asked of anybody (BOs of a trace are many, and the CPU does not touch them): the
// comparison is that of tests/support/seen_leaves.hpp.
//
// The root of a VM's tables shows in a bind of one page, made behind the library's back and undone: on panthor in a window
// of 2 MiB where nothing is mapped, at the end of the VM; on panfrost wherever the kernel puts a BO.
//
// Thread-safety: none. Failure: what goes wrong with looking is reported as a difference.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "src/drm/kernel_facts.hpp"
#include "src/replay/options.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/table_probe.hpp"

namespace granule::kernel_test {

class KernelLook {
public:
    explicit KernelLook(const KernelFacts& facts) : facts_(facts) {}

    void operator()(const replay::VmLook& look, const replay::Report& report);

    [[nodiscard]] std::uint64_t looks() const noexcept { return looks_; }
    [[nodiscard]] std::uint64_t leaves() const noexcept { return leaves_; }

private:
    [[nodiscard]] Pa root_of(const replay::VmLook& look);

    const KernelFacts facts_;
    Kcore kcore_;
    TableProbe probe_;
    std::map<std::pair<int, std::uint32_t>, Pa> roots_;  // by file and VM
    std::uint64_t looks_ = 0;
    std::uint64_t leaves_ = 0;
};

}  // namespace granule::kernel_test
