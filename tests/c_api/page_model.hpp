// What a VM shows, page by page, as the header says it: the oracle of the random tests. Naive on purpose: a map of pages, and
// the set of windows that are 2 MiB leaves.
//
// It knows the arrays of granule_vm_bind() after their VAs are chosen, and answers whether such an array is carried out, and
// what is shown then. Neighbours become one (bind.h), because a granule that two operations take together is not cut.
#pragma once

#include <granule/granule.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace granule_test {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kBlockPages = 512;

struct Page {
    std::uint32_t bo_id = 0;  // 0: sparse
    std::uint64_t bo_page = 0;
    std::uint32_t flags = 0;

    bool operator==(const Page&) const = default;
};
using Pages = std::map<std::uint64_t, Page>;  // by VA / 4 KiB

// One operation, in pages.
struct ModelOp {
    granule_bind_type type = GRANULE_BIND_UNMAP;
    std::uint64_t va = 0;
    std::uint64_t pages = 0;
    Page shows;  // of its first page; maps
    std::uint16_t cut = GRANULE_CUT_SPLIT;
    std::uint16_t leaves = GRANULE_LEAVES_LARGEST;
    bool huge = false;  // the BO consists of whole 2 MiB blocks of memory

    [[nodiscard]] bool maps() const { return type != GRANULE_BIND_UNMAP; }
    [[nodiscard]] std::uint64_t end() const { return va + pages; }
    [[nodiscard]] bool goes_on_in(const ModelOp& next) const {
        if (type != next.type || end() != next.va || cut != next.cut || leaves != next.leaves) {
            return false;
        }
        if (!maps()) {
            return true;
        }
        const std::uint64_t offset = type == GRANULE_BIND_MAP ? shows.bo_page + pages : 0;
        return next.shows == Page{shows.bo_id, offset, shows.flags};
    }
};

class PageModel {
public:
    [[nodiscard]] const Pages& pages() const { return pages_; }
    // First pages of the 2 MiB leaves.
    [[nodiscard]] const std::set<std::uint64_t>& blocks() const { return blocks_; }

    // Carries out all of `ops`, or nothing. The first page of the granule that it refuses to cut, where it does.
    [[nodiscard]] std::optional<std::uint64_t> apply(std::span<const ModelOp> ops) {
        PageModel after = *this;
        for (const ModelOp& op : joined(ops)) {
            if (const std::optional<std::uint64_t> refused = after.apply_one(op)) {
                return refused;
            }
        }
        *this = std::move(after);
        return std::nullopt;
    }

private:
    [[nodiscard]] static std::vector<ModelOp> joined(std::span<const ModelOp> ops) {
        std::vector<ModelOp> all;
        all.reserve(ops.size());
        for (const ModelOp& op : ops) {
            if (!all.empty() && all.back().goes_on_in(op)) {
                all.back().pages += op.pages;
            } else {
                all.push_back(op);
            }
        }
        return all;
    }

    [[nodiscard]] std::optional<std::uint64_t> apply_one(const ModelOp& op) {
        // Only the windows at the edges can be cut.
        for (const std::uint64_t edge : {op.va, op.end()}) {
            const std::uint64_t window = edge - edge % kBlockPages;
            if (edge == window || !blocks_.contains(window)) {
                continue;
            }
            if (op.cut == GRANULE_CUT_REJECT) {
                return window;
            }
            blocks_.erase(window);
            if (op.cut == GRANULE_CUT_ENLARGE) {
                pages_.erase(pages_.lower_bound(window), pages_.lower_bound(window + kBlockPages));
            }
        }
        pages_.erase(pages_.lower_bound(op.va), pages_.lower_bound(op.end()));
        blocks_.erase(blocks_.lower_bound(op.va), blocks_.lower_bound(op.end()));
        if (op.maps()) {
            show(op);
        }
        return std::nullopt;
    }

    void show(const ModelOp& op) {
        for (std::uint64_t i = 0; i < op.pages; ++i) {
            Page page = op.shows;
            page.bo_page += op.type == GRANULE_BIND_MAP ? i : 0;
            pages_[op.va + i] = page;
        }
        const bool sparse = op.type == GRANULE_BIND_MAP_SPARSE;
        const bool same_phase = sparse || (op.huge && (op.va - op.shows.bo_page) % kBlockPages == 0);
        if (op.leaves == GRANULE_LEAVES_PAGES || !same_phase) {
            return;
        }
        const std::uint64_t first = (op.va + kBlockPages - 1) / kBlockPages * kBlockPages;
        for (std::uint64_t window = first; window + kBlockPages <= op.end(); window += kBlockPages) {
            blocks_.insert(window);
        }
    }

    Pages pages_;
    std::set<std::uint64_t> blocks_;
};

}  // namespace granule_test
