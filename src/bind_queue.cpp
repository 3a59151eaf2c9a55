#include "src/bind_queue.hpp"

#include <chrono>
#include <utility>

namespace granule {

Result<Owned<BindQueue>, OsError> BindQueue::create(Vm& vm, NodeMemory memory) noexcept {
    Owned<BindQueue> queue = make_owned<BindQueue>(memory, vm, memory);
    if (!queue) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    if (const int error = ::pthread_create(&queue->thread_, nullptr, &BindQueue::thread_main, queue.get());
        error != 0) {
        return fail(OsError{Status::kOsFailed, "pthread_create", error});
    }
    queue->started_ = true;
    return queue;
}

BindQueue::BindQueue(Vm& vm, NodeMemory memory) noexcept : vm_(vm), memory_(memory) {}

BindQueue::~BindQueue() {
    close();
}

void BindQueue::close() noexcept {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    changed_.notify_all();
    if (started_) {
        ::pthread_join(thread_, nullptr);
        started_ = false;
    }
}

Result<void, BindError> BindQueue::submit(std::span<const QueuedGroup> groups, Callback callback, void* context,
                                          Finished finished) noexcept {
    BindError error;
    Chain chain;
    for (error.group = 0; error.group < groups.size(); ++error.group) {
        const QueuedGroup& group = groups[error.group];
        Owned<Item> item = make_owned<Item>(memory_, vm_.bos(), memory_);
        if (!item || !item->copy(group)) {
            error.status = Status::kOutOfHostMemory;
            error.request = BindError::kAll;
            return fail(error);
        }
        if (!item->hold_bos()) {
            error.status = Status::kUnknownBo;
            error.request = item->held;
            error.plan.request = item->requests[item->held].va;
            return fail(error);
        }
        item->callback = callback;
        item->context = context;
        item->finished = finished;
        chain.append(std::move(item));
    }
    if (chain.first == nullptr) {
        return {};
    }
    {
        const std::lock_guard lock(mutex_);
        if (closing_) {
            error.status = Status::kCancelled;
            error.group = BindError::kAll;
            error.request = BindError::kAll;
            return fail(error);
        }
        (last_ == nullptr ? first_ : last_->next) = std::exchange(chain.first, nullptr);
        last_ = chain.last;
    }
    changed_.notify_all();
    return {};
}

BindQueue::Chain::~Chain() {
    while (first != nullptr) {
        const Owned<Item> item = std::move(first->self);
        first = item->next;
    }
}

void BindQueue::Chain::append(Owned<Item> item) noexcept {
    Item* const appended = item.get();
    appended->self = std::move(item);
    (first == nullptr ? first : last->next) = appended;
    last = appended;
}

bool BindQueue::Item::copy(const QueuedGroup& group) noexcept {
    bool room = requests.reserve(group.requests.size()) && waits.reserve(group.waits.size()) &&
                signals.reserve(group.signals.size());
    for (const BindRequest& request : group.requests) {
        room = room && requests.push(request);
    }
    for (const TimelinePoint& point : group.waits) {
        room = room && waits.push(point);
    }
    for (const TimelinePoint& point : group.signals) {
        room = room && signals.push(point);
    }
    return room;
}

bool BindQueue::Item::hold_bos() noexcept {
    for (const BindRequest& request : requests) {
        if (request.kind == BindRequest::Kind::kMap && !request.shows.sparse()) {
            if (bos.retain_if_live(request.shows.bo, 1) == nullptr) {
                return false;
            }
        }
        ++held;
    }
    return true;
}

void BindQueue::Item::release_bos() noexcept {
    for (const BindRequest& request : requests.view().first(std::exchange(held, 0))) {
        if (request.kind == BindRequest::Kind::kMap && !request.shows.sparse()) {
            bos.release(*bos.find(request.shows.bo), 1);
        }
    }
}

void BindQueue::drain() noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return first_ == nullptr && !busy_; });
}

void* BindQueue::thread_main(void* queue) noexcept {
    static_cast<BindQueue*>(queue)->run();
    return nullptr;
}

void BindQueue::run() noexcept {
    for (;;) {
        Owned<Item> item;
        {
            std::unique_lock lock(mutex_);
            busy_ = false;
            if (first_ == nullptr) {
                changed_.notify_all();
            }
            changed_.wait(lock, [&] { return first_ != nullptr || closing_; });
            if (first_ == nullptr) {
                return;
            }
            item = std::move(first_->self);
            first_ = item->next;
            if (first_ == nullptr) {
                last_ = nullptr;
            }
            busy_ = true;
        }
        carry_out(*item);
    }
}

// kOk; kCancelled: the queue is being closed; kOsFailed: a fence cannot be waited for.
Status BindQueue::wait_for(const Item& item) noexcept {
    const auto is_closing = [&]() noexcept {
        const std::lock_guard lock(mutex_);
        return closing_;
    };
    // Closing must be noticed while a fence that will never signal is waited for.
    constexpr std::chrono::milliseconds kLook{20};
    for (const TimelinePoint& point : item.waits) {
        Status waited = Status::kTimedOut;
        while (waited == Status::kTimedOut && !is_closing()) {
            waited = point.timeline->wait_until_reached(point.value, kLook);
        }
        if (waited != Status::kOk) {
            return waited == Status::kTimedOut ? Status::kCancelled : waited;
        }
    }
    return is_closing() ? Status::kCancelled : Status::kOk;
}

void BindQueue::carry_out(Item& item) noexcept {
    QueuedBind done{BindReport{}, 0};
    if (const Status waited = wait_for(item); waited == Status::kOk) {
        const auto begin = std::chrono::steady_clock::now();
        done.result = vm_.commit(item.requests.view());
        const auto spent = std::chrono::steady_clock::now() - begin;
        done.nanoseconds =
            static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
    } else {
        BindError error;
        error.status = waited;
        error.group = BindError::kAll;
        error.request = BindError::kAll;
        done.result = fail(error);
    }
    item.release_bos();
    if (item.callback != nullptr) {
        item.callback(item.context, done);
    }
    const Status status = done.result ? Status::kOk : done.result.error().status;
    for (const TimelinePoint& point : item.signals) {
        point.timeline->signal(point.value, status);
    }
    if (item.finished != nullptr) {
        item.finished(item.context);
    }
}

}  // namespace granule
