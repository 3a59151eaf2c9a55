// The fake kernel itself, held to what was measured on real ones: Linux 6.12.107, 6.16.12, 6.18.15 and 7.3.4 with
// panthor. (tests/kernel/ measures it again.) A few more than 500 lines: one program, and all that it can ask.
#include "tests/support/fake_drm.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/drm/panthor_uapi.hpp"
#include "tests/support/failing_drm_calls.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kBase = std::uint64_t{4} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::array kBehaviours{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                                 KernelBehaviour::kRealigns};

using Op = drm_panthor_vm_bind_op;

Op map_op(std::uint32_t handle, std::uint64_t va, std::uint64_t bytes, std::uint64_t offset = 0,
          std::uint32_t flags = 0) {
    Op op;
    op.flags = panthor::kOpMap | flags;
    op.bo_handle = handle;
    op.bo_offset = offset;
    op.va = va;
    op.size = bytes;
    return op;
}
Op unmap_op(std::uint64_t va, std::uint64_t bytes) {
    Op op;
    op.flags = panthor::kOpUnmap;
    op.va = va;
    op.size = bytes;
    return op;
}

// An open file with a VM and a BO of 8 MiB, and the ioctls as a program makes them.
struct Client {
    explicit Client(const FakeKernel& kernel) : drm(kernel) {
        REQUIRE(drm.open(FakeDrm::kPath, fd) == 0);
        drm_panthor_vm_create create;
        REQUIRE(drm.ioctl(fd, panthor::kVmCreate, &create) == 0);
        vm = create.id;
        bo = new_bo(8 * kMiB);
    }

    std::uint32_t new_bo(std::uint64_t bytes) {
        drm_panthor_bo_create create;
        create.size = bytes;
        REQUIRE(drm.ioctl(fd, panthor::kBoCreate, &create) == 0);
        return create.handle;
    }
    int bind(std::vector<Op> ops, std::uint32_t flags = 0, std::uint32_t stride = sizeof(Op)) {
        drm_panthor_vm_bind request;
        request.vm_id = vm;
        request.flags = flags;
        request.ops = {stride, static_cast<std::uint32_t>(ops.size() * sizeof(Op) / stride),
                       reinterpret_cast<std::uintptr_t>(ops.data())};
        const int error = drm.ioctl(fd, panthor::kVmBind, &request);
        count = request.ops.count;
        return error;
    }
    [[nodiscard]] bool shows(std::uint64_t va, std::uint64_t offset, LeafSize leaf) const {
        const FakePage page = drm.page(fd, vm, va);
        return page.mapped && page.offset == offset && page.leaf == leaf && page.object == drm.object_of(fd, bo);
    }
    [[nodiscard]] bool mapped(std::uint64_t va) const { return drm.page(fd, vm, va).mapped; }
    [[nodiscard]] std::uint64_t blocks() const {
        std::uint64_t blocks = 0;
        for (const FakeGpuVm::Leaf& leaf : drm.leaves(fd, vm)) {
            blocks += leaf.page.leaf == LeafSize::k2M ? 1U : 0U;
        }
        return blocks;
    }

    FakeDrm drm;
    int fd = -1;
    std::uint32_t vm = 0;
    std::uint32_t bo = 0;
    std::uint32_t count = 0;
};

