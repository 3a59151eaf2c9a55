#include "tests/bench/harness/table_pool.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;

[[noreturn]] void give_up(const char* why) {
    static_cast<void>(std::fprintf(stderr, "table pool: %s\n", why));
    std::exit(1);
}

}  // namespace

TablePool::TablePool()
    : mapped_(mmap(nullptr, kBytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (mapped_ == MAP_FAILED) {
        give_up("no memory");
    }
    const auto raw = reinterpret_cast<std::uintptr_t>(mapped_);
    base_ = static_cast<std::byte*>(mapped_) + ((kHuge - raw % kHuge) % kHuge);
    static_cast<void>(madvise(base_, kBytes, MADV_HUGEPAGE));
    std::memset(base_, 1, kBytes);  // touched, and not zero by luck
    for (std::size_t page = kBytes / kPage; page > 0; --page) {
        free_.push_back(static_cast<std::uint32_t>(page - 1));
    }
}

TablePool::~TablePool() {
    munmap(mapped_, kBytes + kHuge);
}

void TablePool::run_dry() {
    give_up("all pages are in use");
}
