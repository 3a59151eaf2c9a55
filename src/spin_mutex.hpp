// A mutex for sections of well under a microsecond: who finds it locked looks again for about as long as such a section
// takes before it sleeps. A mutex that sleeps at once makes two threads that take turns a system call each time, which
// costs more than what they wait for.
//
//     state   0 free   1 locked   2 locked, and somebody may sleep
//
// Not fair: who comes just as it is given back may have it before who slept. Lockable, for std::lock_guard.
// Thread-safety: all members. Nothing fails, and nothing is allocated.
#pragma once

#include <atomic>
#include <cstdint>

namespace granule {

class SpinMutex {
public:
    SpinMutex() noexcept = default;
    SpinMutex(const SpinMutex&) = delete;
    SpinMutex& operator=(const SpinMutex&) = delete;

    [[nodiscard]] bool try_lock() noexcept {
        std::uint32_t free = kFree;
        return state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed);
    }
    void lock() noexcept {
        if (!try_lock()) {
            lock_late();
        }
    }
    void unlock() noexcept {
        if (state_.exchange(kFree, std::memory_order_release) == kSlept) {
            state_.notify_one();
        }
    }

private:
    static constexpr std::uint32_t kFree = 0;
    static constexpr std::uint32_t kLocked = 1;
    static constexpr std::uint32_t kSlept = 2;
    static constexpr int kLooks = 200;

    static void pause() noexcept {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb" ::: "memory");  // yield is nothing on most cores
#endif
    }
    void lock_late() noexcept {
        for (int look = 0; look < kLooks; ++look) {
            if (state_.load(std::memory_order_relaxed) == kFree && try_lock()) {
                return;
            }
            pause();
        }
        while (state_.exchange(kSlept, std::memory_order_acquire) != kFree) {
            state_.wait(kSlept, std::memory_order_relaxed);
        }
    }

    std::atomic<std::uint32_t> state_{kFree};
};

}  // namespace granule
