// The tables that the kernel's driver built equal, bit for bit, those that mali::PageTable builds of the same VAs, physical
// pages and flags.
//
//     panthor.ko    AArch64 4K      one VM a flag set, every placement bound in it; READONLY x NOEXEC x UNCACHED
//     panfrost.ko   ARM_MALI_LPAE   one file, BOs of many sizes with and without NOEXEC, at the VAs that the driver chose
//
// Which pages a BO has is asked of the CPU's tables (page_map.hpp), and shown to be true: every page is numbered through
// the BO's CPU mapping, and the number is there in physical memory. What the driver asked of io-pgtable is held against
// the flags, too. Where the GPU's walk is not coherent, both trees have bit 55 in their table entries.
//
// And the comparison can fail: each kind of mistake made on purpose in our tables (a flag, a page, a leaf size, a leaf too
// few, bit 55) is found, where it is.
//
// A line @granule for each BO and flag set; exit code 1 on any difference, with a picture of the first.

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "allocator/leaf_layout.hpp"
#include "mali/address.hpp"
#include "mali/attributes.hpp"
#include "mali/page_table.hpp"
#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/kernel/inside/kcore.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/mirror_tables.hpp"
#include "tests/kernel/inside/owned_fd.hpp"
#include "tests/kernel/inside/page_map.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/kernel/inside/table_difference.hpp"
#include "tests/kernel/inside/table_probe.hpp"
#include "tests/kernel/inside/test_report.hpp"
#include "tests/kernel/inside/text_file.hpp"

namespace granule::kernel_test {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::size_t kProbeBufferKiB = 512;  // a bind makes some dozens of calls
constexpr unsigned kVaBits = 48;              // the mock's MMU_FEATURES
constexpr unsigned kPaBits = 40;

std::string device_path() {
    const char* const path = std::getenv("GRANULE_DEVICE");
    return path != nullptr ? path : "/dev/dri/renderD128";
}

// As of_dma_is_coherent, Linux drivers/of/address.c: the nearest node, from the GPU's up, that says.
bool walk_is_coherent() {
    const std::string name = std::filesystem::path(device_path()).filename().string();
    std::filesystem::path node = std::filesystem::canonical("/sys/class/drm/" + name + "/device/of_node");
    while (node.has_parent_path() && std::filesystem::exists(node / "name")) {
        if (std::filesystem::exists(node / "dma-noncoherent")) {
            return false;
        }
        if (std::filesystem::exists(node / "dma-coherent")) {
            return true;
        }
        node = node.parent_path();
    }
    return false;
}

// What every part of this program looks through.
struct Eyes {
    Kcore kcore;
    PageMap pages{kcore};
    TableProbe probe{kProbeBufferKiB};
    OwnedFd gpu{open(device_path().c_str(), O_RDWR | O_CLOEXEC)};

