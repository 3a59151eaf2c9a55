// Failures on request, so that every promise about failure can be tested where it is made.
#pragma once

#include <cstdint>

namespace granule {

class Injection {
public:
    enum class Site : std::uint8_t {
        kOperation,     // one operation of a plan, before it changes anything
        kTableMemory,   // a reservation of page-table pages
        kDeviceMemory,  // an allocation of device memory
        kSharedFile,    // a call of the OS about the file of a BO that is shared
        kWindow,        // device memory coming back in place of such a file
        kCpuView,       // a stretch of a CPU view of a BO
    };

    Injection() noexcept = default;
    Injection(const Injection&) = delete;
    Injection& operator=(const Injection&) = delete;
    virtual ~Injection() = default;

    // 0, or the errno with which this step fails. Called by whichever thread is at the site.
    [[nodiscard]] virtual int at(Site site) noexcept = 0;
};

}  // namespace granule
