// The cases of allocator/overlap_cases.md, by their numbers: the operations, the mappings and the leaves afterwards.
//
// Each picture is carried out twice. With a unit of one page no edge can cut a leaf. With a unit of 2 MiB + 4 KiB every
// edge but 0 lies inside a 2 MiB window, which is a block where the old mapping covers it.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/bound_space.hpp"
#include "tests/support/plan_text.hpp"

namespace granule::test {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;
constexpr std::uint64_t kSmallUnit = kPageBytes;
constexpr std::uint64_t kCuttingUnit = kBlock2MBytes + kPageBytes;

// Two runs of offsets, each of which goes on from place to place: at place p, n is p units, and m is 1 GiB and p units.
enum class Offset : std::uint8_t { kN, kM };

struct Piece {
    std::uint64_t from;  // in units
    std::uint64_t to;
    char bo;
    Offset offset = Offset::kN;
};

struct Picture {
    std::vector<Piece> before;
    std::optional<Piece> map;    // what is asked for: this map,
    std::optional<Piece> unmap;  // or an unmap of this range
    std::vector<Piece> after;
    const char* cutting_ops;             // with the cutting unit and the policy split
    std::vector<std::uint64_t> blocks;   // then: the 2 MiB blocks afterwards, in MiB
    std::optional<std::uint64_t> cut{};  // and the granule that reject names, in MiB
};

Mapping mapping_of(const Piece& piece, std::uint64_t unit) {
    Mapping mapping;
    mapping.va = {Va{piece.from * unit}, Va{piece.to * unit}};
    mapping.shows.bo = BoId{piece.bo == 'a' ? 1U : 2U};
    mapping.shows.offset = BoOffset{(piece.offset == Offset::kM ? kBlock1GBytes : 0) + piece.from * unit};
    return mapping;
}

BindRequest map_of(const Piece& piece, std::uint64_t unit, UnmapPolicy policy) {
    const Mapping mapping = mapping_of(piece, unit);
    return {BindRequest::Kind::kMap, mapping.va, mapping.shows, policy, LeafPolicy::kLargest};
}

BindRequest request_of(const Picture& picture, std::uint64_t unit, UnmapPolicy policy) {
    if (picture.map) {
        return map_of(*picture.map, unit, policy);
    }
    return {BindRequest::Kind::kUnmap, mapping_of(*picture.unmap, unit).va, {}, policy, LeafPolicy::kLargest};
}

struct Outcome {
    std::optional<PlanError> error;
    Plan plan;
    std::vector<Mapping> mappings;
    std::vector<std::uint64_t> blocks;  // starts, in MiB
};

Outcome carry_out(const Picture& picture, std::uint64_t unit, UnmapPolicy policy, KernelBehaviour kernel) {
    SpaceConfig config;
    config.kernel = kernel;
    BoundSpace space(config);
    for (const Piece& piece : picture.before) {
        REQUIRE(space.bind(map_of(piece, unit, UnmapPolicy::kReject)));
    }
    Outcome outcome;
    const auto answer = space.bind(request_of(picture, unit, policy));
    if (answer) {
        outcome.plan = *answer;
    } else {
        outcome.error = answer.error();
    }
    space.check_all();
    REQUIRE(space.problem() == "");
    const VaRange all{Va{0}, Va{kMaxVaEnd}};
    space.mappings().for_each_overlap(all, [&](const Mapping& mapping) { outcome.mappings.push_back(mapping); });
    space.ledger().for_each_block_run(all, [&](const LeafRun& run) {
        for (std::uint64_t i = 0; i < run.count; ++i) {
            outcome.blocks.push_back((run.start.raw() + i * kBlock2MBytes) / kMi);
        }
    });
    return outcome;
}

std::vector<std::string> texts(const std::vector<Mapping>& mappings) {
    std::vector<std::string> all;
    all.reserve(mappings.size());
    for (const Mapping& mapping : mappings) {
        all.push_back(text(mapping));
    }
    return all;
}

std::vector<std::string> texts(const std::vector<Piece>& pieces, std::uint64_t unit) {
    std::vector<Mapping> mappings;
    mappings.reserve(pieces.size());
    for (const Piece& piece : pieces) {
        mappings.push_back(mapping_of(piece, unit));
    }
    return texts(mappings);
}

std::string without_residuals(std::string ops) {
    for (std::size_t at = ops.find("; map residual"); at != std::string::npos; at = ops.find("; map residual")) {
        const std::size_t end = ops.find(';', at + 1);
        ops.erase(at, end == std::string::npos ? end : end - at);
    }
    return ops;
}

void check_pages(const Picture& picture) {
    for (const UnmapPolicy policy : {UnmapPolicy::kReject, UnmapPolicy::kSplit, UnmapPolicy::kEnlarge}) {
        CAPTURE(std::string(to_string(policy)));
        const Outcome outcome = carry_out(picture, kSmallUnit, policy, KernelBehaviour::kRefuses);
        const Mapping asked = mapping_of(picture.map ? *picture.map : *picture.unmap, kSmallUnit);
        const bool hole = picture.cutting_ops[0] == '\0';
        const std::string op = picture.map ? "map requested " + text(asked) : "unmap requested " + text(asked.va);
        CHECK_FALSE(outcome.error.has_value());
        CHECK(text(outcome.plan) == (hole ? "" : op));
        CHECK(texts(outcome.mappings) == texts(picture.after, kSmallUnit));
        CHECK(outcome.blocks.empty());
    }
}

void check_split(const Picture& picture) {
    const Outcome outcome = carry_out(picture, kCuttingUnit, UnmapPolicy::kSplit, KernelBehaviour::kRefuses);
    CHECK_FALSE(outcome.error.has_value());
    CHECK(text(outcome.plan) == picture.cutting_ops);
    CHECK(texts(outcome.mappings) == texts(picture.after, kCuttingUnit));
    CHECK(outcome.blocks == picture.blocks);

    const Outcome oopses = carry_out(picture, kCuttingUnit, UnmapPolicy::kSplit, KernelBehaviour::kOopses);
    CHECK(texts(oopses.mappings) == texts(picture.after, kCuttingUnit));
    CHECK(oopses.blocks == picture.blocks);
}

void check_reject(const Picture& picture) {
    const Outcome outcome = carry_out(picture, kCuttingUnit, UnmapPolicy::kReject, KernelBehaviour::kRefuses);
    REQUIRE(outcome.error.has_value() == picture.cut.has_value());
    if (!picture.cut) {
        CHECK(text(outcome.plan) == picture.cutting_ops);
        return;
    }
    CHECK(outcome.error->code == PlanError::Code::kGranuleCut);
    CHECK(text(outcome.error->granule) == text(VaRange{Va{*picture.cut * kMi}, Va{(*picture.cut + 2) * kMi}}));
    CHECK(outcome.error->leaf == LeafSize::k2M);
    CHECK(outcome.error->mapping == mapping_of(picture.before.front(), kCuttingUnit));
    CHECK(texts(outcome.mappings) == texts(picture.before, kCuttingUnit));
}

void check_enlarge(const Picture& picture) {
    const Outcome outcome = carry_out(picture, kCuttingUnit, UnmapPolicy::kEnlarge, KernelBehaviour::kRefuses);
    CHECK_FALSE(outcome.error.has_value());
    CHECK(text(outcome.plan) == without_residuals(picture.cutting_ops));
    CHECK((outcome.plan.cost.enlarged_bytes != 0) == picture.cut.has_value());
}

void check(const Picture& picture) {
    SUBCASE("of 4 KiB leaves") {
        check_pages(picture);
    }
    SUBCASE("cutting 2 MiB leaves, split") {
        check_split(picture);
    }
    SUBCASE("cutting 2 MiB leaves, reject") {
        check_reject(picture);
    }
    SUBCASE("cutting 2 MiB leaves, enlarge") {
        check_enlarge(picture);
    }
}

constexpr Offset kM = Offset::kM;

TEST_CASE("case 01: a mapping is mapped again as it is") {
    check({{{0, 1, 'a'}}, {{0, 1, 'a'}}, {}, {{0, 1, 'a'}}, "map requested [0,2M+4K) bo1+0", {0}});
}

TEST_CASE("case 02: a mapping is replaced by one of another offset") {
    check({{{0, 1, 'a'}}, {{0, 1, 'a', kM}}, {}, {{0, 1, 'a', kM}}, "map requested [0,2M+4K) bo1+1G", {0}});
}

TEST_CASE("case 03: a mapping is replaced by one of another BO") {
    check({{{0, 1, 'a'}}, {{0, 1, 'b'}}, {}, {{0, 1, 'b'}}, "map requested [0,2M+4K) bo2+0", {0}});
}

TEST_CASE("case 04: a mapping that is the left part of the request is replaced") {
    check({{{0, 1, 'a'}}, {{0, 2, 'a'}}, {}, {{0, 2, 'a'}}, "map requested [0,4M+8K) bo1+0", {0, 2}});
}

TEST_CASE("case 05: a request for the left part of a mapping leaves the right part") {
    check({{{0, 2, 'a'}},
           {{0, 1, 'b'}},
           {},
           {{0, 1, 'b'}, {1, 2, 'a'}},
           "unmap granule [2M,4M); map requested [0,2M+4K) bo2+0; map residual [2M+4K,4M) bo1+2M+4K",
           {0},
           2});
}

TEST_CASE("case 06: a contiguous request for the left part of a mapping leaves the right part") {
    check({{{0, 2, 'a'}},
           {{0, 1, 'a'}},
           {},
           {{0, 1, 'a'}, {1, 2, 'a'}},
           "unmap granule [2M,4M); map requested [0,2M+4K) bo1+0; map residual [2M+4K,4M) bo1+2M+4K",
           {0},
           2});
}

TEST_CASE("case 07: a request for the right part of a mapping leaves the left part") {
    check({{{0, 2, 'a'}},
           {{1, 2, 'b', kM}},
           {},
           {{0, 1, 'a'}, {1, 2, 'b', kM}},
           "unmap granule [2M,4M); map residual [2M,2M+4K) bo1+2M; map requested [2M+4K,4M+8K) bo2+1G+2M+4K",
           {0},
           2});
}

TEST_CASE("case 08: a contiguous request for the right part of a mapping leaves the left part") {
    check({{{0, 2, 'a'}},
           {{1, 2, 'a'}},
           {},
           {{0, 1, 'a'}, {1, 2, 'a'}},
           "unmap granule [2M,4M); map residual [2M,2M+4K) bo1+2M; map requested [2M+4K,4M+8K) bo1+2M+4K",
           {0},
           2});
}

TEST_CASE("case 09: a request over the end of a mapping leaves its start") {
    check({{{0, 2, 'a'}},
           {{1, 3, 'b', kM}},
           {},
           {{0, 1, 'a'}, {1, 3, 'b', kM}},
           "unmap granule [2M,4M); map residual [2M,2M+4K) bo1+2M; map requested [2M+4K,6M+12K) bo2+1G+2M+4K",
           {0, 4},
           2});
}

TEST_CASE("case 10: a contiguous request over the end of a mapping leaves its start") {
    check({{{0, 2, 'a'}},
           {{1, 3, 'a'}},
           {},
           {{0, 1, 'a'}, {1, 3, 'a'}},
           "unmap granule [2M,4M); map residual [2M,2M+4K) bo1+2M; map requested [2M+4K,6M+12K) bo1+2M+4K",
           {0, 4},
           2});
}

TEST_CASE("case 11: a request inside a mapping leaves both sides") {
    check({{{0, 3, 'a'}},
           {{1, 2, 'b', kM}},
           {},
           {{0, 1, 'a'}, {1, 2, 'b', kM}, {2, 3, 'a'}},
           "unmap granule [2M,6M); map residual [2M,2M+4K) bo1+2M; "
           "map requested [2M+4K,4M+8K) bo2+1G+2M+4K; map residual [4M+8K,6M) bo1+4M+8K",
           {0},
           2});
}

TEST_CASE("case 12: a contiguous request inside a mapping leaves both sides") {
    check({{{0, 3, 'a'}},
           {{1, 2, 'a'}},
           {},
           {{0, 1, 'a'}, {1, 2, 'a'}, {2, 3, 'a'}},
           "unmap granule [2M,6M); map residual [2M,2M+4K) bo1+2M; "
           "map requested [2M+4K,4M+8K) bo1+2M+4K; map residual [4M+8K,6M) bo1+4M+8K",
           {0},
           2});
}

TEST_CASE("case 13: a mapping that is the right part of the request is replaced") {
    check({{{1, 2, 'a'}}, {{0, 2, 'a'}}, {}, {{0, 2, 'a'}}, "map requested [0,4M+8K) bo1+0", {0, 2}});
}

TEST_CASE("case 14: a mapping inside the request is replaced") {
    check({{{1, 2, 'a'}}, {{0, 3, 'a'}}, {}, {{0, 3, 'a'}}, "map requested [0,6M+12K) bo1+0", {0, 2, 4}});
}

TEST_CASE("case 15: a request over the start of a mapping leaves its end") {
    check({{{1, 3, 'a'}},
           {{0, 2, 'b', kM}},
           {},
           {{0, 2, 'b', kM}, {2, 3, 'a'}},
           "unmap granule [4M,6M); map requested [0,4M+8K) bo2+1G; map residual [4M+8K,6M) bo1+4M+8K",
           {0, 2},
           4});
}

TEST_CASE("case U1: an unmap of exactly a mapping removes it") {
    check({{{0, 2, 'a'}}, {}, {{0, 2, '-'}}, {}, "unmap requested [0,4M+8K)", {}});
}

TEST_CASE("case U2: an unmap of the left part of a mapping leaves the right part") {
    check({{{0, 2, 'a'}},
           {},
           {{0, 1, '-'}},
           {{1, 2, 'a'}},
           "unmap granule [0,4M); map residual [2M+4K,4M) bo1+2M+4K",
           {},
           2});
}

TEST_CASE("case U3: an unmap of the right part of a mapping leaves the left part") {
    check({{{0, 2, 'a'}},
           {},
           {{1, 2, '-'}},
           {{0, 1, 'a'}},
           "unmap granule [2M,4M+8K); map residual [2M,2M+4K) bo1+2M",
           {0},
           2});
}

TEST_CASE("case U4: an unmap of the inside of a mapping leaves both sides") {
    check({{{0, 3, 'a'}},
           {},
           {{1, 2, '-'}},
           {{0, 1, 'a'}, {2, 3, 'a'}},
           "unmap granule [2M,6M); map residual [2M,2M+4K) bo1+2M; map residual [4M+8K,6M) bo1+4M+8K",
           {0},
           2});
}

TEST_CASE("case U5: an unmap over several mappings leaves the start of the first and the end of the last") {
    check({{{0, 2, 'a'}, {2, 4, 'b', kM}},
           {},
           {{1, 3, '-'}},
           {{0, 1, 'a'}, {3, 4, 'b', kM}},
           "unmap granule [2M,8M); map residual [2M,2M+4K) bo1+2M; map residual [6M+12K,8M) bo2+1G+6M+12K",
           {0},
           2});
}

TEST_CASE("case U6: an unmap of a hole is nothing to do") {
    check({{{0, 1, 'a'}, {2, 3, 'b', kM}}, {}, {{1, 2, '-'}}, {{0, 1, 'a'}, {2, 3, 'b', kM}}, "", {0}});
}

}  // namespace
}  // namespace granule::test
