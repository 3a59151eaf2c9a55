// Type-checked access to the fields of one JSON object, for code that reads many fields and wants to report the first
// thing that is wrong, once.
//
// Every accessor returns a value; where the field is missing or breaks its rule it returns a harmless one (0, empty)
// and notes the problem, unless one is noted already. The caller reads all that it wants and looks at the problem at
// the end. Fields that nobody asks for are ignored. A field that is there twice is a problem: which one counts is
// anybody's guess.
//
// Complexity: an access is linear in the number of fields. Thread-safety: none. Internal to the trace reader.
#pragma once

#include <simdjson.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "allocator/mapping.hpp"
#include "mali/address.hpp"
#include "src/trace/trace_error.hpp"

namespace granule::trace {

// Which integers are right. `text` says so in an error: "sizes are multiples of 4096 ...".
struct Rule {
    std::uint64_t least;
    std::uint64_t most;
    std::uint64_t multiple;
    std::string_view text;

    [[nodiscard]] constexpr bool holds(std::uint64_t value) const noexcept {
        return value >= least && value <= most && value % multiple == 0;
    }
};

inline constexpr Rule kAnyU64{0, UINT64_MAX, 1, "an integer from 0 to 18446744073709551615"};
inline constexpr Rule kAnyU32{0, UINT32_MAX, 1, "an integer from 0 to 4294967295"};
inline constexpr Rule kHandle{0, UINT32_MAX, 1, "handles are integers from 0 to 4294967295"};
inline constexpr Rule kNewHandle{1, UINT32_MAX, 1, "new handles are integers from 1 to 4294967295"};
inline constexpr Rule kBoolean{0, 1, 1, "0 or 1"};
inline constexpr Rule kVa{0, kMaxVaEnd, kPageBytes, "addresses are multiples of 4096 from 0 to 2^48"};
inline constexpr Rule kSize{0, kMaxVaEnd, kPageBytes, "sizes are multiples of 4096 from 0 to 2^48"};
inline constexpr Rule kBoBytes{kPageBytes, kMaxVaEnd, kPageBytes,
                               "sizes of BOs are multiples of 4096 from 4096 to 2^48"};
inline constexpr Rule kBoOffset{0, UINT64_MAX, kPageBytes, "offsets into BOs are multiples of 4096"};
inline constexpr Rule kFd{0, INT32_MAX, 1, "file descriptors are integers from 0 to 2147483647"};

// Whose fields: "panthor.vm_bind", or "op 3 of panthor.vm_bind".
struct Place {
    std::string_view call;
    std::string_view element{};  // "op"
    std::size_t index = 0;

    [[nodiscard]] std::string text() const;
};

class Fields {
public:
    // More than any call has; a bound so that looking for one among many stays cheap.
    static constexpr std::size_t kMaxFields = 32;

    // `problem` outlives this.
    Fields(simdjson::dom::object object, const Place& place, std::optional<Problem>& problem);

    // For the object whose call is known only after its first field was read.
    void set_place(const Place& place) noexcept { place_ = place; }
    // The fields of an object within this one: of an element of a list, with a name for what the list is made of.
    [[nodiscard]] Fields nested(simdjson::dom::object object, std::string_view element, std::size_t index) {
        return {object, Place{place_.call, element, index}, problem_};
    }

    [[nodiscard]] bool has(std::string_view key) const noexcept { return find(key) != nullptr; }
    [[nodiscard]] std::uint64_t integer(std::string_view key, const Rule& rule);
    [[nodiscard]] std::uint64_t integer_or(std::string_view key, const Rule& rule, std::uint64_t otherwise);
    [[nodiscard]] std::uint32_t u32(std::string_view key) { return static_cast<std::uint32_t>(integer(key, kAnyU32)); }
    [[nodiscard]] bool boolean(std::string_view key) { return integer(key, kBoolean) != 0; }
    [[nodiscard]] std::int64_t signed_integer(std::string_view key, std::int64_t least, std::int64_t most,
                                              std::string_view text);
    // Valid until the next line is parsed.
    [[nodiscard]] std::string_view string(std::string_view key, std::string_view text);
    [[nodiscard]] std::optional<simdjson::dom::object> object(std::string_view key, std::string_view text);

    template <class Handle>
    [[nodiscard]] Handle handle(std::string_view key) {
        return Handle{static_cast<std::uint32_t>(integer(key, kHandle))};
    }
    // A handle that the call made; a call that failed made none.
    template <class Handle>
    [[nodiscard]] Handle new_handle(std::string_view key, std::int32_t result) {
        return result < 0 ? Handle{} : Handle{static_cast<std::uint32_t>(integer(key, kNewHandle))};
    }
    // The range of the fields "va" and `size_key`.
    [[nodiscard]] VaRange va_range(std::string_view size_key, const Rule& va_rule, const Rule& size_rule);

    // Calls visit(index, element) for each element of the array `key`, until a problem is noted. `text` says what is
    // right.
    template <class Visit>
    void each(std::string_view key, std::string_view text, Visit&& visit) {
        const std::optional<simdjson::dom::array> elements = array(key, text);
        if (!elements) {
            return;
        }
        std::size_t index = 0;
        for (const simdjson::dom::element element : *elements) {
            if (problem_) {
                return;
            }
            visit(index, element);
            ++index;
        }
    }
    // The array `key` of just as many non-negative integers as `out` has room for; where it is none, `out` keeps its
    // zeros.
    void integers(std::string_view key, std::span<std::uint64_t> out, std::string_view text);
    // Whether `element` is an array of just as many non-negative integers as `out` has room for; they are stored there.
    [[nodiscard]] static bool to_integers(simdjson::dom::element element, std::span<std::uint64_t> out) noexcept;

    void reject(std::string_view key, std::string_view text);
    void reject_element(std::string_view key, std::size_t index, simdjson::dom::element element, std::string_view text);
    void note(std::string what, std::string_view would_be_right);

private:
    struct Field {
        std::string_view key;
        simdjson::dom::element value;
    };

    [[nodiscard]] const Field* find(std::string_view key) const noexcept;
    [[nodiscard]] std::optional<simdjson::dom::array> array(std::string_view key, std::string_view text);
    [[nodiscard]] std::string named(std::string_view key) const;

    std::optional<Problem>& problem_;
    Place place_;
    std::array<Field, kMaxFields> fields_;
    std::size_t count_ = 0;
};

}  // namespace granule::trace
