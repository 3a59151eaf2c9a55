// Who binds tiles into sparse windows: granule's VM, from the call to the descriptors; and what has to be done at least, by a
// map of intervals and page tables as one writes them without thinking twice. The latter pins no BO, knows no leaves of 2 MiB,
// keeps no history, undoes nothing, takes no lock.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/bench/harness/table_pool.hpp"
#include "tests/bench/map/interval_map.hpp"
#include "tests/bench/pt/loop_table.hpp"
#include "tests/bench/vm/soft_vm.hpp"

namespace granule::bench {

struct TileBind {
    std::uint32_t tile = 0;   // of the VA
    std::uint32_t shows = 0;  // of the BOs; kSparse: of none

    static constexpr std::uint32_t kSparse = UINT32_MAX;
};

class NullBinder {
public:
    static constexpr const char* name = "NULL";
    static constexpr Role kRole = Role::kNull;

    void make_window(std::uint32_t /*window*/) {}
    void bind(const TileBind& bind) { asm volatile("" : : "r"(bind.tile) : "memory"); }
    void bind_all(std::span<const TileBind> binds) { asm volatile("" : : "r"(binds.data()) : "memory"); }
    [[nodiscard]] std::uint64_t mappings() const { return 0; }
};

class PlainBinder {
public:
    static constexpr const char* name = "absl::btree_map + plain loop";
    static constexpr Role kRole = Role::kPeer;

    void make_window(std::uint32_t window) {
        const std::uint64_t va = SoftVms::window(window).start.raw();
        map_.map(va, kWindowBytes, 0, 0);
        done(table_.map(va, kDummy, 4096, kWindowBytes / 4096));
    }
    void bind(const TileBind& bind) {
        const std::uint64_t va = SoftVms::tile(bind.tile).start.raw();
        const std::uint64_t pa = bind.shows == TileBind::kSparse ? kDummy : kFirst + bind.shows * kTileBytes;
        map_.map(va, kTileBytes, bind.shows + 1, pa);
        done(table_.unmap(va, 4096, kTileBytes / 4096));
        done(table_.map(va, pa, 4096, kTileBytes / 4096));
    }
    void bind_all(std::span<const TileBind> binds) {
        for (const TileBind& one : binds) {
            bind(one);
        }
    }
    [[nodiscard]] std::uint64_t mappings() const {
        std::uint64_t count = 0;
        map_.for_each([&](auto...) { ++count; });
        return count;
    }

private:
    static constexpr std::uint64_t kDummy = std::uint64_t{1} << 32;
    static constexpr std::uint64_t kFirst = std::uint64_t{1} << 33;

    static void done(bool done) {
        if (!done) {
            wrong(name, "a bind failed");
        }
    }

    TablePool pool_;
    AbslIntervals map_;
    LoopTable table_{pool_};
};

class VmBinder {
public:
    static constexpr const char* name = "granule";
    static constexpr Role kRole = Role::kOurs;

    void make_window(std::uint32_t window) { SoftVms::run(*vm_, SoftVms::sparse_of(SoftVms::window(window))); }
    void bind(const TileBind& bind) { SoftVms::run(*vm_, request(bind)); }
    void bind_all(std::span<const TileBind> binds) {
        requests_.clear();
        for (const TileBind& one : binds) {
            requests_.push_back(request(one));
        }
        SoftVms::run(*vm_, requests_);
    }
    [[nodiscard]] std::uint64_t mappings() const { return vm_->statistics().mappings; }
    // Of nodes and page tables.
    [[nodiscard]] double bytes_per_mapping() const {
        const VmStatistics statistics = vm_->statistics();
        return static_cast<double>(statistics.node_bytes + statistics.table_bytes) /
               static_cast<double>(statistics.mappings);
    }

private:
    [[nodiscard]] BindRequest request(const TileBind& bind) const {
        const VaRange va = SoftVms::tile(bind.tile);
        return bind.shows == TileBind::kSparse ? SoftVms::sparse_of(va) : vms_.bind_of(va, bind.shows);
    }

    SoftVms vms_;
    Owned<Vm> vm_ = vms_.make_vm();
    std::vector<BindRequest> requests_;
};

}  // namespace granule::bench
