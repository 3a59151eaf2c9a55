// A soft device with BOs of 4 MiB and VMs, as the sections bind them. What fails ends the program.
//
// Thread-safety: as the library's; `tile_of` any thread.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "src/soft_device.hpp"
#include "tests/bench/harness/subject.hpp"

namespace granule::bench {

inline constexpr std::uint64_t kTileBytes = std::uint64_t{64} << 10;
inline constexpr std::uint64_t kWindowBytes = std::uint64_t{2} << 20;
inline constexpr std::uint32_t kTilesPerWindow = kWindowBytes / kTileBytes;
inline constexpr Va kFirstWindow{std::uint64_t{1} << 34};

class SoftVms {
public:
    static constexpr std::uint32_t kBos = 256;
    static constexpr std::uint64_t kBoBytes = std::uint64_t{4} << 20;
    static constexpr std::uint32_t kTiles = kBos * (kBoBytes / kTileBytes);  // that the BOs have
    static constexpr std::uint64_t kDeviceBytes = std::uint64_t{8} << 30;    // as much as valgrind can map at once

    explicit SoftVms(NodeMemory nodes = NodeMemory::process()) {
        SoftDeviceConfig config;
        config.gpu = mali::find_gpu_model("G610");
        config.nodes = nodes;
        config.memory_bytes = kDeviceBytes;
        auto device = SoftDevice::create(config);
        require(device.has_value(), "no soft device");
        device_ = std::move(*device);
        for (std::uint32_t i = 0; i < kBos; ++i) {
            bos_.push_back(make_bo(kBoBytes));
        }
    }
    SoftVms(const SoftVms&) = delete;
    SoftVms& operator=(const SoftVms&) = delete;
    ~SoftVms() {
        for (const BoId bo : bos_) {
            device_->bos().release(*device_->bos().find(bo), 1);
        }
    }

    [[nodiscard]] SoftDevice& device() { return *device_; }
    [[nodiscard]] Owned<Vm> make_vm() {
        auto vm = device_->create_vm({});
        require(vm.has_value(), "no VM");
        return std::move(*vm);
    }
    // It is given back at the end.
    [[nodiscard]] BoId make_bo(std::uint64_t bytes) {
        const auto bo = device_->create_bo(bytes);
        require(bo.has_value(), "no BO");
        return *bo;
    }
    void keep(BoId bo) { bos_.push_back(bo); }

    [[nodiscard]] BindRequest bind_of(VaRange va, std::uint32_t tile) const {
        BindRequest request = sparse_of(va);
        constexpr std::uint32_t kTilesPerBo = kBoBytes / kTileBytes;
        request.shows.bo = bos_[tile / kTilesPerBo];
        request.shows.offset = BoOffset{tile % kTilesPerBo * kTileBytes};
        return request;
    }
    [[nodiscard]] static BindRequest sparse_of(VaRange va) {
        BindRequest request = unmap_of(va);
        request.kind = BindRequest::Kind::kMap;
        return request;
    }
    [[nodiscard]] static BindRequest unmap_of(VaRange va) {
        BindRequest request;
        request.va = va;
        request.policy = UnmapPolicy::kSplit;
        return request;
    }
    static void run(Vm& vm, const BindRequest& request) { require(vm.bind(request).has_value(), "a bind failed"); }
    static void run(Vm& vm, std::span<const BindRequest> requests) {
        require(vm.commit(requests).has_value(), "a batch of binds failed");
    }

    [[nodiscard]] static VaRange window(std::uint64_t number) {
        const Va start = kFirstWindow + number * kWindowBytes;
        return {start, start + kWindowBytes};
    }
    [[nodiscard]] static VaRange tile(std::uint64_t number) {
        const Va start = kFirstWindow + number * kTileBytes;
        return {start, start + kTileBytes};
    }

private:
    static void require(bool done, const char* what) {
        if (!done) {
            wrong("granule", what);
        }
    }

    Owned<SoftDevice> device_;
    std::vector<BoId> bos_;
};

}  // namespace granule::bench
