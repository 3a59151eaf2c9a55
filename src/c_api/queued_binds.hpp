// Binds of a VM that happen later: in the kernel's queue where there is one, else on a thread of the VM, which is made with
// the first of them.
//
//                       kernel                                        thread
//     our state         follows at once                               follows when they run
//     fails later       the kernel drops the VM: Vm::check            state() and the timelines that it signals say so
//     VA to release     waits for the point of the VM's own           is released when its group is done; where that fails,
//                       timeline that the batch ends with             it stays reserved
//     timelines         those to be signalled are held until then     held until the batch has run
//     VM destroyed      after kLastWait the rest is the kernel's      after kLastWait the rest is cancelled
//
// The kernel's queue signals a point of the VM's own timeline, the tail, behind each batch: so what is done is known whatever
// becomes of the callers' timelines (P5).
//
// Thread-safety: all members, any thread.
// Failure: on failure nothing was queued.
#pragma once

#include <granule/bind.h>
#include <granule/vm.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "mali/result.hpp"
#include "src/array.hpp"
#include "src/bind_queue.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule::c_api {

class BindBatch;

class QueuedBinds {
public:
    // How long the end waits for fences that may never be signalled: as long as a kernel gives the queue of a process that
    // ends (Linux include/drm/gpu_scheduler.h, MAX_WAIT_SCHED_ENTITY_Q_EMPTY).
    static constexpr std::chrono::seconds kLastWait{1};

    struct State {
        std::uint32_t waiting = 0;  // groups on the thread that have not run
        std::uint64_t failed = 0;   // that failed there
        granule_error last_failed{};
    };

    // `tail`: a timeline of the kernel's; empty: there is no queue but a thread's.
    QueuedBinds(granule_vm& vm, Owned<Timeline> tail) noexcept;
    QueuedBinds(const QueuedBinds&) = delete;
    QueuedBinds& operator=(const QueuedBinds&) = delete;
    // Gives what is queued kLastWait; what has not begun on the thread by then is cancelled, and what the kernel has is left
    // to it.
    ~QueuedBinds();

    // All of `batch`, or nothing. It is taken over on success. The report of what the kernel queued; else an empty one.
    [[nodiscard]] Result<BindReport, BindError> submit(Owned<BindBatch>& batch) noexcept;
    // Until all that was submitted is done. kOk, kTimedOut, kOsFailed.
    [[nodiscard]] Status drain(std::chrono::nanoseconds timeout) noexcept;
    [[nodiscard]] State state() const noexcept;

private:
    struct OnThread;  // a batch on its way
    // A timeline that is to be signalled, and the point of the tail behind which it was.
    struct Held {
        granule_timeline* timeline = nullptr;
        std::uint64_t until = 0;
    };

    [[nodiscard]] Result<BindReport, BindError> submit_to_kernel(Owned<BindBatch>& batch) noexcept;
    [[nodiscard]] Result<BindReport, BindError> submit_to_thread(Owned<BindBatch>& batch) noexcept;
    [[nodiscard]] Result<BindQueue*, BindError> thread() noexcept;
    void ran(OnThread& batch, const QueuedBind& bind) noexcept;
    void finished(OnThread& batch) noexcept;
    // Under submitting_, all three.
    [[nodiscard]] bool make_room_to_hold(std::size_t timelines) noexcept;
    void hold(const BindBatch& batch) noexcept;
    void let_go(std::uint64_t reached) noexcept;

    granule_vm& vm_;
    const NodeMemory nodes_;
    const Owned<Timeline> tail_;

    std::mutex submitting_;    // so that points of the tail are submitted in their order; taken before the VM's lock
    std::uint64_t last_ = 0;   // guarded by submitting_: point of the tail
    Array<Held> held_;         // guarded by submitting_: each timeline once
    Owned<BindQueue> thread_;  // guarded by submitting_: empty until it is needed

    mutable std::mutex mutex_;  // no other lock is taken under it
    std::condition_variable changed_;
    std::uint32_t waiting_ = 0;     // guarded by mutex_: groups that have not run
    std::uint32_t unfinished_ = 0;  // guarded by mutex_: batches with something left to signal or to let go of
    std::uint64_t failed_ = 0;      // guarded by mutex_
    granule_error last_failed_{};   // guarded by mutex_
};

}  // namespace granule::c_api
