// Many binds that happen together or not at all.
//
// Requests are kept in order; one that goes on exactly where the last one ended (VA, BO, offset, flags, policies)
// becomes one with it, so that tiles bound one by one cost one operation. Which of those that were added a request came
// from is kept, so that an error that names a request can be told to who added them: one number a request.
//
//     added       0    1    2    3    4        [0] and [1] go on in each other, so do [2], [3] and [4]
//     requests   |--- 0 ---|------ 1 -----|    first_added(0) = 0, first_added(1) = 2
//
// The error is about some part of the request, and its `plan` often says where: what was added first is where to begin to
// look.
//
// Failure: `add` says kOutOfHostMemory and has changed nothing. Thread-safety: none.
#pragma once

#include <cstddef>
#include <span>

#include "allocator/plan.hpp"
#include "src/array.hpp"
#include "src/status.hpp"

namespace granule {

class Transaction {
public:
    explicit Transaction(NodeMemory memory = NodeMemory::process()) noexcept : requests_(memory), firsts_(memory) {}

    [[nodiscard]] Status add(const BindRequest& request) noexcept { return add(request, added_); }
    // `number`: what `first_added` is to call it.
    [[nodiscard]] Status add(const BindRequest& request, std::size_t number) noexcept;
    // The next request is not joined with those before: they end a group (BindGroup in src/vm.hpp), whose requests are
    // then a part of `requests()` up to the size that there is now.
    void separate() noexcept { separated_at_ = requests_.size(); }
    void clear() noexcept {
        requests_.clear();
        firsts_.clear();
        separated_at_ = 0;
        added_ = 0;
    }

    [[nodiscard]] std::span<const BindRequest> requests() const noexcept { return requests_.view(); }
    [[nodiscard]] std::size_t size() const noexcept { return requests_.size(); }
    [[nodiscard]] bool empty() const noexcept { return requests_.empty(); }
    // Requests that were added, before they were joined.
    [[nodiscard]] std::size_t added() const noexcept { return added_; }
    // The number of the first one that is in `request`: among those that were added, or the one that it was added with.
    // kAll for what is no request.
    [[nodiscard]] std::size_t first_added(std::size_t request) const noexcept {
        return request < firsts_.size() ? firsts_[request] : BindError::kAll;
    }

private:
    Array<BindRequest> requests_;
    Array<std::size_t> firsts_;  // of requests_
    std::size_t separated_at_ = 0;
    std::size_t added_ = 0;
};

}  // namespace granule
