#include "mali/soft_mmu.hpp"

#include <cassert>
#include <cstdint>
#include <optional>
#include <span>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/fault_status.hpp"
#include "mali/hardware_walk.hpp"
#include "mali/lock_region.hpp"
#include "mali/mmu_registers.hpp"
#include "mali/mmu_sequence.hpp"
#include "mali/soft_tlb.hpp"
#include "mali/translation_config.hpp"

namespace granule::mali {

namespace {

// GPU_CMD by its lowest byte. Sources: Linux panfrost_regs.h, panthor_regs.h.
constexpr std::uint32_t kGpuCommandMask = 0xff;
constexpr std::uint32_t kFlushCachesCsf = 4;
constexpr std::uint32_t kCleanCachesJobManager = 7;
constexpr std::uint32_t kCleanInvalidateCachesJobManager = 8;

[[nodiscard]] constexpr bool permits(const LeafAttributes& leaf, AccessKind kind) noexcept {
    switch (kind) {
        case AccessKind::kRead:
            return leaf.read;
        case AccessKind::kWrite:
            return leaf.write;
        case AccessKind::kAtomic:
            return leaf.read && leaf.write;
        case AccessKind::kExecute:
            return leaf.read && leaf.execute;
    }
    return false;
}

[[nodiscard]] constexpr unsigned bit_of(std::uint32_t offset) noexcept {
    return (offset & reg::kHighHalf) != 0 ? 32 : 0;
}

}  // namespace

SoftMmu::SoftMmu(const PhysicalMemory& memory, const SoftMmuConfig& config, std::span<TlbEntry> tlb) noexcept
    : memory_(memory), config_(config), tlb_(tlb) {
    assert(config.as_count >= 1 && config.as_count <= reg::kMaxAddressSpaces);
    assert(config.va_bits <= kMaxVaBits && config.pa_bits <= kMaxVaBits);
}

// ---- registers ----

std::uint32_t SoftMmu::read(std::uint32_t offset) const noexcept {
    switch (offset) {
        case reg::kMmuFeatures:
            return config_.va_bits | (config_.pa_bits << 8);
        case reg::kAsPresent:
            return (1U << config_.as_count) - 1;
        case reg::kGpuIntRawStat:
            return gpu_raw_;
        case reg::kGpuIntMask:
            return gpu_mask_;
        case reg::kGpuIntStat:
            return gpu_raw_ & gpu_mask_;
        case reg::kMmuIntRawStat:
            return mmu_raw_;
        case reg::kMmuIntMask:
            return mmu_mask_;
        case reg::kMmuIntStat:
            return mmu_raw_ & mmu_mask_;
        default:
            break;
    }
    if (offset < reg::kAsBase || offset >= reg::kAsBase + config_.as_count * reg::kAsStride) {
        return 0;
    }
    return read_space((offset - reg::kAsBase) / reg::kAsStride, (offset - reg::kAsBase) % reg::kAsStride);
}

void SoftMmu::write(std::uint32_t offset, std::uint32_t value) noexcept {
    switch (offset) {
        case reg::kGpuIntClear:
            gpu_raw_ &= ~value;
            return;
        case reg::kGpuIntMask:
            gpu_mask_ = value;
            return;
        case reg::kGpuCmd:
            gpu_command(value);
            return;
        case reg::kMmuIntClear:
            mmu_raw_ &= ~value;
            return;
        case reg::kMmuIntMask:
            mmu_mask_ = value;
            return;
        default:
            break;
    }
    if (offset >= reg::kAsBase && offset < reg::kAsBase + config_.as_count * reg::kAsStride) {
        write_space((offset - reg::kAsBase) / reg::kAsStride, (offset - reg::kAsBase) % reg::kAsStride, value);
    }
}

template <class Space>
auto* SoftMmu::wide_register(Space& space, std::uint32_t offset) noexcept {
    switch (offset & ~reg::kHighHalf) {
        case reg::kAsTranstab:
            return &space.written.transtab;
        case reg::kAsMemattr:
            return &space.written.memattr;
        case reg::kAsLockaddr:
            return &space.lockaddr;
        case reg::kAsTranscfg:
            return &space.written.transcfg;
        default:
            return static_cast<decltype(&space.lockaddr)>(nullptr);
    }
}

std::uint32_t SoftMmu::read_space(unsigned as, std::uint32_t offset) const noexcept {
    const AddressSpace& space = spaces_[as];
    if (const std::uint64_t* wide = wide_register(space, offset)) {
        return static_cast<std::uint32_t>(*wide >> bit_of(offset));
    }
    switch (offset) {
        case reg::kAsFaultStatus:
            return space.fault_status;
        case reg::kAsFaultAddress:
        case reg::kAsFaultAddress + reg::kHighHalf:
            return static_cast<std::uint32_t>(space.fault_address >> (offset == reg::kAsFaultAddress ? 0U : 32U));
        case reg::kAsStatus:
            return space.hangs ? reg::kAsStatusActive : 0;
        default:
            return 0;
    }
}

void SoftMmu::write_space(unsigned as, std::uint32_t offset, std::uint32_t value) noexcept {
    if (std::uint64_t* wide = wide_register(spaces_[as], offset)) {
        const std::uint64_t half = std::uint64_t{UINT32_MAX} << bit_of(offset);
        *wide = (*wide & ~half) | (std::uint64_t{value} << bit_of(offset));
    } else if (offset == reg::kAsCommand) {
        command(as, static_cast<AsCommand>(value));
    }
}

bool SoftMmu::run(const MmuSequence& sequence) noexcept {
    for (const MmuStep& step : sequence) {
        switch (step.kind) {
            case MmuStep::Kind::kWrite:
                write(step.reg, step.value);
                break;
            case MmuStep::Kind::kPollClear:
                if ((read(step.reg) & step.value) != 0) {
                    return false;
                }
                break;
            case MmuStep::Kind::kPollSet:
                if ((read(step.reg) & step.value) != step.value) {
                    return false;
                }
                break;
        }
    }
    return true;
}

// ---- commands ----

void SoftMmu::command(unsigned as, AsCommand command) noexcept {
    AddressSpace& space = spaces_[as];
    if (space.hangs || command == AsCommand::kNop) {
        return;
    }
    ++statistics_.commands;
    switch (command) {
        case AsCommand::kUpdate:
            update(as);
            break;
        case AsCommand::kLock:
            space.locked = locked_by(space.lockaddr);
            break;
        case AsCommand::kUnlock:
        case AsCommand::kFlushPt:
        case AsCommand::kFlushMem:
            unlock(as);
            break;
        case AsCommand::kNop:
            break;
    }
}

void SoftMmu::update(unsigned as) noexcept {
    AddressSpace& space = spaces_[as];
    if (config_.csf && space.active != space.written) {
        statistics_.invalidated += tlb_.invalidate(as, kLockEverything.locked);
    }
    space.active = space.written;
    space.translation = read_translation(space.active.transtab, space.active.transcfg).value_or(Translation{});
}

void SoftMmu::unlock(unsigned as) noexcept {
    AddressSpace& space = spaces_[as];
    statistics_.invalidated += tlb_.invalidate(as, space.locked);
    space.locked = {};
}

void SoftMmu::gpu_command(std::uint32_t command) noexcept {
    const std::uint32_t kind = command & kGpuCommandMask;
    const bool known = config_.csf ? kind == kFlushCachesCsf
                                   : kind == kCleanCachesJobManager || kind == kCleanInvalidateCachesJobManager;
    if (known) {
        ++statistics_.gpu_flushes;
        gpu_raw_ |= reg::kGpuIntCleanCachesCompleted;
    }
}

// ---- accesses ----

Access SoftMmu::access(unsigned as, Va va, AccessKind kind, std::uint16_t source_id) noexcept {
    assert(as < config_.as_count);
    const AddressSpace& space = spaces_[as];
    const Requester by{as, va, kind, source_id};
    ++statistics_.accesses;
    if (space.locked.contains(va)) {
        ++statistics_.stalls;
        Access stalled;
        stalled.outcome = Access::Outcome::kStalled;
        return stalled;
    }
    switch (space.translation.mode) {
        case AddressMode::kUnmapped:
            return fault(by, exception::kTranslationFault);
        case AddressMode::kIdentity:
            return identity(by);
        case AddressMode::kTable:
            break;
    }
    if (const TlbEntry* entry = tlb_.find(as, va)) {
        ++statistics_.hits;
        const bool stale = is_stale(*entry, va);
        statistics_.stale_hits += stale ? 1U : 0U;
        Access access = translated(by, *entry);
        access.from_tlb = true;
        access.stale = stale;
        return access;
    }
    ++statistics_.walks;
    const HardwareWalk walk = hardware_walk(memory_, space.translation, config_.va_bits, config_.pa_bits, va);
    if (walk.exception != 0) {
        return fault(by, walk.exception);
    }
    const TlbEntry entry{
        walk.descriptor, walk.start, walk.leaf.size, space.translation.format, static_cast<std::uint8_t>(as), true};
    statistics_.evicted += tlb_.insert(entry) ? 1U : 0U;
    return translated(by, entry);
}

// What the leaf allows is asked on hits as on walks: a stale entry has stale permissions.
Access SoftMmu::translated(const Requester& by, const TlbEntry& entry) noexcept {
    const unsigned level = leaf_level(entry.size);
    const Entry leaf = decode(entry.format, level, entry.descriptor);
    if (!permits(leaf.attributes, by.kind)) {
        return fault(by, static_cast<std::uint8_t>(exception::kPermissionFault + level));
    }
    Access access;
    access.outcome = Access::Outcome::kDone;
    access.pa = leaf.pa + (by.va - entry.start);
    access.contiguous = entry.range().end - by.va;
    access.leaf = entry.size;
    access.attributes = leaf.attributes;
    return access;
}

Access SoftMmu::identity(const Requester& by) noexcept {
    const std::uint64_t end = std::uint64_t{1} << config_.pa_bits;
    if (by.va.raw() >= end) {
        return fault(by, exception::kAddressSizeFaultOut);
    }
    Access access;
    access.outcome = Access::Outcome::kDone;
    access.pa = Pa{by.va.raw()};
    access.contiguous = end - by.va.raw();
    access.attributes = LeafAttributes{true, true, true, false, MemoryType::kUncached};
    return access;
}

Access SoftMmu::fault(const Requester& by, std::uint8_t exception) noexcept {
    ++statistics_.faults;
    FaultStatus status;
    status.exception = exception;
    status.access = by.kind;
    status.source_id = by.source_id;
    Access access;
    access.fault_status = encode_fault_status(status);
    AddressSpace& space = spaces_[by.as];
    if ((mmu_raw_ & page_fault_bit(by.as)) == 0) {
        mmu_raw_ |= page_fault_bit(by.as);
        space.fault_status = access.fault_status;
        space.fault_address = by.va.raw();
    }
    return access;
}

bool SoftMmu::is_stale(const TlbEntry& entry, Va va) const noexcept {
    const Translation& translation = spaces_[entry.as].translation;
    const HardwareWalk walk = hardware_walk(memory_, translation, config_.va_bits, config_.pa_bits, va);
    return walk.exception != 0 || walk.descriptor != entry.descriptor || walk.start != entry.start ||
           walk.leaf.size != entry.size || translation.format != entry.format;
}

}  // namespace granule::mali
