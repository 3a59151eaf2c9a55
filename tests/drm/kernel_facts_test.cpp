// What is found out about a kernel, over the model of one: and that finding out does no harm, and leaves nothing.
#include "src/drm/kernel_facts.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "src/drm/drm_file.hpp"
#include "tests/support/failing_drm_calls.hpp"
#include "tests/support/fake_drm.hpp"

namespace granule::test {
namespace {

constexpr std::array kBehaviours{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                                 KernelBehaviour::kRealigns};

std::vector<FakeKernel> every_kernel() {
    std::vector<FakeKernel> kernels;
    kernels.reserve(kBehaviours.size() + 1);
    for (const KernelBehaviour behaviour : kBehaviours) {
        kernels.push_back(fake_panthor(behaviour));
    }
    kernels.push_back(fake_panfrost());
    return kernels;
}

int open_fake(DrmCalls& calls) {
    int fd = -1;
    REQUIRE(calls.open(FakeDrm::kPath, fd) == 0);
    return fd;
}

// As a file that was only opened.
FakeDrmCensus nothing_but_a_file() {
    FakeDrmCensus census;
    census.fds = 1;
    return census;
}

// The facts of a kernel that nobody minds being asked; nothing stays in it.
KernelFacts facts_of(FakeDrm& drm, const KernelFactsOptions& options = {}) {
    const DrmFile file(drm, open_fake(drm));
    const Result<KernelFacts, OsError> facts = find_kernel_facts(drm, file.fd(), options);
    REQUIRE(facts.has_value());
    CHECK(drm.census() == nothing_but_a_file());
    CHECK(drm.vms_lost() == 0);
    return *facts;
}

TEST_CASE("the behaviour of a measured kernel follows from its release, and asking it makes it neither oops nor warn") {
    for (const KernelBehaviour behaviour : kBehaviours) {
        FakeDrm drm(fake_panthor(behaviour));
        CAPTURE(drm.kernel().release);
        const KernelFacts facts = facts_of(drm);
        CHECK(facts.driver == DrmDriver::kPanthor);
        CHECK(facts.behaviour == behaviour);
        CHECK(facts.behaviour_from == KernelFacts::From::kRelease);
        CHECK(facts.release_text.view() == drm.kernel().release);
        CHECK(facts.release == parse_release(drm.kernel().release));
        CHECK(facts.version.minor == drm.kernel().minor);
        CHECK(facts.version.name.view() == "panthor");
        CHECK(facts.sparse == drm.kernel().map_sparse);
        CHECK(facts.huge_pages == drm.kernel().huge_page_parameter);
        CHECK(facts.leaf_sizes == kLeaves4K2M);
        CHECK(facts.va_bits == 48);
        REQUIRE(facts.gpu != nullptr);
        CHECK(facts.gpu->driver == mali::KernelDriver::kPanthor);
        CHECK(facts.vm_space == VaRange{Va(0), Va(0xfffff0000000)});
        CHECK(drm.quiet());
    }
}

TEST_CASE("panfrost says what its GPU is; its VA is the kernel's") {
    FakeDrm drm(fake_panfrost());
    const KernelFacts facts = facts_of(drm);
    CHECK(facts.driver == DrmDriver::kPanfrost);
    CHECK(facts.vm_space == VaRange{Va(std::uint64_t{32} << 20), Va(std::uint64_t{4} << 30)});
    REQUIRE(facts.gpu != nullptr);
    CHECK(facts.gpu->driver == mali::KernelDriver::kPanfrost);
    CHECK(facts.labels);
    CHECK(facts.cpu_cached_bos);
    CHECK_FALSE(facts.sparse);
    CHECK(drm.quiet());
}

TEST_CASE("features come with the driver's minor version") {
    for (int minor = 0; minor <= 9; ++minor) {
        CAPTURE(minor);
        FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns);
        kernel.minor = minor;
        kernel.map_sparse = minor >= 9;
        FakeDrm drm(kernel);
        const KernelFacts facts = facts_of(drm);
        CHECK(facts.labels == (minor >= 4));
        CHECK(facts.cpu_cached_bos == (minor >= 7));
        CHECK(facts.bo_query_info == (minor >= 7));
        CHECK(facts.sparse == (minor >= 9));
        CHECK(drm.quiet());
    }
}

TEST_CASE("a driver that says 1.8 is asked whether it maps sparse") {
    for (const bool sparse : {false, true}) {
        FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns);
        kernel.minor = 8;
        kernel.map_sparse = sparse;
        FakeDrm drm(kernel);
        CHECK(facts_of(drm).sparse == sparse);
        CHECK(drm.quiet());
    }
}

