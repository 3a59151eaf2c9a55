#include "src/device_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "src/backend/cpu_view.hpp"

namespace granule {
namespace {

// The heap speaks of VAs. What it hands out here are physical addresses.
Va heap_address(Pa pa) noexcept {
    return Va{pa.raw()};
}
Pa physical(Va va) noexcept {
    return Pa{va.raw()};
}

}  // namespace

Result<Owned<DeviceMemory>, OsError> DeviceMemory::create(std::uint64_t bytes, NodeMemory memory,
                                                          Injection* injection) noexcept {
    if (bytes == 0 || !is_aligned(bytes, kBlock2MBytes) || bytes > kMaxVaEnd - kStart.raw()) {
        return fail(OsError{Status::kBadArgument, "", 0});
    }
    VaHeapConfig heap_config;
    heap_config.zones[static_cast<std::size_t>(VaZone::kMain)] = {heap_address(kStart), heap_address(kStart + bytes)};
    heap_config.memory = memory;
    Result<VaHeap, VaError> heap = VaHeap::create(heap_config);
    if (!heap) {
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    const int fd = ::memfd_create("granule soft device", MFD_CLOEXEC);
    if (fd < 0) {
        return fail(OsError{Status::kOsFailed, "memfd_create", errno});
    }
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        const int error = errno;
        ::close(fd);
        return fail(OsError{Status::kOsFailed, "ftruncate", error});
    }
    void* const host = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (host == MAP_FAILED) {
        const int error = errno;
        ::close(fd);
        return fail(OsError{Status::kOsFailed, "mmap", error});
    }
    Owned<DeviceMemory> device =
        make_owned<DeviceMemory>(memory, fd, static_cast<std::byte*>(host), bytes, std::move(*heap), injection);
    if (!device) {
        ::munmap(host, bytes);
        ::close(fd);
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    return device;
}

DeviceMemory::DeviceMemory(int fd, std::byte* host, std::uint64_t bytes, VaHeap heap, Injection* injection) noexcept
    : fd_(fd), host_(host), bytes_(bytes), injection_(injection), heap_(std::move(heap)) {}

DeviceMemory::~DeviceMemory() {
    ::munmap(host_, bytes_);
    ::close(fd_);
}

std::optional<Pa> DeviceMemory::allocate(std::uint64_t bytes, std::uint64_t alignment) noexcept {
    if (injection_ != nullptr && injection_->at(Injection::Site::kDeviceMemory) != 0) {
        return std::nullopt;
    }
    VaRequest request;
    request.size = bytes;
    request.alignment = alignment;
    request.direction = VaDirection::kBottomUp;
    const std::lock_guard lock(mutex_);
    const Result<VaRange, VaError> range = heap_.allocate(request);
    if (!range) {
        return std::nullopt;
    }
    return physical(range->start);
}

void DeviceMemory::free(Pa pa, std::uint64_t bytes) noexcept {
    // Before anybody else can have it. Punching only fails where the arguments are wrong.
    const int punched = ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(pa - kStart),
                                    static_cast<off_t>(bytes));
    assert(punched == 0);
    static_cast<void>(punched);
    const std::lock_guard lock(mutex_);
    heap_.release({heap_address(pa), heap_address(pa + bytes)});
}

int DeviceMemory::show_file(Pa pa, std::uint64_t bytes, int file, std::uint64_t offset) noexcept {
    if (injection_ != nullptr) {
        if (const int error = injection_->at(Injection::Site::kSharedFile); error != 0) {
            return error;
        }
    }
    return show(pa, bytes, file, offset);
}

int DeviceMemory::show_memory(Pa pa, std::uint64_t bytes) noexcept {
    if (injection_ != nullptr) {
        if (const int error = injection_->at(Injection::Site::kWindow); error != 0) {
            return error;
        }
    }
    return show(pa, bytes, fd_, pa - kStart);
}

int DeviceMemory::show(Pa pa, std::uint64_t bytes, int file, std::uint64_t offset) noexcept {
    const int error = view_file_at(host(pa), bytes, PROT_READ | PROT_WRITE, file, offset);
    if (error != 0) {
        close_hole(host(pa), bytes);  // the window is ours to the end
    }
    return error;
}

std::uint64_t DeviceMemory::used() const noexcept {
    const std::lock_guard lock(mutex_);
    return bytes_ - heap_.free_bytes(VaZone::kMain);
}

bool DeviceMemory::load(Pa pa, std::uint64_t& value) const noexcept {
    if (!contains(pa, sizeof(std::uint64_t)) || !pa.is_aligned(sizeof(std::uint64_t))) {
        return false;
    }
    void* const word = host(pa);
    value = std::atomic_ref<std::uint64_t>(*static_cast<std::uint64_t*>(word)).load(std::memory_order_acquire);
    return true;
}

}  // namespace granule
