#include "allocator/va_heap.hpp"

#include <bit>
#include <cassert>
#include <new>
#include <utility>

#include "allocator/hole_index.hpp"
#include "allocator/va_block.hpp"
#include "allocator/va_partition.hpp"

namespace granule {

namespace {

constexpr std::uint64_t kMaxAlignment = kMaxVaEnd / 2;
constexpr std::uint64_t kLowEnd = std::uint64_t{1} << 32;

VaError bad_request(const char* why) noexcept {
    return {.code = VaError::Code::kBadRequest, .why = why};
}

VaError out_of_memory() noexcept {
    return {.code = VaError::Code::kOutOfMemory, .why = "no memory for the node of a block"};
}

constexpr bool whole_pages(std::uint64_t bytes) noexcept {
    return is_aligned(bytes, kPageBytes);
}

constexpr bool page_power_of_two(std::uint64_t bytes) noexcept {
    return (bytes & (bytes - 1)) == 0 && bytes >= kPageBytes;
}

// Guards are below 2^47 each, so that they can be doubled and added to a size.
constexpr bool valid_guard(std::uint64_t guard) noexcept {
    return whole_pages(guard) && guard < kMaxVaEnd / 2;
}

unsigned page_bits_of(std::uint64_t power_of_two) noexcept {
    return static_cast<unsigned>(std::countr_zero(power_of_two)) - kPageBits;
}

// The request in pages, or the rule that it breaks.
Result<Shape, VaError> shape_of(const VaRequest& request) noexcept {
    if (request.size == 0 || request.size > kMaxVaEnd || !whole_pages(request.size)) {
        return fail(bad_request("the size is not a number of whole pages from 4 KiB to 2^48"));
    }
    if (!page_power_of_two(request.alignment) || request.alignment > kMaxAlignment) {
        return fail(bad_request("the alignment is not a power of two from 4 KiB to 2^47"));
    }
    if (request.phase >= request.alignment || !whole_pages(request.phase)) {
        return fail(bad_request("the phase is not a number of whole pages below the alignment"));
    }
    if (!valid_guard(request.guard)) {
        return fail(bad_request("the guard is not a number of whole pages below 2^47"));
    }
    if (request.boundary != 0 && !page_power_of_two(request.boundary)) {
        return fail(bad_request("the boundary is not a power of two of at least 4 KiB"));
    }
    if (static_cast<std::size_t>(request.zone) >= kVaZones) {
        return fail(bad_request("there is no such zone"));
    }
    Shape shape;
    shape.direction = request.direction;
    shape.pages = (request.size + 2 * request.guard) >> kPageBits;
    shape.alignment_bits = page_bits_of(request.alignment);
    // The guard begins that much before the range: modulo the alignment, which 2^64 is a multiple of.
    shape.phase = ((request.phase - request.guard) & (request.alignment - 1)) >> kPageBits;
    if (request.boundary != 0 && request.boundary < kMaxVaEnd) {
        // With alignment >= boundary, every place is at the same distance from the boundary before it.
        const std::uint64_t window = request.boundary >> kPageBits;
        if ((shape.phase & (window - 1)) + shape.pages > window) {
            return fail(bad_request("size, guards and phase cross the boundary wherever the range begins"));
        }
        if (request.boundary > request.alignment) {
            shape.boundary_bits = page_bits_of(request.boundary);
        }
    }
    return shape;
}

// The rule that a zone breaks, or null.
const char* wrong_with(const VaHeapConfig& config, std::size_t zone) noexcept {
    const VaRange& range = config.zones[zone];
    if (range.end < range.start || range.end.raw() > kMaxVaEnd || !range.is_aligned(kPageBytes)) {
        return "a zone is not a range of whole pages within 2^48";
    }
    if (static_cast<VaZone>(zone) == VaZone::kLow && range.end.raw() > kLowEnd) {
        return "the low zone leaves the low 4 GiB";
    }
    for (std::size_t other = 0; other < zone; ++other) {
        if (!range.empty() && !config.zones[other].empty() && range.overlaps(config.zones[other])) {
            return "two zones overlap";
        }
    }
    return nullptr;
}

}  // namespace

void VaHeap::Destroy::operator()(VaSpace* space) const noexcept {
    space->~VaSpace();
    memory.release(memory.context, space, sizeof(VaSpace), alignof(VaSpace));
}

VaHeap::VaHeap(Owner space) noexcept : space_(std::move(space)) {}

Result<VaHeap, VaError> VaHeap::create(const VaHeapConfig& config) noexcept {
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        if (const char* why = wrong_with(config, zone); why != nullptr) {
            return fail(bad_request(why));
        }
    }
    void* memory = config.memory.allocate(config.memory.context, sizeof(VaSpace), alignof(VaSpace));
    if (memory == nullptr) {
        return fail(out_of_memory());
    }
    const VaSlotPolicy policy{.enabled = config.slots, .least_demand = config.slots_from};
    Owner space{::new (memory) VaSpace(config.memory, policy, config.bins), Destroy{config.memory}};
    for (std::size_t zone = 0; zone < kVaZones; ++zone) {
        const auto which = static_cast<VaZone>(zone);
        if (!config.zones[zone].empty() &&
            (!space->partition.open(which, config.zones[zone]) || !space->slots.open(which))) {
            return fail(out_of_memory());
        }
    }
    if (!space->waits.reserve(1)) {
        return fail(out_of_memory());
    }
    return VaHeap(std::move(space));
}

