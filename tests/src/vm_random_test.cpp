// A million operations, seeded, against the oracle: both formats, all kernels, leaf sizes and kinds of memory; maps,
// sparse maps and unmaps of all sizes and policies, alone and in transactions, BOs that come and go, and kernels that
// fail.
#include <bit>
#include <random>

#include "tests/src/page_oracle.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kSeed = 0x6772616e756c65;
constexpr std::uint64_t kOperations = kSanitized ? 50'000 : 1'000'000;
constexpr std::uint64_t kFullCheckEvery = 2000;

struct Setup {
    std::string_view gpu;
    KernelBehaviour kernel;
    LeafSizes leaf_sizes;
    BoMemory memory;
};

std::vector<Setup> setups() {
    std::vector<Setup> all;
    for (const std::string_view gpu : {"G610", "G72"}) {
        for (const KernelBehaviour kernel : kKernels) {
            for (const BoMemory memory : kBoMemories) {
                all.push_back({gpu, kernel, kLeaves4K2M, memory});
            }
            // 1 GiB blocks need contiguous memory.
            all.push_back({gpu, kernel, kLeaves4K2M1G, BoMemory::kContiguous});
        }
    }
    return all;
}

class RandomRun {
public:
    RandomRun(const Setup& setup, std::uint64_t seed, bool direct_binds)
        : random_(seed), gib_blocks_(setup.leaf_sizes == kLeaves4K2M1G), oracle_(window(gib_blocks_)) {
        SoftDeviceConfig config = device_config(setup.kernel, setup.gpu);
        config.leaf_sizes = setup.leaf_sizes;
        config.bo_memory = setup.memory;
        config.memory_bytes = 64 * kGiB;
        config.injection = &failing_;
        device_ = make_device(config);
        vm_ = make_vm(*device_, 256, direct_binds);
        for (BoId& bo : bos_) {
            bo = new_bo(&bo == bos_.data());
        }
    }

    // "" or what went wrong first.
    std::string run(std::uint64_t operations) {
        for (std::uint64_t i = 0; i < operations && problem_.empty(); ++i) {
            const std::uint64_t kind = below(1000);
            if (kind < 2) {
                exchange_bo();
            } else if (kind < 30) {
                transaction();
            } else {
                single();
            }
            ++steps_;
            if (i % kFullCheckEvery == kFullCheckEvery - 1 || i + 1 == operations) {
                check_all();
            }
        }
        return problem_.empty() ? "" : "step " + std::to_string(steps_) + ": " + problem_;
    }

private:
    static constexpr std::uint64_t kBoBytes = 8 * kMiB;

    // 16 MiB on both sides of a GiB, or a GiB with 16 MiB on both sides of it.
    static VaRange window(bool gib_blocks) {
        return gib_blocks ? range_at(kGiB - 16 * kMiB, kGiB + 32 * kMiB) : range_at(kGiB - 16 * kMiB, 32 * kMiB);
    }

    std::uint64_t below(std::uint64_t end) { return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(random_); }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

    BoId new_bo(bool large) {
        const BoId id = make_bo(*device_, gib_blocks_ && large ? kGiB + kBoBytes : kBoBytes);
        pages_.add(*device_, id);
        return id;
    }

    // A place and a size: mostly some pages anywhere, often at the edges of blocks, now and then much.
    VaRange place(std::uint64_t most) {
        const VaRange& window = oracle_.window();
        std::uint64_t bytes = (1 + below(16)) * kPageBytes;
        if (one_in(4)) {
            bytes = (1 + below(3)) * kBlock2MBytes;
        } else if (one_in(4)) {
            bytes = (1 + below(1200)) * kPageBytes;
        }
        bytes = std::min(bytes, most);
        const std::uint64_t pages = (window.size() - bytes) / kPageBytes + 1;
        std::uint64_t start = below(pages) * kPageBytes;
        // Half of a large window's requests are where small ones can meet.
        if (gib_blocks_ && one_in(2)) {
            start = std::min(start % (32 * kMiB), window.size() - bytes);
        }
        if (one_in(3)) {
            start = align_down(start, kBlock2MBytes);
            if (one_in(2) && start >= kPageBytes) {
                start -= kPageBytes;
            }
        }
        return range_at(window.start.raw() + start, bytes);
    }

