#include "allocator/node_memory.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <utility>
#include <vector>

#include "tests/support/sanitized.hpp"

using granule::NodeMemory;

namespace {

constexpr std::size_t kHugePage = NodeMemory::kHugePage;
constexpr std::size_t kLargeBlock = NodeMemory::kLargeBlock;

// Both sides of every size at which the way to get memory changes, and sizes that are no multiple of a page.
constexpr std::array kSizes = {std::size_t{1},  std::size_t{4096},    kHugePage - 1,
                               kHugePage,       kLargeBlock - 1,      kLargeBlock,
                               kLargeBlock + 1, 2 * kLargeBlock - 16, 3 * kHugePage + 12345};

std::uintptr_t address(const void* block) {
    return reinterpret_cast<std::uintptr_t>(block);
}

// While it lives, the process can have so many bytes of addresses more than it has.
class AddressSpaceLimit {
public:
    explicit AddressSpaceLimit(std::size_t more) {
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        REQUIRE(pages != 0);
        REQUIRE(getrlimit(RLIMIT_AS, &before_) == 0);
        rlimit limit = before_;
        limit.rlim_cur = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + more;
        REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    }
    AddressSpaceLimit(const AddressSpaceLimit&) = delete;
    AddressSpaceLimit& operator=(const AddressSpaceLimit&) = delete;
    ~AddressSpaceLimit() { setrlimit(RLIMIT_AS, &before_); }

private:
    rlimit before_{};
};

}  // namespace

TEST_CASE("a block of any size is aligned as was asked, and its own from the first byte to the last") {
    const NodeMemory memory = NodeMemory::process();
    std::vector<std::pair<unsigned char*, std::size_t>> blocks;
    for (const std::size_t alignment : {std::size_t{16}, std::size_t{4096}, kHugePage}) {
        for (const std::size_t bytes : kSizes) {
            auto* block = static_cast<unsigned char*>(memory.allocate(memory.context, bytes, alignment));
            REQUIRE(block != nullptr);
            CHECK(address(block) % alignment == 0);
            // The ends, and every page between: what is not mapped would end the test.
            const auto mark = static_cast<unsigned char>(blocks.size() + 1);
            for (std::size_t at = 0; at < bytes; at += 4096) {
                block[at] = mark;
            }
            block[bytes - 1] = mark;
            blocks.emplace_back(block, bytes);
        }
    }
    std::size_t at = 0;
    for (const std::size_t alignment : {std::size_t{16}, std::size_t{4096}, kHugePage}) {
        for (const std::size_t bytes : kSizes) {
            const auto [block, size] = blocks[at++];
            REQUIRE(size == bytes);
            CHECK(block[0] == static_cast<unsigned char>(at));
            CHECK(block[size - 1] == static_cast<unsigned char>(at));
            memory.release(memory.context, block, size, alignment);
        }
    }
}

// A sanitizer's allocator ends the process instead of saying no.
TEST_CASE("what is released can be had again, more often than there would be room for at once" *
          doctest::skip(granule::test::kSanitized)) {
    constexpr std::size_t kBytes = 16 * kLargeBlock + 12345;
    const AddressSpaceLimit room_for_three(3 * kBytes);
    const NodeMemory memory = NodeMemory::process();
    for (unsigned round = 0; round < 64; ++round) {
        void* const block = memory.allocate(memory.context, kBytes, 64);
        REQUIRE(block != nullptr);
        memory.release(memory.context, block, kBytes, 64);
    }
}

TEST_CASE("more than there are addresses is refused" * doctest::skip(granule::test::kSanitized)) {
    const NodeMemory memory = NodeMemory::process();
    for (const std::size_t bytes : {(std::size_t{1} << 48U) - 1, std::size_t{1} << 50U, SIZE_MAX / 2}) {
        CHECK(memory.allocate(memory.context, bytes, 64) == nullptr);
    }
}