TEST_CASE("fake kernel: blocks stand where memory and VA allow, and nowhere else") {
    Client huge(fake_panthor(KernelBehaviour::kSplits));
    REQUIRE(huge.bind({map_op(huge.bo, kBase + kMiB, 6 * kMiB, kMiB)}) == 0);
    CHECK(huge.shows(kBase + kMiB, kMiB, LeafSize::k4K));
    CHECK(huge.shows(kBase + 2 * kMiB + 0x5000, 2 * kMiB + 0x5000, LeafSize::k2M));
    CHECK(huge.blocks() == 2);
    CHECK(huge.shows(kBase + 6 * kMiB, 6 * kMiB, LeafSize::k4K));
    REQUIRE(huge.bind({map_op(huge.bo, kBase, 8 * kMiB - 0x1000, 0x1000)}) == 0);
    CHECK(huge.blocks() == 0);

    Client small(fake_panthor(KernelBehaviour::kSplits, FakeMemory::kSmall));
    REQUIRE(small.bind({map_op(small.bo, kBase, 8 * kMiB)}) == 0);
    CHECK(small.blocks() == 0);

    // Of two objects one has its blocks where VA and offset do not agree.
    Client lucky(fake_panthor(KernelBehaviour::kSplits, FakeMemory::kLucky));
    std::vector<std::uint64_t> found;
    for (const std::uint32_t bo : {lucky.bo, lucky.new_bo(8 * kMiB)}) {
        for (const std::uint64_t phase : {std::uint64_t{0}, std::uint64_t{0x7000}}) {
            REQUIRE(lucky.bind({unmap_op(kBase, 16 * kMiB), map_op(bo, kBase + phase, 8 * kMiB)}) == 0);
            found.push_back(lucky.blocks());
        }
    }
    CHECK((found == std::vector<std::uint64_t>{0, 3, 4, 0} || found == std::vector<std::uint64_t>{4, 0, 0, 3}));
}

TEST_CASE("fake kernel: 4 KiB unmapped inside a block, on each kernel as measured") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        CAPTURE(std::string(to_string(behaviour)));
        Client client(fake_panthor(behaviour));
        REQUIRE(client.bind({map_op(client.bo, kBase, 8 * kMiB)}) == 0);
        REQUIRE(client.blocks() == 4);
        const int error = client.bind({unmap_op(kBase + 9 * kMiB, kMiB), unmap_op(kBase + 3 * kMiB, 0x1000)});
        CHECK(client.drm.log().leaf_cuts == 1);
        if (behaviour == KernelBehaviour::kSplits || behaviour == KernelBehaviour::kRealigns) {
            CHECK(error == 0);
            CHECK_FALSE(client.mapped(kBase + 3 * kMiB));
            CHECK(client.shows(kBase + 3 * kMiB + 0x1000, 3 * kMiB + 0x1000, LeafSize::k4K));
            CHECK(client.blocks() == 3);
            CHECK(client.drm.quiet());
            CHECK(client.drm.disagreement(client.fd, client.vm).empty());
        } else {
            CHECK(error == EINVAL);
            CHECK(client.count == 1);
            CHECK(client.blocks() == 4);
            CHECK(client.drm.log().warnings.size() == 1);
            CHECK(client.drm.usable(client.fd, client.vm));
            // A map over it is refused in the same way.
            CHECK(client.bind({map_op(client.bo, kBase + 3 * kMiB, 0x1000)}) == EINVAL);
        }
    }
}

TEST_CASE("fake kernel: whole leaves unmapped inside one mapping: an oops on those that oops, blocks or pages") {
    for (const bool splits : {false, true}) {
        for (const std::uint64_t inside : {2 * kMiB, std::uint64_t{0x1000}}) {
            FakeKernel kernel =
                fake_panthor(KernelBehaviour::kOopses, inside == 0x1000 ? FakeMemory::kSmall : FakeMemory::kHuge);
            kernel.splits = splits;
            Client client(kernel);
            REQUIRE(client.bind({map_op(client.bo, kBase, 8 * kMiB)}) == 0);
            // A part on one side is fine, and so is a map in the middle.
            CHECK(client.bind({unmap_op(kBase, 2 * kMiB)}) == 0);
            CHECK(client.bind({map_op(client.bo, kBase + 4 * kMiB, inside, 4 * kMiB)}) == 0);
            REQUIRE_FALSE(client.drm.log().oopsed());
            CHECK(client.bind({map_op(client.bo, kBase, 8 * kMiB)}) == 0);
            CHECK(client.bind({unmap_op(kBase + 2 * kMiB, inside)}) == EFAULT);
            CHECK(client.drm.log().oopsed());
            // Nothing works any more.
            CHECK(client.bind({}) == EIO);
        }
    }
    for (const KernelBehaviour behaviour :
         {KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kRealigns}) {
        Client client(fake_panthor(behaviour));
        REQUIRE(client.bind({map_op(client.bo, kBase, 8 * kMiB)}) == 0);
        CHECK(client.bind({unmap_op(kBase + 2 * kMiB, 2 * kMiB)}) == 0);
        CHECK(client.blocks() == 3);
        CHECK(client.drm.quiet());
    }
}