    BindRequest request() {
        BindRequest made = unmap_request(place(8 * kMiB));
        const std::uint64_t policy = below(10);
        made.policy = policy < 7 ? UnmapPolicy::kSplit : (policy < 9 ? UnmapPolicy::kReject : UnmapPolicy::kEnlarge);
        const std::uint64_t kind = below(20);
        if (kind < 7) {
            return made;
        }
        made.kind = BindRequest::Kind::kMap;
        made.leaves = one_in(4) ? LeafPolicy::kPage : LeafPolicy::kLargest;
        made.shows.flags = {one_in(4), one_in(4), one_in(4)};
        if (kind < 9) {
            return made;
        }
        const std::size_t which = below(bos_.size());
        made.shows.bo = bos_[which];
        const std::uint64_t size = device_->bos().find(made.shows.bo)->size;
        std::uint64_t slack = (size - made.va.size()) / kPageBytes + 1;
        made.shows.offset = BoOffset{below(slack) * kPageBytes};
        if (one_in(2)) {  // VA and BO agree, so that there are blocks
            const std::uint64_t phase = made.va.start.raw() % kBlock2MBytes;
            if (phase + made.va.size() <= size) {
                slack = (size - phase - made.va.size()) / kBlock2MBytes + 1;
                made.shows.offset = BoOffset{phase + below(slack) * kBlock2MBytes};
            }
        }
        if (gib_blocks_ && which == 0 && one_in(8)) {
            made.va = range_at(kGiB, kGiB);
            made.shows.offset = BoOffset{0};
            made.leaves = LeafPolicy::kLargest;
        }
        return made;
    }

    // Leaves at the edges of `range` that reach beyond it, by a look into the tables.
    VaRange whole_leaves(const VaRange& range) {
        VaRange whole = range;
        const mali::PageTable& table = SoftDevice::address_space(*vm_).table();
        if (const mali::Walk first = table.walk(range.start); first.mapped) {
            whole.start = std::min(whole.start, first.leaf_start);
            whole.end = std::max(whole.end, first.leaf_start + first.span);
        }
        if (const mali::Walk last = table.walk(range.end - kPageBytes); last.mapped) {
            whole.end = std::max(whole.end, last.leaf_start + last.span);
        }
        return whole;
    }

    void single() {
        const BindRequest asked = request();
        const VaRange whole = whole_leaves(asked.va);
        const bool cuts = whole != asked.va;
        const bool fails = one_in(40);
        if (fails) {
            failing_.fail_after(Injection::Site::kOperation, below(4));
        }
        const Result<BindReport, BindError> done = vm_->bind(asked);
        const bool failed = failing_.failed();
        failing_.stop();
        if (done) {
            if (failed || (cuts && asked.policy == UnmapPolicy::kReject)) {
                complain("a bind is done that had to fail");
            }
            if (cuts && asked.policy == UnmapPolicy::kEnlarge) {
                oracle_.unmap(whole);
            }
            oracle_.bind(asked);
        } else if (!done.error().undone ||
                   done.error().status !=
                       (cuts && asked.policy == UnmapPolicy::kReject ? Status::kGranuleCut : Status::kBackendFailed) ||
                   (done.error().status == Status::kBackendFailed && !failed)) {
            complain(std::string("a bind failed: ") + to_string(done.error().status));
        }
        check_near(asked.va);
        check_near(whole);
    }

    void transaction() {
        Transaction transaction;
        std::vector<BindRequest> requests(1 + below(16));
        for (BindRequest& asked : requests) {
            asked = request();
            // What enlarge takes depends on the requests before it: the oracle does not know.
            if (asked.policy == UnmapPolicy::kEnlarge || !one_in(10)) {
                asked.policy = UnmapPolicy::kSplit;
            }
            if (transaction.add(asked) != Status::kOk) {
                complain("no memory");
            }
        }
        if (one_in(6)) {
            failing_.fail_after(Injection::Site::kOperation, below(40));
        }
        const Result<BindReport, BindError> done = vm_->commit(transaction);
        const bool failed = failing_.failed();
        failing_.stop();
        if (done) {
            for (const BindRequest& asked : requests) {
                oracle_.bind(asked);
            }
        } else if (!done.error().undone || (done.error().status == Status::kBackendFailed) != failed ||
                   (!failed && done.error().status != Status::kGranuleCut)) {
            complain(std::string("a transaction failed: ") + to_string(done.error().status));
        }
        for (const BindRequest& asked : requests) {
            check_near(asked.va);
            check_near(whole_leaves(asked.va));
        }
    }

    // A BO loses its handle, and lives on where it is mapped; another one takes its place.
    void exchange_bo() {
        const std::size_t which = below(bos_.size());
        device_->bos().release(*device_->bos().find(bos_[which]), 1);
        bos_[which] = new_bo(which == 0);
    }

