#include "src/trace/line_parser.hpp"

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "src/trace/fields.hpp"
#include "src/trace/known_calls.hpp"

namespace granule::trace {

static_assert(LineParser::kPadding >= simdjson::SIMDJSON_PADDING);

constexpr std::string_view kFormat = "pan-mm-trace/1";

struct LineParser::Json {
    simdjson::dom::parser parser;

    // The line, which is padded, without a copy.
    [[nodiscard]] simdjson::error_code parse(std::string_view line, simdjson::dom::object& out) {
        return parser.parse(line.data(), line.size(), false).get(out);
    }
};

LineParser::LineParser() : json_(std::make_unique<Json>()) {}
LineParser::LineParser(LineParser&&) noexcept = default;
LineParser& LineParser::operator=(LineParser&&) noexcept = default;
LineParser::~LineParser() = default;

Result<Meta, Problem> LineParser::no_meta() {
    return fail(Problem{"not a memory trace", "the first line is {\"meta\":{\"format\":\"pan-mm-trace/1\",...}}"});
}

Result<Meta, Problem> LineParser::meta(std::string_view line) {
    simdjson::dom::object outer;
    if (json_->parse(line, outer) != simdjson::SUCCESS || outer["meta"].error() != simdjson::SUCCESS) {
        return no_meta();
    }
    std::optional<Problem> problem;
    Fields line_fields(outer, {"the first line"}, problem);
    Meta meta;
    if (const auto object = line_fields.object("meta", "an object: {\"format\":\"pan-mm-trace/1\",...}")) {
        constexpr std::string_view kText = "a string";
        constexpr Rule kProcesses{1, UINT32_MAX, 1, "an integer from 1 to 4294967295"};
        Fields fields(*object, {"meta"}, problem);
        if (fields.string("format", kFormat) != kFormat) {
            fields.reject("format", "this reader knows \"pan-mm-trace/1\"");
        }
        meta.name = fields.string("name", kText);
        meta.gpu = fields.string("gpu", kText);
        meta.mesa = fields.string("mesa", kText);
        meta.kernel_uapi = fields.string("kernel_uapi", kText);
        if (fields.has("host")) {
            meta.host = fields.string("host", kText);
        }
        meta.processes = static_cast<std::uint32_t>(fields.integer_or("processes", kProcesses, 1));
    }
    if (problem) {
        return fail(std::move(*problem));
    }
    return meta;
}

Result<void, Problem> LineParser::call(std::string_view line, std::uint32_t processes, Call& out) {
    simdjson::dom::object object;
    if (const simdjson::error_code error = json_->parse(line, object); error != simdjson::SUCCESS) {
        return fail(Problem{std::string("line is not a JSON object (") + simdjson::error_message(error) + ")",
                            "a call is {\"t\":...,\"th\":...,\"f\":...,\"c\":...}"});
    }
    std::optional<Problem> problem;
    Fields fields(object, {"the line"}, problem);
    const std::string_view name = fields.string("c", "a call such as \"panthor.vm_bind\"");
    const KnownCall* const known = problem ? nullptr : find_known_call(name);
    if (known == nullptr) {
        fields.reject("c", known_call_names());
        return fail(std::move(*problem));
    }
    fields.set_place({known->name});
    out.name = known->name;
    out.time_us = fields.integer("t", kAnyU64);
    out.thread = fields.u32("th");
    out.file = fields.u32("f");
    const Rule process{0, processes - 1, 1,
                       "processes are numbered from 0 to one less than \"processes\" of the meta line"};
    out.process = static_cast<std::uint32_t>(fields.integer_or("p", process, 0));
    out.result = fields.has("r") ? static_cast<std::int32_t>(
                                       fields.signed_integer("r", -4095, 0, "results are 0 or -errno: from -4095 to 0"))
                                 : 0;
    known->read(fields, out);
    if (problem) {
        return fail(std::move(*problem));
    }
    return {};
}

}  // namespace granule::trace
