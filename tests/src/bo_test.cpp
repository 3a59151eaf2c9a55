#include "src/bo.hpp"

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

struct BoFixture {
    Owned<SoftDevice> device = make_device(device_config());
    BoTable& bos = device->bos();
    void release(BoId id) { bos.release(*bos.find(id), 1); }
};

TEST_CASE_FIXTURE(BoFixture, "the id of a BO that is gone is not found, also when its slot has another BO") {
    const BoId first = make_bo(*device, 1);
    CHECK(bos.find(first)->size == kPageBytes);
    CHECK(bos.find(first)->id == first);
    release(first);
    CHECK(bos.find(first) == nullptr);
    const BoId second = make_bo(*device, 1);
    CHECK(second != first);
    CHECK(bos.find(first) == nullptr);
    CHECK(bos.find(second) != nullptr);
    CHECK(bos.find(kNoBo) == nullptr);
    CHECK(bos.find(BoId{0xffff'ffff}) == nullptr);
}

TEST_CASE_FIXTURE(BoFixture, "a BO lives while a page of it is shown, and only pages inside it are") {
    using Shown = BoTable::Shown;
    const BoId id = make_bo(*device, 4 * kPageBytes);
    CHECK(bos.show(id, BoOffset{0}, 4) == Shown::kYes);
    CHECK(bos.show(id, BoOffset{3 * kPageBytes}, 1) == Shown::kYes);
    CHECK(bos.find(id)->mapped_pages() == 5);
    CHECK(bos.find(id)->references() == 6);
    CHECK(bos.show(id, BoOffset{0}, 5) == Shown::kOutsideBo);
    CHECK(bos.show(id, BoOffset{4 * kPageBytes}, 1) == Shown::kOutsideBo);
    CHECK(bos.show(id, BoOffset{~std::uint64_t{0} - kPageBytes + 1}, 2) == Shown::kOutsideBo);
    CHECK(bos.show(kNoBo, BoOffset{0}, 1) == Shown::kUnknownBo);
    bos.retain(*bos.find(id), 2);
    CHECK(bos.find(id)->mapped_pages() == 5);
    CHECK(bos.find(id)->references() == 8);
    bos.release(*bos.find(id), 3);
    CHECK(bos.find(id)->mapped_pages() == 5);
    bos.hide(id, 4);
    REQUIRE(bos.find(id) != nullptr);
    CHECK(bos.find(id)->mapped_pages() == 1);
    bos.hide(id, 1);
    CHECK(bos.find(id) == nullptr);
    CHECK(bos.live() == 0);
    CHECK(bos.show(id, BoOffset{0}, 1) == Shown::kUnknownBo);
}

TEST_CASE_FIXTURE(BoFixture,
                  "a BO that ends while another thread shows it is shown or is gone, and its successor is whole") {
    constexpr int kRounds = 5000;
    std::atomic<BoId> current = make_bo(*device, kPageBytes);
    std::atomic<bool> over = false;
    bool ok = true;
    std::thread shower([&] {
        while (!over.load(std::memory_order_relaxed)) {
            const BoId id = current.load(std::memory_order_acquire);
            if (bos.show(id, BoOffset{0}, 1) == BoTable::Shown::kYes) {
                ok = ok && bos.find(id) != nullptr && bos.find(id)->id == id;
                bos.hide(id, 1);
            }
        }
    });
    for (int round = 0; round < kRounds; ++round) {
        release(current.load(std::memory_order_relaxed));
        current.store(make_bo(*device, kPageBytes), std::memory_order_release);
    }
    over = true;
    shower.join();
    CHECK(ok);
    REQUIRE(bos.live() == 1);
    CHECK(bos.find(current)->references() == 1);
    CHECK(bos.find(current)->mapped_pages() == 0);
}

TEST_CASE_FIXTURE(BoFixture, "an id does not come again while there are others, and none is that of no BO") {
    const BoId kept = make_bo(*device, 1);
    std::set<BoId> ids{kept, kNoBo};
    // One BO at a time: the slot that it leaves is the next one's, until its 4096 generations are spent.
    for (int i = 0; i < 3 * 4096; ++i) {
        const BoId id = make_bo(*device, 1);
        REQUIRE(ids.insert(id).second);
        release(id);
    }
    CHECK(bos.find(kept)->id == kept);
}

// Refuses what is as large as a chunk of the table, once armed.
struct ChunksRefused {
    static void* allocate(void* context, std::size_t bytes, std::size_t alignment) noexcept {
        const NodeMemory process = NodeMemory::process();
        const bool refused = static_cast<ChunksRefused*>(context)->armed && bytes >= 16384;
        return refused ? nullptr : process.allocate(process.context, bytes, alignment);
    }
    static void release(void*, void* block, std::size_t bytes, std::size_t alignment) noexcept {
        const NodeMemory process = NodeMemory::process();
        process.release(process.context, block, bytes, alignment);
    }
    bool armed = false;
};

TEST_CASE("ids come again, those spent longest first, where there is no memory for further slots") {
    ChunksRefused chunks;
    SoftDeviceConfig config = device_config();
    config.nodes = {ChunksRefused::allocate, ChunksRefused::release, &chunks};
    const Owned<SoftDevice> device = make_device(config);
    BoTable& bos = device->bos();
    std::vector<BoId> kept;  // in all slots of the first chunk but two
    kept.reserve(1021);
    for (int i = 0; i < 1021; ++i) {
        kept.push_back(make_bo(*device, 1));
    }
    chunks.armed = true;
    const auto made_and_gone = [&] {
        const BoId id = make_bo(*device, 1);
        bos.release(*bos.find(id), 1);
        return id;
    };
    std::vector<BoId> ids;
    ids.reserve(2 * std::size_t{4096});
    for (int i = 0; i < 2 * 4096; ++i) {
        ids.push_back(made_and_gone());
    }
    CHECK(std::set<BoId>(ids.begin(), ids.end()).size() == ids.size());
    for (const BoId id : ids) {
        REQUIRE(made_and_gone() == id);
    }
    // With a BO in every slot there is no room for another one, and that changes nothing.
    kept.push_back(make_bo(*device, 1));
    kept.push_back(make_bo(*device, 1));
    const std::uint64_t used = device->memory().used();
    const Result<BoId, OsError> refused = device->create_bo(1);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().status == Status::kOutOfHostMemory);
    CHECK(bos.live() == 1023);
    CHECK(device->memory().used() == used);
    chunks.armed = false;
    CHECK(device->create_bo(1).has_value());
}

TEST_CASE_FIXTURE(BoFixture, "more BOs than fit one chunk of the table are all found, counted and visited") {
    std::vector<BoId> ids;
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < 2500; ++i) {
        ids.push_back(make_bo(*device, (1 + i % 3) * kPageBytes));
        bytes += (1 + i % 3) * kPageBytes;
    }
    CHECK(bos.live() == 2500);
    CHECK(bos.live_bytes() == bytes);
    for (const BoId id : ids) {
        REQUIRE(bos.find(id)->id == id);
    }
    std::uint64_t visited = 0;
    bos.for_each([&](const Bo&) { ++visited; });
    CHECK(visited == 2500);
    const std::uint64_t used = device->memory().used();
    CHECK(used == bytes);
    for (const BoId id : ids) {
        release(id);
    }
    CHECK(bos.live() == 0);
    CHECK(device->memory().used() == 0);
}

TEST_CASE("memory is huge folios, one run, or pages that never touch") {
    SoftDeviceConfig config = device_config();
    const auto runs_of = [&](BoMemory kind, std::uint64_t bytes) {
        config.bo_memory = kind;
        const Owned<SoftDevice> device = make_device(config);
        const Bo& bo = *device->bos().find(make_bo(*device, bytes));
        std::vector<Bo::Run> runs(bo.runs.begin(), bo.runs.end());
        std::uint64_t offset = 0;
        for (const Bo::Run& run : runs) {
            CHECK(run.offset == BoOffset{offset});
            offset += run.bytes;
        }
        CHECK(offset == bo.size);
        return runs;
    };
    const std::vector<Bo::Run> huge = runs_of(BoMemory::kHuge, 5 * kMiB);
    CHECK(huge.size() == 3);
    CHECK(huge[0].pa.is_aligned(2 * kMiB));
    CHECK(huge[1].pa.is_aligned(2 * kMiB));
    const std::vector<Bo::Run> contiguous = runs_of(BoMemory::kContiguous, kGiB + 0x1000);
    CHECK(contiguous.size() == 1);
    CHECK(contiguous[0].pa.is_aligned(kGiB));
    const std::vector<Bo::Run> scattered = runs_of(BoMemory::kScattered, 0x10000);
    CHECK(scattered.size() == 16);
    for (const Bo::Run& a : scattered) {
        for (const Bo::Run& b : scattered) {
            CHECK(a.pa + a.bytes != b.pa);
        }
    }
}

TEST_CASE("a BO begins as zeros, whoever had its memory before, and the CPU and the GPU see the same of it") {
    for (const BoMemory kind : kBoMemories) {
        SoftDeviceConfig config = device_config();
        config.bo_memory = kind;
        config.memory_bytes = 16 * kMiB;  // so that memory comes again
        const Owned<SoftDevice> device = make_device(config);
        Owned<Vm> vm = make_vm(*device);
        for (std::uint64_t round = 0; round < 4; ++round) {
            const BoId id = make_bo(*device, 4 * kMiB);
            Bo& bo = *device->bos().find(id);
            std::byte* const cpu = device->bos().map_cpu(bo).value();
            CHECK(std::all_of(cpu, cpu + 4 * kMiB, [](std::byte byte) { return byte == std::byte{0}; }));
            CHECK(device->bos().map_cpu(bo).value() == cpu);
            REQUIRE(vm->bind(map_request(range_at(kGiB, 4 * kMiB), id)).has_value());
            for (std::uint64_t at = 0; at < 4 * kMiB; at += 0x1000) {
                REQUIRE(gpu_write(*device, *vm, Va{kGiB + at}, ~at));
                std::uint64_t seen = 0;
                std::memcpy(&seen, cpu + at, sizeof(seen));
                REQUIRE(seen == ~at);
            }
            REQUIRE(vm->unmap(range_at(kGiB, 4 * kMiB), UnmapPolicy::kReject).has_value());
            device->bos().release(bo, 1);
        }
    }
}

TEST_CASE_FIXTURE(BoFixture, "a label has at most 4096 bytes, and a short one 48, both cut between characters") {
    const BoId id = make_bo(*device, 1);
    Bo& bo = *bos.find(id);
    const auto label = [&] {
        Array<char> out(NodeMemory::process());
        REQUIRE(bos.copy_label(bo, out));
        return std::string(out.begin(), out.end());
    };
    CHECK(label().empty());
    CHECK(bos.short_label(id).view().empty());
    CHECK(bos.short_label(kNoBo).view().empty());

    REQUIRE(bos.set_label(bo, "depth") == Status::kOk);
    CHECK(label() == "depth");
    REQUIRE(bos.set_label(bo, "") == Status::kOk);
    CHECK(label().empty());

    const std::string euro = "\xe2\x82\xac";  // three bytes
    std::string text = "x";
    while (text.size() < 5000) {
        text += euro;
    }
    REQUIRE(bos.set_label(bo, text) == Status::kOk);
    CHECK(label() == text.substr(0, 4096));  // 1 + 1365 * 3
    CHECK(bos.short_label(id).view() == text.substr(0, 46));
    REQUIRE(bos.set_label(bo, "yy" + text) == Status::kOk);
    CHECK(label() == ("yy" + text).substr(0, 4095));
    // What is no UTF-8 is kept as far as it goes.
    const std::string noise(5000, '\x80');
    REQUIRE(bos.set_label(bo, noise) == Status::kOk);
    CHECK(label().size() == 4096);
    CHECK(bos.short_label(id).view().size() == 48);
}

TEST_CASE("a prefix never ends inside a character of one to four bytes") {
    const std::string text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7z";  // 1 + 2 + 3 + 4 + 1
    constexpr std::array<std::size_t, 12> kExpected{0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    for (std::size_t most = 0; most < kExpected.size(); ++most) {
        CHECK(utf8_prefix(text, most) == kExpected[most]);
    }
    CHECK(utf8_prefix(text, 100) == text.size());
}

TEST_CASE_FIXTURE(BoFixture, "a BO is gone with its last reference, whichever that is") {
    const BoId id = make_bo(*device, kMiB);
    Bo& bo = *bos.find(id);
    bos.retain(bo, 10);
    bos.release(bo, 1);
    bos.release(bo, 9);
    CHECK(bos.find(id) == &bo);
    bos.release(bo, 1);
    CHECK(bos.find(id) == nullptr);
}

TEST_CASE_FIXTURE(BoFixture, "who has an id gets references while the BO lives, and nothing once it is gone") {
    const BoId id = make_bo(*device, kMiB);
    Bo& bo = *bos.find(id);
    CHECK(bos.retain_if_live(id, 10) == &bo);
    CHECK(bo.references() == 11);
    bos.release(bo, 1);
    CHECK(bos.retain_if_live(id, 1) == &bo);
    bos.release(bo, 11);
    CHECK(bos.retain_if_live(id, 1) == nullptr);
    const BoId next = make_bo(*device, kMiB);  // in the same slot
    CHECK(bos.retain_if_live(id, 1) == nullptr);
    CHECK(bos.find(next)->references() == 1);
    CHECK(bos.retain_if_live(kNoBo, 1) == nullptr);
    CHECK(bos.retain_if_live(BoId{0xffff'ffff}, 1) == nullptr);
}

}  // namespace
}  // namespace granule::test
