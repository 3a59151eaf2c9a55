#include "src/backend/soft_address_space.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <type_traits>

namespace granule {
namespace {

mali::LeafAttributes attributes_of(const MapFlags& flags) noexcept {
    // As panthor: READONLY takes write away, NOEXEC execute, UNCACHED caching.
    mali::LeafAttributes attributes;
    attributes.write = !flags.readonly;
    attributes.execute = !flags.noexec;
    attributes.memory = flags.uncached ? mali::MemoryType::kUncached : mali::MemoryType::kCached;
    return attributes;
}

LeafRun pages_of(const VaRange& range) noexcept {
    return {range.start, LeafSize::k4K, range.size() / kPageBytes};
}

// Runs of neighbouring leaves of one size, whatever stands behind them.
class RunCollector {
public:
    // A 2 MiB window of pages has at most 256 runs with holes between them.
    static constexpr std::size_t kMost = 256;

    // Of the places only those are written that are used: most windows have few.
    RunCollector() noexcept = default;

    void add(const LeafRun& run) noexcept {
        if (count_ != 0 && runs_[count_ - 1].size == run.size &&
            runs_[count_ - 1].start + runs_[count_ - 1].count * bytes_of(run.size) == run.start.raw()) {
            runs_[count_ - 1].count += run.count;
            return;
        }
        assert(count_ < kMost);
        runs_[count_++] = {run.start.raw(), run.count, run.size};
    }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] LeafRun operator[](std::size_t i) const noexcept {
        return {Va{runs_[i].start}, runs_[i].size, runs_[i].count};
    }

private:
    struct Run {
        std::uint64_t start;
        std::uint64_t count;
        LeafSize size;
    };
    static_assert(std::is_trivially_default_constructible_v<Run>);

    std::array<Run, kMost> runs_;
    std::size_t count_ = 0;
};

}  // namespace

Result<Owned<SoftAddressSpace>, Status> SoftAddressSpace::create(const SoftAddressSpaceConfig& config,
                                                                 const SoftTables& tables, SoftGpu& gpu,
                                                                 const BackingLayout& bos, NodeMemory nodes,
                                                                 Injection* injection) noexcept {
    Owned<SoftAddressSpace> space = make_owned<SoftAddressSpace>(nodes, config, tables, gpu, bos, nodes, injection);
    if (!space) {
        return fail(Status::kOutOfHostMemory);
    }
    Result<mali::PageTable, mali::TableError> table = mali::PageTable::create(config.table, space->memory_);
    if (!table) {
        return fail(table.error().code == mali::TableError::Code::kOutOfTableMemory ? Status::kOutOfTableMemory
                                                                                    : Status::kBadArgument);
    }
    space->table_.emplace(std::move(*table));
    space->context_.use(mali::translation_config(config.table.format, config.table.va_bits, config.table.coherent_walk,
                                                 space->table_->root()));
    return space;
}

SoftAddressSpace::SoftAddressSpace(const SoftAddressSpaceConfig& config, const SoftTables& tables, SoftGpu& gpu,
                                   const BackingLayout& bos, NodeMemory nodes, Injection* injection) noexcept
    : config_(config),
      bos_(bos),
      device_memory_(tables.memory()),
      injection_(injection),
      memory_(tables, nodes, injection),
      kernel_mappings_(nodes),
      gpu_(gpu) {}

SoftAddressSpace::~SoftAddressSpace() {
    gpu_.deactivate(context_);
    // Only now: what the GPU no longer reaches, others may have.
    if (sparse_pa_ != Pa{}) {
        device_memory_.free(sparse_pa_, kBlock2MBytes);
    }
}

Extent SoftAddressSpace::extent_at(const Backing& shows, Va va) const noexcept {
    if (!shows.sparse()) {
        return bos_.extent_at(shows, va);
    }
    const std::uint64_t within = va.raw() % kBlock2MBytes;
    return {sparse_pa_ + within, kBlock2MBytes - within, true};
}

Status SoftAddressSpace::hold(std::span<const Plan> plans) noexcept {
    if (oopsed_) {
        return Status::kKernelOops;
    }
    std::uint64_t tables = 0;
    for (const Plan& plan : plans) {
        tables += plan.cost.tables;
    }
    if (tables != 0 && !table_->hold(tables)) {
        return Status::kOutOfTableMemory;
    }
    if (config_.kernel == KernelBehaviour::kOopses && !hold_kernel_mappings(plans)) {
        table_->settle();
        return Status::kOutOfHostMemory;
    }
    // Last, because it is the one that settling does not give back.
    if (!hold_sparse(plans)) {
        settle();
        return Status::kOutOfDeviceMemory;
    }
    return Status::kOk;
}

