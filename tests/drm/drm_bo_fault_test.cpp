// A BO's life with every call of it failing once, with every error that it can fail with, and with every allocation
// refused once: what failed changed nothing, here or in the kernel, and at the end nothing is left.
#include <string>

#include "src/drm/drm_bo.hpp"
#include "tests/drm/device_fixture.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

class Life {
public:
    Life(FakeDrm& drm, DrmDevice& device)
        : drm_(drm), device_(device), panfrost_(drm.kernel().driver == DrmDriver::kPanfrost) {}

    // How many steps failed.
    int live() {
        const int foreign = drm_.make_foreign_dma_buf(3 * kMiB);
        for (const bool cached : {false, true}) {
            BoRequest request;
            request.bytes = 5000;
            request.cpu_cached = cached && device_.facts().cpu_cached_bos;
            request.shareable = true;
            BoId id = kNoBo;
            step([&] { return keep(device_.create_bo(request), id); });
            if (id != kNoBo) {
                use(id);
                share(id);
                bos().release(*bos().find(id), 1);
            }
        }
        import_twice(foreign);
        drm_.close(foreign);
        return failed_;
    }

private:
    BoTable& bos() { return device_.bos(); }
    DrmBoBackend& backend() { return device_.bo_backend(); }

    // A step that says false has changed nothing that the kernel, or the table, can show.
    template <class Body>
    void step(Body&& body) {
        const FakeDrmCensus before = drm_.census();
        const std::uint64_t live_before = bos().live();
        const std::uint64_t handles_before = backend().open_handles();
        if (!body()) {
            ++failed_;
            CHECK(drm_.census() == before);
            CHECK(bos().live() == live_before);
            CHECK(backend().open_handles() == handles_before);
        }
    }
    template <class T, class Error>
    static bool keep(const Result<T, Error>& result, T& into) {
        if (result) {
            into = *result;
        }
        return result.has_value();
    }

    void use(BoId id) {
        Bo& bo = *bos().find(id);
        step([&] { return bos().set_label(bo, "vertices") == Status::kOk; });
        step([&] { return bos().map_cpu(bo).has_value(); });
        if (device_.facts().cpu_cached_bos) {
            const CacheSync whole{&bo, BoOffset{0}, bo.size, CacheOp::kFlush};
            step([&] { return device_.sync_caches({&whole, 1}).has_value(); });
        }
        if (panfrost_) {
            step([&] { return device_.wait_bo(bo, 0).has_value(); });
            step([&] { return device_.set_evictable(bo, true).has_value(); });
            step([&] { return device_.set_evictable(bo, false).has_value(); });
        }
    }

    void share(BoId id) {
        int dma_buf = -1;
        step([&] { return keep(device_.export_bo(*bos().find(id)), dma_buf); });
        if (dma_buf < 0) {
            return;
        }
        BoId back = kNoBo;
        step([&] { return keep(device_.import_bo(dma_buf), back); });
        if (back != kNoBo) {
            CHECK(back == id);
            bos().release(*bos().find(back), 1);
        }
        drm_.close(dma_buf);
    }

    void import_twice(int foreign) {
        BoId first = kNoBo;
        BoId second = kNoBo;
        step([&] { return keep(device_.import_bo(foreign), first); });
        step([&] { return keep(device_.import_bo(foreign), second); });
        if (first != kNoBo && second != kNoBo) {
            CHECK(first == second);
        }
        for (const BoId id : {first, second}) {
            if (id != kNoBo) {
                bos().release(*bos().find(id), 1);
            }
        }
    }

    FakeDrm& drm_;
    DrmDevice& device_;
    const bool panfrost_;
    int failed_ = 0;
};

struct FailingDevice {
    explicit FailingDevice(const FakeKernel& kernel, NodeMemory nodes = NodeMemory::process())
        : drm(kernel), calls(drm, kernel.driver) {
        DrmDeviceConfig config;
        config.calls = &calls;
        config.nodes = nodes;
        Result<Owned<DrmDevice>, OsError> opened = DrmDevice::open(FakeDrm::kPath, config);
        REQUIRE(opened.has_value());
        device = std::move(*opened);
    }

    FakeDrm drm;
    FailingDrmCalls calls;
    Owned<DrmDevice> device;
};

// The calls of a life in which none fails.
std::vector<DrmCallKind> calls_of_life(const FakeKernel& kernel) {
    FailingDevice failing(kernel);
    failing.calls.record_kinds();
    CHECK(Life(failing.drm, *failing.device).live() == 0);
    const std::span<const DrmCallKind> kinds = failing.calls.recorded_kinds();
    return {kinds.begin(), kinds.end()};
}

