// granule's map of mappings as section C of the harness calls it: what a Vm does at a bind and an unbind, and nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>

#include "allocator/mapping_map.hpp"

class CandidateMap {
public:
    static constexpr const char* name = "granule MappingMap";

    void init(std::uint32_t) {}

    void map(std::uint64_t va, std::uint64_t length, std::uint32_t bo, std::uint64_t offset) {
        const std::uint64_t before = map_.mapped_bytes();
        prefetch_now(va);
        if (!map_.hold(1, length / granule::kPageBytes)) {
            std::abort();
        }
        // BO 0 is none to the library.
        map_.replace({range(va, length),
                      {granule::BoId{bo + 1}, granule::BoOffset{offset}, {}, granule::BindSerial{++serial_}}});
        map_.settle();
        unmapped_ += before + length - map_.mapped_bytes();
    }

    void unmap(std::uint64_t va, std::uint64_t length) {
        const std::uint64_t before = map_.mapped_bytes();
        prefetch_now(va);
        map_.erase(range(va, length));
        map_.settle();
        unmapped_ += before - map_.mapped_bytes();
    }

    bool find(std::uint64_t va, std::uint32_t& bo, std::uint64_t& offset) {
        const std::optional<granule::Mapping> found = map_.find(granule::Va{va});
        if (!found) {
            return false;
        }
        bo = static_cast<std::uint32_t>(found->shows.bo) - 1;
        offset = found->shows.offset.raw() + (va - found->va.start.raw());
        return true;
    }

    // Heard eight operations ahead: what leads there is asked for at once, and the leaf four operations later.
    void prefetch(std::uint64_t va) {
        map_.prefetch_way(granule::Va{va});
        map_.prefetch(granule::Va{std::exchange(heard_[next_], va)});
        next_ = (next_ + 1) % heard_.size();
        hears_ahead_ = true;
    }

    [[nodiscard]] std::uint64_t unmapped_bytes() const { return unmapped_; }
    [[nodiscard]] std::size_t mapped_bytes() const { return map_.bytes_in_nodes(); }

    template <class F>
    void for_each(F&& visit) const {
        map_.for_each_overlap(range(0, granule::kMaxVaEnd), [&](const granule::Mapping& mapping) {
            visit(mapping.va.start.raw(), mapping.va.size(), static_cast<std::uint32_t>(mapping.shows.bo) - 1,
                  mapping.shows.offset.raw());
        });
    }

private:
    static granule::VaRange range(std::uint64_t va, std::uint64_t length) {
        return {granule::Va{va}, granule::Va{va + length}};
    }

    // As a Vm does for a request that comes alone.
    void prefetch_now(std::uint64_t va) {
        if (!hears_ahead_) {
            map_.prefetch(granule::Va{va});
        }
    }

    granule::MappingMap map_;
    std::uint64_t unmapped_ = 0;
    std::uint32_t serial_ = 0;
    std::array<std::uint64_t, 4> heard_{};
    std::size_t next_ = 0;
    bool hears_ahead_ = false;
};
