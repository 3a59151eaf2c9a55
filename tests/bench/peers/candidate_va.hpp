// The VA heap as the outside harness and tests/bench take it: thin, over what a driver calls. A unit is a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>

#include "allocator/va_heap.hpp"

struct CandidateVa {
    static constexpr const char* name = "granule";
    using Handle = granule::VaHandle;

    // Not at 0, as no driver's zone begins there, but where everything is aligned as the units are.
    static constexpr std::uint64_t kBase = std::uint64_t{1} << 40;

    void init(std::uint64_t capacity_units, std::uint32_t /*expected_live*/) {
        granule::VaHeapConfig config;
        config.zones[static_cast<std::size_t>(granule::VaZone::kMain)] = {
            granule::Va{kBase}, granule::Va{kBase + capacity_units * granule::kPageBytes}};
        auto heap = granule::VaHeap::create(config);
        if (heap) {
            heap_.emplace(std::move(*heap));
        }
    }

    bool alloc(std::uint32_t units, std::uint32_t align, Handle& handle, std::uint64_t& offset) {
        granule::VaRequest request;
        request.size = units * granule::kPageBytes;
        request.alignment = align * granule::kPageBytes;
        request.direction = granule::VaDirection::kBottomUp;
        const auto leased = heap_->lease(request);
        if (!leased) {
            return false;
        }
        handle = leased->handle;
        offset = (leased->range.start.raw() - kBase) / granule::kPageBytes;
        return true;
    }

    // A fixed address.
    bool alloc_at(std::uint64_t offset, std::uint32_t units, Handle& handle) {
        handle = granule::VaHandle::kNone;
        return heap_->allocate_at(range_of(offset, units)).has_value();
    }

    void free(Handle& handle, std::uint64_t offset, std::uint32_t units) {
        if (!heap_->release_checked(range_of(offset, units), handle)) {
            std::abort();  // nothing that this heap gave out
        }
    }

    [[nodiscard]] std::size_t mapped_bytes() const { return heap_->touched_bytes(); }

private:
    static granule::VaRange range_of(std::uint64_t offset, std::uint32_t units) {
        const granule::Va start{kBase + offset * granule::kPageBytes};
        return {start, start + units * granule::kPageBytes};
    }

    std::optional<granule::VaHeap> heap_;
};
