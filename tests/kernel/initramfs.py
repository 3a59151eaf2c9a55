"""What is in a guest: busybox, the modules of its driver, firmware, the programs to run, and /init.

Not compressed: an emulated CPU is slower at unpacking than QEMU is at copying.
"""

import pathlib

import cpio
import mock_firmware
import shared_libraries
from problems import Missing

_HERE = pathlib.Path(__file__).resolve().parent


def build(guest, busybox, gpu_address):
    """The archive for a boot.Guest."""
    archive = cpio.Archive()
    for folder in ("bin", "lib", "proc", "sys", "dev", "tmp", "modules"):
        archive.folder(folder)
    archive.file("init", (_HERE / "init.sh").read_bytes(), executable=True)
    archive.file("bin/busybox", pathlib.Path(busybox).read_bytes(), executable=True)
    archive.link("bin/sh", "busybox")
    archive.file("guest.conf", _configuration(guest, gpu_address).encode("utf-8"))
    archive.file("command", (guest.command + "\n").encode("utf-8"))
    order = []
    for purpose in ("console", guest.driver):
        for module in guest.kernel.modules(purpose):
            content = module.read_bytes()
            archive.file(f"modules/{module.name}", content)
            order.append(f"{module.name} {_options(content, guest)}\n")
    archive.file("modules/load-order", "".join(order).encode("utf-8"))
    if guest.driver == "panthor":
        archive.file(mock_firmware.PATH, mock_firmware.firmware())
    for item in guest.files:
        _add(archive, item, guest.library_path)
    return archive.bytes()


def _options(module, guest):
    """A driver that mounts a file system of its own for huge pages asks nobody else about them."""
    return "" if guest.huge_pages or b"parm=transparent_hugepage:" not in module else "transparent_hugepage=0"


def _configuration(guest, gpu_address):
    """Shell assignments, which /init exports to the command."""
    values = {
        "GRANULE_KERNEL": guest.kernel.version,
        "GRANULE_DRIVER": guest.driver,
        "GRANULE_DEVICE": "/dev/dri/renderD128",
        "GRANULE_HUGE_PAGES": int(guest.huge_pages),
        "GRANULE_PGD_OFFSET": f"{guest.kernel.root_table_offset:#x}",
        "GRANULE_GPU_ADDRESS": f"{gpu_address:#x}",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _add(archive, item, library_path):
    """FILE or FILE:/FOLDER of the guest; a FILE may be a folder. Without a place, libraries go to /lib, the rest to /bin."""
    name, _, place = item.partition(":/")
    source = pathlib.Path(name)
    if not source.exists():
        raise Missing(f"no such file: {source}\n  wanted in the guest{' at ' + place if place else ''}")
    place = place.strip("/") or ("lib" if ".so" in source.suffixes else "bin")
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    for file in files:
        archive.file(
            f"{place}/{file.relative_to(source.parent)}",
            file.read_bytes(),
            executable=bool(file.stat().st_mode & 0o111),
        )
        for library, path in shared_libraries.closure(file, library_path).items():
            if f"lib/{library}" not in archive:
                archive.file(f"lib/{library}", path.read_bytes(), executable=True)
