// How failures of the library look to a caller, and in words.
#include "src/c_api/error.hpp"

#include <doctest/doctest.h>
#include <granule/base.h>

#include <cstring>
#include <string>

#include "tests/c_api/caller.hpp"

namespace granule::c_api {
namespace {

std::string text_of(const granule_error& error) {
    return test::text_of([&](char* text, std::size_t size) { return granule_error_text(&error, text, size); });
}

BindError a_cut() {
    BindError failure;
    failure.status = Status::kGranuleCut;
    failure.plan.code = PlanError::Code::kGranuleCut;
    failure.plan.request = {Va{0x201000}, Va{0x202000}};
    failure.plan.granule = {Va{0x200000}, Va{0x400000}};
    failure.plan.leaf = LeafSize::k2M;
    failure.plan.mapping.va = {Va{0x200000}, Va{0x800000}};
    failure.plan.mapping.shows.bo = BoId{7};
    failure.plan.mapping.shows.offset = BoOffset{0x600000};
    failure.label = ShortLabel{"texture atlas"};
    return failure;
}

TEST_CASE("a cut says which granule of whose BO") {
    auto error = GRANULE_SIZED(granule_error);
    CHECK(ErrorOut(&error).from(a_cut(), 3, true) == GRANULE_STATUS_GRANULE_CUT);
    CHECK(error.struct_size == sizeof(error));
    CHECK(error.status == GRANULE_STATUS_GRANULE_CUT);
    CHECK(error.op == 3);
    CHECK(error.request.start == 0x201000);
    CHECK(error.granule.end == 0x400000);
    CHECK(error.leaf_size == 0x200000);
    CHECK(error.mapping.end == 0x800000);
    CHECK(error.bo_id == 7);
    CHECK(error.bo_offset == 0x600000);
    CHECK(std::strcmp(error.label, "texture atlas") == 0);
    CHECK(error.vm_lost == 0);
    CHECK(text_of(error) ==
          "operation 3: granule [0x200000, 0x400000) of 2 MiB, BO 7 'texture atlas', would be cut by the bind of "
          "[0x201000, 0x202000): use GRANULE_CUT_SPLIT, or map it with GRANULE_LEAVES_PAGES");
}

TEST_CASE("what an undo left is said") {
    BindError failure;
    failure.status = Status::kBackendFailed;
    failure.error = 12;
    failure.undone = false;
    auto error = GRANULE_SIZED(granule_error);
    CHECK(ErrorOut(&error).from(failure, GRANULE_NO_OP, false) == GRANULE_STATUS_BACKEND_FAILED);
    CHECK(error.vm_lost == 1);
    CHECK(error.partly_done == 0);
    CHECK(error.os_error == 12);
    CHECK(
        text_of(error) ==
        "the kernel refused an operation: ENOMEM (Cannot allocate memory); the VM is lost: granule_vm_rebuild() brings "
        "it back");
    CHECK(ErrorOut(&error).from(failure, GRANULE_NO_OP, true) == GRANULE_STATUS_BACKEND_FAILED);
    CHECK(error.vm_lost == 0);
    CHECK(error.partly_done == 1);
}

TEST_CASE("a VA failure says what is in the way, or how much there is") {
    auto error = GRANULE_SIZED(granule_error);
    VaError failure;
    failure.code = VaError::Code::kOccupied;
    failure.occupant = {Va{0x1000}, Va{0x9000}};
    CHECK(ErrorOut(&error).from(failure, {0x2000, 0x3000}) == GRANULE_STATUS_VA_OCCUPIED);
    CHECK(text_of(error) == "the VA range is taken: [0x2000, 0x3000) overlaps [0x1000, 0x9000)");
    failure = {};
    failure.code = VaError::Code::kOutOfVa;
    failure.largest_hole = 0x200000;
    failure.behind_fences = 0x1000;
    CHECK(ErrorOut(&error).from(failure, {}) == GRANULE_STATUS_OUT_OF_VA);
    CHECK(text_of(error) == "out of VA space: the largest hole has 2 MiB, and 4 KiB wait for fences");
    failure = {};
    failure.why = "size is not a multiple of 4096";
    CHECK(ErrorOut(&error).from(failure, {}) == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(text_of(error) == "bad argument: size is not a multiple of 4096");
    failure = {};
    failure.code = VaError::Code::kOutOfMemory;
    CHECK(ErrorOut(&error).from(failure, {}) == GRANULE_STATUS_OUT_OF_HOST_MEMORY);
    CHECK(text_of(error) == "out of host memory");
}

TEST_CASE("a failure that is no plan's says no rule of plans") {
    BindError failure;
    failure.status = Status::kBadArgument;
    CHECK(to_error(failure, GRANULE_NO_OP, true).why == nullptr);
    failure.status = Status::kOutOfRange;
    failure.plan.code = PlanError::Code::kOutsideBo;
    CHECK(std::string(to_error(failure, 0, true).why) == "the range is outside the BO");
}

TEST_CASE("a failed call of the system is named") {
    auto error = GRANULE_SIZED(granule_error);
    CHECK(ErrorOut(&error).from(OsError{Status::kOsFailed, "open", 2}) == GRANULE_STATUS_OS_FAILED);
    CHECK(std::string(error.call) == "open");
    CHECK(error.op == GRANULE_NO_OP);
    CHECK(text_of(error) == "the operating system failed a call: open: ENOENT (No such file or directory)");
}

TEST_CASE("nobody has to want to know") {
    const ErrorOut out(nullptr);
    CHECK(out.unusable() == nullptr);
    CHECK(out.bad("a rule") == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(out.from(a_cut(), 0, true) == GRANULE_STATUS_GRANULE_CUT);
    // A struct without its size is refused, and left as it is.
    granule_error error{};
    CHECK(ErrorOut(&error).unusable() != nullptr);
    CHECK(ErrorOut(&error).bad("a rule") == GRANULE_STATUS_BAD_ARGUMENT);
    CHECK(error.status == 0);
    CHECK(granule_error_text(&error, nullptr, 0) == 0);
    CHECK(granule_error_text(nullptr, nullptr, 0) == 0);
}

TEST_CASE("every status has a text, and no other number has") {
    // As far as C++ may form the enum's values; C goes further.
    for (int number = 0; number < 32; ++number) {
        CAPTURE(number);
        const std::string text = granule_status_text(static_cast<granule_status>(number));
        CHECK(text.size() > 1);
        CHECK((text == "unknown status") == (number > GRANULE_STATUS_OVER_BUDGET));
    }
}

}  // namespace
}  // namespace granule::c_api
