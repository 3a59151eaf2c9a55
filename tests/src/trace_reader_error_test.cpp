// Lines that are no calls: each says what is wrong, where, and what would be right.
#include <doctest/doctest.h>

#include <fstream>
#include <ios>
#include <iterator>
#include <string>
#include <string_view>

#include "src/trace/reader.hpp"
#include "tests/src/trace_text.hpp"

using namespace granule;
using namespace granule::trace;
using trace_text::bytes_of;

namespace {

// What reading all of `text` ends with: "" is the end.
std::string error_of(std::string_view text, const std::string& name = "x") {
    auto reader = Reader::from_bytes(name, bytes_of(text));
    if (!reader) {
        return reader.error().message();
    }
    Call call;
    while (true) {
        const auto more = reader->next(call);
        if (!more) {
            return more.error().message();
        }
        if (!*more) {
            return "";
        }
    }
}

// The error of a line after the meta line.
std::string error_in(std::string_view line) {
    return error_of(std::string(trace_text::kMeta) + std::string(line));
}

// The error of a call: of its fields behind the header.
std::string error_in(std::string_view call, std::string_view fields) {
    return error_in(R"({"t":1,"th":1,"f":1,"c":")" + std::string(call) + "\"" + (fields.empty() ? "" : ",") +
                    std::string(fields) + "}");
}

std::string error_in_op(std::string_view op) {
    return error_in("panthor.vm_bind",
                    R"("vm":1,"async":1,"ops":[{"op":"unmap","va":0,"size":4096},)" + std::string(op) + "]");
}

constexpr const char* kNotATrace =
    R"(x:1: not a memory trace: the first line is {"meta":{"format":"pan-mm-trace/1",...}})";

}  // namespace

TEST_CASE("a file whose first line is no meta line is not a trace") {
    CHECK(error_of("") == R"(x: not a memory trace: the first line is {"meta":{"format":"pan-mm-trace/1",...}})");
    CHECK(error_of("\n") == kNotATrace);
    CHECK(error_of("hello") == kNotATrace);
    CHECK(error_of("{}") == kNotATrace);
    CHECK(error_of("[]") == kNotATrace);
    CHECK(error_of(R"({"t":1,"th":1,"f":1,"c":"drm.gem_close","h":1})") == kNotATrace);
    CHECK(error_of("\xFF\xFE\x00") == kNotATrace);
}

TEST_CASE("a meta line that lacks something, or is of another format, says so") {
    CHECK(error_of(R"({"meta":1})") ==
          R"(x:1: field "meta" of the first line is 1: an object: {"format":"pan-mm-trace/1",...})");
    CHECK(error_of(R"({"meta":{"format":"pan-mm-trace/2"}})") ==
          R"(x:1: field "format" of meta is "pan-mm-trace/2": this reader knows "pan-mm-trace/1")");
    CHECK(error_of(R"({"meta":{"format":"pan-mm-trace/1","name":"a","gpu":"b"}})") ==
          R"(x:1: field "mesa" of meta is missing: a string)");
    CHECK(error_of(R"({"meta":{"format":"pan-mm-trace/1","name":7}})") ==
          R"(x:1: field "name" of meta is 7: a string)");
    CHECK(
        error_of(
            R"({"meta":{"format":"pan-mm-trace/1","name":"a","gpu":"b","mesa":"c","kernel_uapi":"d","processes":0}})") ==
        R"(x:1: field "processes" of meta is 0: an integer from 1 to 4294967295)");
}

TEST_CASE("a line that is no JSON object says what JSON lacks") {
    const std::string would_be_right = R"(: a call is {"t":...,"th":...,"f":...,"c":...})";
    for (const char* const line : {"", "{", "}", "[1]", "1", "{\"t\":1}x", "{\"t\":01}", "{\"t\":18446744073709551616}",
                                   "{\"t\":\"\xC3\"}", "{\"t\":\"\x01\"}", "nul", "{'t':1}", "\xEF\xBB\xBF{}"}) {
        const std::string error = error_in(std::string(line) + "\n");
        CAPTURE(line);
        CHECK(error.starts_with("x:2: line is not a JSON object ("));
        CHECK(error.ends_with(would_be_right));
    }
    // Deeper than any call by far.
    CHECK(error_in(std::string(100000, '[')).starts_with("x:2: line is not a JSON object ("));
}

