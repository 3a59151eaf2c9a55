// Memory for page tables in tests: strict about the contract of TableMemory, and physical memory for a walker.
//
// - Pages come from one host buffer, lowest first, from a physical address on that tests can name.
// - There are two views of every entry, as on a SoC whose GPU does not snoop: what the CPU stored, and what
//   `make_visible` has cleaned to memory. `load` answers with the second, so a forgotten make_visible is a wrong
//   translation, and `is_visible` says whether the two agree.
// - It has no window and does not zero: the page table finds its tables by asking, and pages come back as they were left.
//   `Contents::kStale` has it hand out pages full of a former owner's translations from the first one on,
//   `Contents::kWindow` is one piece, as most memories are, and `Contents::kCoherent` is one whose CPU and GPU have one
//   view.
// - `broken()` names the first call that broke the contract: take without a reservation, a page given back that is
//   neither zero nor stale, and so on. Tests check it at the end.
// - Reservations can be refused: beyond a limit, the k-th from now on, or all.
//
// Thread-safety: one caller for TableMemory; `load`, `table_at` and reads of entries by other threads meanwhile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "mali/address.hpp"
#include "mali/soft_mmu.hpp"
#include "mali/table_entry.hpp"
#include "mali/table_memory.hpp"

namespace granule::test {

class TableArena final : public mali::TableMemory, public mali::PhysicalMemory {
public:
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

    // `count` entries from `first` on were made visible.
    struct Visible {
        Pa first;
        std::size_t count = 0;
        bool operator==(const Visible&) const = default;
    };

    enum class Contents : std::uint8_t { kZeros, kStale, kWindow, kCoherent };

