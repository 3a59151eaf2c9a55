// The state of a replay and what each call does to it. Over 500 lines: one `on` for each kind of call that means
// something, and the path that all binds take; splitting them would spread one state over files.
#include "src/replay/replay.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "src/replay/allocation_count.hpp"
#include "src/replay/leftovers.hpp"
#include "src/replay/traced.hpp"
#include "src/replay/va_ranges.hpp"
#include "src/replay/verifier.hpp"

namespace granule::replay {
namespace {

constexpr std::size_t kMaxFindings = 20;

// "Mali-G610 (0xa867, panthor)": the id in the brackets says which.
const mali::GpuModel* model_of(const trace::Meta& meta) {
    const std::size_t at = meta.gpu.find("0x");
    const std::size_t end = meta.gpu.find_first_of(",)", at == std::string::npos ? 0 : at);
    return at == std::string::npos || end == std::string::npos
               ? nullptr
               : mali::find_gpu_model(std::string_view{meta.gpu}.substr(at, end - at));
}

std::uint64_t percentile(std::vector<std::uint32_t>& sorted, std::uint64_t per_mille) {
    return sorted.empty() ? 0 : sorted[std::min<std::size_t>(sorted.size() - 1, sorted.size() * per_mille / 1000)];
}

// FNV-1a over 64-bit words.
class Hash {
public:
    void add(std::uint64_t word) noexcept { value_ = (value_ ^ word) * 0x100000001b3U; }
    [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

private:
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

}  // namespace

class Replay::State {
public:
    State(const Options& options, Owned<SoftDevice> device)
        : options_(options),
          device_(std::move(device)),
          verifier_(*device_, pages_, [this](std::string what) { find_fault(std::move(what)); }) {}

    [[nodiscard]] Result<void, Stop> play(const trace::Call& call) {
        ++counts_.calls;
        line_ = call.line;
        key_ = {call.process, call.file};
        if (call.result < 0) {
            return {};  // it failed for the program, so it changed nothing
        }
        return std::visit([&](const auto& what) { return on(what); }, call.what);
    }

    [[nodiscard]] ReplayResult finish();

    Options options_;
    Owned<SoftDevice> device_;
    std::map<FileKey, TracedFile> files_;
    std::vector<TracedBo> bos_{Oracle::kFirstBo};  // by number
    std::map<BoId, Oracle::BoNumber> numbers_;     // of those that live
    Counts counts_;

    [[nodiscard]] const TracedBo* bo_of(BoId id) const {
        const auto found = numbers_.find(id);
        return found == numbers_.end() ? nullptr : &bos_[found->second];
    }

private:
    using Played = Result<void, Stop>;

    // What a call that concerns memory does.
    [[nodiscard]] Played on(const trace::drm::Open& open);
    [[nodiscard]] Played on(const trace::drm::CloseFd& close);
    [[nodiscard]] Played on(const trace::drm::GemClose& close);
    [[nodiscard]] Played on(const trace::drm::PrimeImport& import);
    [[nodiscard]] Played on(const trace::panthor::VmCreate& create);
    [[nodiscard]] Played on(const trace::panthor::VmDestroy& destroy);
    [[nodiscard]] Played on(const trace::panthor::VmBind& bind);
    [[nodiscard]] Played on(const trace::panthor::BoCreate& create);
    [[nodiscard]] Played on(const trace::panthor::BoSetLabel& label) { return set_label(label.bo, label.label); }
    [[nodiscard]] Played on(const trace::panfrost::CreateBo& create);
    [[nodiscard]] Played on(const trace::panfrost::SetLabelBo& label) { return set_label(label.bo, label.label); }
    // The rest changes no address space: CPU mappings, syncobjs, jobs, queries.
    template <class Other>
    [[nodiscard]] Played on(const Other& /*other*/) {
        return {};
    }

