// An array of operations as it goes to a VM or to its queue: requests, the groups that their fences make of them, and what is
// held for them until they are done.
//
//     ops         MAP  MAP(signals)  UNMAP(waits)  MAP  SYNC_ONLY(signals)
//     groups     |---- group 0 ----|-------------- group 1 ---------------|      a group begins at waits or behind signals
//     requests   |------- 0 -------|------ 1 -----|-- 2 --|                      neighbours of a group become one
//     first_added          0              2           3
//
// Thread-safety: none.
// Failure: false: there is no memory.
#pragma once

#include <granule/timeline.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/node_memory.hpp"
#include "src/array.hpp"
#include "src/c_api/bind_op.hpp"
#include "src/owned.hpp"
#include "src/transaction.hpp"
#include "src/vm.hpp"

namespace granule::c_api {

class BindBatch {
public:
    // What is part of it ends where these say, and begins where the group before ended.
    struct Group {
        std::size_t requests_end = 0;
        std::size_t waits_end = 0;
        std::size_t signals_end = 0;
    };
    // A range of VA that is free once its group is done.
    struct Release {
        VaRange range;
        std::size_t group = 0;
        std::uint32_t op = 0;
    };

    explicit BindBatch(NodeMemory memory) noexcept
        : requests_(memory), groups_(memory), waits_(memory), signals_(memory), releases_(memory) {}
    BindBatch(const BindBatch&) = delete;
    BindBatch& operator=(const BindBatch&) = delete;
    ~BindBatch();  // lets go of the timelines

    // The next operation, whose VA is chosen. `number`: of the caller's array.
    [[nodiscard]] bool add(const BindOp& op, std::uint32_t number) noexcept;
    // Points of the last group, which there is: `add` was called.
    [[nodiscard]] bool wait_for(const granule_sync& point) noexcept;
    [[nodiscard]] bool signal(const granule_sync& point) noexcept;

    [[nodiscard]] const Transaction& transaction() const noexcept { return requests_; }
    [[nodiscard]] std::span<const Group> groups() const noexcept { return groups_.view(); }
    [[nodiscard]] std::span<const granule_sync> waits() const noexcept { return waits_.view(); }
    [[nodiscard]] std::span<const granule_sync> signals() const noexcept { return signals_.view(); }
    [[nodiscard]] std::span<const Release> releases() const noexcept { return releases_.view(); }

    // The operation whose VA an earlier one releases already, or GRANULE_NO_OP. The releases are in the order of the
    // operations before and after.
    [[nodiscard]] std::uint32_t released_twice() noexcept;
    // Which operations a failure is about: [first, end) of the caller's array. Empty where it is of none of them.
    struct Blame {
        std::uint32_t first = GRANULE_NO_OP;
        std::uint32_t end = GRANULE_NO_OP;
    };
    [[nodiscard]] Blame blame(const BindError& error) const noexcept;

private:
    [[nodiscard]] static bool push(Array<granule_sync>& points, const granule_sync& point) noexcept;

    Transaction requests_;
    Array<Group> groups_;
    Array<granule_sync> waits_;    // with a reference on each timeline
    Array<granule_sync> signals_;  // the same
    Array<Release> releases_;
    std::uint32_t count_ = 0;         // of the operations
    bool ends_with_signals_ = false;  // the next operation begins a group
};

}  // namespace granule::c_api
