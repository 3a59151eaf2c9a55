#include <cstdint>
#include <cstring>

#include "tests/src/soft_fixture.hpp"
#include "tests/support/reserved_range.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kBytes = 2 * kMiB + 3 * kPageBytes;

Bo& make_bo_of(SoftDevice& device, BoMemory memory, bool shareable) {
    BoRequest request;
    request.bytes = kBytes;
    request.memory = memory;
    request.shareable = shareable;
    const Result<BoId, OsError> id = device.create_bo(request);
    REQUIRE(id.has_value());
    return *device.bos().find(*id);
}

TEST_CASE("a view at a place of the caller's shows all of the BO there, and nothing beside it") {
    for (const BoMemory memory : kBoMemories) {
        for (const bool shareable : {false, true}) {
            CAPTURE(static_cast<int>(memory));
            CAPTURE(shareable);
            const Owned<SoftDevice> device = make_device(device_config());
            Bo& bo = make_bo_of(*device, memory, shareable);
            std::byte* const cpu = device->bos().map_cpu(bo).value();
            for (std::uint64_t page = 0; page < kBytes; page += kPageBytes) {
                cpu[page] = static_cast<std::byte>(page / kPageBytes + 1);
            }
            {
                const ReservedRange range(kBytes);
                REQUIRE(device->bos().map_cpu_at(bo, range.start()) == Status::kOk);
                CHECK(std::memcmp(range.start(), cpu, kBytes) == 0);
                range.start()[kBytes - 1] = std::byte{0xee};
                CHECK(cpu[kBytes - 1] == std::byte{0xee});
                CHECK(taken(range.page_before()));
                CHECK_FALSE(readable(range.page_before()));
                CHECK_FALSE(readable(range.page_behind()));
                CHECK(device->bos().map_cpu(bo).value() == cpu);  // the BO's own view stays
            }
            device->bos().release(bo, 1);
        }
    }
}

TEST_CASE("a view that only reads cannot be written, and follows what others write") {
    const Owned<SoftDevice> device = make_device(device_config());
    Bo& bo = make_bo_of(*device, BoMemory::kHuge, false);
    {
        const ReservedRange range(kBytes);
        REQUIRE(device->bos().map_cpu_at(bo, range.start(), CpuAccess::kReadOnly) == Status::kOk);
        device->bos().map_cpu(bo).value()[kMiB] = std::byte{3};
        CHECK(range.start()[kMiB] == std::byte{3});
        CHECK(readable(range.start() + kBytes - 1));
        CHECK_FALSE(writable(range.start() + kMiB));
        // Over it again, to be written.
        REQUIRE(device->bos().map_cpu_at(bo, range.start()) == Status::kOk);
        CHECK(writable(range.start() + kMiB));
    }
    device->bos().release(bo, 1);
}

TEST_CASE("a place that is not a page's is refused, and nothing is mapped") {
    const Owned<SoftDevice> device = make_device(device_config());
    Bo& bo = make_bo_of(*device, BoMemory::kHuge, false);
    const ReservedRange range(kBytes);
    CHECK(device->bos().map_cpu_at(bo, nullptr) == Status::kBadArgument);
    CHECK(device->bos().map_cpu_at(bo, range.start() + 1) == Status::kBadArgument);
    CHECK(device->bos().map_cpu_at(bo, range.start() + kPageBytes / 2) == Status::kBadArgument);
    CHECK_FALSE(readable(range.start()));
    CHECK_FALSE(readable(range.start() + kPageBytes));
    device->bos().release(bo, 1);
}

TEST_CASE("P3: a view that fails at any stretch shows nothing of the BO, and the range stays reserved") {
    for (const BoMemory memory : {BoMemory::kHuge, BoMemory::kScattered}) {
        CAPTURE(static_cast<int>(memory));
        Failing failing;
        SoftDeviceConfig config = device_config();
        config.injection = &failing;
        const Owned<SoftDevice> device = make_device(config);
        BoRequest request;
        request.bytes = 6 * kPageBytes;
        request.memory = memory;
        Bo& bo = *device->bos().find(device->create_bo(request).value());
        const ReservedRange range(bo.size);
        std::uint64_t k = 0;
        for (;; ++k) {
            CAPTURE(k);
            failing.fail_after(Injection::Site::kCpuView, k);
            const Status status = device->bos().map_cpu_at(bo, range.start());
            const bool failed = failing.failed();
            failing.stop();
            if (!failed) {
                CHECK(status == Status::kOk);
                CHECK(readable(range.start()));
                break;
            }
            CHECK(status == Status::kOutOfHostMemory);
            for (std::uint64_t page = 0; page < bo.size; page += kPageBytes) {
                CHECK(taken(range.start() + page));
                CHECK_FALSE(readable(range.start() + page));
            }
        }
        CHECK(k == (memory == BoMemory::kScattered ? 6 : 1));
        failing.fail_all(Injection::Site::kCpuView);
        CHECK(device->bos().map_cpu(bo).error() == Status::kOutOfHostMemory);
        failing.stop();
        CHECK(device->bos().map_cpu(bo).has_value());
        device->bos().release(bo, 1);
    }
}

}  // namespace
}  // namespace granule::test
