// A range of the test's own address space, reserved with a page more on either side, for views at places of its choice;
// and what can be done to a page without a fault.
//
// Thread-safety: none.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace granule::test {

class ReservedRange {
public:
    static constexpr std::uint64_t kPage = 4096;

    explicit ReservedRange(std::uint64_t bytes) : bytes_(bytes + 2 * kPage) {
        void* const all = ::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REQUIRE(all != MAP_FAILED);
        all_ = static_cast<std::byte*>(all);
    }
    ReservedRange(const ReservedRange&) = delete;
    ReservedRange& operator=(const ReservedRange&) = delete;
    ~ReservedRange() { ::munmap(all_, bytes_); }

    [[nodiscard]] std::byte* start() const { return all_ + kPage; }
    [[nodiscard]] std::byte* page_before() const { return all_; }
    [[nodiscard]] std::byte* page_behind() const { return all_ + bytes_ - kPage; }

private:
    std::byte* all_ = nullptr;
    std::uint64_t bytes_;
};

// The kernel looks on our behalf, and says EFAULT where we would fault.
inline bool readable(const std::byte* at) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    const bool read = ::write(ends[1], at, 1) == 1;
    ::close(ends[0]);
    ::close(ends[1]);
    return read;
}
// Leaves what is there as it is.
inline bool writable(std::byte* at) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    bool written = ::write(ends[1], at, 1) == 1;
    written = written && ::read(ends[0], at, 1) == 1;
    ::close(ends[0]);
    ::close(ends[1]);
    return written;
}
// Reserved, by whomever: nobody's next mmap comes there.
inline bool taken(std::byte* page) {
    void* const mapped = ::mmap(page, ReservedRange::kPage, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == page) {
        ::munmap(page, ReservedRange::kPage);
        return false;
    }
    return true;
}

}  // namespace granule::test
