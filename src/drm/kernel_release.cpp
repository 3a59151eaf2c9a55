#include "src/drm/kernel_release.hpp"

#include <array>
#include <charconv>
#include <system_error>

namespace granule {
namespace {

struct Span {
    KernelRelease from;
    KernelRelease to;  // exclusive
    KernelBehaviour behaviour;
};

constexpr std::array kPanthorReleases{
    Span{{6, 10}, {6, 12, 56}, KernelBehaviour::kOopses}, Span{{6, 12, 56}, {6, 13}, KernelBehaviour::kSplits},
    Span{{6, 13}, {6, 17, 6}, KernelBehaviour::kOopses},  Span{{6, 17, 6}, {6, 20}, KernelBehaviour::kRefuses},
    Span{{7, 2}, {7, 4}, KernelBehaviour::kRealigns},
};

// Takes a number off the front of `text`.
std::optional<unsigned> take_number(std::string_view& text) noexcept {
    unsigned number = 0;
    const std::from_chars_result read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc{}) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    return number;
}

std::optional<unsigned> take_dotted_number(std::string_view& text) noexcept {
    if (!text.starts_with('.')) {
        return std::nullopt;
    }
    text.remove_prefix(1);
    return take_number(text);
}

}  // namespace

const char* to_string(DrmDriver driver) noexcept {
    return driver == DrmDriver::kPanthor ? "panthor" : "panfrost";
}

std::optional<KernelRelease> parse_release(std::string_view text) noexcept {
    const std::optional<unsigned> major = take_number(text);
    const std::optional<unsigned> minor = major ? take_dotted_number(text) : std::nullopt;
    if (!minor) {
        return std::nullopt;
    }
    const unsigned patch = take_dotted_number(text).value_or(0);
    // "7.0-rc3", and Debian's "7.0~rc3".
    const bool candidate = text.starts_with("-rc") || text.starts_with("~rc");
    return KernelRelease{*major, *minor, patch, candidate};
}

ExpectedBehaviour expected_behaviour(DrmDriver driver, std::optional<KernelRelease> release) noexcept {
    if (driver == DrmDriver::kPanfrost) {
        return {KernelBehaviour::kRefuses, true};
    }
    if (release && !release->candidate) {
        for (const Span& span : kPanthorReleases) {
            if (span.from <= *release && *release < span.to) {
                return {span.behaviour, true};
            }
        }
    }
    return {};
}

}  // namespace granule
