"""The registers of a mock Mali: memory that answers nothing, filled so that whatever a driver polls reads as done.

Register offsets and bits: Linux drivers/gpu/drm/panfrost/panfrost_regs.h and drivers/gpu/drm/panthor/panthor_regs.h.
README.md has the reason of each value that isn't simply a property of the GPU.
"""

import struct

SIZE = 0x200000  # bytes; the drivers map the whole of it

RESET_COMPLETED = 1 << 8
CLEAN_CACHES_COMPLETED = 1 << 17
GLOBAL_INTERFACE = 1 << 31  # of the job interrupt of a GPU with firmware

_VA_BITS, _PA_BITS = 48, 40
_ACE_LITE = 1

# What the drivers of both generations look at: {offset: value}.
_COMMON = {
    0x010: 0x00000001,  # MEM_FEATURES: coherent core group
    0x014: _VA_BITS | _PA_BITS << 8,  # MMU_FEATURES
    0x018: 0xFF,  # AS_PRESENT: eight address spaces
    0x020: RESET_COMPLETED | CLEAN_CACHES_COMPLETED,  # GPU_INT_RAWSTAT
    0x00C: 0x00000809,  # TILER_FEATURES
    0x0A0: 384,  # THREAD_MAX_THREADS
    0x0A4: 384,  # THREAD_MAX_WORKGROUP_SIZE
    0x0A8: 384,  # THREAD_MAX_BARRIER_SIZE
    0x0AC: 0x0A040400,  # THREAD_FEATURES
    0x0B0: 0x00FE001E,  # TEXTURE_FEATURES, of four registers
    0x0B4: 0x0000FFFF,
    0x0B8: 0x9F81FFFF,
    0x300: _ACE_LITE,  # COHERENCY_FEATURES
}

# Midgard: a T860.
_PANFROST = {
    0x000: 0x08602000,  # GPU_ID: product 0x860, r2p0
    0x004: 0x07110206,  # L2_FEATURES
    0x01C: 0b111,  # JS_PRESENT: three job slots
    0x0C0: 0x20E,  # JS0_FEATURES: fragment
    0x0C4: 0x1FE,  # JS1_FEATURES: vertex, tiler, compute
    0x0C8: 0x07E,  # JS2_FEATURES: compute
}

# Valhall with a command stream frontend: a G610.
_PANTHOR = {
    0x000: 0xA8670005,  # GPU_ID: architecture 10.8.6, product 7, r0p0
    0x004: 0x07120306,  # L2_FEATURES
    0x010: 0x00000301,  # MEM_FEATURES: coherent core group, L2 slices
    0x01C: 0x040A0412,  # CSF_ID
    0x704: 0,  # MCU_STATUS: disabled, which is what stopping it waits for
    0x1000: GLOBAL_INTERFACE,  # JOB_INT_RAWSTAT
    0x100C: GLOBAL_INTERFACE,  # JOB_INT_STAT: "booted" when the driver's wait for that interrupt has run out
    0x10000: 1,  # CSF_GPU_LATEST_FLUSH_ID
}

# (offset of PRESENT, cores); READY lies 0x40 behind it and says the same: cores are always powered.
_CORES = {
    "panfrost": ((0x100, 0xF), (0x110, 1), (0x120, 1)),  # shader, tiler, L2
    "panthor": ((0x100, 0x50005), (0x110, 1), (0x120, 1)),
}
_READY = 0x40

DRIVERS = ("panthor", "panfrost")


def registers(driver):
    """The register file for a driver, `SIZE` bytes."""
    values = {**_COMMON, **(_PANTHOR if driver == "panthor" else _PANFROST)}
    for offset, cores in _CORES[driver]:
        values[offset] = values[offset + _READY] = cores
    memory = bytearray(SIZE)
    for offset, value in values.items():
        struct.pack_into("<I", memory, offset, value)
    return bytes(memory)
