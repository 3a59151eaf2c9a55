#include "src/replay/player.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace granule::replay {
namespace {

// Linux panfrost_drv.c, panfrost_open: one VM a file, 32 MiB to 4 GiB.
constexpr VaRange kPanfrostSpace{Va{std::uint64_t{32} << 20}, Va{std::uint64_t{1} << 32}};

template <class T>
Result<void, Stop> without_value(const Result<T, Stop>& result) {
    return result ? Result<void, Stop>{} : Result<void, Stop>{fail(result.error())};
}

}  // namespace

Player::Player(const Options& options, std::unique_ptr<ReplayedDevice> device)
    : device_(std::move(device)),
      record_{options, 0, {}, {}, {}, {}},
      files_(record_),
      verifier_(device_->make_verifier([this](std::string what) { record_.find_fault(std::move(what)); })),
      sums_(record_.counts),
      binder_(record_, files_, *verifier_, sums_, end_state_) {}

Result<void, Stop> Player::play(const trace::Call& call) {
    ++record_.counts.calls;
    record_.line = call.line;
    record_.key = {call.process, call.file};
    if (call.result < 0) {
        return {};  // it failed for the program, so it changed nothing
    }
    Played played = std::visit([&](const auto& what) { return on(what); }, call.what);
    if (played && record_.options.look_every != 0 && record_.counts.calls % record_.options.look_every == 0) {
        look_at_all();
    }
    return played;
}

Result<void, Stop> Player::on(const trace::drm::Open& open) {
    if (files_.open.contains(record_.key)) {
        return fail(
            record_.bad(fmt::format("file {} of process {} is open already", record_.key.second, record_.key.first),
                        "it is closed first, or has another number"));
    }
    Result<std::unique_ptr<ReplayedFile>, Stop> opened = device_->open(open.driver);
    if (!opened) {
        opened.error().line = record_.line;
        return fail(opened.error());
    }
    TracedFile& in = files_.open[record_.key];
    in.driver = open.driver;
    in.opened = record_.line;
    in.on = std::move(*opened);
    if (open.driver == trace::Driver::kPanfrost) {
        if (const Result<TracedVm*, Stop> made = make_vm(in, 0, kPanfrostSpace); !made) {
            files_.open.erase(record_.key);
            return fail(made.error());
        }
    }
    return {};
}

Result<void, Stop> Player::on(const trace::drm::CloseFd& close) {
    if (const Result<TracedFile*, Stop> in = files_.file(); !in) {
        return fail(in.error());
    }
    if (close.left == 0) {
        end_file(record_.key, End::kFileClosed);
    }
    return {};
}

Result<TracedVm*, Stop> Player::make_vm(TracedFile& in, std::uint32_t id, const VaRange& space) {
    auto made = std::make_unique<TracedVm>(in);
    made->process = record_.key.first;
    made->file = record_.key.second;
    made->id = id;
    made->made = record_.line;
    VmConfig config;
    config.space = space;
    // One zone over all of it: the addresses are the program's.
    config.zones[static_cast<std::size_t>(VaZone::kMain)] = space;
    config.made_by = record_.line;
    Result<std::unique_ptr<ReplayedVm>, OsError> vm = in.on->create_vm(config);
    if (!vm) {
        if (vm.error().status == Status::kOutOfRange && device_->gpu() != nullptr) {
            const mali::GpuModel& gpu = *device_->gpu();
            return fail(
                record_.bad(fmt::format("a VM with addresses up to {:#x}", space.end.raw()),
                            fmt::format("{} translates {} bits; choose a GPU with more", gpu.name, gpu.va_bits)));
        }
        return fail(record_.refused(vm.error().status));
    }
    made->on = std::move(*vm);
    ++record_.counts.vms;
    TracedVm* const raw = made.get();
    in.vms[id] = std::move(made);
    sums_.update(*raw);
    return raw;
}

Result<void, Stop> Player::on(const trace::panthor::VmCreate& create) {
    const Result<TracedFile*, Stop> in = files_.file_of(trace::Driver::kPanthor);
    if (!in) {
        return fail(in.error());
    }
    const auto id = static_cast<std::uint32_t>(create.vm);
    if ((*in)->vms.contains(id)) {
        return fail(
            record_.bad(fmt::format("file {} has a VM {} already", record_.key.second, id), "it is destroyed first"));
    }
    VaRange space = (*in)->on->vm_space();
    if (create.user_va_bytes != 0) {
        space = {Va{0}, Va{align_down(std::min(create.user_va_bytes, kMaxVaEnd), kPageBytes)}};
    }
    return without_value(make_vm(**in, id, space));
}

Result<void, Stop> Player::on(const trace::panthor::VmDestroy& destroy) {
    const Result<TracedVm*, Stop> found = files_.vm(destroy.vm);
    if (!found) {
        return fail(found.error());
    }
    end_vm(**found, End::kVmDestroyed);
    (*found)->in.vms.erase(static_cast<std::uint32_t>(destroy.vm));
    return {};
}

