#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "src/device.hpp"
#include "tests/src/soft_fixture.hpp"
#include "tests/support/test_memory.hpp"

namespace granule::test {
namespace {

constexpr VaRange kShown{Va{kGiB}, Va{kGiB + 6 * kMiB}};

// A descriptor of the test's own.
class Fd {
public:
    explicit Fd(int fd) : fd_(fd) { REQUIRE(fd >= 0); }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    Fd& operator=(Fd&&) = delete;
    ~Fd() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    [[nodiscard]] int get() const { return fd_; }

private:
    int fd_;
};

// The number that the next descriptor gets: the same before and after where none is left open.
int next_fd() {
    const Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return fd.get();
}

BoRequest shareable(std::uint64_t bytes, BoMemory memory = BoMemory::kHuge) {
    BoRequest request;
    request.bytes = bytes;
    request.memory = memory;
    request.shareable = true;
    return request;
}

Bo& make_shareable(SoftDevice& device, std::uint64_t bytes, BoMemory memory = BoMemory::kHuge) {
    const Result<BoId, OsError> id = device.create_bo(shareable(bytes, memory));
    REQUIRE(id.has_value());
    return *device.bos().find(*id);
}
Fd exported(Device& device, const Bo& bo) {
    const Result<int, OsError> file = device.export_bo(bo);
    REQUIRE(file.has_value());
    return Fd(*file);
}
Bo& imported(Device& device, const Fd& file) {
    const Result<BoId, OsError> id = device.import_bo(file.get());
    REQUIRE(id.has_value());
    return *device.bos().find(*id);
}
void release(Bo& bo) {
    bo.table.release(bo, 1);
}

Owned<Vm> vm_that_shows(SoftDevice& device, const Bo& bo, const VaRange& where = kShown) {
    Owned<Vm> vm = make_vm(device);
    BindRequest request;
    request.kind = BindRequest::Kind::kMap;
    request.va = {where.start, where.start + bo.size};
    request.shows.bo = bo.id;
    REQUIRE(vm->bind(request).has_value());
    return vm;
}

std::uint64_t cpu_word(Bo& bo, std::uint64_t offset) {
    const Result<std::byte*, Status> cpu = bo.table.map_cpu(bo);
    REQUIRE(cpu.has_value());
    std::uint64_t word = 0;
    std::memcpy(&word, *cpu + offset, sizeof(word));
    return word;
}

Fd memfd_of(std::uint64_t bytes) {
    Fd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
    return file;
}

TEST_CASE("what one device's GPU writes into a shared BO, the other's GPU and both CPUs read") {
    for (const BoMemory memory : kBoMemories) {
        CAPTURE(static_cast<int>(memory));
        const Owned<SoftDevice> here = make_device(device_config());
        const Owned<SoftDevice> there = make_device(device_config(KernelBehaviour::kRealigns, "G52"));
        Bo& bo = make_shareable(*here, 4 * kMiB + kPageBytes, memory);
        const Fd file = exported(*here, bo);
        CHECK((::fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
        Bo& seen = imported(*there, file);
        CHECK(seen.size == bo.size);
        CHECK(seen.imported);
        CHECK_FALSE(bo.imported);

        const Owned<Vm> vm = vm_that_shows(*here, bo);
        const Owned<Vm> other_vm = vm_that_shows(*there, seen);
        for (std::uint64_t offset = 0; offset < bo.size; offset += 512 * kKiB) {
            const std::uint64_t word = 0x1234'5678 + offset;
            REQUIRE(gpu_write(*here, *vm, kShown.start + offset, word));
            CHECK(gpu_read(*there, *other_vm, kShown.start + offset) == word);
            CHECK(cpu_word(bo, offset) == word);
            CHECK(cpu_word(seen, offset) == word);
        }
        release(bo);
        release(seen);
    }
}

TEST_CASE("the same memory is the same BO: exported and imported back, or imported twice by whatever descriptor") {
    const Owned<SoftDevice> here = make_device(device_config());
    Bo& bo = make_shareable(*here, 8 * kKiB);
    {
        const Fd file = exported(*here, bo);
        CHECK(&imported(*here, file) == &bo);
        CHECK(bo.references() == 2);
    }
    const Fd foreign = memfd_of(64 * kKiB);
    const Fd duplicate(::dup(foreign.get()));
    Bo& first = imported(*here, foreign);
    CHECK(&imported(*here, duplicate) == &first);
    CHECK(first.references() == 2);
    CHECK(&first != &bo);
    const Fd again = exported(*here, first);  // what was imported may be passed on
    CHECK(&imported(*here, again) == &first);
    CHECK(here->bos().live() == 2);
    release(bo);
    release(bo);
    release(first);
    release(first);
    release(first);
    CHECK(here->bos().live() == 0);
    CHECK(here->memory_usage().imported_bytes == 0);
}

TEST_CASE("a shared BO outlives the device that made it, and ends before the one that imported it, or after") {
    for (const bool maker_first : {true, false}) {
        CAPTURE(maker_first);
        Owned<SoftDevice> maker = make_device(device_config());
        Owned<SoftDevice> user = make_device(device_config());
        Bo& bo = make_shareable(*maker, 2 * kMiB);
        Bo& seen = imported(*user, exported(*maker, bo));
        std::byte* const cpu = maker->bos().map_cpu(bo).value();
        std::memset(cpu, 0x5a, bo.size);
        if (maker_first) {
            release(bo);
            CHECK(maker->memory().used() == make_device(device_config())->memory().used());
            maker = {};
            CHECK((cpu_word(seen, kMiB) & 0xff) == 0x5a);
            release(seen);
        } else {
            release(seen);
            user = {};
            CHECK((cpu_word(bo, kMiB) & 0xff) == 0x5a);
            release(bo);
        }
    }
}

TEST_CASE("memory that a shared BO leaves is the device's own again, full of zeros, and no way back to the file") {
    for (const BoMemory memory : kBoMemories) {
        CAPTURE(static_cast<int>(memory));
        const Owned<SoftDevice> device = make_device(device_config());
        const std::uint64_t before = device->memory().used();
        Bo& bo = make_shareable(*device, 2 * kMiB + kPageBytes, memory);
        const Fd file = exported(*device, bo);
        const Bo::Run run = bo.runs[0];
        const Bo::Run last = bo.runs.back();
        std::memset(device->bos().map_cpu(bo).value(), 0x77, bo.size);
        CHECK(*device->memory().host(run.pa) == std::byte{0x77});
        CHECK(device->bo_backend().shared() == 1);
        release(bo);
        CHECK(device->bo_backend().shared() == 0);
        CHECK(device->memory().used() == before);
        CHECK(*device->memory().host(run.pa) == std::byte{0});
        CHECK(*device->memory().host(last.pa) == std::byte{0});
        *device->memory().host(run.pa) = std::byte{1};
        std::byte in_file{};
        REQUIRE(::pread(file.get(), &in_file, 1, 0) == 1);
        CHECK(in_file == std::byte{0x77});
        *device->memory().host(run.pa) = std::byte{0};
    }
}

TEST_CASE("a BO that is gone while its file lives comes back as another BO with the same bytes") {
    const Owned<SoftDevice> device = make_device(device_config());
    Bo& bo = make_shareable(*device, 8 * kKiB);
    const BoId first = bo.id;
    const Fd file = exported(*device, bo);
    device->bos().map_cpu(bo).value()[4097] = std::byte{9};
    release(bo);
    Bo& back = imported(*device, file);
    CHECK(back.id != first);
    CHECK(device->bos().map_cpu(back).value()[4097] == std::byte{9});
    release(back);
}

TEST_CASE("another process sees the same bytes") {
    const Owned<SoftDevice> device = make_device(device_config());
    Bo& bo = make_shareable(*device, 4 * kMiB);
    const Fd file = exported(*device, bo);
    const Owned<Vm> vm = vm_that_shows(*device, bo);
    const pid_t child = ::fork();
    if (child == 0) {
        // Nothing but system calls: the parent has threads, maybe.
        const std::uint64_t word = 0xfeed'beef;
        const bool written = ::pwrite(file.get(), &word, sizeof(word), 3 * kMiB) == sizeof(word);
        ::_exit(written ? 0 : 1);
    }
    REQUIRE(child > 0);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(gpu_read(*device, *vm, kShown.start + 3 * kMiB) == 0xfeed'beef);
    release(bo);
}

TEST_CASE("what was not made to be shared is not exported, as on every device") {
    const Owned<SoftDevice> device = make_device(device_config());
    const BoId id = make_bo(*device, 4096);
    const Result<int, OsError> file = device->export_bo(*device->bos().find(id));
    REQUIRE_FALSE(file.has_value());
    CHECK(file.error().status == Status::kBadArgument);
    BoRequest both = shareable(4096);
    both.only_for_vm = 1;
    CHECK(device->create_bo(both).error().status == Status::kBadArgument);
    device->bos().release(*device->bos().find(id), 1);
}

TEST_CASE("the files that are made here keep their size, whatever an importer does to them") {
    const Owned<SoftDevice> device = make_device(device_config());
    Bo& bo = make_shareable(*device, 8 * kKiB);
    const Fd file = exported(*device, bo);
    CHECK(::ftruncate(file.get(), 4096) != 0);
    CHECK(::ftruncate(file.get(), 1 << 20) != 0);
    CHECK(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE) != 0);
    release(bo);
}

TEST_CASE("a file that is no memory to share is refused with what is wrong with it, and nothing changes") {
    SoftDeviceConfig config = device_config();
    config.memory_bytes = 64 * kMiB;
    const Owned<SoftDevice> device = make_device(config);
    const std::uint64_t before = device->memory().used();
    const int fd_before = next_fd();
    const auto refused = [&](int file, Status status, int error) {
        const Result<BoId, OsError> id = device->import_bo(file);
        REQUIRE_FALSE(id.has_value());
        CHECK(id.error().status == status);
        CHECK(id.error().error == error);
        CHECK(device->bos().live() == 0);
        CHECK(device->memory().used() == before);
        CHECK(device->bo_backend().shared() == 0);
    };
    refused(-1, Status::kOsFailed, EBADF);
    refused(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)).get(), Status::kBadArgument, 0);
    refused(Fd(::open("/", O_RDONLY | O_CLOEXEC)).get(), Status::kBadArgument, 0);
    refused(memfd_of(0).get(), Status::kBadArgument, 0);
    refused(memfd_of(4095).get(), Status::kBadArgument, 0);
    refused(memfd_of(4097).get(), Status::kBadArgument, 0);
    refused(memfd_of(128 * kMiB).get(), Status::kOutOfDeviceMemory, 0);
    {
        const Fd sealed = memfd_of(4096);
        REQUIRE(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0);
        refused(sealed.get(), Status::kOsFailed, EPERM);
    }
    {
        const Fd writable = memfd_of(4096);
        const std::string path = "/proc/self/fd/" + std::to_string(writable.get());
        refused(Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)).get(), Status::kOsFailed, EACCES);
    }
    CHECK(next_fd() == fd_before);
}

