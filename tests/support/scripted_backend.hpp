// A kernel that fails as it is told to, and the backend that a VM drives it with.
//
//     Vm --plans--> ScriptedBackend --> ScriptedKernel: a PlanModel for the address space, a queue, a script
//
// The kernel carries operations out on its model, which knows what a real one does not survive; `problem` is the first of
// that. It fails
//   - the operations that the script names, counted over all of them; where the script says so, after a part of one;
//   - maps, and everything queued, once it is lost: as panthor does with a VM that is UNUSABLE, whose unmaps still work;
//   - `hold`, `submit`, `check` and `renew`, when told to.
// What is queued happens with `run_queue`, in order. Where it fails, the kernel is lost and the queue is empty; all that
// was to be signalled is signalled all the same, as a kernel does.
//
// Thread-safety: none.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mali/lock_region.hpp"
#include "src/backend/backend.hpp"
#include "tests/support/fake_layout.hpp"
#include "tests/support/plan_model.hpp"

namespace granule::test {

class ScriptedKernel {
public:
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

    struct Submission {
        std::vector<Plan> plans;
        std::vector<SyncobjPoint> waits;
        std::vector<SyncobjPoint> signals;
    };

    // What goes wrong.
    struct Script {
        std::uint64_t fail_at = kNever;  // the operation, counted from when the script was given, ...
        std::uint64_t fail_count = 1;    // ... and so many from there on
        bool in_part = false;            // a map that fails has been carried out up to a window's boundary
        Status hold = Status::kOk;
        Status submit = Status::kOk;
        std::size_t submit_at = 0;  // the submission from which on that is the answer
        std::size_t queue_room = std::numeric_limits<std::size_t>::max();  // plans that `submit` has memory for
        Status check = Status::kOk;
        Status renew = Status::kOk;
    };

    ScriptedKernel(KernelBehaviour behaviour, std::vector<CutRule> rules)
        : layout_(FakeLayout::Kind::kUnknown, std::move(rules)), model_(layout_, kLeaves4K2M, behaviour) {}
    ScriptedKernel(const ScriptedKernel&) = delete;
    ScriptedKernel& operator=(const ScriptedKernel&) = delete;

    void follow(const Script& script) {
        script_ = script;
        seen_ = 0;
        submissions_ = 0;
        failures_ = 0;
    }
    // How many operations the script has let fail.
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }

    // Carries out what was queued.
    void run_queue() {
        for (const Submission& submission : std::exchange(queue_, {})) {
            for (const Plan& plan : submission.plans) {
                for (const PlanOp& op : plan.ops()) {
                    bool begun = false;
                    lost_ = lost_ || run(op, begun) != 0;
                    if (lost_) {
                        break;
                    }
                }
            }
            signalled_.insert(signalled_.end(), submission.signals.begin(), submission.signals.end());
        }
    }
    void lose() noexcept { lost_ = true; }

    [[nodiscard]] const std::vector<Submission>& queue() const noexcept { return queue_; }
    [[nodiscard]] const std::vector<SyncobjPoint>& signalled() const noexcept { return signalled_; }
    [[nodiscard]] const PlanModel& model() const noexcept { return model_; }
    [[nodiscard]] const FakeLayout& layout() const noexcept { return layout_; }
    [[nodiscard]] bool lost() const noexcept { return lost_; }
    [[nodiscard]] bool detached() const noexcept { return detached_; }
    [[nodiscard]] bool held() const noexcept { return held_; }
    [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
    [[nodiscard]] std::size_t largest_array() const noexcept { return largest_array_; }
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

private:
    friend class ScriptedBackend;

    // 0 or an errno.
    int run(PlanOp op, bool& begun) {
        op.shows.serial = {};  // whose bind it was is nothing to a kernel
        if (lost_) {           // what is in it is nobody's concern any more
            begun = begun || op.kind == PlanOp::Kind::kUnmap;
            return op.kind == PlanOp::Kind::kUnmap ? 0 : EINVAL;
        }
        const std::uint64_t now = seen_++;
        if (now >= script_.fail_at && now - script_.fail_at < script_.fail_count) {
            ++failures_;
            op.va.end = op.va.end.align_down(kBlock2MBytes);
            if (script_.in_part && op.kind == PlanOp::Kind::kMap && op.va.start < op.va.end) {
                carry_out(op, begun);
            }
            return EIO;
        }
        carry_out(op, begun);
        return 0;
    }

    void carry_out(const PlanOp& op, bool& begun) {
        begun = true;
        if (const std::string wrong = model_.execute(op); !wrong.empty() && problem_.empty()) {
            problem_ = wrong;
        }
    }

    void begin_again() {
        model_.set({}, {});
        queue_.clear();
        lost_ = false;
        detached_ = false;
        ++id_;
    }

    FakeLayout layout_;
    PlanModel model_;
    Script script_;
    std::vector<Submission> queue_;
    std::vector<SyncobjPoint> signalled_;
    std::uint64_t seen_ = 0;
    std::size_t submissions_ = 0;
    std::uint64_t failures_ = 0;
    std::size_t largest_array_ = 0;  // of plans
    std::uint32_t id_ = 1;
    bool lost_ = false;
    bool detached_ = false;
    bool held_ = false;  // and not settled since
    std::string problem_;
};

class ScriptedBackend : public AddressSpaceBackend {
public:
    explicit ScriptedBackend(ScriptedKernel& kernel) noexcept : kernel_(kernel) {}

