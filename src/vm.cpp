#include "src/vm.hpp"

namespace granule {
namespace {

constexpr Va kLowStart{std::uint64_t{32} << 20};
constexpr Va kLowEnd{std::uint64_t{1} << 32};

}  // namespace

std::array<VaRange, kVaZones> default_zones(const VaRange& space) noexcept {
    const VaRange low = space.intersection({kLowStart, kLowEnd});
    const VaRange high = space.intersection({kLowEnd, Va{kMaxVaEnd}});
    const Va middle = (high.start + high.size() / 2).align_down(kPageBytes);
    return {low, {high.start, middle}, {middle, high.end}};
}

Result<Owned<Vm>, Status> Vm::create(const VmConfig& config, BoTable& bos, const TimelineTable& timelines,
                                     Owned<AddressSpaceBackend> backend, NodeMemory nodes) noexcept {
    if (config.space.end <= config.space.start || !config.space.is_aligned(kPageBytes) ||
        config.space.end.raw() > kMaxVaEnd) {
        return fail(Status::kBadArgument);
    }
    VmConfig complete = config;
    bool zones_given = false;
    for (const VaRange& zone : config.zones) {
        if (!zone.empty() && !config.space.contains(zone)) {
            return fail(Status::kBadArgument);  // what is reserved there could not be bound
        }
        zones_given = zones_given || !zone.empty();
    }
    if (!zones_given) {
        complete.zones = default_zones(config.space);
    }
    Result<VaHeap, VaError> heap = VaHeap::create({complete.zones, nodes});
    if (!heap) {
        return fail(status_of(heap.error().code));
    }
    Owned<Vm> vm = make_owned<Vm>(nodes, complete, bos, timelines, std::move(backend), std::move(*heap), nodes);
    if (!vm || !vm->journal_.valid()) {
        return fail(Status::kOutOfHostMemory);
    }
    return vm;
}

Vm::Vm(const VmConfig& config, BoTable& bos, const TimelineTable& timelines, Owned<AddressSpaceBackend> backend,
       VaHeap heap, NodeMemory nodes) noexcept
    : config_(config),
      bos_(bos),
      timelines_(timelines),
      nodes_(nodes),
      backend_(std::move(backend)),
      traits_{backend_->leaf_sizes(),         backend_->kernel(),
              backend_->atomic_binds(),       config.direct_binds && backend_->changes_directly(),
              backend_->smallest_lock_log2(), backend_->cut_rules()},
      mappings_(nodes),
      ledger_(nodes),
      heap_(std::move(heap)),
      reuse_(heap_),
      journal_(config.journal_capacity, nodes) {}

Vm::~Vm() {
    // The tables go first, as a whole, so that the GPU cannot reach memory that others get. What is left to give back
    // are the references on BOs.
    { const Owned<AddressSpaceBackend> gone = std::move(backend_); }
    mappings_.for_each_overlap(config_.space, [&](const Mapping& mapping) {
        if (config_.observer != nullptr) {
            config_.observer->on_unbind(mapping, Removal::By::kUnmap);
        }
        if (!mapping.shows.sparse()) {
            bos_.hide(mapping.shows.bo, mapping.va.size() / kPageBytes);
        }
    });
}

Result<VaRange, VaError> Vm::reserve_va(const VaRequest& request) noexcept {
    const std::lock_guard lock(mutex_);
    collect();
    return heap_.allocate(request);
}

Result<VaRange, VaError> Vm::reserve_va_at(const VaRange& range, std::uint64_t guard) noexcept {
    const std::lock_guard lock(mutex_);
    collect();
    return heap_.allocate_at(range, guard);
}

Result<void, VaError> Vm::release_va(const VaRange& range, std::span<const FencePoint> fences) noexcept {
    for (const FencePoint& fence : fences) {
        if (!timelines_.was_made(fence.timeline)) {
            VaError error;
            error.why = "a fence of a timeline that there never was";
            return fail(error);
        }
    }
    const std::lock_guard lock(mutex_);
    return reuse_.retire(range, fences);
}

std::optional<VaAllocation> Vm::reservation_at(Va va) const noexcept {
    const std::lock_guard lock(mutex_);
    return heap_.allocation_at(va);
}

void Vm::collect() noexcept {
    reuse_.collect([&](TimelineId timeline) { return timelines_.value(timeline); });
}

AddressReport Vm::address(Va va) const noexcept {
    const std::lock_guard lock(mutex_);
    AddressReport report;
    report.va = va;
    report.mapping = mappings_.find(va);
    if (report.mapping) {
        report.granule = granule::granule_at(view(), va);
        if (!report.mapping->shows.sparse()) {
            report.label = bos_.short_label(report.mapping->shows.bo);
            report.cached = bos_.find(report.mapping->shows.bo)->cached.load(std::memory_order_relaxed);
        }
    } else {
        report.below = mappings_.last_before(va);
        report.above = mappings_.first_from(va);
    }
    report.removed = journal_.last_at(va);
    report.history_complete = journal_.complete();
    if (const std::optional<VaAllocation> allocation = heap_.allocation_at(va)) {
        report.reserved = allocation->range;
        report.retired = allocation->retired;
    }
    return report;
}

VmStatistics Vm::statistics() const noexcept {
    const std::lock_guard lock(mutex_);
    VmStatistics statistics;
    statistics.mappings = mappings_.size();
    statistics.mapped_bytes = mappings_.mapped_bytes();
    statistics.peak_mapped_bytes = peak_mapped_bytes_;
    statistics.binds = binds_;
    statistics.blocks_2m = ledger_.blocks_2m();
    statistics.blocks_1g = ledger_.blocks_1g();
    statistics.node_bytes = mappings_.bytes_in_nodes() + ledger_.bytes() + heap_.node_bytes();
    statistics.set_aside_bytes = mappings_.bytes_set_aside();
    statistics.table_bytes = backend_->table_bytes();
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        statistics.zones[zone] = heap_.stats(static_cast<VaZone>(zone));
    }
    return statistics;
}

bool Vm::usable() const noexcept {
    const std::lock_guard lock(mutex_);
    return !lost_;
}

std::optional<VmLoss> Vm::lost_because() const noexcept {
    const std::lock_guard lock(mutex_);
    return lost_;
}

}  // namespace granule
