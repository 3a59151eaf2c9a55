#include "src/drm/panthor_address_space.hpp"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdint>

#include "src/drm/panthor_uapi.hpp"

namespace granule {
namespace {

// Set aside for what a queued unmap waits for and signals (P4).
constexpr std::size_t kBaseSyncs = 16;

template <class Element>
drm_panthor_obj_array object_array(std::span<Element> elements) noexcept {
    // The kernel takes addresses as integers.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    return {sizeof(Element), static_cast<std::uint32_t>(elements.size()),
            reinterpret_cast<std::uintptr_t>(elements.data())};
}

bool interrupted(int error) noexcept {
    return error == EINTR || error == EAGAIN;
}

bool shows_sparse(std::span<const Plan> plans) noexcept {
    return std::any_of(plans.begin(), plans.end(), [](const Plan& plan) {
        return std::any_of(plan.ops().begin(), plan.ops().end(),
                           [](const PlanOp& op) { return op.kind == PlanOp::Kind::kMap && op.shows.sparse(); });
    });
}

// Whether the plans show something that was not there; else they give back.
bool shows_more(std::span<const Plan> plans) noexcept {
    return std::any_of(plans.begin(), plans.end(), [](const Plan& plan) {
        return std::any_of(plan.ops().begin(), plan.ops().end(), [](const PlanOp& op) {
            return op.kind == PlanOp::Kind::kMap && op.purpose == PlanOp::Purpose::kRequested;
        });
    });
}

VaRange hull_of(std::span<const Plan> plans, VaRange hull = {}) noexcept {
    for (const Plan& plan : plans) {
        for (const PlanOp& op : plan.ops()) {
            hull = hull.hull(op.va);
        }
    }
    return hull;
}

VaRange whole_windows(const VaRange& range) noexcept {
    return {range.start.align_down(kBlock2MBytes), range.end.align_up(kBlock2MBytes)};
}

drm_panthor_sync_op sync_op(const SyncobjPoint& point, std::uint32_t what) noexcept {
    const std::uint32_t type = point.point == 0 ? panthor::kSyncBinary : panthor::kSyncTimeline;
    return {type | what, point.syncobj, point.point};
}

}  // namespace

Result<Owned<PanthorAddressSpace>, OsError> PanthorAddressSpace::create(const PanthorAddressSpaceConfig& config,
                                                                        const DrmFile& file, const KernelFacts& facts,
                                                                        BoTable& bos, NodeMemory nodes) noexcept {
    Owned<PanthorAddressSpace> space = make_owned<PanthorAddressSpace>(nodes, config, file, facts, bos, nodes);
    if (!space || !space->array_.valid() || !space->syncs_.reserve(kBaseSyncs)) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    if (const int error = space->create_vm(); error != 0) {
        return fail(OsError{Status::kOsFailed, "VM_CREATE", error});
    }
    return space;
}

PanthorAddressSpace::PanthorAddressSpace(const PanthorAddressSpaceConfig& config, const DrmFile& file,
                                         const KernelFacts& facts, BoTable& bos, NodeMemory nodes) noexcept
    : config_(config), file_(file), facts_(facts), bos_(bos), array_(nodes), syncs_(nodes), queue_(file) {}

PanthorAddressSpace::~PanthorAddressSpace() {
    if (vm_ != 0) {
        destroy_vm(vm_);
    }
    if (dummy_gem_ != 0) {
        file_.calls().close_handle(file_.fd(), dummy_gem_);
    }
}

int PanthorAddressSpace::create_vm() noexcept {
    drm_panthor_vm_create request;
    request.user_va_range = config_.space.end.raw();
    if (const int error = file_.ioctl(panthor::kVmCreate, request); error != 0) {
        return error;
    }
    vm_ = request.id;
    return 0;
}

// It fails for a VM that is none, and for a device that is gone: there is no VM either way.
void PanthorAddressSpace::destroy_vm(std::uint32_t vm) noexcept {
    drm_panthor_vm_destroy request;
    request.id = vm;
    static_cast<void>(file_.ioctl(panthor::kVmDestroy, request));
}

