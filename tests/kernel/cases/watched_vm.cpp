#include "tests/kernel/cases/watched_vm.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string_view>

#include "mali/descriptor.hpp"
#include "tests/kernel/inside/probe_error.hpp"

namespace granule::kernel_test {
namespace {

// panthor: AArch64 descriptors; panthor_mmu.c, panthor_vm_bind_op flags to prot.
mali::LeafAttributes attributes_of(const MapFlags& flags) {
    mali::LeafAttributes attributes;
    attributes.write = !flags.readonly;
    attributes.execute = !flags.noexec;
    attributes.memory = flags.uncached ? mali::MemoryType::kUncached : mali::MemoryType::kCached;
    return attributes;
}

std::string describe(const OraclePage& page) {
    if (page.bo == kNoBo) {
        return "sparse";
    }
    return fmt::format("BO {:#x} + {:#x}{}{}{}", static_cast<std::uint32_t>(page.bo), page.offset,
                       page.flags.readonly ? " readonly" : "", page.flags.noexec ? " noexec" : "",
                       page.flags.uncached ? " uncached" : "");
}

}  // namespace

bool guest_has_huge_pages() {
    const char* const set = std::getenv("GRANULE_HUGE_PAGES");
    return set != nullptr && std::string_view(set) == "1";
}

std::uint64_t blocks_of(const std::vector<Pa>& pages, const VaRange& va, std::uint64_t offset) {
    const auto one_piece = [&](std::uint64_t first) {
        for (std::uint64_t page = 0; page < kBlock2MBytes / kPageBytes; ++page) {
            if (pages.at(first + page) != pages.at(first) + page * kPageBytes) {
                return false;
            }
        }
        return pages.at(first).raw() % kBlock2MBytes == 0;
    };
    std::uint64_t blocks = 0;
    for (std::uint64_t at = (va.start.raw() + kBlock2MBytes - 1) / kBlock2MBytes * kBlock2MBytes;
         at + kBlock2MBytes <= va.end.raw(); at += kBlock2MBytes) {
        blocks += one_piece((offset + at - va.start.raw()) / kPageBytes) ? 1U : 0U;
    }
    return blocks;
}

void PageOracle::map(const VaRange& va, const Backing& shows) {
    for (std::uint64_t at = 0; at < va.size(); at += kPageBytes) {
        OraclePage page;
        page.bo = shows.bo;
        page.offset = shows.sparse() ? 0 : shows.offset.raw() + at;
        page.flags = shows.sparse() ? MapFlags{} : shows.flags;
        pages_[va.start.raw() + at] = page;
    }
}

void PageOracle::unmap(const VaRange& va) {
    pages_.erase(pages_.lower_bound(va.start.raw()), pages_.lower_bound(va.end.raw()));
}

std::uint64_t PageOracle::hash() const {
    std::uint64_t value = 0xcbf29ce484222325U;  // FNV-1a over words
    const auto add = [&](std::uint64_t word) { value = (value ^ word) * 0x100000001b3U; };
    for (const auto& [va, page] : pages_) {
        add(va);
        add(static_cast<std::uint32_t>(page.bo));
        add(page.offset);
        add((page.flags.readonly ? 1U : 0U) | (page.flags.noexec ? 2U : 0U) | (page.flags.uncached ? 4U : 0U));
    }
    return value;
}

const std::vector<Pa>& BoPages::of(BoId bo) {
    const auto [at, added] = pages_.try_emplace(bo);
    if (added) {
        Bo& object = *device_.bos().find(bo);
        const Result<std::byte*, Status> cpu = device_.bos().map_cpu(object);
        if (!cpu) {
            throw ProbeError(
                fmt::format("BO {:#x}: no CPU mapping: {}", static_cast<std::uint32_t>(bo), to_string(cpu.error())));
        }
        at->second = page_map_.pages(*cpu, object.size);
    }
    return at->second;
}

WatchedVm::WatchedVm(Vm& vm, const Kcore& kcore, TableProbe& probe, BoPages& bos, BoId scratch, Va at, unsigned va_bits)
    : vm_(vm), kcore_(kcore), bos_(bos), va_bits_(va_bits) {
    find_root(probe, scratch, at);
}

void WatchedVm::find_root(TableProbe& probe, BoId scratch, Va at) {
    const VaRange page{at, at + kPageBytes};
    root_ = probe.root_touched_by(kcore_, [&] {
        BindRequest request;
        request.kind = BindRequest::Kind::kMap;
        request.va = page;
        request.shows.bo = scratch;
        if (!vm_.bind(request)) {
            throw ProbeError("the bind that shows the root of the tables failed");
        }
    });
    if (!vm_.unmap(page, UnmapPolicy::kSplit)) {
        throw ProbeError("the unmap after the bind that shows the root of the tables failed");
    }
}

KernelTables WatchedVm::tables() const {
    return KernelTables::read(kcore_, mali::Format::kAarch64_4k, va_bits_, root_);
}

std::string WatchedVm::compare(const PageOracle& oracle, const VaRange& range) const {
    std::string difference = compare_view(oracle, range);
    return difference.empty() ? compare_tables(oracle, range) : difference;
}

std::string WatchedVm::compare_view(const PageOracle& oracle, const VaRange& range) const {
    auto expected = oracle.pages().lower_bound(range.start.raw());
    const auto end = oracle.pages().lower_bound(range.end.raw());
    std::string difference;
    vm_.for_each_mapping(range, [&](const Mapping& whole) {
        const Mapping mapping = whole.clipped(range);
        for (std::uint64_t at = 0; at < mapping.va.size() && difference.empty(); at += kPageBytes) {
            const std::uint64_t va = mapping.va.start.raw() + at;
            OraclePage page;
            page.bo = mapping.shows.bo;
            page.offset = mapping.shows.sparse() ? 0 : mapping.shows.offset.raw() + at;
            page.flags = mapping.shows.sparse() ? MapFlags{} : mapping.shows.flags;
            if (expected == end || expected->first != va) {
                difference = fmt::format("view: {:#x} shows {}, and should show nothing", va, describe(page));
            } else if (!(expected->second == page)) {
                difference = fmt::format("view: {:#x} shows {}, and should show {}", va, describe(page),
                                         describe(expected->second));
            } else {
                ++expected;
            }
        }
        return difference.empty();
    });
    if (difference.empty() && expected != end) {
        difference =
            fmt::format("view: {:#x} shows nothing, and should show {}", expected->first, describe(expected->second));
    }
    return difference;
}

std::string WatchedVm::compare_tables(const PageOracle& oracle, const VaRange& range) const {
    auto expected = oracle.pages().lower_bound(range.start.raw());
    const auto end = oracle.pages().lower_bound(range.end.raw());
    constexpr std::size_t kWindowPages = kBlock2MBytes / kPageBytes;
    std::array<std::optional<Pa>, kWindowPages> behind_sparse;  // by page of the 2 MiB block
    std::string difference;
    const KernelTables tables = this->tables();
    tables.visit(range, [&](const KernelLeaf& leaf) {
        const VaRange part = leaf.range().intersection(range);
        for (Va va = part.start; va < part.end && difference.empty(); va = va + kPageBytes) {
            const Pa pa = leaf.pa + (va - leaf.va);
            if (expected == end || expected->first != va.raw()) {
                difference = fmt::format("tables: {:#x} translates to {:#x}, and should not (leaf {})", va.raw(),
                                         pa.raw(), to_string(leaf));
                return;
            }
            const OraclePage& page = expected->second;
            if (page.bo == kNoBo) {
                std::optional<Pa>& known = behind_sparse[va.raw() / kPageBytes % kWindowPages];
                if (known.value_or(pa) != pa) {
                    difference = fmt::format(
                        "tables: sparse {:#x} translates to {:#x}, others with its place in the "
                        "block to {:#x}",
                        va.raw(), pa.raw(), known->raw());
                }
                known = pa;
            } else if (const Pa should = bos_.of(page.bo)[page.offset / kPageBytes]; should != pa) {
                difference = fmt::format("tables: {:#x} translates to {:#x}, and {} is at {:#x}", va.raw(), pa.raw(),
                                         describe(page), should.raw());
            } else if (!(leaf.attributes == attributes_of(page.flags))) {
                difference =
                    fmt::format("tables: {:#x} should be {}, and is {}", va.raw(), describe(page), to_string(leaf));
            }
            ++expected;
        }
    });
    if (difference.empty() && expected != end) {
        difference = fmt::format("tables: {:#x} translates to nothing, and should show {}", expected->first,
                                 describe(expected->second));
    }
    if (difference.empty()) {
        if (const std::vector<KernelEntry> invalid = tables.invalid_entries(); !invalid.empty()) {
            difference = fmt::format("tables: {:#x} at level {}: no such descriptor: {:#x}", invalid.front().va.raw(),
                                     invalid.front().level, invalid.front().descriptor);
        }
    }
    return difference;
}

std::string WatchedVm::compare_ledger(const VaRange& range) const {
    std::string difference;
    tables().visit(range, [&](const KernelLeaf& leaf) {
        if (difference.empty() && bytes_of(vm_.granule_at(leaf.va)) < bytes_of(leaf.size)) {
            difference = fmt::format("ledger: {} at {:#x}, where the kernel has {}", bytes_of(vm_.granule_at(leaf.va)),
                                     leaf.va.raw(), to_string(leaf));
        }
    });
    return difference;
}

}  // namespace granule::kernel_test