TEST_CASE("fake kernel: a hole is made on every kernel by a map over itself, an unmap and two maps") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        CAPTURE(std::string(to_string(behaviour)));
        Client client(fake_panthor(behaviour));
        const std::uint64_t block = kBase + 2 * kMiB;
        REQUIRE(client.bind({map_op(client.bo, kBase, 8 * kMiB)}) == 0);
        CHECK(client.bind({map_op(client.bo, block, 2 * kMiB, 2 * kMiB), unmap_op(block, 2 * kMiB),
                           map_op(client.bo, block, kMiB, 2 * kMiB),
                           map_op(client.bo, block + kMiB + 0x1000, kMiB - 0x1000, 3 * kMiB + 0x1000)}) == 0);
        CHECK(client.blocks() == 3);
        CHECK(client.drm.leaves(client.fd, client.vm).size() == 3 + 511);
        CHECK_FALSE(client.mapped(kBase + 3 * kMiB));
        CHECK(client.drm.quiet());
        CHECK(client.drm.disagreement(client.fd, client.vm).empty());
    }
}

TEST_CASE("fake kernel: a realigning kernel loses the VM over a block of small folios, and oopses over an import") {
    Client lucky(fake_panthor(KernelBehaviour::kRealigns, FakeMemory::kLucky));
    // One of the two is where its blocks are.
    const std::uint32_t other = lucky.new_bo(8 * kMiB);
    REQUIRE(lucky.bind({map_op(lucky.bo, kBase, 8 * kMiB), map_op(other, kBase + 8 * kMiB, 8 * kMiB)}) == 0);
    REQUIRE(lucky.blocks() == 4);
    CHECK(lucky.bind({unmap_op(kBase + kMiB, 0x1000), unmap_op(kBase + 9 * kMiB, 0x1000)}) == 0);
    CHECK_FALSE(lucky.drm.usable(lucky.fd, lucky.vm));
    CHECK(lucky.drm.vms_lost() == 1);
    CHECK_FALSE(lucky.drm.quiet());

    Client client(fake_panthor(KernelBehaviour::kRealigns));
    const int dma_buf = client.drm.make_foreign_dma_buf(8 * kMiB);
    std::uint32_t imported = 0;
    REQUIRE(client.drm.import_handle(client.fd, dma_buf, imported) == 0);
    REQUIRE(client.bind({map_op(imported, kBase, 8 * kMiB)}) == 0);
    CHECK(client.bind({unmap_op(kBase + 2 * kMiB, 2 * kMiB)}) == 0);
    CHECK(client.bind({unmap_op(kBase + 4 * kMiB, 0x1000)}) == EFAULT);
    CHECK(client.drm.log().oopsed());
}

TEST_CASE("fake kernel: sparse mappings show one 2 MiB again and again, where the driver has them") {
    const Op sparse = map_op(0, kBase + kMiB, 5 * kMiB, 0, panthor::kOpSparse | panthor::kOpNoexec);
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    REQUIRE(client.bind({sparse}) == 0);
    CHECK(client.blocks() == 2);
    const FakePage page = client.drm.page(client.fd, client.vm, kBase + 3 * kMiB);
    CHECK(page.sparse);
    CHECK(page.offset == kMiB);
    CHECK(client.bind({unmap_op(kBase + 3 * kMiB, 0x1000)}) == 0);
    CHECK(client.drm.quiet());
    CHECK(client.drm.disagreement(client.fd, client.vm).empty());
    CHECK(client.bind({map_op(0, kBase, kMiB, 0, panthor::kOpSparse)}) == EINVAL);
    CHECK(client.bind({map_op(client.bo, kBase, kMiB, 0, panthor::kOpSparse | panthor::kOpNoexec)}) == EINVAL);
    Client older(fake_panthor(KernelBehaviour::kRefuses));
    CHECK(older.bind({sparse}) == EINVAL);
}

