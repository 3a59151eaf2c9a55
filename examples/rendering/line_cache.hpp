// The read cache of a core: lines of 64 bytes by VA, as a Mali's load/store and texture caches have them.
//
// A line is fetched once and answers until it is thrown out by another, or until `invalidate`. So the cache does not see
// what is written, or bound, after a line was fetched: a VA that was rebound still shows what was there. As on hardware
// that is no matter for the cache, but for who owns the fences:
//
//   - `invalidate` when a job begins: then everything that the job's fences waited for is seen;
//   - during a job nothing that it reads is written or rebound, because whoever would do that waits for the job's fence.
//
// Direct-mapped, 64 KiB. Thread-safety: one core's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "rendering/gpu_memory.hpp"

namespace rendering {

class LineCache {
public:
    static constexpr std::size_t kLineBytes = 64;
    static constexpr std::size_t kLines = 1024;

    explicit LineCache(GpuMemory& memory) noexcept : memory_(memory) { invalidate(); }

    void invalidate() noexcept { tags_.fill(kNoLine); }

    // A value that does not cross a line.
    template <class T>
    [[nodiscard]] T load(std::uint64_t va) {
        static_assert(std::is_trivially_copyable_v<T> && kLineBytes % sizeof(T) == 0);
        const std::uint64_t line = va / kLineBytes;
        // Rows of blocks are 2 KiB apart, tiles 64 KiB: the higher bits come in, or all of them would meet in few places.
        const std::size_t place = (line ^ line >> 5 ^ line >> 10) % kLines;
        if (tags_[place] != line) {
            fetch(line, place);
        }
        T value;
        std::memcpy(&value, &lines_[place][va % kLineBytes], sizeof(T));
        return value;
    }

    [[nodiscard]] std::uint64_t fetches() const noexcept { return fetches_; }

private:
    static constexpr std::uint64_t kNoLine = UINT64_MAX;
    using Line = std::array<std::byte, kLineBytes>;

    void fetch(std::uint64_t line, std::size_t place) {
        tags_[place] = kNoLine;  // a fetch that faults leaves no line behind
        memory_.read(line * kLineBytes, lines_[place]);
        tags_[place] = line;
        ++fetches_;
    }

    GpuMemory& memory_;
    std::array<std::uint64_t, kLines> tags_{};
    std::array<Line, kLines> lines_{};
    std::uint64_t fetches_ = 0;
};

}  // namespace rendering
