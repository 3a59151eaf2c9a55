// Programs to count instructions of: `arm64_operations NAME COUNT` sets the same up whatever COUNT is, then does the
// operation COUNT times. So the difference of two runs is what COUNT operations take, and nothing else.
//
//     arm64_operations                    names, one a line: NAME <tab> what is counted <tab> largest COUNT
//     arm64_operations map-page 10000     exit code: 0 done; 1 an operation was refused; 2 bad usage
//
// It calls the library as the benchmarks do (tests/bench/peers/). Runs on any machine; `counts` runs it in QEMU.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "mali/entry_run.hpp"
#include "tests/bench/harness/table_pool.hpp"

// They name TablePool.
#include "tests/bench/peers/candidate_map.hpp"
#include "tests/bench/peers/candidate_pt.hpp"
#include "tests/bench/peers/candidate_va.hpp"

namespace granule {
namespace {

constexpr unsigned kSeed = 20;

void require(bool done) {
    if (!done) {
        static_cast<void>(std::fputs("arm64_operations: refused\n", stderr));
        std::exit(1);
    }
}

// ---- runs of entries ----

class EntryRuns {
public:
    EntryRuns(mali::VectorPath path, std::size_t count) : count_(count) { require(mali::select_vector_path(path)); }
    void fill(std::uint64_t runs) {
        for (std::uint64_t i = 0; i < runs; ++i) {
            mali::fill_entries(table_->at.data(), count_, i, kPageBytes);
        }
    }
    void examine(std::uint64_t runs) {
        std::size_t found = 0;
        for (std::uint64_t i = 0; i < runs; ++i) {
            found += mali::first_not_zero(table_->at.data(), count_);
        }
        require(found == runs * count_);
    }

private:
    struct alignas(4096) Table {
        std::array<std::uint64_t, mali::kTableEntries> at{};
    };
    std::size_t count_;
    std::unique_ptr<Table> table_ = std::make_unique<Table>();
};

constexpr mali::VectorPath kNative =
#if defined(__aarch64__)
    mali::VectorPath::kNeon;
#elif defined(__x86_64__)
    mali::VectorPath::kSse2;
#else
    mali::VectorPath::kScalar;
#endif

template <mali::VectorPath kPath, std::size_t kCount>
void fill(std::uint64_t runs) {
    EntryRuns(kPath, kCount).fill(runs);
}
template <mali::VectorPath kPath, std::size_t kCount>
void examine(std::uint64_t runs) {
    EntryRuns(kPath, kCount).examine(runs);
}

// ---- page table: 64 MiB of pages whose tables are there, because every even page is mapped ----

constexpr std::uint64_t kVa = std::uint64_t{1} << 32;
constexpr std::uint64_t kPa = std::uint64_t{1} << 31;
constexpr std::uint64_t kPages = 16384;
constexpr std::uint64_t kTiles = 4096;  // of 64 KiB, in 512 MiB
constexpr std::uint64_t kTilePages = 16;
constexpr std::uint64_t kTables = 64;

class Tables {
public:
    void map_pages(std::uint64_t first, std::uint64_t step, std::uint64_t count) {
        for (std::uint64_t page = first; count > 0; page += step, --count) {
            require(table_.map(kVa + page * kPageBytes, kPa + page * kPageBytes, kPageBytes, 1));
        }
    }
    void unmap_pages(std::uint64_t first, std::uint64_t step, std::uint64_t count) {
        for (std::uint64_t page = first; count > 0; page += step, --count) {
            require(table_.unmap(kVa + page * kPageBytes, kPageBytes, 1));
        }
    }
    void map_run(std::uint64_t page, std::uint64_t pages) {
        require(table_.map(kVa + page * kPageBytes, kPa + page * kPageBytes, kPageBytes, pages));
    }
    void unmap_run(std::uint64_t page, std::uint64_t pages) {
        require(table_.unmap(kVa + page * kPageBytes, kPageBytes, pages));
    }
    [[nodiscard]] std::uint64_t translate(std::uint64_t page) const {
        return table_.iova_to_phys(kVa + page * kPageBytes);
    }

private:
    TablePool pool_;
    CandidatePt table_{pool_};
};

// Each number below `count`, in random order.
[[nodiscard]] std::vector<std::uint64_t> shuffled(std::uint64_t count) {
    std::vector<std::uint64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
    std::mt19937_64 random(kSeed);
    for (std::size_t i = numbers.size(); i > 1; --i) {
        std::swap(numbers[i - 1], numbers[random() % i]);
    }
    return numbers;
}

void map_page(std::uint64_t count) {
    Tables tables;
    tables.map_pages(0, 2, kPages / 2);
    tables.map_pages(1, 2, count);
}

void unmap_page(std::uint64_t count) {
    Tables tables;
    tables.map_pages(0, 2, kPages / 2);
    tables.map_pages(1, 2, kPages / 2);
    tables.unmap_pages(1, 2, count);
}

void map_scattered_page(std::uint64_t count) {
    Tables tables;
    tables.map_pages(0, 2, kPages / 2);
    const std::vector<std::uint64_t> order = shuffled(kPages / 2);
    for (std::uint64_t i = 0; i < count; ++i) {
        tables.map_run(2 * order[i] + 1, 1);
    }
}

// 64 KiB and back, at random places of 512 MiB whose tables are there: one page of each stays.
void tile_pair(std::uint64_t count) {
    Tables tables;
    tables.map_pages(0, 2 * kTilePages, kTiles);
    const std::vector<std::uint64_t> order = shuffled(kTiles);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t page = (2 * order[i % kTiles] + 1) * kTilePages;
        tables.map_run(page, kTilePages);
        tables.unmap_run(page, kTilePages);
    }
}

// 2 MiB of pages, a table at a time, and their unmap.
void map_table(std::uint64_t count) {
    Tables tables;
    for (std::uint64_t i = 0; i < count; ++i) {
        tables.map_run(i * mali::kTableEntries, mali::kTableEntries);
    }
}
void unmap_table(std::uint64_t count) {
    Tables tables;
    for (std::uint64_t i = 0; i < kTables; ++i) {
        tables.map_run(i * mali::kTableEntries, mali::kTableEntries);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        tables.unmap_run(i * mali::kTableEntries, mali::kTableEntries);
    }
}

void translate(std::uint64_t count) {
    Tables tables;
    tables.map_run(0, kPages);
    const std::vector<std::uint64_t> order = shuffled(kPages);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t page = order[i % kPages];
        require(tables.translate(page) == kPa + page * kPageBytes);
    }
}

