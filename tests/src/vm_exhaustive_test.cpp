// Every script of a few operations on two 2 MiB windows, for each kernel and policy, against the oracle.
//
//     0    4K                 2M-4K   2M   2M+4K                  4M
//     |----|---------------------|----|----|----------------------|      edges of requests
//     |========= block ===============|========= block ===========|      where VA and BO agree
//
// A script is checked after its last operation: what is shorter is a script of its own.
#include <algorithm>

#include "tests/src/page_oracle.hpp"
#include "tests/support/sanitized.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kBase = kGiB - 2 * kMiB;  // so that the middle is a GiB boundary
constexpr std::array<std::uint64_t, 6> kEdges{0, 0x1000, 2 * kMiB - 0x1000, 2 * kMiB, 2 * kMiB + 0x1000, 4 * kMiB};

enum class What { kMap, kMapShifted, kMapSparse, kUnmap };

// All ranges between two edges, of all kinds.
std::vector<BindRequest> alphabet(BoId bo, UnmapPolicy policy, std::initializer_list<What> kinds,
                                  std::initializer_list<std::pair<int, int>> edges) {
    std::vector<BindRequest> all;
    for (const What kind : kinds) {
        for (const auto& [first, last] : edges) {
            const std::uint64_t start = kEdges.at(static_cast<std::size_t>(first));
            const VaRange va{Va{kBase + start}, Va{kBase + kEdges.at(static_cast<std::size_t>(last))}};
            switch (kind) {
                case What::kMap:
                    all.push_back(map_request(va, bo, start, policy));
                    break;
                case What::kMapShifted:  // no blocks
                    all.push_back(map_request(va, bo, start + 0x1000, policy, {true, false, false}));
                    break;
                case What::kMapSparse:
                    all.push_back(sparse_request(va, policy));
                    break;
                case What::kUnmap:
                    all.push_back(unmap_request(va, policy));
                    break;
            }
        }
    }
    return all;
}

class Scripts {
public:
    Scripts(KernelBehaviour kernel, UnmapPolicy policy)
        : policy_(policy), oracle_(range_at(kBase - 0x2000, 4 * kMiB + 0x4000)) {
        device_ = make_device(device_config(kernel));
        vm_ = make_vm(*device_, 0);
        bo_ = make_bo(*device_, 4 * kMiB + 0x1000);
        bos_.add(*device_, bo_);
        for (const std::uint64_t edge : kEdges) {
            for (const std::uint64_t at : {edge + 0x1000, edge + 0x2000, edge + 0x3000}) {
                places_.push_back(oracle_.window().start + at);
            }
        }
        places_.emplace_back(kBase + kMiB);
        places_.emplace_back(kBase + 3 * kMiB);
        std::sort(places_.begin(), places_.end());
        places_.erase(std::unique(places_.begin(), places_.end()), places_.end());
    }
    [[nodiscard]] BoId bo() const { return bo_; }

    // Every script of `length` operations. "" or the first that goes wrong, and how.
    std::string run(const std::vector<BindRequest>& operations, std::size_t length) {
        std::vector<std::size_t> script(length, 0);
        for (;;) {
            for (const std::size_t operation : script) {
                apply(operations[operation]);
            }
            check();
            if (!problem_.empty()) {
                std::string which;
                for (const std::size_t operation : script) {
                    which += std::to_string(operation) + " ";
                }
                return which + ": " + problem_;
            }
            ++scripts_;
            reset();
            std::size_t digit = length;
            while (digit != 0 && ++script[digit - 1] == operations.size()) {
                script[--digit] = 0;
            }
            if (digit == 0) {
                return problem_;
            }
        }
    }
    [[nodiscard]] std::uint64_t scripts() const { return scripts_; }

private:
    // What a leaf at an edge would lose; the tables know.
    [[nodiscard]] VaRange whole_leaves(const VaRange& range) {
        const mali::PageTable& table = SoftDevice::address_space(*vm_).table();
        const mali::Walk first = table.walk(range.start);
        const mali::Walk last = table.walk(range.end - kPageBytes);
        return {first.mapped ? first.leaf_start : range.start, last.mapped ? last.leaf_start + last.span : range.end};
    }

    void apply(const BindRequest& request) {
        const VaRange whole = whole_leaves(request.va);
        const bool refused = policy_ == UnmapPolicy::kReject && whole != request.va;
        const Result<BindReport, BindError> done = vm_->bind(request);
        if (done.has_value() == refused) {
            problem_ = "done or refused, and not the other";
            return;
        }
        if (refused) {
            return;
        }
        if (policy_ == UnmapPolicy::kEnlarge) {
            oracle_.unmap(whole);
        }
        oracle_.bind(request);
    }

