#include "src/cli/interrupt.hpp"

#include <atomic>
#include <csignal>

namespace granule::cli {
namespace {

std::atomic<bool> asked_to_stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may use it");

extern "C" void note_interrupt(int /*signal*/) {
    asked_to_stop.store(true, std::memory_order_relaxed);
}

}  // namespace

void catch_interrupts() noexcept {
    struct sigaction action {};
    action.sa_handler = note_interrupt;
    // Reset by the first signal, so that the second one ends a program that does not come to its next call.
    action.sa_flags = static_cast<int>(SA_RESETHAND | static_cast<unsigned>(SA_RESTART));
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        sigaction(signal, &action, nullptr);
    }
}

bool interrupted() noexcept {
    return asked_to_stop.load(std::memory_order_relaxed);
}

}  // namespace granule::cli
