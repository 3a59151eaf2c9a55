#include "src/c_api/queued_binds.hpp"

#include <algorithm>
#include <cassert>
#include <span>
#include <utility>

#include "src/c_api/bind_batch.hpp"
#include "src/c_api/error.hpp"
#include "src/c_api/timeline_handle.hpp"
#include "src/c_api/vm_handle.hpp"
#include "src/drm/drm_device.hpp"

namespace granule::c_api {
namespace {

BindError error_of_all(Status status, int error = 0) noexcept {
    BindError failure;
    failure.status = status;
    failure.group = BindError::kAll;
    failure.request = BindError::kAll;
    failure.error = error;
    return failure;
}

SyncobjPoint to_syncobj_point(const granule_sync& sync) noexcept {
    return {DrmDevice::syncobj_of(sync.timeline->timeline()), sync.point};
}

TimelinePoint to_timeline_point(const granule_sync& sync) noexcept {
    return {&sync.timeline->timeline(), sync.point};
}

// The groups of a batch as the VM or its queue takes them: Out is BindGroup or QueuedGroup, Point what its fences are.
template <class Out, class Point>
class Groups {
public:
    explicit Groups(NodeMemory memory) noexcept : groups_(memory), waits_(memory), signals_(memory) {}

    // `behind_all`: one more to signal by the last group; nullptr: none. False: no memory.
    template <class ToPoint>
    [[nodiscard]] bool make(const BindBatch& batch, ToPoint to_point, const Point* behind_all) noexcept {
        if (!groups_.reserve(batch.groups().size()) || !waits_.reserve(batch.waits().size()) ||
            !signals_.reserve(batch.signals().size() + 1)) {
            return false;
        }
        bool room = true;
        for (const granule_sync& wait : batch.waits()) {
            room = room && waits_.push(to_point(wait));
        }
        for (const granule_sync& signal : batch.signals()) {
            room = room && signals_.push(to_point(signal));
        }
        if (behind_all != nullptr) {
            room = room && signals_.push(*behind_all);
        }
        BindBatch::Group begin;
        for (const BindBatch::Group& group : batch.groups()) {
            const bool last = &group == &batch.groups().back();
            const std::size_t signals_end = last ? signals_.size() : group.signals_end;
            room = room && groups_.push({part(batch.transaction().requests(), begin.requests_end, group.requests_end),
                                         part(waits_.view(), begin.waits_end, group.waits_end),
                                         part(signals_.view(), begin.signals_end, signals_end)});
            begin = group;
        }
        return room;
    }
    [[nodiscard]] std::span<const Out> view() const noexcept { return groups_.view(); }

private:
    template <class T>
    [[nodiscard]] static std::span<const T> part(std::span<const T> all, std::size_t begin, std::size_t end) noexcept {
        return all.subspan(begin, end - begin);
    }

    Array<Out> groups_;
    Array<Point> waits_;
    Array<Point> signals_;
};

}  // namespace

struct QueuedBinds::OnThread {
    OnThread(QueuedBinds& of, Owned<BindBatch> taken) noexcept : queue(of), batch(std::move(taken)) {}

