// The memory of the soft device's BOs: runs of device memory.
//
// What a BO looks like physically decides which leaves a mapping can have:
//
//     kHuge        2 MiB folios, each somewhere else, and a tail of pages: shmem with transparent huge pages
//     kContiguous  one run: CMA
//     kScattered   single pages, no two of them neighbours: a fragmented machine without huge pages
//
// The CPU's view of a BO shows its runs one behind the other.
//
// A BO that is shared (made shareable, or imported) has a file of its own (shared_file.hpp), which its runs show in place
// of the device's memory; so the page tables, the GPU and every device that imported it see the same bytes:
//
//     the BO's file          |  first 2 MiB  |  the rest |
//                                 |       \          \         .
//     host window of PAs     |--- run 0 ---|--- free ---|--- run 1 ---|--- free ---|
//
// It keeps a duplicate of the file for its life. Whatever names the same file (device and inode) is the same BO, with one
// more reference; one whose last reference is just being given back is left to its end, and a new BO shows the file in
// other runs. When the BO ends, its runs show device memory again: zeros. Should the OS fail that (it has no reason to:
// nothing is split), the run is never handed out again.
//
// Thread-safety: all members, any thread, for different BOs. One lock, over the table of shared files: taken while a BO
// is imported, and while a shared one gets its file or loses it; before the BO table's and device memory's.
// Complexity: import, and the end of a shared BO: O(shared BOs). One mmap for each stretch of neighbouring runs.
// Failure: kOutOfDeviceMemory, kOutOfHostMemory; for files which call of the OS; nothing changed.
// What it does not do: growth on faults (kNotSupported). What the CPU sees it sees cached; a BO without a CPU view has none
// (kNotSupported), as behind a kernel, and imported BOs have one. Every VM may show every BO. Whoever
// shortens a file that was imported ends every process that then reads behind its end (SIGBUS); the files that are made
// here cannot be shortened.
#pragma once

#include <cstdint>
#include <mutex>

#include "src/array.hpp"
#include "src/backend/bo_backend.hpp"
#include "src/backend/injection.hpp"
#include "src/backend/shared_file.hpp"
#include "src/bo.hpp"
#include "src/device_memory.hpp"

namespace granule {

class SoftBoBackend final : public BoBackend {
public:
    // `device_memory` and `injection`, which may be null, outlive it. `memory` is for BOs whose request does not say.
    SoftBoBackend(DeviceMemory& device_memory, BoMemory memory, NodeMemory nodes, Injection* injection) noexcept
        : device_memory_(device_memory), memory_(memory), injection_(injection), shared_(nodes) {}

    [[nodiscard]] Result<void, OsError> create(Bo& bo, const BoRequest& request) noexcept override;
    void destroy(Bo& bo) noexcept override;
    [[nodiscard]] Result<std::byte*, Status> map_cpu(Bo& bo) noexcept override;
    void unmap_cpu(Bo& bo, std::byte* cpu) noexcept override;
    [[nodiscard]] Status map_cpu_at(Bo& bo, std::byte* where, CpuAccess access) noexcept override;

    // `bos` is the table over this backend. kBadArgument: not a regular file, or none of whole pages. kOutOfDeviceMemory.
    // kOsFailed: it cannot be looked at, or not mapped shared and writable (EACCES).
    [[nodiscard]] Result<BoId, OsError> import(BoTable& bos, int file, std::uint64_t made_by) noexcept;
    // The file of a BO that is shared, duplicated.
    [[nodiscard]] Result<int, OsError> export_file(const Bo& bo) noexcept;

    // BOs that have a file.
    [[nodiscard]] std::uint64_t shared() const noexcept;

private:
    struct Shared {
        FileIdentity file;
        Bo* bo = nullptr;
    };

    [[nodiscard]] Status allocate_runs(Bo& bo, std::uint64_t bytes, BoMemory memory) noexcept;
    void free_runs(Bo& bo) noexcept;
    // The runs of the BO show the file, which is its from here on; should one fail, `hide` brings the others back.
    [[nodiscard]] Result<void, OsError> show(Bo& bo, SharedFile file) noexcept;
    void hide(Bo& bo) noexcept;
    // Under the lock: `show`, and found by its file. Where it fails, `leave` ends it.
    [[nodiscard]] Result<void, OsError> share(Bo& bo, SharedFile file) noexcept;
    void leave(Bo& bo) noexcept;
    [[nodiscard]] Bo* retain_shared(BoTable& bos, const FileIdentity& file) noexcept;  // nullptr: nobody has it
    // The CPU's view at `where`. 0 or an errno: then what was replaced is reserved.
    [[nodiscard]] int view(Bo& bo, std::byte* where, CpuAccess access) noexcept;

    DeviceMemory& device_memory_;
    const BoMemory memory_;
    Injection* const injection_;
    mutable std::mutex mutex_;
    Array<Shared> shared_;  // guarded by mutex_
};

}  // namespace granule