    explicit TableArena(std::size_t pages = 1024, Pa first = Pa{0x8000'6000}, Contents contents = Contents::kZeros)
        : first_(first),
          contents_(contents),
          pages_(pages),
          entries_(zeros(pages * mali::kTableEntries)),
          visible_(zeros(pages * mali::kTableEntries)),
          books_(pages),
          used_(pages) {
        for (std::size_t page = pages; page > 0; --page) {
            free_.push_back(page - 1);
        }
        if (contents == Contents::kStale) {
            std::fill_n(entries_.get(), pages * mali::kTableEntries, kFormerLeaf);
            std::fill_n(visible_.get(), pages * mali::kTableEntries, kFormerLeaf);
            for (mali::TableBook& book : books_) {
                book.stale = true;
            }
        }
    }

    // ---- what tests set and ask ----

    // The k-th reserve from now on (0 is the next) fails, and only that one.
    void refuse_reserve(std::uint64_t k) { refuse_in_ = k; }
    void refuse_all_reserves(bool refuse) { refuse_all_ = refuse; }
    [[nodiscard]] std::uint64_t reserve_calls() const { return reserve_calls_; }
    [[nodiscard]] std::uint64_t reserved() const { return reserved_; }
    [[nodiscard]] std::uint64_t in_use() const { return pages_ - free_.size(); }
    [[nodiscard]] const std::string& broken() const { return broken_; }
    // Everything that the CPU wrote to tables in use has reached memory.
    [[nodiscard]] bool is_visible() const {
        for (std::size_t page = 0; page < pages_; ++page) {
            const std::size_t first = page * mali::kTableEntries;
            if (contents_ != Contents::kCoherent && used_[page] && !books_[page].stale &&
                !std::equal(entries_.get() + first, entries_.get() + first + mali::kTableEntries,
                            visible_.get() + first)) {
                return false;
            }
        }
        return true;
    }
    // Every table that is in use: where it is and what it holds, to compare. What a stale one holds is nobody's.
    [[nodiscard]] std::vector<std::uint64_t> snapshot() const {
        std::vector<std::uint64_t> words;
        for (std::size_t page = 0; page < pages_; ++page) {
            if (used_[page]) {
                const std::uint64_t* first = entries_.get() + page * mali::kTableEntries;
                words.push_back(page);
                if (!books_[page].stale) {
                    words.insert(words.end(), first, first + mali::kTableEntries);
                }
            }
        }
        return words;
    }

    void start_log() {
        logging_ = true;
        log_.clear();
    }
    [[nodiscard]] const std::vector<Visible>& log() const { return log_; }

    // ---- TableMemory ----

    [[nodiscard]] bool reserve(std::uint64_t pages) noexcept override {
        ++reserve_calls_;
        const bool refused = refuse_all_ || refuse_in_ == 0;
        if (refuse_in_ != kNever) {
            refuse_in_ = refuse_in_ == 0 ? kNever : refuse_in_ - 1;
        }
        if (refused || pages > free_.size() - reserved_) {
            return false;
        }
        reserved_ += pages;
        return true;
    }

    void unreserve(std::uint64_t pages) noexcept override {
        require(pages <= reserved_, "unreserve of more pages than are reserved");
        reserved_ -= std::min(pages, reserved_);
    }

    [[nodiscard]] mali::TablePage take() noexcept override {
        require(reserved_ > 0, "take without a reservation");
        reserved_ -= reserved_ > 0 ? 1 : 0;
        const std::size_t page = free_.back();
        free_.pop_back();
        used_[page] = true;
        return page_at(page);
    }

    // A memory that is one piece says which is next; the others don't.
    [[nodiscard]] mali::TablePage upcoming() const noexcept override {
        return window().exists() && !free_.empty() ? const_cast<TableArena*>(this)->page_at(free_.back())
                                                   : mali::TablePage{};
    }

    void give_back(mali::TablePage page) noexcept override {
        const std::size_t index = (page.pa - first_) / kPageBytes;
        require(index < pages_ && used_[index], "give_back of a page that is not in use");
        require(page.book->stale || std::all_of(page.entries, page.entries + mali::kTableEntries,
                                                [](std::uint64_t e) { return e == 0; }),
                "give_back of a page that is not zero and not stale");
        mali::TableBook left;
        left.stale = page.book->stale;
        require(*page.book == left, "give_back of a page whose book is not the default");
        used_[index] = false;
        free_.push_back(index);
        ++reserved_;
        // Nobody walks it any more: whether its last entries were cleaned to memory is not looked at again.
        for (std::size_t i = index * mali::kTableEntries; i < (index + 1) * mali::kTableEntries; ++i) {
            mali::store_entry(visible_.get()[i], entries_.get()[i]);
        }
    }

    [[nodiscard]] mali::TablePage table_at(Pa table) const noexcept override {
        return const_cast<TableArena*>(this)->page_at((table - first_) / kPageBytes);
    }

    [[nodiscard]] mali::TableWindow window() const noexcept override {
        if (contents_ != Contents::kWindow && contents_ != Contents::kCoherent) {
            return {};
        }
        return {entries_.get(), const_cast<mali::TableBook*>(books_.data()), first_, contents_ == Contents::kCoherent};
    }

    void make_visible(const std::uint64_t* first, std::size_t count) noexcept override {
        const auto at = static_cast<std::size_t>(first - entries_.get());
        require(at + count <= pages_ * mali::kTableEntries && count > 0, "make_visible of entries that are not tables");
        require(at / mali::kTableEntries == (at + count - 1) / mali::kTableEntries, "make_visible across tables");
        for (std::size_t i = at; i < at + count; ++i) {
            mali::publish_entry(visible_.get()[i], entries_.get()[i]);
        }
        if (logging_) {
            log_.push_back({first_ + at * sizeof(std::uint64_t), count});
        }
    }

    // ---- PhysicalMemory ----

    [[nodiscard]] bool load(Pa pa, std::uint64_t& value) const noexcept override {
        if (pa < first_ || pa - first_ >= pages_ * kPageBytes) {
            return false;
        }
        const Words& seen = contents_ == Contents::kCoherent ? entries_ : visible_;
        value = mali::load_entry(seen.get()[(pa - first_) / sizeof(std::uint64_t)]);
        return true;
    }

private:
    struct Free {
        void operator()(std::uint64_t* words) const { std::free(words); }
    };
    using Words = std::unique_ptr<std::uint64_t, Free>;

    // From calloc: most tests touch few of the pages, and the rest costs nothing.
    [[nodiscard]] static Words zeros(std::size_t count) {
        return Words(static_cast<std::uint64_t*>(std::calloc(count, sizeof(std::uint64_t))));
    }

    [[nodiscard]] mali::TablePage page_at(std::size_t page) noexcept {
        return {entries_.get() + page * mali::kTableEntries, &books_[page], first_ + page * kPageBytes};
    }

    void require(bool condition, const char* what) {
        if (!condition && broken_.empty()) {
            broken_ = what;
        }
    }

    // A page that reads, writes, and belongs to somebody else, in both formats.
    static constexpr std::uint64_t kFormerLeaf = 0xbad0'bad0'0ec3;

    Pa first_;
    Contents contents_;
    std::size_t pages_;
    Words entries_;
    Words visible_;
    std::vector<mali::TableBook> books_;
    std::vector<bool> used_;
    std::vector<std::size_t> free_;  // the next to take is the last
    std::uint64_t reserved_ = 0;
    std::uint64_t reserve_calls_ = 0;
    std::uint64_t refuse_in_ = kNever;
    bool refuse_all_ = false;
    bool logging_ = false;
    std::vector<Visible> log_;
    std::string broken_;
};

}  // namespace granule::test
