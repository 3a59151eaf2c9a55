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

Status BindQueue::submit(const Transaction& transaction, std::span<const TimelinePoint> waits,
                         std::span<const TimelinePoint> signals, Callback callback, void* context) noexcept {
    Owned<Item> owned = make_owned<Item>(memory_, vm_.bos(), memory_);
    if (!owned) {
        return Status::kOutOfHostMemory;
    }
    Item& item = *owned;
    for (const BindRequest& request : transaction.requests()) {
        if (const Status status = item.transaction.add(request); status != Status::kOk) {
            return status;
        }
    }
    for (const TimelinePoint& point : waits) {
        if (!item.waits.push(point)) {
            return Status::kOutOfHostMemory;
        }
    }
    for (const TimelinePoint& point : signals) {
        if (!item.signals.push(point)) {
            return Status::kOutOfHostMemory;
        }
    }
    if (!item.hold_bos()) {
        return Status::kUnknownBo;
    }
    item.callback = callback;
    item.context = context;
    {
        const std::lock_guard lock(mutex_);
        if (closing_) {
            return Status::kCancelled;
        }
        item.self = std::move(owned);
        (last_ == nullptr ? first_ : last_->next) = &item;
        last_ = &item;
    }
    changed_.notify_all();
    return Status::kOk;
}

bool BindQueue::Item::hold_bos() noexcept {
    for (const BindRequest& request : transaction.requests()) {
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
    for (const BindRequest& request : transaction.requests().first(std::exchange(held, 0))) {
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

// False: the queue is being closed.
bool BindQueue::wait_for(const Item& item) noexcept {
    // Closing must be noticed while a fence that will never signal is waited for.
    constexpr std::chrono::milliseconds kLook{20};
    for (const TimelinePoint& point : item.waits) {
        while (!point.timeline->wait(point.value, kLook)) {
            const std::lock_guard lock(mutex_);
            if (closing_) {
                return false;
            }
        }
    }
    const std::lock_guard lock(mutex_);
    return !closing_;
}

void BindQueue::carry_out(Item& item) noexcept {
    QueuedBind done{BindReport{}, 0};
    if (wait_for(item)) {
        const auto begin = std::chrono::steady_clock::now();
        done.result = vm_.commit(item.transaction);
        const auto spent = std::chrono::steady_clock::now() - begin;
        done.nanoseconds =
            static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
    } else {
        BindError error;
        error.status = Status::kCancelled;
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
}

}  // namespace granule
