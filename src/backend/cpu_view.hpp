// Views of files at places in the CPU's address space that somebody chose (MAP_FIXED).
//
// What MAP_FIXED replaces is gone even where the call then fails, up to some Linux: the range is a hole then, in which any
// thread's next mmap may land. `close_hole` fills it if it is one, and leaves whatever is there alone.
//
// Thread-safety: any thread.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "src/backend/bo_backend.hpp"

namespace granule {

[[nodiscard]] inline int protection_of(CpuAccess access) noexcept {
    return access == CpuAccess::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
}

// 0 or an errno.
[[nodiscard]] inline int view_file_at(std::byte* where, std::uint64_t bytes, int protection, int file,
                                      std::uint64_t offset) noexcept {
    void* const view = ::mmap(where, bytes, protection, MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(offset));
    return view == MAP_FAILED ? errno : 0;
}

// Nothing can be read there or written, and nobody else's mmap comes there. Precondition: the range is ours.
inline void reserve_again(std::byte* where, std::uint64_t bytes) noexcept {
    static_cast<void>(::mmap(where, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
}

inline void close_hole(std::byte* where, std::uint64_t bytes) noexcept {
    static_cast<void>(
        ::mmap(where, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0));
}

}  // namespace granule
