// What panthor's VM_BIND does, as the library relies on it: asked of the kernel itself, without the library.
//
// The cases are those of IGT's panthor_vm (validation, arrays, asynchronous chains), and what Linux
// include/uapi/drm/panthor_drm.h and drivers/gpu/drm/panthor/panthor_mmu.c say. None of them cuts a leaf: what kernels do
// then is proof_plain.cpp's.

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "tests/kernel/cases/expectations.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_probe.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kVa = 0x200000;
constexpr std::uint32_t kNoexec = panthor::kOpNoexec;
constexpr unsigned kVaBits = 48;

int bind_one(const RawPanthor& gpu, std::uint32_t vm, const drm_panthor_vm_bind_op& op) {
    return gpu.bind(vm, {&op, 1});
}

void vm_life(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t state = 99;
    expect.equal("a VM is created", gpu.create_vm(vm), 0);
    expect.equal("a fresh VM is usable", gpu.vm_state(vm, state) == 0 && state == panthor::kVmUsable, true);
    expect.equal("the state of a VM that there is not is refused", gpu.vm_state(1000, state), -EINVAL);
    expect.equal("a VM is destroyed", gpu.destroy_vm(vm), 0);
    expect.equal("a VM is not destroyed twice", gpu.destroy_vm(vm), -EINVAL);
    expect.equal("a VM over all 48 bits is refused", gpu.create_vm(vm, std::uint64_t{1} << 48), -EINVAL);
    std::vector<std::uint32_t> made;
    int result = 0;
    while (made.size() < 100 && result == 0) {
        result = gpu.create_vm(vm);
        if (result == 0) {
            made.push_back(vm);
        }
    }
    expect.equal("a file has at most 32 VMs", made.size() <= 32 && result == -EBUSY, true);
    for (const std::uint32_t each : made) {
        gpu.destroy_vm(each);
    }
}

void binds(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    expect.equal("a VM for binds", gpu.create_vm(vm), 0);
    expect.equal("a BO of 2 MiB", gpu.create_bo(2 * kMiB, bo), 0);
    expect.equal("a bind", bind_one(gpu, vm, map_op(bo, 0, kVa, kPage, kNoexec)), 0);
    expect.equal("an unbind", bind_one(gpu, vm, unmap_op(kVa, kPage)), 0);
    expect.equal("an unmap of holes is success", bind_one(gpu, vm, unmap_op(kVa, 16 * kMiB)), 0);
    expect.equal("VA 0 can be bound", bind_one(gpu, vm, map_op(bo, 0, 0, kPage, kNoexec)), 0);
    expect.equal("a synchronous map of size 0 is skipped", bind_one(gpu, vm, map_op(bo, 0, kVa, 0, kNoexec)), 0);
    expect.equal("an unmap with a handle is refused",
                 bind_one(gpu, vm,
                          [&] {
                              drm_panthor_vm_bind_op op = unmap_op(kVa, kPage);
                              op.bo_handle = bo;
                              return op;
                          }()),
                 -EINVAL);
    expect.equal("a map of a BO that there is not is refused", bind_one(gpu, vm, map_op(9999, 0, kVa, kPage, kNoexec)),
                 -EINVAL);
    expect.equal("a VM that there is not is refused", bind_one(gpu, 1000, map_op(bo, 0, kVa, kPage, kNoexec)), -EINVAL);
    expect.equal("a VA that is not in whole pages is refused",
                 bind_one(gpu, vm, map_op(bo, 0, kVa + 1, kPage, kNoexec)), -EINVAL);
    expect.equal("a size that is not in whole pages is refused",
                 bind_one(gpu, vm, map_op(bo, 0, kVa, kPage + 1, kNoexec)), -EINVAL);
    expect.equal(
        "a VA at the end of 64 bits is refused",
        bind_one(gpu, vm, map_op(bo, 0, std::numeric_limits<std::uint64_t>::max() - kPage + 1, kPage, kNoexec)),
        -EINVAL);
    expect.equal("more than the BO is refused", bind_one(gpu, vm, map_op(bo, 0, kVa, 3 * kMiB, kNoexec)), -EINVAL);
    expect.equal("an offset and size behind the BO's end are refused",
                 bind_one(gpu, vm, map_op(bo, kMiB, kVa, 2 * kMiB, kNoexec)), -EINVAL);
    expect.equal(
        "an offset and size that overflow are refused",
        bind_one(gpu, vm, map_op(bo, std::numeric_limits<std::uint64_t>::max() - kPage + 1, kVa, 2 * kPage, kNoexec)),
        -EINVAL);
    expect.equal("a type of operation that there is not is refused",
                 bind_one(gpu, vm,
                          [&] {
                              drm_panthor_vm_bind_op op = unmap_op(kVa, kPage);
                              op.flags = 7U << 28;
                              return op;
                          }()),
                 -EINVAL);
    std::uint32_t only = 0;
    std::uint32_t other = 0;
    expect.equal("a second VM", gpu.create_vm(other), 0);
    expect.equal("a BO of one VM", gpu.create_bo(2 * kMiB, only, 0, vm), 0);
    expect.equal("it is bound there", bind_one(gpu, vm, map_op(only, 0, 64 * kMiB, 2 * kMiB, kNoexec)), 0);
    expect.equal("and nowhere else", bind_one(gpu, other, map_op(only, 0, 64 * kMiB, 2 * kMiB, kNoexec)), -EINVAL);
    gpu.close_bo(only);
    gpu.destroy_vm(other);
    gpu.close_bo(bo);
    gpu.destroy_vm(vm);
}

