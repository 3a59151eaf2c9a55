// What each call of a trace does to the device that it is replayed on.
//
// One `on` for each kind of call that means something here; the rest changes no address space.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "src/replay/binder.hpp"
#include "src/replay/end_state.hpp"
#include "src/replay/leftovers.hpp"
#include "src/replay/record.hpp"
#include "src/replay/replayed_device.hpp"
#include "src/replay/traced_files.hpp"
#include "src/replay/verifier.hpp"
#include "src/replay/vm_sums.hpp"

namespace granule::replay {

class Player {
public:
    Player(const Options& options, std::unique_ptr<ReplayedDevice> device);
    Player(const Player&) = delete;
    Player& operator=(const Player&) = delete;

    [[nodiscard]] Result<void, Stop> play(const trace::Call& call);
    // Ends what is still open, as the end of the processes would.
    [[nodiscard]] ReplayResult finish();

    [[nodiscard]] const Counts& counts() const noexcept { return record_.counts; }
    [[nodiscard]] const TracedFiles& files() const noexcept { return files_; }
    [[nodiscard]] ReplayedDevice& device() noexcept { return *device_; }

private:
    using Played = Result<void, Stop>;

    [[nodiscard]] Played on(const trace::drm::Open& open);
    [[nodiscard]] Played on(const trace::drm::CloseFd& close);
    [[nodiscard]] Played on(const trace::drm::GemClose& close);
    [[nodiscard]] Played on(const trace::drm::PrimeImport& import);
    [[nodiscard]] Played on(const trace::panthor::VmCreate& create);
    [[nodiscard]] Played on(const trace::panthor::VmDestroy& destroy);
    [[nodiscard]] Played on(const trace::panthor::VmBind& bind);
    [[nodiscard]] Played on(const trace::panthor::BoCreate& create);
    [[nodiscard]] Played on(const trace::panthor::BoSetLabel& label) { return set_label(label.bo, label.label); }
    [[nodiscard]] Played on(const trace::panfrost::CreateBo& create);
    [[nodiscard]] Played on(const trace::panfrost::SetLabelBo& label) { return set_label(label.bo, label.label); }
    // CPU mappings, syncobjs, jobs, queries.
    template <class Other>
    [[nodiscard]] Played on(const Other& /*other*/) {
        return {};
    }

    [[nodiscard]] Played set_label(trace::GemHandle handle, const std::string& label);
    [[nodiscard]] Result<TracedVm*, Stop> make_vm(TracedFile& in, std::uint32_t id, const VaRange& space);
    // A BO of the call's file. `kernel_maps_in`: the VM in which the kernel shows it by itself; nullptr: nowhere.
    [[nodiscard]] Result<Oracle::BoNumber, Stop> make_bo(trace::GemHandle handle, BoRequest request, bool imported,
                                                         TracedVm* kernel_maps_in = nullptr);
    [[nodiscard]] Stop no_bo(const BindError& error, std::uint64_t bytes) const;
    void close_handle(TracedFile& in, std::uint32_t handle);
    // The VM that panfrost gives to each file.
    [[nodiscard]] Result<TracedVm*, Stop> panfrost_vm(TracedFile& in);
    [[nodiscard]] Played unmap_on_panfrost(TracedFile& in, const TracedBo& bo);

    void look_at(TracedVm& vm, bool ends);
    void look_at_all();
    void end_vm(TracedVm& vm, End end);
    void end_file(const FileKey& key, End end);

    const std::unique_ptr<ReplayedDevice> device_;
    Record record_;
    TracedFiles files_;
    const std::unique_ptr<Verifier> verifier_;
    VmSums sums_;
    EndState end_state_;
    Binder binder_;
};

}  // namespace granule::replay
