// The physical memory of the soft device: a memfd that stands for a range of physical addresses.
//
//     PA   0x8000'0000                                     0x8000'0000 + size
//          |-- tables --|-- 2 MiB of a BO --|--- free ---|
//     host mapped once, whole; a page of RAM stands behind what was touched
//
// A run may show a file of somebody's in place of this memory, for the CPU and the GPU alike, until it shows memory again.
//
// Allocation is by the VA heap, of which nothing depends on the addresses being virtual. Freed memory is punched out of
// the memfd, so that it reads as zeros when it is handed out again, as a kernel's BOs do.
//
// Thread-safety: all members, any thread. `load` and `host` take no lock.
// Failure: `create` says which call of the OS failed; `allocate` returns nullopt and has changed nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "allocator/va_heap.hpp"
#include "mali/address.hpp"
#include "mali/result.hpp"
#include "mali/soft_mmu.hpp"
#include "src/backend/injection.hpp"
#include "src/owned.hpp"
#include "src/status.hpp"

namespace granule {

class DeviceMemory final : public mali::PhysicalMemory {
public:
    static constexpr Pa kStart{0x8000'0000};

    // `bytes`: a multiple of 2 MiB. RAM is only taken where memory is touched. `injection` may be null.
    [[nodiscard]] static Result<Owned<DeviceMemory>, OsError> create(std::uint64_t bytes, NodeMemory memory,
                                                                     Injection* injection = nullptr) noexcept;
    DeviceMemory(int fd, std::byte* host, std::uint64_t bytes, VaHeap heap, Injection* injection) noexcept;
    ~DeviceMemory() override;

    // A physically contiguous run of zeros. Multiples of 4 KiB; `alignment` is a power of two.
    [[nodiscard]] std::optional<Pa> allocate(std::uint64_t bytes, std::uint64_t alignment) noexcept;
    void free(Pa pa, std::uint64_t bytes) noexcept;

    // The run, which is allocated, shows `file` from `offset` on; `show_memory`: it shows its own memory. 0 or an errno:
    // what it shows then is only known once a `show_memory` succeeded.
    [[nodiscard]] int show_file(Pa pa, std::uint64_t bytes, int file, std::uint64_t offset) noexcept;
    [[nodiscard]] int show_memory(Pa pa, std::uint64_t bytes) noexcept;

    [[nodiscard]] bool contains(Pa pa, std::uint64_t bytes) const noexcept {
        return pa >= kStart && pa - kStart < bytes_ && bytes <= bytes_ - (pa - kStart);
    }
    // The CPU's view. Precondition: contained.
    [[nodiscard]] std::byte* host(Pa pa) const noexcept { return host_ + (pa - kStart); }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] std::uint64_t size() const noexcept { return bytes_; }
    [[nodiscard]] std::uint64_t used() const noexcept;

    [[nodiscard]] bool load(Pa pa, std::uint64_t& value) const noexcept override;

private:
    [[nodiscard]] int show(Pa pa, std::uint64_t bytes, int file, std::uint64_t offset) noexcept;

    const int fd_;
    std::byte* const host_;
    const std::uint64_t bytes_;
    Injection* const injection_;
    mutable std::mutex mutex_;
    VaHeap heap_;  // guarded by mutex_
};

}  // namespace granule