    [[nodiscard]] Stop bad(std::string what, std::string would_be_right) const {
        return {Stop::Kind::kBadTrace, line_, std::move(what), std::move(would_be_right), {}};
    }
    [[nodiscard]] Stop refused(const BindError& error) const {
        const TracedBo* const whose =
            error.status == Status::kGranuleCut ? bo_of(error.plan.mapping.shows.bo) : nullptr;
        return {Stop::Kind::kRefused, line_,
                describe(error) + (whose == nullptr ? "" : "; in the trace it is " + describe(*whose)), "", error};
    }
    [[nodiscard]] Result<TracedFile*, Stop> file();
    // The file of a call that only this driver has.
    [[nodiscard]] Result<TracedFile*, Stop> file_of(trace::Driver driver);
    [[nodiscard]] Result<TracedVm*, Stop> vm(trace::VmId id);
    [[nodiscard]] Result<Oracle::BoNumber, Stop> number(TracedFile& file, trace::GemHandle handle) const;
    [[nodiscard]] Played set_label(trace::GemHandle handle, const std::string& label);
    [[nodiscard]] Result<Oracle::BoNumber, Stop> make_bo(trace::GemHandle handle, std::uint64_t bytes, bool imported);
    void close_handle(TracedFile& file, std::uint32_t handle);
    [[nodiscard]] Result<TracedVm*, Stop> make_vm(TracedFile& file, std::uint32_t id, const VaRange& space);
    void end_vm(TracedVm& vm, End end);
    void end_file(const FileKey& key, End end);

    // One operation that the program asked for.
    struct Asked {
        BindRequest request;
        Oracle::BoNumber number = Oracle::kNothing;  // map
    };
    [[nodiscard]] Played bind(TracedVm& vm, std::span<const Asked> asked, bool async);
    [[nodiscard]] Played bind_on_panfrost(TracedFile& in, const Asked& asked);
    [[nodiscard]] Played bind_together(TracedVm& vm, std::span<const Asked> asked, bool async);
    [[nodiscard]] Result<BindReport, BindError> commit(TracedVm& vm, const Transaction& transaction, bool async);
    void look_before(TracedVm& vm, const Asked& asked);
    void look_after(TracedVm& vm, const Asked& asked, const VaRange& taken);
    void note_removals(const TracedVm& vm, const VaRange& taken);
    void check_removals(const TracedVm& vm);
    void count_state(TracedVm& vm);
    void find_fault(std::string what);

