#include "mali/mmu_sequence.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

using namespace granule;
using namespace granule::mali;

namespace {

constexpr unsigned kAs = 3;
constexpr std::uint32_t kBase = 0x2400 + 3 * 0x40;
constexpr VaRange kRange{Va{0x2007000}, Va{0x2009000}};  // locks 64 KiB: LOCKADDR 0x200000f
constexpr std::array kProtocols{MmuProtocol::kJobManager, MmuProtocol::kCsfFlush, MmuProtocol::kCsfAtomic};

MmuStep write(std::uint32_t reg, std::uint32_t value) {
    return {MmuStep::Kind::kWrite, reg, value};
}
MmuStep idle() {
    return {MmuStep::Kind::kPollClear, kBase + 0x28, 1};
}
MmuStep flushed() {
    return {MmuStep::Kind::kPollSet, 0x20, 1U << 17};
}

constexpr std::uint32_t kLockLow = kBase + 0x10;
constexpr std::uint32_t kLockHigh = kBase + 0x14;
constexpr std::uint32_t kCommand = kBase + 0x18;

std::vector<MmuStep> steps(const MmuSequence& sequence) {
    return {sequence.begin(), sequence.end()};
}

bool equal(const MmuSequence& sequence, const std::vector<MmuStep>& expected) {
    return steps(sequence) == expected;
}

std::vector<MmuStep> join(std::initializer_list<std::vector<MmuStep>> parts) {
    std::vector<MmuStep> all;
    for (const auto& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

const std::vector<MmuStep> kLockEverythingSteps{write(kLockLow, 0x3f), write(kLockHigh, 0), idle(), write(kCommand, 2),
                                                idle()};
const std::vector<MmuStep> kUnmap{write(kBase + 0x00, 0),
                                  write(kBase + 0x04, 0),
                                  write(kBase + 0x08, 0),
                                  write(kBase + 0x0c, 0),
                                  write(kBase + 0x30, 1),
                                  write(kBase + 0x34, 0),
                                  idle(),
                                  write(kCommand, 1),
                                  idle()};

// A register file that keeps the rules that the hardware has, and remembers which were broken.
class Rules {
public:
    void run(const MmuSequence& sequence) {
        for (const MmuStep& step : sequence) {
            this->step(step);
        }
    }
    [[nodiscard]] bool locked() const { return locked_; }
    [[nodiscard]] bool flushed_while_locked() const { return flushed_while_locked_; }
    // The last command has been waited for.
    [[nodiscard]] bool settled() const { return !active_; }
    [[nodiscard]] bool broken() const { return broken_; }

private:
    void step(const MmuStep& step) {
        if (step.kind == MmuStep::Kind::kPollClear) {
            broken_ |= !(step == idle());
            active_ = false;
            polled_ = true;
            return;
        }
        if (step.kind == MmuStep::Kind::kPollSet) {
            broken_ |= !(step == flushed()) || !flushing_;
            flushing_ = false;
            return;
        }
        if (step.reg == kCommand) {
            broken_ |= active_ || !polled_ || flushing_;
            command(step.value);
            active_ = true;
            polled_ = false;
        } else if (step.reg == reg::kGpuCmd) {
            broken_ |= active_;
            flushing_ = true;
            flushed_while_locked_ |= locked_;
        } else if (step.reg == kLockHigh) {
            lockaddr_written_ = true;
        }
    }
    void command(std::uint32_t value) {
        switch (static_cast<AsCommand>(value)) {
            case AsCommand::kLock:
                broken_ |= !lockaddr_written_ || locked_;
                locked_ = true;
                break;
            case AsCommand::kUnlock:
                broken_ |= !locked_;
                locked_ = false;
                break;
            case AsCommand::kFlushPt:
            case AsCommand::kFlushMem:
                broken_ |= !locked_;
                flushed_while_locked_ = true;
                locked_ = false;
                break;
            case AsCommand::kUpdate:
                broken_ |= locked_;
                break;
            case AsCommand::kNop:
                broken_ = true;
                break;
        }
    }

    bool active_ = false;  // a command was written and not waited for
    bool polled_ = false;  // AS_ACTIVE was seen clear since the last command: false at the start, nobody has looked
    bool flushing_ = false;
    bool locked_ = false;
    bool lockaddr_written_ = false;
    bool flushed_while_locked_ = false;
    bool broken_ = false;
};

}  // namespace

TEST_CASE("an update under the job manager: lock and FLUSH_PT afterwards, which unlocks") {
    CHECK(begin_update(MmuProtocol::kJobManager, kAs, kRange).empty());
    CHECK(equal(end_update(MmuProtocol::kJobManager, kAs, kRange),
                {write(kLockLow, 0x200000f), write(kLockHigh, 0), idle(), write(kCommand, 2), idle(),
                 write(kCommand, 4), idle()}));
}

TEST_CASE("an update as panthor 6.18 does it: lock, flush of the GPU's L2 and unlock afterwards") {
    CHECK(begin_update(MmuProtocol::kCsfFlush, kAs, kRange).empty());
    CHECK(equal(end_update(MmuProtocol::kCsfFlush, kAs, kRange),
                {write(kLockLow, 0x200000f), write(kLockHigh, 0), idle(), write(kCommand, 2), idle(),
                 write(0x24, 1U << 17), write(0x30, 0x304), flushed(), idle(), write(kCommand, 3), idle()}));
}

TEST_CASE("an update as panthor 7.0 does it: locked before the first entry is written, flushed and unlocked after") {
    CHECK(equal(begin_update(MmuProtocol::kCsfAtomic, kAs, kRange),
                {write(kLockLow, 0x200000f), write(kLockHigh, 0), idle(), write(kCommand, 2), idle()}));
    CHECK(equal(end_update(MmuProtocol::kCsfAtomic, kAs, kRange),
                {write(0x24, 1U << 17), write(0x30, 0x23304), flushed(), idle(), write(kCommand, 3), idle()}));
}

TEST_CASE("an address space is enabled with its three registers and UPDATE, flushed before where the protocol does") {
    const TranslationConfig config{0x1234567007, 0x888d88, 0x42000000600};
    const std::vector<MmuStep> registers{write(kBase + 0x00, 0x34567007),
                                         write(kBase + 0x04, 0x12),
                                         write(kBase + 0x08, 0x888d88),
                                         write(kBase + 0x0c, 0),
                                         write(kBase + 0x30, 0x600),
                                         write(kBase + 0x34, 0x420),
                                         idle(),
                                         write(kCommand, 1),
                                         idle()};
    CHECK(equal(enable_as(MmuProtocol::kJobManager, kAs, config),
                join({kLockEverythingSteps, {write(kCommand, 5), idle()}, registers})));
    CHECK(equal(enable_as(MmuProtocol::kCsfFlush, kAs, config),
                join({kLockEverythingSteps,
                      {write(0x24, 1U << 17), write(0x30, 0x3304), flushed(), idle(), write(kCommand, 3), idle()},
                      registers})));
    CHECK(equal(enable_as(MmuProtocol::kCsfAtomic, kAs, config), registers));
}

TEST_CASE("an address space is disabled with its registers zero and UNMAPPED, flushed before") {
    CHECK(equal(disable_as(MmuProtocol::kJobManager, kAs),
                join({kLockEverythingSteps, {write(kCommand, 5), idle()}, kUnmap})));
    CHECK(equal(disable_as(MmuProtocol::kCsfFlush, kAs),
                join({kLockEverythingSteps,
                      {write(0x24, 1U << 17), write(0x30, 0x3304), flushed(), idle(), write(kCommand, 3), idle()},
                      kUnmap})));
    CHECK(equal(disable_as(MmuProtocol::kCsfAtomic, kAs),
                join({{write(0x24, 1U << 17), write(0x30, 0x23304), flushed()}, kUnmap})));
}

TEST_CASE("TRANSCFG is not written on Midgard, which does not have it") {
    for (const MmuSequence& sequence : {enable_as(MmuProtocol::kJobManager, kAs, {}, HasTranscfg::kNo),
                                        disable_as(MmuProtocol::kJobManager, kAs, HasTranscfg::kNo)}) {
        for (const MmuStep& step : sequence) {
            CHECK(step.reg != kBase + 0x30);
            CHECK(step.reg != kBase + 0x34);
        }
    }
}

TEST_CASE("no protocol breaks the hardware's rules, and each leaves the region flushed and unlocked") {
    for (const MmuProtocol protocol : kProtocols) {
        CAPTURE(static_cast<int>(protocol));
        Rules update;
        update.run(begin_update(protocol, kAs, kRange));
        CHECK(update.locked() == (protocol == MmuProtocol::kCsfAtomic));
        update.run(end_update(protocol, kAs, kRange));
        CHECK(update.settled());
        CHECK(update.flushed_while_locked());
        CHECK_FALSE(update.locked());
        CHECK_FALSE(update.broken());

        for (const MmuSequence& sequence : {enable_as(protocol, kAs, {}), disable_as(protocol, kAs)}) {
            Rules rules;
            rules.run(sequence);
            CHECK(rules.settled());
            CHECK_FALSE(rules.locked());
            CHECK_FALSE(rules.broken());
            CHECK(sequence.size() <= MmuSequence::kCapacity);
        }
    }
}

TEST_CASE("the smallest lock region is the caller's to choose") {
    const VaRange page{Va{0x2003000}, Va{0x2004000}};
    CHECK(end_update(MmuProtocol::kJobManager, kAs, page)[0].value == 0x200000e);
    CHECK(end_update(MmuProtocol::kJobManager, kAs, page, 12)[0].value == 0x200300b);
}

TEST_CASE("each address space has its own registers") {
    CHECK(reg::as_base(0) == 0x2400);
    CHECK(reg::as_base(1) == 0x2440);
    CHECK(reg::as_base(15) == 0x27c0);
    CHECK(begin_update(MmuProtocol::kCsfAtomic, 0, kRange)[0].reg == 0x2410);
}

TEST_CASE("the flush commands of GPU_CMD are Linux's values") {
    CHECK(kGpuFlushPt == 0x304);
    CHECK(kGpuFlushMem == 0x3304);
    CHECK(kGpuFlushAll == 0x23304);
}
