// What a strict page table must do, said as naively as possible: a map from the start of each leaf to the leaf,
// searched leaf by leaf. It predicts the answer of every map and unmap, errors with their place included, and the
// counts.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/descriptor.hpp"
#include "mali/page_table.hpp"

namespace granule::test {

class LeafOracle {
public:
    struct Leaf {
        LeafSize size = LeafSize::k4K;
        Pa pa;
        mali::LeafAttributes attributes;
        bool operator==(const Leaf&) const = default;
    };
    using Answer = std::optional<mali::TableError>;  // nullopt: it is done
    using Leaves = std::map<Va, Leaf>;

    explicit LeafOracle(const mali::PageTableConfig& config) : config_(config) {}

    // `memory`: pages that can still be reserved or are held; the error for want of them is the caller's to expect.
    [[nodiscard]] Answer map(const LeafRun& run, Pa pa, const mali::LeafAttributes& attributes) {
        using Code = mali::TableError::Code;
        if (Answer wrong = bad_run(run)) {
            return wrong;
        }
        const std::uint64_t bytes = bytes_of(run.size);
        if (pa.raw() % bytes != 0) {
            return error(Code::kMisaligned, run.start, run.size);
        }
        if (pa.raw() + run.count * bytes > (std::uint64_t{1} << config_.pa_bits)) {
            return error(Code::kOutOfRange, run.start, run.size);
        }
        if (!attributes.read && !attributes.write) {
            return error(Code::kBadAttributes, run.start, run.size);
        }
        for (std::uint64_t i = 0; i < run.count; ++i) {
            const Va slot = run.start + i * bytes;
            if (const auto leaf = first_overlapping(slot, bytes); leaf != leaves_.end()) {
                const bool smaller = leaf->second.size < run.size;
                return error(smaller ? Code::kTableInTheWay : Code::kAlreadyMapped, leaf->first, leaf->second.size);
            }
        }
        for (std::uint64_t i = 0; i < run.count; ++i) {
            leaves_.emplace(run.start + i * bytes,
                            Leaf{run.size, pa + i * bytes, mali::expressible(config_.format, attributes)});
        }
        return {};
    }

    [[nodiscard]] Answer unmap(const LeafRun& run) {
        using Code = mali::TableError::Code;
        if (Answer wrong = bad_run(run)) {
            return wrong;
        }
        const std::uint64_t bytes = bytes_of(run.size);
        for (std::uint64_t i = 0; i < run.count; ++i) {
            const Va slot = run.start + i * bytes;
            const auto leaf = first_overlapping(slot, bytes);
            if (leaf == leaves_.end()) {
                return error(Code::kNotMapped, slot, run.size);
            }
            if (leaf->second.size != run.size) {
                const bool larger = leaf->second.size > run.size;
                return error(larger ? Code::kLeafWouldBeCut : Code::kSmallerLeaves, leaf->first, leaf->second.size);
            }
        }
        for (std::uint64_t i = 0; i < run.count; ++i) {
            leaves_.erase(run.start + i * bytes);
        }
        return {};
    }

    [[nodiscard]] const Leaves& leaves() const { return leaves_; }

    // The leaf that translates `va`.
    [[nodiscard]] Leaves::const_iterator find(Va va) const { return first_overlapping(va, 1); }

    [[nodiscard]] mali::LeafCounts counts() const {
        mali::LeafCounts counts;
        for (const auto& [start, leaf] : leaves_) {
            ++(leaf.size == LeafSize::k4K ? counts.pages_4k
                                          : (leaf.size == LeafSize::k2M ? counts.blocks_2m : counts.blocks_1g));
        }
        return counts;
    }

    // The tables of the least tree that holds these leaves, the root included.
    [[nodiscard]] std::uint64_t table_count() const {
        std::set<std::pair<unsigned, std::uint64_t>> tables;
        for (const auto& [start, leaf] : leaves_) {
            for (unsigned level = mali::start_level(config_.format, config_.va_bits) + 1;
                 level <= mali::leaf_level(leaf.size); ++level) {
                tables.emplace(level, start.raw() >> mali::shift_at(level - 1));
            }
        }
        return 1 + tables.size();
    }

private:
    [[nodiscard]] static mali::TableError error(mali::TableError::Code code, Va at, LeafSize leaf) {
        return {code, at, leaf, 0};
    }

    [[nodiscard]] Answer bad_run(const LeafRun& run) const {
        using Code = mali::TableError::Code;
        const std::uint64_t bytes = bytes_of(run.size);
        const std::uint64_t space = std::uint64_t{1} << config_.va_bits;
        if ((config_.leaf_sizes & bytes) == 0) {
            return error(Code::kBadLeafSize, run.start, run.size);
        }
        if (run.count == 0) {
            return error(Code::kEmpty, run.start, run.size);
        }
        if (run.start.raw() % bytes != 0) {
            return error(Code::kMisaligned, run.start, run.size);
        }
        if (run.start.raw() >= space || run.count > space / bytes || run.start.raw() + run.count * bytes > space) {
            return error(Code::kOutOfRange, run.start, run.size);
        }
        return {};
    }

    [[nodiscard]] Leaves::const_iterator first_overlapping(Va start, std::uint64_t bytes) const {
        auto leaf = leaves_.upper_bound(start);
        if (leaf != leaves_.begin()) {
            const auto before = std::prev(leaf);
            if (start < before->first + bytes_of(before->second.size)) {
                return before;
            }
        }
        return leaf != leaves_.end() && leaf->first < start + bytes ? leaf : leaves_.end();
    }

    mali::PageTableConfig config_;
    Leaves leaves_;
};

}  // namespace granule::test
