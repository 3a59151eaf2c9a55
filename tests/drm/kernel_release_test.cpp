#include "src/drm/kernel_release.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

namespace granule::test {
namespace {

TEST_CASE("a release is read as kernels write it") {
    CHECK(parse_release("6.12.107+deb13-arm64") == KernelRelease{6, 12, 107});
    CHECK(parse_release("6.18") == KernelRelease{6, 18});
    CHECK(parse_release("6.18-custom") == KernelRelease{6, 18});
    CHECK(parse_release("7.3.4-1~bpo13+1") == KernelRelease{7, 3, 4});
    CHECK(parse_release("7.0-rc3") == KernelRelease{7, 0, 0, true});
    CHECK(parse_release("7.0.0-rc3-next-20260101") == KernelRelease{7, 0, 0, true});
    CHECK(parse_release("6.18~rc3-arm64") == KernelRelease{6, 18, 0, true});
    CHECK(parse_release("6.1.x") == KernelRelease{6, 1, 0});
    CHECK(parse_release("6.12.") == KernelRelease{6, 12, 0});
}

TEST_CASE("what does not begin with two numbers is no release") {
    for (const std::string_view text :
         {"", "6", "6.", "linux-6.12", ".6.12", "6,12", "-6.12", "99999999999.1", " 6.12"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_release(text).has_value());
    }
}

TEST_CASE("a candidate comes before or after its release, but is never the same") {
    CHECK(KernelRelease{6, 18, 0, true} != KernelRelease{6, 18, 0});
    CHECK(KernelRelease{6, 17, 13} < KernelRelease{6, 18, 0, true});
    CHECK(KernelRelease{6, 18, 0, true} < KernelRelease{6, 18, 1});
}

TEST_CASE("every release that was measured has the behaviour that was measured") {
    struct Case {
        std::string_view release;
        KernelBehaviour behaviour;
    };
    for (const Case& known : std::vector<Case>{
             {"6.12.43+deb13-arm64", KernelBehaviour::kOopses},
             {"6.12.57+deb12-arm64", KernelBehaviour::kSplits},
             {"6.12.107+deb13-arm64", KernelBehaviour::kSplits},
             {"6.16.12+deb14-arm64", KernelBehaviour::kOopses},
             {"6.17.13+deb14-arm64", KernelBehaviour::kRefuses},
             {"6.18.15+deb14-arm64", KernelBehaviour::kRefuses},
             {"7.2.12+deb14-arm64", KernelBehaviour::kRealigns},
             {"7.2.13+deb14-arm64", KernelBehaviour::kRealigns},
             {"7.3.4+deb13-arm64", KernelBehaviour::kRealigns},
         }) {
        CAPTURE(known.release);
        const ExpectedBehaviour expected = expected_behaviour(DrmDriver::kPanthor, parse_release(known.release));
        CHECK(expected.behaviour == known.behaviour);
        CHECK(expected.certain);
    }
}

TEST_CASE("the behaviour changes with the releases that took the changes") {
    const auto behaviour = [](const KernelRelease& release) {
        return expected_behaviour(DrmDriver::kPanthor, release).behaviour;
    };
    CHECK(behaviour({6, 12, 55}) == KernelBehaviour::kOopses);
    CHECK(behaviour({6, 12, 56}) == KernelBehaviour::kSplits);
    CHECK(behaviour({6, 13}) == KernelBehaviour::kOopses);
    CHECK(behaviour({6, 17, 5}) == KernelBehaviour::kOopses);
    CHECK(behaviour({6, 17, 6}) == KernelBehaviour::kRefuses);
    CHECK(behaviour({6, 19, 200}) == KernelBehaviour::kRefuses);
}

TEST_CASE("what nobody measured gets what is safe everywhere, and says so") {
    const std::vector<std::optional<KernelRelease>> unknown{std::nullopt,
                                                            KernelRelease{},
                                                            KernelRelease{6, 1, 187},
                                                            KernelRelease{6, 9, 99},
                                                            KernelRelease{7, 0, 0},
                                                            KernelRelease{7, 1, 5},
                                                            KernelRelease{7, 4, 0},
                                                            KernelRelease{8, 0, 0},
                                                            KernelRelease{6, 18, 0, true},
                                                            KernelRelease{7, 3, 0, true}};
    for (const std::optional<KernelRelease>& release : unknown) {
        const ExpectedBehaviour expected = expected_behaviour(DrmDriver::kPanthor, release);
        CHECK(expected.behaviour == KernelBehaviour::kOopses);
        CHECK_FALSE(expected.certain);
    }
}

TEST_CASE("panfrost cuts nothing, whatever the release") {
    for (const std::optional<KernelRelease>& release :
         std::vector<std::optional<KernelRelease>>{std::nullopt, KernelRelease{5, 10, 0}, KernelRelease{7, 4, 0}}) {
        const ExpectedBehaviour expected = expected_behaviour(DrmDriver::kPanfrost, release);
        CHECK(expected.behaviour == KernelBehaviour::kRefuses);
        CHECK(expected.certain);
    }
}

}  // namespace
}  // namespace granule::test
