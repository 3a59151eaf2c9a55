// A growable array that says when there is no memory, for code without exceptions.
//
// Elements are trivially copyable. `push` and `reserve` return false and change nothing where memory runs out; nothing
// else allocates. Growth is by doubling: push is O(1) amortised.
//
// Thread-safety: none.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "allocator/node_memory.hpp"

namespace granule {

template <class T>
class Array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    explicit Array(NodeMemory memory) noexcept : memory_(memory) {}
    Array(Array&& other) noexcept
        : memory_(other.memory_),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    Array& operator=(Array&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() {
        if (data_ != nullptr) {
            memory_.release(memory_.context, data_, capacity_ * kElementBytes, alignof(T));
        }
    }

    [[nodiscard]] bool reserve(std::size_t capacity) noexcept {
        if (capacity <= capacity_) {
            return true;
        }
        void* const block = memory_.allocate(memory_.context, capacity * kElementBytes, alignof(T));
        if (block == nullptr) {
            return false;
        }
        if (size_ != 0) {
            std::memcpy(block, data_, size_ * kElementBytes);
        }
        if (data_ != nullptr) {
            memory_.release(memory_.context, data_, capacity_ * kElementBytes, alignof(T));
        }
        data_ = static_cast<T*>(block);
        capacity_ = capacity;
        return true;
    }
    [[nodiscard]] bool push(const T& value) noexcept {
        const T copy = value;  // `value` may be an element
        if (size_ == capacity_ && !reserve(capacity_ == 0 ? 8 : 2 * capacity_)) {
            return false;
        }
        ::new (static_cast<void*>(data_ + size_)) T(copy);
        ++size_;
        return true;
    }
    void truncate(std::size_t size) noexcept {
        assert(size <= size_);
        size_ = size;
    }
    void clear() noexcept { size_ = 0; }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] T& operator[](std::size_t i) noexcept {
        assert(i < size_);
        return data_[i];
    }
    [[nodiscard]] const T& operator[](std::size_t i) const noexcept {
        assert(i < size_);
        return data_[i];
    }
    [[nodiscard]] T& back() noexcept { return (*this)[size_ - 1]; }
    [[nodiscard]] const T& back() const noexcept { return (*this)[size_ - 1]; }
    [[nodiscard]] std::span<const T> view() const noexcept { return {data_, size_}; }
    [[nodiscard]] const T* begin() const noexcept { return data_; }
    [[nodiscard]] const T* end() const noexcept { return data_ + size_; }
    [[nodiscard]] NodeMemory memory() const noexcept { return memory_; }

private:
    // NOLINTNEXTLINE(bugprone-sizeof-expression): of a pointer, where the elements are pointers
    static constexpr std::size_t kElementBytes = sizeof(T);

    NodeMemory memory_;
    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace granule
