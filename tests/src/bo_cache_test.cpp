#include "src/bo_cache.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/src/bo_cache_fixture.hpp"

namespace granule::test {
namespace {

TEST_CASE_FIXTURE(BoCacheFixture, "a BO that was put is handed out again, where it was, and no call is made for it") {
    const CachedBo first = get(64 * kKiB);
    CHECK_FALSE(first.reused);
    CHECK(first.va.size() == 64 * kKiB);
    CHECK(translates(*device, *vm, first.va.start));
    put(first);
    CHECK(first.bo->cached);
    CHECK(translates(*device, *vm, first.va.start));
    const std::uint64_t binds = vm->statistics().binds;
    const CachedBo again = get(64 * kKiB);
    CHECK(again.reused);
    CHECK(again.id == first.id);
    CHECK(again.va == first.va);
    CHECK_FALSE(again.bo->cached);
    CHECK(vm->statistics().binds == binds);
    CHECK(statistics().hits == 1);
    CHECK(statistics().hits_without_calls == 1);
    CHECK(statistics().misses == 1);
    put(again);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO keeps its CPU view while it is cached, and what was in it") {
    BoCacheRequest request = cache_request(12 * kKiB);
    request.cpu_view = true;
    const CachedBo first = get(request);
    REQUIRE(first.cpu != nullptr);
    std::memset(first.cpu, 0x5A, first.bo->size);
    put(first);
    const CachedBo again = get(12 * kKiB);  // without asking for a view
    CHECK(again.cpu == first.cpu);
    CHECK(again.cpu[100] == std::byte{0x5A});
    put(again);
    request.zeroed = true;
    const CachedBo zeroed = get(request);
    CHECK(zeroed.reused);
    CHECK(std::all_of(zeroed.cpu, zeroed.cpu + zeroed.bo->size, [](std::byte byte) { return byte == std::byte{0}; }));
    put(zeroed);
}

TEST_CASE_FIXTURE(BoCacheFixture, "zeroes that the CPU cannot write are those of a new BO") {
    BoCacheRequest request = cache_request(kMiB);
    request.bo.cpu_visible = false;
    put(get(request));
    request.zeroed = true;
    const CachedBo zeroed = get(request);
    CHECK_FALSE(zeroed.reused);
    put(zeroed);
    request.zeroed = false;
    CHECK(get(request).reused);
}

TEST_CASE_FIXTURE(BoCacheFixture, "what differs in anything but the size class does not stand in") {
    const BoCacheRequest plain = cache_request(256 * kKiB);
    std::vector<BoCacheRequest> others(8, plain);
    others[0].bo.cpu_visible = false;
    others[1].bo.executable = true;
    others[2].bo.shareable = true;
    others[3].flags.readonly = true;
    others[4].flags.noexec = true;
    others[5].va.zone = VaZone::kLow;
    others[6].va.alignment = 2 * kMiB;
    others[7].bo.bytes = 256 * kKiB + 1;
    put(get(plain));
    for (std::size_t i = 0; i < others.size(); ++i) {
        CAPTURE(i);
        const CachedBo other = get(others[i]);
        CHECK_FALSE(other.reused);
        CHECK(other.va.start.raw() % (i == 6 ? 2 * kMiB : 64 * kKiB) == 0);
        CHECK((other.va.end.raw() <= (std::uint64_t{4} << 30)) == (i == 5));
        put(other);
    }
    for (const BoCacheRequest& other : others) {
        CHECK(get(other).reused);
    }
    BoCacheRequest marked = plain;
    marked.bo.made_by = 7;  // a mark is not a difference
    CHECK(get(marked).reused);
    CHECK(statistics().usage.live.bos == others.size() + 1);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO has its class's size, and any size of the class finds it") {
    const CachedBo bo = get(17 * kPageBytes);
    CHECK(bo.bo->size == 18 * kPageBytes);
    CHECK(statistics().usage.asked_bytes == 17 * kPageBytes);
    put(bo);
    const CachedBo same = get(18 * kPageBytes);
    CHECK(same.id == bo.id);
    CHECK(statistics().usage.asked_bytes == 18 * kPageBytes);
    CHECK_FALSE(get(19 * kPageBytes).reused);
    CHECK_FALSE(get(16 * kPageBytes).reused);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO above the largest is made to measure, and ends when it is put") {
    BoCacheConfig config = patient();
    config.largest_bo_bytes = kMiB;
    remake(config);
    const CachedBo large = get(kMiB + 5 * kPageBytes);
    CHECK(large.bo->size == kMiB + 5 * kPageBytes);
    put(large);
    CHECK_FALSE(alive(large.id));
    CHECK(vm->statistics().mappings == 0);
    CHECK(statistics().large == 1);
    CHECK(statistics().ended_by(Reason::kLarge) == 1);
    const CachedBo kept = get(kMiB);
    put(kept);
    CHECK(alive(kept.id));
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO behind fences is handed out once all of them have signalled, and not before") {
    const CachedBo bo = get(kMiB);
    put_behind(bo, {timelines[0]->at(5), timelines[1]->at(2), timelines[0]->at(3)});
    CHECK(statistics().usage.waiting.bos == 1);
    timelines[0]->signal(4);
    timelines[1]->signal(9);
    const CachedBo other = get(kMiB);
    CHECK(other.id != bo.id);
    timelines[0]->signal(5);
    const CachedBo again = get(kMiB);
    CHECK(again.id == bo.id);
    CHECK(statistics().hits == 1);
    CHECK(statistics().hits_without_calls == 0);  // the timelines were asked
}

TEST_CASE_FIXTURE(BoCacheFixture, "timelines are asked only where nothing of that kind is idle") {
    const std::vector<CachedBo> bos{get(kMiB), get(kMiB), get(kMiB), get(kMiB)};
    std::uint64_t point = 0;
    for (const CachedBo& bo : bos) {
        put_behind(bo, {timelines[0]->at(++point)});
    }
    timelines[0]->signal(3);
    for (int i = 0; i < 3; ++i) {
        CHECK(get(kMiB).reused);
    }
    CHECK(statistics().hits == 3);
    CHECK(statistics().hits_without_calls == 2);
    CHECK_FALSE(get(kMiB).reused);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a timeline that is gone counts as signalled") {
    const CachedBo bo = get(kMiB);
    put_behind(bo, {timelines[3]->at(1)});
    timelines[3] = {};
    CHECK(get(kMiB).id == bo.id);
}

TEST_CASE_FIXTURE(BoCacheFixture, "more timelines than a BO can wait for are fewer once some have signalled") {
    const CachedBo bo = get(kMiB);
    std::vector<FencePoint> fences;
    for (std::size_t i = 0; i <= kMaxFencePoints; ++i) {
        fences.push_back(timelines[i]->at(1));
    }
    CHECK(cache->put(bo.id, fences) == Status::kBadArgument);
    CHECK(statistics().usage.live.bos == 1);
    timelines[2]->signal(1);
    put_behind(bo, fences);
    for (const Owned<Timeline>& timeline : timelines) {
        CHECK(statistics().usage.waiting.bos == 1);
        timeline->signal(1);
    }
    CHECK(get(kMiB).id == bo.id);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a put of what is not handed out is refused, and so are fences that never were") {
    const CachedBo bo = get(kMiB);
    const FencePoint never{TimelineId{999}, 1};
    CHECK(cache->put(bo.id, {&never, 1}) == Status::kBadArgument);
    CHECK(cache->put(bo.id, {}, BoBusy::kAsKernelKnows) == Status::kNotSupported);
    CHECK(cache->put(kNoBo) == Status::kUnknownBo);
    CHECK(cache->put(BoId{12345}) == Status::kUnknownBo);
    const BoId stranger = make_bo(*device, kMiB);
    CHECK(cache->put(stranger) == Status::kUnknownBo);
    device->bos().release(*device->bos().find(stranger), 1);
    CHECK(statistics().usage.live.bos == 1);
    put(bo);
    CHECK(cache->put(bo.id) == Status::kUnknownBo);  // twice
    CHECK(statistics().usage.idle.bos == 1);
}

TEST_CASE_FIXTURE(BoCacheFixture, "what is asked for with no size, or more than an address space, is refused") {
    for (const std::uint64_t bytes : {std::uint64_t{0}, kMaxVaEnd + 1, ~std::uint64_t{0}}) {
        const Result<CachedBo, OsError> bo = cache->acquire(cache_request(bytes));
        REQUIRE_FALSE(bo.has_value());
        CHECK(bo.error().status == Status::kBadArgument);
    }
    BoCacheConfig config;
    config.max_bytes = 0;
    CHECK(BoCache::create(*device, vm.get(), config, NodeMemory::process()).error() == Status::kBadArgument);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO that was exported, or that others hold or show, is not kept") {
    BoCacheRequest shareable = cache_request(kMiB);
    shareable.bo.shareable = true;
    const CachedBo exported = get(shareable);
    const CachedBo held = get(kMiB);
    const CachedBo shown = get(kMiB);
    const Result<int, OsError> file = device->export_bo(*exported.bo);
    REQUIRE(file.has_value());
    device->bos().retain(*held.bo, 1);
    REQUIRE(vm->bind(map_request(range_at(kGiB, kMiB), shown.id)).has_value());
    for (const CachedBo& bo : {exported, held, shown}) {
        put(bo);
        CHECK_FALSE(vm->address(bo.va.start).mapping.has_value());
        CHECK_FALSE(vm->address(bo.va.start).reserved.has_value());
    }
    CHECK(statistics().usage.cached_bytes() == 0);
    CHECK(statistics().ended_by(Reason::kShared) == 3);
    CHECK_FALSE(alive(exported.id));
    CHECK(alive(held.id));
    CHECK_FALSE(held.bo->cached);
    CHECK(alive(shown.id));
    CHECK(translates(*device, *vm, Va{kGiB}));
    device->bos().release(*held.bo, 1);
    REQUIRE(vm->unmap(range_at(kGiB, kMiB), UnmapPolicy::kReject).has_value());
    CHECK(device->bos().live() == 0);
    ::close(*file);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a cached BO that somebody got hold of by its id is not handed out") {
    const CachedBo bo = get(kMiB);
    put(bo);
    REQUIRE(device->bos().retain_if_live(bo.id, 1) != nullptr);
    CHECK_FALSE(get(kMiB).reused);
    CHECK(statistics().ended_by(Reason::kShared) == 1);
    device->bos().release(*bo.bo, 1);
}

TEST_CASE_FIXTURE(BoCacheFixture, "a BO keeps its label while it is cached, and is called what it is acquired as") {
    BoCacheRequest request = cache_request(kMiB);
    request.label = "vertices";
    const CachedBo bo = get(request);
    CHECK(device->bos().short_label(bo.id).view() == "vertices");
    put(bo);
    CHECK(vm->address(bo.va.start).label.view() == "vertices");
    CHECK(bo.bo->cached);
    CHECK(vm->address(bo.va.start).cached);  // P6: who uses it now, uses what it gave back
    CHECK(get(request).id == bo.id);
    CHECK(statistics().hits_without_calls == 1);
    put(bo);
    request.label = "indices";
    CHECK(get(request).id == bo.id);
    CHECK(device->bos().short_label(bo.id).view() == "indices");
    CHECK_FALSE(vm->address(bo.va.start).cached);
    CHECK(statistics().hits_without_calls == 1);
    put(bo);
    CHECK(get(kMiB).id == bo.id);
    CHECK(device->bos().short_label(bo.id).view() == "indices");
    put(bo);
    request.label = "";
    CHECK(get(request).id == bo.id);
    CHECK(device->bos().short_label(bo.id).view().empty());
}

TEST_CASE_FIXTURE(BoCacheFixture,
                  "without a VM BOs are plain, and stand in for each other however they would be mapped") {
    Owned<BoCache> plain = make_cache(*device, nullptr, patient());
    BoCacheRequest request = cache_request(kMiB);
    const Result<CachedBo, OsError> bo = plain->acquire(request);
    REQUIRE(bo.has_value());
    CHECK(bo->va.empty());
    CHECK(vm->statistics().mappings == 0);
    // Its user maps it, and unmaps it before it is put: else it is not ours alone.
    REQUIRE(vm->bind(map_request(range_at(kGiB, kMiB), bo->id)).has_value());
    REQUIRE(vm->unmap(range_at(kGiB, kMiB), UnmapPolicy::kReject).has_value());
    CHECK(plain->put(bo->id) == Status::kOk);
    request.flags.readonly = true;
    request.va.zone = VaZone::kLow;
    const Result<CachedBo, OsError> again = plain->acquire(request);
    REQUIRE(again.has_value());
    CHECK(again->id == bo->id);
    CHECK(plain->put(again->id) == Status::kOk);
    CHECK(plain->validate());
}

TEST_CASE_FIXTURE(BoCacheFixture, "P5: the VA of what was busy when the cache ended comes back with its fences") {
    const CachedBo bo = get(kMiB);
    put_behind(bo, {timelines[0]->at(2)});
    timelines[0]->signal(1);
    remake(patient());
    CHECK_FALSE(alive(bo.id));
    const AddressReport report = vm->address(bo.va.start);
    CHECK_FALSE(report.mapping.has_value());
    CHECK(report.retired);
    CHECK(vm->reserve_va_at(bo.va).error().code == VaError::Code::kOccupied);
    timelines[0]->signal(2);
    CHECK(vm->reserve_va_at(bo.va).has_value());
}

TEST_CASE_FIXTURE(BoCacheFixture, "what is still handed out when the cache ends stays its holder's") {
    const CachedBo bo = get(kMiB);
    remake(patient());
    CHECK(alive(bo.id));
    CHECK(translates(*device, *vm, bo.va.start));
    REQUIRE(vm->unmap(bo.va, UnmapPolicy::kReject).has_value());
    REQUIRE(vm->release_va(bo.va).has_value());
    device->bos().release(*bo.bo, 1);
}

TEST_CASE_FIXTURE(BoCacheFixture, "kinds and sizes that nobody uses any more cost nothing") {
    BoCacheConfig config = patient();
    config.max_bytes = 64 * kMiB;
    remake(config);
    for (std::uint32_t i = 1; i <= 2000; ++i) {
        BoCacheRequest request = cache_request(kMiB + std::uint64_t{i % 7} * 256 * kKiB);
        request.bo.only_for_vm = i;  // the soft device does not look at it
        put(get(request), kSecond + i);
    }
    CHECK(statistics().usage.cached_bytes() <= 64 * kMiB);
    CHECK(cache->validate());
    CHECK(cache->evict_all() != 0);
    CHECK(cache->validate());
}

}  // namespace
}  // namespace granule::test