bool SoftAddressSpace::hold_sparse(std::span<const Plan> plans) noexcept {
    const auto maps_sparse = [](const PlanOp& op) { return op.kind == PlanOp::Kind::kMap && op.shows.sparse(); };
    const bool needed = std::any_of(plans.begin(), plans.end(), [&](const Plan& plan) {
        return std::any_of(plan.ops().begin(), plan.ops().end(), maps_sparse);
    });
    return !needed || hold_sparse_block();
}

bool SoftAddressSpace::hold_sparse_block() noexcept {
    if (sparse_pa_ != Pa{}) {
        return true;
    }
    const std::optional<Pa> pa = device_memory_.allocate(kBlock2MBytes, kBlock2MBytes);
    sparse_pa_ = pa.value_or(Pa{});
    return pa.has_value();
}

// Residuals, isolations and their undoing leave more mappings in the kernel than there are in ours: in the end one for
// each page. With room for two that many from the map on, no unmap ever needs more (P4).
bool SoftAddressSpace::hold_kernel_mappings(std::span<const Plan> plans) noexcept {
    std::uint64_t pages = kernel_mappings_.mapped_bytes() / kPageBytes;
    for (const Plan& plan : plans) {
        for (const PlanOp& op : plan.ops()) {
            const bool more = op.kind == PlanOp::Kind::kMap && op.purpose == PlanOp::Purpose::kRequested;
            pages += more ? op.va.size() / kPageBytes : 0;
        }
    }
    return kernel_mappings_.hold(0, 2 * (2 * pages - kernel_mappings_.credit()));
}

void SoftAddressSpace::settle() noexcept {
    table_->settle();
    kernel_mappings_.settle();
}

void SoftAddressSpace::detach() noexcept {
    gpu_.unmap_all(context_);
}

Result<void, BackendFailure> SoftAddressSpace::execute(std::span<const Plan> plans) noexcept {
    for (std::size_t i = 0; i < plans.size(); ++i) {
        const Plan& plan = plans[i];
        if (plan.empty()) {
            continue;
        }
        if (atomic_binds()) {
            gpu_.begin_update(context_, plan.touched);
        }
        int error = 0;
        std::size_t op = 0;
        bool begun = false;
        for (; op < plan.ops().size(); ++op) {
            error = run(plan.ops()[op], begun);
            if (!atomic_binds() && !oopsed_) {
                gpu_.end_update(context_, plan.ops()[op].va);
            }
            if (error != 0) {
                break;
            }
        }
        if (atomic_binds()) {
            gpu_.end_update(context_, plan.touched);
        }
        if (error != 0) {
            return fail(BackendFailure{oopsed_ ? Status::kKernelOops : Status::kBackendFailed, error, i, op, begun});
        }
    }
    return {};
}

Result<DirectChange, BackendFailure> SoftAddressSpace::change_directly(std::span<const BindRequest> requests) noexcept {
    BackendFailure failure;
    failure.status = hold_directly(requests);
    if (failure.status == Status::kOk && injection_ != nullptr) {
        for (std::size_t i = 0; i < requests.size() && failure.error == 0; ++i) {
            // An unmap of holes is no operation.
            const bool is_one = requests[i].kind == BindRequest::Kind::kMap || !is_hole(requests[i].va);
            failure.plan = i;
            failure.error = is_one ? injection_->at(Injection::Site::kOperation) : 0;
        }
        failure.status = failure.error != 0 ? Status::kBackendFailed : Status::kOk;
    }
    if (failure.status != Status::kOk) {
        table_->settle();
        return fail(failure);
    }
    VaRange all = requests.front().va;
    for (const BindRequest& request : requests.subspan(1)) {
        all = all.hull(request.va);
    }
    if (atomic_binds()) {
        gpu_.begin_update(context_, all);
    }
    // In a large address space each of them is a miss of the caches: the next ones come while one is written.
    constexpr std::size_t kAhead = 8;
    for (std::size_t i = 1; i < std::min(kAhead, requests.size()); ++i) {
        table_->prefetch(requests[i].va.start);
    }
    DirectChange change;
    bool done = true;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (requests.size() - i > kAhead) {
            table_->prefetch(requests[i + kAhead].va.start);
        }
        // Only the first one can fail, where it is the only one: nothing was held for it.
        done = run_directly(requests[i], change);
        assert(done || requests.size() == 1);
    }
    operations_ += change.operations;
    // Where nothing changed there is nothing that the MMU should forget.
    if (atomic_binds() || change.operations != 0) {
        gpu_.end_update(context_, all);
    }
    table_->settle();
    if (!done) {
        failure.status = Status::kOutOfTableMemory;
        return fail(failure);
    }
    return change;
}