TEST_CASE("fake kernel: VM_BIND checks what it is given, and says at which operation it stopped") {
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    const Op good = map_op(client.bo, kBase, kMiB);
    Op with_syncs = good;
    with_syncs.syncs.count = 1;
    Op bad_type = good;
    bad_type.flags = panthor::kOpTypeMask;
    Op unmap_with_bo = unmap_op(kBase, 0x1000);
    unmap_with_bo.bo_handle = client.bo;
    Op sync_only;
    sync_only.flags = panthor::kOpSyncOnly;
    sync_only.size = 0x1000;
    for (const Op& bad :
         {map_op(client.bo, kBase + 1, 0x1000), map_op(client.bo, kBase, 0x800), map_op(client.bo, kBase, 0x1000, 0x10),
          map_op(client.bo, kBase, 9 * kMiB), map_op(client.bo, kBase, 4 * kMiB, 6 * kMiB),
          map_op(client.bo, kBase, 0x1000, UINT64_MAX - 0xfff), map_op(99, kBase, 0x1000),
          map_op(client.bo, kBase, 0x1000, 0, 1U << 10), map_op(client.bo, std::uint64_t{1} << 47, 0x1000),
          unmap_op(UINT64_MAX - 0xfff, 0x1000), with_syncs, bad_type, unmap_with_bo, sync_only}) {
        CHECK(client.bind({good, good, bad, good}) == EINVAL);
        CHECK(client.count == 2);
    }
    CHECK(client.bind({}) == 0);
    CHECK(client.bind({map_op(client.bo, kBase + 1, 0)}) == 0);  // size 0 is skipped before it is looked at
    CHECK(client.bind({unmap_op(0, std::uint64_t{1} << 47)}) == 0);
    CHECK(client.bind({good}, 0, sizeof(Op) - 8) == EINVAL);
    CHECK(client.bind({good, Op{}}, 0, 2 * sizeof(Op)) == 0);
    CHECK(client.bind({good, good}, 0, 2 * sizeof(Op)) == E2BIG);
    // Older kernels let user space bind up to the end of the VA.
    Client older(fake_panthor(KernelBehaviour::kSplits));
    CHECK(older.bind({map_op(older.bo, std::uint64_t{1} << 47, 0x1000)}) == 0);
    CHECK(older.bind({map_op(older.bo, std::uint64_t{1} << 48, 0x1000)}) == EINVAL);
}

TEST_CASE("fake kernel: VMs, BOs and handles have the limits and the numbers of the driver") {
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    const auto create_vm = [&](std::uint64_t range, std::uint32_t& id) {
        drm_panthor_vm_create create;
        create.user_va_range = range;
        const int error = client.drm.ioctl(client.fd, panthor::kVmCreate, &create);
        id = create.id;
        return error == 0 ? create.user_va_range : 0;
    };
    std::uint32_t id = 0;
    CHECK(create_vm(0, id) == std::uint64_t{1} << 47);
    CHECK(create_vm((std::uint64_t{1} << 47) + 0x1000, id) == 0xc000'0000'0000);
    CHECK(create_vm(kBase, id) == std::uint64_t{1} << 47);
    CHECK(create_vm((std::uint64_t{1} << 48) - 256 * kMiB, id) == 0xffff'f000'0000);
    CHECK(create_vm((std::uint64_t{1} << 48) - 256 * kMiB + 1, id) == 0);
    while (create_vm(0, id) != 0) {
    }
    CHECK(client.drm.census().vms == 32);
    drm_panthor_vm_destroy destroy{7, 0};
    CHECK(client.drm.ioctl(client.fd, panthor::kVmDestroy, &destroy) == 0);
    CHECK(client.drm.ioctl(client.fd, panthor::kVmDestroy, &destroy) == EINVAL);
    CHECK(create_vm(0, id) != 0);
    CHECK(id == 7);

    // The least free handle first; an object lives as long as somebody shows it.
    const std::uint32_t second = client.new_bo(0x1000);
    const std::uint32_t third = client.new_bo(5000);
    CHECK(second == client.bo + 1);
    CHECK(third == client.bo + 2);
    REQUIRE(client.bind({map_op(second, kBase, 0x1000)}) == 0);
    CHECK(client.drm.close_handle(client.fd, second) == 0);
    CHECK(client.drm.close_handle(client.fd, second) == EINVAL);
    CHECK(client.drm.census().objects == 3);
    CHECK(client.new_bo(0x1000) == second);
    drm_panthor_bo_create create;
    CHECK(client.drm.ioctl(client.fd, panthor::kBoCreate, &create) == EINVAL);
    create.size = 0x1000;
    create.flags = panthor::kBoNoMmap | panthor::kBoCached;
    CHECK(client.drm.ioctl(client.fd, panthor::kBoCreate, &create) == EINVAL);
    create.flags = 0;
    create.exclusive_vm_id = 2;
    REQUIRE(client.drm.ioctl(client.fd, panthor::kBoCreate, &create) == 0);
    CHECK(client.bind({map_op(create.handle, kBase, 0x1000)}) == EINVAL);
    int dma_buf = -1;
    CHECK(client.drm.export_handle(client.fd, create.handle, dma_buf) == EINVAL);

    client.drm.close(client.fd);
    CHECK(client.drm.census() == FakeDrmCensus{});
    CHECK(client.drm.forgotten().vms == 32);
    CHECK(client.drm.forgotten().handles == 4);
}

