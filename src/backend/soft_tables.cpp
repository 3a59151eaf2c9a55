#include "src/backend/soft_tables.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

namespace granule {
namespace {

constexpr std::uint64_t kChunkPages = kBlock2MBytes / kPageBytes;

std::uint64_t book_bytes(const DeviceMemory& memory) noexcept {
    return memory.size() / kPageBytes * sizeof(mali::TableBook);
}

}  // namespace

Result<Owned<SoftTables>, OsError> SoftTables::create(DeviceMemory& memory, NodeMemory nodes) noexcept {
    // Anonymous memory is zeros, and a TableBook of zeros is a default one.
    void* const books =
        ::mmap(nullptr, book_bytes(memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (books == MAP_FAILED) {
        return fail(OsError{Status::kOsFailed, "mmap", errno});
    }
    Owned<SoftTables> tables = make_owned<SoftTables>(nodes, memory, static_cast<mali::TableBook*>(books));
    if (!tables) {
        ::munmap(books, book_bytes(memory));
        return fail(OsError{Status::kOutOfHostMemory, "", 0});
    }
    return tables;
}

SoftTables::~SoftTables() {
    ::munmap(books_, book_bytes(memory_));
}

mali::TablePage SoftTables::page_at(Pa pa) const noexcept {
    // The memory is 4 KiB aligned, hence so are its words.
    void* const entries = memory_.host(pa);
    return {static_cast<std::uint64_t*>(entries), books_ + (pa - DeviceMemory::kStart) / kPageBytes, pa};
}

mali::TableWindow SoftTables::window() const noexcept {
    void* const entries = memory_.host(DeviceMemory::kStart);
    return {static_cast<std::uint64_t*>(entries), books_, DeviceMemory::kStart};
}

SoftTableMemory::SoftTableMemory(const SoftTables& tables, NodeMemory nodes, Injection* injection) noexcept
    : tables_(tables), injection_(injection), chunks_(nodes), free_(nodes) {}

SoftTableMemory::~SoftTableMemory() {
    assert(in_use_ == 0 && reserved_ == 0);
    for (const Chunk& chunk : chunks_) {
        tables_.memory().free(chunk.pa, chunk.pages * kPageBytes);
    }
}

bool SoftTableMemory::reserve(std::uint64_t pages) noexcept {
    if (pages != 0 && injection_ != nullptr && injection_->at(Injection::Site::kTableMemory) != 0) {
        return false;
    }
    const std::optional<std::uint64_t> wanted = checked_add(in_use_ + reserved_, pages);
    if (!wanted || *wanted > tables_.memory().size() / kPageBytes) {
        return false;
    }
    if (*wanted > capacity_) {
        const std::uint64_t more = align_up(*wanted - capacity_, kChunkPages);
        const std::uint64_t room = free_.capacity();
        if ((capacity_ + more > room && !free_.reserve(std::max<std::uint64_t>(capacity_ + more, 2 * room))) ||
            !chunks_.reserve(chunks_.size() + 1)) {
            return false;
        }
        const std::optional<Pa> pa = tables_.memory().allocate(more * kPageBytes, kBlock2MBytes);
        if (!pa) {
            return false;
        }
        const bool pushed = chunks_.push({*pa, more, 0});
        assert(pushed);
        static_cast<void>(pushed);
        capacity_ += more;
    }
    reserved_ += pages;
    return true;
}

void SoftTableMemory::unreserve(std::uint64_t pages) noexcept {
    assert(pages <= reserved_);
    reserved_ -= pages;
}

mali::TablePage SoftTableMemory::take() noexcept {
    assert(reserved_ != 0);
    --reserved_;
    ++in_use_;
    tables_.in_use_.fetch_add(1, std::memory_order_relaxed);
    if (!free_.empty()) {
        const Pa pa = free_.back();
        free_.truncate(free_.size() - 1);
        return tables_.page_at(pa);
    }
    // Something was never handed out, because in_use + reserved never exceeds the capacity; it is in the last chunks.
    std::size_t i = first_fresh_;
    while (chunks_[i].used == chunks_[i].pages) {
        ++i;
    }
    first_fresh_ = i;
    return tables_.page_at(chunks_[i].pa + kPageBytes * chunks_[i].used++);
}

void SoftTableMemory::give_back(mali::TablePage page) noexcept {
    --in_use_;
    tables_.in_use_.fetch_sub(1, std::memory_order_relaxed);
    ++reserved_;
    const bool pushed = free_.push(page.pa);
    assert(pushed);
    static_cast<void>(pushed);
}

}  // namespace granule
