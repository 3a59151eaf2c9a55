// An outside program in C++, through the owners of granule.hpp. Exit code 0: it all worked.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <granule/granule.hpp>

namespace {

constexpr std::uint64_t kBlock = 0x200000;

int failed(const char* what, const granule::Error& error) {
    (void)std::fprintf(stderr, "%s: %s\n", what, error.text().c_str());
    return 1;
}

}  // namespace

int main() {
    granule::Result<granule::Device> device = granule::Device::open();
    if (!device) {
        return failed("open", device.error());
    }
    granule::Result<granule::Vm> vm = device->create_vm();
    granule::Result<granule::Bo> bo = device->create_bo(2 * kBlock, "two blocks");
    granule::Result<granule::Timeline> timeline = device->create_timeline();
    if (!vm || !bo || !timeline) {
        return 1;
    }
    const granule::Result<std::byte*> cpu = bo->map();
    const granule::Result<std::uint64_t> va = vm->map(*bo);
    if (!cpu || !va) {
        return 1;
    }
    std::memcpy(*cpu, "hello", 6);

    // A part of the second block goes, behind a fence.
    granule::Binds binds;
    binds.wait(timeline->at(1));
    binds.unmap(*va + kBlock, 0x1000, GRANULE_CUT_SPLIT);
    binds.signal(timeline->at(2));
    if (const auto queued = vm->bind(binds, GRANULE_BIND_ASYNC); !queued) {
        return failed("bind", queued.error());
    }
    std::array<char, 6> seen = {};
    const bool before = vm->gpu_read(*va + kBlock, seen.data(), seen.size()).status() == GRANULE_STATUS_OK;
    if (!timeline->signal(1) || !timeline->wait(2, 10'000'000'000)) {
        return 1;
    }
    const bool after = vm->gpu_read(*va + kBlock, seen.data(), seen.size()).status() == GRANULE_STATUS_OUT_OF_RANGE;
    if (!before || !after || !vm->gpu_read(*va, seen.data(), seen.size()) || std::strcmp(seen.data(), "hello") != 0) {
        (void)std::fprintf(stderr, "the GPU sees something else: %s\n", vm->describe_text(*va + kBlock).c_str());
        return 1;
    }
    if (const auto refused = vm->unmap(*va, 0x1000, GRANULE_CUT_REJECT);
        refused.status() != GRANULE_STATUS_GRANULE_CUT) {
        return 1;
    }
    std::printf("granule %u.%u\n", granule_version() >> 16, granule_version() >> 8 & 0xff);
    return 0;
}