TEST_CASE("fake kernel: a dma-buf is one object and one handle a file; CPU views are of its memory") {
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    int dma_buf = -1;
    REQUIRE(client.drm.export_handle(client.fd, client.bo, dma_buf) == 0);
    std::uint32_t again = 0;
    CHECK(client.drm.import_handle(client.fd, dma_buf, again) == 0);
    CHECK(again == client.bo);
    std::uint64_t bytes = 0;
    CHECK(client.drm.dma_buf_bytes(dma_buf, bytes) == 0);
    CHECK(bytes == 8 * kMiB);
    int other_file = -1;
    REQUIRE(client.drm.open(FakeDrm::kPath, other_file) == 0);
    std::uint32_t there = 0;
    REQUIRE(client.drm.import_handle(other_file, dma_buf, there) == 0);
    CHECK(client.drm.object_of(other_file, there) == client.drm.object_of(client.fd, client.bo));

    const auto look = [&](int fd, std::uint32_t handle) {
        drm_panthor_bo_mmap_offset mmap{handle, 0, 0};
        REQUIRE(client.drm.ioctl(fd, panthor::kBoMmapOffset, &mmap) == 0);
        std::byte* at = nullptr;
        REQUIRE(client.drm.map(fd, mmap.offset, 8 * kMiB, 3, at) == 0);
        return at;
    };
    std::byte* const here = look(client.fd, client.bo);
    std::byte* const elsewhere = look(other_file, there);
    here[5 * kMiB] = std::byte{42};
    CHECK(elsewhere[5 * kMiB] == std::byte{42});
    CHECK(client.drm.census().cpu_maps == 2);
    client.drm.unmap(here, 8 * kMiB);
    client.drm.unmap(elsewhere, 8 * kMiB);
    client.drm.close(dma_buf);
    client.drm.close(other_file);
    CHECK(client.drm.census().fds == 1);
    CHECK(client.drm.quiet());
}

// An asynchronous bind whose operations wait and signal.
struct Queue : Client {
    explicit Queue(const FakeKernel& kernel) : Client(kernel) { REQUIRE(drm.syncobj_create(fd, false, syncobj) == 0); }
    int submit(Op op, std::uint64_t wait, std::uint64_t signal) {
        std::vector<drm_panthor_sync_op> syncs;
        if (wait != 0) {
            syncs.push_back({panthor::kSyncTimeline | panthor::kSyncWait, syncobj, wait});
        }
        if (signal != 0) {
            syncs.push_back({panthor::kSyncTimeline | panthor::kSyncSignal, syncobj, signal});
        }
        op.syncs = {sizeof(drm_panthor_sync_op), static_cast<std::uint32_t>(syncs.size()),
                    reinterpret_cast<std::uintptr_t>(syncs.data())};
        return bind({op}, panthor::kBindAsync);
    }
    int wait(std::uint64_t point, std::int64_t timeout = 0) const {
        return const_cast<FakeDrm&>(drm).syncobj_wait(fd, {&syncobj, 1}, {&point, 1}, timeout);
    }
    [[nodiscard]] std::uint64_t value() {
        std::uint64_t point = 0;
        CHECK(drm.syncobj_query(fd, syncobj, point) == 0);
        return point;
    }

