// BOs of other drivers through the library on a real panthor: a dma-buf of memory that panthor did not make (udmabuf, over a
// memfd), whose pages it has no list of. Linux 7.0 and later looks folios up in that list where a driver unmaps a part of
// a mapping inside a 2 MiB window, and dereferences NULL. The library never shows it such an edge.
//
// Every edge of a grid over a mapping of some windows: unmaps and maps over it, of parts that begin and end there; then
// the kernel's tables are those that were asked for, page for page. Neighbouring mappings that meet inside a window, and
// shifted ones, the same. Kernels without /dev/udmabuf are told.

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "src/drm/drm_device.hpp"
#include "tests/kernel/cases/test_run.hpp"
#include "tests/kernel/cases/watched_vm.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

constexpr Va kStart{std::uint64_t{4} << 30U};
constexpr std::uint64_t kBytes = 3 * kBlock2MBytes;
constexpr VaRange kLooked{kStart, kStart + 8 * kBlock2MBytes};
constexpr Va kScratch = kStart + kBlock1GBytes;

// Memory that is nobody's BO, and a dma-buf of it.
class ForeignMemory {
public:
    ForeignMemory() : memfd_(::memfd_create("foreign", MFD_ALLOW_SEALING | MFD_CLOEXEC)) {
        const OwnedFd maker(::open("/dev/udmabuf", O_RDWR | O_CLOEXEC));
        if (!maker.valid()) {
            return;
        }
        if (::ftruncate(memfd_.get(), kBytes) != 0 || ::fcntl(memfd_.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
            throw ProbeError("memfd", "size and seal", errno);
        }
        udmabuf_create create{};
        create.memfd = static_cast<std::uint32_t>(memfd_.get());
        create.flags = UDMABUF_FLAGS_CLOEXEC;
        create.size = kBytes;
        dma_buf_ = OwnedFd(::ioctl(maker.get(), UDMABUF_CREATE, &create));
        if (!dma_buf_.valid()) {
            throw ProbeError("/dev/udmabuf", "UDMABUF_CREATE", errno);
        }
        at_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_.get(), 0);
        if (at_ == MAP_FAILED) {
            throw ProbeError("memfd", "mmap", errno);
        }
    }
    ForeignMemory(const ForeignMemory&) = delete;
    ForeignMemory& operator=(const ForeignMemory&) = delete;
    ~ForeignMemory() {
        if (at_ != MAP_FAILED) {
            ::munmap(at_, kBytes);
        }
    }

    [[nodiscard]] int dma_buf() const { return dma_buf_.get(); }
    [[nodiscard]] const void* at() const { return at_; }

private:
    OwnedFd memfd_;
    OwnedFd dma_buf_;  // invalid: the kernel has no udmabuf
    void* at_ = MAP_FAILED;
};

class ImportedCases {
public:
    ImportedCases(DrmDevice& device, const ForeignMemory& memory) : device_(device), bos_(device, kcore_) {
        const Result<BoId, OsError> imported = device.import_bo(memory.dma_buf());
        BoRequest own;
        own.bytes = kBytes;
        const Result<BoId, OsError> made = device.create_bo(own);
        if (!imported || !made) {
            throw ProbeError("no import, or no BO beside it");
        }
        imported_ = *imported;
        own_ = *made;
        bos_.know(imported_, PageMap(kcore_).pages(memory.at(), kBytes));
        bos_.of(own_);
    }

    [[nodiscard]] bool imported() const { return device_.bos().find(imported_)->imported; }

