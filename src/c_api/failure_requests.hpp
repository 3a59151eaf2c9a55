// granule_soft_fail: one failure of each kind, asked for beforehand.
//
// Thread-safety: all members, any thread. `at` takes no lock while nothing is asked for; the lock is a leaf.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "src/backend/injection.hpp"

namespace granule::c_api {

class FailureRequests final : public Injection {
public:
    // Those that can be asked for: the first of Injection::Site.
    static constexpr std::size_t kSites = 4;

    // After `skip` steps at `site` that go well, one fails with `error`; 0: none does.
    void fail(Site site, std::uint64_t skip, int error) noexcept {
        Request& request = requests_[static_cast<std::size_t>(site)];
        const std::lock_guard lock(mutex_);
        request.skip = skip;
        request.error.store(error, std::memory_order_relaxed);
    }

    [[nodiscard]] int at(Site site) noexcept override {
        if (static_cast<std::size_t>(site) >= kSites) {
            return 0;
        }
        Request& request = requests_[static_cast<std::size_t>(site)];
        if (request.error.load(std::memory_order_relaxed) == 0) {
            return 0;
        }
        const std::lock_guard lock(mutex_);
        if (request.skip != 0) {
            --request.skip;
            return 0;
        }
        return request.error.exchange(0, std::memory_order_relaxed);
    }

private:
    struct Request {
        std::atomic<int> error{0};  // written under mutex_
        std::uint64_t skip = 0;     // guarded by mutex_
    };

    std::mutex mutex_;
    std::array<Request, kSites> requests_;
};

}  // namespace granule::c_api
