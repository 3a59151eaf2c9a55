// Random arrays of binds in one window of VA, and elsewhere: what bind_random_test.cpp gives to the library and to the model.
//
// What comes up often is what goes wrong: whole blocks, single pages, maps over maps that agree with their BO modulo 2 MiB,
// neighbours that are to become one, VA that the library chooses and that is released again.
#pragma once

#include <granule/granule.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "tests/c_api/page_model.hpp"

namespace granule_test {

inline constexpr std::uint64_t kWindowStart = (std::uint64_t{8} << 30) / kPage;
inline constexpr std::uint64_t kWindowPages = 4 * kBlockPages;

struct Buffer {
    granule_bo* bo = nullptr;
    std::uint64_t pages = 0;
};

struct Span {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    auto operator<=>(const Span&) const = default;
};

// An array, as it is given to the library and to the model.
struct Bind {
    std::vector<granule_bind_op> ops;
    std::vector<ModelOp> model;       // SYNC_ONLY: no pages
    std::vector<bool> automatic;      // of ops
    std::vector<granule_sync> syncs;  // a wait and a signal for each op; not moved once they are pointed to

    [[nodiscard]] bool begins_group(std::size_t i) const {
        return i == 0 || ops[i].wait_count != 0 || ops[i - 1].signal_count != 0;
    }
    // [first, end) of the operations of each group.
    [[nodiscard]] std::vector<Span> groups() const {
        std::vector<Span> all;
        for (std::size_t i = 0; i < ops.size(); ++i) {
            if (begins_group(i)) {
                all.push_back({i, i});
            }
            all.back().end = i + 1;
        }
        return all;
    }
};

class RandomBinds {
public:
    // `huge`: the BOs consist of whole 2 MiB blocks of memory.
    RandomBinds(std::uint64_t seed, bool huge) : random_(seed), huge_(huge) {}

    std::vector<Buffer> buffers;  // that are mapped
    std::set<Span> chosen;        // what GRANULE_VA_AUTO reserved, in pages

    [[nodiscard]] std::uint64_t below(std::uint64_t end) {
        return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(random_);
    }
    [[nodiscard]] bool chance(std::uint64_t percent) { return below(100) < percent; }

    // `may_reject`: with operations that refuse to cut a granule.
    [[nodiscard]] Bind some_array(bool may_reject) {
        Bind bind;
        const std::uint64_t count = chance(40) ? 1 : 1 + below(6);
        while (bind.ops.size() < count) {
            if (chance(60)) {
                add_map(bind, may_reject);
            } else {
                add_unmap(bind, may_reject);
            }
        }
        return bind;
    }

private:
    // A run of pages of the window: often whole blocks, often one page.
    [[nodiscard]] Span some_pages() {
        if (chance(40)) {
            const std::uint64_t first = below(4);
            return {first * kBlockPages, (first + 1 + below(4 - first)) * kBlockPages};
        }
        const std::uint64_t first = below(kWindowPages);
        const std::uint64_t most = std::min(kWindowPages - first, chance(50) ? std::uint64_t{4} : std::uint64_t{900});
        return {first, first + 1 + below(most)};
    }

    void add(Bind& bind, const ModelOp& op, const Buffer* buffer, bool automatic) {
        auto raw = GRANULE_SIZED(granule_bind_op);
        raw.type = op.type;
        raw.flags = op.shows.flags;
        raw.cut = op.cut;
        raw.leaves = op.leaves;
        raw.va = automatic ? GRANULE_VA_AUTO : op.va * kPage;
        raw.size = op.pages * kPage;
        if (buffer != nullptr) {
            raw.bo = buffer->bo;
            raw.bo_offset = op.shows.bo_page * kPage;
        }
        if (automatic) {
            raw.zone = static_cast<std::uint32_t>(below(3));
        }
        bind.ops.push_back(raw);
        bind.model.push_back(op);
        bind.automatic.push_back(automatic);
    }

    void add_map(Bind& bind, bool may_reject) {
        ModelOp op;
        op.cut = some_cut(may_reject);
        op.leaves = chance(25) ? GRANULE_LEAVES_PAGES : GRANULE_LEAVES_LARGEST;
        op.shows.flags = static_cast<std::uint32_t>(below(4));  // READ_ONLY, NO_EXEC
        const Span pages = some_pages();
        op.va = kWindowStart + pages.start;
        op.pages = pages.end - pages.start;
        const bool automatic = chance(15);
        if (automatic) {
            op.va = kFarAway + bind.ops.size() * kFarAway;  // until it is chosen
        }
        if (chance(25)) {
            op.type = GRANULE_BIND_MAP_SPARSE;
            add(bind, op, nullptr, automatic);
            return;
        }
        const Buffer& buffer = buffers[below(buffers.size())];
        op.type = GRANULE_BIND_MAP;
        op.pages = std::min(op.pages, buffer.pages);
        op.huge = huge_;
        op.shows.bo_id = granule_bo_id(buffer.bo);
        const std::uint64_t room = buffer.pages - op.pages;
        const std::uint64_t phase = automatic ? 0 : op.va % kBlockPages;
        op.shows.bo_page = chance(70) && phase <= room ? phase : below(room + 1);
        add(bind, op, &buffer, automatic);
        // Its other half right behind it: they are to become one.
        if (!automatic && chance(30) && op.pages > 1) {
            ModelOp& half = bind.model.back();
            half.pages = op.pages / 2;
            bind.ops.back().size = half.pages * kPage;
            op.va += half.pages;
            op.shows.bo_page += half.pages;
            op.pages -= half.pages;
            add(bind, op, &buffer, false);
        }
    }

    [[nodiscard]] std::uint16_t some_cut(bool may_reject) {
        const auto cut = static_cast<std::uint16_t>(below(3));
        return cut == GRANULE_CUT_REJECT && !may_reject ? std::uint16_t{GRANULE_CUT_SPLIT} : cut;
    }

    void add_unmap(Bind& bind, bool may_reject) {
        ModelOp op;
        op.cut = some_cut(may_reject);
        // All of what the library has chosen, with its VA; no two of the same.
        if (!chosen.empty() && chance(40)) {
            const Span va = *std::next(chosen.begin(), static_cast<std::ptrdiff_t>(below(chosen.size())));
            const bool twice = std::any_of(bind.model.begin(), bind.model.end(),
                                           [&](const ModelOp& other) { return other.va == va.start; });
            if (!twice) {
                op.va = va.start;
                op.pages = va.end - va.start;
                add(bind, op, nullptr, false);
                bind.ops.back().flags = GRANULE_UNMAP_RELEASE_VA;
                return;
            }
        }
        const Span pages = some_pages();
        op.va = kWindowStart + pages.start;
        op.pages = pages.end - pages.start;
        add(bind, op, nullptr, false);
    }

    static constexpr std::uint64_t kFarAway = std::uint64_t{1} << 40;  // pages: no VA is there

    std::mt19937_64 random_;
    const bool huge_;
};

}  // namespace granule_test