TEST_CASE("kernels that would oops or warn, and those that nobody knows, are not probed") {
    for (const char* const release : {"6.12.43", "6.16.12", "6.18.15", "6.18-rc2", "7.1.3", "7.4.0", "6.1.187", ""}) {
        CAPTURE(release);
        FakeKernel kernel = fake_panthor(KernelBehaviour::kOopses);
        kernel.release = release;
        FakeDrm drm(kernel);
        const KernelFacts facts = facts_of(drm);
        CHECK(drm.count(DrmCallKind::kVmBind) == 0);
        CHECK(drm.count(DrmCallKind::kBoCreate) == 0);
        CHECK(facts.behaviour == expected_behaviour(DrmDriver::kPanthor, parse_release(release)).behaviour);
    }
}

TEST_CASE("a realigning kernel without huge pages is not probed: it does not see blocks that come by luck") {
    FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns);
    kernel.huge_page_parameter = false;
    FakeDrm drm(kernel);
    CHECK(facts_of(drm).behaviour == KernelBehaviour::kRealigns);
    CHECK(drm.count(DrmCallKind::kVmBind) == 0);
}

TEST_CASE("a probe finds a kernel that refuses what its release carries out") {
    FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses);
    kernel.release = "6.12.107-vendor";
    {
        FakeDrm drm(kernel);
        const KernelFacts facts = facts_of(drm);
        CHECK(facts.behaviour == KernelBehaviour::kRefuses);
        CHECK(facts.behaviour_from == KernelFacts::From::kProbe);
    }
    {
        FakeDrm drm(kernel);
        KernelFactsOptions options;
        options.probe = false;
        const KernelFacts facts = facts_of(drm, options);
        CHECK(facts.behaviour == KernelBehaviour::kSplits);
        CHECK(facts.behaviour_from == KernelFacts::From::kRelease);
        CHECK(drm.quiet());
    }
}

TEST_CASE("where memory makes no blocks a probe shows nothing, and the release stands") {
    FakeKernel kernel = fake_panthor(KernelBehaviour::kRefuses, FakeMemory::kSmall);
    kernel.release = "6.12.107";
    FakeDrm drm(kernel);
    const KernelFacts facts = facts_of(drm);
    CHECK(facts.behaviour == KernelBehaviour::kSplits);
    CHECK(facts.behaviour_from == KernelFacts::From::kRelease);
    CHECK(drm.quiet());
}

TEST_CASE("an override needs no proof, and no probe") {
    for (const FakeKernel& kernel : every_kernel()) {
        for (const KernelBehaviour behaviour : kBehaviours) {
            FakeDrm drm(kernel);
            KernelFactsOptions options;
            options.override_behaviour = behaviour;
            const KernelFacts facts = facts_of(drm, options);
            CHECK(facts.behaviour == behaviour);
            CHECK(facts.behaviour_from == KernelFacts::From::kOverride);
            CHECK(drm.count(DrmCallKind::kBoCreate) == 0);
        }
    }
}

TEST_CASE("every call failing with every error that it can: told, and nothing left in the kernel") {
    for (const FakeKernel& kernel : every_kernel()) {
        CAPTURE(kernel.release);
        for (std::uint64_t call = 0;; ++call) {
            CAPTURE(call);
            // Which call is it?
            FakeDrm first(kernel);
            FailingDrmCalls recorder(first, kernel.driver);
            {
                const DrmFile file(first, open_fake(first));
                recorder.record_kinds();
                REQUIRE(find_kernel_facts(recorder, file.fd(), {}).has_value());
            }
            const std::optional<DrmCallKind> kind = recorder.kind_of_call(call);
            if (!kind) {
                REQUIRE(call > 3);
                break;
            }
            for (const int error : possible_errors(*kind)) {
                CAPTURE(error);
                FakeDrm drm(kernel);
                FailingDrmCalls failing(drm, kernel.driver);
                const DrmFile file(drm, open_fake(drm));
                failing.fail_at(call, error);
                const Result<KernelFacts, OsError> facts = find_kernel_facts(failing, file.fd(), {});
                REQUIRE(failing.failed());
                if (gives_back(*kind)) {
                    CHECK(facts.has_value());
                    continue;  // the call was not made, so that what it was to give back is still there
                }
                CHECK(drm.census() == nothing_but_a_file());
                CHECK(drm.quiet());
                if (facts.has_value()) {
                    // What is no failure: a file that is not there, and a refusal, which is an answer.
                    CHECK((*kind == DrmCallKind::kReadText || (*kind == DrmCallKind::kVmBind && error == EINVAL)));
                } else {
                    CHECK(facts.error().status == Status::kOsFailed);
                    CHECK(facts.error().error == error);
                    CHECK(std::string(facts.error().call) != "");
                }
            }
        }
    }
}

