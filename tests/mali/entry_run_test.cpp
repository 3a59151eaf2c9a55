// Every path that this CPU has, against a plain loop: each length with each alignment of both ends.
#include "mali/entry_run.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "mali/table_entry.hpp"

namespace granule::mali {
namespace {

// Twice the widest vector, four times over, and a bit: every loop of every path is left at every place.
constexpr std::size_t kMaxCount = 133;
constexpr std::size_t kVectorEntries = 8;
constexpr std::size_t kRoom = kVectorEntries + kMaxCount + kVectorEntries;

constexpr std::uint64_t kNeighbour = 0xdeadbeefcafef00d;
constexpr std::uint64_t kDescriptor = 0x0060'00ff'ffff'f203;
constexpr std::array<std::uint64_t, 6> kSteps = {
    0, 1, 4096, std::uint64_t{1} << 21, std::uint64_t{1} << 30, kMaxEntryStep};

// A vector's alignment, so that the place of an entry says how it is aligned.
struct alignas(64) Entries {
    std::array<std::uint64_t, kRoom> at;
};

// The path as it was, whatever a case does.
class SelectedPath {
public:
    explicit SelectedPath(VectorPath path) noexcept : before_(vector_path()), there_(select_vector_path(path)) {}
    SelectedPath(const SelectedPath&) = delete;
    SelectedPath& operator=(const SelectedPath&) = delete;
    SelectedPath(SelectedPath&&) = delete;
    SelectedPath& operator=(SelectedPath&&) = delete;
    ~SelectedPath() { static_cast<void>(select_vector_path(before_)); }

