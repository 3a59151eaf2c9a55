#include "tests/support/fake_gem.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "mali/address.hpp"

namespace granule::test {

FakeGemObject::~FakeGemObject() {
    if (memory_fd_ >= 0) {
        ::close(memory_fd_);
    }
}

FakeGemObject::Physical FakeGemObject::physical(std::uint64_t offset) const noexcept {
    const std::uint64_t base = serial_ << 40;  // objects are far from each other
    const std::uint64_t in_page = offset % kPageBytes;
    switch (memory_) {
        case FakeMemory::kHuge:
            if (huge_folio_at(offset)) {
                const std::uint64_t in_folio = offset % kBlock2MBytes;
                return {base + offset / kBlock2MBytes * (2 * kBlock2MBytes) + in_folio, kBlock2MBytes - in_folio};
            }
            break;
        case FakeMemory::kSmall:
            break;
        case FakeMemory::kLucky: {
            constexpr std::uint64_t kOddPhase = 7 * kPageBytes;
            return {base + (serial_ % 2 == 0 ? 0 : kOddPhase) + offset, align_up(bytes_, kPageBytes) - offset};
        }
    }
    constexpr std::uint64_t kSinglePages = std::uint64_t{1} << 39;
    return {base + kSinglePages + offset / kPageBytes * (2 * kPageBytes) + in_page, kPageBytes - in_page};
}

bool FakeGemObject::huge_folio_at(std::uint64_t offset) const noexcept {
    return memory_ == FakeMemory::kHuge && offset < align_down(bytes_, kBlock2MBytes);
}

int FakeGemObject::memory_fd() noexcept {
    if (memory_fd_ < 0) {
        memory_fd_ = ::memfd_create("fake-gem", MFD_CLOEXEC);
        if (memory_fd_ >= 0 && ::ftruncate(memory_fd_, static_cast<off_t>(bytes_)) != 0) {
            ::close(memory_fd_);
            memory_fd_ = -1;
        }
    }
    return memory_fd_;
}

std::uint32_t FakeGemHandles::add(const FakeGem& object) {
    if (const std::uint32_t known = handle_of(*object); known != 0) {
        return known;
    }
    std::uint32_t handle = 1;
    for (const auto& [used, other] : by_handle_) {
        if (used != handle) {
            break;
        }
        ++handle;
    }
    by_handle_.emplace(handle, object);
    by_object_.emplace(object.get(), handle);
    return handle;
}

FakeGem FakeGemHandles::find(std::uint32_t handle) const {
    const auto at = by_handle_.find(handle);
    return at == by_handle_.end() ? FakeGem{} : at->second;
}

std::uint32_t FakeGemHandles::handle_of(const FakeGemObject& object) const {
    const auto at = by_object_.find(&object);
    return at == by_object_.end() ? 0 : at->second;
}

bool FakeGemHandles::close(std::uint32_t handle) {
    const auto at = by_handle_.find(handle);
    if (at == by_handle_.end()) {
        return false;
    }
    by_object_.erase(at->second.get());
    by_handle_.erase(at);
    return true;
}

}  // namespace granule::test
