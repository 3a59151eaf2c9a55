// What a BindObserver is told, and which page shows what if it is true: an array of pages, as naive as can be. An event that
// cannot be true, of the state that those before it left, is kept as a problem.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/bind_observer.hpp"
#include "src/vm.hpp"

namespace granule::test {

class EventLog final : public BindObserver {
public:
    struct Event {
        bool bind = false;
        Mapping what;
        Removal::By how = Removal::By::kUnmap;  // of an unbind

        bool operator==(const Event&) const = default;
    };

    // What is bound outside `window` is a problem.
    explicit EventLog(const VaRange& window) : window_(window), pages_(window.size() / kPageBytes) {}

    void on_bind(const Mapping& mapping) noexcept override {
        events_.push_back({true, mapping, {}});
        for_each_page(mapping, [&](Page& page, const Backing& shows) {
            if (page.bound) {
                complain("bound, and was bound already", mapping);
            }
            page = {true, shows};
        });
    }
    void on_unbind(const Mapping& part, Removal::By how) noexcept override {
        events_.push_back({false, part, how});
        for_each_page(part, [&](Page& page, const Backing& shows) {
            if (!(page == Page{true, shows})) {
                complain("unbound, and was not what was bound", part);
            }
            page = {};
        });
    }

    [[nodiscard]] const std::vector<Event>& events() const noexcept { return events_; }
    void forget_events() noexcept { events_.clear(); }
    // The first event that cannot be true; "": none.
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

    // "" where the events have led to what the VM says.
    [[nodiscard]] std::string disagreement(const Vm& vm) const {
        if (!problem_.empty()) {
            return problem_;
        }
        std::vector<Page> said(pages_.size());
        bool inside = true;
        vm.for_each_mapping(vm.config().space, [&](const Mapping& mapping) {
            inside = inside && window_.contains(mapping.va);
            for (std::uint64_t at = 0; inside && at < mapping.va.size(); at += kPageBytes) {
                said[page_number(mapping.va.start + at)] = {true, mapping.shows.advanced(at)};
            }
        });
        if (!inside) {
            return "a mapping outside the window";
        }
        for (std::size_t i = 0; i < said.size(); ++i) {
            if (!(said[i] == pages_[i])) {
                return "the events say something else at " + std::to_string((window_.start + i * kPageBytes).raw());
            }
        }
        return {};
    }
    [[nodiscard]] std::uint64_t bound_pages() const noexcept {
        std::uint64_t count = 0;
        for (const Page& page : pages_) {
            count += page.bound ? 1U : 0U;
        }
        return count;
    }

private:
    struct Page {
        bool bound = false;
        Backing shows;

        bool operator==(const Page&) const = default;
    };

    [[nodiscard]] std::size_t page_number(Va va) const noexcept { return (va - window_.start) / kPageBytes; }

    template <class Body>
    void for_each_page(const Mapping& mapping, Body&& body) {
        if (mapping.va.empty() || !window_.contains(mapping.va)) {
            complain("nothing, or outside the window", mapping);
            return;
        }
        for (std::uint64_t at = 0; at < mapping.va.size(); at += kPageBytes) {
            body(pages_[page_number(mapping.va.start + at)], mapping.shows.advanced(at));
        }
    }
    void complain(const char* what, const Mapping& mapping) {
        if (problem_.empty()) {
            problem_ = std::to_string(mapping.va.start.raw()) + " is " + what;
        }
    }

    VaRange window_;
    std::vector<Page> pages_;
    std::vector<Event> events_;
    std::string problem_;
};

}  // namespace granule::test