// ---- VA heap: free and allocate, 64 KiB to 2 MiB, 10 000 live ----

class Heap {
public:
    Heap() {
        heap_.init(std::uint64_t{1} << 32, kLive);
        for (Live& live : live_) {
            allocate(live);
        }
    }
    void pairs(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            Live& live = live_[random_() % kLive];
            heap_.free(live.handle, live.offset, live.units);
            allocate(live);
        }
    }

private:
    static constexpr std::uint32_t kLive = 10'000;
    struct Live {
        CandidateVa::Handle handle{};
        std::uint64_t offset = 0;
        std::uint32_t units = 0;
    };

    void allocate(Live& live) {
        live.units = static_cast<std::uint32_t>((1 + random_() % 32) * kTilePages);
        require(heap_.alloc(live.units, kTilePages, live.handle, live.offset));
    }

    CandidateVa heap_;
    std::vector<Live> live_ = std::vector<Live>(kLive);
    std::mt19937_64 random_{kSeed};
};

void va_pair(std::uint64_t count) {
    Heap().pairs(count);
}

// ---- map of mappings: 64 KiB tiles over a space of 20 000, about half of them mapped ----

class Mappings {
public:
    Mappings() { operations(4 * kSpace); }
    void operations(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t draw = random_();
            const std::uint64_t va = draw % kSpace * kTile;
            if ((draw >> 32) % 2 == 0) {
                map_.map(va, kTile, static_cast<std::uint32_t>(draw >> 48), (draw >> 40) % kSpace * kTile);
            } else {
                map_.unmap(va, kTile);
            }
        }
    }
    void finds(std::uint64_t count) {
        std::uint64_t found = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            std::uint32_t bo = 0;
            std::uint64_t offset = 0;
            found += static_cast<std::uint64_t>(map_.find(random_() % kSpace * kTile, bo, offset));
        }
        require(found <= count);
    }

private:
    static constexpr std::uint64_t kTile = kTilePages * kPageBytes;
    static constexpr std::uint64_t kSpace = 20'000;

    CandidateMap map_;
    std::mt19937_64 random_{kSeed};
};

void map_operation(std::uint64_t count) {
    Mappings().operations(count);
}
void map_find(std::uint64_t count) {
    Mappings().finds(count);
}

struct Operation {
    const char* name;
    const char* counted;
    std::uint64_t most;
    void (*run)(std::uint64_t count);
};

constexpr std::array<Operation, 16> kOperations = {{
    {"fill-512", "fill_entries, 512 entries", 10'000, fill<kNative, 512>},
    {"fill-16", "fill_entries, 16 entries", 10'000, fill<kNative, 16>},
    {"fill-512-scalar", "fill_entries, 512 entries, scalar", 10'000, fill<mali::VectorPath::kScalar, 512>},
    {"fill-16-scalar", "fill_entries, 16 entries, scalar", 10'000, fill<mali::VectorPath::kScalar, 16>},
    {"examine-512", "first_not_zero, 512 empty entries", 10'000, examine<kNative, 512>},
    {"examine-512-scalar", "the same, scalar", 10'000, examine<mali::VectorPath::kScalar, 512>},
    {"map-table", "map 2 MiB of pages, new table", kTables, map_table},
    {"unmap-table", "unmap 2 MiB of pages", kTables, unmap_table},
    {"map-page", "map one page, in order", kPages / 2, map_page},
    {"unmap-page", "unmap one page, in order", kPages / 2, unmap_page},
    {"map-scattered-page", "map one page, anywhere", kPages / 2, map_scattered_page},
    {"tile-pair", "map and unmap 64 KiB, anywhere", 10'000, tile_pair},
    {"translate", "translate, pages anywhere", 10'000, translate},
    {"va-pair", "VA heap: free and allocate, N = 10 000", 10'000, va_pair},
    {"map-operation", "mapping map: map or unmap a tile, N = 10 000", 10'000, map_operation},
    {"map-find", "mapping map: look-up, N = 10 000", 10'000, map_find},
}};

int run(const std::vector<std::string>& arguments) {
    if (arguments.empty()) {
        for (const Operation& operation : kOperations) {
            std::printf("%s\t%s\t%llu\n", operation.name, operation.counted,
                        static_cast<unsigned long long>(operation.most));
        }
        return 0;
    }
    for (const Operation& operation : kOperations) {
        if (arguments.size() == 2 && arguments[0] == operation.name) {
            const std::uint64_t count = std::strtoull(arguments[1].c_str(), nullptr, 10);
            require(count <= operation.most);
            operation.run(count);
            return 0;
        }
    }
    static_cast<void>(std::fputs("usage: arm64_operations [NAME COUNT]\n", stderr));
    return 2;
}

}  // namespace
}  // namespace granule

int main(int argc, char** argv) {
    return granule::run({argv + 1, argv + argc});
}