    void ask(unsigned long request, void* argument, const char* what) const {
        int result = -1;
        do {
            result = ioctl(gpu.get(), request, argument);
        } while (result != 0 && (errno == EINTR || errno == EAGAIN));
        if (result != 0) {
            throw ProbeError(device_path(), what, errno);
        }
    }
};

// A BO in the CPU's address space, its pages numbered, and where they are.
class NumberedBo {
public:
    NumberedBo(const Eyes& eyes, std::uint64_t mmap_offset, std::size_t bytes)
        : bytes_(bytes),
          memory_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, eyes.gpu.get(),
                       static_cast<off_t>(mmap_offset))) {
        if (memory_ == MAP_FAILED) {
            throw ProbeError("mmap of a BO", hex(bytes) + " bytes", errno);
        }
        static std::uint64_t next_number = 0x6772'616e'0000'0000;
        const std::uint64_t first_number = next_number;
        for (std::size_t at = 0; at < bytes; at += kPageBytes) {
            std::memcpy(static_cast<std::byte*>(memory_) + at, &next_number, sizeof next_number);
            ++next_number;
        }
        pages_ = eyes.pages.pages(memory_, bytes);
        for (std::size_t page = 0; page < pages_.size(); ++page) {
            std::uint64_t found = 0;
            eyes.kcore.read(pages_[page], std::as_writable_bytes(std::span(&found, 1)));
            if (found != first_number + page) {
                throw ProbeError("page " + std::to_string(page) + " of the BO is not at " + hex(pages_[page].raw()) +
                                 ": " + hex(found) + " is there");
            }
        }
    }
    NumberedBo(NumberedBo&& other) noexcept
        : bytes_(other.bytes_), memory_(std::exchange(other.memory_, MAP_FAILED)), pages_(std::move(other.pages_)) {}
    NumberedBo& operator=(NumberedBo&&) = delete;
    NumberedBo(const NumberedBo&) = delete;
    NumberedBo& operator=(const NumberedBo&) = delete;
    ~NumberedBo() {
        if (memory_ != MAP_FAILED) {
            munmap(memory_, bytes_);
        }
    }

    [[nodiscard]] std::vector<Pa> pages(std::uint64_t offset, std::uint64_t bytes) const {
        const auto first = pages_.begin() + static_cast<std::ptrdiff_t>(offset / kPageBytes);
        return {first, first + static_cast<std::ptrdiff_t>(bytes / kPageBytes)};
    }
    [[nodiscard]] std::vector<Pa> pages() const { return pages_; }

private:
    std::size_t bytes_;
    void* memory_;
    std::vector<Pa> pages_;
};

// A mapping as both sides make it.
struct Bound {
    Va va;
    std::vector<Pa> pages;
    mali::LeafAttributes attributes;
};

KernelTables mirror(const mali::PageTableConfig& config, const std::vector<Bound>& bound,
                    LeafPolicy policy = LeafPolicy::kLargest) {
    MirrorTables tables(config);
    for (const Bound& one : bound) {
        tables.map(one.va, one.pages, one.attributes, policy);
    }
    return tables.tables();
}

std::string counts_of(const KernelTables& tables) {
    const mali::LeafCounts counts = tables.leaf_counts();
    return std::to_string(counts.blocks_2m) + " blocks of 2 MiB, " + std::to_string(counts.pages_4k) + " pages, " +
           std::to_string(tables.table_count()) + " tables";
}

// One test: equal, or a picture.
bool report_equal(const std::string& name, const KernelTables& kernel, const KernelTables& ours) {
    const std::optional<TableDifference> difference = first_difference(kernel, ours);
    if (!difference) {
        report_test(name, true, counts_of(kernel));
        return true;
    }
    report_test(name, false, picture(*difference, kernel, ours));
    return false;
}

// The prot argument that a driver should pass for these attributes.
std::uint32_t prot_of(const mali::LeafAttributes& attributes) {
    return (attributes.read ? prot::kRead : 0) | (attributes.write ? prot::kWrite : 0) |
           (attributes.memory == mali::MemoryType::kCached ? prot::kCache : 0) |
           (attributes.execute ? 0 : prot::kNoExecute);
}

std::string name_of(const mali::LeafAttributes& attributes) {
    return std::string(attributes.write ? "rw" : "r-") + (attributes.execute ? "x" : "-") +
           (attributes.memory == mali::MemoryType::kCached ? " cached" : " uncached");
}

// Every mistake that our side could make, made on purpose in the one mapping `victim`: each must be found, and where it
// is.
struct Mistake {
    const char* name;
    std::function<KernelTables()> tables;
};

