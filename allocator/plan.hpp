// A plan: what one change of an address space will do, as data, before anything is done.
//
// Planning is pure: state, request and policy go in, a short ordered list of operations and its costs come out. A plan
// can be printed, counted, tested without a device, and refused. It consists of at most five operations: only the two
// edges of a range can cut a granule.
//
//   unmap [a, b) out of a mapping of two 2 MiB leaves, policy split:
//
//          G1.start   a                          b    G2.end
//     leaf    |=======:==========|===============:======|
//      1      |------------------- unmap ---------------|     whole granules (P1)
//      2      |=map===|                                       residual: what was not asked for, mapped again (P2)
//      3                                         |==map=|     residual
//
//   map [a, b) over it is the same, with the new mapping between the residuals.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/leaf_layout.hpp"
#include "allocator/mapping.hpp"
#include "mali/address.hpp"

namespace granule {

// What to do where a request cuts a granule. An argument of every call, never a global.
enum class UnmapPolicy : std::uint8_t {
    kReject,   // refuse: a typed error that names the granule
    kSplit,    // the semantics of kernels up to 6.12: unmap the granule whole, map the residuals again
    kEnlarge,  // take whole granules, and say how much was taken
};

// What the kernel at hand does when it is asked to unmap a part of a leaf (Linux, panthor VM_BIND).
enum class KernelBehaviour : std::uint8_t {
    kSplits,    // up to 6.12: io-pgtable splits the block
    kRefuses,   // 6.13 to 6.19: EINVAL, the block stays mapped
    kOopses,    // 6.12 and 6.16 for a while: also a NULL dereference when an unmap leaves mappings on both sides
    kRealigns,  // from 7.0: the driver widens the unmap to the block and maps the rest again
};

struct BindRequest {
    enum class Kind : std::uint8_t { kMap, kUnmap };
    Kind kind = Kind::kUnmap;
    VaRange va;
    Backing shows;  // kMap: what to show; sparse where it names no BO. It lies inside its BO: the caller knows its size
    UnmapPolicy policy = UnmapPolicy::kReject;
    LeafPolicy leaves = LeafPolicy::kLargest;
};

struct PlanOp {
    enum class Kind : std::uint8_t { kUnmap, kMap };
    enum class Purpose : std::uint8_t {
        kRequested,  // what was asked for
        kGranule,    // unmap of whole granules that the request cuts
        kResidual,   // map of what was not asked for
        kIsolate,    // map of a range over itself, so that a kernel sees a mapping of its own there
    };
    Kind kind = Kind::kUnmap;
    Purpose purpose = Purpose::kRequested;
    VaRange va;
    Backing shows;                             // kMap
    LeafPolicy leaves = LeafPolicy::kLargest;  // kMap

    constexpr bool operator==(const PlanOp&) const noexcept = default;
};

struct PlanCost {
    std::uint64_t tables = 0;          // table pages to set aside for the new mapping, at most
    std::uint64_t granules = 0;        // granules that are unmapped whole because the request cuts them
    std::uint64_t kernel_cuts = 0;     // granules that the request cuts and the kernel is left to (CutRule::kByKernel)
    std::uint64_t residual_bytes = 0;  // mapped again
    std::uint64_t exposed_bytes = 0;   // of these, without translation for a moment that the GPU can see
    std::uint64_t enlarged_bytes = 0;  // taken beyond the request (kEnlarge), counted where something was mapped
    VaRange locked;                    // the lock region that covers all of it; empty where nothing is done

    constexpr bool operator==(const PlanCost&) const noexcept = default;
};

class Plan {
public:
    static constexpr std::size_t kMaxOps = 5;  // isolate, unmap, residual, map, residual

    [[nodiscard]] std::span<const PlanOp> ops() const noexcept { return {ops_.data(), count_}; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

    void push(const PlanOp& op) noexcept { insert(count_, op); }
    // In front of the operation that is now at `position`.
    void insert(std::size_t position, const PlanOp& op) noexcept {
        assert(position <= count_ && count_ < kMaxOps);
        for (std::size_t i = count_; i > position; --i) {
            ops_[i] = ops_[i - 1];
        }
        ops_[position] = op;
        ++count_;
    }

    // The mappings inside this range are gone afterwards (before the new one appears): the request, or more with
    // kEnlarge.
    VaRange taken;
    // What the operations touch: `taken` and the granules at its edges.
    VaRange touched;
    PlanCost cost;

private:
    std::array<PlanOp, kMaxOps> ops_{};
    std::size_t count_ = 0;
};

struct PlanError {
    enum class Code : std::uint8_t {
        kNone,        // the failure is of something else than a plan
        kMisaligned,  // VA, size or BO offset is not a multiple of 4 KiB
        kOutOfRange,  // outside the address space
        kOutsideBo,   // beyond the end of the BO: found by who knows its size
        kEmptyRange,  // size 0
        kGranuleCut,  // kReject: `granule` would be cut; `mapping` is what it belongs to
    };
    Code code = Code::kNone;
    VaRange request;
    VaRange granule{};
    LeafSize leaf = LeafSize::k4K;
    Mapping mapping{};

    constexpr bool operator==(const PlanError&) const noexcept = default;
};

[[nodiscard]] const char* to_string(PlanError::Code code) noexcept;
[[nodiscard]] const char* to_string(UnmapPolicy policy) noexcept;
[[nodiscard]] const char* to_string(LeafPolicy policy) noexcept;
[[nodiscard]] const char* to_string(KernelBehaviour kernel) noexcept;
[[nodiscard]] const char* to_string(PlanOp::Kind kind) noexcept;
[[nodiscard]] const char* to_string(PlanOp::Purpose purpose) noexcept;

}  // namespace granule