    std::uint32_t syncobj = 0;
};

TEST_CASE("fake kernel: queued binds run in order behind their fences, and signal theirs") {
    Queue queue(fake_panthor(KernelBehaviour::kRealigns));
    // A wait for what nobody has promised is refused.
    CHECK(queue.submit(map_op(queue.bo, kBase, kMiB), 1, 2) == EINVAL);
    CHECK(queue.submit(map_op(queue.bo, kBase + 1, kMiB), 0, 1) == EINVAL);
    CHECK(queue.count == 1);
    queue.drm.hold_queues();
    REQUIRE(queue.submit(map_op(queue.bo, kBase, kMiB), 0, 1) == 0);
    REQUIRE(queue.submit(unmap_op(kBase, 0x1000), 1, 2) == 0);
    CHECK(queue.drm.queued(queue.fd, queue.vm) == 2);
    CHECK(queue.wait(1) == ETIME);
    CHECK_FALSE(queue.mapped(kBase));
    // What is synchronous does not wait.
    REQUIRE(queue.bind({map_op(queue.bo, kBase + 4 * kMiB, 0x1000)}) == 0);
    CHECK(queue.mapped(kBase + 4 * kMiB));
    std::thread waiter([&] { CHECK(queue.wait(2, INT64_MAX) == 0); });
    queue.drm.release_queues();
    waiter.join();
    CHECK(queue.value() == 2);
    CHECK_FALSE(queue.mapped(kBase));
    CHECK(queue.mapped(kBase + 0x1000));

    // Behind a fence of the CPU's.
    std::uint32_t other = 0;
    REQUIRE(queue.drm.syncobj_create(queue.fd, false, other) == 0);
    CHECK(queue.drm.syncobj_signal(queue.fd, queue.syncobj, 5) == 0);
    CHECK(queue.value() == 5);
    CHECK(queue.drm.syncobj_destroy(queue.fd, other) == 0);
    CHECK(queue.drm.quiet());
}

TEST_CASE("fake kernel: a queued bind that fails signals success, and the VM is unusable for good") {
    Queue queue(fake_panthor(KernelBehaviour::kRefuses));
    REQUIRE(queue.submit(map_op(queue.bo, kBase, 8 * kMiB), 0, 1) == 0);
    REQUIRE(queue.submit(unmap_op(kBase + kMiB, 0x1000), 0, 2) == 0);
    CHECK(queue.wait(2) == 0);
    drm_panthor_vm_get_state get{queue.vm, 0};
    REQUIRE(queue.drm.ioctl(queue.fd, panthor::kVmGetState, &get) == 0);
    CHECK(get.state == panthor::kVmUnusable);
    CHECK(queue.submit(unmap_op(kBase, 2 * kMiB), 0, 3) == EINVAL);
    CHECK(queue.bind({map_op(queue.bo, kBase + 16 * kMiB, 0x1000)}) == EINVAL);
    CHECK(queue.bind({unmap_op(kBase, 8 * kMiB)}) == 0);
    CHECK(queue.drm.vms_lost() == 1);

    Queue other(fake_panthor(KernelBehaviour::kRealigns));
    other.drm.fail_next_job(ENOMEM);
    REQUIRE(other.submit(map_op(other.bo, kBase, 8 * kMiB), 0, 1) == 0);
    CHECK(other.wait(1) == 0);
    CHECK_FALSE(other.drm.usable(other.fd, other.vm));
}

