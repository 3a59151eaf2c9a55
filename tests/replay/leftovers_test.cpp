// What a program leaves behind is named, in words that its author understands.
#include "src/replay/leftovers.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "src/replay/replay.hpp"
#include "tests/support/replay_script.hpp"

namespace granule::replay::test {
namespace {

constexpr std::uint64_t kRing = std::uint64_t{512} << 10;
constexpr std::uint64_t kAt = std::uint64_t{16} << 20;

Options verified() {
    Options options;
    options.verify = true;
    return options;
}

std::vector<Leftover> leftovers_of(const std::string& text) {
    Played played = play(text, verified());
    REQUIRE(played.stop == "");
    const ReplayResult result = played.replay.finish();
    CHECK(result.good());
    return result.leftovers;
}

std::vector<std::string> sentences(const std::vector<Leftover>& leftovers, Leftover::Kind kind) {
    std::vector<std::string> found;
    for (const Leftover& leftover : leftovers) {
        if (leftover.kind == kind) {
            found.push_back(leftover.sentence);
        }
    }
    return found;
}

// As panvk's descriptor ring: one BO mapped twice, back to back.
const std::string kMapRingTwice = bo_create(7, kRing) +                                                  // line 4
                                  vm_bind(map_op(kAt, kRing, 7) + "," + map_op(kAt + kRing, kRing, 7));  // line 5

}  // namespace

TEST_CASE("a program that gives everything back leaves nothing") {
    const std::string text =
        kMeta + kOpen + kMapRingTwice + vm_bind(unmap_op(kAt, 2 * kRing)) + gem_close(7) + vm_destroy() + close_fd();
    CHECK(leftovers_of(text).empty());
}

TEST_CASE("the half of a doubly mapped ring that stays mapped is named with the calls that made and left it") {
    const std::string text =
        kMeta + kOpen + kMapRingTwice + vm_bind(unmap_op(kAt, kRing)) + gem_close(7) + vm_destroy() + close_fd();
    const std::vector<Leftover> leftovers = leftovers_of(text);
    const std::vector<std::string> still = sentences(leftovers, Leftover::Kind::kStillMapped);
    REQUIRE(still.size() == 1);
    CHECK(still[0] ==
          "VA [0x1080000, 0x1100000) still shows BO 7 of file 1 (512 KiB, no label, made at line 4) "
          "from 0x0 on when its VM is destroyed. "
          "Line 5 mapped the BO twice, back to back, at [0x1000000, 0x1080000) and [0x1080000, 0x1100000); "
          "line 6 unmapped only [0x1000000, 0x1080000), and line 7 closed the handle. "
          "The other half stays mapped and keeps the BO's memory, while its addresses go back to the driver's heap: "
          "what is put there next lands on a live mapping. "
          "The unmap should cover [0x1000000, 0x1100000).");
    // Its addresses were given back: they are not named a second time as never given back.
    CHECK(leftovers.size() == 1);
}

TEST_CASE("a part that an unmap left is named as such, and is no half of a ring") {
    const std::string map = bo_create(7, 2 * kRing) + vm_bind(map_op(kAt, 2 * kRing, 7));  // lines 4, 5
    const std::string end = gem_close(7) + vm_destroy() + close_fd();
    const std::vector<Leftover> upper = leftovers_of(kMeta + kOpen + map + vm_bind(unmap_op(kAt, kRing)) + end);
    const std::vector<std::string> still = sentences(upper, Leftover::Kind::kStillMapped);
    REQUIRE(still.size() == 1);
    CHECK(still[0] ==
          "VA [0x1080000, 0x1100000) still shows BO 7 of file 1 (1 MiB, no label, made at line 4) from "
          "0x80000 on when its VM is destroyed. Line 5 mapped it, line 6 unmapped only a part of it, "
          "[0x1000000, 0x1080000), and line 7 closed the handle.");
    const std::vector<std::string> ranges = sentences(upper, Leftover::Kind::kVaRange);
    REQUIRE(ranges.size() == 1);
    CHECK(ranges[0] ==
          "VA [0x1000000, 0x1100000) is in use since line 5 and was never unmapped whole; still mapped of "
          "it: [0x1080000, 0x1100000); VM 1 ended at line 8.");

    const std::vector<Leftover> lower = leftovers_of(kMeta + kOpen + map + vm_bind(unmap_op(kAt + kRing, kRing)) + end);
    REQUIRE(sentences(lower, Leftover::Kind::kStillMapped).size() == 1);
    CHECK(sentences(lower, Leftover::Kind::kStillMapped)[0].find(
              "unmapped only a part of it, [0x1080000, 0x1100000)") != std::string::npos);
}

TEST_CASE("two mappings of different parts of a BO, one of which was unmapped, are no ring") {
    const std::string text = kMeta + kOpen + bo_create(7, 2 * kRing) +
                             vm_bind(map_op(kAt, kRing, 7, kRing) + "," + map_op(kAt + kRing, kRing, 7)) +  // line 5
                             vm_bind(unmap_op(kAt, kRing)) + gem_close(7) + vm_destroy() + close_fd();
    const std::vector<std::string> still = sentences(leftovers_of(text), Leftover::Kind::kStillMapped);
    REQUIRE(still.size() == 1);
    CHECK(still[0].find("Line 5 mapped it and line 7 closed the handle without an unmap between them.") !=
          std::string::npos);
}

TEST_CASE("a half of a ring that was mapped over, not unmapped, is no ring's leftover") {
    const std::string text = kMeta + kOpen + kMapRingTwice + bo_create(8, kRing) +  // line 6
                             vm_bind(map_op(kAt, kRing, 8)) + gem_close(7) + vm_bind(unmap_op(kAt, kRing)) +
                             gem_close(8) + vm_destroy() + close_fd();
    const std::vector<std::string> still = sentences(leftovers_of(text), Leftover::Kind::kStillMapped);
    REQUIRE(still.size() == 1);
    CHECK(still[0].find("Line 5 mapped it and line 8 closed the handle without an unmap between them.") !=
          std::string::npos);
}

TEST_CASE("a range that was unmapped in parts is named as in use, with nothing mapped in it") {
    const std::string text = kMeta + kOpen + bo_create(7, kRing) + vm_bind(map_op(kAt, kRing, 7)) +
                             vm_bind(unmap_op(kAt, 4096)) + vm_bind(unmap_op(kAt + 4096, kRing - 4096)) + gem_close(7) +
                             vm_destroy() + close_fd();
    const std::vector<Leftover> leftovers = leftovers_of(text);
    REQUIRE(leftovers.size() == 1);
    CHECK(leftovers[0].sentence ==
          "VA [0x1000000, 0x1080000) is in use since line 5 and was never unmapped whole, but in parts: nothing of it "
          "is mapped any more; VM 1 ended at line 9.");
}

TEST_CASE("a map that lands on what was given back too early is named") {
    const std::string text = kMeta + kOpen + kMapRingTwice + vm_bind(unmap_op(kAt, kRing)) + gem_close(7) +
                             bo_create(8, 4096) +                    // line 8
                             vm_bind(map_op(kAt + kRing, 4096, 8));  // line 9
    const std::vector<std::string> over = sentences(leftovers_of(text), Leftover::Kind::kMappedOver);
    REQUIRE(over.size() == 1);
    CHECK(over[0].find("Line 9 maps [0x1080000, 0x1081000) over VA [0x1080000, 0x1100000), which still showed BO 7") ==
          0);
}

TEST_CASE("BOs, VMs and mappings of a killed program are named with label, size and the line that made them") {
    const std::string text = kMeta + kOpen + bo_create(3, 8192) +
                             line(R"("panthor.bo_set_label","h":3,"label":"Tiler heap")") +
                             vm_bind(map_op(kAt, 8192, 3));
    Played played = play(text, verified());
    REQUIRE(played.stop == "");
    const ReplayResult result = played.replay.finish();
    CHECK(result.killed);
    const std::vector<std::string> bos = sentences(result.leftovers, Leftover::Kind::kBo);
    REQUIRE(bos.size() == 1);
    CHECK(bos[0] ==
          "BO 3 of file 1 (8 KiB, \"Tiler heap\", made at line 4) is still open when the trace ends "
          "(the program was killed, or still runs).");
    CHECK(sentences(result.leftovers, Leftover::Kind::kVm).size() == 1);
    CHECK(sentences(result.leftovers, Leftover::Kind::kMapping).size() == 1);
    CHECK(sentences(result.leftovers, Leftover::Kind::kVaRange).size() == 1);
}

TEST_CASE("a call that makes no sense after those before it stops the replay with its line") {
    CHECK(play(kMeta + kOpen + vm_bind(map_op(kAt, 4096, 9)), verified()).stop == "4: file 1 has no BO with handle 9");
    CHECK(play(kMeta + kOpen + gem_close(1), verified()).stop == "4: file 1 has no BO with handle 1");
    CHECK(play(kMeta + kOpen + kOpen, verified()).stop == "4: file 1 of process 0 is open already");
    CHECK(play(kMeta + vm_destroy(), verified()).stop == "2: file 1 of process 0 is not open");
    CHECK(play(kMeta + kOpen + vm_destroy() + vm_destroy(), verified()).stop == "5: file 1 has no VM 1");
}

TEST_CASE("a call of one driver on a file of the other stops the replay") {
    const std::string create = line(R"("panfrost.create_bo","req":4096,"size":4096,"flags":1,"h":1,"va":33554432)");
    const std::string open = line(R"("drm.open","drv":"panfrost","ver":"1.2")");
    const std::string stop = "3: a call of panthor on file 1, which was opened with another driver";
    CHECK(play(kMeta + open + create + gem_close(1) + close_fd(), verified()).stop == "");
    CHECK(play(kMeta + open + vm_destroy() + create, verified()).stop == stop);
    CHECK(play(kMeta + open + line(R"("panthor.vm_destroy","vm":0)") + create, verified()).stop == stop);
    CHECK(play(kMeta + open + line(R"("panthor.vm_create","flags":0,"user_va_range":4096,"vm":1)"), verified()).stop ==
          stop);
    CHECK(play(kMeta + open + vm_bind(unmap_op(kAt, 4096)), verified()).stop == stop);
    CHECK(play(kMeta + open + bo_create(1, 4096), verified()).stop == stop);
    CHECK(play(kMeta + kOpen + create, verified()).stop ==
          "4: a call of panfrost on file 1, which was opened with another driver");
}

TEST_CASE("a BO larger than the memory of the device stops the replay as bad input") {
    CHECK(play(kMeta + kOpen + bo_create(1, std::uint64_t{128} << 30), verified()).stop == "4: a BO of 128 GiB");
}

TEST_CASE("with policy reject a map that cuts a block stops the replay and names the granule and its BO") {
    const std::uint64_t block = std::uint64_t{2} << 20;
    Options options = verified();
    options.policy = UnmapPolicy::kReject;
    const std::string text = kMeta + kOpen + bo_create(3, 2 * block) +
                             line(R"("panthor.bo_set_label","h":3,"label":"atlas")") +
                             vm_bind(map_op(block, 2 * block, 3)) + vm_bind(unmap_op(block + 4096, 4096));
    const std::string stop = play(text, options).stop;
    CHECK(stop.find("7: [0x201000, 0x202000) would cut the 2 MiB leaf [0x200000, 0x400000) of BO") == 0);
    CHECK(stop.find("\"atlas\"") != std::string::npos);
}

}  // namespace granule::replay::test
