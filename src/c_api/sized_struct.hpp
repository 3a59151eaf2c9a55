// Structs that can grow, between callers and a library of different ages.
//
//     caller's header   older                      the same                  newer
//     struct_size       |----old----|              |------ours------|        |------ours------|--new--|
//     read              |----old----|000000        |------ours------|        |------ours------|  must be zero
//     written           |----old----|              |------ours------|        |------ours------|0000000|
//
// - A member that the caller's struct does not have is read as 0, which is every member's default.
// - A member that this library does not have must be 0: what was asked for by it would be ignored otherwise.
// - Never is a byte beyond the caller's `struct_size` touched, nor `struct_size` itself.
// - `kFirstSize` is the size in the first version that had the struct: a smaller one is no such struct. It never changes,
//   however the struct grows.
//
// Failure: static text which says what is wrong; nullptr where nothing is.
#pragma once

#include <granule/granule.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace granule::c_api {

template <class Struct>
inline constexpr std::size_t kFirstSize = 0;
template <>
inline constexpr std::size_t kFirstSize<granule_error> = 192;
template <>
inline constexpr std::size_t kFirstSize<granule_soft_info> = 32;
template <>
inline constexpr std::size_t kFirstSize<granule_device_info> = 88;
template <>
inline constexpr std::size_t kFirstSize<granule_device_properties> = 192;
template <>
inline constexpr std::size_t kFirstSize<granule_memory_usage> = 72;
template <>
inline constexpr std::size_t kFirstSize<granule_bo_info> = 40;
template <>
inline constexpr std::size_t kFirstSize<granule_bo_cache_info> = 24;
template <>
inline constexpr std::size_t kFirstSize<granule_cached_bo_info> = 40;
template <>
inline constexpr std::size_t kFirstSize<granule_bo_cache_statistics> = 96;
template <>
inline constexpr std::size_t kFirstSize<granule_pool_info> = 48;
template <>
inline constexpr std::size_t kFirstSize<granule_pool_statistics> = 48;
template <>
inline constexpr std::size_t kFirstSize<granule_gpu_fault> = 32;
template <>
inline constexpr std::size_t kFirstSize<granule_soft_statistics> = 56;
template <>
inline constexpr std::size_t kFirstSize<granule_address_report> = 456;
template <>
inline constexpr std::size_t kFirstSize<granule_vm_info> = 104;
template <>
inline constexpr std::size_t kFirstSize<granule_va_info> = 64;
template <>
inline constexpr std::size_t kFirstSize<granule_vm_state> = 224;
template <>
inline constexpr std::size_t kFirstSize<granule_rebuild_report> = 24;
template <>
inline constexpr std::size_t kFirstSize<granule_vm_statistics> = 240;
template <>
inline constexpr std::size_t kFirstSize<granule_bind_op> = 80;
template <>
inline constexpr std::size_t kFirstSize<granule_bind_report> = 80;
template <>
inline constexpr std::size_t kFirstSize<granule_plan> = 272;

// More than any struct will ever have: a larger `struct_size` was never set.
inline constexpr std::size_t kLargestStruct = 4096;

// Whether `at`, not nullptr, is such a struct.
template <class Struct>
[[nodiscard]] const char* bad_struct(const Struct* at) noexcept {
    static_assert(kFirstSize<Struct> != 0 && sizeof(Struct) >= kFirstSize<Struct>);
    static_assert(offsetof(Struct, struct_size) == 0 && std::is_trivially_copyable_v<Struct>);
    const std::size_t size = at->struct_size;
    if (size < kFirstSize<Struct> || size > kLargestStruct) {
        return "struct_size is not set to sizeof the struct";
    }
    return nullptr;
}

// `to` becomes the caller's `*from`, not nullptr; its `struct_size` becomes ours.
template <class Struct>
[[nodiscard]] const char* read_struct(const Struct* from, Struct& to) noexcept {
    if (const char* const why = bad_struct(from)) {
        return why;
    }
    const std::size_t size = from->struct_size;
    const auto* const bytes = reinterpret_cast<const std::byte*>(from);
    if (size > sizeof(Struct) &&
        !std::all_of(bytes + sizeof(Struct), bytes + size, [](std::byte byte) { return byte == std::byte{0}; })) {
        return "struct_size says that there are members which this library does not know, and they are not zero";
    }
    to = Struct{};
    std::memcpy(&to, from, std::min(size, sizeof(Struct)));
    to.struct_size = sizeof(Struct);
    return nullptr;
}

// The caller's `*to`, which is no bad_struct, becomes `value`.
template <class Struct>
void write_struct(Struct* to, const Struct& value) noexcept {
    const std::uint32_t size = to->struct_size;
    auto* const bytes = reinterpret_cast<std::byte*>(to);
    std::memcpy(bytes, &value, std::min<std::size_t>(size, sizeof(Struct)));
    if (size > sizeof(Struct)) {
        std::fill(bytes + sizeof(Struct), bytes + size, std::byte{0});
    }
    to->struct_size = size;
}

// An array of such structs, as far apart as the first one's `struct_size` says.
template <class Struct>
class StructArray {
public:
    StructArray(Struct* first, std::size_t count) noexcept : first_(first), count_(count) {}

    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    // Of one `i` below size() whose forerunners are no bad structs.
    [[nodiscard]] Struct* at(std::size_t i) const noexcept {
        return reinterpret_cast<Struct*>(reinterpret_cast<std::byte*>(first_) + i * first_->struct_size);
    }
    [[nodiscard]] const char* read(std::size_t i, Struct& to) const noexcept {
        if (at(i)->struct_size != first_->struct_size || first_->struct_size % alignof(Struct) != 0) {
            return "in an array all have the same struct_size";
        }
        return read_struct(at(i), to);
    }

private:
    Struct* first_;
    std::size_t count_;
};

}  // namespace granule::c_api
