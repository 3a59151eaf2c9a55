// What a window of VA shows, page by page, as naively as possible: an array of pages. It knows requests and BOs; it
// knows no plans, granules, mappings or tables.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/src/soft_fixture.hpp"

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

// The physical pages of BOs, by their numbers.
class BoPages {
public:
    void add(SoftDevice& device, BoId id) {
        std::vector<Pa>& pages = pages_[id];
        pages.clear();
        for (const Bo::Run& run : device.bos().find(id)->runs) {
            for (std::uint64_t at = 0; at < run.bytes; at += kPageBytes) {
                pages.push_back(run.pa + at);
            }
        }
    }
    [[nodiscard]] Pa at(BoId id, std::uint64_t page) const { return pages_.at(id).at(page); }

private:
    std::map<BoId, std::vector<Pa>> pages_;
};

// "" where an access of the GPU at `va` finds what the oracle says.
inline std::string wrong_at(SoftDevice& device, Vm& vm, const PageOracle& oracle, const BoPages& bos, Va va) {
    const PageOracle::Page& page = oracle.at(va);
    const mali::Access access = gpu_access(device, vm, va);
    const bool done = access.outcome == mali::Access::Outcome::kDone;
    const char* problem = nullptr;
    if (done != page.mapped) {
        problem = done ? "translates, and nothing is mapped" : "faults, and something is mapped";
    } else if (!done) {
        return {};
    } else if (access.stale) {
        problem = "is stale";
    } else if (page.bo == kNoBo ? access.pa != SoftDevice::address_space(vm).sparse_pa() + va.raw() % kBlock2MBytes
                                : access.pa != bos.at(page.bo, page.page) + va.raw() % kPageBytes) {
        problem = "shows another page";
    } else if (access.attributes.write == page.flags.readonly || access.attributes.execute == page.flags.noexec ||
               (access.attributes.memory == mali::MemoryType::kUncached) != page.flags.uncached) {
        problem = "has other attributes";
    }
    return problem == nullptr ? std::string{} : std::to_string(va.raw()) + " " + problem;
}

}  // namespace granule::test
