// What a window of VA shows, page by page, as naively as possible: an array of pages. It knows requests and BOs; it
// knows no plans, granules, mappings or tables.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "allocator/plan.hpp"

namespace granule::test {

class PageOracle {
public:
    struct Page {
        bool mapped = false;
        BoId bo = kNoBo;         // kNoBo: sparse
        std::uint64_t page = 0;  // of the BO
        MapFlags flags;
        bool operator==(const Page&) const = default;
    };

    explicit PageOracle(const VaRange& window) : window_(window), pages_(window.size() / kPageBytes) {}

    [[nodiscard]] const VaRange& window() const { return window_; }
    [[nodiscard]] Page& at(Va va) { return pages_[(va - window_.start) / kPageBytes]; }
    [[nodiscard]] const Page& at(Va va) const { return pages_[(va - window_.start) / kPageBytes]; }

    void unmap(const VaRange& range) {
        for (Va va = range.start; va < range.end; va = va + kPageBytes) {
            at(va) = {};
        }
    }
    void bind(const BindRequest& request) {
        unmap(request.va);
        if (request.kind == BindRequest::Kind::kUnmap) {
            return;
        }
        for (Va va = request.va.start; va < request.va.end; va = va + kPageBytes) {
            const std::uint64_t page = (request.shows.offset.raw() + (va - request.va.start)) / kPageBytes;
            at(va) = {true, request.shows.bo, request.shows.sparse() ? 0 : page, request.shows.flags};
        }
    }
    [[nodiscard]] std::map<BoId, std::uint64_t> pages_of_bos() const {
        std::map<BoId, std::uint64_t> count;
        for (const Page& page : pages_) {
            if (page.mapped && page.bo != kNoBo) {
                ++count[page.bo];
            }
        }
        return count;
    }

private:
    VaRange window_;
    std::vector<Page> pages_;
};

}  // namespace granule::test
