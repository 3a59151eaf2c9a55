// Memory for page tables of the soft device: pages of the device's own memory, as a kernel takes them out of RAM.
//
// SoftTables keeps, for the whole device, the TableBook beside each page: one array over all of device memory, of which
// only what belongs to tables is ever touched. SoftTableMemory is one VM's share: chunks of pages that it got from
// device memory and gives back at its end. Nothing is cleared on the way: TableBook::stale goes with the page. What device
// memory hands out is zeros, and a chunk that goes back to it is punched out.
//
// Thread-safety: SoftTables: any thread. SoftTableMemory: the VM's lock; `table_at` any thread.
// Complexity: take, give_back, table_at: O(1). reserve: O(1) plus one allocation for each 2 MiB of tables.
#pragma once

#include <atomic>
#include <cstdint>

#include "mali/table_memory.hpp"
#include "src/array.hpp"
#include "src/backend/injection.hpp"
#include "src/device_memory.hpp"

namespace granule {

class SoftTables {
public:
    [[nodiscard]] static Result<Owned<SoftTables>, OsError> create(DeviceMemory& memory, NodeMemory nodes) noexcept;
    SoftTables(DeviceMemory& memory, mali::TableBook* books) noexcept : memory_(memory), books_(books) {}
    SoftTables(const SoftTables&) = delete;
    SoftTables& operator=(const SoftTables&) = delete;
    ~SoftTables();

    [[nodiscard]] DeviceMemory& memory() const noexcept { return memory_; }
    [[nodiscard]] mali::TablePage page_at(Pa pa) const noexcept;
    // All of device memory: any of its pages can be a table.
    [[nodiscard]] mali::TableWindow window() const noexcept;
    // Of all address spaces. Any thread, without a lock.
    [[nodiscard]] std::uint64_t pages_in_use() const noexcept { return in_use_.load(std::memory_order_relaxed); }
    // Leaves that an operation would have cleared in part, since the device is there.
    [[nodiscard]] std::uint64_t leaf_cuts() const noexcept { return leaf_cuts_.load(std::memory_order_relaxed); }
    void count_leaf_cut() const noexcept { leaf_cuts_.fetch_add(1, std::memory_order_relaxed); }

private:
    friend class SoftTableMemory;

    DeviceMemory& memory_;
    mali::TableBook* const books_;
    mutable std::atomic<std::uint64_t> in_use_{0};
    mutable std::atomic<std::uint64_t> leaf_cuts_{0};
};

class SoftTableMemory final : public mali::TableMemory {
public:
    SoftTableMemory(const SoftTables& tables, NodeMemory nodes, Injection* injection) noexcept;
    ~SoftTableMemory() override;

    [[nodiscard]] bool reserve(std::uint64_t pages) noexcept override;
    void unreserve(std::uint64_t pages) noexcept override;
    [[nodiscard]] mali::TablePage take() noexcept override;
    void give_back(mali::TablePage page) noexcept override;
    [[nodiscard]] mali::TablePage table_at(Pa table) const noexcept override { return tables_.page_at(table); }
    [[nodiscard]] mali::TableWindow window() const noexcept override { return tables_.window(); }
    [[nodiscard]] mali::TablePage upcoming() const noexcept override {
        return free_.empty() ? mali::TablePage{} : tables_.page_at(free_.back());
    }
    // The soft walker reads what the CPU wrote: nothing to clean. Counted, because a real device pays for each.
    void make_visible(const std::uint64_t* /*first*/, std::size_t count) noexcept override {
        ++clean_runs_;
        cleaned_entries_ += count;
    }

    [[nodiscard]] const SoftTables& tables() const noexcept { return tables_; }
    [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }
    [[nodiscard]] std::uint64_t reserved() const noexcept { return reserved_; }
    [[nodiscard]] std::uint64_t clean_runs() const noexcept { return clean_runs_; }
    [[nodiscard]] std::uint64_t cleaned_entries() const noexcept { return cleaned_entries_; }

private:
    struct Chunk {
        Pa pa;
        std::uint64_t pages = 0;
        std::uint64_t used = 0;  // pages that were handed out at least once: the rest was never touched
    };

    const SoftTables& tables_;
    Injection* const injection_;
    Array<Chunk> chunks_;
    Array<Pa> free_;               // given back; room for every page of every chunk
    std::size_t first_fresh_ = 0;  // chunks before it have no page that was never handed out
    std::uint64_t capacity_ = 0;
    std::uint64_t in_use_ = 0;
    std::uint64_t reserved_ = 0;
    std::uint64_t clean_runs_ = 0;
    std::uint64_t cleaned_entries_ = 0;
};

}  // namespace granule