TEST_CASE("an unknown call names the known ones") {
    const std::string error = error_in("panthor.vm_bindd", "");
    CHECK(error.starts_with(R"(x:2: field "c" of the line is "panthor.vm_bindd": known are cpu.mmap, cpu.munmap, )"));
    CHECK(error.ends_with(", panthor.vm_destroy, panthor.vm_get_state"));
    CHECK(error_in("", "").starts_with(R"(x:2: field "c" of the line is "": known are )"));
    CHECK(error_in("panthor", "").starts_with(R"(x:2: field "c" of the line is "panthor": known are )"));
    CHECK(error_in(R"({"meta":{}})") == R"(x:2: field "c" of the line is missing: a call such as "panthor.vm_bind")");
    CHECK(error_in(R"({"c":7})") == R"(x:2: field "c" of the line is 7: a call such as "panthor.vm_bind")");
}

TEST_CASE("a wrong header of a call is named") {
    const auto header = [](const char* fields) {
        return error_in(R"({"c":"drm.gem_close","h":1,)" + std::string(fields) + "}");
    };
    CHECK(header(R"("t":1,"th":1,"f":1)").empty());
    CHECK(header(R"("th":1,"f":1)") ==
          R"(x:2: field "t" of drm.gem_close is missing: an integer from 0 to 18446744073709551615)");
    CHECK(header(R"("t":-1,"th":1,"f":1)") ==
          R"(x:2: field "t" of drm.gem_close is -1: an integer from 0 to 18446744073709551615)");
    CHECK(header(R"("t":1.5,"th":1,"f":1)") ==
          R"(x:2: field "t" of drm.gem_close is 1.5: an integer from 0 to 18446744073709551615)");
    CHECK(header(R"("t":1,"th":4294967296,"f":1)") ==
          R"(x:2: field "th" of drm.gem_close is 4294967296: an integer from 0 to 4294967295)");
    CHECK(header(R"("t":1,"th":1,"f":true)") ==
          R"(x:2: field "f" of drm.gem_close is true: an integer from 0 to 4294967295)");
    CHECK(header(R"("t":1,"th":1,"f":1,"r":1)") ==
          R"(x:2: field "r" of drm.gem_close is 1: results are 0 or -errno: from -4095 to 0)");
    CHECK(header(R"("t":1,"th":1,"f":1,"r":-4096)") ==
          R"(x:2: field "r" of drm.gem_close is -4096: results are 0 or -errno: from -4095 to 0)");
    CHECK(header(R"("t":1,"th":1,"f":1,"p":1)").empty());
    CHECK(header(R"("t":1,"th":1,"f":1,"p":2)") ==
          R"(x:2: field "p" of drm.gem_close is 2: processes are numbered from 0 to one less than "processes" of the )"
          "meta line");
}

TEST_CASE("a field that is there twice is an error, known or not") {
    CHECK(error_in(R"({"t":1,"t":1})") == R"(x:2: field "t" of the line is there twice: each field once)");
    CHECK(error_in("drm.gem_close", R"("h":1,"z":1,"z":2)") ==
          R"(x:2: field "z" of the line is there twice: each field once)");
    CHECK(error_in_op(R"({"op":"unmap","va":0,"va":4096,"size":4096})") ==
          R"(x:2: field "va" of op 1 of panthor.vm_bind is there twice: each field once)");
}

TEST_CASE("more fields than any call has are an error") {
    std::string fields = R"("h":1)";
    for (int i = 0; i < 40; ++i) {
        fields += ",\"z" + std::to_string(i) + "\":0";
    }
    CHECK(error_in("drm.gem_close", fields) == "x:2: the line has more than 32 fields: a call has fewer");
}

