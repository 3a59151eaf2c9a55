// An outside program with the format layer alone, as firmware or a hypervisor would use it: page tables in an array, no
// heap, no OS. Exit code 0: the table translates as it should, and refuses to cut a leaf.
#include <array>
#include <cstddef>
#include <cstdint>

#include "mali/address.hpp"
#include "mali/gpu_model.hpp"
#include "mali/page_table.hpp"
#include "mali/table_memory.hpp"

namespace {

using granule::LeafSize;
using granule::Pa;
using granule::Va;

class ArrayOfTables final : public granule::mali::TableMemory {
public:
    bool reserve(std::uint64_t pages) noexcept override {
        if (pages > kPages - reserved_) {
            return false;
        }
        reserved_ += pages;
        return true;
    }
    void unreserve(std::uint64_t pages) noexcept override { reserved_ -= pages; }
    granule::mali::TablePage take() noexcept override {
        for (std::size_t page = 0; page < kPages; ++page) {
            if (!used_.at(page)) {
                used_.at(page) = true;
                return page_at(page);
            }
        }
        return {};
    }
    void give_back(granule::mali::TablePage page) noexcept override { used_.at(index_of(page.pa)) = false; }
    granule::mali::TablePage table_at(Pa table) const noexcept override { return page_at(index_of(table)); }
    void make_visible(const std::uint64_t* /*first*/, std::size_t /*count*/) noexcept override {}

private:
    static constexpr std::size_t kPages = 16;
    static constexpr std::uint64_t kStart = 0x8000'0000;
    using Table = std::array<std::uint64_t, granule::mali::kTableEntries>;

    static std::size_t index_of(Pa pa) noexcept { return static_cast<std::size_t>((pa.raw() - kStart) / 4096); }
    granule::mali::TablePage page_at(std::size_t page) const noexcept {
        return {tables_.at(page).data(), &books_.at(page), Pa{kStart + page * 4096}};
    }

    alignas(4096) mutable std::array<Table, kPages> tables_{};
    mutable std::array<granule::mali::TableBook, kPages> books_{};
    std::array<bool, kPages> used_{};
    std::uint64_t reserved_ = 0;
};

}  // namespace

int main() {
    static ArrayOfTables memory;
    const granule::mali::GpuModel* const gpu = granule::mali::find_gpu_model("T860");
    if (gpu == nullptr) {
        return 1;
    }
    granule::mali::PageTableConfig config;
    config.format = gpu->format;
    config.va_bits = gpu->va_bits;
    config.pa_bits = gpu->pa_bits;
    auto table = granule::mali::PageTable::create(config, memory);
    constexpr Va kVa{0x4000'0000};
    if (!table || !table->map({kVa, LeafSize::k2M, 2}, Pa{0x20'0000}, {})) {
        return 2;
    }
    const auto cut = table->unmap({kVa, LeafSize::k4K, 1});
    if (cut || cut.error().code != granule::mali::TableError::Code::kLeafWouldBeCut) {
        return 3;
    }
    return table->walk(kVa + 0x1234).pa == Pa{0x20'1234} ? 0 : 4;
}