    // Mapped at `shift` behind the start of a window, or in two that meet at `seam`; then [from, to) of it unmapped, or
    // mapped over. Empty, or what differs.
    std::string change(std::uint64_t shift, std::uint64_t seam, std::uint64_t from, std::uint64_t to, bool map_over) {
        Result<Owned<Vm>, OsError> vm = device_.create_vm({});
        if (!vm) {
            return fmt::format("no VM: {}", to_string(vm.error().status));
        }
        const WatchedVm watched(**vm, kcore_, probe_, bos_, own_, kScratch, device_.facts().va_bits);
        PageOracle oracle;
        const Va at = kStart + shift;
        const std::array<std::pair<std::uint64_t, std::uint64_t>, 2> parts{{{0, seam}, {seam, kBytes}}};
        for (const auto& [start, end] : parts) {
            if (start != end) {
                bind(**vm, oracle, {at + start, at + end}, imported_, start);
            }
        }
        const VaRange range{at + from, at + to};
        if (map_over) {
            bind(**vm, oracle, range, own_, 0);
        } else {
            if (const auto done = (*vm)->unmap(range, UnmapPolicy::kSplit); !done) {
                return fmt::format("{} (errno {})", to_string(done.error().status), done.error().error);
            }
            oracle.unmap(range);
        }
        if ((*vm)->check() != Status::kOk) {
            return "the VM is lost";
        }
        std::string difference = watched.compare(oracle, kLooked);
        return difference.empty() ? watched.compare_ledger(kLooked) : difference;
    }

private:
    static void bind(Vm& vm, PageOracle& oracle, const VaRange& va, BoId bo, std::uint64_t offset) {
        BindRequest request;
        request.kind = BindRequest::Kind::kMap;
        request.va = va;
        request.policy = UnmapPolicy::kSplit;
        request.shows.bo = bo;
        request.shows.offset = BoOffset{offset};
        if (const auto done = vm.bind(request); !done) {
            throw ProbeError(fmt::format("a bind of [{:#x}, {:#x}): {} (errno {})", va.start.raw(), va.end.raw(),
                                         to_string(done.error().status), done.error().error));
        }
        oracle.map(va, request.shows);
    }

    DrmDevice& device_;
    Kcore kcore_;
    TableProbe probe_;
    BoPages bos_;
    BoId imported_{};
    BoId own_{};
};

int run_all() {
    TestRun run;
    run.test("imported BOs", [&]() -> std::string {
        const Result<Owned<DrmDevice>, OsError> device = DrmDevice::open("/dev/dri/renderD128", {});
        if (!device) {
            return fmt::format("no device: {}", to_string(device.error().status));
        }
        const ForeignMemory memory;
        if (memory.dma_buf() < 0) {
            run.check("imported BOs: this kernel has no udmabuf: nothing was looked at", true);
            return {};
        }
        ImportedCases cases(**device, memory);
        if (!cases.imported()) {
            return "the library takes memory of others for panthor's own";
        }
        constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
        constexpr std::array<std::uint64_t, 8> kEdges{0,        kPageBytes, kMiB,    2 * kMiB, 2 * kMiB + kPageBytes,
                                                      3 * kMiB, 4 * kMiB,   6 * kMiB};
        for (const auto& [behind, meeting] : {std::pair{0 * kMiB, 0 * kMiB}, std::pair{kMiB, 0 * kMiB},
                                              std::pair{64 * kPageBytes, 0 * kMiB}, std::pair{0 * kMiB, 3 * kMiB}}) {
            const std::uint64_t shift = behind;  // a lambda of clang's takes no structured bindings
            const std::uint64_t seam = meeting;
            run.test(fmt::format("imported BOs: {:#x} behind a window, in parts that meet at {:#x}", shift, seam),
                     [&]() -> std::string {
                         for (const std::uint64_t from : kEdges) {
                             for (const std::uint64_t to : kEdges) {
                                 for (const bool map_over : {false, true}) {
                                     if (from >= to) {
                                         continue;
                                     }
                                     const std::string why = cases.change(shift, seam, from, to, map_over);
                                     if (!why.empty()) {
                                         return fmt::format("{} of [{:#x}, {:#x}): {}", map_over ? "map over" : "unmap",
                                                            from, to, why);
                                     }
                                 }
                             }
                         }
                         return {};
                     });
        }
        return {};
    });
    return run.exit_code();
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    return granule::kernel_test::run_all();
}