TEST_CASE("a wrong value is shown cut short, and not within a character") {
    const std::string error = error_in("drm.gem_close", "\"h\":\"" + std::string(58, 'a') + "\xC3\xA4\"");
    CHECK(error == "x:2: field \"h\" of drm.gem_close is \"" + std::string(58, 'a') +
                       "...: handles are integers from 0 to 4294967295");
    CHECK(error_in(R"({"\n":1,"\n":1})") == R"(x:2: field "?" of the line is there twice: each field once)");
}

TEST_CASE("handles have 32 bits, and the ones that a call made are not 0") {
    CHECK(error_in("drm.gem_close", "") ==
          R"(x:2: field "h" of drm.gem_close is missing: handles are integers from 0 to 4294967295)");
    CHECK(error_in("drm.gem_close", R"("h":4294967296)") ==
          R"(x:2: field "h" of drm.gem_close is 4294967296: handles are integers from 0 to 4294967295)");
    CHECK(error_in("drm.syncobj_create", R"("flags":0,"s":0)") ==
          R"(x:2: field "s" of drm.syncobj_create is 0: new handles are integers from 1 to 4294967295)");
    CHECK(error_in("drm.syncobj_create", R"("flags":0)") ==
          R"(x:2: field "s" of drm.syncobj_create is missing: new handles are integers from 1 to 4294967295)");
    CHECK(error_in("drm.syncobj_create", R"("flags":0,"r":-12)").empty());
}

TEST_CASE("wrong calls of every DRM driver") {
    CHECK(error_in("drm.open", R"("drv":"msm","ver":"1.9")") ==
          R"(x:2: field "drv" of drm.open is "msm": "panthor" or "panfrost")");
    for (const char* const version : {"", "1", "1.", ".9", "1.9.2", "a.b", "-1.9", "4294967296.0"}) {
        CHECK(error_in("drm.open", R"("drv":"panthor","ver":")" + std::string(version) + "\"") ==
              "x:2: field \"ver\" of drm.open is \"" + std::string(version) + "\": a version such as \"1.9\"");
    }
    CHECK(error_in("drm.prime_export", R"("h":1,"fd":-1)") ==
          R"(x:2: field "fd" of drm.prime_export is -1: file descriptors are integers from 0 to 2147483647)");
    CHECK(error_in("drm.prime_import", R"("fd":3,"size":100,"h":1)") ==
          R"(x:2: field "size" of drm.prime_import is 100: sizes of BOs are multiples of 4096 from 4096 to 2^48)");
    CHECK(error_in("drm.prime_import", R"("fd":3,"size":4096,"own":2,"h":1)") ==
          R"(x:2: field "own" of drm.prime_import is 2: 0 or 1)");
    CHECK(error_in("drm.syncobj_create", R"("flags":2,"s":1)") ==
          R"(x:2: field "flags" of drm.syncobj_create is 2: flags are 0 or 1: CREATE_SIGNALED)");
    CHECK(
        error_in("drm.syncobj_wait", R"("fl":16,"w":[],"poll":0)") ==
        R"(x:2: field "fl" of drm.syncobj_wait is 16: flags are 0 to 15: 1 ALL, 2 FOR_SUBMIT, 4 AVAILABLE, 8 DEADLINE)");
    for (const char* const point : {"1", "[1]", "[1,2,3]", "[4294967296,1]", "[1,-1]", "[\"1\",1]", "{}"}) {
        CHECK(error_in("drm.syncobj_wait", R"("fl":0,"poll":0,"w":[[1,1],)" + std::string(point) + "]") ==
              "x:2: entry 1 of field \"w\" of drm.syncobj_wait is " + std::string(point) +
                  ": a point is [syncobj, point]");
        CHECK(error_in("drm.syncobj_transfer", R"("dst":[1,1],"src":)" + std::string(point)) ==
              "x:2: field \"src\" of drm.syncobj_transfer is " + std::string(point) + ": a point is [syncobj, point]");
    }
    CHECK(error_in("drm.syncobj_wait", R"("fl":0,"poll":0,"w":1)") ==
          R"(x:2: field "w" of drm.syncobj_wait is 1: a point is [syncobj, point])");
}

