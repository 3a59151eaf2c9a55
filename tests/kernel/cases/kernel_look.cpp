#include "tests/kernel/cases/kernel_look.hpp"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "mali/descriptor.hpp"
#include "src/drm/drm_calls.hpp"
#include "src/drm/panfrost_uapi.hpp"
#include "src/drm/panthor_uapi.hpp"
#include "tests/kernel/cases/raw_panthor.hpp"
#include "tests/kernel/inside/kernel_tables.hpp"
#include "tests/kernel/inside/probe_error.hpp"
#include "tests/support/seen_leaves.hpp"

namespace granule::kernel_test {
namespace {

template <class Argument>
void ask(int fd, unsigned long request, Argument& argument, const char* what) {
    if (const int error = system_drm_calls().ioctl(fd, request, &argument); error != 0) {
        throw ProbeError(fmt::format("{} for the root of a VM's tables: errno {}", what, error));
    }
}

void bind_page(int fd, std::uint32_t vm, drm_panthor_vm_bind_op op) {
    drm_panthor_vm_bind bind;
    bind.vm_id = vm;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the kernel takes addresses as integers
    bind.ops = {sizeof op, 1, reinterpret_cast<std::uintptr_t>(&op)};
    ask(fd, panthor::kVmBind, bind, "VM_BIND");
}

// A page that is shown and not shown any more, in a VM of panthor.
void touch_panthor(const replay::VmLook& look) {
    Va at = look.vm.config().space.end.align_down(kBlock2MBytes) - kBlock2MBytes;
    const auto is_mapped = [&] {
        bool any = false;
        look.vm.for_each_mapping({at, at + kBlock2MBytes}, [&](const Mapping&) { any = true; });
        return any;
    };
    while (is_mapped()) {
        at = at - kBlock2MBytes;
    }
    drm_panthor_bo_create create;
    create.size = kPageBytes;
    create.flags = panthor::kBoNoMmap;
    ask(look.fd, panthor::kBoCreate, create, "BO_CREATE");
    bind_page(look.fd, look.kernel_id, map_op(create.handle, 0, at.raw(), kPageBytes));
    bind_page(look.fd, look.kernel_id, unmap_op(at.raw(), kPageBytes));
    system_drm_calls().close_handle(look.fd, create.handle);
}

void touch_panfrost(const replay::VmLook& look) {
    drm_panfrost_create_bo create;
    create.size = kPageBytes;
    create.flags = panfrost::kBoNoexec;
    ask(look.fd, panfrost::kCreateBo, create, "CREATE_BO");
    system_drm_calls().close_handle(look.fd, create.handle);
}

}  // namespace

Pa KernelLook::root_of(const replay::VmLook& look) {
    const auto [at, added] = roots_.try_emplace({look.fd, look.kernel_id});
    if (added) {
        at->second = probe_.root_touched_by(kcore_, [&] {
            if (facts_.driver == DrmDriver::kPanthor) {
                touch_panthor(look);
            } else {
                touch_panfrost(look);
            }
        });
    }
    return at->second;
}

void KernelLook::operator()(const replay::VmLook& look, const replay::Report& report) {
    try {
        const bool panthor = facts_.driver == DrmDriver::kPanthor;
        const mali::Format format = panthor ? mali::Format::kAarch64_4k : mali::Format::kMaliLpae;
        const KernelTables tables = KernelTables::read(kcore_, format, facts_.va_bits, root_of(look));
        std::vector<test::SeenLeaf> leaves;
        tables.visit(kWholeVa, [&](const KernelLeaf& leaf) {
            const bool uncached = panthor && leaf.attributes.memory == mali::MemoryType::kUncached;  // else its choice
            leaves.push_back(
                {leaf.va, leaf.size, leaf.pa.raw(), {!leaf.attributes.write, !leaf.attributes.execute, uncached}});
        });
        ++looks_;
        leaves_ += leaves.size();
        if (std::string what = test::SeenLeaves(look).compare(leaves); !what.empty()) {
            report("the kernel's tables: " + what);
        }
    } catch (const std::exception& error) {
        report(error.what());
    }
    if (look.ends) {
        roots_.erase({look.fd, look.kernel_id});
    }
}

}  // namespace granule::kernel_test