    BoPages pages_;
    Verifier verifier_;
    std::uint64_t line_ = 0;
    FileKey key_;
    ReplayResult result_;
    std::map<Va, Oracle::Page> removed_;  // by the call that is being played
    std::vector<std::uint32_t> bind_ns_;
    Hash hash_;
    std::uint64_t mapped_bytes_ = 0;
    std::uint64_t mappings_ = 0;
    std::uint64_t leaves_2m_ = 0;
    std::uint64_t leaves_4k_ = 0;
    std::uint64_t tables_ = 0;
};

void Replay::State::find_fault(std::string what) {
    ++counts_.mismatches;
    if (result_.findings.size() < kMaxFindings) {
        result_.findings.push_back({line_, std::move(what)});
    }
}

Result<TracedFile*, Stop> Replay::State::file() {
    const auto found = files_.find(key_);
    if (found == files_.end()) {
        return fail(bad(fmt::format("file {} of process {} is not open", key_.second, key_.first),
                        "a drm.open of it comes first"));
    }
    return &found->second;
}

Result<TracedFile*, Stop> Replay::State::file_of(trace::Driver driver) {
    Result<TracedFile*, Stop> in = file();
    if (in && (*in)->driver != driver) {
        const char* const name = driver == trace::Driver::kPanthor ? "panthor" : "panfrost";
        return fail(bad(fmt::format("a call of {} on file {}, which was opened with another driver", name, key_.second),
                        fmt::format("its drm.open, at line {}, says \"drv\":\"{}\"", (*in)->opened, name)));
    }
    return in;
}

// A VM that the program made itself; panfrost's, one a file, are the kernel's.
Result<TracedVm*, Stop> Replay::State::vm(trace::VmId id) {
    const Result<TracedFile*, Stop> in = file_of(trace::Driver::kPanthor);
    if (!in) {
        return fail(in.error());
    }
    const auto found = (*in)->vms.find(static_cast<std::uint32_t>(id));
    if (found == (*in)->vms.end()) {
        return fail(bad(fmt::format("file {} has no VM {}", key_.second, static_cast<std::uint32_t>(id)),
                        "a panthor.vm_create of it comes first"));
    }
    return found->second.get();
}

Result<Oracle::BoNumber, Stop> Replay::State::number(TracedFile& in, trace::GemHandle handle) const {
    const auto found = in.handles.find(static_cast<std::uint32_t>(handle));
    if (found == in.handles.end()) {
        return fail(
            bad(fmt::format("file {} has no BO with handle {}", key_.second, static_cast<std::uint32_t>(handle)),
                "a call that creates or imports it comes first"));
    }
    return found->second;
}

Result<void, Stop> Replay::State::on(const trace::drm::Open& open) {
    const auto [at, added] = files_.try_emplace(key_);
    if (!added) {
        return fail(bad(fmt::format("file {} of process {} is open already", key_.second, key_.first),
                        "it is closed first, or has another number"));
    }
    at->second.driver = open.driver;
    at->second.opened = line_;
    if (open.driver == trace::Driver::kPanfrost) {
        // Linux panfrost_drv.c, panfrost_open: one VM a file, 32 MiB to 4 GiB.
        const Result<TracedVm*, Stop> made =
            make_vm(at->second, 0, {Va{std::uint64_t{32} << 20}, Va{std::uint64_t{1} << 32}});
        if (!made) {
            return fail(made.error());
        }
    }
    return {};
}

Result<void, Stop> Replay::State::on(const trace::drm::CloseFd& close) {
    if (const Result<TracedFile*, Stop> in = file(); !in) {
        return fail(in.error());
    }
    if (close.left == 0) {
        end_file(key_, End::kFileClosed);
    }
    return {};
}

Result<TracedVm*, Stop> Replay::State::make_vm(TracedFile& in, std::uint32_t id, const VaRange& space) {
    auto made = std::make_unique<TracedVm>();
    made->process = key_.first;
    made->file = key_.second;
    made->id = id;
    made->made = line_;
    VmConfig config;
    config.space = space;
    // One zone over all of it: the addresses are the program's.
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = space;
    config.made_by = line_;
    Result<Owned<Vm>, Status> vm = device_->create_vm(config);
    if (!vm) {
        if (vm.error() == Status::kOutOfRange) {
            const mali::GpuModel& gpu = *device_->config().gpu;
            return fail(bad(fmt::format("a VM with addresses up to {:#x}", space.end.raw()),
                            fmt::format("{} translates {} bits; choose a GPU with more", gpu.name, gpu.va_bits)));
        }
        BindError error;
        error.status = vm.error();
        return fail(refused(error));
    }
    Result<Owned<Timeline>, Status> timeline = device_->timelines().create();
    if (!timeline) {
        BindError error;
        error.status = timeline.error();
        return fail(refused(error));
    }
    made->vm = std::move(*vm);
    made->timeline = std::move(*timeline);
    ++counts_.vms;
    TracedVm* const raw = made.get();
    in.vms[id] = std::move(made);
    count_state(*raw);
    return raw;
}

Result<void, Stop> Replay::State::on(const trace::panthor::VmCreate& create) {
    const Result<TracedFile*, Stop> in = file_of(trace::Driver::kPanthor);
    if (!in) {
        return fail(in.error());
    }
    const auto id = static_cast<std::uint32_t>(create.vm);
    if ((*in)->vms.contains(id)) {
        return fail(bad(fmt::format("file {} has a VM {} already", key_.second, id), "it is destroyed first"));
    }
    VaRange space = device_->vm_space();
    if (create.user_va_bytes != 0) {
        space = {Va{0}, Va{align_down(std::min(create.user_va_bytes, kMaxVaEnd), kPageBytes)}};
    }
    const Result<TracedVm*, Stop> made = make_vm(**in, id, space);
    return made ? Played{} : Played{fail(made.error())};
}

Result<void, Stop> Replay::State::on(const trace::panthor::VmDestroy& destroy) {
    const Result<TracedVm*, Stop> found = vm(destroy.vm);
    if (!found) {
        return fail(found.error());
    }
    end_vm(**found, End::kVmDestroyed);
    files_[key_].vms.erase(static_cast<std::uint32_t>(destroy.vm));
    return {};
}

Result<Oracle::BoNumber, Stop> Replay::State::make_bo(trace::GemHandle handle, std::uint64_t bytes, bool imported) {
    const Result<TracedFile*, Stop> in = file();
    if (!in) {
        return fail(in.error());
    }
    const auto raw = static_cast<std::uint32_t>(handle);
    if ((*in)->handles.contains(raw)) {
        return fail(
            bad(fmt::format("file {} has a BO with handle {} already", key_.second, raw), "it is closed first"));
    }
    if (const std::uint64_t most = device_->config().memory_bytes; bytes == 0 || bytes > most) {
        return fail(bad(fmt::format("a BO of {}", describe_bytes(bytes)),
                        fmt::format("1 byte to {}, the memory of the soft device", describe_bytes(most))));
    }
    const Result<BoId, Status> id = device_->create_bo(bytes, line_);
    if (!id) {
        BindError error;
        error.status = id.error();
        return fail(refused(error));
    }
    const Oracle::BoNumber made = pages_.add(*device_->bos().find(*id));
    TracedBo bo;
    bo.id = *id;
    bo.process = key_.first;
    bo.file = key_.second;
    bo.handle = raw;
    bo.made = line_;
    bo.bytes = align_up(bytes, kPageBytes);
    bo.imported = imported;
    bos_.push_back(std::move(bo));
    numbers_[*id] = made;
    (*in)->handles[raw] = made;
    ++counts_.bos;
    return made;
}

Result<void, Stop> Replay::State::on(const trace::panthor::BoCreate& create) {
    if (const Result<TracedFile*, Stop> in = file_of(trace::Driver::kPanthor); !in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> made = make_bo(create.bo, create.bytes, false);
    return made ? Played{} : Played{fail(made.error())};
}

Result<void, Stop> Replay::State::on(const trace::drm::PrimeImport& import) {
    if (import.own) {
        const Result<TracedFile*, Stop> in = file();
        if (!in) {
            return fail(in.error());
        }
        const Result<Oracle::BoNumber, Stop> known = number(**in, import.bo);
        return known ? Played{} : Played{fail(known.error())};
    }
    const Result<Oracle::BoNumber, Stop> made = make_bo(import.bo, import.bytes, true);
    return made ? Played{} : Played{fail(made.error())};
}

Result<void, Stop> Replay::State::on(const trace::panfrost::CreateBo& create) {
    const Result<TracedFile*, Stop> in = file_of(trace::Driver::kPanfrost);
    if (!in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> made = make_bo(create.bo, create.bytes, false);
    if (!made) {
        return fail(made.error());
    }
    TracedBo& bo = bos_[*made];
    bo.va = create.va;
    if (create.heap) {
        return {};  // mapped as the GPU faults on it, and no GPU runs here
    }
    Asked asked;
    asked.number = *made;
    asked.request.kind = BindRequest::Kind::kMap;
    asked.request.va = create.va;
    asked.request.shows = {bo.id, BoOffset{0}, {false, create.noexec, false}, BindSerial{}};
    return bind_on_panfrost(**in, asked);
}

// In the VM that panfrost gives to each file.
Result<void, Stop> Replay::State::bind_on_panfrost(TracedFile& in, const Asked& asked) {
    const auto found = in.vms.find(0);
    if (found == in.vms.end()) {
        return fail(bad(fmt::format("file {} has no VM", key_.second), "its drm.open made one"));
    }
    return bind(*found->second, {&asked, 1}, false);
}

Result<void, Stop> Replay::State::on(const trace::drm::GemClose& close) {
    const Result<TracedFile*, Stop> in = file();
    if (!in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> closed = number(**in, close.bo);
    if (!closed) {
        return fail(closed.error());
    }
    const VaRange va = bos_[*closed].va;
    if ((*in)->driver == trace::Driver::kPanfrost && !va.empty() &&
        device_->bos().find(bos_[*closed].id)->mapped_pages.load(std::memory_order_relaxed) != 0) {
        Asked asked;
        asked.request.va = va;
        if (Played unmapped = bind_on_panfrost(**in, asked); !unmapped) {
            return unmapped;
        }
    }
    close_handle(**in, static_cast<std::uint32_t>(close.bo));
    return {};
}

void Replay::State::close_handle(TracedFile& in, std::uint32_t handle) {
    const Oracle::BoNumber closed = in.handles.at(handle);
    in.handles.erase(handle);
    TracedBo& bo = bos_[closed];
    bo.closed = line_;
    Bo* const object = device_->bos().find(bo.id);
    if (object->mapped_pages.load(std::memory_order_relaxed) == 0) {
        numbers_.erase(bo.id);
        pages_.remove(closed);
    }
    device_->bos().release(*object, 1);
}

Result<void, Stop> Replay::State::set_label(trace::GemHandle handle, const std::string& label) {
    const Result<TracedFile*, Stop> in = file();
    if (!in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> labelled = number(**in, handle);
    if (!labelled) {
        return fail(labelled.error());
    }
    TracedBo& bo = bos_[*labelled];
    bo.label = label;
    if (const Status status = device_->bos().set_label(*device_->bos().find(bo.id), label); status != Status::kOk) {
        BindError error;
        error.status = status;
        return fail(refused(error));
    }
    return {};
}

Result<void, Stop> Replay::State::on(const trace::panthor::VmBind& call) {
    const Result<TracedVm*, Stop> found = vm(call.vm);
    if (!found) {
        return fail(found.error());
    }
    TracedFile& in = files_[key_];
    std::vector<Asked> asked;
    asked.reserve(call.ops.size());
    for (const trace::panthor::BindOp& op : call.ops) {
        if (op.kind == trace::panthor::BindKind::kSync || op.va.empty()) {
            continue;  // a kernel skips an empty range
        }
        Asked one;
        one.request.va = op.va;
        if (op.kind == trace::panthor::BindKind::kMap) {
            one.request.kind = BindRequest::Kind::kMap;
            one.request.shows.flags = op.flags;
            one.number = Oracle::kSparse;
            if (!op.sparse) {
                const Result<Oracle::BoNumber, Stop> shown = number(in, op.bo);
                if (!shown) {
                    return fail(shown.error());
                }
                one.number = *shown;
                one.request.shows.bo = bos_[*shown].id;
                one.request.shows.offset = op.offset;
            }
        }
        asked.push_back(one);
    }
    return asked.empty() ? Played{} : bind(**found, asked, call.async);
}

Result<void, Stop> Replay::State::bind(TracedVm& vm, std::span<const Asked> asked, bool async) {
    for (const Asked& one : asked) {
        if (!vm.vm->config().space.contains(one.request.va)) {
            return fail(bad(
                fmt::format("VA {} is outside the VM, {}", describe(one.request.va), describe(vm.vm->config().space)),
                "ranges lie in the space that the VM was made with"));
        }
    }
    if (options_.policy != UnmapPolicy::kEnlarge) {
        return bind_together(vm, asked, async);
    }
    // One by one, because what each takes depends on what the one before it took.
    for (const Asked& one : asked) {
        if (Played done = bind_together(vm, {&one, 1}, async); !done) {
            return done;
        }
    }
    return {};
}

// Counts what the state before the call says of it, and names what it lands on.
void Replay::State::look_before(TracedVm& vm, const Asked& asked) {
    const bool maps = asked.request.kind == BindRequest::Kind::kMap;
    const VaRange& va = asked.request.va;
    counts_.maps += maps ? 1 : 0;
    counts_.sparse_maps += asked.number == Oracle::kSparse ? 1 : 0;
    counts_.unmaps += maps ? 0 : 1;
    bool any = false;
    bool cuts = false;
    std::vector<Mapping> given_back;
    vm.vm->for_each_mapping(va, [&](const Mapping& mapping) {
        any = true;
        cuts = cuts || !va.contains(mapping.va);
        const TracedBo* const bo = maps ? bo_of(mapping.shows.bo) : nullptr;
        if (bo != nullptr && bo->closed != 0) {
            given_back.push_back(mapping);
        }
    });
    for (const Mapping& under : given_back) {
        add_mapped_over(result_.leftovers, vm, under, *bo_of(under.shows.bo), va, line_);
    }
    counts_.overmaps += maps && any ? 1 : 0;
    counts_.partial_unmaps += cuts ? 1 : 0;
}

Result<BindReport, BindError> Replay::State::commit(TracedVm& vm, const Transaction& transaction, bool async) {
    const bool only_unmaps =
        transaction.size() == 1 && transaction.requests().front().kind == BindRequest::Kind::kUnmap;
    if (!async) {
        static_cast<void>(take_allocations_of_this_thread());
        const auto begin = std::chrono::steady_clock::now();
        Result<BindReport, BindError> done = vm.vm->commit(transaction);
        const auto spent = std::chrono::steady_clock::now() - begin;
        bind_ns_.push_back(
            static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()));
        counts_.allocations_in_unmap += only_unmaps ? take_allocations_of_this_thread() : 0;
        return done;
    }
    if (!vm.queue) {
        Result<Owned<BindQueue>, OsError> queue = BindQueue::create(*vm.vm, device_->config().nodes);
        if (!queue) {
            BindError error;
            error.status = queue.error().status;
            error.error = queue.error().error;
            return fail(error);
        }
        vm.queue = std::move(*queue);
    }
    struct Outcome {
        QueuedBind bind{BindReport{}, 0};
        std::uint64_t allocations = 0;  // of the queue's thread since the transaction before, or since it began
    };
    Outcome done;
    const TimelinePoint fence{vm.timeline.get(), ++vm.queued};
    const Status queued = vm.queue->submit(
        transaction, {}, {&fence, 1},
        [](void* context, const QueuedBind& result) {
            *static_cast<Outcome*>(context) = {result, take_allocations_of_this_thread()};
        },
        &done);
    if (queued != Status::kOk) {
        BindError error;
        error.status = queued;
        return fail(error);
    }
    while (!vm.timeline->wait(fence.value, std::chrono::seconds(1))) {
    }
    counts_.allocations_in_unmap += only_unmaps ? done.allocations : 0;
    bind_ns_.push_back(static_cast<std::uint32_t>(done.bind.nanoseconds));
    return done.bind.result;
}

Result<void, Stop> Replay::State::bind_together(TracedVm& vm, std::span<const Asked> asked, bool async) {
    Transaction transaction;
    VaRange taken = asked.front().request.va;
    for (const Asked& one : asked) {
        look_before(vm, one);
        BindRequest request = one.request;
        request.policy = options_.policy;
        request.leaves = options_.leaves;
        if (options_.policy == UnmapPolicy::kEnlarge) {
            if (const Result<Plan, BindError> plan = vm.vm->explain(request)) {
                taken = plan->taken;
            }
        }
        if (const Status status = transaction.add(request); status != Status::kOk) {
            BindError error;
            error.status = status;
            return fail(refused(error));
        }
    }
    const Result<BindReport, BindError> done = commit(vm, transaction, async);
    if (!done) {
        return fail(refused(done.error()));
    }
    ++counts_.binds;
    counts_.operations += done->operations;
    counts_.granules_remapped += done->granules;
    counts_.residual_bytes += done->residual_bytes;
    counts_.exposed_bytes += done->exposed_bytes;
    counts_.enlarged_bytes += done->enlarged_bytes;
    vm.lines.push_back(line_);
    for (const Asked& one : asked) {
        look_after(vm, one, options_.policy == UnmapPolicy::kEnlarge ? taken : one.request.va);
    }
    check_removals(vm);
    // Not before all are in the oracle: a later operation of the call may have changed what an earlier one did.
    for (const Asked& one : asked) {
        const VaRange& va = options_.policy == UnmapPolicy::kEnlarge ? taken : one.request.va;
        hash_.add(static_cast<std::uint64_t>(vm.vm->granule_at(va.start)));
        hash_.add(static_cast<std::uint64_t>(vm.vm->granule_at(va.end - kPageBytes)));
        if (options_.verify) {
            verifier_.check_around(*vm.vm, vm.oracle, va);
        }
    }
    count_state(vm);
    return {};
}

void Replay::State::look_after(TracedVm& vm, const Asked& asked, const VaRange& taken) {
    const VaRange& va = asked.request.va;
    if (options_.verify) {
        note_removals(vm, taken);
        vm.oracle.unmap(taken);
    }
    if (asked.request.kind == BindRequest::Kind::kMap) {
        if (options_.verify) {
            vm.oracle.map(va, asked.number, asked.request.shows.offset.raw(), asked.request.shows.flags);
        }
        reserve_va(vm, va, line_, [&](std::string what) { find_fault(std::move(what)); });
    } else {
        release_va(vm, taken, [&](std::string what) { find_fault(std::move(what)); });
    }
}

// What the oracle loses at the first and the last page of `taken`; and where an earlier operation of the same call lost
// something in between: the VM names what was removed last.
void Replay::State::note_removals(const TracedVm& vm, const VaRange& taken) {
    const auto note = [&](Va va) {
        if (const Oracle::Page page = vm.oracle.at(va); page.bo != Oracle::kNothing) {
            removed_[va] = page;
        }
    };
    for (auto known = removed_.lower_bound(taken.start); known != removed_.end() && known->first < taken.end; ++known) {
        note(known->first);  // there already: changes the page only
    }
    note(taken.start);
    note(Va{taken.end.raw() - kPageBytes});
}

void Replay::State::check_removals(const TracedVm& vm) {
    for (const auto& [va, page] : removed_) {
        const AddressReport report = vm.vm->address(va);
        if (!report.removed) {
            if (report.history_complete) {
                find_fault(fmt::format("nothing says what was at VA {:#x} before this call (P6)", va.raw()));
            }
            continue;
        }
        const Backing named = report.removed->what.clipped({va, va + kPageBytes}).shows;
        const auto number = numbers_.find(named.bo);
        const Oracle::BoNumber is =
            named.sparse() ? Oracle::kSparse : (number == numbers_.end() ? Oracle::kNothing : number->second);
        const std::uint64_t is_page = named.offset.raw() / kPageBytes;
        if (is != page.bo || is_page != page.bo_page) {
            find_fault(fmt::format(
                "VA {:#x} is said to have shown page {} of BO number {}, but it was page {} of number {} (P6)",
                va.raw(), is_page, is, page.bo_page, page.bo));
        }
    }
    removed_.clear();
}

void Replay::State::count_state(TracedVm& vm) {
    const auto update = [](std::uint64_t& sum, std::uint64_t& last, std::uint64_t now) {
        sum += now - last;
        last = now;
    };
    const VmStatistics statistics = vm.vm->statistics();
    const mali::PageTable& table = SoftDevice::address_space(*vm.vm).table();
    update(mapped_bytes_, vm.mapped_bytes, statistics.mapped_bytes);
    update(mappings_, vm.mappings, statistics.mappings);
    update(leaves_2m_, vm.leaves_2m, table.leaf_counts().blocks_2m);
    update(leaves_4k_, vm.leaves_4k, table.leaf_counts().pages_4k);
    update(tables_, vm.tables, table.table_count());
    counts_.tables_peak = std::max(counts_.tables_peak, tables_);
    counts_.peak_mappings = std::max(counts_.peak_mappings, mappings_);
    if (mapped_bytes_ > counts_.peak_mapped_bytes) {
        counts_.peak_mapped_bytes = mapped_bytes_;
        counts_.leaves_2m = leaves_2m_;
        counts_.leaves_4k = leaves_4k_;
    }
}

void Replay::State::end_vm(TracedVm& vm, End end) {
    if (vm.queue) {
        vm.queue->drain();
    }
    if (options_.verify) {
        verifier_.check_all(*vm.vm, vm.oracle);
    }
    counts_.granules_cut += SoftDevice::address_space(*vm.vm).leaf_cuts();
    vm.vm->for_each_mapping(vm.vm->config().space, [&](const Mapping& mapping) {
        const auto found = numbers_.find(mapping.shows.bo);
        hash_.add(mapping.va.start.raw());
        hash_.add(mapping.va.end.raw());
        hash_.add(found == numbers_.end() ? 0 : found->second);
        hash_.add(mapping.shows.offset.raw());
    });
    SoftDevice::address_space(*vm.vm).table().visit(vm.vm->config().space, [&](const mali::VisitedRun& run) {
        hash_.add(run.leaves.start.raw());
        hash_.add(bytes_of(run.leaves.size));
        hash_.add(run.leaves.count);
        hash_.add(run.pa.raw());  // BOs come and go in the trace's order: they have the same memory in every replay
        hash_.add((run.attributes.read ? 1U : 0U) | (run.attributes.write ? 2U : 0U) |
                  (run.attributes.execute ? 4U : 0U) | (static_cast<std::uint64_t>(run.attributes.memory) << 3U));
    });
    add_vm_leftovers(result_.leftovers, vm, bos_, end, line_);

    std::vector<BoId> shown;
    vm.vm->for_each_mapping(vm.vm->config().space, [&](const Mapping& mapping) { shown.push_back(mapping.shows.bo); });
    vm.queue = {};
    vm.vm = {};
    mapped_bytes_ -= vm.mapped_bytes;
    mappings_ -= vm.mappings;
    leaves_2m_ -= vm.leaves_2m;
    leaves_4k_ -= vm.leaves_4k;
    tables_ -= vm.tables;
    // BOs that only this VM kept are gone now.
    for (const BoId id : shown) {
        if (const auto found = numbers_.find(id); found != numbers_.end() && device_->bos().find(id) == nullptr) {
            pages_.remove(found->second);
            numbers_.erase(found);
        }
    }
}

void Replay::State::end_file(const FileKey& key, End end) {
    TracedFile& ending = files_.at(key);
    std::vector<std::uint32_t> open;
    for (const auto& [handle, bo] : ending.handles) {
        open.push_back(handle);
    }
    std::sort(open.begin(), open.end());
    for (const std::uint32_t handle : open) {
        add_bo(result_.leftovers, bos_[ending.handles.at(handle)], end);
    }
    for (const auto& [id, vm] : ending.vms) {
        if (ending.driver == trace::Driver::kPanthor) {
            add_vm(result_.leftovers, *vm, end);
        }
        end_vm(*vm, end);
    }
    ending.vms.clear();
    for (const std::uint32_t handle : open) {
        close_handle(ending, handle);
    }
    files_.erase(key);
}

ReplayResult Replay::State::finish() {
    result_.killed = !files_.empty();
    while (!files_.empty()) {
        end_file(files_.begin()->first, End::kTraceEnded);
    }
    std::sort(bind_ns_.begin(), bind_ns_.end());
    counts_.ns_per_bind_p50 = percentile(bind_ns_, 500);
    counts_.ns_per_bind_p999 = percentile(bind_ns_, 999);
    counts_.pages_verified = verifier_.pages_checked();
    const SoftGpu::Counters gpu = device_->gpu().counters();
    counts_.faults = gpu.faults - verifier_.expected_faults();
    counts_.stale_hits = gpu.stale;
    counts_.end_state = hash_.value();
    result_.counts = counts_;
    return std::move(result_);
}

Result<Replay, Stop> Replay::create(const Options& options, const trace::Meta& meta) {
    Options complete = options;
    if (complete.gpu == nullptr) {
        complete.gpu = model_of(meta);
    }
    if (complete.gpu == nullptr) {
        return fail(Stop{Stop::Kind::kBadTrace,
                         1,
                         fmt::format("the trace's GPU \"{}\" is not known", meta.gpu),
                         "name one with --gpu; `granule gpus` lists them",
                         {}});
    }
    SoftDeviceConfig config;
    config.gpu = complete.gpu;
    config.kernel = complete.kernel;
    config.bo_memory = complete.memory;
    config.nodes = counting_node_memory();
    config.injection = &counting_injection();
    Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config);
    if (!device) {
        BindError error;
        error.status = device.error().status;
        error.error = device.error().error;
        return fail(Stop{Stop::Kind::kRefused, 0,
                         fmt::format("no soft device: {} {}", to_string(error.status), device.error().call), "",
                         error});
    }
    return Replay(std::make_unique<State>(complete, std::move(*device)));
}

Replay::Replay(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Replay::Replay(Replay&&) noexcept = default;
Replay& Replay::operator=(Replay&&) noexcept = default;
Replay::~Replay() = default;

Result<void, Stop> Replay::play(const trace::Call& call) {
    return state_->play(call);
}
ReplayResult Replay::finish() {
    return state_->finish();
}
const Counts& Replay::counts() const noexcept {
    return state_->counts_;
}
SoftDevice& Replay::device() noexcept {
    return *state_->device_;
}

std::vector<VmView> Replay::vms() const {
    std::vector<VmView> views;
    for (const auto& [key, in] : state_->files_) {
        for (const auto& [id, vm] : in.vms) {
            views.push_back({key.first, key.second, id, vm->made, vm->vm.get()});
        }
    }
    return views;
}

std::optional<BoView> Replay::bo(BoId id) const {
    const TracedBo* const found = state_->bo_of(id);
    if (found == nullptr) {
        return std::nullopt;
    }
    return BoView{found->process, found->file, found->handle, found->made, found->bytes, found->label};
}

std::optional<BoId> Replay::find_bo(std::uint32_t process, std::uint32_t file, std::uint32_t handle) const {
    const auto in = state_->files_.find({process, file});
    if (in == state_->files_.end()) {
        return std::nullopt;
    }
    const auto found = in->second.handles.find(handle);
    return found == in->second.handles.end() ? std::nullopt : std::optional(state_->bos_[found->second].id);
}

std::uint64_t Replay::line_of(const Vm& vm, BindSerial serial) const {
    for (const auto& [key, in] : state_->files_) {
        for (const auto& [id, traced] : in.vms) {
            if (traced->vm.get() == &vm) {
                return traced->line_of(serial);
            }
        }
    }
    return 0;
}

}  // namespace granule::replay
