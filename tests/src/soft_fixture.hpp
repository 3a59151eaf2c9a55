// A soft device under test: how it is made, how its failures are made, and all of its state as a value that compares.
//
// Thread-safety: none, but for `Failing::at`.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "mali/gpu_model.hpp"
#include "src/soft_device.hpp"
#include "tests/src/requests.hpp"

namespace granule::test {

inline constexpr std::array kKernels{KernelBehaviour::kSplits, KernelBehaviour::kRefuses, KernelBehaviour::kOopses,
                                     KernelBehaviour::kRealigns};
inline constexpr std::array kBoMemories{BoMemory::kHuge, BoMemory::kContiguous, BoMemory::kScattered};

// Lets the steps of one site fail: the one after `granted` more, or all from there on.
class Failing final : public Injection {
public:
    static constexpr int kError = ENOMEM;

    void fail_after(Site site, std::uint64_t granted, std::uint64_t how_many = 1) noexcept {
        site_ = site;
        seen_ = 0;
        first_ = granted;
        count_ = how_many;
    }
    void fail_all(Site site) noexcept { fail_after(site, 0, std::numeric_limits<std::uint64_t>::max()); }
    void stop() noexcept { count_ = 0; }
    [[nodiscard]] bool failed() const noexcept { return count_ != 0 && seen_ > first_; }

