"""Firmware for panthor without any code in it: only the interface section that the driver and the firmware share.

Every input block (what the driver writes) and its output block (what the firmware answers) are the same memory. So each
request reads back as acknowledged the moment it is made: ping, start and stop of a group, doorbells.

Layouts: Linux drivers/gpu/drm/panthor/panthor_fw.c (the binary) and panthor_fw.h (the interface).
"""

import struct

PATH = "lib/firmware/arm/mali/arch10.8/mali_csffw.bin"  # of the GPU that mock_gpu.py shows

_MAGIC = 0xC3F13A6E
_HEADER = struct.Struct("<IBBHIII")  # magic, minor, major, padding, version hash, padding, size with all entries
_ENTRY = struct.Struct("<IIIIII")  # kind and size, flags, VA start and end, data start and end
_INTERFACE = 0  # the kind of entry: a section of memory
_READ, _WRITE, _CACHED_NOT, _SHARED = 1 << 0, 1 << 1, 2 << 3, 1 << 30

# Where the driver wants the shared section, and what is where in it.
_SECTION, _SECTION_SIZE = 0x04000000, 0x20000
_GLOBAL_CONTROL, _GLOBAL_BLOCK = 0x0000, 0x8000
_GROUP_CONTROL, _GROUP_CONTROL_SIZE = 0x1000, 0x400
_GROUP_BLOCK, _GROUP_BLOCK_SIZE = 0xA000, 0x400
_STREAM_CONTROL, _STREAM_CONTROL_SIZE = 0x40, 0x40  # in the group's control block
_STREAM_BLOCK, _STREAM_BLOCK_SIZE = 0x10000, 0x200

GROUPS = 8
STREAMS = 8  # of each group

_VERSION = 0x01010000  # of the interface: 1.1.0
_SUSPEND_SIZE = 0x1000
_COUNTERS_SIZE = 0x1000
_WORK_REGISTERS, _SCOREBOARDS = 96, 8
_COMPUTE_FRAGMENT_TILER = 7 << 16


def _shared_section():
    memory = bytearray(_SECTION_SIZE)

    def put(offset, *words):
        struct.pack_into(f"<{len(words)}I", memory, offset, *words)

    block = _SECTION + _GLOBAL_BLOCK
    # version, features, input, output, groups, bytes a group, size of the counters, instrumentation
    put(_GLOBAL_CONTROL, _VERSION, 0, block, block, GROUPS, _GROUP_CONTROL_SIZE, _COUNTERS_SIZE, 0)
    for group in range(GROUPS):
        control = _GROUP_CONTROL + group * _GROUP_CONTROL_SIZE
        block = _SECTION + _GROUP_BLOCK + group * _GROUP_BLOCK_SIZE
        # features, input, output, sizes of the suspend buffers, streams, bytes a stream
        put(control, 0, block, block, _SUSPEND_SIZE, _SUSPEND_SIZE, STREAMS, _STREAM_CONTROL_SIZE)
        for stream in range(STREAMS):
            block = _SECTION + _STREAM_BLOCK + (group * STREAMS + stream) * _STREAM_BLOCK_SIZE
            features = (_WORK_REGISTERS - 1) | _SCOREBOARDS << 8 | _COMPUTE_FRAGMENT_TILER
            put(control + _STREAM_CONTROL + stream * _STREAM_CONTROL_SIZE, features, block, block)
    return bytes(memory)


def firmware():
    """The firmware binary."""
    data = _HEADER.size + _ENTRY.size
    header = _HEADER.pack(_MAGIC, 0, 0, 0, 0, 0, data)
    entry = _ENTRY.pack(
        _INTERFACE | _ENTRY.size << 8,
        _READ | _WRITE | _CACHED_NOT | _SHARED,
        _SECTION,
        _SECTION + _SECTION_SIZE,
        data,
        data + _SECTION_SIZE,
    )
    return header + entry + _shared_section()