    [[nodiscard]] Status hold(std::span<const Plan> /*plans*/) noexcept override {
        kernel_.held_ = kernel_.script_.hold == Status::kOk;
        return kernel_.script_.hold;
    }

    [[nodiscard]] Result<void, BackendFailure> execute(std::span<const Plan> plans) noexcept override {
        kernel_.largest_array_ = plans.size() > kernel_.largest_array_ ? plans.size() : kernel_.largest_array_;
        for (std::size_t plan = 0; plan < plans.size(); ++plan) {
            bool begun = false;
            const std::span<const PlanOp> ops = plans[plan].ops();
            for (std::size_t op = 0; op < ops.size(); ++op) {
                if (const int error = kernel_.run(ops[op], begun); error != 0) {
                    const Status status = kernel_.lost_ ? Status::kVmUnusable : Status::kBackendFailed;
                    return fail(BackendFailure{status, error, plan, op, begun});
                }
            }
        }
        return {};
    }

    [[nodiscard]] Result<void, BackendFailure> submit(std::span<const PlanGroup> groups) noexcept override {
        const bool refused = kernel_.submissions_++ >= kernel_.script_.submit_at;
        const Status answer = refused ? kernel_.script_.submit : Status::kOk;
        const Status status = kernel_.lost_ ? Status::kVmUnusable : answer;
        if (status != Status::kOk) {
            return fail(BackendFailure{status, EINVAL, 0, 0, false});
        }
        std::size_t plans = 0;
        for (const PlanGroup& group : groups) {
            plans += group.plans.size();
        }
        if (plans > kernel_.script_.queue_room) {
            return fail(BackendFailure{Status::kOutOfHostMemory, 0, 0, 0, false});
        }
        for (const PlanGroup& group : groups) {
            kernel_.queue_.push_back({{group.plans.begin(), group.plans.end()},
                                      {group.waits.begin(), group.waits.end()},
                                      {group.signals.begin(), group.signals.end()}});
        }
        return {};
    }

    [[nodiscard]] Status check() noexcept override {
        return kernel_.script_.check == Status::kOk && kernel_.lost_ ? Status::kVmUnusable : kernel_.script_.check;
    }

    [[nodiscard]] Result<void, BackendFailure> renew() noexcept override {
        if (kernel_.script_.renew != Status::kOk) {
            return fail(BackendFailure{kernel_.script_.renew, ENOMEM, 0, 0, false});
        }
        kernel_.begin_again();
        return {};
    }

    void settle() noexcept override { kernel_.held_ = false; }
    void detach() noexcept override { kernel_.detached_ = true; }

    [[nodiscard]] const BackingLayout& layout() const noexcept override { return kernel_.layout_; }
    [[nodiscard]] std::uint32_t kernel_id() const noexcept override { return kernel_.id_; }
    [[nodiscard]] KernelBehaviour kernel() const noexcept override { return kernel_.model_.kernel(); }
    [[nodiscard]] bool atomic_binds() const noexcept override { return false; }
    [[nodiscard]] LeafSizes leaf_sizes() const noexcept override { return kLeaves4K2M; }
    [[nodiscard]] unsigned smallest_lock_log2() const noexcept override { return mali::kSmallestLockLog2; }

private:
    ScriptedKernel& kernel_;
};

}  // namespace granule::test