    // The pages of a range and its neighbours; some of them where there are many.
    void check_near(const VaRange& range) {
        constexpr std::uint64_t kFew = 24;
        const std::uint64_t pages = range.size() / kPageBytes;
        if (pages <= kFew) {
            for (Va va = range.start; va < range.end; va = va + kPageBytes) {
                check(va + below(kPageBytes / 8) * 8);
            }
        } else {
            for (std::uint64_t i = 0; i < kFew; ++i) {
                check(range.start + below(pages) * kPageBytes);
            }
        }
        for (const std::uint64_t away : {std::uint64_t{1}, std::uint64_t{2}}) {
            const std::uint64_t bytes = away * kPageBytes;
            check(range.start + (bytes - kPageBytes));
            check(range.end - bytes);
            if (range.start - oracle_.window().start >= bytes) {
                check(range.start - bytes);
            }
            if (range.end + bytes <= oracle_.window().end) {
                check(range.end + (bytes - kPageBytes));
            }
        }
    }

    void check(Va va) {
        if (oracle_.window().contains(va)) {
            if (const std::string wrong = wrong_at(*device_, *vm_, oracle_, pages_, va); !wrong.empty()) {
                complain(wrong);
            }
        }
    }

    void check_all() {
        for (Va va = oracle_.window().start; va < oracle_.window().end; va = va + kPageBytes) {
            check(va);
        }
        if (const std::string wrong = disagreement(*device_, *vm_); !wrong.empty()) {
            complain(wrong);
        }
        // Mappings: what the VM says, page by page.
        PageOracle said(oracle_.window());
        for (const Mapping& mapping : mappings_of(*vm_)) {
            said.bind({BindRequest::Kind::kMap, mapping.va, mapping.shows, UnmapPolicy::kReject, LeafPolicy::kLargest});
        }
        for (Va va = oracle_.window().start; va < oracle_.window().end; va = va + kPageBytes) {
            if (!(said.at(va) == oracle_.at(va))) {
                complain("the mappings say something else at " + std::to_string(va.raw()));
            }
        }
        // BOs: those that have a handle or a page, and no others.
        std::map<BoId, std::uint64_t> shown = oracle_.pages_of_bos();
        for (const BoId bo : bos_) {
            shown.try_emplace(bo, 0);
        }
        for (const auto& [id, pages] : shown) {
            const Bo* const bo = device_->bos().find(id);
            const bool held = std::find(bos_.begin(), bos_.end(), id) != bos_.end();
            if (bo == nullptr || bo->mapped_pages() != pages || bo->references() != pages + (held ? 1 : 0)) {
                complain("a BO is not held as it is shown");
            }
        }
        if (device_->bos().live() != shown.size()) {
            complain("a BO lives that nobody holds");
        }
        const SoftAddressSpace& space = SoftDevice::address_space(*vm_);
        if (space.leaf_cuts() != 0 || device_->gpu().counters().stale != 0) {
            complain("P1: a leaf was cut, or a translation was stale");
        }
        if (space.table().held() != 0 || space.table_memory().reserved() != space.table().credit() ||
            space.table_memory().in_use() != space.table().table_count()) {
            complain("table pages are kept that nobody needs");
        }
    }

    void complain(const std::string& problem) {
        if (problem_.empty()) {
            problem_ = problem;
        }
    }

    std::mt19937_64 random_;
    bool gib_blocks_;
    PageOracle oracle_;
    BoPages pages_;
    Failing failing_;
    Owned<SoftDevice> device_;
    Owned<Vm> vm_;
    std::array<BoId, 4> bos_{};
    std::uint64_t steps_ = 0;
    std::string problem_;
};

TEST_CASE("P1 P2 P3: after each of a million random operations the GPU sees what the oracle says") {
    const std::vector<Setup> all = setups();
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::uint64_t seed = kSeed + i;
        CAPTURE(seed);
        CAPTURE(all[i].gpu);
        CAPTURE(std::string(to_string(all[i].kernel)));
        CAPTURE(all[i].leaf_sizes);
        CAPTURE(static_cast<int>(all[i].memory));
        const bool direct_binds = std::popcount(i) % 2 == 0;  // half of the setups, of each kind as many
        CAPTURE(direct_binds);
        REQUIRE(RandomRun(all[i], seed, direct_binds).run(kOperations / all.size()) == "");
    }
}

}  // namespace
}  // namespace granule::test