Result<VaRange, VaError> VaHeap::allocate(const VaRequest& request) noexcept {
    const Result<VaLease, VaError> leased = lease(request);
    if (!leased) {
        return fail(leased.error());
    }
    return leased->range;
}

Result<VaLease, VaError> VaHeap::lease_plain(const VaRequest& request) noexcept {
    if (space_->slots.enabled()) {
        VaLease leased;
        const VaSlots::Grown grown = space_->slots.grow(request, leased);
        if (grown == VaSlots::Grown::kTaken) {
            return leased;
        }
        if (grown == VaSlots::Grown::kOutOfMemory) {
            return fail(out_of_memory());
        }
    }
    Shape shape;
    shape.pages = request.size >> kPageBits;
    shape.alignment_bits = page_bits_of(request.alignment);
    shape.direction = request.direction;
    return lease_block(request, shape);
}

Result<VaLease, VaError> VaHeap::lease_otherwise(const VaRequest& request) noexcept {
    const Result<Shape, VaError> shape = shape_of(request);
    if (!shape) {
        return fail(shape.error());
    }
    return lease_block(request, *shape);
}

// Where the blocks have no place: what is free in runs is free for everybody, and exactness is worth more than the runs.
Result<VaPartition::Place, VaError> VaHeap::find_with_runs(const VaRequest& request, const Shape& shape) noexcept {
    VaPartition::Zone& zone = space_->partition.zone(request.zone);
    VaPartition::Place place;
    if (space_->slots.trim(request.zone)) {
        place = space_->partition.find(zone, shape);
    }
    if (place.hole == nullptr && !place.out_of_memory && space_->slots.free_pages(request.zone) != 0) {
        if (!space_->slots.dissolve_all(request.zone)) {
            return fail(out_of_memory());
        }
        place = space_->partition.find(zone, shape);
    }
    if (place.out_of_memory) {
        return fail(out_of_memory());
    }
    if (place.hole == nullptr) {
        return fail(VaError{
            .code = VaError::Code::kOutOfVa,
            .why = zone.exists() ? "no hole of the zone fits" : "the heap has no such zone",
            .occupant = {},
            .largest_hole = space_->partition.largest_hole(zone) << kPageBits,
            .behind_fences =
                zone.counters.retired_bytes + (space_->slots.counters(request.zone).retired_pages << kPageBits),
        });
    }
    return place;
}

inline Result<VaLease, VaError> VaHeap::lease_block(const VaRequest& request, const Shape& shape) noexcept {
    VaSpace& space = *space_;
    VaPartition::Place place = space.partition.find(space.partition.zone(request.zone), shape);
    if (place.hole == nullptr) {
        if (place.out_of_memory) {
            return fail(out_of_memory());
        }
        const auto found = find_with_runs(request, shape);
        if (!found) {
            return fail(found.error());
        }
        place = *found;
    }
    const std::uint64_t end = place.first + shape.pages;
    if (!space.waits.reserve(1) || !space.partition.set_aside(2)) {
        return fail(out_of_memory());
    }
    space.waits.add(1);
    const std::uint64_t guard = request.guard >> kPageBits;
    const VaBlock& block = space.partition.carve(*place.hole, place.first, end, guard);
    const Va start{(place.first + guard) << kPageBits};
    return VaLease{{start, start + request.size}, VaSpace::handle_of(block)};
}