void arrays(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    expect.equal("a VM for arrays", gpu.create_vm(vm), 0);
    expect.equal("a BO for arrays", gpu.create_bo(2 * kMiB, bo), 0);
    const auto raw = [&](std::uint32_t stride, std::uint32_t count, const void* array) {
        drm_panthor_vm_bind bind{};
        bind.vm_id = vm;
        bind.ops.stride = stride;
        bind.ops.count = count;
        bind.ops.array = reinterpret_cast<std::uintptr_t>(array);
        return gpu.call(panthor::kVmBind, &bind);
    };
    struct Long {
        drm_panthor_vm_bind_op op;
        std::uint64_t tail = 0;
    };
    Long longer{map_op(bo, 0, kVa, kPage, kNoexec), 0};
    expect.equal("an empty array is success", raw(sizeof(drm_panthor_vm_bind_op), 0, nullptr), 0);
    expect.equal("a stride shorter than an operation is refused", raw(16, 1, &longer), -EINVAL);
    expect.equal("a longer stride with zeroes behind is taken", raw(sizeof(Long), 1, &longer), 0);
    longer.tail = 1;
    expect.equal("a longer stride with something behind is refused", raw(sizeof(Long), 1, &longer), -E2BIG);
    expect.equal("an array that is not there is refused",
                 // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that nothing is at
                 raw(sizeof(drm_panthor_vm_bind_op), 1, reinterpret_cast<const void*>(std::uintptr_t{8})), -EFAULT);

    // Of many, the failing one is named, and those before it are done.
    std::vector<drm_panthor_vm_bind_op> ops;
    ops.reserve(512);
    for (std::uint64_t i = 0; i < 512; ++i) {
        ops.push_back(map_op(bo, i % 512 * kPage, kVa + i * kPage, kPage, kNoexec));
    }
    expect.equal("512 operations in one array", gpu.bind(vm, ops), 0);
    const Kcore kcore;
    TableProbe probe;
    const Pa root = probe.root_touched_by(
        kcore, [&] { expect.equal("they are unmapped", bind_one(gpu, vm, unmap_op(kVa, 2 * kMiB)), 0); });
    const auto pages_mapped = [&](VaRange range) {
        std::uint64_t pages = 0;
        KernelTables::read(kcore, mali::Format::kAarch64_4k, kVaBits, root).visit(range, [&](const KernelLeaf& leaf) {
            pages += leaf.range().intersection(range).size() / kPage;
        });
        return pages;
    };
    constexpr VaRange kAll{Va{kVa}, Va{kVa + 2 * kMiB}};
    constexpr Va kBad{kVa + 300 * kPage};
    expect.equal("all of them", pages_mapped(kAll), std::uint64_t{0});
    ops[300] = map_op(9999, 0, kBad.raw(), kPage, kNoexec);
    std::uint32_t done = 0;
    expect.equal("an array with a bad operation fails", gpu.bind(vm, ops, false, &done), -EINVAL);
    expect.equal("and says which one", done, std::uint32_t{300});
    expect.equal("those before it are done", pages_mapped({kAll.start, kBad}), std::uint64_t{300});
    expect.equal("and none of the others", pages_mapped({kBad, kAll.end}), std::uint64_t{0});

    std::uint32_t syncobj = 0;
    expect.equal("a syncobj", gpu.create_syncobj(syncobj), 0);
    const drm_panthor_sync_op signal = then_signal(syncobj, 1);
    expect.equal("a synchronous operation with fences is refused",
                 bind_one(gpu, vm, with_syncs(unmap_op(kVa, kPage), {&signal, 1})), -EINVAL);
    gpu.destroy_syncobj(syncobj);
    gpu.close_bo(bo);
    gpu.destroy_vm(vm);
}

