// Structs of callers that are older or newer than the library (src/c_api/sized_struct.hpp).
#include "src/c_api/sized_struct.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace granule::c_api {

// A struct that has grown: `third` came later.
struct Grown {
    std::uint32_t struct_size;
    std::uint32_t second;
    std::uint64_t third;
};
template <>
inline constexpr std::size_t kFirstSize<Grown> = 8;

namespace {

// Room for a struct of a caller's size, and a mark behind it that nobody touches.
struct Place {
    alignas(8) std::array<unsigned char, 64> bytes{};

    explicit Place(std::uint32_t struct_size, unsigned char fill = 0) {
        bytes.fill(fill);
        std::memcpy(bytes.data(), &struct_size, sizeof(struct_size));
    }
    [[nodiscard]] Grown* get() { return reinterpret_cast<Grown*>(bytes.data()); }
    [[nodiscard]] bool all_from(std::size_t first, unsigned char value) const {
        for (std::size_t i = first; i < bytes.size(); ++i) {
            if (bytes[i] != value) {
                return false;
            }
        }
        return true;
    }
};

TEST_CASE("a member that an older caller does not have is read as zero") {
    Place place(8, 0xee);
    const std::uint32_t second = 7;
    std::memcpy(place.bytes.data() + 4, &second, sizeof(second));
    Grown read{1, 1, 1};
    CHECK(read_struct(place.get(), read) == nullptr);
    CHECK(read.struct_size == sizeof(Grown));
    CHECK(read.second == 7);
    CHECK(read.third == 0);
}

TEST_CASE("no byte is written beyond what an older caller has") {
    Place place(8, 0xee);
    write_struct(place.get(), Grown{sizeof(Grown), 5, 6});
    CHECK(place.get()->struct_size == 8);
    CHECK(place.get()->second == 5);
    CHECK(place.all_from(8, 0xee));
}

TEST_CASE("what a newer caller has beyond ours must be zero, and is written as zero") {
    Place place(24);
    Grown read{};
    CHECK(read_struct(place.get(), read) == nullptr);
    place.bytes[23] = 1;
    CHECK(read_struct(place.get(), read) != nullptr);
    place.bytes[24] = 1;  // no longer its own
    place.bytes[23] = 0;
    CHECK(read_struct(place.get(), read) == nullptr);
    Place out(24, 0xee);
    CHECK(bad_struct(out.get()) == nullptr);
    write_struct(out.get(), Grown{sizeof(Grown), 5, 6});
    CHECK(out.get()->struct_size == 24);
    CHECK(out.get()->third == 6);
    for (std::size_t i = sizeof(Grown); i < 24; ++i) {
        CHECK(out.bytes[i] == 0);
    }
    CHECK(out.all_from(24, 0xee));
}

TEST_CASE("a size that no version had is refused") {
    for (const std::uint32_t size : {0U, 1U, 4U, 7U, 4097U, 0xeeeeeeeeU}) {
        CAPTURE(size);
        Place place(size);
        Grown read{};
        CHECK(bad_struct(place.get()) != nullptr);
        CHECK(read_struct(place.get(), read) != nullptr);
    }
}

TEST_CASE("an array is as far apart as its first element says, and all say the same") {
    alignas(8) std::array<unsigned char, 48> bytes{};
    for (std::uint32_t i = 0; i < 2; ++i) {
        const std::array<std::uint32_t, 2> head = {24, 10 + i};
        std::memcpy(bytes.data() + std::size_t{24} * i, head.data(), sizeof(head));
    }
    const StructArray<Grown> array(reinterpret_cast<Grown*>(bytes.data()), 2);
    Grown read{};
    CHECK(array.read(1, read) == nullptr);
    CHECK(read.second == 11);
    array.at(1)->third = 77;
    CHECK(bytes[32] == 77);
    array.at(1)->struct_size = 16;
    CHECK(array.read(1, read) != nullptr);
    // Elements that would not be aligned.
    array.at(0)->struct_size = 20;
    CHECK(array.read(0, read) != nullptr);
}

}  // namespace
}  // namespace granule::c_api
