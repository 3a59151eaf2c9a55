#include "tests/kernel/inside/page_map.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mali/address.hpp"
#include "mali/descriptor.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_reader.hpp"
#include "tests/kernel/inside/text_file.hpp"
#include "tests/kernel/inside/trace_instance.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::string_view kPagemap = "/proc/self/pagemap";

std::uint64_t address_of(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

// A read of one byte, which the compiler may not leave out: the kernel maps the page.
void touch(const std::byte* page) {
    static_cast<void>(*static_cast<const volatile std::byte*>(page));
}

// Anonymous memory, unmapped with its owner.
class FreshPage {
public:
    FreshPage() : page_(mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (page_ == MAP_FAILED) {
            throw ProbeError("mmap", "a page", errno);
        }
    }
    FreshPage(const FreshPage&) = delete;
    FreshPage& operator=(const FreshPage&) = delete;
    FreshPage(FreshPage&&) = delete;
    FreshPage& operator=(FreshPage&&) = delete;
    ~FreshPage() { munmap(page_, kPageBytes); }

    // A write, so that it is a page of its own and not the zero page.
    void fault() { *static_cast<volatile char*>(page_) = 1; }
    [[nodiscard]] const std::byte* get() const { return static_cast<const std::byte*>(page_); }

private:
    void* page_;
};

std::uint64_t pagemap_word(const void* page) {
    const std::string path(kPagemap);
    const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) {
        throw ProbeError(path, "open", errno);
    }
    std::uint64_t word = 0;
    const std::uint64_t offset = address_of(page) / kPageBytes * sizeof word;
    if (pread(file.get(), &word, sizeof word, static_cast<off_t>(offset)) != static_cast<ssize_t>(sizeof word)) {
        throw ProbeError(path, "read at " + hex(offset), errno);
    }
    return word;
}

// Each table once: the pages of a BO share few.
class ReadOnce final : public TableReader {
public:
    explicit ReadOnce(const TableReader& memory) : memory_(memory) {}

    void read_table(Pa table, TableWords& words) const override {
        const auto [entry, is_new] = tables_.try_emplace(table.raw());
        if (is_new) {
            memory_.read_table(table, entry->second);
        }
        words = entry->second;
    }

private:
    const TableReader& memory_;
    mutable std::map<std::uint64_t, TableWords> tables_;
};

// Faults on a page and lets a kprobe say whose tables the kernel is about to fill.
std::uint64_t own_root(FreshPage& page) {
    TraceInstance instance(1024);
    instance.add_probe('p', "granule_fault", "handle_mm_fault address=$arg2:x64 root=vma->vm_mm->pgd");
    instance.enable();
    instance.start();
    page.fault();
    const std::string trace = instance.stop();
    const std::string key = "address=" + hex(address_of(page.get())) + " root=";
    const std::size_t at = trace.find(key);
    if (at == std::string::npos) {
        throw ProbeError("handle_mm_fault was not called for " + hex(address_of(page.get())));
    }
    const std::string_view rest = std::string_view(trace).substr(at + key.size());
    const std::optional<std::uint64_t> root = hex_value(rest.substr(0, rest.find_first_of(" \n")));
    return root ? *root : throw ProbeError("handle_mm_fault: no root in \"" + std::string(rest.substr(0, 40)) + '"');
}

}  // namespace

std::optional<Pa> cpu_translate(const TableReader& memory, Pa root, std::uint64_t address) {
    Pa table = root;
    TableWords words{};
    for (unsigned level = 0; level <= mali::kLastLevel; ++level) {
        memory.read_table(table, words);
        const std::uint64_t word = words[mali::index_at(Va{address}, level)];
        const std::uint64_t type = word & mali::bits::kTypeMask;
        const Pa target{word & mali::bits::kAddressMask};
        const bool page = level == mali::kLastLevel && type == mali::bits::kTypeAarch64Page;
        const bool block = level > 0 && level < mali::kLastLevel && type == mali::bits::kTypeBlock;
        if (page || block) {
            const std::uint64_t span = mali::span_at(level);
            return target.align_down(span) + (address & (span - 1));
        }
        if (level == mali::kLastLevel || type != mali::bits::kTypeTable) {
            return std::nullopt;
        }
        table = target;
    }
    return std::nullopt;
}

std::optional<Pa> pagemap_frame(std::uint64_t word) noexcept {
    constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
    constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;
    const std::uint64_t frame = word & kFrameMask;
    if ((word & kPresent) == 0 || frame == 0) {
        return std::nullopt;
    }
    return Pa{frame * kPageBytes};
}

PageMap::PageMap(const Kcore& kcore) : kcore_(kcore) {
    FreshPage page;
    const std::uint64_t root = own_root(page);
    const std::optional<Pa> root_pa = kcore.to_physical(root);
    if (!root_pa || !root_pa->is_aligned(kPageBytes)) {
        throw ProbeError("the CPU's tables of this process are not in RAM: " + hex(root));
    }
    root_ = *root_pa;
    const std::optional<Pa> walked = cpu_translate(kcore_, root_, address_of(page.get()));
    const std::optional<Pa> told = pagemap_frame(pagemap_word(page.get()));
    if (!walked || walked != told) {
        throw ProbeError(
            "the CPU's tables are not as this code reads them: " + (walked ? hex(walked->raw()) : "nothing") +
            " for a page that pagemap has at " + (told ? hex(told->raw()) : "no place"));
    }
}

std::vector<Pa> PageMap::pages(const void* address, std::size_t bytes) const {
    const auto* const start = static_cast<const std::byte*>(address);
    std::vector<Pa> pages;
    pages.reserve(bytes / kPageBytes);
    for (std::size_t at = 0; at < bytes; at += kPageBytes) {
        touch(start + at);
    }
    const ReadOnce memory(kcore_);
    for (std::size_t at = 0; at < bytes; at += kPageBytes) {
        const std::optional<Pa> page = cpu_translate(memory, root_, address_of(start + at));
        if (!page) {
            throw ProbeError("no page behind " + hex(address_of(start + at)));
        }
        pages.push_back(*page);
    }
    return pages;
}

}  // namespace granule::kernel_test
