#include "src/drm/bind_array.hpp"

#include <algorithm>

namespace granule {
namespace {

bool shows_dummy(const PlanOp& op, const BindArrayRules& rules) noexcept {
    return op.kind == PlanOp::Kind::kMap && op.shows.sparse() && !rules.sparse;
}

bool cut_in_windows(const PlanOp& op) noexcept {
    return op.kind == PlanOp::Kind::kMap && op.leaves == LeafPolicy::kPage;
}

// Where the piece of `op` ends that begins at `start`.
Va piece_end(const PlanOp& op, Va start, const BindArrayRules& rules) noexcept {
    Va end = op.va.end;
    if (cut_in_windows(op)) {
        const Va window = start.align_up(kBlock2MBytes);  // the first that the piece could have whole
        if (window + kBlock2MBytes <= end) {
            end = window + kBlock2MBytes / 2;
        }
    }
    if (shows_dummy(op, rules)) {
        end = std::min(end, start.align_down(kBlock2MBytes) + kBlock2MBytes);
    }
    return end;
}

// Whether blocks may stand where the pieces of `op` have edges that it has not itself.
bool must_find_nothing(const PlanOp& op) noexcept {
    const Va window = op.va.start.align_up(kBlock2MBytes);
    return cut_in_windows(op) && op.purpose == PlanOp::Purpose::kRequested && window + kBlock2MBytes <= op.va.end;
}

// What is done to the range of an operation, one after the other: from `first_stage` on.
enum Stage : unsigned { kIsolate, kClear, kCarryOut, kStages };

Stage first_stage(const PlanOp& op, const BindArrayRules& rules) noexcept {
    if (!must_find_nothing(op)) {
        return kCarryOut;
    }
    return rules.merge ? kClear : kIsolate;
}

PlanOp at_stage(const PlanOp& op, unsigned stage) noexcept {
    PlanOp done = op;
    if (stage == kIsolate) {
        done.leaves = LeafPolicy::kLargest;
    } else if (stage == kClear) {
        done.kind = PlanOp::Kind::kUnmap;
    }
    return done;
}

std::uint32_t flags_of(const MapFlags& flags) noexcept {
    return (flags.readonly ? panthor::kOpReadonly : 0U) | (flags.noexec ? panthor::kOpNoexec : 0U) |
           (flags.uncached ? panthor::kOpUncached : 0U);
}

drm_panthor_vm_bind_op element(const PlanOp& op, const VaRange& va, const BoTable& bos,
                               const BindArrayRules& rules) noexcept {
    drm_panthor_vm_bind_op element;
    element.va = va.start.raw();
    element.size = va.size();
    if (op.kind == PlanOp::Kind::kUnmap) {
        element.flags = panthor::kOpUnmap;
        return element;
    }
    element.flags = panthor::kOpMap | flags_of(op.shows.flags);
    if (!op.shows.sparse()) {
        element.bo_handle = bos.find(op.shows.bo)->gem;
        element.bo_offset = op.shows.advanced(va.start - op.va.start).offset.raw();
        return element;
    }
    // Nobody has code in what reads as anything: the driver takes sparse only with this, and what stands for it has to be
    // the same.
    element.flags |= panthor::kOpNoexec;
    if (rules.sparse) {
        element.flags |= panthor::kOpSparse;
    } else {
        element.bo_handle = rules.dummy_gem;
        element.bo_offset = va.start.raw() % kBlock2MBytes;
    }
    return element;
}

// Whether `next` goes on where `last` ends, so that the kernel may be told both as one.
bool go_together(const drm_panthor_vm_bind_op& last, const drm_panthor_vm_bind_op& next) noexcept {
    if (last.va + last.size != next.va || last.flags != next.flags) {
        return false;
    }
    if ((next.flags & panthor::kOpTypeMask) == panthor::kOpUnmap) {
        return true;
    }
    const bool offsets_go_on = (next.flags & panthor::kOpSparse) != 0 || last.bo_offset + last.size == next.bo_offset;
    return last.bo_handle == next.bo_handle && offsets_go_on && is_aligned(next.va, kBlock2MBytes);
}

}  // namespace

BindArray::BindArray(NodeMemory memory) noexcept : ops_(memory), origins_(memory) {
    // Without memory the array is not valid, which its owner asks.
    static_cast<void>(ops_.reserve(kBaseOps) && origins_.reserve(kBaseOps));
}

std::size_t BindArray::room() const noexcept {
    return std::min(ops_.capacity(), origins_.capacity());
}

bool BindArray::valid() const noexcept {
    return room() >= kBaseOps;
}

std::uint64_t BindArray::elements(const PlanOp& op, const BindArrayRules& rules) noexcept {
    const std::uint64_t first_window = align_up(op.va.start.raw(), kBlock2MBytes);
    const std::uint64_t windows_end = align_down(op.va.end.raw(), kBlock2MBytes);
    const std::uint64_t whole = first_window < windows_end ? (windows_end - first_window) / kBlock2MBytes : 0;
    std::uint64_t largest = 1;
    if (shows_dummy(op, rules)) {
        largest =
            (align_up(op.va.end.raw(), kBlock2MBytes) - align_down(op.va.start.raw(), kBlock2MBytes)) / kBlock2MBytes;
    }
    const std::uint64_t carried_out = largest + (cut_in_windows(op) ? whole : 0);
    switch (first_stage(op, rules)) {
        case kIsolate:
            return largest + 1 + carried_out;
        case kClear:
            return 1 + carried_out;
        default:
            return carried_out;
    }
}

bool BindArray::hold(std::span<const Plan> plans, const BindArrayRules& rules) noexcept {
    std::uint64_t count = 0;
    for (const Plan& plan : plans) {
        for (const PlanOp& op : plan.ops()) {
            count += elements(op, rules);
        }
    }
    return hold(count);
}

bool BindArray::hold(std::uint64_t elements) noexcept {
    if (elements > UINT32_MAX) {
        return false;  // the kernel counts them in 32 bits
    }
    return ops_.reserve(elements) && origins_.reserve(elements);
}

void BindArray::reset() noexcept {
    clear();
    done_of_op_ = 0;
}

void BindArray::clear() noexcept {
    ops_.clear();
    origins_.clear();
    group_start_ = 0;
}

bool BindArray::add(const PlanOp& op, const PlanPosition& position, const BoTable& bos,
                    const BindArrayRules& rules) noexcept {
    const std::uint64_t bytes = op.va.size();
    const Stage first = first_stage(op, rules);
    while (done_of_op_ < (kStages - first) * bytes) {
        const PlanOp now = at_stage(op, static_cast<unsigned>(first + done_of_op_ / bytes));
        const Va start = op.va.start + done_of_op_ % bytes;
        const VaRange piece{start, piece_end(now, start, rules)};
        const drm_panthor_vm_bind_op next = element(now, piece, bos, rules);
        if (rules.merge && ops_.size() > group_start_ && go_together(ops_.back(), next)) {
            ops_.back().size += next.size;
            origins_.back().last = position;
        } else {
            if (ops_.size() == room() || !ops_.push(next) || !origins_.push({position, position, done_of_op_ != 0})) {
                return false;
            }
        }
        done_of_op_ += piece.size();
    }
    done_of_op_ = 0;
    return true;
}

bool BindArray::add_nothing() noexcept {
    drm_panthor_vm_bind_op nothing;
    nothing.flags = panthor::kOpSyncOnly;
    return ops_.size() < room() && ops_.push(nothing) && origins_.push({});
}

std::span<drm_panthor_vm_bind_op> BindArray::ops() noexcept {
    return {ops_.empty() ? nullptr : &ops_[0], ops_.size()};
}

}  // namespace granule
