// The flight: frame by frame, what the GPU draws, what the CPU does meanwhile, and the fences between them.
//
//     CPU, step n                                         GPU                      VM's queue
//     wait for frame n-2: rendered >= n-1                 draws frame n-1
//     its feedback -> which tiles: loads, unbinds
//     writes the tiles, the residency map, the job                                 (transaction n-1: done)
//     queues transaction n                                                         page: now
//     hands over frame n                                  frame n-1 is done        largest: now
//     compares frame n-2 with the reference               draws frame n, once bound >= n+1
//
// Two of everything that a frame has: framebuffer, feedback, residency map, job; frame n has that of frame n-2, which is
// done. Transaction n changes only tiles that frame n-1 does not use (residency.hpp). With pages that is all, and it
// need wait for no more than frame n-2. With leaves of 2 MiB it may cut one, and then the rest of that, tiles of frame n-1 among
// them, is for a moment without translation: it waits for frame n-1 too, and the GPU for it.
#pragma once

#include <atomic>

#include "virtual-texture/options.hpp"
#include "virtual-texture/report.hpp"

namespace streaming {

// Ends early, with whole files and `stopped`, when `stop` becomes true. Throws what failed.
[[nodiscard]] Report fly_through(const Options& options, const std::atomic<bool>& stop);

}  // namespace streaming
