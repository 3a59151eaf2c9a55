// Many binds that happen together or not at all.
//
// Requests are kept in order; one that goes on exactly where the last one ended (VA, BO, offset, flags, policies)
// becomes one with it, so that tiles bound one by one cost one operation.
//
// Failure: `add` says kOutOfHostMemory and has changed nothing. Thread-safety: none.
#pragma once

#include <cstddef>
#include <span>

#include "allocator/plan.hpp"
#include "mali/export.hpp"
#include "src/array.hpp"
#include "src/status.hpp"

namespace granule {

class GRANULE_API Transaction {
public:
    explicit Transaction(NodeMemory memory = NodeMemory::process()) noexcept : requests_(memory) {}

    [[nodiscard]] Status add(const BindRequest& request) noexcept;
    void clear() noexcept {
        requests_.clear();
        added_ = 0;
    }

    [[nodiscard]] std::span<const BindRequest> requests() const noexcept { return requests_.view(); }
    [[nodiscard]] std::size_t size() const noexcept { return requests_.size(); }
    [[nodiscard]] bool empty() const noexcept { return requests_.empty(); }
    // Requests that were added, before they were joined.
    [[nodiscard]] std::size_t added() const noexcept { return added_; }

private:
    Array<BindRequest> requests_;
    std::size_t added_ = 0;
};

}  // namespace granule