Result<VaRange, VaError> VaHeap::allocate_at(VaRange range, std::uint64_t guard) noexcept {
    if (range.end <= range.start || range.end.raw() > kMaxVaEnd || !range.is_aligned(kPageBytes)) {
        return fail(bad_request("not a range of whole pages within 2^48"));
    }
    if (!valid_guard(guard)) {
        return fail(bad_request("the guard is not a number of whole pages below 2^47"));
    }
    const std::uint64_t first = (range.start.raw() - guard) >> kPageBits;  // wraps where the check below refuses it
    const std::uint64_t end = (range.end.raw() + guard) >> kPageBits;
    VaPartition& partition = space_->partition;
    const VaPartition::Zone* zone = partition.zone_of(range.start.raw() >> kPageBits);
    if (zone == nullptr || range.start.raw() < guard || first < zone->first || end > zone->end) {
        return fail(bad_request("no zone contains the range with its guards"));
    }
    VaBlock* block = partition.block_at(first);
    // Where a range comes back to the slot that it was in, as in a replay of captured addresses, the run stays.
    if (guard == 0 && block->state() == VaBlock::State::kSlots &&
        space_->slots.take_at(space_->slots.run_of(block->run()), range)) {
        return range;
    }
    if (const std::optional<VaPiece> occupant = space_->occupant(*block, first, end)) {
        return fail(VaError{
            .code = VaError::Code::kOccupied,
            .why = occupant->state == VaBlock::State::kRetired ? "a range that waits for fences is in the way"
                                                               : "an allocation is in the way",
            .occupant = occupant->whole(),
        });
    }
    if (!space_->waits.reserve(1)) {
        return fail(out_of_memory());
    }
    if (block->is_hole() && end <= block->end()) {
        if (!partition.set_aside(2)) {
            return fail(out_of_memory());
        }
    } else {
        if (!space_->clear_of_runs(first, end, 2)) {
            return fail(out_of_memory());
        }
        block = partition.block_at(first);
    }
    space_->waits.add(1);
    return partition.carve(*block, first, end, guard >> kPageBits).range();
}

void VaHeap::release(VaRange range) noexcept {
    [[maybe_unused]] const Result<void, VaError> released = release_checked(range);
    assert(released.has_value());
}

Result<void, VaError> VaHeap::release_checked(VaRange range) noexcept {
    return release_otherwise(range, VaHandle::kNone);
}

Result<void, VaError> VaHeap::release_otherwise(VaRange range, VaHandle handle) noexcept {
    if (space_->release_block(range, handle)) {
        return {};
    }
    const VaOwned owned = space_->owned(range, handle);
    if (!owned) {
        return fail(not_allocated(*space_, range));
    }
    space_->release(owned);
    return {};
}

bool VaHeap::is_allocated(VaRange range) const noexcept {
    return static_cast<bool>(space_->owned(range));
}

std::optional<VaAllocation> VaHeap::allocation_at(Va va) const noexcept {
    const std::optional<VaPiece> piece = space_->piece_at(va.raw() >> kPageBits);
    if (!piece || piece->is_hole()) {
        return std::nullopt;
    }
    return describe(*piece);
}

VaZoneStats VaHeap::stats(VaZone zone) const noexcept {
    return space_->stats(zone);
}

std::uint64_t VaHeap::free_bytes(VaZone zone) const noexcept {
    return space_->free_bytes(zone);
}

std::uint64_t VaHeap::node_bytes() const noexcept {
    return space_->partition.bytes_reserved() + space_->slots.bytes_reserved() + space_->waits.bytes_reserved();
}

std::uint64_t VaHeap::touched_bytes() const noexcept {
    return sizeof(VaSpace) + space_->partition.bytes_touched() + space_->slots.bytes_touched() +
           space_->waits.bytes_touched();
}

bool VaHeap::validate() const noexcept {
    return space_->validate();
}

VaAllocation VaHeap::describe(const VaPiece& piece) noexcept {
    return {piece.range(), piece.whole(), piece.state == VaBlock::State::kRetired};
}

VaError VaHeap::not_allocated(VaSpace& space, VaRange range) noexcept {
    VaError error{.code = VaError::Code::kNotAllocated, .why = "outside of every zone"};
    const std::optional<VaPiece> piece = space.piece_at(range.start.raw() >> kPageBits);
    if (!piece) {
        return error;
    }
    if (piece->is_hole()) {
        error.why = "nothing is allocated there";
        return error;
    }
    error.occupant = piece->whole();
    if (piece->range() != range) {
        error.why = "not the whole range of the allocation there, or more than it";
    } else {
        error.why = "released before, and waits for fences";
    }
    return error;
}

}  // namespace granule
