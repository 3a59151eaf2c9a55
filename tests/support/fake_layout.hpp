// Physical memory behind BOs, made up: where every page of a BO lies, and what follows for extents and blocks.
//
//   kContiguous   each BO is one run that starts at a multiple of 1 GiB        0 1 2 3 4 ...
//   kFolios       2 MiB folios in falling order, 4 KiB pages behind the last   |== 2 ==|== 1 ==|== 0 ==|  4 3 2 1 0
//   kScattered    4 KiB pages in falling order: no two are neighbours          ... 4 3 2 1 0
//   kOffPhase     as kContiguous, but one page further: no VA agrees with it at a BO offset of the same phase
//   kUnknown      a kernel's: nobody can say
//
// Who cuts the leaves of a BO is made up as well: a rule for each BO, by its number; kExplicit for those that have none.
//
// Where a page lies (`pa_of`) is the truth. `extent_at`, which the library asks, and `may_be_block`, which the models
// ask, say the same in two more ways; fake_layout_test.cpp holds all three against each other, page by page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "allocator/leaf_layout.hpp"

namespace granule::test {

class FakeLayout final : public BackingLayout {
public:
    enum class Kind : std::uint8_t { kContiguous, kFolios, kScattered, kOffPhase, kUnknown };
    static constexpr std::uint64_t kBoBytes = std::uint64_t{1} << 36;  // every BO is that large
    static constexpr std::uint64_t kFolios = 5;                        // kFolios: so many 2 MiB folios, then pages
    static constexpr std::uint64_t kSparseBlock = std::uint64_t{1} << 46;

    explicit FakeLayout(Kind kind, std::vector<CutRule> rules = {}) noexcept : kind_(kind), rules_(std::move(rules)) {}

    [[nodiscard]] Kind kind() const noexcept { return kind_; }

    // Where the page that `shows` has at `va` lies; nullopt where nobody knows.
    [[nodiscard]] std::optional<std::uint64_t> pa_of(const Backing& shows, std::uint64_t va) const noexcept {
        if (shows.sparse()) {
            return kSparseBlock + va % kBlock2MBytes;
        }
        const std::uint64_t bo = (static_cast<std::uint64_t>(shows.bo) + 1) * kBoBytes;
        const std::uint64_t offset = shows.offset.raw();
        switch (kind_) {
            case Kind::kContiguous:
                return bo + offset;
            case Kind::kOffPhase:
                return bo + offset + kPageBytes;
            case Kind::kScattered:
                return bo + (kBoBytes - kPageBytes - offset);
            case Kind::kFolios:
                if (offset / kBlock2MBytes < kFolios) {
                    return bo + (kFolios - 1 - offset / kBlock2MBytes) * kBlock2MBytes + offset % kBlock2MBytes;
                }
                return bo + (kBoBytes - kPageBytes - offset);
            case Kind::kUnknown:
                break;
        }
        return std::nullopt;
    }

    [[nodiscard]] Extent extent_at(const Backing& shows, Va va) const noexcept override {
        const std::optional<std::uint64_t> pa = pa_of(shows, va.raw());
        std::uint64_t bytes = kPageBytes;
        if (shows.sparse()) {
            bytes = kBlock2MBytes - va.raw() % kBlock2MBytes;
        } else if (kind_ == Kind::kFolios && shows.offset.raw() / kBlock2MBytes < kFolios) {
            bytes = kBlock2MBytes - shows.offset.raw() % kBlock2MBytes;
        } else if (kind_ != Kind::kScattered && kind_ != Kind::kFolios) {
            bytes = kBoBytes - shows.offset.raw();
        }
        return {Pa{pa.value_or(0)}, bytes, pa.has_value()};
    }

    [[nodiscard]] CutRule cut_rule(const Backing& shows) const noexcept override {
        const auto bo = static_cast<std::size_t>(shows.bo);
        return bo < rules_.size() ? rules_[bo] : CutRule::kExplicit;
    }

    // Whether the window of `size` at `va` can be one block, where it shows all of it in one mapping from `at_window`
    // on.
    [[nodiscard]] bool may_be_block(const Backing& at_window, std::uint64_t va, LeafSize size) const noexcept {
        const std::uint64_t bytes = bytes_of(size);
        if (at_window.sparse()) {
            return size == LeafSize::k2M;
        }
        const std::uint64_t offset = at_window.offset.raw();
        switch (kind_) {
            case Kind::kContiguous:
                return offset % bytes == va % bytes;
            case Kind::kOffPhase:
                return (offset + kPageBytes) % bytes == va % bytes;
            case Kind::kFolios:
                return size == LeafSize::k2M && offset % bytes == 0 && offset / bytes < kFolios;
            case Kind::kScattered:
                return false;
            case Kind::kUnknown:
                return size == LeafSize::k2M;
        }
        return false;
    }

private:
    Kind kind_;
    std::vector<CutRule> rules_;  // by BO; [0]: of sparse mappings
};

}  // namespace granule::test
