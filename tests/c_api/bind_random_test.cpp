// Random arrays of binds through the C interface, in all three modes, on the soft device of each kernel's behaviour, with
// failures on request: against a naive model of pages (page_model.hpp), and by what the GPU reads page by page.
//
// After every call, whether it failed or not:
//
//     model  ==  granule_vm_walk  ==  what the binding callback told, replayed  ==  granule_soft_read, page by page
//     model's blocks  ==  granule_vm_walk_leaves;  reservations  ==  granule_vm_walk_reservations
#include <doctest/doctest.h>
#include <granule/granule.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/c_api/page_model.hpp"
#include "tests/c_api/random_binds.hpp"
#include "tests/c_api/walks.hpp"

namespace granule_test {
namespace {

constexpr std::uint64_t kSeed = 20261122;
constexpr int kSteps = 300;

struct Setup {
    granule_kernel_behaviour kernel;
    bool scatter;  // BOs of single pages, so that there are no blocks
};

// The first eight bytes of a page say which it is, and so do the last.
std::uint64_t tag(std::uint32_t bo_id, std::uint64_t page) {
    return std::uint64_t{bo_id} << 32U | (page + 1);
}

class Run {
public:
    Run(const Setup& setup, std::uint64_t seed) : random_(seed, !setup.scatter) {
        auto soft = GRANULE_SIZED(granule_soft_info);
        soft.kernel = setup.kernel;
        soft.scatter = setup.scatter ? 1 : 0;
        auto info = GRANULE_SIZED(granule_device_info);
        info.soft = &soft;
        REQUIRE(granule_device_open(&info, &device_, nullptr) == GRANULE_STATUS_OK);
        auto vm = GRANULE_SIZED(granule_vm_info);
        vm.flags = GRANULE_VM_TRACK_ACTIVITY;
        vm.on_binding = [](void* run, const granule_binding* binding) { static_cast<Run*>(run)->told(*binding); };
        vm.on_binding_data = this;
        REQUIRE(granule_vm_create(device_, &vm, &vm_, nullptr) == GRANULE_STATUS_OK);
        auto window = GRANULE_SIZED(granule_va_info);
        window.fixed = 1;
        window.address = kWindowStart * kPage;
        window.size = kWindowPages * kPage;
        std::uint64_t va = 0;
        REQUIRE(granule_va_reserve(vm_, &window, &va, nullptr) == GRANULE_STATUS_OK);
        REQUIRE(granule_timeline_create(device_, &gate_, nullptr) == GRANULE_STATUS_OK);
        REQUIRE(granule_timeline_create(device_, &done_, nullptr) == GRANULE_STATUS_OK);
        for (const std::uint64_t pages : {3 * kBlockPages, kBlockPages + 40, std::uint64_t{16}}) {
            random_.buffers.push_back({make_buffer(pages), pages});
        }
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
        // Where a step has failed: what still waits for it goes on.
        fail_none();
        const granule_sync idle = granule_vm_activity(vm_);
        CHECK(granule_timeline_signal(gate_, gate_point_ + 1, nullptr) == GRANULE_STATUS_OK);
        CHECK(granule_timeline_signal(idle.timeline, idle.point + 1, nullptr) == GRANULE_STATUS_OK);
        for (const Buffer& buffer : random_.buffers) {
            granule_bo_unref(buffer.bo);
        }
        granule_timeline_unref(gate_);
        granule_timeline_unref(done_);
        granule_vm_destroy(vm_);
        CHECK(seen_.empty());  // the end of a VM unbinds everything
        CHECK(granule_device_close(device_) == 0);
    }

    // "" where all went as it should.
    [[nodiscard]] std::string run() {
        for (int step = 0; step < kSteps; ++step) {
            std::string wrong = one_step();
            if (wrong.empty()) {
                wrong = disagreement(step % 16 == 0);
            }
            if (!wrong.empty()) {
                return "step " + std::to_string(step) + ": " + wrong;
            }
        }
        auto soft = GRANULE_SIZED(granule_soft_statistics);
        REQUIRE(granule_soft_get_statistics(device_, &soft) == GRANULE_STATUS_OK);
        if (soft.leaf_cuts != 0 || soft.stale != 0) {
            return "P1: a leaf was cut, or a stale translation was used";
        }
        return happened_.size() == kOutcomes ? "" : "not everything that can happen has happened";
    }

private:
    enum Outcome : std::uint8_t { kDone, kRefused, kFailed, kNoTables, kBad, kQueued, kQueuedFailed, kDeferred };
    static constexpr std::size_t kOutcomes = 8;

