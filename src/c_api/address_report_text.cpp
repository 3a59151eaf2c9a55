// inspect.h: what is, or was, at a VA, in the words that a driver's author wants in a log after a fault.
#include <granule/inspect.h>

#include <cstdint>
#include <string_view>

#include "src/c_api/convert.hpp"
#include "src/c_api/mapping.hpp"
#include "src/c_api/sized_struct.hpp"
#include "src/c_api/text.hpp"

using granule::c_api::is_empty;
using granule::c_api::text_in;
using granule::c_api::TextWriter;

namespace {

// "BO 5 'vertices' at offset 0x3000": what a mapping shows at `va`.
void write_shown(TextWriter& out, const granule_mapping& mapping, std::string_view label, std::uint64_t va) noexcept {
    out.bo(mapping.bo_id, label);
    if (mapping.bo_id != 0) {
        out.text(" at offset ").hex(mapping.bo_offset + (va - mapping.va.start));
    }
}

// "12.3 ms", to a tenth.
void write_time(TextWriter& out, std::uint64_t ns) noexcept {
    constexpr std::uint64_t kMicrosecond = 1'000;
    constexpr std::uint64_t kMillisecond = 1'000'000;
    constexpr std::uint64_t kSecond = 1'000'000'000;
    const std::uint64_t unit = ns < kMillisecond ? kMicrosecond : ns < kSecond ? kMillisecond : kSecond;
    out.number(ns / unit).text(".").number(ns % unit / (unit / 10));
    out.text(unit == kMicrosecond ? " us" : unit == kMillisecond ? " ms" : " s");
}

void write_mapped(TextWriter& out, const granule_address_report& report) noexcept {
    write_shown(out, report.mapping, text_in(report.label), report.va);
    granule::c_api::write_flags(out, report.mapping.flags);
    out.text(", mapped at ").range(report.mapping.va).text(" by bind ").number(report.mapping.serial);
    out.text(", in a granule of ").bytes(report.granule.end - report.granule.start).text(".");
    if (report.cached != 0) {
        out.text("\nThe BO is in a BO cache, and nobody's: whoever accesses it gave it back before.");
    }
}

void write_condition(TextWriter& out, const granule_address_report& report) noexcept {
    switch (report.condition) {
        case GRANULE_ADDRESS_MAPPED:
        case GRANULE_ADDRESS_SPARSE:
            write_mapped(out, report);
            return;
        case GRANULE_ADDRESS_OUTSIDE:
            out.text("outside the VM's space.");
            return;
        case GRANULE_ADDRESS_NEVER_USED:
            out.text(report.history_complete != 0
                         ? "nothing is mapped here, and nothing ever was."
                         : "nothing is mapped here, and nothing was, as far as is remembered.");
            return;
        case GRANULE_ADDRESS_RESERVED:
            out.text("nothing is mapped here yet.");
            return;
        default:
            out.text("nothing is mapped here.");
            return;
    }
}

void write_removed(TextWriter& out, const granule_address_report& report) noexcept {
    out.text("\nRemoved ");
    write_time(out, report.asked_ns > report.removed_ns ? report.asked_ns - report.removed_ns : 0);
    out.text(" ago by bind ")
        .number(report.removed_by)
        .text(report.removed_by_map != 0 ? " (mapped over): " : " (unmap): ");
    out.range(report.removed.va).text(", here ");
    write_shown(out, report.removed, text_in(report.removed_label), report.va);
    out.text(", mapped by bind ").number(report.removed.serial).text(".");
}

void write_neighbour(TextWriter& out, std::string_view where, const granule_mapping& mapping, std::string_view label,
                     std::uint64_t away) noexcept {
    out.text("\n").text(where).text(": ").bo(mapping.bo_id, label).text(" at ").range(mapping.va);
    if (away == 0) {
        out.text(", right beside it.");
    } else {
        out.text(", ").hex(away).text(" bytes away.");
    }
}

}  // namespace

size_t granule_address_report_text(const granule_address_report* report, char* text, size_t size) {
    TextWriter out(text, size);
    granule_address_report known;
    if (report == nullptr || granule::c_api::read_struct(report, known) != nullptr) {
        return out.finish();
    }
    out.hex(known.va).text(": ");
    write_condition(out, known);
    if (!is_empty(known.removed.va)) {
        write_removed(out, known);
    } else if (known.history_complete == 0) {
        out.text("\nWhat was removed longer ago is forgotten: granule_vm_info::history.");
    }
    if (!is_empty(known.reserved_range)) {
        out.text("\nReserved with ").range(known.reserved_range);
        out.text(known.reserved_waiting != 0 ? ", and released: it waits for fences." : ".");
    }
    if (!is_empty(known.below.va)) {
        write_neighbour(out, "Below", known.below, text_in(known.below_label), known.va - known.below.va.end);
    }
    if (!is_empty(known.above.va)) {
        write_neighbour(out, "Above", known.above, text_in(known.above_label), known.above.va.start - known.va);
    }
    return out.finish();
}