void queued(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    std::uint32_t syncobj = 0;
    expect.equal("a VM for queued binds", gpu.create_vm(vm), 0);
    expect.equal("a BO for queued binds", gpu.create_bo(2 * kMiB, bo), 0);
    expect.equal("a syncobj for queued binds", gpu.create_syncobj(syncobj), 0);

    for (const std::uint64_t wrong : {std::uint64_t{1}, kPage - 1}) {
        const drm_panthor_vm_bind_op op = map_op(bo, 0, kVa + wrong, kPage, kNoexec);
        expect.equal("a queued operation is checked before it is queued", gpu.bind(vm, {&op, 1}, true), -EINVAL);
    }

    // map -> unmap -> map: each waits for the one before, in one array, in order.
    const std::array<drm_panthor_sync_op, 1> first{then_signal(syncobj, 1)};
    const std::array<drm_panthor_sync_op, 2> second{wait_for(syncobj, 1), then_signal(syncobj, 2)};
    const std::array<drm_panthor_sync_op, 2> third{wait_for(syncobj, 2), then_signal(syncobj, 3)};
    const std::array<drm_panthor_vm_bind_op, 3> chain{with_syncs(map_op(bo, 0, kVa, 2 * kMiB, kNoexec), first),
                                                      with_syncs(unmap_op(kVa, 2 * kMiB), second),
                                                      with_syncs(map_op(bo, 0, kVa, 2 * kMiB, kNoexec), third)};
    expect.equal("a chain of queued operations", gpu.bind(vm, chain, true), 0);
    expect.equal("and its end", gpu.wait(syncobj, 3, 5000), 0);

    bool all = true;
    for (std::uint64_t i = 0; i < 64; ++i) {
        const drm_panthor_sync_op each = then_signal(syncobj, 4 + i);
        const drm_panthor_vm_bind_op op =
            with_syncs(map_op(bo, 0, 64 * kMiB + i * 2 * kMiB, 2 * kMiB, kNoexec), {&each, 1});
        all = all && gpu.bind(vm, {&op, 1}, true) == 0;
    }
    expect.equal("64 queued operations, one each", all, true);
    expect.equal("complete", gpu.wait(syncobj, 67, 5000), 0);

    // Nothing but fences.
    drm_panthor_vm_bind_op only_sync{};
    only_sync.flags = panthor::kOpSyncOnly;
    const drm_panthor_sync_op last = then_signal(syncobj, 68);
    expect.equal(
        "an operation of nothing but fences",
        [&] {
            const drm_panthor_vm_bind_op op = with_syncs(only_sync, {&last, 1});
            return gpu.bind(vm, {&op, 1}, true);
        }(),
        0);
    expect.equal("signals", gpu.wait(syncobj, 68, 5000), 0);
    expect.equal("without fences it is refused", gpu.bind(vm, {&only_sync, 1}, true), -EINVAL);

    const drm_panthor_sync_op unknown = wait_for(12345, 1);
    expect.equal(
        "a wait for a syncobj that there is not is refused",
        [&] {
            const drm_panthor_vm_bind_op op = with_syncs(unmap_op(kVa, kPage), {&unknown, 1});
            return gpu.bind(vm, {&op, 1}, true);
        }(),
        -ENOENT);
    const auto queue_one = [&](const drm_panthor_vm_bind_op& op) { return gpu.bind(vm, {&op, 1}, true); };
    std::uint32_t empty = 0;
    expect.equal("a syncobj without a fence", gpu.create_syncobj(empty), 0);
    const drm_panthor_sync_op never = wait_for(empty, 0);
    expect.equal("is not waited for", queue_one(with_syncs(unmap_op(kVa, kPage), {&never, 1})), -EINVAL);
    drm_panthor_sync_op valued = wait_for(syncobj, 0);
    valued.timeline_value = 7;
    expect.equal("a binary syncobj has no value", queue_one(with_syncs(unmap_op(kVa, kPage), {&valued, 1})), -EINVAL);
    drm_panthor_vm_bind_op sync_with_va = with_syncs(only_sync, {&last, 1});
    sync_with_va.va = kVa;
    sync_with_va.size = kPage;
    expect.equal("an operation of nothing but fences has no VA", queue_one(sync_with_va), -EINVAL);
    gpu.destroy_syncobj(empty);
    gpu.destroy_syncobj(syncobj);
    gpu.close_bo(bo);
    gpu.destroy_vm(vm);
}