bool report_mistakes_are_found(const std::string& name, const KernelTables& kernel, const mali::PageTableConfig& config,
                               const std::vector<Bound>& bound, std::size_t victim) {
    const auto with = [&](const std::function<void(Bound&)>& change) {
        return [&, change] {
            std::vector<Bound> wrong = bound;
            change(wrong[victim]);
            return mirror(config, wrong);
        };
    };
    std::vector<Mistake> mistakes{
        {"write", with([](Bound& one) { one.attributes.write = !one.attributes.write; })},
        {"execute", with([](Bound& one) { one.attributes.execute = !one.attributes.execute; })},
        {"uncached", with([](Bound& one) {
             one.attributes.memory = one.attributes.memory == mali::MemoryType::kCached ? mali::MemoryType::kUncached
                                                                                        : mali::MemoryType::kCached;
         })},
        {"device memory", with([](Bound& one) { one.attributes.memory = mali::MemoryType::kDevice; })},
        {"the last page is another", with([](Bound& one) { one.pages.back() = one.pages.back() + kBlock2MBytes; })},
        {"the last page is missing", with([](Bound& one) { one.pages.pop_back(); })},
        {"bit 55",
         [&] {
             mali::PageTableConfig wrong = config;
             wrong.coherent_walk = !wrong.coherent_walk;
             return mirror(wrong, bound);
         }},
    };
    if (config.format == mali::Format::kAarch64_4k) {
        mistakes.push_back({"privileged", with([](Bound& one) { one.attributes.privileged = true; })});
    } else {
        mistakes.push_back({"not readable", with([](Bound& one) { one.attributes.read = false; })});
    }
    if (kernel.leaf_counts().blocks_2m > 0) {
        mistakes.push_back({"pages for blocks", [&] { return mirror(config, bound, LeafPolicy::kPage); }});
    }
    std::string missed;
    for (const Mistake& mistake : mistakes) {
        if (!first_difference(kernel, mistake.tables())) {
            missed += std::string(missed.empty() ? "not found: " : ", ") + mistake.name;
        }
    }
    report_test(name, missed.empty(), missed.empty() ? std::to_string(mistakes.size()) + " found" : missed);
    return missed.empty();
}

bool report_prot(const std::string& name, const std::vector<PageTableCall>& calls, std::uint32_t expected) {
    for (const PageTableCall& call : calls) {
        if (call.kind == PageTableCall::Kind::kMap && call.prot != expected) {
            report_test(name, false, to_string(call) + ", expected prot " + hex(expected));
            return false;
        }
    }
    return true;
}

// ---- panthor ----

// Where a part of a BO of 10 MiB and three pages goes. Blocks come where VA and BO offset agree modulo 2 MiB, if the memory
// behind it is a huge page.
struct Placement {
    const char* name;
    std::uint64_t offset;
    std::uint64_t va;
    std::uint64_t bytes;
};

constexpr std::uint64_t kPanthorBoBytes = 10 * kMiB + 3 * kPageBytes;
constexpr std::array<Placement, 12> kPlacements{{
    {"a page at VA 0", 0, 0, kPageBytes},
    {"three pages of the end", 10 * kMiB, 0x3000, 3 * kPageBytes},
    {"2 MiB, aligned", 2 * kMiB, 16 * kMiB, 2 * kMiB},
    {"all of it, aligned", 0, 32 * kMiB, kPanthorBoBytes},
    {"6 MiB with an edge on either side", 2 * kMiB - kPageBytes, 64 * kMiB - kPageBytes, 6 * kMiB + 2 * kPageBytes},
    {"4 MiB, one page out of phase", 0, 96 * kMiB + kPageBytes, 4 * kMiB},
    {"4 MiB, 1 MiB out of phase", kMiB, 128 * kMiB, 4 * kMiB},
    {"less than 2 MiB at a block's edge", kMiB, 161 * kMiB, kMiB},
    {"8 MiB across 1 GiB", 0, kGiB - 4 * kMiB, 8 * kMiB},
    {"8 MiB across 512 GiB", 2 * kMiB, 512 * kGiB - 2 * kMiB, 8 * kMiB},
    {"8 MiB across 4 GiB, out of phase", kPageBytes, 4 * kGiB - kMiB, 8 * kMiB},
    {"the last 2 MiB below 2^47", 4 * kMiB, (std::uint64_t{1} << 47) - 2 * kMiB, 2 * kMiB},
}};

