#include "tests/kernel/cases/c_look.h"

#include <fmt/format.h>

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "mali/descriptor.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/page_map.hpp"
#include "tests/kernel/inside/table_probe.hpp"
#include "tests/kernel/inside/test_report.hpp"

namespace granule::kernel_test {
namespace {

// The one VM that is looked at.
class Look {
public:
    void at(bool panfrost, unsigned va_bits, void (*touch)(void*), void* data) {
        format_ = panfrost ? mali::Format::kMaliLpae : mali::Format::kAarch64_4k;
        va_bits_ = va_bits;
        root_ = probe_.root_touched_by(kcore_, [&] { touch(data); });
    }

    [[nodiscard]] KernelTables tables(const VaRange& range) const {
        return KernelTables::read(kcore_, format_, va_bits_, root_, range);
    }

    [[nodiscard]] std::string shows(const VaRange& range, const void* memory) const {
        const std::vector<Pa> pages = page_map_.pages(memory, range.size());
        const KernelTables now = tables(range);
        for (std::uint64_t i = 0; i < pages.size(); ++i) {
            const Va va = range.start + i * kPageBytes;
            const std::optional<KernelLeaf> leaf = now.leaf_at(va);
            if (!leaf) {
                return fmt::format("{:#x} translates to nothing", va.raw());
            }
            if (const Pa pa = leaf->pa + (va - leaf->va); pa != pages[i]) {
                return fmt::format("{:#x} translates to {:#x}, and should to {:#x}", va.raw(), pa.raw(),
                                   pages[i].raw());
            }
        }
        return {};
    }

    [[nodiscard]] std::string mapped(const VaRange& range, bool should) const {
        const KernelTables now = tables(range);
        for (Va va = range.start; va < range.end; va = va + kPageBytes) {
            if (now.leaf_at(va).has_value() != should) {
                return fmt::format("{:#x} {}", va.raw(), should ? "translates to nothing" : "translates to something");
            }
        }
        return {};
    }

private:
    Kcore kcore_;
    TableProbe probe_;
    PageMap page_map_{kcore_};
    mali::Format format_ = mali::Format::kAarch64_4k;
    unsigned va_bits_ = 0;
    Pa root_;
};

std::optional<Look>& the_look() {
    static std::optional<Look> look;
    return look;
}

VaRange range_of(std::uint64_t va, std::uint64_t size) {
    return {Va{va}, Va{va} + size};
}

// What `body`, which returns a text, says; nullptr where that is empty.
template <class Body>
const char* in_words(Body&& body) {
    static std::string text;
    try {
        if (!the_look()) {
            the_look().emplace();
        }
        text = body(*the_look());
    } catch (const std::exception& error) {
        text = error.what();
    }
    return text.empty() ? nullptr : text.c_str();
}

}  // namespace
}  // namespace granule::kernel_test

using granule::kernel_test::in_words;
using granule::kernel_test::Look;
using granule::kernel_test::range_of;

void c_report(const char* name, bool passed, const char* why) {
    granule::kernel_test::report_test(name, passed, why == nullptr ? "" : why);
}

void c_expect_warnings(void) {
    granule::kernel_test::report_expected(granule::kernel_test::Expected::kWarnings);
}

const char* c_look_at(bool panfrost, unsigned va_bits, void (*touch)(void* data), void* data) {
    return in_words([&](Look& look) {
        look.at(panfrost, va_bits, touch, data);
        return std::string{};
    });
}

const char* c_look_shows(uint64_t va, uint64_t size, const void* memory) {
    return in_words([&](const Look& look) { return look.shows(range_of(va, size), memory); });
}

const char* c_look_mapped(uint64_t va, uint64_t size, bool mapped) {
    return in_words([&](const Look& look) { return look.mapped(range_of(va, size), mapped); });
}

int64_t c_look_blocks(uint64_t va, uint64_t size) {
    std::int64_t blocks = -1;
    const char* const why = in_words([&](const Look& look) {
        blocks = static_cast<std::int64_t>(look.tables(range_of(va, size)).leaf_counts(range_of(va, size)).blocks_2m);
        return std::string{};
    });
    return why == nullptr ? blocks : -1;
}