int PanthorAddressSpace::create_dummy() noexcept {
    drm_panthor_bo_create request;
    request.size = kBlock2MBytes;
    request.flags = panthor::kBoNoMmap;
    if (const int error = file_.ioctl(panthor::kBoCreate, request); error != 0) {
        return error;
    }
    dummy_gem_ = request.handle;
    return 0;
}

BindArrayRules PanthorAddressSpace::rules() const noexcept {
    return {facts_.sparse, dummy_gem_, facts_.behaviour != KernelBehaviour::kOopses};
}

Status PanthorAddressSpace::hold(std::span<const Plan> plans) noexcept {
    if (!array_.hold(plans, rules()) && shows_more(plans)) {
        return Status::kOutOfHostMemory;
    }
    if (!facts_.sparse && dummy_gem_ == 0 && shows_sparse(plans)) {
        if (const int error = create_dummy(); error != 0) {
            return error == ENOMEM ? Status::kOutOfDeviceMemory : Status::kBackendFailed;
        }
    }
    return Status::kOk;
}

Result<void, BackendFailure> PanthorAddressSpace::execute(std::span<const Plan> plans) noexcept {
    if (vm_ == 0) {
        return fail(BackendFailure{Status::kVmUnusable, 0, 0, 0, false});
    }
    if (queue_is_in_the_way(plans)) {
        if (const int error = queue_.wait(config_.queue_wait); error != 0) {
            return fail(
                BackendFailure{error == ETIME ? Status::kTimedOut : Status::kBackendFailed, error, 0, 0, false});
        }
        // A VM that the queue has lost takes unmaps all the same, where its mappings are not what they were to be.
        if (facts_.behaviour == KernelBehaviour::kOopses) {
            if (const Answer answer = ask(); answer.status != Status::kOk) {
                return fail(BackendFailure{answer.status, answer.error, 0, 0, false});
            }
        }
    }
    array_.reset();
    bool kernel_cuts = false;
    for (std::uint32_t plan = 0; plan < plans.size(); ++plan) {
        kernel_cuts = kernel_cuts || plans[plan].cost.kernel_cuts != 0;
        count(plans[plan]);
        const std::span<const PlanOp> ops = plans[plan].ops();
        for (std::uint32_t op = 0; op < ops.size(); ++op) {
            while (!array_.add(ops[op], {plan, op}, bos_, rules())) {
                if (Result<void, BackendFailure> part = carry_out(); !part) {
                    return part;
                }
                array_.clear();
            }
        }
    }
    if (Result<void, BackendFailure> rest = carry_out(); !rest) {
        return rest;
    }
    if (kernel_cuts && facts_.behaviour == KernelBehaviour::kRealigns) {
        // Where that cannot be asked, nobody knows what was done: then it has failed, and is undone.
        if (const Answer answer = ask(); answer.status != Status::kOk) {
            const std::size_t last = plans.size() - 1;
            return fail(BackendFailure{answer.status, answer.error, last, 0, true});
        }
    }
    return {};
}

std::uint64_t PanthorAddressSpace::elements_of(const Plan& plan) const noexcept {
    std::uint64_t elements = 0;
    for (const PlanOp& op : plan.ops()) {
        elements += BindArray::elements(op, rules());
    }
    return elements;
}

void PanthorAddressSpace::count(const Plan& plan) noexcept {
    // An unmap of whole granules stands for the unmap that was asked for; a map over them is asked for besides.
    const bool besides = shows_more({&plan, 1});
    for (const PlanOp& op : plan.ops()) {
        const bool more =
            op.purpose == PlanOp::Purpose::kResidual || (op.purpose == PlanOp::Purpose::kGranule && besides);
        traffic_.residuals += more ? 1U : 0U;
        traffic_.isolations += op.purpose == PlanOp::Purpose::kIsolate ? 1U : 0U;
        traffic_.pieces += BindArray::elements(op, rules()) - 1;
    }
}

// The array, synchronously.
Result<void, BackendFailure> PanthorAddressSpace::carry_out() noexcept {
    std::span<drm_panthor_vm_bind_op> left = array_.ops();
    traffic_.operations += left.size();
    traffic_.largest_array = std::max<std::uint64_t>(traffic_.largest_array, left.size());
    while (!left.empty()) {
        drm_panthor_vm_bind bind;
        bind.vm_id = vm_;
        bind.ops = object_array(left);
        ++traffic_.ioctls;
        const int error = file_.ioctl_once(panthor::kVmBind, bind);
        if (error == 0) {
            break;
        }
        // The number that came back is that of operations carried out, or the one that went in: then the kernel did not
        // come to the first.
        const bool entered = bind.ops.count < left.size();
        left = left.subspan(entered ? bind.ops.count : 0);
        if (!interrupted(error)) {
            return fail(failure(error, array_.ops().size() - left.size(), entered));
        }
    }
    return {};
}

