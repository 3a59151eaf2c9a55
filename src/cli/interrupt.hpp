// Ctrl-C: the first SIGINT, SIGTERM or SIGHUP asks the program to stop where it can, the second ends it.
//
// Thread-safety: `interrupted` is for any thread.
#pragma once

namespace granule::cli {

// From now on the signals are noted.
void catch_interrupts() noexcept;
[[nodiscard]] bool interrupted() noexcept;

}  // namespace granule::cli
