// BoTable::retain_if_live finds the BO of an id in a slot, and then takes references of what is in the slot: two steps,
// between which another BO may have come there. Threads hit that moment once in millions of calls, so here the processor
// stops after each instruction of the call (the trap flag of x86: a SIGTRAP each), and after one of them the BO is exchanged
// for its successor in the same slot; after the first in one call, after the second in the next, and so on to the last.
//
//     retain_if_live(id)   | | | | | | | | | |      one of these: release(id), create()
//                            find(id)    references of the slot's BO
//
// The exchange is safe inside the call, which holds no lock before it meets another BO. Only x86 has the flag, and a
// sanitizer's own code must not be stopped: elsewhere the test is skipped.
#if defined(__x86_64__)
#include <ucontext.h>
#endif

#include <csignal>
#include <cstdint>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

#if defined(__x86_64__)
constexpr bool kCanStep = !kSanitized;
constexpr greg_t kTrapFlag = 0x100;

// Around the flags on the stack is left what a leaf function may keep below it.
void start_stepping() {
    asm volatile("leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
                     : "memory", "cc");
}
void stop_stepping() {
    asm volatile("leaq -128(%%rsp), %%rsp; pushfq; andq $-257, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
                     : "memory", "cc");
}
bool exchange_now();
void after_instruction(int, siginfo_t*, void* context) {
    if (exchange_now()) {
        static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;  // no more stops
    }
}
#else
constexpr bool kCanStep = false;
void start_stepping() {}
void stop_stepping() {}
void after_instruction(int, siginfo_t*, void*) {}
#endif

// What a signal's handler can reach.
struct Exchange {
    BoTable* bos = nullptr;
    BoId current = kNoBo;
    std::uint64_t after = 0;  // how many instructions
    std::uint64_t seen = 0;
    bool done = false;
};
Exchange the_exchange;

// Whether it is done, now or before.
[[maybe_unused]] bool exchange_now() {
    Exchange& exchange = the_exchange;
    if (!exchange.done && ++exchange.seen == exchange.after) {
        exchange.bos->release(*exchange.bos->find(exchange.current), 1);
        exchange.current = exchange.bos->create(kPageBytes, BoMemory::kContiguous, 0).value_or(kNoBo);
        exchange.done = true;
    }
    return exchange.done;
}

class OnTrap {
public:
    OnTrap() {
        struct sigaction action = {};
        action.sa_sigaction = after_instruction;
        action.sa_flags = SA_SIGINFO;
        REQUIRE(::sigaction(SIGTRAP, &action, &before_) == 0);
    }
    OnTrap(const OnTrap&) = delete;
    OnTrap& operator=(const OnTrap&) = delete;
    ~OnTrap() { ::sigaction(SIGTRAP, &before_, nullptr); }

private:
    struct sigaction before_ = {};
};

TEST_CASE("an id whose slot gets another BO in the middle of a retain gets no reference of that one" *
          doctest::skip(!kCanStep)) {
    const Owned<SoftDevice> device = make_device(device_config());
    BoTable& bos = device->bos();
    const OnTrap on_trap;
    Exchange& exchange = the_exchange;
    exchange = {&bos, make_bo(*device, kPageBytes), 0, 0, false};
    std::uint64_t kept = 0;     // exchanged too late to matter: the BO of the id is held
    std::uint64_t refused = 0;  // exchanged in time
    do {
        ++exchange.after;
        exchange.seen = 0;
        exchange.done = false;
        const BoId id = exchange.current;
        start_stepping();
        Bo* const bo = bos.retain_if_live(id, 3);
        stop_stepping();
        REQUIRE(exchange.current != kNoBo);
        CAPTURE(exchange.after);
        if (bo == nullptr) {
            ++refused;
        } else {
            ++kept;
            REQUIRE(bo->id == id);
            CHECK(bo->references() == (exchange.done ? 3 : 4));
            bos.release(*bo, 3);
        }
        REQUIRE(bos.find(exchange.current) != nullptr);
        CHECK(bos.find(exchange.current)->references() == 1);
        CHECK(bos.live() == 1);
    } while (exchange.done);
    CHECK(refused > 10);
    CHECK(kept > 1);
}

}  // namespace
}  // namespace granule::test