    [[nodiscard]] bool there() const noexcept { return there_; }

private:
    VectorPath before_;
    bool there_;
};

template <class Function>
void on_every_path(Function&& function) {
    for (const VectorPath path : kVectorPaths) {
        const SelectedPath selected(path);
        CHECK(selected.there() == has_vector_path(path));
        if (selected.there()) {
            CAPTURE(to_string(path));
            CHECK(vector_path() == path);
            function();
        }
    }
}

// What fill_entries has to leave behind, written another way.
[[nodiscard]] bool is_filled(const Entries& entries, std::size_t first, std::size_t count, std::uint64_t descriptor,
                             std::uint64_t step) {
    for (std::size_t i = 0; i < kRoom; ++i) {
        const bool inside = i >= first && i < first + count;
        if (entries.at[i] != (inside ? descriptor + (i - first) * step : kNeighbour)) {
            return false;
        }
    }
    return true;
}

TEST_CASE("the scalar path is everywhere, and a path that is not there is not selected") {
    CHECK(has_vector_path(VectorPath::kScalar));
    const VectorPath before = vector_path();
    CHECK(has_vector_path(before));
    for (const VectorPath path : kVectorPaths) {
        if (!has_vector_path(path)) {
            CHECK_FALSE(select_vector_path(path));
            CHECK(vector_path() == before);
        }
    }
    CHECK_FALSE(has_vector_path(static_cast<VectorPath>(kVectorPaths.size())));
    CHECK_FALSE(select_vector_path(static_cast<VectorPath>(kVectorPaths.size())));
}

TEST_CASE("every path has a name of its own") {
    std::vector<std::string> names;
    names.reserve(kVectorPaths.size());
    for (const VectorPath path : kVectorPaths) {
        names.emplace_back(to_string(path));
    }
    std::sort(names.begin(), names.end());
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
    CHECK(std::find(names.begin(), names.end(), "unknown") == names.end());
}

TEST_CASE("fill writes every entry of a run and none beside it, at every alignment") {
    on_every_path([] {
        Entries entries{};
        for (std::size_t first = 0; first < kVectorEntries; ++first) {
            for (std::size_t count = 0; count <= kMaxCount; ++count) {
                for (const std::uint64_t step : kSteps) {
                    entries.at.fill(kNeighbour);
                    fill_entries(&entries.at[first], count, kDescriptor, step);
                    if (!is_filled(entries, first, count, kDescriptor, step)) {
                        FAIL("first ", first, " count ", count, " step ", step);
                    }
                }
            }
        }
    });
}

TEST_CASE("fill wraps as 64 bits do") {
    on_every_path([] {
        Entries entries{};
        entries.at.fill(kNeighbour);
        fill_entries(&entries.at[1], 100, ~std::uint64_t{0} - 50, 7);
        CHECK(is_filled(entries, 1, 100, ~std::uint64_t{0} - 50, 7));
    });
}

TEST_CASE("clear empties every entry of a run and none beside it, at every alignment") {
    on_every_path([] {
        Entries entries{};
        for (std::size_t first = 0; first < kVectorEntries; ++first) {
            for (std::size_t count = 0; count <= kMaxCount; ++count) {
                entries.at.fill(kNeighbour);
                clear_entries(&entries.at[first], count);
                if (!is_filled(entries, first, count, 0, 0)) {
                    FAIL("first ", first, " count ", count);
                }
            }
        }
    });
}

TEST_CASE(
    "zeros that are streamed are there for their thread at once, whole lines and others, and none beside the run") {
    on_every_path([] {
        Entries entries{};
        for (std::size_t first = 0; first <= kVectorEntries; ++first) {
            for (std::size_t count = 0; count <= kMaxCount - 1; ++count) {
                entries.at.fill(kNeighbour);
                stream_zeros(&entries.at[first], count);
                if (!is_filled(entries, first, count, 0, 0)) {
                    FAIL("first ", first, " count ", count);
                }
            }
        }
        stream_fence();
        CHECK(is_filled(entries, kVectorEntries, kMaxCount - 1, 0, 0));
    });
}

// One bit is enough, in every position and whatever stands behind it and beside the run.
TEST_CASE("first_not_zero finds the first entry with a bit, or none") {
    on_every_path([] {
        Entries entries{};
        for (std::size_t first = 0; first < kVectorEntries; ++first) {
            for (std::size_t count = 0; count <= kMaxCount; ++count) {
                entries.at.fill(kNeighbour);
                std::fill_n(&entries.at[first], count, 0);
                if (first_not_zero(&entries.at[first], count) != count) {
                    FAIL("nothing there: first ", first, " count ", count);
                }
                // From the last position on, so that the bits behind stay.
                for (std::size_t at = count; at-- > 0;) {
                    entries.at[first + at] = std::uint64_t{1} << (at * 7 % 64);
                    if (first_not_zero(&entries.at[first], count) != at) {
                        FAIL("first ", first, " count ", count, " at ", at);
                    }
                }
            }
        }
    });
}

TEST_CASE("first_unlike finds the first entry of another type, and an empty one, or none") {
    constexpr std::uint64_t kBlock = 0x12'3456'7000 | bits::kTypeBlock;
    // Only the first two differ in what is looked at.
    constexpr std::array<std::uint64_t, 3> kOthers = {0, 0x12'3456'7000 | bits::kTypeTable, ~std::uint64_t{0}};
    on_every_path([&] {
        Entries entries{};
        for (std::size_t first = 0; first < kVectorEntries; ++first) {
            for (std::size_t count = 0; count <= kMaxCount; ++count) {
                entries.at.fill(0);
                for (std::size_t i = 0; i < count; ++i) {
                    entries.at[first + i] = kBlock + (std::uint64_t{i} << 21);
                }
                if (first_unlike(&entries.at[first], count, bits::kTypeMask, bits::kTypeBlock) != count) {
                    FAIL("all alike: first ", first, " count ", count);
                }
                for (std::size_t at = count; at-- > 0;) {
                    entries.at[first + at] = kOthers[at % kOthers.size()];
                    if (first_unlike(&entries.at[first], count, bits::kTypeMask, bits::kTypeBlock) != at) {
                        FAIL("first ", first, " count ", count, " at ", at);
                    }
                }
            }
        }
    });
}

TEST_CASE("first_unlike looks at every bit of the mask, and at no other") {
    on_every_path([] {
        Entries entries{};
        for (unsigned bit = 0; bit < 64; ++bit) {
            const std::uint64_t one = std::uint64_t{1} << bit;
            for (std::size_t at = 0; at < 40; ++at) {
                entries.at.fill(kDescriptor);
                entries.at[at] ^= one;
                const std::size_t seen = first_unlike(entries.at.data(), 40, one, kDescriptor & one);
                const std::size_t unseen = first_unlike(entries.at.data(), 40, ~one, kDescriptor & ~one);
                if (seen != at || unseen != 40) {
                    FAIL("bit ", bit, " at ", at, ": ", seen, ", ", unseen);
                }
            }
        }
    });
}

// With the address sanitizer: what is beside the run may not be there.
TEST_CASE("nothing is read or written beyond a run") {
    on_every_path([] {
        for (std::size_t count = 1; count <= kMaxCount; ++count) {
            std::vector<std::uint64_t> exact(count);
            bool right = first_not_zero(exact.data(), count) == count;
            fill_entries(exact.data(), count, bits::kTypeBlock, kPageBytes);
            right = right && first_unlike(exact.data(), count, bits::kTypeMask, bits::kTypeBlock) == count;
            clear_entries(exact.data(), count);
            right = right && first_not_zero(exact.data(), count) == count;
            if (!right) {
                FAIL("count ", count);
            }
        }
    });
}

// Everything mixed, on one table, each step against the same done by hand.
TEST_CASE("random runs leave what plain loops leave (random)") {
    constexpr unsigned kRandomSteps = 20000;
    on_every_path([] {
        constexpr unsigned kSeed = 7;
        std::mt19937_64 random(kSeed);
        Entries entries{};
        std::array<std::uint64_t, kRoom> expected{};
        for (unsigned step = 0; step < kRandomSteps; ++step) {
            const std::size_t first = random() % kRoom;
            const std::size_t count = random() % (kRoom - first + 1);
            const auto begin = expected.begin() + static_cast<std::ptrdiff_t>(first);
            const auto end = begin + static_cast<std::ptrdiff_t>(count);
            std::size_t found = 0;
            std::size_t wanted = 0;
            switch (random() % 4) {
                case 0: {
                    std::uint64_t descriptor = random() | bits::kTypeBlock;
                    const std::uint64_t add = random() & kMaxEntryStep;
                    fill_entries(&entries.at[first], count, descriptor, add);
                    std::for_each(begin, end, [&](std::uint64_t& entry) {
                        entry = descriptor;
                        descriptor += add;
                    });
                    break;
                }
                case 1:
                    clear_entries(&entries.at[first], count);
                    std::fill(begin, end, 0);
                    break;
                case 2:
                    found = first_not_zero(&entries.at[first], count);
                    wanted = static_cast<std::size_t>(
                        std::find_if(begin, end, [](std::uint64_t entry) { return entry != 0; }) - begin);
                    break;
                default:
                    found = first_unlike(&entries.at[first], count, bits::kTypeBlock, bits::kTypeBlock);
                    wanted = static_cast<std::size_t>(
                        std::find_if(begin, end, [](std::uint64_t entry) { return (entry & 1) == 0; }) - begin);
                    break;
            }
            if (entries.at != expected || found != wanted) {
                FAIL("seed ", kSeed, " step ", step, ": first ", first, " count ", count, " found ", found, " of ",
                     wanted);
            }
        }
    });
}

// Promise of the header: whole entries, whichever path writes them. (A CPU that tore them would have to be caught in
// the act; what is tested is that no path writes in parts of less than an entry.)
TEST_CASE("an entry is seen as it was or as it is, while runs are filled and cleared") {
    constexpr unsigned kRounds = 2000;
    constexpr std::uint64_t kWhole = 0x0123'4567'89ab'cdef;
    on_every_path([] {
        Entries entries{};
        std::atomic<bool> done{false};
        std::atomic<bool> torn{false};
        std::thread reader([&] {
            while (!done.load(std::memory_order_relaxed)) {
                for (const std::uint64_t& entry : entries.at) {
                    const std::uint64_t seen = load_entry(entry);
                    if (seen != 0 && seen != kWhole) {
                        torn.store(true, std::memory_order_relaxed);
                    }
                }
            }
        });
        for (unsigned round = 0; round < kRounds; ++round) {
            const std::size_t first = round % kVectorEntries;
            fill_entries(&entries.at[first], kMaxCount, kWhole, 0);
            clear_entries(&entries.at[first], kMaxCount);
        }
        done.store(true, std::memory_order_relaxed);
        reader.join();
        CHECK_FALSE(torn.load());
    });
}

TEST_CASE("a path may be selected by one thread while another writes runs") {
    Entries entries{};
    const VectorPath before = vector_path();
    std::atomic<bool> done{false};
    std::thread selector([&] {
        while (!done.load(std::memory_order_relaxed)) {
            for (const VectorPath path : kVectorPaths) {
                static_cast<void>(select_vector_path(path));
            }
        }
    });
    bool right = true;
    for (unsigned round = 0; round < 2000; ++round) {
        entries.at.fill(kNeighbour);
        fill_entries(&entries.at[round % kVectorEntries], 100, kDescriptor, round);
        right = right && is_filled(entries, round % kVectorEntries, 100, kDescriptor, round);
    }
    done.store(true, std::memory_order_relaxed);
    selector.join();
    static_cast<void>(select_vector_path(before));
    CHECK(right);
}

}  // namespace
}  // namespace granule::mali
