#include "src/trace/fields.hpp"

#include <algorithm>

namespace granule::trace {
namespace {

// At most this much of a text that is wrong is shown.
constexpr std::size_t kShownBytes = 60;

void cut(std::string& text) {
    if (text.size() <= kShownBytes) {
        return;
    }
    std::size_t end = kShownBytes;
    // Not inside a character: UTF-8 continuation bytes are 10xxxxxx.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
        --end;
    }
    text.resize(end);
    text += "...";
}

std::string shown(simdjson::dom::element value) {
    std::string text = simdjson::minify(value);
    cut(text);
    return text;
}

// A key as it may stand in a message: short, and without control characters.
std::string shown(std::string_view key) {
    std::string text(key.substr(0, kShownBytes + 1));
    cut(text);
    for (char& c : text) {
        c = static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
    return '"' + text + '"';
}

}  // namespace

std::string Place::text() const {
    if (element.empty()) {
        return std::string(call);
    }
    return std::string(element) + " " + std::to_string(index) + " of " + std::string(call);
}

Fields::Fields(simdjson::dom::object object, const Place& place, std::optional<Problem>& problem)
    : problem_(problem), place_(place) {
    for (const simdjson::dom::key_value_pair field : object) {
        if (has(field.key)) {
            note(named(field.key) + " is there twice", "each field once");
            return;
        }
        if (count_ == kMaxFields) {
            note(place_.text() + " has more than " + std::to_string(kMaxFields) + " fields", "a call has fewer");
            return;
        }
        fields_[count_] = {field.key, field.value};
        ++count_;
    }
}

const Fields::Field* Fields::find(std::string_view key) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
        if (fields_[i].key == key) {
            return &fields_[i];
        }
    }
    return nullptr;
}

std::uint64_t Fields::integer(std::string_view key, const Rule& rule) {
    std::uint64_t value = 0;
    const Field* field = find(key);
    if (field == nullptr || field->value.get(value) != simdjson::SUCCESS || !rule.holds(value)) {
        reject(key, rule.text);
        return 0;
    }
    return value;
}

std::uint64_t Fields::integer_or(std::string_view key, const Rule& rule, std::uint64_t otherwise) {
    return has(key) ? integer(key, rule) : otherwise;
}

std::int64_t Fields::signed_integer(std::string_view key, std::int64_t least, std::int64_t most,
                                    std::string_view text) {
    std::int64_t value = 0;
    const Field* field = find(key);
    if (field == nullptr || field->value.get(value) != simdjson::SUCCESS || value < least || value > most) {
        reject(key, text);
        return 0;
    }
    return value;
}

std::string_view Fields::string(std::string_view key, std::string_view text) {
    std::string_view value;
    const Field* field = find(key);
    if (field == nullptr || field->value.get(value) != simdjson::SUCCESS) {
        reject(key, text);
    }
    return value;
}

std::optional<simdjson::dom::object> Fields::object(std::string_view key, std::string_view text) {
    simdjson::dom::object value;
    const Field* field = find(key);
    if (field == nullptr || field->value.get(value) != simdjson::SUCCESS) {
        reject(key, text);
        return std::nullopt;
    }
    return value;
}

std::optional<simdjson::dom::array> Fields::array(std::string_view key, std::string_view text) {
    simdjson::dom::array value;
    const Field* field = find(key);
    if (field == nullptr || field->value.get(value) != simdjson::SUCCESS) {
        reject(key, text);
        return std::nullopt;
    }
    return value;
}

VaRange Fields::va_range(std::string_view size_key, const Rule& va_rule, const Rule& size_rule) {
    const Va start{integer("va", va_rule)};
    const std::uint64_t size = integer(size_key, size_rule);
    const std::optional<VaRange> range = VaRange::from_size(start, size);
    if (!range) {
        note(named("va") + " is " + std::to_string(start.raw()) + " with a size of " + std::to_string(size),
             "ranges end at 2^48 or before");
        return {};
    }
    return *range;
}

void Fields::integers(std::string_view key, std::span<std::uint64_t> out, std::string_view text) {
    const Field* field = find(key);
    if (field == nullptr || !to_integers(field->value, out)) {
        reject(key, text);
        std::fill(out.begin(), out.end(), 0);
    }
}

bool Fields::to_integers(simdjson::dom::element element, std::span<std::uint64_t> out) noexcept {
    simdjson::dom::array numbers;
    if (element.get(numbers) != simdjson::SUCCESS) {
        return false;
    }
    std::size_t count = 0;
    for (const simdjson::dom::element number : numbers) {
        if (count == out.size() || number.get(out[count]) != simdjson::SUCCESS) {
            return false;
        }
        ++count;
    }
    return count == out.size();
}

std::string Fields::named(std::string_view key) const {
    return "field " + shown(key) + " of " + place_.text();
}

void Fields::note(std::string what, std::string_view would_be_right) {
    if (!problem_) {
        problem_.emplace(Problem{std::move(what), std::string(would_be_right)});
    }
}

void Fields::reject(std::string_view key, std::string_view text) {
    if (problem_) {
        return;
    }
    const Field* field = find(key);
    note(named(key) + (field == nullptr ? " is missing" : " is " + shown(field->value)), text);
}

void Fields::reject_element(std::string_view key, std::size_t index, simdjson::dom::element element,
                            std::string_view text) {
    if (problem_) {
        return;
    }
    note("entry " + std::to_string(index) + " of " + named(key) + " is " + shown(element), text);
}

}  // namespace granule::trace
