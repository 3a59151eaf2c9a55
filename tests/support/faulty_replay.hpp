// Calls of a trace, played under failures: before a call succeeds, every call that it makes to the kernel fails once with
// each errno that it can fail with, and the first operations of a bind's array fail one by one, those before them really
// carried out. After each failure nothing may have changed (P3): not in the library, not in the kernel.
//
//     play(call)     k = 0, 1, ...   the k-th call to the kernel fails: the call is refused, and all is as before
//                                      a VM_BIND: also at its operation 0, 1, 2, ...
//                    k = last + 1    nothing fails: the call succeeds
//
// What a kernel holds beyond mappings may grow once: what was set aside for the call stays for the next one (the queue's
// syncobj, the BO behind sparse mappings). The same failure again must not add to it. That growth has to be seen, because
// from then on the call makes other calls, at other numbers: one behind the bind could come to fail, and the bind has
// happened. Kernels do not tell how many syncobjs a file has, so those are counted on the way (FailingDrmCalls).
//
// Not made to fail: what gives back (a kernel refuses that only to who has no such thing); and what is asked after a bind was
// queued, because then the bind has happened. A call that only wants to know may fail without anybody minding
// (`minds`).
//
// What else the kernel has is the test's to say.
//
// Thread-safety: none.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "allocator/va_heap.hpp"
#include "src/replay/hash.hpp"
#include "src/replay/replay.hpp"
#include "src/trace/call.hpp"
#include "tests/support/failing_drm_calls.hpp"

namespace granule::test {

class FaultyReplay {
public:
    struct KernelState {
        std::string mapped;  // what is mapped where
        std::string held;    // how many handles, objects and the like

        bool operator==(const KernelState&) const = default;
    };
    using LookAtKernel = std::function<KernelState()>;

    // `queue`: as the replay's options say.
    FaultyReplay(FailingDrmCalls& calls, replay::Replay& replay, bool queue, LookAtKernel kernel)
        : calls_(calls), replay_(replay), queue_(queue), kernel_(std::move(kernel)) {}

    // What is wrong, or nothing. Afterwards the call is played.
    [[nodiscard]] std::string play(const trace::Call& call) {
        if (gives_back(call)) {
            return play_well(call);
        }
        State before = state();
        grown_ = 0;
        for (std::uint64_t number = 0;;) {
            Attempt attempt = try_errors(call, before, number);
            if (attempt.over) {
                return attempt.wrong;
            }
            if (attempt.grew) {
                number = 0;  // what was set aside is not asked for again: other calls are at these numbers now
                continue;
            }
            if (attempt.failed == DrmCallKind::kVmBind) {
                if (queue_ && is_queued(call)) {
                    return play_well(call);
                }
                attempt = try_operations(call, before);
                if (attempt.over) {
                    return attempt.wrong;
                }
            }
            ++number;
        }
    }

    // Calls to the kernel that failed.
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
    [[nodiscard]] std::uint64_t failures(DrmCallKind kind) const noexcept { return by_kind_[kind]; }
    // Binds that failed in the middle, and had to be undone.
    [[nodiscard]] std::uint64_t undone() const noexcept { return undone_; }

private:
    // Operations of an array that are made to fail.
    static constexpr std::size_t kOperations = 4;

    // What a call may find not set aside yet: the syncobj of its VM's queue, the BO for its sparse mappings.
    static constexpr std::uint64_t kMostSetAside = 2;

    struct State {
        std::string library;
        KernelState kernel;

        bool operator==(const State&) const = default;
    };

    struct Attempt {
        bool over = false;  // the call is played, or something is wrong
        bool grew = false;  // something was set aside
        std::string wrong;
        std::optional<DrmCallKind> failed;
    };

    [[nodiscard]] static bool gives_back(const trace::Call& call) noexcept {
        return std::holds_alternative<trace::drm::GemClose>(call.what) ||
               std::holds_alternative<trace::drm::CloseFd>(call.what) ||
               std::holds_alternative<trace::panthor::VmDestroy>(call.what);
    }
    [[nodiscard]] static bool is_queued(const trace::Call& call) noexcept {
        const auto* const bind = std::get_if<trace::panthor::VmBind>(&call.what);
        return bind != nullptr && bind->async;
    }
    [[nodiscard]] static bool minds(DrmCallKind kind) noexcept {
        return kind != DrmCallKind::kVmGetState && kind != DrmCallKind::kBoSetLabel &&
               kind != DrmCallKind::kSetLabelBo && kind != DrmCallKind::kReadText && !test::gives_back(kind);
    }

    [[nodiscard]] std::string play_well(const trace::Call& call) {
        calls_.stop();
        const auto played = replay_.play(call);
        return played ? "" : fmt::format("line {}: refused: {}", call.line, played.error().what);
    }