    [[nodiscard]] granule_bo* make_buffer(std::uint64_t pages) {
        auto info = GRANULE_SIZED(granule_bo_info);
        info.size = pages * kPage;
        granule_bo* bo = nullptr;
        REQUIRE(granule_bo_create(device_, &info, &bo, nullptr) == GRANULE_STATUS_OK);
        void* cpu = nullptr;
        REQUIRE(granule_bo_map(bo, &cpu, nullptr) == GRANULE_STATUS_OK);
        for (std::uint64_t page = 0; page < pages; ++page) {
            const std::uint64_t value = tag(granule_bo_id(bo), page);
            auto* const bytes = static_cast<char*>(cpu) + page * kPage;
            std::memcpy(bytes, &value, sizeof(value));
            std::memcpy(bytes + kPage - sizeof(value), &value, sizeof(value));
        }
        return bo;
    }

    void told(const granule_binding& binding) {
        for (std::uint64_t va = binding.va.start; va < binding.va.end; va += kPage) {
            const std::uint64_t offset = binding.sparse != 0 ? 0 : binding.bo_offset + (va - binding.va.start);
            const Page page{binding.bo_id, offset / kPage, binding.flags};
            const auto there = seen_.find(va / kPage);
            if (binding.bound != 0) {
                misled_ = misled_ || there != seen_.end();
                seen_[va / kPage] = page;
            } else {
                misled_ = misled_ || there == seen_.end() || there->second != page;
                seen_.erase(va / kPage);
            }
        }
        misled_ =
            misled_ || (binding.sparse != 0) != (binding.bo == nullptr) || granule_bo_id(binding.bo) != binding.bo_id;
    }

    // Where the operations came to lie, after success.
    void learn_vas(Bind& bind) {
        for (std::size_t i = 0; i < bind.ops.size(); ++i) {
            if (bind.automatic[i]) {
                bind.model[i].va = bind.ops[i].va / kPage;
                random_.chosen.insert({bind.model[i].va, bind.model[i].end()});
            }
        }
    }
    // Operations [first, end) have been carried out.
    void forget_released(const Bind& bind, const Span& ops) {
        for (std::size_t i = ops.start; i < ops.end; ++i) {
            if (bind.ops[i].type == GRANULE_BIND_UNMAP && bind.ops[i].flags != 0) {
                random_.chosen.erase({bind.model[i].va, bind.model[i].end()});
            }
        }
    }
    [[nodiscard]] static std::span<const ModelOp> part(const Bind& bind, const Span& ops) {
        return std::span{bind.model}.subspan(ops.start, ops.end - ops.start);
    }

    // Steps.

    [[nodiscard]] std::string one_step() {
        const std::uint64_t kind = random_.below(10);
        if (kind == 0) {
            return bad_array();
        }
        if (kind < 3) {
            return queued_array();
        }
        if (kind == 3) {
            return deferred_array();
        }
        return array_now();
    }

    void fail_some(granule_soft_site site, std::uint64_t skip) {
        REQUIRE(granule_soft_fail(device_, site, skip, EIO) == GRANULE_STATUS_OK);
    }
    void fail_none() {
        for (const granule_soft_site site : {GRANULE_SOFT_OPERATION, GRANULE_SOFT_TABLE_MEMORY}) {
            REQUIRE(granule_soft_fail(device_, site, 0, 0) == GRANULE_STATUS_OK);
        }
    }

    [[nodiscard]] static bool untouched(const Bind& bind) {
        for (std::size_t i = 0; i < bind.ops.size(); ++i) {
            if (bind.automatic[i] && bind.ops[i].va != GRANULE_VA_AUTO) {
                return false;
            }
        }
        return true;
    }

