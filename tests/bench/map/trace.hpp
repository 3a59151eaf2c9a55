// The traffic of the mapping maps.
//
//     W1   1 to 512 pages at any page of 120 N, 60 % map: overlaps and cuts everywhere
//     W2   1 to 16 tiles of 64 KiB in 4 N tiles, 70 % map: sparse textures
//     W3   2 N windows of 2 MiB; an operation maps from the start of a window that is empty, else unmaps exactly what is
//          there: buffers
//
// 4096 BOs. In steady state there are about 1.7 N, 0.8 N and N mappings. Thread-safety: none.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/bench/harness/random.hpp"
#include "tests/bench/va/requests.hpp"

namespace granule::bench {

struct MapOperation {
    std::uint64_t va = 0;
    std::uint32_t pages = 0;
    std::uint32_t bo = 0;
    std::uint32_t offset_pages = 0;
    bool unmap = false;

    [[nodiscard]] std::uint64_t length() const { return std::uint64_t{pages} << 12; }
    [[nodiscard]] std::uint64_t offset() const { return std::uint64_t{offset_pages} << 12; }
};

class MapTrace {
public:
    MapTrace(int workload, std::uint32_t n)
        : workload_(workload), n_(n), random_(1234 + static_cast<std::uint64_t>(workload)) {
        if (workload == 3) {
            pages_in_window_.resize(std::size_t{2} * n);
        }
    }

    // Until the number of mappings is steady.
    [[nodiscard]] std::uint64_t preload_operations() const { return (workload_ == 2 ? std::uint64_t{6} : 4) * n_; }
    void next(std::vector<MapOperation>& operations) {
        for (MapOperation& operation : operations) {
            operation = draw();
        }
    }
    [[nodiscard]] std::uint32_t below(std::uint32_t bound) { return random_.below(bound); }

private:
    [[nodiscard]] MapOperation draw() {
        MapOperation operation;
        switch (workload_) {
            case 1:
                operation.pages = log_uniform(random_, 9);
                operation.va = static_cast<std::uint64_t>(random_.unit() * 120.0 * n_) << 12;
                operation.unmap = random_.below(10) >= 6;
                break;
            case 2:
                operation.pages = log_uniform(random_, 4) * 16;
                operation.va = static_cast<std::uint64_t>(random_.unit() * 4.0 * n_) << 16;
                operation.unmap = random_.below(10) >= 7;
                break;
            default: {
                const std::uint32_t window = random_.below(2 * n_);
                std::uint32_t& there = pages_in_window_[window];
                operation.va = std::uint64_t{window} << 21;
                operation.unmap = there != 0;
                operation.pages = operation.unmap ? there : log_uniform(random_, 9);
                there = operation.unmap ? 0 : operation.pages;
            }
        }
        operation.va += std::uint64_t{1} << 30;
        operation.bo = random_.below(4096);
        operation.offset_pages = random_.below(1U << 20);
        return operation;
    }

    int workload_;
    std::uint32_t n_;
    Random random_;
    std::vector<std::uint32_t> pages_in_window_;
};

}  // namespace granule::bench