BackendFailure PanthorAddressSpace::failure(int error, std::size_t element, bool entered) noexcept {
    BackendFailure failure;
    failure.status = status_of(error);
    failure.error = error;
    const bool changed_nothing =
        !entered || failure.status == Status::kOutOfTableMemory || facts_.behaviour == KernelBehaviour::kOopses;
    const BindArray::Origin& origin = array_.origin(element);
    const BindArray::PlanPosition at = changed_nothing ? origin.first : origin.last;
    failure.plan = at.plan;
    failure.op = at.op;
    // A part of that plan was in an element before.
    const bool has_begun = at.plan == origin.first.plan && (origin.continues || origin.first.op != 0);
    failure.begun = has_begun || !changed_nothing;
    failure.in_doubt = failure.begun && !has_begun;
    return failure;
}

Status PanthorAddressSpace::status_of(int error) noexcept {
    if (check() == Status::kVmUnusable) {
        return Status::kVmUnusable;
    }
    return error == ENOMEM ? Status::kOutOfTableMemory : Status::kBackendFailed;
}

Result<void, BackendFailure> PanthorAddressSpace::submit(std::span<const PlanGroup> groups) noexcept {
    const auto failed = [](Status status, int error) noexcept {
        return fail(BackendFailure{status, error, 0, 0, false});
    };
    if (vm_ == 0) {
        return failed(Status::kVmUnusable, 0);
    }
    VaRange touched{};
    std::size_t syncs = 1;  // the queue's own
    std::uint64_t elements = 0;
    for (const PlanGroup& group : groups) {
        touched = hull_of(group.plans, touched);
        syncs += group.waits.size() + group.signals.size();
        elements += group.plans.empty() ? 1U : 0U;
        for (const Plan& plan : group.plans) {
            elements += std::max<std::uint64_t>(elements_of(plan), 1);
        }
    }
    array_.reset();
    syncs_.clear();
    if (!syncs_.reserve(syncs)) {
        return failed(Status::kOutOfHostMemory, 0);
    }
    static_cast<void>(array_.hold(elements));  // without it they may still fit: neighbours are merged
    for (const PlanGroup& group : groups) {
        if (!add_group(group)) {
            return failed(Status::kOutOfHostMemory, 0);  // in parts it would not be all or nothing
        }
    }
    if (array_.ops().empty()) {
        return {};
    }
    if (const int error = queue_.prepare(); error != 0) {
        return failed(error == ENOMEM ? Status::kOutOfHostMemory : Status::kBackendFailed, error);
    }
    attach(array_.ops().back(), queue_.next(), panthor::kSyncSignal);
    if (const int error = queue(array_.ops()); error != 0) {
        return failed(status_of(error), error);
    }
    queue_.queued(touched);
    return {};
}

// The queue is in order: what the first operation waits for, all of them do; what the last one signals, all have done.
bool PanthorAddressSpace::add_group(const PlanGroup& group) noexcept {
    array_.end_group();
    const std::size_t first = array_.ops().size();
    for (const Plan& plan : group.plans) {
        count(plan);
        for (const PlanOp& op : plan.ops()) {
            if (!array_.add(op, {}, bos_, rules())) {
                return false;
            }
        }
    }
    if (array_.ops().size() == first) {
        if (group.waits.empty() && group.signals.empty()) {
            return true;
        }
        if (!array_.add_nothing()) {
            return false;
        }
    }
    for (const SyncobjPoint& point : group.waits) {
        attach(array_.ops()[first], point, panthor::kSyncWait);
    }
    for (const SyncobjPoint& point : group.signals) {
        attach(array_.ops().back(), point, panthor::kSyncSignal);
    }
    return true;
}

