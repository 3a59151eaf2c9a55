// What the sections measure: one struct per contestant, all called in the same way, each with a name and a role.
//
// A wrong answer of a subject ends the run: a fast wrong answer is no result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <type_traits>

namespace granule::bench {

enum class Role : std::uint8_t {
    kNull,   // does nothing: what the loop itself costs, subtracted before ratios are made
    kPeer,   // what one would take otherwise
    kOurs,   // granule, as a driver calls it
    kLimit,  // what the machine allows
};

[[nodiscard]] constexpr const char* to_string(Role role) noexcept {
    switch (role) {
        case Role::kNull:
            return "null";
        case Role::kPeer:
            return "peer";
        case Role::kOurs:
            return "granule";
        case Role::kLimit:
            return "limit";
    }
    return "";
}

[[noreturn]] inline void wrong(const char* who, const char* what) {
    static_cast<void>(std::fprintf(stderr, "WRONG: %s: %s\n", who, what));
    std::exit(3);
}

// A candidate of peers/ as a subject of ours.
template <class Candidate>
struct Ours : Candidate {
    static constexpr const char* name = "granule";
    static constexpr Role kRole = Role::kOurs;
    using Candidate::Candidate;
};

// Memory that a subject has outside operator new, where it says so.
template <class Subject>
[[nodiscard]] std::size_t mapped_bytes(const Subject& subject) {
    if constexpr (requires { subject.mapped_bytes(); }) {
        return static_cast<std::size_t>(subject.mapped_bytes());
    } else {
        return 0;
    }
}

// Calls `step` with each of a tuple of pointers' targets, in order.
template <class Tuple, class Step>
void for_each_subject(Tuple& subjects, Step&& step) {
    std::apply([&](auto&... subject) { (step(*subject), ...); }, subjects);
}

}  // namespace granule::bench
