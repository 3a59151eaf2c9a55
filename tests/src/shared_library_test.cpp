// libgranule.so has what a program needs: this one is linked with nothing else of granule.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>

#include "src/device.hpp"

namespace granule {

TEST_CASE("a program linked with the shared library alone maps a BO, lets the GPU write to it, and splits a leaf") {
    SoftDeviceConfig config;
    config.gpu = mali::find_gpu_model("G610");
    REQUIRE(config.gpu != nullptr);
    auto device = SoftDevice::create(config);
    REQUIRE(device.has_value());
    auto vm = (*device)->create_vm({});
    REQUIRE(vm.has_value());
    const auto bo = (*device)->create_bo(kBlock2MBytes);
    REQUIRE(bo.has_value());

    const auto va = (*vm)->reserve_va({kBlock2MBytes, kBlock2MBytes});
    REQUIRE(va.has_value());
    const auto bound = (*vm)->bind({BindRequest::Kind::kMap, *va, {*bo, BoOffset{0}, {}, {}}, UnmapPolicy::kReject});
    REQUIRE(bound.has_value());
    CHECK((*vm)->granule_at(va->start) == LeafSize::k2M);

    std::array<std::byte, 4> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    SoftGpu::Context& context = SoftDevice::address_space(**vm).gpu_context();
    REQUIRE((*device)->gpu().write(context, va->start + kPageBytes, bytes).has_value());

    const VaRange page{va->start, va->start + kPageBytes};
    CHECK((*vm)->unmap(page, UnmapPolicy::kReject).error().status == Status::kGranuleCut);
    REQUIRE((*vm)->unmap(page, UnmapPolicy::kSplit).has_value());
    CHECK((*vm)->granule_at(va->start + kPageBytes) == LeafSize::k4K);
    std::array<std::byte, 4> read{};
    REQUIRE((*device)->gpu().read(context, va->start + kPageBytes, read).has_value());
    CHECK(read == bytes);
    CHECK_FALSE((*device)->gpu().read(context, va->start, read).has_value());
    (*device)->bos().release(*(*device)->bos().find(*bo), 1);
}

}  // namespace granule