constexpr std::size_t kAlignedPlacement = 2;
constexpr std::size_t kPagesPlacement = 5;
constexpr std::uint32_t kFlagSets = 8;  // of kOpReadonly, kOpNoexec and kOpUncached

NumberedBo panthor_bo(const Eyes& eyes, std::uint32_t& handle) {
    drm_panthor_bo_create create;
    create.size = kPanthorBoBytes;
    eyes.ask(panthor::kBoCreate, &create, "BO_CREATE");
    handle = create.handle;
    drm_panthor_bo_mmap_offset at;
    at.handle = handle;
    eyes.ask(panthor::kBoMmapOffset, &at, "BO_MMAP_OFFSET");
    return {eyes, at.offset, create.size};
}

void panthor_bind(const Eyes& eyes, std::uint32_t vm, std::uint32_t handle, std::uint32_t flags,
                  const Placement& placement) {
    drm_panthor_vm_bind_op op;
    op.flags = panthor::kOpMap | flags;
    op.bo_handle = handle;
    op.bo_offset = placement.offset;
    op.va = placement.va;
    op.size = placement.bytes;
    drm_panthor_vm_bind bind;
    bind.vm_id = vm;
    bind.ops.stride = sizeof op;
    bind.ops.count = 1;
    bind.ops.array = reinterpret_cast<std::uintptr_t>(&op);
    eyes.ask(panthor::kVmBind, &bind, placement.name);
}

bool panthor_flag_set(Eyes& eyes, const mali::PageTableConfig& config, std::uint32_t handle, const NumberedBo& bo,
                      std::uint32_t flags) {
    mali::LeafAttributes attributes;
    attributes.write = (flags & panthor::kOpReadonly) == 0;
    attributes.execute = (flags & panthor::kOpNoexec) == 0;
    attributes.memory = (flags & panthor::kOpUncached) == 0 ? mali::MemoryType::kCached : mali::MemoryType::kUncached;

    drm_panthor_vm_create create;
    eyes.ask(panthor::kVmCreate, &create, "VM_CREATE");
    std::optional<Pa> root;
    std::vector<Bound> bound;
    bool equal = true;
    for (const Placement& placement : kPlacements) {
        const std::string name = "panthor " + name_of(attributes) + ": " + placement.name;
        const std::vector<PageTableCall> calls =
            eyes.probe.record([&] { panthor_bind(eyes, create.id, handle, flags, placement); });
        root = root ? root : TableProbe::checked_root(eyes.kcore, calls);
        bound.push_back({Va{placement.va}, bo.pages(placement.offset, placement.bytes), attributes});
        equal =
            report_prot(name, calls, prot_of(attributes)) &&
            report_equal(name, KernelTables::read(eyes.kcore, config.format, kVaBits, *root), mirror(config, bound)) &&
            equal;
    }
    // The first set and the last: every flag is wrong in both directions.
    if (flags == 0 || flags == kFlagSets - 1) {
        const KernelTables kernel = KernelTables::read(eyes.kcore, config.format, kVaBits, *root);
        for (const std::size_t victim : {kAlignedPlacement, kPagesPlacement}) {
            equal = report_mistakes_are_found("panthor " + name_of(attributes) + ": mistakes in \"" +
                                                  kPlacements[victim].name + "\" are found",
                                              kernel, config, bound, victim) &&
                    equal;
        }
    }
    drm_panthor_vm_destroy destroy;
    destroy.id = create.id;
    eyes.ask(panthor::kVmDestroy, &destroy, "VM_DESTROY");
    return equal;
}

bool panthor(Eyes& eyes) {
    const mali::PageTableConfig config{mali::Format::kAarch64_4k, kVaBits, kPaBits, kLeaves4K2M, walk_is_coherent()};
    std::uint32_t handle = 0;
    const NumberedBo bo = panthor_bo(eyes, handle);
    bool equal = true;
    for (std::uint32_t flags = 0; flags < kFlagSets; ++flags) {
        equal = panthor_flag_set(eyes, config, handle, bo, flags) && equal;
    }
    return equal;
}

