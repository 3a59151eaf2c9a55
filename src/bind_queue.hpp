// The bind queue of a VM: transactions that happen later, in order, each after the fences that it waits for.
//
// One thread a queue. A transaction is planned when its turn has come, against the VM as it is then: so it is all or
// nothing against that state (P3), and one that fails does not spoil those behind it. Its fences are signalled in
// either case; with a failure, they carry it, and its report goes to the callback. One of whose fences a kernel does not
// let us wait for fails so too (kOsFailed): its order cannot be kept.
//
// Groups that are submitted together are queued together: all, with nothing of others between them, or none. From then on
// each is a transaction of its own, which waits, is planned, fails and signals as if it had been submitted alone: where one
// fails, those before it stay done and those behind it are carried out. (A kernel's queue is not like that: what fails there
// loses the VM; see src/vm.hpp.) Who wants more of a group behind one that may fail looks at the fence of the first.
//
// As with a kernel's VM_BIND, a synchronous `Vm::bind` does not wait for what is queued, and what is queued holds the
// BOs that it will map: their owner may let go of them at once.
//
// Lifetime: the queue ends before its VM, and the timelines that it was given after it.
// P4: a queued unmap needs a place in the queue. Where there is no memory for one, `submit` says so and nothing was
// queued; `Vm::unmap` needs none.
//
// Thread-safety: submit, drain: any thread. The callbacks run on the queue's thread, without locks; they may
// submit, but neither drain nor close.
// Failure: submit: kOutOfHostMemory or kUnknownBo, and nothing was queued. After `close` (or the destructor) what has
// not begun fails with kCancelled: its fences are signalled with that; and what is submitted then is refused with it.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>

#include "src/timeline.hpp"
#include "src/vm.hpp"

namespace granule {

// A point of a timeline that outlives its use here.
struct TimelinePoint {
    Timeline* timeline = nullptr;
    std::uint64_t value = 0;
};

// Requests with fences of their own; without requests only the fences, in their turn.
struct QueuedGroup {
    std::span<const BindRequest> requests;  // of a Transaction, where neighbours are to be one
    std::span<const TimelinePoint> waits;
    std::span<const TimelinePoint> signals;
};

struct QueuedBind {
    Result<BindReport, BindError> result;
    std::uint64_t nanoseconds = 0;  // that the commit took
};

class BindQueue {
public:
    using Callback = void (*)(void* context, const QueuedBind& done);
    using Finished = void (*)(void* context);

    [[nodiscard]] static Result<Owned<BindQueue>, OsError> create(Vm& vm, NodeMemory memory) noexcept;
    BindQueue(Vm& vm, NodeMemory memory) noexcept;
    BindQueue(const BindQueue&) = delete;
    BindQueue& operator=(const BindQueue&) = delete;
    ~BindQueue();

    // Copies the requests. `callback` may be null; it is called once for each group, before its signals. So may `finished`,
    // which is called behind them: from then on the queue does not touch the timelines of the group. The error says which
    // group, and kUnknownBo which of its requests.
    [[nodiscard]] Result<void, BindError> submit(std::span<const QueuedGroup> groups, Callback callback = nullptr,
                                                 void* context = nullptr, Finished finished = nullptr) noexcept;
    // One group.
    [[nodiscard]] Status submit(const Transaction& transaction, std::span<const TimelinePoint> waits,
                                std::span<const TimelinePoint> signals, Callback callback = nullptr,
                                void* context = nullptr) noexcept {
        const QueuedGroup group{transaction.requests(), waits, signals};
        const Result<void, BindError> queued = submit({&group, 1}, callback, context);
        return queued ? Status::kOk : queued.error().status;
    }
    // Returns when nothing is queued or under way any more.
    void drain() noexcept;
    // Lets the transaction that is under way finish and cancels the rest.
    void close() noexcept;

private:
    struct Item {
        Item(BoTable& bo_table, NodeMemory memory) noexcept
            : bos(bo_table), requests(memory), waits(memory), signals(memory) {}
        Item(const Item&) = delete;
        Item& operator=(const Item&) = delete;
        ~Item() { release_bos(); }

        [[nodiscard]] bool copy(const QueuedGroup& group) noexcept;  // false: out of memory
        [[nodiscard]] bool hold_bos() noexcept;                      // false: there is none as request `held` names
        void release_bos() noexcept;

        BoTable& bos;
        Array<BindRequest> requests;  // as they were given, so that errors say the caller's numbers
        std::size_t held = 0;         // requests whose BO is held
        Array<TimelinePoint> waits;
        Array<TimelinePoint> signals;
        Callback callback = nullptr;
        void* context = nullptr;
        Finished finished = nullptr;
        Item* next = nullptr;
        Owned<Item> self;  // while it is in the list
    };

    // Items that follow each other, not in the queue yet.
    struct Chain {
        Item* first = nullptr;
        Item* last = nullptr;

        Chain() noexcept = default;
        Chain(const Chain&) = delete;
        Chain& operator=(const Chain&) = delete;
        ~Chain();
        void append(Owned<Item> item) noexcept;
    };

    static void* thread_main(void* queue) noexcept;
    void run() noexcept;
    void carry_out(Item& item) noexcept;
    [[nodiscard]] Status wait_for(const Item& item) noexcept;

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