// Everything that making, importing and exporting need, failing once each: neither descriptors nor memory stay behind.
TEST_CASE("P3: sharing that fails at any call of the OS, or for want of any memory, leaves nothing behind") {
    for (const BoMemory memory : kBoMemories) {
        CAPTURE(static_cast<int>(memory));
        Failing failing;
        TestMemory nodes;
        SoftDeviceConfig config = device_config();
        config.injection = &failing;
        config.nodes = nodes.memory();
        config.bo_memory = memory;
        const Owned<SoftDevice> device = make_device(config);
        const Fd foreign = memfd_of(5 * kPageBytes);
        // One of each before, so that what grows once has grown.
        release(make_shareable(*device, 5 * kPageBytes, memory));
        const std::uint64_t before = device->memory().used();
        const std::uint64_t bytes_before = nodes.bytes();
        const int fd_before = next_fd();
        const auto unchanged = [&] {
            CHECK(device->bos().live() == 0);
            CHECK(device->memory().used() == before);
            CHECK(device->bo_backend().shared() == 0);
            CHECK(next_fd() == fd_before);
            CHECK(device->memory_usage().bytes == 0);
            CHECK(device->memory_usage().imported_bytes == 0);
        };
        enum class What : std::uint8_t { kCreate, kImport };
        for (const What what : {What::kCreate, What::kImport}) {
            const auto attempt = [&] {
                return what == What::kCreate ? device->create_bo(shareable(5 * kPageBytes, memory))
                                             : device->import_bo(foreign.get());
            };
            for (const Injection::Site site : {Injection::Site::kSharedFile, Injection::Site::kDeviceMemory}) {
                int failures = 0;
                for (std::uint64_t k = 0;; ++k) {
                    CAPTURE(k);
                    failing.fail_after(site, k);
                    const Result<BoId, OsError> id = attempt();
                    const bool failed = failing.failed();
                    failing.stop();
                    REQUIRE(id.has_value() == !failed);
                    if (!failed) {
                        release(*device->bos().find(*id));
                        break;
                    }
                    ++failures;
                    const bool os = site == Injection::Site::kSharedFile;
                    CHECK(id.error().status == (os ? Status::kOsFailed : Status::kOutOfDeviceMemory));
                    CHECK(id.error().error == (os ? Failing::kError : 0));
                    CHECK((*id.error().call != '\0') == os);
                    unchanged();
                }
                CHECK(failures >= 1);
            }
            for (std::uint64_t k = 0;; ++k) {
                const std::uint64_t refusals = nodes.refusals();
                nodes.refuse_after(k);
                const Result<BoId, OsError> id = attempt();
                nodes.refuse_nothing();
                if (nodes.refusals() == refusals) {
                    REQUIRE(id.has_value());
                    release(*device->bos().find(*id));
                    break;
                }
                if (id) {
                    release(*device->bos().find(*id));
                    continue;
                }
                unchanged();
            }
            unchanged();
        }
        {
            Bo& bo = make_shareable(*device, 4096, memory);
            failing.fail_all(Injection::Site::kSharedFile);
            const Result<int, OsError> file = device->export_bo(bo);
            failing.stop();
            REQUIRE_FALSE(file.has_value());
            CHECK(std::string_view(file.error().call) == "F_DUPFD_CLOEXEC");
            CHECK(bo.references() == 1);
            release(bo);
        }
        unchanged();
        CHECK(nodes.bytes() >= bytes_before);
        CHECK(nodes.misuses() == 0);
    }
}

