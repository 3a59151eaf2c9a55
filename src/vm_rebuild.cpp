// How a VM that is lost comes back: a new address space, and every mapping of our state bound in it.
//
// Our state is always one that can be bound again. A call that failed has left it as it was before, whether the tables
// could be brought back to it or not; a submitted bind that the kernel failed later has left it as it was meant to be,
// and with it what was submitted behind it. So a rebuild needs no other memory of what happened.
//
// It needs no memory for plans either: they are made a few at a time, on the stack.

#include <array>
#include <cassert>
#include <cstddef>
#include <span>

#include "src/leaf_pieces.hpp"
#include "src/vm.hpp"

namespace granule {
namespace {

// Plans that go to the backend together.
class PlanBatch {
public:
    static constexpr std::size_t kMost = 32;

    [[nodiscard]] bool full() const noexcept { return count_ == kMost; }
    void add(const Plan& plan) noexcept { plans_[count_++] = plan; }
    void clear() noexcept { count_ = 0; }
    [[nodiscard]] std::span<const Plan> plans() const noexcept { return {plans_.data(), count_}; }

private:
    std::array<Plan, kMost> plans_;
    std::size_t count_ = 0;
};

}  // namespace

std::uint32_t Vm::kernel_id() const noexcept {
    const std::lock_guard lock(mutex_);
    return backend_->kernel_id();
}

Status Vm::check() noexcept {
    const std::lock_guard lock(mutex_);
    if (lost_) {
        return Status::kVmUnusable;
    }
    const Status status = backend_->check();
    if (status == Status::kVmUnusable) {
        become_unusable({status, 0, 0, 0, false});
    }
    return status;
}

Result<RebuildReport, BindError> Vm::rebuild() noexcept {
    const std::lock_guard lock(mutex_);
    if (!lost_) {
        BindError error;
        error.status = Status::kBadArgument;
        return fail(error);
    }
    if (const Result<void, BackendFailure> renewed = backend_->renew(); !renewed) {
        return fail(describe(renewed.error(), BindRequest{}));
    }
    if (const std::optional<BindError> error = bind_all_again()) {
        backend_->detach();  // half of the mappings are no address space
        return fail(*error);
    }
    lost_.reset();
    return RebuildReport{mappings_.size(), mappings_.mapped_bytes(), backend_->kernel_id()};
}

std::optional<BindError> Vm::bind_all_again() noexcept {
    // Planned into an empty address space, which is what there is: nothing is cut, and each plan is one map.
    const MappingMap no_mappings(nodes_);
    const GranuleLedger no_blocks(nodes_);
    const AddressSpaceView empty = view(no_mappings, no_blocks);
    PlanBatch batch;
    std::optional<BindError> error;
    const auto bind_batch = [&]() noexcept {
        const Status held = backend_->hold(batch.plans());
        if (held != Status::kOk) {
            error = BindError{};
            error->status = held;
        } else if (const Result<void, BackendFailure> done = backend_->execute(batch.plans()); !done) {
            BindRequest failed;
            failed.va = batch.plans()[done.error().plan].taken;
            error = describe(done.error(), failed);
            error->request = BindError::kAll;  // nobody asked for it now
        }
        backend_->settle();
        batch.clear();
    };
    mappings_.for_each_overlap(config_.space, [&](const Mapping& mapping) {
        for_each_leaf_piece(ledger_, mapping.va, [&](const VaRange& piece, LeafPolicy leaves) {
            if (error) {
                return;
            }
            const Result<Plan, PlanError> planned = plan(
                empty, {BindRequest::Kind::kMap, piece, mapping.clipped(piece).shows, UnmapPolicy::kReject, leaves});
            assert(planned.has_value() && planned->ops().size() == 1);
            batch.add(*planned);
            if (batch.full()) {
                bind_batch();
            }
        });
        return !error.has_value();
    });
    if (!error && !batch.plans().empty()) {
        bind_batch();
    }
    return error;
}

}  // namespace granule