TEST_CASE("a CPU mapping is of a BO or of the register page") {
    CHECK(error_in("cpu.mmap", R"("len":4096,"prot":3,"m":1)") ==
          R"(x:2: cpu.mmap of nothing: one of "h", a handle, and "mmio":1 says what is mapped)");
    CHECK(error_in("cpu.mmap", R"("len":4096,"prot":3,"m":1,"mmio":0)") ==
          R"(x:2: cpu.mmap of nothing: one of "h", a handle, and "mmio":1 says what is mapped)");
    CHECK(error_in("cpu.mmap", R"("len":4096,"prot":3,"m":1,"mmio":1,"h":1)") ==
          R"(x:2: cpu.mmap of two things: one of "h", a handle, and "mmio":1 says what is mapped)");
    CHECK(error_in("cpu.munmap", R"("len":"4096","m":1)") ==
          R"(x:2: field "len" of cpu.munmap is "4096": sizes are integers from 0 to 18446744073709551615)");
}

TEST_CASE("wrong panfrost calls") {
    CHECK(error_in("panfrost.create_bo", R"("req":1,"size":4096,"flags":8,"h":1,"va":4096)") ==
          R"(x:2: field "flags" of panfrost.create_bo is 8: flags are 0 to 7: 1 NOEXEC, 2 HEAP, 4 WB_MMAP)");
    CHECK(error_in("panfrost.create_bo", R"("req":1,"size":4096,"flags":0,"h":1,"va":4097)") ==
          R"(x:2: field "va" of panfrost.create_bo is 4097: addresses are multiples of 4096 from 0 to 2^48)");
    CHECK(
        error_in("panfrost.create_bo", R"("req":1,"size":8192,"flags":0,"h":1,"va":281474976706560)") ==
        R"(x:2: field "va" of panfrost.create_bo is 281474976706560 with a size of 8192: ranges end at 2^48 or before)");
    CHECK(error_in("panfrost.madvise", R"("h":1,"madv":2,"retained":1)") ==
          R"(x:2: field "madv" of panfrost.madvise is 2: 0 or 1)");
    CHECK(error_in("panfrost.submit", R"("bos":[1,-1],"in":[],"out":0)") ==
          R"(x:2: entry 1 of field "bos" of panfrost.submit is -1: handles are integers from 0 to 4294967295)");
    CHECK(error_in("panfrost.submit", R"("bos":{},"in":[],"out":0)") ==
          R"(x:2: field "bos" of panfrost.submit is {}: handles are integers from 0 to 4294967295)");
    CHECK(error_in("panfrost.wait_bo", R"("h":1,"timeout":"never")") ==
          R"(x:2: field "timeout" of panfrost.wait_bo is "never": nanoseconds: a signed 64-bit integer)");
    CHECK(error_in("panfrost.wait_bo", R"("h":1,"timeout":-9223372036854775808)").empty());
    for (const char* const op : {"[1,0,0]", "[1,2,0,4096]", "[1,0,18446744073709551615,1]", "7"}) {
        CHECK(error_in("panfrost.sync_bo", "\"ops\":[" + std::string(op) + "]") ==
              "x:2: entry 0 of field \"ops\" of panfrost.sync_bo is " + std::string(op) +
                  ": a cache operation is [h, 0 flush or 1 flush and invalidate, offset, size]");
    }
    CHECK(error_in("panfrost.set_label_bo", R"("h":1,"label":7)") ==
          R"(x:2: field "label" of panfrost.set_label_bo is 7: labels are strings)");
}

TEST_CASE("labels are of 4096 bytes at most, in any language") {
    std::string label;
    while (label.size() < 4096) {
        label += "\xE2\x82\xAC\x21";  // a euro sign and an exclamation mark
    }
    CHECK(error_in("panthor.bo_set_label", "\"h\":1,\"label\":\"" + label + "\"").empty());
    const std::string error = error_in("panthor.bo_set_label", "\"h\":1,\"label\":\"" + label + "x\"");
    CHECK(error.starts_with("x:2: field \"label\" of panthor.bo_set_label is \"\xE2\x82\xAC"));
    CHECK(error.ends_with("...: labels are at most 4096 bytes long"));
}

