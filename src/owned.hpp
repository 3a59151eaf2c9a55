// One object in NodeMemory and whoever owns it: unique_ptr for code that must not throw when memory runs out.
//
// `make_owned` returns an empty Owned where there is no memory. A base class has a virtual destructor.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "allocator/node_memory.hpp"

namespace granule {

template <class T>
class Owned {
public:
    Owned() noexcept = default;
    Owned(T* object, NodeMemory memory, std::size_t bytes, std::size_t alignment) noexcept
        : object_(object), memory_(memory), block_(object), bytes_(bytes), alignment_(alignment) {}
    template <class Derived>
    requires std::is_convertible_v<Derived*, T*>
    // NOLINTNEXTLINE(google-explicit-constructor): as unique_ptr converts to its base
    Owned(Owned<Derived>&& other)
    noexcept
        : object_(other.object_),
          memory_(other.memory_),
          block_(other.block_),
          bytes_(other.bytes_),
          alignment_(other.alignment_) {
        static_assert(std::is_same_v<Derived, T> || std::has_virtual_destructor_v<T>);
        other.object_ = nullptr;
    }
    Owned(Owned&& other) noexcept
        : object_(std::exchange(other.object_, nullptr)),
          memory_(other.memory_),
          block_(other.block_),
          bytes_(other.bytes_),
          alignment_(other.alignment_) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(object_, other.object_);
        std::swap(memory_, other.memory_);
        std::swap(block_, other.block_);
        std::swap(bytes_, other.bytes_);
        std::swap(alignment_, other.alignment_);
        return *this;
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
        if (object_ != nullptr) {
            object_->~T();
            memory_.release(memory_.context, block_, bytes_, alignment_);
        }
    }

    [[nodiscard]] T* get() const noexcept { return object_; }
    [[nodiscard]] T& operator*() const noexcept { return *object_; }
    [[nodiscard]] T* operator->() const noexcept { return object_; }
    [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

private:
    template <class Other>
    friend class Owned;

    T* object_ = nullptr;
    NodeMemory memory_ = NodeMemory::process();
    void* block_ = nullptr;
    std::size_t bytes_ = 0;
    std::size_t alignment_ = 1;
};

template <class T, class... Arguments>
[[nodiscard]] Owned<T> make_owned(NodeMemory memory, Arguments&&... arguments) noexcept {
    void* const block = memory.allocate(memory.context, sizeof(T), alignof(T));
    if (block == nullptr) {
        return {};
    }
    return {::new (block) T(std::forward<Arguments>(arguments)...), memory, sizeof(T), alignof(T)};
}

}  // namespace granule
