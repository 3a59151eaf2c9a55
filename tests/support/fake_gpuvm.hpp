// One GPU address space of the fake panthor: the mappings that the kernel keeps (drm_gpuvm), the page tables under them
// (io-pgtable), and what goes wrong between the two.
//
//     bind op --> drm_gpuvm: which mappings does it meet? unmap / remap (prev, next) / map      Linux drm_gpuvm.c
//             --> panthor:   unmap the PTEs, map the PTEs; from 7.0 on whole huge folios        Linux panthor_mmu.c
//             --> io-pgtable: blocks and pages; a block is split (up to 6.12) or not             Linux io-pgtable-arm.c
//
// As the kernels do it, so that an operation can fail in the middle and leave the two out of step:
//
//     splits     an unmap of a part of a block makes a table of the rest
//     refuses    ... does nothing and is EINVAL: mappings and tables as they were, but for whole leaves before it
//     oopses     ... and an unmap that leaves mappings on both of its sides takes a mapping that was not set aside: NULL
//     realigns   a remap goes out to the edges of huge folios and maps the rest again as pages. What is not a huge folio
//                and a block all the same warns, and the address space is lost while the call says 0. Of an imported BO
//                there are no folios to look at: NULL
//
// Thread-safety: none: FakeDrm's lock.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "allocator/mapping.hpp"
#include "allocator/plan.hpp"
#include "mali/address.hpp"
#include "tests/support/fake_gem.hpp"

namespace granule::test {

// What the fake kernel did that a real one would have printed; and what a test counts.
struct FakeKernelLog {
    std::vector<std::string> warnings;
    std::string oops;             // the first; the kernel is dead from then on
    std::uint64_t leaf_cuts = 0;  // requests to clear a part of a block, whatever came of them
    [[nodiscard]] bool oopsed() const noexcept { return !oops.empty(); }
};

struct FakeGpuVmRules {
    bool splits = false;
    bool oopses = false;
    bool realigns = false;
};

// A page as the GPU would see it.
struct FakePage {
    bool mapped = false;
    bool sparse = false;       // the kernel's dummy
    std::uint64_t object = 0;  // serial of the GEM object
    std::uint64_t offset = 0;  // into it, of this page
    MapFlags flags;
    LeafSize leaf = LeafSize::k4K;
    bool operator==(const FakePage&) const = default;
};

class FakeGpuVm {
public:
    FakeGpuVm(const FakeGpuVmRules& rules, FakeKernelLog& log, std::uint64_t end) noexcept
        : rules_(rules), log_(log), end_(end) {}

    // 0 or an errno. `offset` without meaning for the sparse dummy.
    [[nodiscard]] int map(std::uint64_t va, std::uint64_t bytes, const FakeGem& object, std::uint64_t offset,
                          const MapFlags& flags);
    [[nodiscard]] int unmap(std::uint64_t va, std::uint64_t bytes);
    void unmap_all();

    // The kernel gave it up on its own (realigns): the GPU sees nothing any more.
    [[nodiscard]] bool lost() const noexcept { return lost_; }

    [[nodiscard]] FakePage page(std::uint64_t va) const;
    struct Leaf {
        std::uint64_t va = 0;
        FakePage page;
        bool operator==(const Leaf&) const = default;
    };
    [[nodiscard]] std::vector<Leaf> leaves() const;
    struct KernelMapping {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        FakeGem object;
        std::uint64_t offset = 0;
        MapFlags flags;
        bool operator==(const KernelMapping&) const = default;
    };
    [[nodiscard]] std::vector<KernelMapping> mappings() const;
    [[nodiscard]] std::uint64_t mapped_bytes() const;
    // "" where mappings and tables say the same.
    [[nodiscard]] std::string disagreement() const;

private:
    struct Page {
        FakeGemObject* object = nullptr;  // nullptr: empty
        std::uint64_t offset = 0;
        MapFlags flags;
    };
    // 2 MiB of VA: a block, or a table of pages.
    struct Window {
        Page block;
        std::unique_ptr<std::array<Page, 512>> table;
        std::uint64_t pages = 0;  // in the table
    };
    using Windows = std::map<std::uint64_t, Window>;
    using Mappings = std::map<std::uint64_t, KernelMapping>;

    [[nodiscard]] bool in_space(std::uint64_t va, std::uint64_t bytes) const noexcept;
    [[nodiscard]] int remove(std::uint64_t va, std::uint64_t bytes, unsigned set_aside);
    [[nodiscard]] int step(const KernelMapping& mapping, std::uint64_t from, std::uint64_t to, unsigned& set_aside);
    [[nodiscard]] int write(const KernelMapping& mapping, std::uint64_t from, std::uint64_t to);
    [[nodiscard]] int write_run(std::uint64_t va, std::uint64_t bytes, const KernelMapping& of, std::uint64_t offset);
    [[nodiscard]] int clear(std::uint64_t from, std::uint64_t to);
    [[nodiscard]] std::uint64_t clear_step(std::uint64_t va, std::uint64_t bytes, bool block);
    [[nodiscard]] bool widen(const KernelMapping& mapping, std::uint64_t& from, std::uint64_t& to);
    [[nodiscard]] bool block_at(std::uint64_t window_start) const;
    static void split(Window& window);
    void warn(const std::string& what);

    FakeGpuVmRules rules_;
    FakeKernelLog& log_;
    std::uint64_t end_;
    Mappings mappings_;
    Windows windows_;
    bool lost_ = false;
};

}  // namespace granule::test