// There is room for all that the array needs, so that they stay where they are; and what one operation has is attached to
// it without another in between.
void PanthorAddressSpace::attach(drm_panthor_vm_bind_op& op, const SyncobjPoint& point, std::uint32_t what) noexcept {
    const bool pushed = syncs_.push(sync_op(point, what));
    assert(pushed);
    static_cast<void>(pushed);
    op.syncs = object_array(syncs_.view().last(op.syncs.count + 1));
}

int PanthorAddressSpace::queue(std::span<drm_panthor_vm_bind_op> ops) noexcept {
    drm_panthor_vm_bind bind;
    bind.vm_id = vm_;
    bind.flags = panthor::kBindAsync;
    bind.ops = object_array(ops);
    ++traffic_.ioctls;
    traffic_.operations += ops.size();
    traffic_.largest_array = std::max<std::uint64_t>(traffic_.largest_array, ops.size());
    return file_.ioctl(panthor::kVmBind, bind);  // interrupted, it has queued nothing and changed nothing
}

bool PanthorAddressSpace::queue_is_in_the_way(std::span<const Plan> plans) const noexcept {
    if (queue_.empty()) {
        return false;
    }
    return facts_.behaviour == KernelBehaviour::kOopses ||
           whole_windows(hull_of(plans)).overlaps(whole_windows(queue_.touched()));
}

Status PanthorAddressSpace::check() noexcept {
    return ask().status;
}

PanthorAddressSpace::Answer PanthorAddressSpace::ask() noexcept {
    if (vm_ == 0) {
        return {Status::kVmUnusable, 0};
    }
    drm_panthor_vm_get_state request;
    request.vm_id = vm_;
    if (const int error = file_.ioctl(panthor::kVmGetState, request); error != 0) {
        return {Status::kBackendFailed, error};
    }
    return {request.state == panthor::kVmUsable ? Status::kOk : Status::kVmUnusable, 0};
}

Result<void, BackendFailure> PanthorAddressSpace::renew() noexcept {
    const std::uint32_t old = vm_;
    int error = create_vm();
    if (error == EBUSY && old != 0) {
        destroy_vm(old);
        vm_ = 0;
        error = create_vm();
    } else if (error == 0 && old != 0) {
        destroy_vm(old);
    }
    if (error != 0) {
        return fail(
            BackendFailure{error == ENOMEM ? Status::kOutOfTableMemory : Status::kBackendFailed, error, 0, 0, false});
    }
    queue_.forget();
    return {};
}

void PanthorAddressSpace::detach() noexcept {
    if (vm_ == 0) {
        return;
    }
    const bool idle = queue_.wait(config_.queue_wait) == 0;
    PlanOp everything;  // an unmap
    everything.va = config_.space;
    array_.reset();
    const bool unmapped = array_.add(everything, {}, bos_, rules()) && carry_out().has_value();
    if (!idle || !unmapped) {
        destroy_vm(vm_);
        vm_ = 0;
        queue_.forget();
    }
}

Extent PanthorAddressSpace::extent_at(const Backing& shows, Va va) const noexcept {
    if (shows.sparse()) {
        Extent extent;
        extent.bytes = kMaxVaEnd;
        return extent;
    }
    return bos_.extent_at(shows, va);
}

CutRule PanthorAddressSpace::cut_rule(const Backing& shows) const noexcept {
    switch (facts_.behaviour) {
        case KernelBehaviour::kSplits:
            return CutRule::kByKernel;
        case KernelBehaviour::kRefuses:
            return CutRule::kExplicit;
        case KernelBehaviour::kOopses:
            // It may be one that nobody knows, and realigns.
            return !shows.sparse() && bos_.find(shows.bo)->imported ? CutRule::kWholeWindow : CutRule::kExplicit;
        case KernelBehaviour::kRealigns:
            break;
    }
    // What is widened for a sparse mapping does not depend on folios; the BO that stands for one is one like others.
    if (shows.sparse()) {
        return facts_.sparse || facts_.huge_pages ? CutRule::kByKernel : CutRule::kExplicit;
    }
    const Bo& bo = *bos_.find(shows.bo);
    if (bo.imported) {
        return CutRule::kWholeWindow;
    }
    return facts_.huge_pages && bo.size >= kBlock2MBytes ? CutRule::kByKernel : CutRule::kExplicit;
}

}  // namespace granule