TEST_CASE("every call of a BO's life fails with every error it has: nothing changed, nothing is left") {
    for (const DrmDriver driver : kDrivers) {
        for (const FakeKernel& kernel : {newest(driver), oldest(driver)}) {
            const std::vector<DrmCallKind> kinds = calls_of_life(kernel);
            REQUIRE(kinds.size() > 10);
            for (std::size_t call = 0; call < kinds.size(); ++call) {
                for (const int error : possible_errors(kinds[call])) {
                    CAPTURE(to_string(driver));
                    CAPTURE(kernel.minor);
                    CAPTURE(call);
                    CAPTURE(to_string(kinds[call]));
                    CAPTURE(error);
                    FailingDevice failing(kernel);
                    failing.calls.fail_at(call, error);
                    const int failed = Life(failing.drm, *failing.device).live();
                    const bool gives_back = kinds[call] == DrmCallKind::kCloseHandle;
                    const bool names =
                        kinds[call] == DrmCallKind::kBoSetLabel || kinds[call] == DrmCallKind::kSetLabelBo;
                    CHECK(failed >= (gives_back || names ? 0 : 1));
                    // What the kernel would not take back is known, and is all that is left.
                    CHECK(failing.device->bo_backend().failed_closes() == (gives_back ? 1 : 0));
                    CHECK(failing.drm.census().handles == (gives_back ? 1 : 0));
                    CHECK(failing.device->bos().live() == 0);
                    failing.device = {};
                    CHECK(failing.drm.census() == FakeDrmCensus{});
                    CHECK(failing.drm.quiet());
                }
            }
        }
    }
}

TEST_CASE("the device is gone: every BO ends all the same") {
    for (const DrmDriver driver : kDrivers) {
        FailingDevice failing(newest(driver));
        const BoRequest request{.bytes = 4096};
        const Result<BoId, OsError> id = failing.device->create_bo(request);
        REQUIRE(id.has_value());
        failing.calls.fail_device();
        CHECK(failing.device->create_bo(request).error().status == Status::kOsFailed);
        CHECK_FALSE(failing.device->bos().map_cpu(*failing.device->bos().find(*id)).has_value());
        failing.device->bos().release(*failing.device->bos().find(*id), 1);
        CHECK(failing.device->bos().live() == 0);
        CHECK(failing.device->bo_backend().failed_closes() == 1);
    }
}

TEST_CASE("every allocation of a BO's life is refused once: nothing changed, nothing is left") {
    for (const DrmDriver driver : kDrivers) {
        bool refused = true;
        for (std::uint64_t granted = 0; refused; ++granted) {
            CAPTURE(to_string(driver));
            CAPTURE(granted);
            TestMemory memory;
            {
                FailingDevice failing(newest(driver), memory.memory());
                memory.refuse_after(granted);
                const int failed = Life(failing.drm, *failing.device).live();
                refused = memory.refusals() != 0;
                CHECK((failed != 0) == refused);
                CHECK(failing.drm.census().handles == 0);
                CHECK(failing.device->bos().live() == 0);
                CHECK(failing.device->bo_backend().failed_closes() == 0);
            }
            CHECK(memory.blocks().empty());
            CHECK(memory.misuses() == 0);
        }
    }
}

TEST_CASE("an import that has no memory closes no handle that a BO has") {
    TestMemory memory;
    FailingDevice failing(newest(DrmDriver::kPanthor), memory.memory());
    const int foreign = failing.drm.make_foreign_dma_buf(4096);
    const Result<BoId, OsError> first = failing.device->import_bo(foreign);
    REQUIRE(first.has_value());
    memory.refuse_everything();
    const Result<BoId, OsError> second = failing.device->import_bo(foreign);
    REQUIRE(second.has_value());  // a reference takes no memory
    CHECK(*second == *first);
    const int other = failing.drm.make_foreign_dma_buf(4096);
    const Result<BoId, OsError> third = failing.device->import_bo(other);
    REQUIRE_FALSE(third.has_value());
    CHECK(third.error().status == Status::kOutOfHostMemory);
    CHECK(failing.drm.census().handles == 1);
    failing.device->bos().release(*failing.device->bos().find(*first), 2);
    CHECK(failing.drm.census().handles == 0);
    failing.drm.close(foreign);
    failing.drm.close(other);
}

}  // namespace
}  // namespace granule::test