    [[nodiscard]] std::string array_now() {
        Bind bind = random_.some_array(true);
        if (random_.chance(30)) {
            fail_some(GRANULE_SOFT_OPERATION, random_.below(6));
        } else if (random_.chance(10)) {
            fail_some(GRANULE_SOFT_TABLE_MEMORY, random_.below(2));
        }
        auto error = GRANULE_SIZED(granule_error);
        auto report = GRANULE_SIZED(granule_bind_report);
        const granule_status status = granule_vm_bind(vm_, GRANULE_BIND_IMMEDIATE, bind.ops.data(),
                                                      static_cast<std::uint32_t>(bind.ops.size()), &report, &error);
        fail_none();
        if (status != GRANULE_STATUS_OK) {
            return failed_now(bind, status, error);
        }
        learn_vas(bind);
        const Span all{0, bind.ops.size()};
        if (model_.apply(part(bind, all))) {
            return "a granule was cut that was not to be cut";
        }
        forget_released(bind, all);
        happened_.insert(kDone);
        return report.serial == 0 ? "a bind without a serial" : "";
    }

    [[nodiscard]] std::string failed_now(const Bind& bind, granule_status status, const granule_error& error) {
        if (!untouched(bind) || error.status != static_cast<std::int32_t>(status) || error.vm_lost != 0 ||
            error.partly_done != 0) {
            return "a failure that changed something: " + text_of(error);
        }
        PageModel would_be = model_;
        const std::optional<std::uint64_t> refused = would_be.apply(part(bind, {0, bind.ops.size()}));
        if (status == GRANULE_STATUS_GRANULE_CUT) {
            happened_.insert(kRefused);
            const bool right = refused && error.granule.start == *refused * kPage && error.op < bind.ops.size() &&
                               bind.ops[error.op].cut == GRANULE_CUT_REJECT &&
                               bind.model[error.op].va < *refused + kBlockPages &&
                               *refused < bind.model[error.op].end();
            return right ? "" : "not what is cut: " + text_of(error);
        }
        if (refused) {
            return "should have refused to cut a granule: " + text_of(error);
        }
        if (status == GRANULE_STATUS_BACKEND_FAILED && error.os_error == EIO && error.op < bind.ops.size()) {
            happened_.insert(kFailed);
            return "";
        }
        if (status == GRANULE_STATUS_OUT_OF_TABLE_MEMORY) {
            happened_.insert(kNoTables);
            return "";
        }
        return "an unexpected failure: " + text_of(error);
    }

    // One operation breaks a rule: nothing of the array is done.
    [[nodiscard]] std::string bad_array() {
        Bind bind = random_.some_array(true);
        const auto number = static_cast<std::uint32_t>(random_.below(bind.ops.size()));
        granule_bind_op& op = bind.ops[number];
        granule_status expected = GRANULE_STATUS_BAD_ARGUMENT;
        switch (random_.below(6)) {
            case 0:
                op.size += 1;
                break;
            case 1:
                op.size = 0;
                break;
            case 2:
                op.va = op.va / kPage * kPage + 1;
                break;
            case 3:
                op.flags |= 1U << 20;
                break;
            case 4:
                op.va = kEverything.end - op.size;
                expected = GRANULE_STATUS_OUT_OF_RANGE;
                op.flags = op.type == GRANULE_BIND_UNMAP ? 0 : op.flags;
                break;
            default:
                op.type = GRANULE_BIND_SYNC_ONLY;
                break;
        }
        bind.automatic[number] = false;
        auto error = GRANULE_SIZED(granule_error);
        const auto mode =
            op.type == GRANULE_BIND_SYNC_ONLY || random_.chance(50) ? GRANULE_BIND_IMMEDIATE : GRANULE_BIND_ASYNC;
        const granule_status status =
            granule_vm_bind(vm_, mode, bind.ops.data(), static_cast<std::uint32_t>(bind.ops.size()), nullptr, &error);
        happened_.insert(kBad);
        return status == expected && error.op == number && untouched(bind) ? "" : "not refused: " + text_of(error);
    }

