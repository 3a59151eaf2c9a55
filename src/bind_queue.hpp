// The bind queue of a VM: transactions that happen later, in order, each after the fences that it waits for.
//
// One thread a queue. A transaction is planned when its turn has come, against the VM as it is then: so it is all or
// nothing against that state (P3), and one that fails does not spoil those behind it. Its fences are signalled in
// either case; with a failure, they carry it, and its report goes to the callback.
//
// As with a kernel's VM_BIND, a synchronous `Vm::bind` does not wait for what is queued, and what is queued holds the
// BOs that it will map: their owner may let go of them at once.
//
// Lifetime: the queue ends before its VM, and the timelines that it was given after it.
// P4: a queued unmap needs a place in the queue. Where there is no memory for one, `submit` says so and nothing was
// queued; `Vm::unmap` needs none.
//
// Thread-safety: submit, drain: any thread. The callback runs on the queue's thread, without locks; it may
// submit, but neither drain nor close.
// Failure: submit: kOutOfHostMemory or kUnknownBo, and nothing was queued. After `close` (or the destructor) what has
// not begun fails with kCancelled: its fences are signalled with that; and what is submitted then is refused with it.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>

#include "mali/export.hpp"
#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

// A point of a timeline that outlives its use here.
struct TimelinePoint {
    Timeline* timeline = nullptr;
    std::uint64_t value = 0;
};

struct QueuedBind {
    Result<BindReport, BindError> result;
    std::uint64_t nanoseconds = 0;  // that the commit took
};

class GRANULE_API BindQueue {
public:
    using Callback = void (*)(void* context, const QueuedBind& done);

    [[nodiscard]] static Result<Owned<BindQueue>, OsError> create(Vm& vm, NodeMemory memory) noexcept;
    BindQueue(Vm& vm, NodeMemory memory) noexcept;
    BindQueue(const BindQueue&) = delete;
    BindQueue& operator=(const BindQueue&) = delete;
    ~BindQueue();

    // Copies the requests. `callback` may be null.
    [[nodiscard]] Status submit(const Transaction& transaction, std::span<const TimelinePoint> waits,
                                std::span<const TimelinePoint> signals, Callback callback = nullptr,
                                void* context = nullptr) noexcept;
    // Returns when nothing is queued or under way any more.
    void drain() noexcept;
    // Lets the transaction that is under way finish and cancels the rest.
    void close() noexcept;

private:
    struct Item {
        Item(BoTable& bo_table, NodeMemory memory) noexcept
            : bos(bo_table), transaction(memory), waits(memory), signals(memory) {}
        Item(const Item&) = delete;
        Item& operator=(const Item&) = delete;
        ~Item() { release_bos(); }

        [[nodiscard]] bool hold_bos() noexcept;  // false: there is no such BO
        void release_bos() noexcept;

        BoTable& bos;
        Transaction transaction;
        std::size_t held = 0;  // requests of the transaction whose BO is held
        Array<TimelinePoint> waits;
        Array<TimelinePoint> signals;
        Callback callback = nullptr;
        void* context = nullptr;
        Item* next = nullptr;
        Owned<Item> self;  // while it is in the list
    };

    static void* thread_main(void* queue) noexcept;
    void run() noexcept;
    void carry_out(Item& item) noexcept;
    [[nodiscard]] bool wait_for(const Item& item) noexcept;

    Vm& vm_;
    NodeMemory memory_;
    pthread_t thread_{};
    bool started_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
    Item* first_ = nullptr;  // guarded by mutex_
    Item* last_ = nullptr;   // guarded by mutex_
    bool busy_ = false;      // guarded by mutex_
    bool closing_ = false;   // guarded by mutex_
};

}  // namespace granule