Result<Oracle::BoNumber, Stop> Player::make_bo(trace::GemHandle handle, BoRequest request, bool imported,
                                               TracedVm* kernel_maps_in) {
    const Result<TracedFile*, Stop> in = files_.file();
    if (!in) {
        return fail(in.error());
    }
    const auto raw = static_cast<std::uint32_t>(handle);
    if ((*in)->handles.contains(raw)) {
        return fail(record_.bad(fmt::format("file {} has a BO with handle {} already", record_.key.second, raw),
                                "it is closed first"));
    }
    if (const std::uint64_t most = device_->most_bo_bytes(); request.bytes == 0 || request.bytes > most) {
        return fail(record_.bad(fmt::format("a BO of {}", describe_bytes(request.bytes)),
                                fmt::format("1 byte to {}, the memory of the device", describe_bytes(most))));
    }
    ReplayedFile& on = *(*in)->on;
    request.made_by = record_.line;
    BoId id = kNoBo;
    if (kernel_maps_in != nullptr) {
        const Result<BoId, BindError> made = on.create_mapped_bo(kernel_maps_in->vm(), request);
        if (!made) {
            return fail(no_bo(made.error(), request.bytes));
        }
        id = *made;
    } else {
        const Result<BoId, OsError> made = on.create_bo(request);
        if (!made) {
            BindError error;
            error.status = made.error().status;
            error.error = made.error().error;
            return fail(no_bo(error, request.bytes));
        }
        id = *made;
    }
    const auto number = static_cast<Oracle::BoNumber>(files_.bos.size());
    TracedBo bo;
    bo.id = id;
    bo.process = record_.key.first;
    bo.file = record_.key.second;
    bo.handle = raw;
    bo.made = record_.line;
    bo.bytes = align_up(request.bytes, kPageBytes);
    bo.imported = imported;
    files_.bos.push_back(std::move(bo));
    verifier_->bo_made(number, *on.bos().find(id));
    (*in)->numbers[id] = number;
    (*in)->handles[raw] = number;
    ++record_.counts.bos;
    return number;
}

Stop Player::no_bo(const BindError& error, std::uint64_t bytes) const {
    Stop stop = record_.refused(error);
    if (error.status == Status::kOutOfDeviceMemory) {
        stop.what = fmt::format("no memory for a BO of {}: with it, the trace needs {} here", describe_bytes(bytes),
                                describe_bytes(files_.live_bytes() + align_up(bytes, kPageBytes)));
    }
    return stop;
}

Result<void, Stop> Player::on(const trace::panthor::BoCreate& create) {
    const Result<TracedFile*, Stop> in = files_.file_of(trace::Driver::kPanthor);
    if (!in) {
        return fail(in.error());
    }
    BoRequest request;
    request.bytes = create.bytes;
    request.cpu_visible = !create.no_mmap;
    request.cpu_cached = create.wb_mmap;
    if (const auto only = (*in)->vms.find(static_cast<std::uint32_t>(create.exclusive)); only != (*in)->vms.end()) {
        request.only_for_vm = only->second->vm().kernel_id();
    }
    return without_value(make_bo(create.bo, request, false));
}

Result<void, Stop> Player::on(const trace::drm::PrimeImport& import) {
    if (import.own) {
        const Result<TracedFile*, Stop> in = files_.file();
        if (!in) {
            return fail(in.error());
        }
        return without_value(files_.number(**in, import.bo));
    }
    BoRequest request;
    request.bytes = import.bytes;
    return without_value(make_bo(import.bo, request, true));
}

Result<TracedVm*, Stop> Player::panfrost_vm(TracedFile& in) {
    const auto found = in.vms.find(0);
    if (found == in.vms.end()) {
        return fail(record_.bad(fmt::format("file {} has no VM", record_.key.second), "its drm.open made one"));
    }
    return found->second.get();
}

