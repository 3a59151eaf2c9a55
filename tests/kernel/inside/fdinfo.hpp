// What /proc/PID/fdinfo/FD says of a DRM file (Linux Documentation/gpu/drm-usage-stats.rst).
//
// Memory is what stands behind the file's handles: a BO whose handle is closed no longer counts, though mappings may
// keep it alive. panfrost shows it on all kernels from 6.12 on, panthor from 6.16 on (6.12: nothing but pos, flags,
// mnt_id and ino). drm-resident-memory is missing while it is 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace granule::kernel_test {

class FdInfo {
public:
    [[nodiscard]] static FdInfo parse(std::string_view text);
    // Of an open file of this process.
    [[nodiscard]] static FdInfo of(int fd);

    // As it stands there, without the key.
    [[nodiscard]] std::optional<std::string> value(std::string_view key) const;
    // A number of bytes: "12304 KiB" is 12304 * 1024. nullopt: no such key. Throws ProbeError for anything else.
    [[nodiscard]] std::optional<std::uint64_t> bytes(std::string_view key) const;

    [[nodiscard]] std::optional<std::string> driver() const { return value("drm-driver"); }
    // Bytes of the BOs behind the file's handles.
    [[nodiscard]] std::optional<std::uint64_t> total_memory() const { return bytes("drm-total-memory"); }

private:
    std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace granule::kernel_test
