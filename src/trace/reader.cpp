#include "src/trace/reader.hpp"

#include <utility>

namespace granule::trace {

static_assert(LineSource::kPadding >= LineParser::kPadding);

Result<Reader, TraceError> Reader::open(const std::string& path) {
    return begin(LineSource::open(path));
}

Result<Reader, TraceError> Reader::from_bytes(std::string name, std::span<const std::byte> bytes) {
    return begin(LineSource::from_bytes(std::move(name), bytes));
}

Result<Reader, TraceError> Reader::begin(Result<LineSource, TraceError>&& lines) {
    if (!lines) {
        return fail(std::move(lines.error()));
    }
    Reader reader(std::move(*lines));
    auto line = reader.lines_.next();
    if (!line) {
        return fail(std::move(line.error()));
    }
    auto meta = line->has_value() ? reader.parser_.meta(**line) : LineParser::no_meta();
    if (!meta) {
        return fail(reader.located(std::move(meta.error())));
    }
    reader.meta_ = std::move(*meta);
    return reader;
}

Result<bool, TraceError> Reader::next(Call& out) {
    if (failed_) {
        return fail(*failed_);
    }
    auto line = lines_.next();
    if (!line) {
        return fail(std::move(line.error()));
    }
    if (!line->has_value()) {
        return false;
    }
    if (auto parsed = parser_.call(**line, meta_.processes, out); !parsed) {
        failed_ = located(std::move(parsed.error()));
        return fail(*failed_);
    }
    out.line = lines_.line_number();
    return true;
}

TraceError Reader::located(Problem&& problem) const {
    return {lines_.name(), lines_.line_number(), std::move(problem.what), std::move(problem.would_be_right)};
}

}  // namespace granule::trace