// MAP_SPARSE: panthor 1.9, and 7.2 while it says 1.8.
void sparse(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    expect.equal("a VM for sparse maps", gpu.create_vm(vm), 0);
    expect.equal("a BO that sparse maps do not want", gpu.create_bo(2 * kMiB, bo), 0);
    constexpr std::uint32_t kSparse = panthor::kOpSparse | kNoexec;
    if (bind_one(gpu, vm, map_op(0, 0, kVa, 16 * kMiB, kSparse)) == 0) {
        expect.equal("a sparse map without NOEXEC is refused",
                     bind_one(gpu, vm, map_op(0, 0, kVa, kMiB, panthor::kOpSparse)), -EINVAL);
        expect.equal("a sparse map of a BO is refused", bind_one(gpu, vm, map_op(bo, 0, kVa, kMiB, kSparse)), -EINVAL);
        expect.equal("a sparse map with an offset is refused", bind_one(gpu, vm, map_op(0, kPage, kVa, kMiB, kSparse)),
                     -EINVAL);
        expect.equal("a sparse unmap is refused",
                     bind_one(gpu, vm,
                              [] {
                                  drm_panthor_vm_bind_op op = unmap_op(kVa, kMiB);
                                  op.flags |= panthor::kOpSparse;
                                  return op;
                              }()),
                     -EINVAL);
        expect.equal("a part of a sparse map is unmapped", bind_one(gpu, vm, unmap_op(kVa + kMiB, kPage)), 0);
        expect.equal("and all of it", bind_one(gpu, vm, unmap_op(kVa, 16 * kMiB)), 0);
    }
    gpu.close_bo(bo);
    gpu.destroy_vm(vm);
}

// A queued operation that fails when its turn comes: a VA behind the end of all addresses, which kernels before 7.2 find out
// only then (newer ones refuse it at once). The VM is lost for good, and the fence does not tell.
void failing_queued(const RawPanthor& gpu, Expectations& expect) {
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    std::uint32_t syncobj = 0;
    expect.equal("a VM to lose", gpu.create_vm(vm), 0);
    expect.equal("its BO", gpu.create_bo(2 * kMiB, bo), 0);
    expect.equal("its syncobj", gpu.create_syncobj(syncobj), 0);
    expect.equal("a mapping in it", bind_one(gpu, vm, map_op(bo, 0, kVa, 2 * kMiB, kNoexec)), 0);
    const drm_panthor_sync_op signal = then_signal(syncobj, 1);
    const drm_panthor_vm_bind_op behind =
        with_syncs(map_op(bo, 0, std::uint64_t{1} << 48U, 2 * kMiB, kNoexec), {&signal, 1});
    const int queued = gpu.bind(vm, {&behind, 1}, true);
    expect.holds("a queued map behind all addresses is refused, now or later", queued == 0 || queued == -EINVAL);
    if (queued == 0) {
        std::uint32_t state = 0;
        expect.equal("its fence signals", gpu.wait(syncobj, 1, 5000), 0);
        expect.holds("and the VM is lost", gpu.vm_state(vm, state) == 0 && state == panthor::kVmUnusable);
        const drm_panthor_sync_op next = then_signal(syncobj, 2);
        const drm_panthor_vm_bind_op more = with_syncs(map_op(bo, 0, 16 * kMiB, 2 * kMiB, kNoexec), {&next, 1});
        expect.equal("a lost VM takes nothing into its queue", gpu.bind(vm, {&more, 1}, true), -EINVAL);
        expect.equal("and no map", bind_one(gpu, vm, map_op(bo, 0, 16 * kMiB, 2 * kMiB, kNoexec)), -EINVAL);
        expect.equal("but an unmap", bind_one(gpu, vm, unmap_op(kVa, 2 * kMiB)), 0);
    }
    gpu.destroy_syncobj(syncobj);
    gpu.close_bo(bo);
    expect.equal("it is destroyed as any other", gpu.destroy_vm(vm), 0);
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    using namespace granule::kernel_test;
    Expectations expect("VM_BIND");
    const RawPanthor gpu;
    if (gpu.fd() < 0) {
        return expect.give_up(std::string("cannot open ") + kRenderNode + ": " + std::strerror(errno));
    }
    vm_life(gpu, expect);
    binds(gpu, expect);
    try {
        arrays(gpu, expect);
    } catch (const ProbeError& error) {
        expect.holds("the kernel's tables can be read", false, error.what());
    }
    queued(gpu, expect);
    sparse(gpu, expect);
    failing_queued(gpu, expect);
    return expect.finish();
}