    // Waits and signals at random operations; the first waits for the gate, so that all of it can be looked at before.
    void add_syncs(Bind& bind) {
        bind.syncs.resize(2 * bind.ops.size() + 2);
        ++gate_point_;
        for (std::size_t i = 0; i < bind.ops.size(); ++i) {
            if (i == 0 || random_.chance(30)) {
                bind.syncs[2 * i] = {gate_, gate_point_};
                bind.ops[i].waits = &bind.syncs[2 * i];
                bind.ops[i].wait_count = 1;
            }
            if (i + 1 == bind.ops.size() || random_.chance(30)) {
                bind.syncs[2 * i + 1] = {done_, ++done_point_};
                bind.ops[i].signals = &bind.syncs[2 * i + 1];
                bind.ops[i].signal_count = 1;
            }
        }
    }

    [[nodiscard]] std::string queued_array() {
        const bool fail = random_.chance(40);
        Bind bind = random_.some_array(!fail);
        if (random_.chance(30)) {
            auto only = GRANULE_SIZED(granule_bind_op);
            only.type = GRANULE_BIND_SYNC_ONLY;
            bind.ops.push_back(only);
            bind.model.push_back({});
            bind.automatic.push_back(false);
        }
        add_syncs(bind);
        const granule_vm_state before = state();
        auto error = GRANULE_SIZED(granule_error);
        if (granule_vm_bind(vm_, GRANULE_BIND_ASYNC, bind.ops.data(), static_cast<std::uint32_t>(bind.ops.size()),
                            nullptr, &error) != GRANULE_STATUS_OK) {
            return "not queued: " + text_of(error);
        }
        learn_vas(bind);
        if (state().queued != bind.groups().size()) {
            return "another number of binds is queued";
        }
        if (std::string wrong = disagreement(false); !wrong.empty()) {
            return "before the fence: " + wrong;
        }
        if (fail) {
            fail_some(GRANULE_SOFT_OPERATION, random_.below(6));
        }
        REQUIRE(granule_timeline_signal(gate_, gate_point_, nullptr) == GRANULE_STATUS_OK);
        REQUIRE(granule_timeline_wait(done_, done_point_, GRANULE_WAIT_FOREVER) == GRANULE_STATUS_OK);
        fail_none();
        return ran(bind, before);
    }

    // Each group is a transaction of its own.
    [[nodiscard]] std::string ran(const Bind& bind, const granule_vm_state& before) {
        const granule_vm_state now = state();
        std::uint64_t failed = 0;
        for (const Span& group : bind.groups()) {
            const std::uint32_t op = now.last_failed_bind.op;
            if (now.failed_binds != before.failed_binds && group.start <= op && op < group.end &&
                now.last_failed_bind.status == GRANULE_STATUS_BACKEND_FAILED) {
                ++failed;
                happened_.insert(kQueuedFailed);
            } else if (model_.apply(part(bind, group))) {
                ++failed;
            } else {
                forget_released(bind, group);
            }
        }
        happened_.insert(kQueued);
        if (now.queued != 0 || now.failed_binds - before.failed_binds != failed) {
            return "other binds failed in the queue: " + text_of(now.last_failed_bind);
        }
        return "";
    }

    [[nodiscard]] std::string deferred_array() {
        Bind bind = random_.some_array(true);
        const granule_vm_state before = state();
        // A job that uses the VM.
        const granule_sync idle = granule_vm_activity_begin(vm_);
        granule_vm_activity_end(vm_, idle.point + 1);
        auto error = GRANULE_SIZED(granule_error);
        if (granule_vm_bind(vm_, GRANULE_BIND_DEFERRED, bind.ops.data(), static_cast<std::uint32_t>(bind.ops.size()),
                            nullptr, &error) != GRANULE_STATUS_OK) {
            return "not deferred: " + text_of(error);
        }
        learn_vas(bind);
        if (granule_vm_activity(vm_).point != idle.point + 2) {
            return "a deferred bind adds a point";
        }
        if (std::string wrong = disagreement(false); !wrong.empty()) {
            return "while the VM is busy: " + wrong;
        }
        REQUIRE(granule_timeline_signal(idle.timeline, idle.point + 1, nullptr) == GRANULE_STATUS_OK);
        REQUIRE(granule_timeline_wait(idle.timeline, idle.point + 2, GRANULE_WAIT_FOREVER) == GRANULE_STATUS_OK);
        happened_.insert(kDeferred);
        return ran(bind, before);
    }

