#include "src/c_api/device_handle.hpp"

#include "src/c_api/failure_requests.hpp"

namespace {

// A caller's functions as the library calls them. Both are given, or neither is.
void* allocate(void* allocator, std::size_t bytes, std::size_t alignment) noexcept {
    const auto& functions = *static_cast<const granule_allocator*>(allocator);
    return functions.allocate(functions.data, bytes, alignment);
}

void release(void* allocator, void* block, std::size_t bytes, std::size_t alignment) noexcept {
    const auto& functions = *static_cast<const granule_allocator*>(allocator);
    functions.release(functions.data, block, bytes, alignment);
}

granule::NodeMemory nodes_of(granule_allocator& allocator) noexcept {
    if (allocator.allocate == nullptr) {
        return granule::NodeMemory::process();
    }
    return {allocate, release, &allocator};
}

}  // namespace

granule_device* granule_device::create(const granule_allocator& allocator, const granule_logger& logger) noexcept {
    granule_allocator functions = allocator;
    const granule::NodeMemory nodes = nodes_of(functions);
    void* const block = nodes.allocate(nodes.context, sizeof(granule_device), alignof(granule_device));
    if (block == nullptr) {
        return nullptr;
    }
    auto* const device = ::new (block) granule_device(allocator, logger);
    device->failures_ = granule::make_owned<granule::c_api::FailureRequests>(device->nodes());
    if (!device->failures_) {
        device->release();
        return nullptr;
    }
    return device;
}

granule_device::granule_device(const granule_allocator& allocator, const granule_logger& logger) noexcept
    : allocator_(allocator), logger_(logger) {}

granule_device::~granule_device() = default;

void granule_device::use(granule::Owned<granule::Device> device) noexcept {
    device_ = std::move(device);
    device_->bos().set_owner(this);
}

granule::NodeMemory granule_device::nodes() noexcept {
    return nodes_of(allocator_);
}

void granule_device::release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
        return;
    }
    // The allocator is a part of what goes.
    granule_allocator allocator = allocator_;
    this->~granule_device();
    const granule::NodeMemory nodes = nodes_of(allocator);
    nodes.release(nodes.context, this, sizeof(granule_device), alignof(granule_device));
}

void granule_device::add(granule::c_api::DeviceChild& child) noexcept {
    const std::lock_guard lock(children_mutex_);
    child.next_ = first_child_;
    if (first_child_ != nullptr) {
        first_child_->previous_ = &child;
    }
    first_child_ = &child;
}

void granule_device::remove(granule::c_api::DeviceChild& child) noexcept {
    const std::lock_guard lock(children_mutex_);
    if (child.next_ != nullptr) {
        child.next_->previous_ = child.previous_;
    }
    (child.previous_ != nullptr ? child.previous_->next_ : first_child_) = child.next_;
}
