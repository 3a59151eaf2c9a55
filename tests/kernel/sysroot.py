"""The libraries that granule is built with, for arm64: packages of the machine's own Debian release, unpacked in the cache.

Which ones: the -dev packages of section [build] of .ci/packages.txt, and what they depend on. What the cross compiler
brings along is left out, so that its headers are those that are found.

    python3 tests/kernel/sysroot.py     prints the path of the cross file for meson setup --cross-file
"""

import hashlib
import pathlib
import re
import sys

import apt_sources
from archive import unpack
from cache import Cache, say
from package_index import machine_packages
from problems import Missing, NotInCache

_PACKAGES = pathlib.Path(__file__).resolve().parents[2] / ".ci/packages.txt"
_OF_THE_COMPILER = re.compile(r"libc6(-dev)?|libgcc-s1|libstdc\+\+6|linux-libc-dev|libcrypt(1|-dev)|gcc-\d+-base")
TRIPLET = "aarch64-linux-gnu"

_CROSS_FILE = """# Written by tests/kernel/sysroot.py.
[constants]
sysroot = '{sysroot}'
rpath_link_also = ':{sysroot}/lib/{triplet}'

[binaries]
c = '{triplet}-gcc'
cpp = '{triplet}-g++'
ar = '{triplet}-gcc-ar'
strip = '{triplet}-strip'
pkgconfig = 'pkg-config'
cmake = 'cmake'

[built-in options]
c_args = ['-isystem', sysroot / 'usr/include', '-isystem', sysroot / 'usr/include/{triplet}']
cpp_args = c_args
c_link_args = ['-L' + sysroot / 'usr/lib/{triplet}', '-Wl,-rpath-link,' + sysroot / 'usr/lib/{triplet}' + rpath_link_also]
cpp_link_args = c_link_args

[properties]
sys_root = sysroot
pkg_config_libdir = [sysroot / 'usr/lib/{triplet}/pkgconfig', sysroot / 'usr/share/pkgconfig']

[cmake]
CMAKE_FIND_ROOT_PATH = sysroot
CMAKE_FIND_ROOT_PATH_MODE_PACKAGE = 'ONLY'
CMAKE_FIND_ROOT_PATH_MODE_LIBRARY = 'ONLY'
CMAKE_FIND_ROOT_PATH_MODE_INCLUDE = 'ONLY'
CMAKE_PREFIX_PATH = sysroot / 'usr'
CMAKE_LIBRARY_ARCHITECTURE = '{triplet}'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""


def development_packages(packages_file):
    """The -dev packages of section [build]."""
    names, section = [], ""
    for line in packages_file.splitlines():
        words = line.partition("#")[0].split()
        if words and words[0].startswith("["):
            section = words[0]
        elif words and section == "[build]" and words[0].endswith("-dev"):
            names.append(words[0])
    return names


def closure(names, packages):
    """The packages of these names and what they depend on, of each choice the first that there is."""
    found, open_names = {}, list(names)
    while open_names:
        name = open_names.pop()
        if name in found or _OF_THE_COMPILER.fullmatch(name):
            continue
        if name not in packages:
            raise Missing(f"this machine's Debian release has no package {name} for arm64\n  wanted for the sysroot")
        found[name] = packages[name]
        for choice in packages[name].depends.split(","):
            choices = [re.split(r"[\s:(]", one.strip())[0] for one in choice.split("|")]
            usable = [one for one in choices if one in packages or _OF_THE_COMPILER.fullmatch(one)]
            open_names += usable[:1]  # a virtual package that nothing real stands for is not needed to compile
    return list(found.values())


def path(cache):
    """Where the sysroot is, or will be: another list of packages makes another one."""
    names = development_packages(_PACKAGES.read_text(encoding="utf-8"))
    recipe = hashlib.sha256(repr((names, _CROSS_FILE)).encode("utf-8")).hexdigest()[:8]
    return cache.root / "sysroots" / f"{apt_sources.codename() or 'debian'}-{recipe}"


def library_folders(cache):
    """Where the shared libraries of the sysroot are."""
    return [str(path(cache) / place / TRIPLET) for place in ("usr/lib", "lib")]


def get(cache, update=False):
    """The folder of the sysroot, which has cross.ini in it."""
    whole = path(cache)
    if cache.offline and not whole.is_dir():
        raise NotInCache(f"the sysroot is not in {whole}, and --offline downloads nothing")

    def fill(folder):
        names = development_packages(_PACKAGES.read_text(encoding="utf-8"))
        packages = closure(names, machine_packages(cache, update))
        say(f"sysroot: {len(packages)} packages")
        for package in packages:
            unpack(package, cache, folder)
        _make_links_relative(folder)
        text = _CROSS_FILE.format(sysroot=whole.resolve(), triplet=TRIPLET)
        (folder / "cross.ini").write_text(text, encoding="utf-8")

    return cache.folder(f"sysroots/{whole.name}", fill)


def _make_links_relative(folder):
    """A link to /lib/x means the sysroot's."""
    for path in folder.rglob("*"):
        if path.is_symlink() and path.readlink().is_absolute():
            target = path.readlink().relative_to("/")
            up = "/".join([".."] * (len(path.relative_to(folder).parts) - 1)) or "."
            path.unlink()
            path.symlink_to(f"{up}/{target}")


if __name__ == "__main__":
    try:
        print(get(Cache(offline="--offline" in sys.argv[1:])) / "cross.ini")
    except Missing as problem:
        say(str(problem))
        sys.exit(1)
