#include "src/drm/panfrost_address_space.hpp"

namespace granule {
namespace {

bool is_done_by_kernel(const PlanOp& op, const BoTable& bos) noexcept {
    if (op.kind == PlanOp::Kind::kUnmap) {
        return true;
    }
    if (op.shows.sparse() || op.leaves != LeafPolicy::kLargest) {
        return false;
    }
    const Bo* const bo = bos.find(op.shows.bo);  // held by who asks
    return bo->kernel_va == op.va.start && op.shows.offset == BoOffset{0} && op.va.size() == bo->size &&
           op.shows.flags == bo->kernel_flags;
}

}  // namespace

PanfrostAddressSpace::PanfrostAddressSpace(const KernelFacts& facts, const BoTable& bos,
                                           std::atomic<bool>& in_use) noexcept
    : facts_(facts), bos_(bos), in_use_(in_use) {}

PanfrostAddressSpace::~PanfrostAddressSpace() {
    in_use_.store(false, std::memory_order_release);
}

Status PanfrostAddressSpace::hold(std::span<const Plan> plans) noexcept {
    for (const Plan& plan : plans) {
        for (const PlanOp& op : plan.ops()) {
            if (!is_done_by_kernel(op, bos_)) {
                return Status::kNotSupported;
            }
        }
    }
    return Status::kOk;
}

Result<void, BackendFailure> PanfrostAddressSpace::execute(std::span<const Plan> /*plans*/) noexcept {
    return {};
}

Extent PanfrostAddressSpace::extent_at(const Backing& shows, Va va) const noexcept {
    if (shows.sparse()) {  // a transaction is laid out before `hold` refuses it
        return {Pa{0}, kBlock2MBytes - va.raw() % kBlock2MBytes, false};
    }
    return bos_.extent_at(shows, va);
}

CutRule PanfrostAddressSpace::cut_rule(const Backing& /*shows*/) const noexcept {
    return CutRule::kWholeMapping;
}

}  // namespace granule