Result<void, Stop> Player::on(const trace::panfrost::CreateBo& create) {
    const Result<TracedFile*, Stop> in = files_.file_of(trace::Driver::kPanfrost);
    if (!in) {
        return fail(in.error());
    }
    const Result<TracedVm*, Stop> vm = panfrost_vm(**in);
    if (!vm) {
        return fail(vm.error());
    }
    BoRequest request;
    request.bytes = create.bytes;
    request.cpu_cached = create.wb_mmap;
    request.executable = !create.noexec;
    request.grows_on_fault = create.heap;
    // A heap is mapped as the GPU faults on it, and no GPU runs here.
    const bool kernel_maps = (*in)->on->kernel_maps() && !create.heap;
    const auto begin = std::chrono::steady_clock::now();
    const Result<Oracle::BoNumber, Stop> made = make_bo(create.bo, request, false, kernel_maps ? *vm : nullptr);
    const std::chrono::nanoseconds spent = std::chrono::steady_clock::now() - begin;
    if (!made) {
        return fail(made.error());
    }
    TracedBo& bo = files_.bos[*made];
    bo.va = create.va;
    if (create.heap) {
        return {};
    }
    AskedBind asked;
    asked.number = *made;
    asked.request.kind = BindRequest::Kind::kMap;
    asked.request.va = create.va;
    asked.request.shows = {bo.id, BoOffset{0}, {false, create.noexec, false}, BindSerial{}};
    if (!kernel_maps) {
        return binder_.bind(**vm, {&asked, 1}, false);
    }
    const Va at = (*in)->on->bos().find(bo.id)->kernel_va.value_or(create.va.start);
    record_.counts.moved_bos += at == create.va.start ? 0U : 1U;
    bo.va = {at, at + bo.bytes};
    asked.request.va = bo.va;
    binder_.note_done(**vm, asked, {BindReport{}, static_cast<std::uint64_t>(spent.count())});
    return {};
}

Result<void, Stop> Player::on(const trace::drm::GemClose& close) {
    const Result<TracedFile*, Stop> in = files_.file();
    if (!in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> closed = files_.number(**in, close.bo);
    if (!closed) {
        return fail(closed.error());
    }
    const TracedBo& bo = files_.bos[*closed];
    if ((*in)->driver == trace::Driver::kPanfrost && !bo.va.empty() &&
        (*in)->on->bos().find(bo.id)->mapped_pages() != 0) {
        if (Played unmapped = unmap_on_panfrost(**in, bo); !unmapped) {
            return unmapped;
        }
    }
    close_handle(**in, static_cast<std::uint32_t>(close.bo));
    return {};
}

Result<void, Stop> Player::unmap_on_panfrost(TracedFile& in, const TracedBo& bo) {
    const Result<TracedVm*, Stop> vm = panfrost_vm(in);
    if (!vm) {
        return fail(vm.error());
    }
    AskedBind asked;
    asked.request.va = bo.va;
    if (!in.on->kernel_maps()) {
        return binder_.bind(**vm, {&asked, 1}, false);
    }
    binder_.note_done(**vm, asked, in.on->free_mapped_bo((*vm)->vm(), bo.id));
    return {};
}

void Player::close_handle(TracedFile& in, std::uint32_t handle) {
    const Oracle::BoNumber closed = in.handles.at(handle);
    in.handles.erase(handle);
    TracedBo& bo = files_.bos[closed];
    bo.closed = record_.line;
    Bo* const object = in.on->bos().find(bo.id);
    if (object == nullptr || object->mapped_pages() == 0) {
        in.numbers.erase(bo.id);
        verifier_->bo_gone(closed);
    }
    if (object != nullptr) {  // not so where its kernel unmapped it, and it went with that
        in.on->bos().release(*object, 1);
    }
}

Result<void, Stop> Player::set_label(trace::GemHandle handle, const std::string& label) {
    const Result<TracedFile*, Stop> in = files_.file();
    if (!in) {
        return fail(in.error());
    }
    const Result<Oracle::BoNumber, Stop> labelled = files_.number(**in, handle);
    if (!labelled) {
        return fail(labelled.error());
    }
    TracedBo& bo = files_.bos[*labelled];
    bo.label = label;
    BoTable& bos = (*in)->on->bos();
    if (const Status status = bos.set_label(*bos.find(bo.id), label); status != Status::kOk) {
        return fail(record_.refused(status));
    }
    return {};
}

Result<void, Stop> Player::on(const trace::panthor::VmBind& call) {
    const Result<TracedVm*, Stop> vm = files_.vm(call.vm);
    if (!vm) {
        return fail(vm.error());
    }
    ++record_.counts.driver_ioctls;
    record_.counts.driver_operations += call.ops.size();
    TracedFile& in = (*vm)->in;
    std::vector<AskedBind> asked;
    asked.reserve(call.ops.size());
    for (const trace::panthor::BindOp& op : call.ops) {
        if (op.kind == trace::panthor::BindKind::kSync || op.va.empty()) {
            continue;  // a kernel skips an empty range
        }
        AskedBind one;
        one.request.va = op.va;
        if (op.kind == trace::panthor::BindKind::kMap) {
            one.request.kind = BindRequest::Kind::kMap;
            one.request.shows.flags = op.flags;
            one.number = Oracle::kSparse;
            if (!op.sparse) {
                const Result<Oracle::BoNumber, Stop> shown = files_.number(in, op.bo);
                if (!shown) {
                    return fail(shown.error());
                }
                one.number = *shown;
                one.request.shows.bo = files_.bos[*shown].id;
                one.request.shows.offset = op.offset;
            }
        }
        asked.push_back(one);
    }
    return asked.empty() ? Played{} : binder_.bind(**vm, asked, call.async);
}

}  // namespace granule::replay