TEST_CASE("a parameter that only root may read is there, and on by default") {
    const FakeKernel kernel = fake_panthor(KernelBehaviour::kRealigns);
    FakeDrm drm(kernel);
    FailingDrmCalls failing(drm, kernel.driver);
    const DrmFile file(drm, open_fake(drm));
    failing.fail_kind(DrmCallKind::kReadText, 1, EACCES);
    CHECK(find_kernel_facts(failing, file.fd(), {})->huge_pages);
    failing.fail_kind(DrmCallKind::kReadText, 1, ENOENT);
    CHECK_FALSE(find_kernel_facts(failing, file.fd(), {})->huge_pages);
}

// Another driver, or a version with other ioctls.
class OtherDriver final : public DrmCalls {
public:
    explicit OtherDriver(const DrmVersion& version) : version_(version) {}

    int open(const char* /*path*/, int& /*fd*/) noexcept override { return ENOENT; }
    int duplicate(int /*fd*/, int& /*copy*/) noexcept override { return EBADF; }
    void close(int /*fd*/) noexcept override {}
    int version(int /*fd*/, DrmVersion& version) noexcept override {
        version = version_;
        return 0;
    }
    int ioctl(int /*fd*/, unsigned long /*request*/, void* /*argument*/) noexcept override {
        ++ioctls;
        return ENOTTY;
    }
    int map(int, std::uint64_t, std::size_t, int, std::byte*&) noexcept override { return EBADF; }
    int map_at(int, std::uint64_t, std::size_t, int, std::byte*) noexcept override { return EBADF; }
    void unmap(std::byte*, std::size_t) noexcept override {}
    int close_handle(int, std::uint32_t) noexcept override { return EBADF; }
    int export_handle(int, std::uint32_t, int&) noexcept override { return EBADF; }
    int import_handle(int, int, std::uint32_t&) noexcept override { return EBADF; }
    int dma_buf_bytes(int, std::uint64_t&) noexcept override { return EBADF; }
    int syncobj_create(int, bool, std::uint32_t&) noexcept override { return EBADF; }
    int syncobj_destroy(int, std::uint32_t) noexcept override { return EBADF; }
    int syncobj_export(int, std::uint32_t, int&) noexcept override { return EBADF; }
    int syncobj_import(int, int, std::uint32_t&) noexcept override { return EBADF; }
    int syncobj_wait(int, std::span<const std::uint32_t>, std::span<const std::uint64_t>,
                     std::int64_t) noexcept override {
        return EBADF;
    }
    int syncobj_signal(int, std::uint32_t, std::uint64_t) noexcept override { return EBADF; }
    int syncobj_query(int, std::uint32_t, std::uint64_t&) noexcept override { return EBADF; }

    int ioctls = 0;

private:
    const DrmVersion version_;
};

TEST_CASE("a driver that is no Mali's, or not the version that we know, is asked nothing") {
    for (const DrmVersion& version :
         {DrmVersion{3, 54, 0, ShortLabel("amdgpu")}, DrmVersion{1, 1, 0, ShortLabel("lima")},
          DrmVersion{2, 0, 0, ShortLabel("panthor")}, DrmVersion{1, 0, 0, {}}}) {
        OtherDriver calls(version);
        const Result<KernelFacts, OsError> facts = find_kernel_facts(calls, 3, {});
        REQUIRE_FALSE(facts.has_value());
        CHECK(facts.error().status == Status::kNotSupported);
        CHECK(calls.ioctls == 0);
    }
}

}  // namespace
}  // namespace granule::test