    // Looking.

    [[nodiscard]] granule_vm_state state() const {
        auto now = GRANULE_SIZED(granule_vm_state);
        REQUIRE(granule_vm_get_state(vm_, &now) == GRANULE_STATUS_OK);
        return now;
    }

    [[nodiscard]] static std::string text_of(const granule_error& error) {
        std::array<char, 400> text{};
        static_cast<void>(granule_error_text(&error, text.data(), text.size()));
        return text.data();
    }

    [[nodiscard]] std::string disagreement(bool thoroughly) {
        if (misled_) {
            return "the callback was told what is not so";
        }
        if (walked(vm_) != model_.pages() || seen_ != model_.pages()) {
            return walked(vm_) != model_.pages() ? "the walk shows something else"
                                                 : "the callback was told something else";
        }
        const Leaves found = leaves_of(vm_);
        if (found.pages != model_.pages().size() || found.blocks != model_.blocks()) {
            return "there are other leaves";
        }
        std::set<Span> expected = random_.chosen;
        expected.insert({kWindowStart, kWindowStart + kWindowPages});
        if (reserved_in(vm_) != expected) {
            return "other VA is reserved";
        }
        for (const Span& va : random_.chosen) {
            if (std::string wrong = unreadable(va, thoroughly ? 1 : 37); !wrong.empty()) {
                return wrong;
            }
        }
        return unreadable({kWindowStart, kWindowStart + kWindowPages}, thoroughly ? 1 : 3);
    }

    // Every `every`th page of the range, as the GPU sees it.
    [[nodiscard]] std::string unreadable(const Span& range, std::uint64_t every) {
        for (std::uint64_t page = range.start + random_.below(every); page < range.end; page += every) {
            const std::uint64_t va = page * kPage + (random_.chance(50) ? kPage - sizeof(std::uint64_t) : 0);
            std::uint64_t value = 0;
            auto fault = GRANULE_SIZED(granule_gpu_fault);
            const granule_status status = granule_soft_read(vm_, va, &value, sizeof(value), &fault);
            const auto shown = model_.pages().find(page);
            if (shown == model_.pages().end()) {
                if (status != GRANULE_STATUS_OUT_OF_RANGE || fault.kind != GRANULE_FAULT_TRANSLATION ||
                    fault.va != va) {
                    return "the GPU reads what is not mapped, page " + std::to_string(page);
                }
            } else if (status != GRANULE_STATUS_OK ||
                       (shown->second.bo_id != 0 && value != tag(shown->second.bo_id, shown->second.bo_page))) {
                return "the GPU reads something else at page " + std::to_string(page);
            }
        }
        return "";
    }

    RandomBinds random_;
    granule_device* device_ = nullptr;
    granule_vm* vm_ = nullptr;
    granule_timeline* gate_ = nullptr;
    granule_timeline* done_ = nullptr;
    std::uint64_t gate_point_ = 0;
    std::uint64_t done_point_ = 0;
    PageModel model_;
    Pages seen_;           // what the callback told
    bool misled_ = false;  // ... was not what had been there before
    std::set<Outcome> happened_;
};

}  // namespace

TEST_CASE("random arrays in every mode leave, page by page, what a naive model says, on every kernel") {
    constexpr std::array kKernels = {GRANULE_KERNEL_SPLITS, GRANULE_KERNEL_REFUSES, GRANULE_KERNEL_OOPSES,
                                     GRANULE_KERNEL_REALIGNS};
    for (const granule_kernel_behaviour kernel : kKernels) {
        for (const bool scatter : {false, true}) {
            for (std::uint64_t seed = kSeed; seed < kSeed + 2; ++seed) {
                CAPTURE(static_cast<int>(kernel));
                CAPTURE(scatter);
                CAPTURE(seed);
                Run run({kernel, scatter}, seed);
                REQUIRE(run.run() == "");
            }
        }
    }
}

}  // namespace granule_test
