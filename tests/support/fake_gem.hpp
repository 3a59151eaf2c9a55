// GEM objects of the fake kernel: memory that is a memfd once the CPU looks at it, and the handles of a file.
//
// What an object is to page tables is where its memory lies physically, which decides about blocks:
//
//     kHuge   2 MiB folios, each somewhere else, then single pages: shmem with huge pages
//     kSmall  single pages, no two of them neighbours
//     kLucky  small folios that happen to be neighbours: blocks, although no folio is 2 MiB. Every other object begins
//             in the middle of a 2 MiB frame, so that blocks stand where VA and BO offset do not agree modulo 2 MiB
//
// Thread-safety: none: FakeDrm's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace granule::test {

enum class FakeMemory : std::uint8_t { kHuge, kSmall, kLucky };

class FakeGemObject {
public:
    struct Physical {
        std::uint64_t pa = 0;
        std::uint64_t contiguous = 0;  // bytes from here on
    };

    FakeGemObject(std::uint64_t serial, std::uint64_t bytes, FakeMemory memory) noexcept
        : serial_(serial), bytes_(bytes), memory_(memory) {}
    FakeGemObject(const FakeGemObject&) = delete;
    FakeGemObject& operator=(const FakeGemObject&) = delete;
    FakeGemObject(FakeGemObject&&) = delete;
    FakeGemObject& operator=(FakeGemObject&&) = delete;
    ~FakeGemObject();

    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }  // never used again
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] Physical physical(std::uint64_t offset) const noexcept;
    [[nodiscard]] bool huge_folio_at(std::uint64_t offset) const noexcept;
    // A file with the memory, made when first asked for; -1: the machine has none.
    [[nodiscard]] int memory_fd() noexcept;

    std::uint32_t flags = 0;        // as it was created with
    std::uint64_t only_for_vm = 0;  // serial of the VM; 0: any
    bool imported = false;          // of another driver: there is no array of its pages
    bool sparse_dummy = false;      // the kernel's own, behind MAP_SPARSE
    bool purgeable = false;         // MADVISE DONTNEED
    bool purged = false;
    std::uint64_t open_mappings = 0;  // panfrost: files that show it
    std::string label;

private:
    std::uint64_t serial_;
    std::uint64_t bytes_;
    FakeMemory memory_;
    int memory_fd_ = -1;
};

using FakeGem = std::shared_ptr<FakeGemObject>;

// The handles of a file: the least free number first, from 1 on.
class FakeGemHandles {
public:
    // One handle for an object, however often it is asked for.
    [[nodiscard]] std::uint32_t add(const FakeGem& object);
    [[nodiscard]] FakeGem find(std::uint32_t handle) const;                    // empty: unknown
    [[nodiscard]] std::uint32_t handle_of(const FakeGemObject& object) const;  // 0: none
    [[nodiscard]] bool close(std::uint32_t handle);                            // false: unknown
    [[nodiscard]] const std::map<std::uint32_t, FakeGem>& all() const noexcept { return by_handle_; }

private:
    std::map<std::uint32_t, FakeGem> by_handle_;
    std::map<const FakeGemObject*, std::uint32_t> by_object_;
};

}  // namespace granule::test
