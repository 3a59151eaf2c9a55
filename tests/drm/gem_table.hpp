// A table of BOs that are GEM handles and nothing else, for tests of what only looks handles up.
//
// Thread-safety: none.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>

#include "src/backend/bo_backend.hpp"
#include "src/bo.hpp"

namespace granule::test {

class GemTable {
public:
    explicit GemTable(NodeMemory memory = NodeMemory::process()) noexcept : bos_(backend_, memory) {}

    // Handles are given in order, from 1 on.
    [[nodiscard]] BoId make(std::uint64_t bytes, bool imported = false) {
        const Result<BoId, OsError> bo = bos_.create(bytes, BoMemory::kHuge, 0);
        REQUIRE(bo.has_value());
        bos_.find(*bo)->imported = imported;
        return *bo;
    }
    [[nodiscard]] std::uint32_t gem(BoId bo) const noexcept { return bos_.find(bo)->gem; }
    [[nodiscard]] BoTable& bos() noexcept { return bos_; }
    [[nodiscard]] const BoTable& bos() const noexcept { return bos_; }

private:
    class Backend final : public BoBackend {
    public:
        [[nodiscard]] Result<void, OsError> create(Bo& bo, const BoRequest& request) noexcept override {
            bo.size = request.bytes;
            bo.gem = ++last_;
            return {};
        }
        void destroy(Bo&) noexcept override {}
        [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo&) noexcept override { return fail(Status::kNotSupported); }
        void unmap_cpu(Bo&, std::byte*) noexcept override {}
        [[nodiscard]] Status map_cpu_at(Bo&, std::byte*, CpuAccess) noexcept override { return Status::kNotSupported; }

    private:
        std::uint32_t last_ = 0;
    };

    Backend backend_;
    BoTable bos_;
};

}  // namespace granule::test