// ---- panfrost ----

struct PanfrostBo {
    std::uint64_t bytes;
    std::uint32_t flags;
    bool mistakes = false;  // made on purpose in this one
};

constexpr std::array<PanfrostBo, 12> kPanfrostBos{{
    {kPageBytes, 0},
    {3 * kPageBytes, panfrost::kBoNoexec},
    {2 * kMiB, 0},
    {2 * kMiB, panfrost::kBoNoexec, true},
    {2 * kMiB + kPageBytes, panfrost::kBoNoexec},
    {8 * kMiB, panfrost::kBoNoexec},
    {8 * kMiB, 0},
    {2 * kMiB - kPageBytes, panfrost::kBoNoexec},
    {5 * kMiB + 7 * kPageBytes, panfrost::kBoNoexec},
    {64 * kPageBytes, 0, true},
    {16 * kMiB, panfrost::kBoNoexec},
    {kMiB, 0},
}};

bool panfrost(Eyes& eyes) {
    const mali::PageTableConfig config{mali::Format::kMaliLpae, kVaBits, kPaBits, kLeaves4K2M, walk_is_coherent()};
    std::optional<Pa> root;
    std::vector<Bound> bound;
    std::vector<NumberedBo> bos;
    std::optional<std::uint32_t> cache;  // of prot: panfrost maps cached or not, by its version
    bool equal = true;
    for (const PanfrostBo& wanted : kPanfrostBos) {
        drm_panfrost_create_bo create;
        create.size = static_cast<std::uint32_t>(wanted.bytes);
        create.flags = wanted.flags;
        const std::vector<PageTableCall> calls =
            eyes.probe.record([&] { eyes.ask(panfrost::kCreateBo, &create, "CREATE_BO"); });
        root = root ? root : TableProbe::checked_root(eyes.kcore, calls);
        drm_panfrost_mmap_bo at;
        at.handle = create.handle;
        eyes.ask(panfrost::kMmapBo, &at, "MMAP_BO");
        bos.emplace_back(eyes, at.offset, wanted.bytes);

        // Up to 6.12 the driver maps uncached, from 6.16 on cached: the same for all BOs, as its first call says.
        cache = cache ? cache : (calls.empty() ? 0 : calls.front().prot & prot::kCache);
        mali::LeafAttributes attributes;
        attributes.execute = (wanted.flags & panfrost::kBoNoexec) == 0;
        attributes.memory = *cache != 0 ? mali::MemoryType::kCached : mali::MemoryType::kUncached;
        bound.push_back({Va{create.offset}, bos.back().pages(), attributes});

        const std::string name =
            "panfrost " + name_of(attributes) + ": " + hex(wanted.bytes) + " bytes at " + hex(create.offset);
        const KernelTables kernel = KernelTables::read(eyes.kcore, config.format, kVaBits, *root);
        equal =
            report_prot(name, calls, prot_of(attributes)) && report_equal(name, kernel, mirror(config, bound)) && equal;
        if (wanted.mistakes) {
            equal = report_mistakes_are_found(name + ": mistakes are found", kernel, config, bound, bound.size() - 1) &&
                    equal;
        }
    }
    return equal;
}

bool run() {
    Eyes eyes;
    if (!eyes.gpu.valid()) {
        throw ProbeError(device_path(), "open", errno);
    }
    const char* const driver = std::getenv("GRANULE_DRIVER");
    if (driver == nullptr) {
        throw ProbeError("GRANULE_DRIVER is not set: panthor or panfrost");
    }
    return std::string_view(driver) == "panfrost" ? panfrost(eyes) : panthor(eyes);
}

}  // namespace
}  // namespace granule::kernel_test

int main() {
    try {
        return granule::kernel_test::run() ? 0 : 1;
    } catch (const std::exception& error) {
        granule::kernel_test::report_test("bit for bit", false, error.what());
        return 1;
    }
}