    [[nodiscard]] int at(Site site) noexcept override {
        if (site != site_.load(std::memory_order_relaxed) || count_ == 0) {
            return 0;
        }
        const std::uint64_t now = seen_++;
        return now >= first_ && now - first_ < count_ ? kError : 0;
    }

private:
    std::atomic<Site> site_{Site::kOperation};
    std::atomic<std::uint64_t> seen_{0};
    std::atomic<std::uint64_t> first_{0};
    std::atomic<std::uint64_t> count_{0};
};

inline SoftDeviceConfig device_config(KernelBehaviour kernel = KernelBehaviour::kSplits,
                                      std::string_view gpu = "G610") {
    SoftDeviceConfig config;
    config.gpu = mali::find_gpu_model(gpu);
    config.kernel = kernel;
    config.memory_bytes = 8 * kGiB;
    return config;
}

inline Owned<SoftDevice> make_device(const SoftDeviceConfig& config) {
    Result<Owned<SoftDevice>, DeviceError> device = SoftDevice::create(config);
    REQUIRE(device.has_value());
    return std::move(*device);
}

inline Owned<Vm> make_vm(SoftDevice& device, std::size_t journal_capacity = 256, bool direct_binds = true) {
    VmConfig config;
    config.journal_capacity = journal_capacity;
    config.direct_binds = direct_binds;
    Result<Owned<Vm>, OsError> vm = device.create_vm(config);
    REQUIRE(vm.has_value());
    return std::move(*vm);
}

inline BoId make_bo(SoftDevice& device, std::uint64_t bytes, std::string_view label = {}) {
    const Result<BoId, OsError> id = device.create_bo(bytes);
    REQUIRE(id.has_value());
    if (!label.empty()) {
        REQUIRE(device.bos().set_label(*device.bos().find(*id), label) == Status::kOk);
    }
    return *id;
}

// Where each byte of a BO is, by its runs one after the other.
inline Pa pa_in(SoftDevice& device, BoId id, std::uint64_t offset) {
    for (const Bo::Run& run : device.bos().find(id)->runs) {
        if (offset < run.bytes) {
            return run.pa + offset;
        }
        offset -= run.bytes;
    }
    FAIL("the offset is outside the BO");
    return {};
}

inline mali::Access gpu_access(SoftDevice& device, Vm& vm, Va va, mali::AccessKind kind = mali::AccessKind::kRead) {
    return device.gpu().access(SoftDevice::address_space(vm).gpu_context(), va, kind);
}
inline bool translates(SoftDevice& device, Vm& vm, Va va) {
    return gpu_access(device, vm, va).outcome == mali::Access::Outcome::kDone;
}

inline bool gpu_write(SoftDevice& device, Vm& vm, Va va, std::uint64_t value) {
    std::array<std::byte, sizeof(value)> bytes{};
    std::memcpy(bytes.data(), &value, sizeof(value));
    return device.gpu().write(SoftDevice::address_space(vm).gpu_context(), va, bytes).has_value();
}
inline std::optional<std::uint64_t> gpu_read(SoftDevice& device, Vm& vm, Va va) {
    std::array<std::byte, sizeof(std::uint64_t)> bytes{};
    if (!device.gpu().read(SoftDevice::address_space(vm).gpu_context(), va, bytes)) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
}

struct LeafState {
    Va start;
    LeafSize size = LeafSize::k4K;
    Pa pa;
    mali::LeafAttributes attributes;
    bool operator==(const LeafState&) const = default;
};

inline std::vector<LeafState> leaves_of(Vm& vm) {
    std::vector<LeafState> leaves;
    SoftDevice::address_space(vm).table().visit(vm.config().space, [&](const mali::VisitedRun& run) {
        for (std::uint64_t i = 0; i < run.leaves.count; ++i) {
            const std::uint64_t bytes = i * bytes_of(run.leaves.size);
            leaves.push_back({run.leaves.start + bytes, run.leaves.size, run.pa + bytes, run.attributes});
        }
    });
    return leaves;
}

inline std::vector<Mapping> mappings_of(const Vm& vm) {
    std::vector<Mapping> mappings;
    vm.for_each_mapping(vm.config().space, [&](const Mapping& mapping) { mappings.push_back(mapping); });
    return mappings;
}

inline std::vector<VaAllocation> reserved_in(const Vm& vm) {
    std::vector<VaAllocation> reserved;
    vm.for_each_reserved([&](const VaAllocation& allocation) { reserved.push_back(allocation); });
    return reserved;
}

// Everything that a failed call may not have changed.
struct VmState {
    std::vector<Mapping> mappings;
    std::vector<LeafState> leaves;
    std::vector<VaAllocation> reserved;
    mali::LeafCounts counts;
    std::uint64_t tables = 0;
    std::uint64_t held_tables = 0;
    std::uint64_t reserved_tables = 0;
    std::uint64_t ledger_2m = 0;
    std::uint64_t ledger_1g = 0;
    std::uint64_t mapped_bytes = 0;
    std::uint64_t binds = 0;
    std::vector<std::tuple<BoId, std::uint64_t, std::uint64_t>> bos;  // references, pages mapped
    bool operator==(const VmState&) const = default;
};

inline VmState state_of(SoftDevice& device, Vm& vm) {
    SoftAddressSpace& space = SoftDevice::address_space(vm);
    const VmStatistics statistics = vm.statistics();
    VmState state;
    state.mappings = mappings_of(vm);
    state.leaves = leaves_of(vm);
    state.reserved = reserved_in(vm);
    state.counts = space.table().leaf_counts();
    state.tables = space.table().table_count();
    state.held_tables = space.table().held();
    state.reserved_tables = space.table_memory().reserved();
    state.ledger_2m = statistics.blocks_2m;
    state.ledger_1g = statistics.blocks_1g;
    state.mapped_bytes = statistics.mapped_bytes;
    state.binds = statistics.binds;
    device.bos().for_each([&](const Bo& bo) { state.bos.emplace_back(bo.id, bo.references(), bo.mapped_pages()); });
    return state;
}

// "" where tables, ledger and mappings agree with each other.
inline std::string disagreement(SoftDevice& device, Vm& vm) {
    const SoftAddressSpace& space = SoftDevice::address_space(vm);
    if (!space.table().validate()) {
        return "the page table is broken";
    }
    const VmStatistics statistics = vm.statistics();
    if (space.table().leaf_counts().blocks_2m != statistics.blocks_2m ||
        space.table().leaf_counts().blocks_1g != statistics.blocks_1g) {
        return "ledger and tables count different blocks";
    }
    const std::vector<LeafState> leaves = leaves_of(vm);
    auto leaf = leaves.begin();
    for (const Mapping& mapping : mappings_of(vm)) {
        for (Va at = mapping.va.start; at < mapping.va.end; ++leaf) {
            if (leaf == leaves.end() || leaf->start != at) {
                return "a mapping is not in the tables at " + std::to_string(at.raw());
            }
            if (vm.granule_at(at) != leaf->size) {
                return "the ledger has another leaf size at " + std::to_string(at.raw());
            }
            const std::uint64_t within = at - mapping.va.start;
            const Pa pa = mapping.shows.sparse() ? SoftDevice::address_space(vm).sparse_pa() + at.raw() % kBlock2MBytes
                                                 : pa_in(device, mapping.shows.bo, mapping.shows.offset.raw() + within);
            if (leaf->pa != pa || leaf->attributes.write == mapping.shows.flags.readonly ||
                leaf->attributes.execute == mapping.shows.flags.noexec) {
                return "the tables show something else at " + std::to_string(at.raw());
            }
            at = at + bytes_of(leaf->size);
        }
    }
    return leaf == leaves.end() ? "" : "the tables have leaves that no mapping has";
}

}  // namespace granule::test