TEST_CASE("wrong panthor calls, but for binds") {
    CHECK(
        error_in("panthor.vm_create", R"("user_va_range":281474976710657,"vm":1)") ==
        R"(x:2: field "user_va_range" of panthor.vm_create is 281474976710657: sizes of VA spaces are integers from 0 )"
        "to 2^48");
    CHECK(error_in("panthor.bo_create", R"("req":1,"size":0,"flags":0,"vm":0,"h":1)") ==
          R"(x:2: field "size" of panthor.bo_create is 0: sizes of BOs are multiples of 4096 from 4096 to 2^48)");
    CHECK(error_in("panthor.bo_create", R"("req":1,"size":4096,"flags":4,"vm":0,"h":1)") ==
          R"(x:2: field "flags" of panthor.bo_create is 4: flags are 0 to 3: 1 NO_MMAP, 2 WB_MMAP)");
    CHECK(error_in("panthor.group_submit", R"("g":1,"q":[7])") ==
          R"(x:2: entry 0 of field "q" of panthor.group_submit is 7: queue submits are objects: {"i":...})");
    CHECK(
        error_in("panthor.group_submit", R"("g":1,"q":[{"i":0,"va":0,"size":0},{"i":0,"va":0}])") ==
        R"(x:2: field "size" of q 1 of panthor.group_submit is missing: sizes of streams are integers from 0 to 4294967295)");
    CHECK(error_in("panthor.tiler_heap_create", R"("vm":1,"init":1,"chunk":-1,"max":1,"h":1)") ==
          R"(x:2: field "chunk" of panthor.tiler_heap_create is -1: an integer from 0 to 4294967295)");
    CHECK(error_in("panthor.vm_get_state", R"("vm":1,"state":2)") ==
          R"(x:2: field "state" of panthor.vm_get_state is 2: 0 or 1)");
}

