"""The packages that guests are made of, as the archives offer them: read once a week, kept in the cache as JSON.

Kernels are looked for in the suites below of the archive that this machine's own packages come from; what else a guest
or the sysroot has comes from the machine's own Debian release, so that it fits the cross compiler.
"""

import dataclasses
import json
import re
import time

import apt_sources
from archive import Package, read_packages
from cache import say, write_whole
from debian_version import version_key
from problems import Missing, NotInCache

# The stable release with its security updates, and where other kernels for it are.
KERNEL_SUITES = ("trixie", "trixie-security", "trixie-backports", "bookworm-backports", "sid")
WEEK = 7 * 24 * 3600  # seconds

# From 6.19 on linux-image is a small package without modules, and the kernel is in the other two.
KERNEL_PACKAGE = re.compile(r"linux-(image|binary-unsigned|modules)-(\d[\w.]*\+deb[\d.]+)-arm64")


def kernel_packages(cache, update=False):
    """The packages of kernels, of all KERNEL_SUITES."""
    return _index(cache, "kernels", _kernel_sources, KERNEL_PACKAGE, update)


def machine_packages(cache, update=False):
    """All arm64 packages of this machine's own Debian release, the newest of each name."""
    found = {}
    for package in _index(cache, "machine", _machine_sources, None, update):
        if package.name not in found or version_key(found[package.name].version) < version_key(package.version):
            found[package.name] = package
    return found


def _machine_sources():
    release = apt_sources.codename()
    found = apt_sources.debian_sources(apt_sources.read_sources(), release)
    if not found:
        raise Missing(
            f"no source of Debian {release or '(release unknown)'} packages in /etc/apt/sources.list, sources.list.d/"
            "\n  wanted: one with that suite, component main, over http, https or file"
            "\n  or the archive's address in GRANULE_DEBIAN_MIRROR"
        )
    return found


def _kernel_sources():
    """The suites with kernels, in the archives that the machine's own suites of that kind are in."""
    machine = _machine_sources()
    main = next((source for source in machine if not source.suite.endswith("-security")), None)
    security = next((source for source in machine if source.suite.endswith("-security")), None)
    for suite in KERNEL_SUITES:
        source = security if suite.endswith("-security") else main
        if source:
            yield dataclasses.replace(source, suite=suite, components=("main",))


def _index(cache, name, sources, wanted, update):
    path = cache.file(f"lists/{name}.json")
    if path.exists() and (cache.offline or (not update and time.time() - path.stat().st_mtime < WEEK)):
        return _load(path)
    if cache.offline:
        raise NotInCache(f"no package lists in {path.parent}, and --offline reads none")
    with cache.lock():
        if path.exists() and not update and time.time() - path.stat().st_mtime < WEEK:
            return _load(path)  # another run was faster
        try:
            packages = _read(cache, sources(), wanted)
        except Missing as problem:
            if not path.exists():
                raise
            say(f"{problem}\n  using the lists read before")
            return _load(path)
        write_whole(path, json.dumps([dataclasses.astuple(package) for package in packages]))
        return packages


def _read(cache, sources, wanted):
    packages, none = [], []
    for source in sources:
        found = read_packages(source, cache, wanted)
        if found is None:
            none.append(source.suite)
        packages += found or []
    if none:
        say(f"the archive has no {', '.join(none)}")
    if not packages:
        raise Missing(f"no packages in any of these suites: {', '.join(none)}")
    return packages


def _load(path):
    return [Package(*fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