bool SoftAddressSpace::is_hole(const VaRange& range) const noexcept {
    for (Va at = range.start; at < range.end;) {
        const mali::Walk walk = table_->walk(at);
        if (walk.mapped) {
            return false;
        }
        at = walk.leaf_start + walk.span;
    }
    return true;
}

Status SoftAddressSpace::hold_directly(std::span<const BindRequest> requests) noexcept {
    const auto is_in_one_table = [](const VaRange& va) {
        return va.start.align_down(kBlock2MBytes) == (va.end - kPageBytes).align_down(kBlock2MBytes);
    };
    // A single one within a table takes what it needs as it goes: once a part of it stands, it needs nothing more.
    if (requests.size() != 1 || !is_in_one_table(requests.front().va)) {
        std::uint64_t tables = 0;
        for (const BindRequest& request : requests) {
            if (request.kind == BindRequest::Kind::kMap) {
                tables += is_in_one_table(request.va) ? mali::kLastLevel
                                                      : mali::PageTable::most_tables_for(pages_of(request.va));
            }
        }
        if (tables != 0 && !table_->hold(tables)) {
            return Status::kOutOfTableMemory;
        }
    }
    for (const BindRequest& request : requests) {
        if (request.kind == BindRequest::Kind::kMap && request.shows.sparse()) {
            return hold_sparse_block() ? Status::kOk : Status::kOutOfDeviceMemory;
        }
    }
    return Status::kOk;
}

bool SoftAddressSpace::run_directly(const BindRequest& request, DirectChange& change) noexcept {
    const VaRange& va = request.va;
    if (request.kind == BindRequest::Kind::kUnmap) {
        // Mostly what was mapped as a whole goes as a whole, and nothing need be read.
        const std::uint64_t before = table_->leaf_counts().pages_4k;
        if (pages_of(va).count > mali::kTableEntries || !table_->unmap(pages_of(va)).has_value()) {
            bool begun = false;
            const int error = clear(va, begun);
            assert(error == 0);
            static_cast<void>(error);
        }
        if (table_->leaf_counts().pages_4k == before) {
            return true;
        }
    } else {
        const mali::LeafAttributes attributes = attributes_of(request.shows.flags);
        for (Va at = va.start; at < va.end;) {
            const Extent extent = extent_at(request.shows.advanced(at - va.start), at);
            const Va table_end = at.align_down(kBlock2MBytes) + kBlock2MBytes;
            const Va end = std::min({va.end, table_end, at + extent.bytes});
            if (!write_pages(pages_of({at, end}), extent.pa, attributes)) {
                return false;
            }
            at = end;
        }
    }
    ++change.operations;
    change.touched = change.touched.hull(va);
    return true;
}

// Over whatever pages are there. Within one table.
bool SoftAddressSpace::write_pages(const LeafRun& pages, Pa pa, const mali::LeafAttributes& attributes) noexcept {
    // The soft MMU may be walking: it takes the old page or the new one, and has each once in its TLB.
    if (table_->replace_pages(pages, pa, attributes)) {
        return true;
    }
    if (table_->translate(pages.start).mapped() && !table_->unmap(pages).has_value()) {
        clear_whole_leaves(pages.range());
    }
    Result<void, mali::TableError> mapped = table_->map(pages, pa, attributes);
    if (!mapped && mapped.error().code == mali::TableError::Code::kAlreadyMapped) {
        clear_whole_leaves(pages.range());
        mapped = table_->map(pages, pa, attributes);
    }
    assert(mapped || mapped.error().code == mali::TableError::Code::kOutOfTableMemory);
    return mapped.has_value();
}

int SoftAddressSpace::run(const PlanOp& op, bool& begun) noexcept {
    if (oopsed_) {
        return EFAULT;
    }
    if (injection_ != nullptr) {
        if (const int error = injection_->at(Injection::Site::kOperation); error != 0) {
            return error;
        }
    }
    ++operations_;
    if (const int error = clear(op.va, begun); error != 0) {
        return error;
    }
    if (config_.kernel == KernelBehaviour::kOopses) {
        // An unmap has one new mapping set aside, and needs two where it leaves parts on both of its sides: a NULL
        // dereference in panthor_gpuva_sm_step_remap. A map has three.
        if (op.kind == PlanOp::Kind::kUnmap) {
            const std::optional<Mapping> first = kernel_mappings_.find(op.va.start);
            const std::optional<Mapping> last = kernel_mappings_.find(op.va.end - kPageBytes);
            if (first && last && first->va.start < op.va.start && last->va.end > op.va.end) {
                oopsed_ = true;
                return EFAULT;
            }
        }
        kernel_mappings_.erase(op.va);
    }
    begun = true;
    if (op.kind == PlanOp::Kind::kMap) {
        write(op);
        if (config_.kernel == KernelBehaviour::kOopses) {
            kernel_mappings_.insert({op.va, op.shows});
        }
    }
    return 0;
}