TEST_CASE("fake kernel: DEV_QUERY, labels, what a version has") {
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    drm_panthor_gpu_info gpu;
    drm_panthor_dev_query query{panthor::kQueryGpuInfo, 0, 0};
    CHECK(client.drm.ioctl(client.fd, panthor::kDevQuery, &query) == 0);
    CHECK(query.size == sizeof(gpu));
    query.pointer = reinterpret_cast<std::uintptr_t>(&gpu);
    CHECK(client.drm.ioctl(client.fd, panthor::kDevQuery, &query) == 0);
    CHECK((gpu.mmu_features & 0xff) == 48);
    query.size = panthor::kLeastGpuInfoBytes - 1;
    CHECK(client.drm.ioctl(client.fd, panthor::kDevQuery, &query) == EINVAL);

    const std::string longest(panthor::kMaxLabelBytes - 1, 'x');
    drm_panthor_bo_set_label set{client.bo, 0, reinterpret_cast<std::uintptr_t>(longest.c_str())};
    CHECK(client.drm.ioctl(client.fd, panthor::kBoSetLabel, &set) == 0);
    CHECK(client.drm.label_of(client.fd, client.bo) == longest);
    const std::string too_long = longest + "x";
    set.label = reinterpret_cast<std::uintptr_t>(too_long.c_str());
    CHECK(client.drm.ioctl(client.fd, panthor::kBoSetLabel, &set) == E2BIG);
    Client older(fake_panthor(KernelBehaviour::kSplits));
    set.handle = older.bo;
    CHECK(older.drm.ioctl(older.fd, panthor::kBoSetLabel, &set) == EINVAL);
    query = {panthor::kQueryMmuInfo, 0, 0};
    CHECK(older.drm.ioctl(older.fd, panthor::kDevQuery, &query) == EINVAL);
}

TEST_CASE("failing calls: the call that fails is not made, and an array fails at an operation after those before it") {
    Client client(fake_panthor(KernelBehaviour::kRealigns));
    FailingDrmCalls calls(client.drm, DrmDriver::kPanthor);
    std::uint32_t handle = 0;
    calls.fail_at(1, ENOMEM);
    CHECK(calls.syncobj_create(client.fd, false, handle) == 0);
    CHECK_FALSE(calls.failed());
    CHECK(calls.syncobj_create(client.fd, false, handle) == ENOMEM);
    CHECK(calls.failed_kind() == DrmCallKind::kSyncobjCreate);
    CHECK(client.drm.census().syncobjs == 1);
    CHECK(calls.syncobj_create(client.fd, false, handle) == 0);

    std::array ops{map_op(client.bo, kBase, 0x1000), map_op(client.bo, kBase + 0x1000, 0x1000),
                   map_op(client.bo, kBase + 0x2000, 0x1000)};
    const auto bind = [&](std::uint32_t& count) {
        drm_panthor_vm_bind request;
        request.vm_id = client.vm;
        request.ops = {sizeof(Op), ops.size(), reinterpret_cast<std::uintptr_t>(ops.data())};
        const int error = calls.ioctl_once(client.fd, panthor::kVmBind, &request);
        count = request.ops.count;
        return error;
    };
    std::uint32_t count = 0;
    calls.fail_bind_at(0, 2, EIO);
    CHECK(bind(count) == EIO);
    CHECK(count == 2);
    CHECK(client.mapped(kBase + 0x1000));
    CHECK_FALSE(client.mapped(kBase + 0x2000));
    calls.fail_bind_at(0, 3, EIO);
    CHECK(bind(count) == 0);
    CHECK_FALSE(calls.failed());
    calls.fail_kind(DrmCallKind::kVmBind, 1, EINVAL);
    CHECK(bind(count) == 0);
    CHECK(bind(count) == EINVAL);
    CHECK(count == 3);
    calls.fail_device();
    CHECK(bind(count) == ENODEV);
    CHECK(bind(count) == ENODEV);
    calls.stop();
    CHECK(bind(count) == 0);
    for (std::size_t i = 0; i + 1 < kDrmCallKinds; ++i) {
        CHECK_FALSE(possible_errors(static_cast<DrmCallKind>(i)).empty());
    }
}

}  // namespace
}  // namespace granule::test
