#include "src/bo_shelf.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <new>
#include <optional>
#include <utility>

namespace granule {
namespace {

constexpr std::size_t kFirstSlots = 64;

std::optional<std::uint64_t> value_of(std::span<const TimelineValue> values, TimelineId timeline) noexcept {
    const auto at = std::find_if(values.begin(), values.end(),
                                 [&](const TimelineValue& value) { return value.timeline == timeline; });
    return at == values.end() ? std::nullopt : std::optional{at->value};
}

}  // namespace

BoShelf::BoShelf(NodeMemory nodes) noexcept
    : entries_(nodes, sizeof(BoEntry), alignof(BoEntry)),
      bins_(nodes, sizeof(BoBin), alignof(BoBin)),
      by_slot_(nodes) {}

std::size_t BoShelf::bucket_of(const BoKind& kind, std::uint64_t bytes) noexcept {
    // What kinds differ in most. Kinds that share a bucket are told apart there.
    std::uint64_t hash = bytes / kPageBytes;
    for (const bool bit : {kind.bo.cpu_visible, kind.bo.cpu_cached, kind.bo.executable, kind.bo.shareable,
                           kind.flags.readonly, kind.flags.noexec, kind.flags.uncached}) {
        hash = (hash << 1) | (bit ? 1 : 0);
    }
    hash = (hash << 2) ^ static_cast<std::uint64_t>(kind.va.zone) ^ (std::uint64_t{kind.bo.only_for_vm} << 20);
    return static_cast<std::size_t>((hash * 0x9E3779B97F4A7C15U) >> 56) % kBuckets;
}

BoBin* BoShelf::find_bin(const BoKind& kind, std::uint64_t bytes) const noexcept {
    BoBin* bin = buckets_[bucket_of(kind, bytes)];
    while (bin != nullptr && (bin->bytes != bytes || !(bin->kind == kind))) {
        bin = bin->next;
    }
    return bin;
}

void BoShelf::add(BoCount& count, const BoEntry& entry) noexcept {
    ++count.bos;
    count.bytes += entry.bytes;
}

void BoShelf::subtract(BoCount& count, const BoEntry& entry) noexcept {
    assert(count.bos > 0 && count.bytes >= entry.bytes);
    --count.bos;
    count.bytes -= entry.bytes;
}

void BoShelf::note_peak() noexcept {
    usage_.peak_bytes = std::max(usage_.peak_bytes, usage_.all_bytes());
}

BoEntry* BoShelf::prepare(const BoKind& kind, std::uint64_t bytes, std::uint64_t asked, bool kept) noexcept {
    if (!entries_.reserve(entries_.in_use() + 1)) {
        return nullptr;
    }
    BoBin* bin = kept ? find_bin(kind, bytes) : nullptr;
    if (kept && bin == nullptr) {
        if (!bins_.reserve(bins_.in_use() + 1)) {
            return nullptr;
        }
        BoBin*& bucket = buckets_[bucket_of(kind, bytes)];
        bin = ::new (bins_.take()) BoBin;
        bin->kind = kind;
        bin->bytes = bytes;
        bin->next = std::exchange(bucket, bin);
    }
    auto* const entry = ::new (entries_.take()) BoEntry;
    entry->bin = bin;
    entry->bytes = bytes;
    entry->asked = asked;
    if (bin != nullptr) {
        ++bin->entries;
    }
    add(usage_.live, *entry);
    usage_.asked_bytes += asked;
    note_peak();
    return entry;
}

void BoShelf::release_node(BoEntry& entry) noexcept {
    if (BoBin* const bin = entry.bin; bin != nullptr && --bin->entries == 0) {
        BoBin** at = &buckets_[bucket_of(bin->kind, bin->bytes)];
        while (*at != bin) {
            at = &(*at)->next;
        }
        *at = bin->next;
        bin->~BoBin();
        bins_.give_back(bin);
    }
    entry.~BoEntry();
    entries_.give_back(&entry);
}

void BoShelf::abandon(BoEntry& entry) noexcept {
    assert(entry.state == BoEntry::State::kMaking);
    subtract(usage_.live, entry);
    usage_.asked_bytes -= entry.asked;
    release_node(entry);
}

bool BoShelf::reserve_id(BoId id) noexcept {
    const std::size_t slot = BoTable::slot_of(id);
    if (slot < by_slot_.size()) {
        return true;
    }
    if (!by_slot_.reserve(std::max({kFirstSlots, slot + 1, 2 * by_slot_.capacity()}))) {
        return false;
    }
    while (by_slot_.size() < by_slot_.capacity()) {
        const bool pushed = by_slot_.push(nullptr);
        assert(pushed);
        static_cast<void>(pushed);
    }
    return true;
}

void BoShelf::hand_out(BoEntry& entry, Bo& bo, const VaRange& va) noexcept {
    assert(entry.state == BoEntry::State::kMaking && bo.size >= entry.bytes);
    entry.id = bo.id;
    entry.bo = &bo;
    entry.va = va;
    usage_.live.bytes += bo.size - entry.bytes;
    entry.bytes = bo.size;
    note_peak();
    entry.state = BoEntry::State::kOut;
    by_slot_[BoTable::slot_of(bo.id)] = &entry;
}

BoEntry* BoShelf::find_out(BoId id) const noexcept {
    const std::size_t slot = BoTable::slot_of(id);
    BoEntry* const entry = slot < by_slot_.size() ? by_slot_[slot] : nullptr;
    return entry != nullptr && entry->id == id ? entry : nullptr;
}

EntriesByAge& BoShelf::age_list_of(const BoEntry& entry) noexcept {
    return entry.evictable ? cold_ : warm_;
}

void BoShelf::leave_bin(BoEntry& entry) noexcept {
    (entry.state == BoEntry::State::kIdle ? entry.bin->idle : entry.bin->unknown).remove(entry);
    age_list_of(entry).remove(entry);
}

void BoShelf::become_live(BoEntry& entry) noexcept {
    leave_bin(entry);
    subtract(usage_.idle, entry);
    add(usage_.live, entry);
    entry.asked = 0;
    entry.state = BoEntry::State::kInHand;
}

BoEntry* BoShelf::take_idle(const BoKind& kind, std::uint64_t bytes) noexcept {
    const BoBin* const bin = find_bin(kind, bytes);
    if (bin == nullptr || bin->idle.empty()) {
        return nullptr;
    }
    BoEntry* const entry = bin->idle.front();
    become_live(*entry);
    return entry;
}

BoEntry* BoShelf::take_unknown(const BoKind& kind, std::uint64_t bytes) noexcept {
    const BoBin* const bin = find_bin(kind, bytes);
    if (bin == nullptr || bin->unknown.empty()) {
        return nullptr;
    }
    BoEntry* const entry = bin->unknown.front();
    become_live(*entry);
    return entry;
}

bool BoShelf::some_wait(const BoKind& kind, std::uint64_t bytes) const noexcept {
    const BoBin* const bin = find_bin(kind, bytes);
    return bin != nullptr && bin->waiting != 0;
}

void BoShelf::hand_out_again(BoEntry& entry, std::uint64_t asked) noexcept {
    assert(entry.state == BoEntry::State::kInHand && !entry.offered);
    entry.asked = asked;
    usage_.asked_bytes += asked;
    entry.evictable = false;
    entry.state = BoEntry::State::kOut;
    by_slot_[BoTable::slot_of(entry.id)] = &entry;
}

void BoShelf::still_busy(BoEntry& entry, std::uint64_t now_ns) noexcept {
    put_unknown(entry, now_ns);
    entry.bin->unknown.remove(entry);
    entry.bin->unknown.push_front(entry);
}

// kOut, kInHand: from here on it is not live.
void BoShelf::leave_live(BoEntry& entry) noexcept {
    if (entry.state == BoEntry::State::kOut) {
        by_slot_[BoTable::slot_of(entry.id)] = nullptr;
        usage_.asked_bytes -= entry.asked;
    }
    assert(!entry.offered);
    subtract(usage_.live, entry);
}

void BoShelf::become_idle(BoEntry& entry, BoEntry::State state, std::uint64_t now_ns) noexcept {
    add(usage_.idle, entry);
    entry.state = state;
    entry.since_ns = now_ns;
    age_list_of(entry).push_back(entry);
    if (state == BoEntry::State::kIdle) {
        entry.bin->idle.push_front(entry);
    } else {
        entry.bin->unknown.push_back(entry);
    }
}

void BoShelf::put_idle(BoEntry& entry, std::uint64_t now_ns) noexcept {
    leave_live(entry);
    become_idle(entry, BoEntry::State::kIdle, now_ns);
}

void BoShelf::put_unknown(BoEntry& entry, std::uint64_t now_ns) noexcept {
    leave_live(entry);
    become_idle(entry, BoEntry::State::kUnknown, now_ns);
}

void BoShelf::put_waiting(BoEntry& entry, std::uint64_t now_ns) noexcept {
    leave_live(entry);
    add(usage_.waiting, entry);
    entry.state = BoEntry::State::kWaiting;
    entry.since_ns = now_ns;
    ++entry.bin->waiting;
    waiting_.push_back(entry);
    fences_.push(entry);
}

void BoShelf::retire(BoEntry& entry, EntriesByAge& ended) noexcept {
    if (entry.state == BoEntry::State::kWaiting) {
        subtract(usage_.waiting, entry);
        --entry.bin->waiting;
        waiting_.remove(entry);
        add(usage_.retiring, entry);
        entry.state = BoEntry::State::kRetiring;
        retiring_.push_back(entry);
        return;
    }
    leave_live(entry);
    if (entry.wait.count == 0) {
        entry.state = BoEntry::State::kEnding;
        ended.push_back(entry);
        return;
    }
    add(usage_.retiring, entry);
    entry.state = BoEntry::State::kRetiring;
    retiring_.push_back(entry);
    fences_.push(entry);
}

void BoShelf::stick(BoEntry& entry) noexcept {
    assert(entry.state == BoEntry::State::kEnding);
    add(usage_.retiring, entry);
    entry.state = BoEntry::State::kRetiring;
    stuck_.push_back(entry);
}

void BoShelf::forget(BoEntry& entry) noexcept {
    assert(entry.state == BoEntry::State::kEnding);
    release_node(entry);
}

void BoShelf::end(BoEntry& idle, EntriesByAge& ended) noexcept {
    leave_bin(idle);
    subtract(usage_.idle, idle);
    idle.state = BoEntry::State::kEnding;
    ended.push_back(idle);
}

void BoShelf::end_stuck(EntriesByAge& ended) noexcept {
    while (BoEntry* const entry = stuck_.pop_front()) {
        subtract(usage_.retiring, *entry);
        entry->state = BoEntry::State::kEnding;
        ended.push_back(*entry);
    }
}

void BoShelf::take_to_offer(BoEntry& entry) noexcept {
    assert(!entry.evictable);
    leave_bin(entry);
    entry.offered = true;
    entry.was_unknown = entry.state == BoEntry::State::kUnknown;
    entry.state = BoEntry::State::kInHand;
}

void BoShelf::put_offered(BoEntry& entry) noexcept {
    entry.offered = false;
    entry.evictable = true;
    cold_.push_back(entry);
    if (entry.was_unknown) {
        entry.state = BoEntry::State::kUnknown;
        entry.bin->unknown.push_front(entry);
    } else {
        entry.state = BoEntry::State::kIdle;
        entry.bin->idle.push_back(entry);
    }
}

void BoShelf::end_offered(BoEntry& entry, EntriesByAge& ended) noexcept {
    entry.offered = false;
    subtract(usage_.idle, entry);
    entry.state = BoEntry::State::kEnding;
    ended.push_back(entry);
}

std::size_t BoShelf::timelines(TimelineId after, std::span<const TimelineValue> known,
                               std::span<TimelineValue> into) const noexcept {
    std::size_t count = 0;
    fences_.visit_earliest([&](const FencePoint& point) {
        if (point.timeline > after && count < into.size() && !value_of(known, point.timeline)) {
            into[count] = {point.timeline, 0};
            ++count;
        }
    });
    return count;
}

void BoShelf::signalled(std::span<const TimelineValue> values, std::uint64_t now_ns, EntriesByAge& ended) noexcept {
    fences_.collect([&](TimelineId timeline) { return value_of(values, timeline).value_or(0); },
                    [&](BoEntry& entry) {
                        if (entry.state == BoEntry::State::kWaiting) {
                            subtract(usage_.waiting, entry);
                            --entry.bin->waiting;
                            waiting_.remove(entry);
                            become_idle(entry, BoEntry::State::kIdle, now_ns);
                            return;
                        }
                        end_retiring(entry, ended);
                    });
}

void BoShelf::end_retiring(BoEntry& entry, EntriesByAge& ended) noexcept {
    retiring_.remove(entry);
    subtract(usage_.retiring, entry);
    entry.state = BoEntry::State::kEnding;
    ended.push_back(entry);
}

BoEntry* BoShelf::oldest_idle() const noexcept {
    BoEntry* const cold = cold_.front();
    BoEntry* const warm = warm_.front();
    if (cold == nullptr || warm == nullptr) {
        return cold == nullptr ? warm : cold;
    }
    return cold->since_ns <= warm->since_ns ? cold : warm;
}

void BoShelf::end_all_busy(EntriesByAge& ended) noexcept {
    while (BoEntry* const entry = waiting_.front()) {
        retire(*entry, ended);
    }
    fences_.collect([](TimelineId) { return std::numeric_limits<std::uint64_t>::max(); },
                    [&](BoEntry& entry) {
                        entry.wait.current = 0;  // which of its fences have signalled is forgotten
                        end_retiring(entry, ended);
                    });
    end_stuck(ended);
}

bool BoShelf::validate() const noexcept {
    BoShelfUsage seen;
    std::uint64_t waiting_in_bins = 0;
    std::uint64_t in_bins = 0;
    std::uint64_t bins = 0;
    bool good = true;
    const auto is = [&](bool right) { good = good && right; };
    for (const BoBin* bucket : buckets_) {
        for (const BoBin* bin = bucket; bin != nullptr; bin = bin->next) {
            ++bins;
            waiting_in_bins += bin->waiting;
            is(bin->entries != 0 && find_bin(bin->kind, bin->bytes) == bin);
            for (const BoEntry* e = bin->idle.front(); e != nullptr; e = EntriesInBin::after(*e)) {
                ++in_bins;
                is(e->bin == bin && e->state == BoEntry::State::kIdle);
            }
            for (const BoEntry* e = bin->unknown.front(); e != nullptr; e = EntriesInBin::after(*e)) {
                ++in_bins;
                is(e->bin == bin && e->state == BoEntry::State::kUnknown);
            }
        }
    }
    const auto look = [&](const EntriesByAge& list, BoCount& count, auto&& fits) {
        for (const BoEntry* e = list.front(); e != nullptr; e = EntriesByAge::after(*e)) {
            add(count, *e);
            is(fits(*e));
        }
    };
    const auto idle_as = [](bool evictable) {
        return [evictable](const BoEntry& e) {
            return (e.state == BoEntry::State::kIdle || e.state == BoEntry::State::kUnknown) &&
                   e.evictable == evictable;
        };
    };
    look(cold_, seen.idle, idle_as(true));
    look(warm_, seen.idle, idle_as(false));
    look(waiting_, seen.waiting, [](const BoEntry& e) { return e.state == BoEntry::State::kWaiting; });
    look(retiring_, seen.retiring, [](const BoEntry& e) { return e.state == BoEntry::State::kRetiring; });
    std::uint64_t fenced = 0;
    is(fences_.validate([&](const BoEntry&) {
        ++fenced;
        return true;
    }));
    is(fenced == seen.waiting.bos + seen.retiring.bos);
    look(stuck_, seen.retiring, [](const BoEntry& e) { return e.state == BoEntry::State::kRetiring; });
    for (std::size_t slot = 0; slot < by_slot_.size(); ++slot) {
        if (const BoEntry* const e = by_slot_[slot]) {
            add(seen.live, *e);
            seen.asked_bytes += e->asked;
            is(e->state == BoEntry::State::kOut && BoTable::slot_of(e->id) == slot);
        }
    }
    // Where no other call has an entry in hand.
    is(seen.live == usage_.live && seen.idle == usage_.idle && seen.waiting == usage_.waiting &&
       seen.retiring == usage_.retiring && seen.asked_bytes == usage_.asked_bytes);
    is(in_bins == seen.idle.bos && waiting_in_bins == seen.waiting.bos && bins == bins_.in_use());
    is(entries_.in_use() == seen.live.bos + seen.idle.bos + seen.waiting.bos + seen.retiring.bos);
    return good;
}

}  // namespace granule