int SoftAddressSpace::clear(const VaRange& range, bool& begun) noexcept {
    Va at = range.start;
    while (at < range.end) {
        const mali::Walk walk = table_->walk(at);
        const Va next = walk.leaf_start + walk.span;
        if (!walk.mapped) {
            at = next;
            continue;
        }
        const VaRange leaf{walk.leaf_start, next};
        if (!range.contains(leaf)) {
            if (const int error = cut(walk, range); error != 0) {
                return error;
            }
            begun = true;
            at = next;
            continue;
        }
        // To the end of the table that this leaf is in; only its last leaf can reach beyond the range.
        const std::uint64_t table_span = bytes_of(walk.leaf) * mali::kTableEntries;
        const Va table_end = at.align_down(table_span) + table_span;
        const Va whole_end = range.end.align_down(bytes_of(walk.leaf));
        const VaRange part{at, table_end < whole_end ? table_end : whole_end};
        clear_whole_leaves(part);
        begun = true;
        at = part.end;
    }
    return 0;
}

// Every leaf that overlaps `range` lies in it, except that tables of smaller leaves may stand in a range of blocks.
void SoftAddressSpace::clear_whole_leaves(const VaRange& range) noexcept {
    Va at = range.start;
    while (at < range.end) {
        // A window at a time bounds the runs; larger leaves than a window are one run.
        const Va window = at.align_down(kBlock2MBytes) + kBlock2MBytes;
        RunCollector collector;
        table_->visit({at, window < range.end ? window : range.end},
                      [&](const mali::VisitedRun& run) { collector.add(run.leaves); });
        at = window;
        for (std::size_t i = 0; i < collector.size(); ++i) {
            const LeafRun run = collector[i];
            const auto result = table_->unmap(run);
            assert(result.has_value());
            static_cast<void>(result);
            at = std::max(at, run.range().end);
        }
    }
}

int SoftAddressSpace::cut(const mali::Walk& leaf, const VaRange& range) noexcept {
    ++leaf_cuts_;
    memory_.tables().count_leaf_cut();
    if (config_.kernel == KernelBehaviour::kRefuses || config_.kernel == KernelBehaviour::kOopses) {
        return EINVAL;
    }
    const VaRange whole{leaf.leaf_start, leaf.leaf_start + leaf.span};
    const auto result = table_->unmap({leaf.leaf_start, leaf.leaf, 1});
    assert(result.has_value());
    static_cast<void>(result);
    if (whole.start < range.start) {
        write_leaves({whole.start, range.start}, leaf.leaf_pa, leaf.attributes);
    }
    if (range.end < whole.end) {
        write_leaves({range.end, whole.end}, leaf.leaf_pa + (range.end - whole.start), leaf.attributes);
    }
    return 0;
}

void SoftAddressSpace::write(const PlanOp& op) noexcept {
    const mali::LeafAttributes attributes = attributes_of(op.shows.flags);
    for_each_leaf_run(op.va, op.shows, *this, config_.table.leaf_sizes, op.leaves,
                      [&](const LeafRun& run, const Extent& extent) {
                          const auto result = table_->map(run, extent.pa, attributes);
                          assert(result.has_value());
                          static_cast<void>(result);
                      });
}

// The largest leaves that fit: what is left of a block, contiguous as it was.
void SoftAddressSpace::write_leaves(const VaRange& va, Pa pa, const mali::LeafAttributes& attributes) noexcept {
    Extent extent{pa, va.size(), true};
    Va at = va.start;
    while (at < va.end) {
        const LeafRun run = next_leaf_run(at, va.end - at, extent, config_.table.leaf_sizes, LeafPolicy::kLargest);
        const auto result = table_->map(run, extent.pa, attributes);
        assert(result.has_value());
        static_cast<void>(result);
        const std::uint64_t bytes = run.range().size();
        extent = {extent.pa + bytes, extent.bytes - bytes, true};
        at = at + bytes;
    }
}

}  // namespace granule
