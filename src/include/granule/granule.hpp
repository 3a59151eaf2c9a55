// granule's C++ face: the C interface of granule.h with owners. C++17 and later, header-only, no second implementation:
// each function is one call of the C function of that name, whose documentation holds.
//
//     granule::Result<granule::Device> device = granule::Device::open();       // the soft one
//     if (!device) { puts(device.error().text().c_str()); return 1; }
//     granule::Result<granule::Vm> vm = device->create_vm();
//
// Owners are move-only and give back what they hold when they end; `get()` lends the C handle, `release()` gives it away.
// An owner that holds nothing (default made, moved from) may be asked, assigned to and destroyed; the C functions take
// its NULL as they say. `share()` of a BO or a timeline is one more owner of the same.
//
// Result<T> is a T or an Error, and must be looked at. Nothing throws but std::bad_alloc from what makes strings.
// What can be asked through a plain C function and has no owner (walks, reports, lists) is not here: call that.
//
// Thread-safety: as the C functions; an owner itself is like a pointer.
#ifndef GRANULE_GRANULE_HPP
#define GRANULE_GRANULE_HPP

#include <granule/granule.h>

#include <cstddef>
#include <cstdint>
#include <granule/result.hpp>
#include <string>
#include <vector>

namespace granule {
inline namespace v0 {

class Timeline : public detail::Owner<granule_timeline, &granule_timeline_unref> {
public:
    using Owner::Owner;

    [[nodiscard]] Timeline share() const noexcept { return Timeline{granule_timeline_ref(get())}; }
    [[nodiscard]] granule_sync at(std::uint64_t point) const noexcept { return {get(), point}; }
    [[nodiscard]] std::uint64_t value() const noexcept { return granule_timeline_value(get()); }
    [[nodiscard]] granule_status status() const noexcept { return granule_timeline_status(get()); }
    Result<Done> signal(std::uint64_t value) {
        return detail::call([&](granule_error* error) { return granule_timeline_signal(get(), value, error); });
    }
    Result<Done> wait(std::uint64_t value, std::uint64_t timeout_ns = GRANULE_WAIT_FOREVER) const {
        return detail::plain(granule_timeline_wait(get(), value, timeout_ns));
    }
};

class Bo : public detail::Owner<granule_bo, &granule_bo_unref> {
public:
    using Owner::Owner;

    [[nodiscard]] Bo share() const noexcept { return Bo{granule_bo_ref(get())}; }
    [[nodiscard]] std::uint64_t size() const noexcept { return granule_bo_size(get()); }
    [[nodiscard]] std::uint32_t id() const noexcept { return granule_bo_id(get()); }
    // Where the CPU sees it.
    Result<std::byte*> map() {
        return cast(detail::filled<void*>(
            nullptr, [&](void** cpu, granule_error* error) { return granule_bo_map(get(), cpu, error); }));
    }
    // A file descriptor, the caller's.
    Result<int> export_fd() {
        return detail::filled(-1, [&](int* fd, granule_error* error) { return granule_bo_export(get(), fd, error); });
    }
    Result<Done> wait(std::uint64_t timeout_ns = GRANULE_WAIT_FOREVER) {
        return detail::call([&](granule_error* error) { return granule_bo_wait(get(), timeout_ns, error); });
    }
    Result<Done> set_label(const char* label) { return detail::plain(granule_bo_set_label(get(), label)); }
    [[nodiscard]] std::string label() const {
        return detail::text_of([&](char* text, std::size_t size) { return granule_bo_get_label(get(), text, size); });
    }

private:
    static Result<std::byte*> cast(const Result<void*>& cpu) {
        if (!cpu) {
            return cpu.error();
        }
        return static_cast<std::byte*>(*cpu);
    }
};

// An array of operations for Vm::bind. BOs and timelines outlive it.
class Binds {
public:
    // Returns the operation, to change or to read `va` from after the bind; good until the next one is added.
    granule_bind_op& map(std::uint64_t va, const Bo& bo, std::uint64_t bo_offset, std::uint64_t size) {
        granule_bind_op& op = add(GRANULE_BIND_MAP, va, size);
        op.bo = bo.get();
        op.bo_offset = bo_offset;
        return op;
    }
    granule_bind_op& map_sparse(std::uint64_t va, std::uint64_t size) { return add(GRANULE_BIND_MAP_SPARSE, va, size); }
    granule_bind_op& unmap(std::uint64_t va, std::uint64_t size, granule_cut_policy cut) {
        granule_bind_op& op = add(GRANULE_BIND_UNMAP, va, size);
        op.cut = static_cast<std::uint16_t>(cut);
        return op;
    }
    // Before the operation that is added next begins ...
    void wait(const granule_sync& sync) { pending_.push_back(sync); }
    // ... and after the last one, or at once with nothing but waits before it.
    void signal(const granule_sync& sync) {
        if (ops_.empty() || !pending_.empty()) {
            add(GRANULE_BIND_SYNC_ONLY, 0, 0);
        }
        signals_.push_back({ops_.size() - 1, sync});
    }
    void clear() noexcept {
        ops_.clear();
        waits_.clear();
        signals_.clear();
        pending_.clear();
    }
    [[nodiscard]] const std::vector<granule_bind_op>& ops() const noexcept { return ops_; }

private:
    friend class Vm;
    struct At {
        std::size_t op;
        granule_sync sync;
    };

    granule_bind_op& add(granule_bind_type type, std::uint64_t va, std::uint64_t size) {
        auto op = granule_sized<granule_bind_op>();
        op.type = type;
        op.va = va;
        op.size = size;
        ops_.push_back(op);
        for (const granule_sync& sync : pending_) {
            waits_.push_back({ops_.size() - 1, sync});
        }
        pending_.clear();
        return ops_.back();
    }

    // Puts the waits and signals where the operations point at them.
    void link() {
        if (!pending_.empty()) {
            add(GRANULE_BIND_SYNC_ONLY, 0, 0);
        }
        linked_.clear();
        linked_.reserve(waits_.size() + signals_.size());
        attach(waits_, &granule_bind_op::waits, &granule_bind_op::wait_count);
        attach(signals_, &granule_bind_op::signals, &granule_bind_op::signal_count);
    }
    // Both lists ascend by operation.
    void attach(const std::vector<At>& list, const granule_sync* granule_bind_op::*first,
                std::uint32_t granule_bind_op::*count) {
        for (granule_bind_op& op : ops_) {
            op.*count = 0;
        }
        for (const At& at : list) {
            linked_.push_back(at.sync);
            granule_bind_op& op = ops_[at.op];
            if (op.*count == 0) {
                op.*first = &linked_.back();
            }
            ++(op.*count);
        }
    }

    std::vector<granule_bind_op> ops_;
    std::vector<At> waits_;
    std::vector<At> signals_;
    std::vector<granule_sync> pending_;
    std::vector<granule_sync> linked_;
};

class Vm : public detail::Owner<granule_vm, &granule_vm_destroy> {
public:
    using Owner::Owner;

    Result<std::uint64_t> reserve_va(const granule_va_info& info) {
        return detail::filled(std::uint64_t{0}, [&](std::uint64_t* va, granule_error* error) {
            return granule_va_reserve(get(), &info, va, error);
        });
    }
    Result<Done> release_va(std::uint64_t va, std::uint64_t size, const std::vector<granule_sync>& fences = {}) {
        return detail::call([&](granule_error* error) {
            return granule_va_release(get(), va, size, fences.data(), static_cast<std::uint32_t>(fences.size()), error);
        });
    }
    Result<granule_bind_report> bind(Binds& binds, granule_bind_mode mode = GRANULE_BIND_IMMEDIATE) {
        binds.link();
        return detail::filled(granule_sized<granule_bind_report>(),
                              [&](granule_bind_report* report, granule_error* error) {
                                  return granule_vm_bind(get(), mode, binds.ops_.data(),
                                                         static_cast<std::uint32_t>(binds.ops_.size()), report, error);
                              });
    }
    // All of a BO where the library, or the kernel, finds room. Returns its VA.
    Result<std::uint64_t> map(const Bo& bo, std::uint32_t flags = 0) {
        auto op = granule_sized<granule_bind_op>();
        op.type = GRANULE_BIND_MAP;
        op.flags = flags;
        op.va = GRANULE_VA_AUTO;
        op.size = bo.size();
        op.bo = bo.get();
        return detail::filled(std::uint64_t{0}, [&](std::uint64_t* va, granule_error* error) {
            const granule_status status = granule_vm_bind(get(), GRANULE_BIND_IMMEDIATE, &op, 1, nullptr, error);
            *va = op.va;
            return status;
        });
    }
    Result<granule_bind_report> unmap(std::uint64_t va, std::uint64_t size, granule_cut_policy cut) {
        return detail::filled(granule_sized<granule_bind_report>(),
                              [&](granule_bind_report* report, granule_error* error) {
                                  return granule_vm_unmap(get(), va, size, cut, report, error);
                              });
    }
    Result<granule_plan> explain(const granule_bind_op& op) const {
        return detail::filled(granule_sized<granule_plan>(), [&](granule_plan* plan, granule_error* error) {
            return granule_vm_explain(get(), &op, plan, error);
        });
    }
    Result<Done> drain(std::uint64_t timeout_ns = GRANULE_WAIT_FOREVER) {
        return detail::call([&](granule_error* error) { return granule_vm_drain(get(), timeout_ns, error); });
    }
    Result<Done> check() {
        return detail::call([&](granule_error* error) { return granule_vm_check(get(), error); });
    }
    // The BO that `va` shows, and where: nothing is mapped, or a sparse mapping: an owner that holds nothing.
    Result<Bo> lookup(std::uint64_t va, std::uint64_t* bo_offset = nullptr) const {
        return detail::created<Bo, granule_bo>(
            [&](granule_bo** bo, granule_error*) { return granule_vm_lookup(get(), va, bo, bo_offset); });
    }
    Result<granule_rebuild_report> rebuild() {
        return detail::filled(granule_sized<granule_rebuild_report>(),
                              [&](granule_rebuild_report* report, granule_error* error) {
                                  return granule_vm_rebuild(get(), report, error);
                              });
    }
    [[nodiscard]] granule_address_report describe(std::uint64_t va) const noexcept {
        auto report = granule_sized<granule_address_report>();
        static_cast<void>(granule_vm_describe(get(), va, &report));
        return report;
    }
    // What is, or was, at `va`, in words.
    [[nodiscard]] std::string describe_text(std::uint64_t va) const {
        const granule_address_report report = describe(va);
        return detail::text_of(
            [&](char* text, std::size_t size) { return granule_address_report_text(&report, text, size); });
    }
    [[nodiscard]] granule_vm_statistics statistics() const noexcept {
        auto statistics = granule_sized<granule_vm_statistics>();
        static_cast<void>(granule_vm_get_statistics(get(), &statistics));
        return statistics;
    }
    [[nodiscard]] granule_vm_state state() const noexcept {
        auto state = granule_sized<granule_vm_state>();
        static_cast<void>(granule_vm_get_state(get(), &state));
        return state;
    }
    // The soft device's GPU reads, writes. OUT_OF_RANGE: it faulted.
    Result<Done> gpu_read(std::uint64_t va, void* to, std::size_t size, granule_gpu_fault* fault = nullptr) {
        return detail::plain(granule_soft_read(get(), va, to, size, fault));
    }
    Result<Done> gpu_write(std::uint64_t va, const void* from, std::size_t size, granule_gpu_fault* fault = nullptr) {
        return detail::plain(granule_soft_write(get(), va, from, size, fault));
    }
};

class BoCache : public detail::Owner<granule_bo_cache, &granule_bo_cache_destroy> {
public:
    using Owner::Owner;

    Result<granule_cached_bo> get_bo(const granule_cached_bo_info& info) {
        return detail::filled(granule_cached_bo{}, [&](granule_cached_bo* out, granule_error* error) {
            return granule_bo_cache_get(get(), &info, out, error);
        });
    }
    Result<Done> put(const granule_cached_bo& bo, const std::vector<granule_sync>& fences = {}) {
        return detail::plain(
            granule_bo_cache_put(get(), bo.bo, fences.data(), static_cast<std::uint32_t>(fences.size())));
    }
    std::uint64_t trim() noexcept { return granule_bo_cache_trim(get()); }
};

class Pool : public detail::Owner<granule_pool, &granule_pool_destroy> {
public:
    using Owner::Owner;

    Result<granule_buffer> alloc(std::uint64_t size, std::uint64_t alignment = 0) {
        return detail::filled(granule_buffer{}, [&](granule_buffer* buffer, granule_error* error) {
            return granule_pool_alloc(get(), size, alignment, buffer, error);
        });
    }
    Result<Done> free(const granule_buffer& buffer, const std::vector<granule_sync>& fences = {}) {
        return detail::plain(
            granule_pool_free(get(), &buffer, fences.data(), static_cast<std::uint32_t>(fences.size())));
    }
    std::uint64_t trim() noexcept { return granule_pool_trim(get()); }
};

namespace detail {
inline void close_device(granule_device* device) noexcept {
    granule_device_close(device);
}
}  // namespace detail

class Device : public detail::Owner<granule_device, &detail::close_device> {
public:
    using Owner::Owner;

    // The soft one.
    static Result<Device> open() { return open(granule_sized<granule_device_info>()); }
    static Result<Device> open(const granule_device_info& info) {
        return detail::created<Device, granule_device>(
            [&](granule_device** device, granule_error* error) { return granule_device_open(&info, device, error); });
    }
    // A render node.
    static Result<Device> open(const char* path) {
        auto info = granule_sized<granule_device_info>();
        info.path = path;
        return open(info);
    }

    [[nodiscard]] granule_device_properties properties() const noexcept {
        auto properties = granule_sized<granule_device_properties>();
        static_cast<void>(granule_device_get_properties(get(), &properties));
        return properties;
    }
    [[nodiscard]] granule_memory_usage memory_usage() const noexcept {
        auto usage = granule_sized<granule_memory_usage>();
        static_cast<void>(granule_device_get_memory_usage(get(), &usage));
        return usage;
    }
    Result<Vm> create_vm() { return create_vm(granule_sized<granule_vm_info>()); }
    Result<Vm> create_vm(const granule_vm_info& info) {
        return detail::created<Vm, granule_vm>(
            [&](granule_vm** vm, granule_error* error) { return granule_vm_create(get(), &info, vm, error); });
    }
    Result<Bo> create_bo(std::uint64_t size, const char* label = nullptr, std::uint32_t flags = 0) {
        auto info = granule_sized<granule_bo_info>();
        info.size = size;
        info.label = label;
        info.flags = flags;
        return create_bo(info);
    }
    Result<Bo> create_bo(const granule_bo_info& info) {
        return detail::created<Bo, granule_bo>(
            [&](granule_bo** bo, granule_error* error) { return granule_bo_create(get(), &info, bo, error); });
    }
    Result<Bo> import_bo(int fd) {
        return detail::created<Bo, granule_bo>(
            [&](granule_bo** bo, granule_error* error) { return granule_bo_import(get(), fd, bo, error); });
    }
    Result<Timeline> create_timeline() {
        return detail::created<Timeline, granule_timeline>([&](granule_timeline** timeline, granule_error* error) {
            return granule_timeline_create(get(), timeline, error);
        });
    }
    // For a timeline syncobj of the device's file, which stays the caller's.
    Result<Timeline> adopt_timeline(std::uint32_t syncobj) {
        return detail::created<Timeline, granule_timeline>([&](granule_timeline** timeline, granule_error* error) {
            return granule_timeline_from_syncobj(get(), syncobj, timeline, error);
        });
    }
    // `vm` may hold nothing; `info` may be nullptr.
    Result<BoCache> create_cache(const Vm& vm, const granule_bo_cache_info* info = nullptr) {
        return detail::created<BoCache, granule_bo_cache>([&](granule_bo_cache** cache, granule_error* error) {
            return granule_bo_cache_create(get(), vm.get(), info, cache, error);
        });
    }
    static Result<Pool> create_pool(const Vm& vm, const granule_pool_info* info = nullptr) {
        return detail::created<Pool, granule_pool>([&](granule_pool** pool, granule_error* error) {
            return granule_pool_create(vm.get(), info, pool, error);
        });
    }
};

}  // namespace v0
}  // namespace granule

#endif
