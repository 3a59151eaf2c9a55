// What was there: a bounded history of removed mappings, so that every fault has a name (P6).
//
// A ring: the newest `capacity` removals, oldest overwritten. All memory is taken at creation, because removals happen
// on the path that must not fail (P4). A removal takes 48 B, packed as in the mapping map. Labels are a ring of their own,
// so that removals without one do not touch its memory: no more than `capacity` of the newest removals have one, so that a
// label is never overwritten before its removal.
//
//     entries   | 48 B | 48 B | 48 B | ...      labels   | 49 B | 49 B | ...
//                         `-- label: which one, or none -----^
//
// Complexity: record O(1); last_at O(capacity), for when something has gone wrong.
// Thread-safety: none; the VM's lock covers it.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "allocator/mapping.hpp"
#include "allocator/mapping_entry.hpp"
#include "src/array.hpp"
#include "src/status.hpp"

namespace granule {

// CLOCK_MONOTONIC.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;

struct Removal {
    enum class By : std::uint8_t { kUnmap, kMap };
    Mapping what;      // the part that went
    ShortLabel label;  // of its BO, as it was then
    BindSerial by{};   // the bind that removed it
    By how = By::kUnmap;
    std::uint64_t time_ns = 0;  // CLOCK_MONOTONIC
};

class Journal {
public:
    // `valid()` is false where there was no memory.
    Journal(std::size_t capacity, NodeMemory memory) noexcept;

    [[nodiscard]] bool valid() const noexcept { return capacity_ == 0 || entries_.capacity() != 0; }
    // Precondition: whole pages within [0, 2^48].
    void record(const Removal& removal) noexcept;
    // Of a BO that has no label, or of none.
    void record(const MappingEntry& what, BindSerial by, Removal::By how, std::uint64_t time_ns) noexcept {
        put({what, time_ns, by, 0, how == Removal::By::kMap ? 1U : 0U});
    }
    // The newest removal that had `va`.
    [[nodiscard]] std::optional<Removal> last_at(Va va) const noexcept;

    // Nothing was forgotten yet.
    [[nodiscard]] bool complete() const noexcept { return recorded_ == entries_.size(); }
    // Removals that were recorded, and how many of them are still known.
    [[nodiscard]] std::uint64_t recorded() const noexcept { return recorded_; }
    [[nodiscard]] std::size_t known() const noexcept { return entries_.size(); }

private:
    struct Entry {
        MappingEntry what;
        std::uint64_t time_ns;
        BindSerial by;
        std::uint32_t label : 31;  // one more than its index; 0: none
        std::uint32_t by_map : 1;
    };
    static_assert(sizeof(Entry) == 48);

    // The next element of a ring that is full from `capacity_` on.
    template <class T>
    void put(Array<T>& ring, std::size_t& next, const T& value) noexcept {
        if (ring.size() < capacity_) {
            const bool pushed = ring.push(value);
            assert(pushed);
            static_cast<void>(pushed);
        } else {
            ring[next] = value;
        }
        next = next + 1 == capacity_ ? 0 : next + 1;
    }
    void put(const Entry& entry) noexcept {
        if (entries_.capacity() != 0) {
            put(entries_, next_, entry);
            ++recorded_;
        }
    }

    Array<Entry> entries_;
    Array<ShortLabel> labels_;
    std::size_t capacity_;
    std::size_t next_ = 0;        // where the next removal goes
    std::size_t next_label_ = 0;  // and the next label
    std::uint64_t recorded_ = 0;
};

}  // namespace granule