TEST_CASE("memory that could not be taken back from a file is handed out to nobody") {
    Failing failing;
    SoftDeviceConfig config = device_config();
    config.injection = &failing;
    const Owned<SoftDevice> device = make_device(config);
    const std::uint64_t before = device->memory().used();
    Bo& bo = make_shareable(*device, 8 * kKiB, BoMemory::kContiguous);
    const Fd file = exported(*device, bo);
    const Pa kept = bo.runs[0].pa;
    const int fd_before = next_fd();
    failing.fail_all(Injection::Site::kWindow);
    release(bo);
    failing.stop();
    CHECK(next_fd() < fd_before);  // the BO's descriptor is closed all the same
    CHECK(device->memory().used() == before + 8 * kKiB);
    for (int i = 0; i < 100; ++i) {
        const BoId id = make_bo(*device, kPageBytes);
        const Pa pa = device->bos().find(id)->runs[0].pa;
        CHECK((pa < kept || pa >= kept + 8 * kKiB));
    }
}

TEST_CASE("threads that import and give back the same file always find its bytes, and leave nothing") {
    const Owned<SoftDevice> device = make_device(device_config());
    const std::uint64_t before = device->memory().used();
    const Fd file = memfd_of(2 * kMiB);
    const std::uint64_t word = 0x1122'3344;
    REQUIRE(::pwrite(file.get(), &word, sizeof(word), kMiB) == sizeof(word));
    std::atomic<int> wrong{0};
    const auto work = [&] {
        for (int round = 0; round < 300; ++round) {
            const Result<BoId, OsError> id = device->import_bo(file.get());
            if (!id) {
                ++wrong;
                continue;
            }
            Bo& bo = *device->bos().find(*id);
            std::uint64_t seen = 0;
            std::memcpy(&seen, device->memory().host(bo.runs[0].pa) + kMiB, sizeof(seen));
            wrong += seen == word ? 0 : 1;
            device->bos().release(bo, 1);
        }
    };
    std::array<std::thread, 3> threads;
    for (std::thread& thread : threads) {
        thread = std::thread(work);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(wrong == 0);
    CHECK(device->bos().live() == 0);
    CHECK(device->memory().used() == before);
    CHECK(device->bo_backend().shared() == 0);
}

}  // namespace
}  // namespace granule::test
