#include "tests/support/fake_gpuvm.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

namespace granule::test {
namespace {

constexpr std::uint64_t kPagesOfBlock = kBlock2MBytes / kPageBytes;

std::uint64_t offset_at(const FakeGpuVm::KernelMapping& mapping, std::uint64_t va) {
    return mapping.object->sparse_dummy ? va % kBlock2MBytes : mapping.offset + (va - mapping.start);
}

FakeGpuVm::KernelMapping part_of(const FakeGpuVm::KernelMapping& mapping, std::uint64_t start, std::uint64_t end) {
    FakeGpuVm::KernelMapping part = mapping;
    part.offset = offset_at(mapping, start);
    part.start = start;
    part.end = end;
    return part;
}

std::string text_of(std::uint64_t start, std::uint64_t end) {
    return std::to_string(start) + ".." + std::to_string(end);
}

}  // namespace

bool FakeGpuVm::in_space(std::uint64_t va, std::uint64_t bytes) const noexcept {
    return bytes <= end_ && va <= end_ - bytes;
}

int FakeGpuVm::map(std::uint64_t va, std::uint64_t bytes, const FakeGem& object, std::uint64_t offset,
                   const MapFlags& flags) {
    if (!in_space(va, bytes)) {
        return EINVAL;
    }
    // One mapping for the new one, and two for what it leaves of others (panthor_vm_op_ctx_prealloc_vmas).
    constexpr unsigned kSetAside = 2;
    if (const int error = remove(va, bytes, kSetAside); error != 0) {
        return error;
    }
    const KernelMapping mapping{va, va + bytes, object, offset, flags};
    if (const int error = write(mapping, va, va + bytes); error != 0) {
        return error;
    }
    mappings_.emplace(va, mapping);
    return 0;
}

int FakeGpuVm::unmap(std::uint64_t va, std::uint64_t bytes) {
    if (!in_space(va, bytes)) {
        return EINVAL;
    }
    // Kernels that oops set one aside, which is enough where the unmap does not leave parts on both of its sides.
    return remove(va, bytes, rules_.oopses ? 1 : 2);
}

void FakeGpuVm::unmap_all() {
    mappings_.clear();
    windows_.clear();
}

// drm_gpuvm_sm_unmap: what overlaps, ascending. Stops where a step fails; the steps before it stay done.
int FakeGpuVm::remove(std::uint64_t va, std::uint64_t bytes, unsigned set_aside) {
    const std::uint64_t end = va + bytes;
    auto at = mappings_.upper_bound(va);
    if (at != mappings_.begin() && std::prev(at)->second.end > va) {
        --at;
    }
    while (at != mappings_.end() && at->second.start < end) {
        const KernelMapping mapping = at->second;  // a step replaces it
        if (const int error = step(mapping, std::max(va, mapping.start), std::min(end, mapping.end), set_aside);
            error != 0) {
            return error;
        }
        at = mappings_.lower_bound(std::min(end, mapping.end));
    }
    return 0;
}

// panthor_gpuva_sm_step_unmap and panthor_gpuva_sm_step_remap: takes [from, to) out of a mapping that it lies in.
int FakeGpuVm::step(const KernelMapping& mapping, std::uint64_t from, std::uint64_t to, unsigned& set_aside) {
    const bool prev = mapping.start < from;
    const bool next = mapping.end > to;
    std::uint64_t wide_from = from;
    std::uint64_t wide_to = to;
    if (rules_.realigns && (prev || next) && !widen(mapping, wide_from, wide_to)) {
        return EFAULT;
    }
    if (const int error = clear(wide_from, wide_to); error != 0) {
        return error;
    }
    if (wide_from < from) {
        if (const int error = write(mapping, wide_from, from); error != 0) {
            return error;
        }
    }
    if (wide_to > to) {
        if (const int error = write(mapping, to, wide_to); error != 0) {
            return error;
        }
    }
    const unsigned needed = (prev ? 1U : 0U) + (next ? 1U : 0U);
    if (needed > set_aside) {
        log_.oops = "NULL dereference in panthor_gpuva_sm_step_remap: " + text_of(from, to) + " of " +
                    text_of(mapping.start, mapping.end);
        return EFAULT;
    }
    set_aside -= needed;
    mappings_.erase(mapping.start);
    if (prev) {
        mappings_.emplace(mapping.start, part_of(mapping, mapping.start, from));
    }
    if (next) {
        mappings_.emplace(to, part_of(mapping, to, mapping.end));
    }
    return 0;
}

// From 7.0 on, "drm/panthor: Support partial unmaps of huge pages": out to the edges of huge folios that the mapping
// goes on in. False: an oops.
bool FakeGpuVm::widen(const KernelMapping& mapping, std::uint64_t& from, std::uint64_t& to) {
    const auto huge = [&](std::uint64_t va) {
        if (mapping.object->sparse_dummy) {
            return true;
        }
        if (mapping.object->imported) {
            log_.oops = "NULL dereference: pages of an imported BO, " + text_of(from, to) + " of " +
                        text_of(mapping.start, mapping.end);
            return false;
        }
        return mapping.object->huge_folio_at(offset_at(mapping, va));
    };
    const std::uint64_t down = align_down(from, kBlock2MBytes);
    const std::uint64_t up = align_up(to, kBlock2MBytes);
    const std::uint64_t last = to - 1;
    const std::uint64_t first = from;
    if (mapping.start < from && down < from && mapping.start <= down && huge(from)) {
        from = down;
        log_.leaf_cuts += block_at(down) ? 1U : 0U;
    }
    if (mapping.end > to && up > to && mapping.end >= up && huge(last)) {
        to = up;
        const bool counted = from < first && up - kBlock2MBytes == down;
        log_.leaf_cuts += !counted && block_at(up - kBlock2MBytes) ? 1U : 0U;
    }
    return !log_.oopsed();
}

int FakeGpuVm::write(const KernelMapping& mapping, std::uint64_t from, std::uint64_t to) {
    // Each window shows the same 2 MiB where sparse; else each physically contiguous run on its own.
    for (std::uint64_t va = from; va < to;) {
        const std::uint64_t offset = offset_at(mapping, va);
        const std::uint64_t bytes = std::min(to - va, mapping.object->physical(offset).contiguous);
        if (const int error = write_run(va, bytes, mapping, offset); error != 0) {
            // From 7.0 on the address space is given up; before, the ioctl fails.
            warn("arm_lpae_map_pages: something is mapped there: " + text_of(va, va + bytes));
            lost_ = lost_ || rules_.realigns;
            return error;
        }
        va += bytes;
    }
    return 0;
}

// panthor's get_pgsize: blocks where VA and PA are both aligned and enough of the run is left.
int FakeGpuVm::write_run(std::uint64_t va, std::uint64_t bytes, const KernelMapping& of, std::uint64_t offset) {
    const std::uint64_t pa = of.object->physical(offset).pa;
    for (std::uint64_t done = 0; done < bytes;) {
        const bool block = is_aligned((va + done) | (pa + done), kBlock2MBytes) && bytes - done >= kBlock2MBytes;
        const std::uint64_t window_start = align_down(va + done, kBlock2MBytes);
        Window& window = windows_[window_start];
        const Page page{of.object.get(), offset + done, of.flags};
        if (window.block.object != nullptr) {
            return EEXIST;
        }
        if (block) {
            if (window.table != nullptr && window.pages != 0) {
                warn("a block replaces a table with live pages at " + std::to_string(window_start));
            }
            window.table.reset();
            window.pages = 0;
            window.block = page;
            done += kBlock2MBytes;
            continue;
        }
        if (window.table == nullptr) {
            window.table = std::make_unique<std::array<Page, kPagesOfBlock>>();
        }
        Page& slot = (*window.table)[(va + done - window_start) / kPageBytes];
        if (slot.object != nullptr) {
            return EEXIST;
        }
        slot = page;
        ++window.pages;
        done += kPageBytes;
    }
    return 0;
}

// panthor_vm_unmap_pages: blocks where the VA allows, else pages up to the next 2 MiB boundary.
int FakeGpuVm::clear(std::uint64_t from, std::uint64_t to) {
    while (from < to) {
        const bool block = is_aligned(from, kBlock2MBytes) && to - from >= kBlock2MBytes;
        const std::uint64_t bytes =
            block ? kBlock2MBytes : std::min(to, align_down(from, kBlock2MBytes) + kBlock2MBytes) - from;
        const std::uint64_t cleared = clear_step(from, bytes, block);
        if (cleared != bytes) {
            warn("failed to unmap range " + text_of(from + cleared, from + bytes));
            if (rules_.realigns) {
                lost_ = true;  // and the call says success
                return 0;
            }
            return EINVAL;
        }
        from += bytes;
    }
    return 0;
}

// io-pgtable's unmap_pages within a window: the bytes that it cleared.
std::uint64_t FakeGpuVm::clear_step(std::uint64_t va, std::uint64_t bytes, bool block) {
    const std::uint64_t window_start = align_down(va, kBlock2MBytes);
    const auto at = windows_.find(window_start);
    if (at == windows_.end()) {
        return 0;
    }
    Window& window = at->second;
    if (block) {
        windows_.erase(at);  // a table goes whole, however full it is
        return bytes;
    }
    if (window.block.object != nullptr) {
        ++log_.leaf_cuts;
        if (!rules_.splits) {
            return 0;
        }
        split(window);
    }
    for (std::uint64_t done = 0; done < bytes; done += kPageBytes) {
        Page& slot = (*window.table)[(va + done - window_start) / kPageBytes];
        if (slot.object == nullptr) {
            return done;
        }
        slot = {};
        --window.pages;
    }
    return bytes;
}

bool FakeGpuVm::block_at(std::uint64_t window_start) const {
    const auto at = windows_.find(window_start);
    return at != windows_.end() && at->second.block.object != nullptr;
}

void FakeGpuVm::split(Window& window) {
    window.table = std::make_unique<std::array<Page, kPagesOfBlock>>();
    std::uint64_t offset = window.block.offset;
    for (Page& page : *window.table) {
        page = {window.block.object, offset, window.block.flags};
        offset += kPageBytes;
    }
    window.pages = kPagesOfBlock;
    window.block = {};
}

void FakeGpuVm::warn(const std::string& what) {
    log_.warnings.push_back(what);
}

FakePage FakeGpuVm::page(std::uint64_t va) const {
    const std::uint64_t window_start = align_down(va, kBlock2MBytes);
    const auto at = windows_.find(window_start);
    if (at == windows_.end() || lost_) {
        return {};
    }
    const Window& window = at->second;
    const std::uint64_t within = align_down(va - window_start, kPageBytes);
    if (window.block.object != nullptr) {
        const FakeGemObject& object = *window.block.object;
        return {true,         object.sparse_dummy, object.serial(), window.block.offset + within, window.block.flags,
                LeafSize::k2M};
    }
    const Page* const page = window.table == nullptr ? nullptr : &(*window.table)[within / kPageBytes];
    if (page == nullptr || page->object == nullptr) {
        return {};
    }
    return {true, page->object->sparse_dummy, page->object->serial(), page->offset, page->flags, LeafSize::k4K};
}

std::vector<FakeGpuVm::Leaf> FakeGpuVm::leaves() const {
    std::vector<Leaf> leaves;
    for (const auto& [start, window] : windows_) {
        if (window.block.object != nullptr && !lost_) {
            leaves.push_back({start, page(start)});
            continue;
        }
        for (std::uint64_t va = start; va < start + kBlock2MBytes; va += kPageBytes) {
            if (const FakePage found = page(va); found.mapped) {
                leaves.push_back({va, found});
            }
        }
    }
    return leaves;
}

std::vector<FakeGpuVm::KernelMapping> FakeGpuVm::mappings() const {
    std::vector<KernelMapping> all;
    all.reserve(mappings_.size());
    for (const auto& [start, mapping] : mappings_) {
        all.push_back(mapping);
    }
    return all;
}

std::uint64_t FakeGpuVm::mapped_bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& [start, mapping] : mappings_) {
        bytes += mapping.end - mapping.start;
    }
    return bytes;
}

std::string FakeGpuVm::disagreement() const {
    if (lost_) {
        return "the kernel has given the address space up";
    }
    std::uint64_t in_tables = 0;
    for (const auto& [start, window] : windows_) {
        in_tables += window.block.object != nullptr ? kPagesOfBlock : window.pages;
    }
    if (in_tables * kPageBytes != mapped_bytes()) {
        return "tables and mappings of the kernel show different amounts of memory";
    }
    for (const auto& [start, mapping] : mappings_) {
        for (std::uint64_t va = start; va < mapping.end; va += kPageBytes) {
            const FakePage found = page(va);
            if (!found.mapped || found.object != mapping.object->serial() || found.offset != offset_at(mapping, va) ||
                !(found.flags == mapping.flags)) {
                return "the kernel's tables differ from its mappings at " + std::to_string(va);
            }
        }
    }
    return {};
}

}  // namespace granule::test