    QueuedBinds& queue;
    Owned<BindBatch> batch;
    std::size_t next = 0;      // group that runs next
    std::size_t released = 0;  // of the VA to release, what was of groups before that
    Owned<OnThread> self;      // until the last group has signalled
};

QueuedBinds::QueuedBinds(granule_vm& vm, Owned<Timeline> tail) noexcept
    : vm_(vm), nodes_(vm.device().nodes()), tail_(std::move(tail)), held_(nodes_) {
    last_failed_.struct_size = sizeof(last_failed_);
}

QueuedBinds::~QueuedBinds() {
    if (drain(kLastWait) != Status::kOk) {
        vm_.log(GRANULE_LOG_WARNING, "it ends with binds that still wait: they are cancelled", nullptr);
    }
    { const Owned<BindQueue> gone = std::move(thread_); }  // it uses what goes next
    let_go(UINT64_MAX);
}

Result<BindReport, BindError> QueuedBinds::submit(Owned<BindBatch>& batch) noexcept {
    if (batch->groups().empty()) {
        return BindReport{};
    }
    return tail_ ? submit_to_kernel(batch) : submit_to_thread(batch);
}

Result<BindReport, BindError> QueuedBinds::submit_to_kernel(Owned<BindBatch>& batch) noexcept {
    Result<BindReport, BindError> queued;
    FencePoint done;
    {
        const std::lock_guard lock(submitting_);
        const SyncobjPoint behind_all{DrmDevice::syncobj_of(*tail_), last_ + 1};
        Groups<BindGroup, SyncobjPoint> groups(nodes_);
        if (!make_room_to_hold(batch->signals().size()) || !groups.make(*batch, to_syncobj_point, &behind_all)) {
            return fail(error_of_all(Status::kOutOfHostMemory));
        }
        queued = vm_.vm().submit(groups.view());
        if (!queued) {
            return queued;
        }
        done = tail_->at(++last_);
        hold(*batch);
    }
    vm_.totals().add(*queued);
    for (const BindBatch::Release& release : batch->releases()) {
        release_unmapped_va(vm_, release.range, {&done, 1});
    }
    return queued;
}

bool QueuedBinds::make_room_to_hold(std::size_t timelines) noexcept {
    if (held_.size() + timelines <= held_.capacity()) {
        return true;
    }
    let_go(tail_->value());
    const std::size_t needed = held_.size() + timelines;
    return held_.reserve(needed <= held_.capacity() ? needed : 2 * needed);
}

void QueuedBinds::hold(const BindBatch& batch) noexcept {
    for (const granule_sync& signal : batch.signals()) {
        std::size_t i = 0;
        while (i < held_.size() && held_[i].timeline != signal.timeline) {
            ++i;
        }
        if (i < held_.size()) {
            held_[i].until = last_;
            continue;
        }
        signal.timeline->retain();
        const bool room = held_.push({signal.timeline, last_});
        assert(room);
        static_cast<void>(room);
    }
}

void QueuedBinds::let_go(std::uint64_t reached) noexcept {
    std::size_t kept = 0;
    for (const Held held : held_) {
        if (held.until <= reached) {
            held.timeline->release();
        } else {
            held_[kept++] = held;
        }
    }
    held_.truncate(kept);
}

Result<BindQueue*, BindError> QueuedBinds::thread() noexcept {
    const std::lock_guard lock(submitting_);
    if (!thread_) {
        Result<Owned<BindQueue>, OsError> made = BindQueue::create(vm_.vm(), nodes_);
        if (!made) {
            return fail(error_of_all(made.error().status, made.error().error));
        }
        thread_ = std::move(*made);
    }
    return thread_.get();
}

Result<BindReport, BindError> QueuedBinds::submit_to_thread(Owned<BindBatch>& batch) noexcept {
    const Result<BindQueue*, BindError> queue = thread();
    if (!queue) {
        return fail(queue.error());
    }
    Groups<QueuedGroup, TimelinePoint> groups(nodes_);
    if (!groups.make(*batch, to_timeline_point, nullptr)) {
        return fail(error_of_all(Status::kOutOfHostMemory));
    }
    Owned<OnThread> owned = make_owned<OnThread>(nodes_, *this, Owned<BindBatch>{});
    if (!owned) {
        return fail(error_of_all(Status::kOutOfHostMemory));
    }
    // The thread may be through with it before `submit` returns.
    OnThread& sent = *owned;
    const auto count = static_cast<std::uint32_t>(batch->groups().size());
    sent.batch = std::move(batch);
    sent.self = std::move(owned);
    {
        const std::lock_guard lock(mutex_);
        waiting_ += count;
        ++unfinished_;
    }
    const Result<void, BindError> done = (*queue)->submit(
        groups.view(),
        [](void* context, const QueuedBind& bind) {
            OnThread& ran = *static_cast<OnThread*>(context);
            ran.queue.ran(ran, bind);
        },
        &sent,
        [](void* context) {
            OnThread& finished = *static_cast<OnThread*>(context);
            finished.queue.finished(finished);
        });
    if (!done) {
        {
            const std::lock_guard lock(mutex_);
            waiting_ -= count;
            --unfinished_;
        }
        batch = std::move(sent.batch);
        const Owned<OnThread> gone = std::move(sent.self);
        return fail(done.error());
    }
    return BindReport{};
}

// On the thread, before the group's signals: who waits for them finds all of this done.
void QueuedBinds::ran(OnThread& sent, const QueuedBind& bind) noexcept {
    const BindBatch& batch = *sent.batch;
    // Of a group that failed it stays reserved.
    const std::span<const BindBatch::Release> releases = batch.releases();
    for (; sent.released < releases.size() && releases[sent.released].group == sent.next; ++sent.released) {
        if (bind.result) {
            release_unmapped_va(vm_, releases[sent.released].range);
        }
    }
    if (bind.result) {
        vm_.totals().add(*bind.result);
        const std::lock_guard lock(mutex_);
        --waiting_;
        return;
    }
    BindError failure = bind.result.error();
    if (failure.request != BindError::kAll) {
        failure.group = sent.next;
    }
    const granule_error error = to_error(failure, batch.blame(failure).first, vm_.vm().usable());
    {
        const std::lock_guard lock(mutex_);
        --waiting_;
        ++failed_;
        last_failed_ = error;
    }
    vm_.log(GRANULE_LOG_WARNING, "a queued bind failed: ", &error);
    vm_.tell_failure(nullptr);
}

void QueuedBinds::finished(OnThread& sent) noexcept {
    ++sent.next;
    if (sent.next < sent.batch->groups().size()) {
        return;
    }
    { const Owned<OnThread> gone = std::move(sent.self); }
    // Under the lock: who is told may be the one who ends all of this.
    const std::lock_guard lock(mutex_);
    --unfinished_;
    changed_.notify_all();
}

Status QueuedBinds::drain(std::chrono::nanoseconds timeout) noexcept {
    if (tail_) {
        std::uint64_t last = 0;
        {
            const std::lock_guard lock(submitting_);
            last = last_;
        }
        if (last == 0) {
            return Status::kOk;
        }
        const Status waited = tail_->wait_until_reached(last, timeout);
        if (waited == Status::kOk) {
            const std::lock_guard lock(submitting_);
            let_go(last);
        }
        return waited;
    }
    // Neither `now + timeout` nor what is left of it must leave the clock's range.
    const auto now = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    const auto done = [&] { return unfinished_ == 0; };
    if (timeout >= std::chrono::steady_clock::time_point::max() - now) {
        changed_.wait(lock, done);
        return Status::kOk;
    }
    return changed_.wait_until(lock, now + timeout, done) ? Status::kOk : Status::kTimedOut;
}

QueuedBinds::State QueuedBinds::state() const noexcept {
    const std::lock_guard lock(mutex_);
    return {waiting_, failed_, last_failed_};
}

}  // namespace granule::c_api
