#include "src/replay/replay.hpp"

#include <utility>

#include "src/replay/drm_replayed.hpp"
#include "src/replay/player.hpp"
#include "src/replay/soft_replayed.hpp"

namespace granule::replay {

Result<Replay, Stop> Replay::create(const Options& options, const trace::Meta& meta) {
    Result<std::unique_ptr<ReplayedDevice>, Stop> device =
        options.device.empty() ? SoftReplayed::create(options, meta) : DrmReplayed::create(options);
    if (!device) {
        return fail(device.error());
    }
    return Replay(std::make_unique<Player>(options, std::move(*device)));
}

Replay::Replay(std::unique_ptr<Player> player) noexcept : player_(std::move(player)) {}
Replay::Replay(Replay&&) noexcept = default;
Replay& Replay::operator=(Replay&&) noexcept = default;
Replay::~Replay() = default;

Result<void, Stop> Replay::play(const trace::Call& call) {
    return player_->play(call);
}
ReplayResult Replay::finish() {
    return player_->finish();
}
const Counts& Replay::counts() const noexcept {
    return player_->counts();
}
SoftDevice& Replay::soft_device() noexcept {
    return *player_->device().soft();
}
const mali::GpuModel* Replay::gpu() const noexcept {
    return player_->device().gpu();
}
KernelBehaviour Replay::kernel() const noexcept {
    return player_->device().kernel();
}
const KernelFacts* Replay::kernel_facts() const noexcept {
    return player_->device().kernel_facts();
}

std::vector<VmView> Replay::vms() const {
    std::vector<VmView> views;
    for (const auto& [key, in] : player_->files().open) {
        for (const auto& [id, vm] : in.vms) {
            views.push_back({key.first, key.second, id, vm->made, &vm->vm()});
        }
    }
    return views;
}

std::optional<BoView> Replay::bo(BoId id) const {
    for (const auto& [key, in] : player_->files().open) {
        if (const TracedBo* const found = player_->files().bo_of(in, id)) {
            return BoView{found->process, found->file, found->handle, found->made, found->bytes, found->label};
        }
    }
    return std::nullopt;
}

std::optional<BoId> Replay::find_bo(std::uint32_t process, std::uint32_t file, std::uint32_t handle) const {
    const auto in = player_->files().open.find({process, file});
    if (in == player_->files().open.end()) {
        return std::nullopt;
    }
    const auto found = in->second.handles.find(handle);
    return found == in->second.handles.end() ? std::nullopt : std::optional(player_->files().bos[found->second].id);
}

std::uint64_t Replay::line_of(const Vm& vm, BindSerial serial) const {
    for (const auto& [key, in] : player_->files().open) {
        for (const auto& [id, traced] : in.vms) {
            if (&traced->vm() == &vm) {
                return traced->line_of(serial);
            }
        }
    }
    return 0;
}

}  // namespace granule::replay