    void check() {
        std::uint64_t mapped = 0;
        for (const Va va : places_) {
            if (std::string wrong = wrong_at(*device_, *vm_, oracle_, bos_, va); !wrong.empty() && problem_.empty()) {
                problem_ = std::move(wrong);
            }
            if (oracle_.at(va).mapped &&
                (vm_->granule_at(va) != SoftDevice::address_space(*vm_).table().walk(va).leaf)) {
                problem_ = "the ledger is wrong at " + std::to_string(va.raw());
            }
            mapped += oracle_.at(va).mapped ? 1U : 0U;
        }
        const SoftAddressSpace& space = SoftDevice::address_space(*vm_);
        if ((mapped == 0) != (space.table().leaf_counts() == mali::LeafCounts{})) {
            problem_ = "something is mapped, or nothing, and should not be";
        }
        if (space.leaf_cuts() != 0 || device_->gpu().counters().stale != 0) {
            problem_ = "P1: a leaf was cut, or a translation was stale";
        }
        if (scripts_ % 64 == 0 && problem_.empty()) {
            problem_ = disagreement(*device_, *vm_);
        }
    }

    void reset() {
        if (!vm_->unmap(oracle_.window(), UnmapPolicy::kReject) || vm_->statistics().mappings != 0 ||
            device_->bos().find(bo_)->mapped_pages() != 0) {
            problem_ = "the script's end leaves something mapped";
        }
        oracle_.unmap(oracle_.window());
    }

    UnmapPolicy policy_;
    PageOracle oracle_;
    BoPages bos_;
    Owned<SoftDevice> device_;
    Owned<Vm> vm_;
    BoId bo_{};
    std::vector<Va> places_;
    std::uint64_t scripts_ = 0;
    std::string problem_;
};

using Edges = std::initializer_list<std::pair<int, int>>;
constexpr Edges kAll{{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 2}, {1, 3}, {1, 4},
                     {1, 5}, {2, 3}, {2, 4}, {2, 5}, {3, 4}, {3, 5}, {4, 5}};
// One of each sort: whole, a window, head, middle, tail, across.
constexpr Edges kFew{{0, 5}, {0, 3}, {0, 1}, {1, 2}, {2, 4}};

template <class Body>
void for_each_kernel_and_policy(Body body) {
    for (const KernelBehaviour kernel : kKernels) {
        for (const UnmapPolicy policy : {UnmapPolicy::kSplit, UnmapPolicy::kReject, UnmapPolicy::kEnlarge}) {
            CAPTURE(std::string(to_string(kernel)));
            CAPTURE(std::string(to_string(policy)));
            body(kernel, policy);
        }
    }
}

TEST_CASE("P1 P2: every script of up to two operations of all kinds between all edges ends as the oracle says") {
    for_each_kernel_and_policy([](KernelBehaviour kernel, UnmapPolicy policy) {
        Scripts scripts(kernel, policy);
        const std::vector<BindRequest> operations =
            alphabet(scripts.bo(), policy, {What::kMap, What::kMapShifted, What::kMapSparse, What::kUnmap}, kAll);
        REQUIRE(scripts.run(operations, 1) == "");
        REQUIRE(scripts.run(operations, 2) == "");
        CHECK(scripts.scripts() == 60 + 60 * 60);
    });
}

TEST_CASE("P1 P2: every script of up to four operations of one range of each sort ends as the oracle says") {
    for_each_kernel_and_policy([](KernelBehaviour kernel, UnmapPolicy policy) {
        Scripts scripts(kernel, policy);
        const std::vector<BindRequest> more =
            alphabet(scripts.bo(), policy, {What::kMap, What::kMapShifted, What::kMapSparse, What::kUnmap}, kFew);
        REQUIRE(scripts.run(more, 3) == "");
        const bool longest = policy == UnmapPolicy::kSplit && !kSanitized;
        if (longest) {
            const std::vector<BindRequest> few = alphabet(scripts.bo(), policy, {What::kMap, What::kUnmap}, kFew);
            REQUIRE(scripts.run(few, 4) == "");
        }
        CHECK(scripts.scripts() == 20 * 20 * 20 + (longest ? 10 * 10 * 10 * 10 : 0));
    });
}

}  // namespace
}  // namespace granule::test
