// Small traces written by hand, played into a replay.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"

namespace granule::replay::test {

inline const std::string kMeta = R"json({"meta":{"format":"pan-mm-trace/1","gpu":"Mali-G610 (0xa867, panthor)",)json"
                                 R"json("mesa":"26.2.6","kernel_uapi":"panthor 1.9","name":"by-hand"}})json"
                                 "\n";
// Lines 2 and 3: file 1 of process 0 is open and has VM 1.
inline const std::string kOpen =
    R"({"t":1,"th":1,"f":1,"c":"drm.open","drv":"panthor","ver":"1.9"})"
    "\n"
    R"({"t":2,"th":1,"f":1,"c":"panthor.vm_create","flags":0,"user_va_range":140737488355328,"vm":1})"
    "\n";

inline std::string line(const std::string& call) {
    return R"({"t":3,"th":1,"f":1,"c":)" + call + "}\n";
}
inline std::string bo_create(int handle, std::uint64_t bytes) {
    const std::string size = std::to_string(bytes);
    return line(R"("panthor.bo_create","req":)" + size + R"(,"size":)" + size + R"(,"flags":0,"vm":1,"h":)" +
                std::to_string(handle));
}
inline std::string map_op(std::uint64_t va, std::uint64_t bytes, int handle, std::uint64_t offset = 0) {
    return R"({"op":"map","va":)" + std::to_string(va) + R"(,"size":)" + std::to_string(bytes) + R"(,"h":)" +
           std::to_string(handle) + R"(,"off":)" + std::to_string(offset) + R"(,"fl":"N"})";
}
inline std::string unmap_op(std::uint64_t va, std::uint64_t bytes) {
    return R"({"op":"unmap","va":)" + std::to_string(va) + R"(,"size":)" + std::to_string(bytes) + "}";
}
inline std::string vm_bind(const std::string& ops, int async = 0) {
    return line(R"("panthor.vm_bind","vm":1,"async":)" + std::to_string(async) + R"(,"ops":[)" + ops + "]");
}
inline std::string gem_close(int handle) {
    return line(R"("drm.gem_close","h":)" + std::to_string(handle));
}
inline std::string vm_destroy() {
    return line(R"("panthor.vm_destroy","vm":1)");
}
inline std::string close_fd() {
    return line(R"("drm.close_fd","left":0)");
}

// A replay that has played all of `text`, or stopped.
struct Played {
    Replay replay;
    std::string stop;  // empty where nothing stopped it
};

inline Played play(const std::string& text, const Options& options) {
    auto reader = trace::Reader::from_bytes("by-hand", std::as_bytes(std::span{text}));
    REQUIRE(reader.has_value());
    auto replay = Replay::create(options, reader->meta());
    REQUIRE(replay.has_value());
    Played played{std::move(*replay), ""};
    trace::Call call;
    for (;;) {
        const auto more = reader->next(call);
        if (!more.has_value()) {
            FAIL(more.error().message());
        }
        if (!*more) {
            return played;
        }
        if (const auto done = played.replay.play(call); !done.has_value()) {
            played.stop = std::to_string(done.error().line) + ": " + done.error().what;
            return played;
        }
    }
}

}  // namespace granule::replay::test