    // The call, with a failure planned.
    [[nodiscard]] Attempt try_out(const trace::Call& call, State& before, int error) {
        const auto played = replay_.play(call);
        Attempt attempt;
        attempt.failed = calls_.failed_kind();
        calls_.stop();
        if (!attempt.failed) {
            attempt.over = true;
            attempt.wrong = played ? "" : fmt::format("line {}: refused: {}", call.line, played.error().what);
            return attempt;
        }
        ++failures_;
        ++by_kind_[*attempt.failed];
        const std::string what = fmt::format("line {} ({}): {} failed with errno {}", call.line, call.name,
                                             to_string(*attempt.failed), error);
        if (played) {
            attempt.over = true;
            attempt.wrong = minds(*attempt.failed) ? what + ", and the call succeeded" : "";
            return attempt;
        }
        State after = state_again(before);
        if (after.library != before.library || after.kernel.mapped != before.kernel.mapped) {
            attempt.over = true;
            attempt.wrong = fmt::format(
                "{}, and something changed:\n{}", what,
                first_difference(before.library + before.kernel.mapped, after.library + after.kernel.mapped));
        } else if (after.kernel.held != before.kernel.held) {
            if (++grown_ > kMostSetAside) {
                attempt.over = true;
                attempt.wrong = fmt::format("{}, and something is left over:\n{}", what,
                                            first_difference(before.kernel.held, after.kernel.held));
            }
            before = std::move(after);
            attempt.grew = true;
        }
        return attempt;
    }

    // Call number `number` to the kernel fails with one errno after the other.
    [[nodiscard]] Attempt try_errors(const trace::Call& call, State& before, std::uint64_t number) {
        // Which kind of call comes there shows when it fails.
        calls_.fail_at(number, ENOMEM);
        Attempt attempt = try_out(call, before, ENOMEM);
        if (attempt.over || attempt.grew) {
            return attempt;
        }
        for (const int error : possible_errors(*attempt.failed)) {
            if (error == ENOMEM) {
                continue;
            }
            calls_.fail_at(number, error);
            attempt = try_out(call, before, error);
            if (attempt.over || attempt.grew) {
                return attempt;
            }
        }
        return attempt;
    }

    [[nodiscard]] Attempt try_operations(const trace::Call& call, State& before) {
        Attempt attempt;
        for (std::size_t operation = 0; operation < kOperations; ++operation) {
            for (const int error : std::array{EINVAL, ENOMEM}) {
                calls_.fail_bind_at(0, operation, error);
                attempt = try_out(call, before, error);
                if (attempt.over) {
                    return attempt;
                }
                undone_ += operation == 0 ? 0 : 1;
            }
        }
        return attempt;
    }

    // A kernel frees some things a moment later.
    [[nodiscard]] State state_again(const State& before) const {
        State after = state();
        for (int tries = 0; tries < 10 && !(after == before); ++tries) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            after = state();
        }
        return after;
    }

    [[nodiscard]] State state() const {
        State now;
        for (const replay::VmView& view : replay_.vms()) {
            Vm& vm = *view.object;
            replay::Hash hash;
            vm.for_each_mapping(vm.config().space, [&](const Mapping& mapping) {
                hash.add(mapping.va.start.raw());
                hash.add(mapping.va.end.raw());
                hash.add(static_cast<std::uint32_t>(mapping.shows.bo));
                hash.add(mapping.shows.offset.raw());
                hash.add(static_cast<std::uint32_t>(mapping.shows.serial));
            });
            vm.for_each_reserved([&](const VaAllocation& reserved) {
                hash.add(reserved.range.start.raw());
                hash.add(reserved.range.end.raw());
            });
            const VmStatistics statistics = vm.statistics();
            now.library += fmt::format(
                "VM {} of file {}: usable {}, {} bytes in {} mappings ({:x}), {} blocks; {} BOs of {} bytes\n", view.vm,
                view.file, vm.usable(), statistics.mapped_bytes, statistics.mappings, hash.value(),
                statistics.blocks_2m, vm.bos().live(), vm.bos().live_bytes());
        }
        now.kernel = kernel_();
        now.kernel.held += fmt::format("\n{} syncobjs\n", calls_.syncobjs());
        return now;
    }

    [[nodiscard]] static std::string first_difference(const std::string& before, const std::string& after) {
        std::size_t at = 0;
        while (at < before.size() && at < after.size() && before[at] == after[at]) {
            ++at;
        }
        const auto line_at = [&](const std::string& text) {
            const std::size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;
            return text.substr(start, text.find('\n', at) - start);
        };
        return fmt::format("  before: {}\n  after:  {}", line_at(before), line_at(after));
    }

    FailingDrmCalls& calls_;
    replay::Replay& replay_;
    const bool queue_;
    const LookAtKernel kernel_;
    std::uint64_t grown_ = 0;  // by this call
    std::uint64_t failures_ = 0;
    std::uint64_t undone_ = 0;
    DrmCallCounts by_kind_;
};

}  // namespace granule::test
