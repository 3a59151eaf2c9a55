"""Which kernels there are, which one a name means, and the parts of it that a guest boots with.

A kernel in the cache is a folder kernels/VERSION: `Image`, the modules that guests load, unpacked, and `load-order`,
a line a purpose: "panthor: drm.ko ... panthor.ko".
"""

import dataclasses
import lzma
import pathlib
import re
import shutil
import subprocess

from archive import unpack
from cache import say
from debian_version import version_key
from package_index import KERNEL_PACKAGE, KERNEL_SUITES, kernel_packages
from problems import Gone, Missing, NotInCache

# What the tests run on where nobody names kernels: the four behaviours at a partial unmap.
DEFAULT_KERNELS = ("6.12", "6.16.12", "6.18", "7")

# The modules of each purpose; what they depend on is added. Panthor of 6.12 insists on a regulator.
PURPOSES = {
    "console": ("virtio_mmio", "virtio_console"),
    "panthor": ("fixed", "governor_simpleondemand", "panthor"),
    "panfrost": ("governor_simpleondemand", "panfrost"),
}
_SMALLEST_IMAGE_PACKAGE = 10_000_000  # bytes; a linux-image package that holds a kernel is nine times this


@dataclasses.dataclass(frozen=True)
class Kernel:
    version: str  # "6.12.107+deb13"
    folder: pathlib.Path

    @property
    def image(self):
        return self.folder / "Image"

    def modules(self, purpose):
        """The module files of a purpose, in the order in which they can be loaded."""
        for line in (self.folder / "load-order").read_text(encoding="utf-8").splitlines():
            name, _, files = line.partition(":")
            if name == purpose:
                return [self.folder / file for file in files.split()]
        raise Missing(f"kernel {self.version} has no {purpose}: not in {self.folder}/load-order")

    @property
    def root_table_offset(self):
        return root_table_offset(self.version)


def root_table_offset(version):
    """How many bytes behind an io_pgtable_ops the pointer to the root table is (struct arm_lpae_io_pgtable of Linux
    drivers/iommu/io-pgtable-arm.c): the functions in it, then three ints, padded. 6.14 added a fifth function.
    """
    return 0x30 if version_key(version) < version_key("6.14") else 0x38


def offered(packages):
    """{version: [its packages]} of those that hold a whole kernel."""
    parts = {}
    for package in packages:
        kind, version = KERNEL_PACKAGE.fullmatch(package.name).groups()
        if kind != "image" or package.size >= _SMALLEST_IMAGE_PACKAGE:
            parts.setdefault(version, {})[kind] = package
    return {
        version: [kinds["image"]] if "image" in kinds else [kinds["binary-unsigned"], kinds["modules"]]
        for version, kinds in parts.items()
        if "image" in kinds or {"binary-unsigned", "modules"} <= set(kinds)
    }


def resolve(name, versions):
    """The newest of `versions` that `name` means: all of it, or a series, "6.12" or "7". None where there is none."""
    meant = re.compile(re.escape(name) + r"(?![\w.]*\d)" if "+" in name else re.escape(name) + r"(?=[.+]|$)")
    matching = [version for version in versions if meant.match(version)]
    return max(matching, key=version_key, default=None)


def get(name, cache, update=False):
    """The kernel that `name` means, downloaded and unpacked if it is not in the cache."""
    unpacked = [path.name for path in (cache.root / "kernels").glob("*/")]
    try:
        packages = offered(kernel_packages(cache, update))
    except NotInCache:
        packages = {}
    version = resolve(name, unpacked if cache.offline else {*packages, *unpacked})
    if version is None:
        known = ", ".join(sorted({*packages, *unpacked}, key=version_key)) or "none"
        if cache.offline:
            raise NotInCache(f"kernel {name} is not in {cache.root}/kernels, and --offline downloads none")
        raise Missing(f"no kernel {name} in Debian's {', '.join(KERNEL_SUITES)} for arm64\n  there are: {known}")

    def fill(folder):
        files = folder / "files"
        for package in packages[version]:
            unpack(package, cache, files)
        _keep_what_guests_need(version, files, folder)
        shutil.rmtree(files)

    try:
        return Kernel(version, cache.folder(f"kernels/{version}", fill))
    except Gone:
        if update:
            raise
        return get(name, cache, update=True)  # a newer one has taken its place since the lists were read


def _keep_what_guests_need(version, files, folder):
    """From the unpacked packages: the image, and the modules with what they depend on."""
    image = next(files.glob("boot/vmlinuz-*"), None) or next(files.glob("usr/lib/modules/*/vmlinuz*"), None)
    if image is None:
        raise Missing(f"the packages of kernel {version} hold no boot/vmlinuz-*")
    shutil.move(image, folder / "Image")
    found = {}
    for path in files.glob("**/kernel/**/*.ko*"):
        found[module_name(path.name)] = path
    say(f"kernel {version}: {len(found)} modules")
    lines = []
    for purpose, names in PURPOSES.items():
        order = []
        for name in names:
            _add_module(name, found, folder, order)
        lines.append(f"{purpose}: {' '.join(order)}\n")
    (folder / "load-order").write_text("".join(lines), encoding="utf-8")


def module_name(file):
    """What the kernel calls the module in a file: "gpu-sched.ko.xz" is gpu_sched."""
    return file.partition(".ko")[0].replace("-", "_")


def _add_module(name, found, folder, order):
    """Appends a module to the load order, after what it depends on. What is built into the kernel is in no file."""
    if name not in found or f"{name}.ko" in order:
        return
    path = folder / f"{name}.ko"
    if not path.exists():
        path.write_bytes(_uncompressed(found[name]))
    for dependency in module_dependencies(path.read_bytes()):
        _add_module(dependency, found, folder, order)
    order.append(path.name)


def module_dependencies(module):
    """What a module's own information names: `depends=a,b` between zero bytes in its section .modinfo."""
    depends = re.search(rb"\0depends=([^\0]*)\0", module)
    names = depends[1].decode("ascii").split(",") if depends else []
    return [name.replace("-", "_") for name in names if name]


def _uncompressed(path):
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        command = ["zstd", "--decompress", "--stdout", "--quiet", str(path)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return path.read_bytes()
