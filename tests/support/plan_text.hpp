// Plans as text, for expectations that read like the pictures and for messages: "unmap granule [2M,4M)".
#pragma once

#include <cstdint>
#include <string>

#include "allocator/plan.hpp"

namespace granule::test {

// 0x203000 is "2M+12K".
inline std::string text(std::uint64_t bytes) {
    struct Unit {
        unsigned log2;
        const char* name;
    };
    std::string out;
    for (const Unit unit : {Unit{40, "T"}, Unit{30, "G"}, Unit{20, "M"}, Unit{10, "K"}, Unit{0, "B"}}) {
        const std::uint64_t count = bytes >> unit.log2;
        if (count != 0) {
            out += (out.empty() ? "" : "+") + std::to_string(count) + unit.name;
            bytes -= count << unit.log2;
        }
    }
    return out.empty() ? "0" : out;
}

inline std::string text(const VaRange& range) {
    return "[" + text(range.start.raw()) + "," + text(range.end.raw()) + ")";
}

inline std::string text(const Backing& shows) {
    if (shows.sparse()) {
        return "sparse";
    }
    return "bo" + std::to_string(static_cast<unsigned>(shows.bo)) + "+" + text(shows.offset.raw()) +
           (shows.flags.readonly ? " ro" : "");
}

inline std::string text(const Mapping& mapping) {
    return text(mapping.va) + " " + text(mapping.shows);
}

inline std::string text(const PlanOp& op) {
    std::string out = std::string(to_string(op.kind)) + " " + to_string(op.purpose) + " " + text(op.va);
    if (op.kind == PlanOp::Kind::kMap) {
        out += " " + text(op.shows);
    }
    return out;
}

inline std::string text(const Plan& plan) {
    std::string out;
    for (const PlanOp& op : plan.ops()) {
        out += (out.empty() ? "" : "; ") + text(op);
    }
    return out;
}

}  // namespace granule::test