TEST_CASE("wrong operations of a bind are named by their number, from 0") {
    CHECK(error_in("panthor.vm_bind", R"("vm":1,"async":1,"ops":1)") ==
          R"(x:2: field "ops" of panthor.vm_bind is 1: operations are objects: {"op":...})");
    CHECK(error_in("panthor.vm_bind", R"("vm":1,"async":2,"ops":[])") ==
          R"(x:2: field "async" of panthor.vm_bind is 2: 0 or 1)");
    CHECK(error_in_op("3") ==
          R"(x:2: entry 1 of field "ops" of panthor.vm_bind is 3: operations are objects: {"op":...})");
    CHECK(error_in_op(R"({"op":"remap"})") ==
          R"(x:2: field "op" of op 1 of panthor.vm_bind is "remap": "map", "unmap" or "sync")");
    CHECK(error_in_op(R"({})") == R"(x:2: field "op" of op 1 of panthor.vm_bind is missing: "map", "unmap" or "sync")");
    CHECK(error_in_op(R"({"op":"unmap","va":0,"size":4097})") ==
          R"(x:2: field "size" of op 1 of panthor.vm_bind is 4097: sizes are multiples of 4096 from 0 to 2^48)");
    CHECK(error_in_op(R"({"op":"unmap","va":4097,"size":4096})") ==
          R"(x:2: field "va" of op 1 of panthor.vm_bind is 4097: addresses are multiples of 4096 from 0 to 2^48)");
    CHECK(
        error_in_op(R"({"op":"unmap","va":281474976714752,"size":4096})") ==
        R"(x:2: field "va" of op 1 of panthor.vm_bind is 281474976714752: addresses are multiples of 4096 from 0 to 2^48)");
    CHECK(
        error_in_op(R"({"op":"unmap","va":4096,"size":281474976710656})") ==
        R"(x:2: field "va" of op 1 of panthor.vm_bind is 4096 with a size of 281474976710656: ranges end at 2^48 or before)");
    CHECK(error_in_op(R"({"op":"unmap","va":0,"size":281474976710656})").empty());
    CHECK(
        error_in_op(R"({"op":"unmap","va":0,"size":281474976714752})") ==
        R"(x:2: field "size" of op 1 of panthor.vm_bind is 281474976714752: sizes are multiples of 4096 from 0 to 2^48)");
    CHECK(error_in_op(R"({"op":"sync"})").starts_with(R"(x:2: field "syncs" of op 1 of panthor.vm_bind is missing: )"));

    const auto map = [](const char* fields) {
        return error_in_op(R"({"op":"map","va":0,"size":4096,)" + std::string(fields) + "}");
    };
    CHECK(map(R"("h":1,"off":0,"fl":"")").empty());
    CHECK(map(R"("h":1,"off":0)") ==
          R"(x:2: field "fl" of op 1 of panthor.vm_bind is missing: letters of R readonly, N noexec, U uncached, )"
          "S sparse, each at most once");
    for (const char* const letters : {"X", "NN", "n", "N ", "RNUSR"}) {
        CHECK(map((R"("h":1,"off":0,"fl":")" + std::string(letters) + "\"").c_str())
                  .starts_with("x:2: field \"fl\" of op 1 of panthor.vm_bind is \"" + std::string(letters) +
                               "\": letters of R "));
    }
    CHECK(map(R"("h":0,"off":0,"fl":"N")") ==
          R"(x:2: field "h" of op 1 of panthor.vm_bind is 0: a map without S has a BO: a handle from 1)");
    CHECK(map(R"("h":1,"off":0,"fl":"NS")") ==
          R"(x:2: field "h" of op 1 of panthor.vm_bind is 1: a sparse map (S) has no BO: 0)");
    CHECK(map(R"("h":0,"off":4096,"fl":"NS")") ==
          R"(x:2: field "off" of op 1 of panthor.vm_bind is 4096: a sparse map (S) has no BO: 0)");
    CHECK(map(R"("h":1,"off":100,"fl":"N")") ==
          R"(x:2: field "off" of op 1 of panthor.vm_bind is 100: offsets into BOs are multiples of 4096)");
    CHECK(map(R"("h":1,"off":18446744073709547520,"fl":"N")") ==
          R"(x:2: field "off" of op 1 of panthor.vm_bind is 18446744073709547520: offset + size is below 2^64)");
}

TEST_CASE("a sync is a direction and kind, a syncobj and a point; binary ones have no point") {
    const std::string right = R"(: a sync is ["wt" or "st", syncobj, point], or ["wb" or "sb", syncobj, 0])";
    for (const char* const sync :
         {R"(["wx",1,0])", R"(["xt",1,0])", R"(["w",1,0])", R"(["wtt",1,0])", R"(["wt",1])", R"(["wt",1,0,0])", "[]",
          R"("wt")", R"([1,1,0])", R"(["wt",4294967296,0])", R"(["wt",-1,0])", R"(["wt",1,-1])", R"(["wb",1,1])"}) {
        CHECK(error_in_op(R"({"op":"sync","syncs":[["sb",1,0],)" + std::string(sync) + "]}") ==
              "x:2: entry 1 of field \"syncs\" of op 1 of panthor.vm_bind is " + std::string(sync) + right);
    }
    CHECK(error_in_op(R"({"op":"sync","syncs":[["wt",1,18446744073709551615],["st",1,0],["wb",1,0]]})").empty());
    CHECK(error_in("panthor.group_submit", R"("g":1,"q":[{"i":0,"va":0,"size":0,"syncs":["x"]}])") ==
          R"(x:2: entry 0 of field "syncs" of q 0 of panthor.group_submit is "x")" + right);
}

