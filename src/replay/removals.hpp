// P6, checked: what a call took away, and whether the VM can name it afterwards.
//
// Of every operation of a call the first and the last page are noted, before the oracle forgets them; and where a later
// operation of the same call takes something at such a page again, that: the VM names what was removed last.
//
// Thread-safety: none.
#pragma once

#include <map>

#include "src/replay/oracle.hpp"
#include "src/replay/traced.hpp"

namespace granule::replay {

class Removals {
public:
    // `taken` is about to go from the oracle.
    void note(const TracedVm& vm, const VaRange& taken);
    // The call is done: compares, reports differences, and begins again.
    void check(const TracedVm& vm, const Report& report);

private:
    std::map<Va, Oracle::Page> pages_;
};

}  // namespace granule::replay
