"""The guest's shell and tools: Debian's busybox-static."""

from archive import unpack
from package_index import machine_packages
from problems import Missing, NotInCache


def get(cache, update=False):
    """The path of the arm64 program."""
    folder = cache.root / "busybox"
    if cache.offline and not folder.is_dir():
        raise NotInCache(f"busybox is not in {folder}, and --offline downloads nothing")

    def fill(unfinished):
        package = machine_packages(cache, update).get("busybox-static")
        if package is None:
            raise Missing("this machine's Debian release has no busybox-static for arm64")
        unpack(package, cache, unfinished)

    folder = cache.folder("busybox", fill)
    path = next((path for path in (folder / "bin/busybox", folder / "usr/bin/busybox") if path.is_file()), None)
    if path is None:
        raise Missing(f"no bin/busybox in {folder}: remove that folder, and it is made anew")
    return path