TEST_CASE("of a line with many problems the first is reported, and then nothing but it") {
    const std::string text = std::string(trace_text::kMeta) +
                             "{\"t\":1,\"th\":1,\"f\":1,\"c\":\"drm.gem_close\",\"h\":1}\n"
                             "{\"t\":-1,\"th\":-1,\"f\":1,\"c\":\"drm.gem_close\",\"h\":-1}\n"
                             "{\"t\":1,\"th\":1,\"f\":1,\"c\":\"drm.gem_close\",\"h\":1}\n";
    auto reader = Reader::from_bytes("dir/x.jsonl", bytes_of(text));
    REQUIRE(reader);
    Call call;
    CHECK(reader->next(call).value_or(false));
    const TraceError expected{"dir/x.jsonl", 3, "field \"t\" of drm.gem_close is -1",
                              "an integer from 0 to 18446744073709551615"};
    for (int i = 0; i < 3; ++i) {
        const auto more = reader->next(call);
        REQUIRE(!more);
        CHECK(more.error() == expected);
    }
}

TEST_CASE("a problem between fields does not hide the one before it") {
    CHECK(error_in(R"({"t":-1,"th":1,"f":1,"c":"cpu.mmap","len":4096,"prot":3,"m":1})") ==
          R"(x:2: field "t" of cpu.mmap is -1: an integer from 0 to 18446744073709551615)");
}

TEST_CASE("a file that cannot be read is an error of the whole file") {
    const auto missing = Reader::open("/nowhere/x.jsonl");
    REQUIRE(!missing);
    CHECK(missing.error().line == 0);
    CHECK(missing.error().message() ==
          "/nowhere/x.jsonl: cannot open: No such file or directory: a readable trace is needed, .jsonl or .jsonl.xz");
    CHECK(error_of("hello", "x.jsonl.xz") == "x.jsonl.xz: no xz data at byte 0: xz data begins with FD 37 7A 58 5A 00");
    const std::string data = trace_text::xz(trace_text::kMeta);
    CHECK(error_of(std::string_view(data).substr(0, 100), "x.xz") ==
          "x.xz:1: xz data is cut off at byte 100: a whole file is needed");
}

TEST_CASE("a real xz file that is cut off or has one bit flipped is an error") {
    std::ifstream file(std::string(GRANULE_TRACES_DIR) + "/sparse-vtex-g610-v26-k12.jsonl.xz", std::ios::binary);
    const std::string data{std::istreambuf_iterator<char>(file), {}};
    REQUIRE(data.size() == 280032);
    for (std::size_t at = 0; at < data.size(); at += 20011) {
        std::string damaged = data;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
        const std::string error = error_of(damaged, "x.xz");
        if (!error.starts_with("x.xz:")) {
            FAIL("byte ", at, " damaged: ", error);
        }
        const std::string cut = error_of(std::string_view(data).substr(0, at), "x.xz");
        if (!cut.ends_with(at < 6 ? "FD 37 7A 58 5A 00"
                                  : " at byte " + std::to_string(at) + ": a whole file is needed")) {
            FAIL("cut at byte ", at, ": ", cut);
        }
    }
}

TEST_CASE("a real line without one of its bytes, or with one changed, is read or refused, and refusals are complete") {
    auto lines = LineSource::open(std::string(GRANULE_TRACES_DIR) + "/sample.jsonl");
    REQUIRE(lines);
    LineParser parser;
    Call call;
    std::uint64_t read = 0;
    std::uint64_t refused = 0;
    const auto check = [&](std::string line) {
        const std::size_t size = line.size();
        line.append(LineParser::kPadding, '\0');
        const auto result = parser.call(std::string_view(line).substr(0, size), 30, call);
        if (result) {
            ++read;
        } else if (!result.error().what.empty() && !result.error().would_be_right.empty()) {
            ++refused;
        } else {
            FAIL("refused without a reason: ", line);
        }
    };
    REQUIRE(lines->next());
    while (true) {
        const auto next = lines->next();
        REQUIRE(next);
        if (!next->has_value()) {
            break;
        }
        const std::string line(**next);
        for (std::size_t i = 0; i < line.size(); ++i) {
            check(line.substr(0, i) + line.substr(i + 1));
            for (const char changed : {'9', '-', '"', ']', '}', ' ', '\xFF'}) {
                std::string other = line;
                other[i] = changed;
                check(other);
            }
        }
    }
    CHECK(read > 1000);
    CHECK(refused > 10000);
}
