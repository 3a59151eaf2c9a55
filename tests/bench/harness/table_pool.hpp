// Pages for page tables that all subjects share: 4 KiB each, last in first out, in memory that asks for huge pages, with the
// virtual address as the physical one. It is what an outside harness hands to peers/candidate_pt.hpp, too.
//
// `take` gives a page with whatever stands in it. Thread-safety: none. Failure: a pool that is empty ends the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

class TablePool {
public:
    static constexpr std::size_t kBytes = std::size_t{96} << 20;
    static constexpr std::size_t kPage = 4096;

    TablePool();
    TablePool(const TablePool&) = delete;
    TablePool& operator=(const TablePool&) = delete;
    ~TablePool();

    [[nodiscard]] void* take() {
        if (free_.empty()) {
            run_dry();
        }
        void* const page = base_ + std::size_t{free_.back()} * kPage;
        free_.pop_back();
        return page;
    }
    [[nodiscard]] void* take_zeroed() { return std::memset(take(), 0, kPage); }
    void give(void* page) { free_.push_back(index(page)); }
    // A small number of the page: where its owner may keep something beside it.
    [[nodiscard]] std::uint32_t index(const void* page) const {
        return static_cast<std::uint32_t>(static_cast<std::size_t>(static_cast<const std::byte*>(page) - base_) /
                                          kPage);
    }
    [[nodiscard]] std::size_t used_bytes() const { return kBytes - free_.size() * kPage; }

private:
    [[noreturn]] static void run_dry();

    void* mapped_ = nullptr;
    std::byte* base_ = nullptr;
    std::vector<std::uint32_t> free_;
};
