#include "mali/mmu_sequence.hpp"

namespace granule::mali {
namespace {

MmuStep poll_idle(unsigned as) {
    return {MmuStep::Kind::kPollClear, reg::as_base(as) + reg::kAsStatus, reg::kAsStatusActive};
}

void write(MmuSequence& sequence, std::uint32_t offset, std::uint32_t value) {
    sequence.push({MmuStep::Kind::kWrite, offset, value});
}

void write64(MmuSequence& sequence, std::uint32_t offset, std::uint64_t value) {
    write(sequence, offset, static_cast<std::uint32_t>(value));
    write(sequence, offset + reg::kHighHalf, static_cast<std::uint32_t>(value >> 32));
}

// A command may only be written while none is under way, and has not taken effect before AS_ACTIVE is clear again.
void command(MmuSequence& sequence, unsigned as, AsCommand command) {
    const MmuStep idle = poll_idle(as);
    if (sequence.empty() || !(sequence[sequence.size() - 1] == idle)) {
        sequence.push(idle);
    }
    write(sequence, reg::as_base(as) + reg::kAsCommand, static_cast<std::uint32_t>(command));
    sequence.push(idle);
}

void lock(MmuSequence& sequence, unsigned as, const LockRegion& region) {
    write64(sequence, reg::as_base(as) + reg::kAsLockaddr, region.lockaddr);
    command(sequence, as, AsCommand::kLock);
}

// Linux takes the interrupt; the raw status says the same to whoever polls.
void flush_gpu_caches(MmuSequence& sequence, std::uint32_t gpu_command) {
    write(sequence, reg::kGpuIntClear, reg::kGpuIntCleanCachesCompleted);
    write(sequence, reg::kGpuCmd, gpu_command);
    sequence.push({MmuStep::Kind::kPollSet, reg::kGpuIntRawStat, reg::kGpuIntCleanCachesCompleted});
}

// Everything that the slot's owner left in the TLBs and caches goes.
void flush_all(MmuSequence& sequence, MmuProtocol protocol, unsigned as) {
    lock(sequence, as, kLockEverything);
    if (protocol == MmuProtocol::kJobManager) {
        command(sequence, as, AsCommand::kFlushMem);
    } else {
        flush_gpu_caches(sequence, kGpuFlushMem);
        command(sequence, as, AsCommand::kUnlock);
    }
}

void configure(MmuSequence& sequence, unsigned as, const TranslationConfig& config, HasTranscfg has_transcfg) {
    const std::uint32_t base = reg::as_base(as);
    write64(sequence, base + reg::kAsTranstab, config.transtab);
    write64(sequence, base + reg::kAsMemattr, config.memattr);
    if (has_transcfg == HasTranscfg::kYes) {
        write64(sequence, base + reg::kAsTranscfg, config.transcfg);
    }
    command(sequence, as, AsCommand::kUpdate);
}

}  // namespace

MmuSequence enable_as(MmuProtocol protocol, unsigned as, const TranslationConfig& config,
                      HasTranscfg has_transcfg) noexcept {
    MmuSequence sequence;
    if (protocol != MmuProtocol::kCsfAtomic) {
        flush_all(sequence, protocol, as);
    }
    configure(sequence, as, config, has_transcfg);
    return sequence;
}

MmuSequence disable_as(MmuProtocol protocol, unsigned as, HasTranscfg has_transcfg) noexcept {
    MmuSequence sequence;
    if (protocol == MmuProtocol::kCsfAtomic) {
        flush_gpu_caches(sequence, kGpuFlushAll);
    } else {
        flush_all(sequence, protocol, as);
    }
    configure(sequence, as, kUnmappedConfig, has_transcfg);
    return sequence;
}

MmuSequence begin_update(MmuProtocol protocol, unsigned as, VaRange range, unsigned smallest_lock_log2) noexcept {
    MmuSequence sequence;
    if (protocol == MmuProtocol::kCsfAtomic) {
        lock(sequence, as, lock_region(range, smallest_lock_log2));
    }
    return sequence;
}

MmuSequence end_update(MmuProtocol protocol, unsigned as, VaRange range, unsigned smallest_lock_log2) noexcept {
    MmuSequence sequence;
    switch (protocol) {
        case MmuProtocol::kJobManager:
            lock(sequence, as, lock_region(range, smallest_lock_log2));
            command(sequence, as, AsCommand::kFlushPt);
            break;
        case MmuProtocol::kCsfFlush:
            lock(sequence, as, lock_region(range, smallest_lock_log2));
            flush_gpu_caches(sequence, kGpuFlushPt);
            command(sequence, as, AsCommand::kUnlock);
            break;
        case MmuProtocol::kCsfAtomic:
            flush_gpu_caches(sequence, kGpuFlushAll);
            command(sequence, as, AsCommand::kUnlock);
            break;
    }
    return sequence;
}

}  // namespace granule::mali
