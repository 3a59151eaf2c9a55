#!/usr/bin/env python3
"""Where guests come from: apt sources, package lists, versions, the cache, kernels. Without a network."""

import os
import pathlib
import tempfile
import threading
import unittest
from unittest import mock

import apt_sources
import archive
import cache
import kernels
import package_index
import sysroot
from apt_sources import Source
from debian_version import version_key
from problems import Gone, Missing

HOST = "http://debian.example"  # no host of a registry is named in this project


def setUpModule():
    for module in (cache, kernels, sysroot):
        mock.patch.object(module, "say", lambda text: None).start()


class AptSources(unittest.TestCase):
    def test_stanzas_are_read(self):
        text = f"""# A comment.
Types: deb deb-src
# Another.
URIs: {HOST}/debian/
Suites: bookworm
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb-src
URIs: {HOST}/sources
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: {HOST}/off
Suites: bookworm
Components: main

types: deb
uris: {HOST}/inline
suites: bookworm
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
"""
        keyring = "/usr/share/keyrings/a.gpg"
        self.assertEqual(
            apt_sources.parse_deb822(text),
            [
                Source(f"{HOST}/debian", "bookworm", ("main", "contrib"), keyring),
                Source(f"{HOST}/debian", "bookworm-updates", ("main", "contrib"), keyring),
                Source(f"{HOST}/inline", "bookworm", ("main",)),
            ],
        )

    def test_lines_are_read(self):
        text = f"""# deb {HOST}/off bookworm main
deb {HOST}/debian/ bookworm main contrib # a comment
deb-src {HOST}/debian bookworm main
  deb [arch=amd64 signed-by=/etc/a.gpg] {HOST}/debian bookworm-updates main
deb [ trusted=yes ] file:/srv/mirror ./
deb
"""
        self.assertEqual(
            apt_sources.parse_one_line(text),
            [
                Source(f"{HOST}/debian", "bookworm", ("main", "contrib")),
                Source(f"{HOST}/debian", "bookworm-updates", ("main",), "/etc/a.gpg"),
                Source("file:/srv/mirror", "./", ()),
            ],
        )

    def test_both_kinds_of_files_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            parts = pathlib.Path(folder, "sources.list.d")
            parts.mkdir()
            pathlib.Path(folder, "sources.list").write_text(f"deb {HOST}/1 a main\n", encoding="utf-8")
            (parts / "b.sources").write_text(f"Types: deb\nURIs: {HOST}/3\nSuites: c\n", encoding="utf-8")
            (parts / "a.list").write_text(f"deb {HOST}/2 b main\n", encoding="utf-8")
            (parts / "c.list.save").write_text(f"deb {HOST}/4 d main\n", encoding="utf-8")
            self.assertEqual([source.uri[-1] for source in apt_sources.read_sources(folder)], ["1", "2", "3"])

    def test_a_list_of_mirrors_is_its_first(self):
        with tempfile.TemporaryDirectory() as folder:
            mirrors = pathlib.Path(folder, "mirrors.list")
            mirrors.write_text(f"# near\n{HOST}/debian/\tpriority:1\n{HOST}/far\n", encoding="utf-8")
            for slashes in ("", "//"):
                self.assertEqual(apt_sources.first_mirror(f"mirror+file:{slashes}{mirrors}"), f"{HOST}/debian")
            mirrors.unlink()
            self.assertEqual(apt_sources.first_mirror(f"mirror+file:{mirrors}"), f"mirror+file:{mirrors}")

    def test_only_debians_own_suites_count(self):
        own = Source(f"{HOST}/debian", "bookworm", ("main",))
        security = Source(f"{HOST}/debian-security", "bookworm-security", ("main",))
        others = [
            Source(f"{HOST}/browser", "stable", ("main",)),
            Source(f"{HOST}/tools", "tools-bookworm", ("main",)),
            Source(f"{HOST}/debian", "bookworm", ("non-free",)),
            Source("cdrom:disc", "bookworm", ("main",)),
        ]
        with mock.patch.dict(os.environ):
            os.environ.pop("GRANULE_DEBIAN_MIRROR", None)
            self.assertEqual(apt_sources.debian_sources([*others, own, security], "bookworm"), [own, security])
            os.environ["GRANULE_DEBIAN_MIRROR"] = "file:/srv/debian/"
            self.assertEqual(apt_sources.debian_sources(others, "bookworm")[0].uri, "file:/srv/debian")

    def test_kernels_come_from_the_archive_of_their_kind_in_whatever_order_the_sources_are(self):
        own = Source(f"{HOST}/debian", "bookworm", ("main",), "/own.gpg")
        security = Source(f"{HOST}/debian-security", "bookworm-security", ("main", "contrib"))
        for machine in ([own, security], [security, own]):
            with mock.patch.object(package_index, "_machine_sources", return_value=machine):
                found = {source.suite: source for source in package_index._kernel_sources()}
            self.assertEqual(found.keys(), set(package_index.KERNEL_SUITES))
            self.assertEqual(found["trixie"], Source(own.uri, "trixie", ("main",), "/own.gpg"))
            self.assertEqual(found["trixie-security"].uri, security.uri)

    def test_the_release_has_a_name(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "os-release")
            file.write_text('VERSION_ID="12"\nVERSION_CODENAME=bookworm\n', encoding="utf-8")
            self.assertEqual(apt_sources.codename(file), "bookworm")
            self.assertEqual(apt_sources.codename(pathlib.Path(folder, "none")), "")


class Versions(unittest.TestCase):
    def test_versions_are_in_debians_order(self):
        ordered = ["6.9", "6.12~rc1", "6.12", "6.12-1~bpo12+1", "6.12-1", "6.12-1+b1", "6.12.9", "6.12.107", "1:0.1"]
        self.assertEqual(sorted(reversed(ordered), key=version_key), ordered)


PACKAGES = """Package: linux-image-6.12.9+deb13-arm64
Version: 6.12.9-1
Depends: kmod, base (>= 1) | other
Filename: pool/l.deb
Size: 90000000
SHA256: aa

Package: busybox
Version: 1
Description: a
 Package: not-this
Filename: pool/b.deb
Size: 1
SHA256: bb
"""


class Lists(unittest.TestCase):
    def test_packages_are_read(self):
        found = archive.parse_packages(PACKAGES, f"{HOST}/debian", "trixie")
        self.assertEqual([package.name for package in found], ["linux-image-6.12.9+deb13-arm64", "busybox"])
        self.assertEqual(
            found[0],
            archive.Package(
                "linux-image-6.12.9+deb13-arm64",
                "6.12.9-1",
                f"{HOST}/debian/pool/l.deb",
                "aa",
                90000000,
                "kmod, base (>= 1) | other",
                "trixie",
            ),
        )
        wanted = archive.parse_packages(PACKAGES, HOST, "trixie", kernels.KERNEL_PACKAGE)
        self.assertEqual([package.version for package in wanted], ["6.12.9-1"])

    def test_the_list_is_found_in_the_release_file(self):
        name = archive.LIST
        release = f"MD5Sum:\n ff 9 {name}\nSHA256:\n aa 1 main/other\n bb 7 {name}\nSHA512:\n cc 8 {name}\n"
        self.assertEqual(archive.list_in_release(release, name), ("bb", 7))
        with self.assertRaisesRegex(Missing, "arm64"):
            archive.list_in_release("SHA256:\n aa 1 main/other\n", archive.LIST)


def kernel_package(name, size=90_000_000):
    return archive.Package(name, "1", f"{HOST}/{name}", "", size, "", "trixie")


class Kernels(unittest.TestCase):
    def test_a_kernel_is_a_whole_image_or_an_image_and_its_modules(self):
        packages = [
            kernel_package("linux-image-6.12.107+deb13-arm64"),
            kernel_package("linux-image-7.0.4+deb13-arm64", 1_000_000),  # refers to a package that is gone
            kernel_package("linux-image-7.3.4+deb13-arm64", 1_000_000),
            kernel_package("linux-binary-unsigned-7.3.4+deb13-arm64"),
            kernel_package("linux-modules-7.3.4+deb13-arm64"),
            kernel_package("linux-binary-unsigned-7.2.0+deb13-arm64"),
        ]
        found = kernels.offered(packages)
        self.assertEqual(set(found), {"6.12.107+deb13", "7.3.4+deb13"})
        self.assertEqual(
            [package.name for package in found["7.3.4+deb13"]],
            ["linux-binary-unsigned-7.3.4+deb13-arm64", "linux-modules-7.3.4+deb13-arm64"],
        )

    def test_other_flavours_are_no_kernels_of_ours(self):
        for name in ("linux-image-6.12.107+deb13-cloud-arm64", "linux-image-6.12.107+deb13-arm64-16k", "linux-image-arm64"):
            self.assertIsNone(kernels.KERNEL_PACKAGE.fullmatch(name), name)

    def test_a_name_means_the_newest_of_its_series(self):
        versions = ["6.12.9+deb13", "6.12.107+deb13", "6.16.12+deb13", "6.1.12+deb12", "6.12.90+deb12.1"]
        versions += ["7.3.4+deb13", "7.2.13+deb14"]
        for name, version in (
            ("6.12", "6.12.107+deb13"),
            ("6.1", "6.1.12+deb12"),
            ("6.16.12", "6.16.12+deb13"),
            ("6.12.9", "6.12.9+deb13"),
            ("6.12.9+deb13", "6.12.9+deb13"),
            ("6.12.90+deb12.1", "6.12.90+deb12.1"),
            ("7", "7.3.4+deb13"),
            ("6.13", None),
            ("6.12.10", None),
            ("6.12.9+deb1", None),
            ("", None),
        ):
            with self.subTest(name=name):
                self.assertEqual(kernels.resolve(name, versions), version)

    def test_the_root_table_moved_once(self):
        for version, offset in (("6.9.1+deb12", 0x30), ("6.12.107+deb13", 0x30), ("6.16.12+deb13", 0x38), ("7.3.4", 0x38)):
            self.assertEqual(kernels.root_table_offset(version), offset, version)

    def test_a_kernel_that_is_gone_since_the_lists_were_read_is_looked_for_anew(self):
        asked = []

        def packages(_, update):
            asked.append(update)
            return [kernel_package(f"linux-image-7.3.{5 if update else 4}+deb13-arm64")]

        def unpack(package, *_):
            raise Gone(package.name)

        with tempfile.TemporaryDirectory() as folder:
            with mock.patch.multiple(kernels, kernel_packages=packages, unpack=unpack), self.assertRaisesRegex(Gone, "7.3.5"):
                kernels.get("7", cache.Cache(folder))
        self.assertEqual(asked, [False, True])

    def test_modules_come_after_what_they_depend_on(self):
        with tempfile.TemporaryDirectory() as folder:
            found = {}
            needed = {"panthor": "gpu-sched,drm_gpuvm", "gpu_sched": "drm", "drm_gpuvm": "drm", "drm": ""}
            for name, depends in needed.items():
                path = pathlib.Path(folder, "packed", f"{name.replace('_', '-')}.ko")
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"\x7fELF..license=GPL\0depends=" + depends.encode() + b"\0name=x\0")
                found[kernels.module_name(path.name)] = path
            order = []
            kernels._add_module("panthor", found, pathlib.Path(folder), order)
            kernels._add_module("drm", found, pathlib.Path(folder), order)
            kernels._add_module("built_in", found, pathlib.Path(folder), order)
            self.assertEqual(order, ["drm.ko", "gpu_sched.ko", "drm_gpuvm.ko", "panthor.ko"])


class Sysroot(unittest.TestCase):
    def test_the_development_packages_of_the_build_are_wanted(self):
        text = "[build] # a\ng++\nliblzma-dev # traces\n\n[check]\nlibbenchmark-dev\n"
        self.assertEqual(sysroot.development_packages(text), ["liblzma-dev"])

    def test_dependencies_come_along_but_not_the_compilers(self):
        packages = {}
        for name, depends in (
            ("liba-dev", "liba1 (= 2), libc6-dev | libc-dev, virtual-c, tool:any | libb"),
            ("liba1", "libc6 (>= 2.36), libgcc-s1, liba-dev"),
            ("libb", ""),
            ("unrelated", ""),
        ):
            packages[name] = archive.Package(name, "1", "", "", 0, depends, "bookworm")
        found = sysroot.closure(["liba-dev"], packages)
        self.assertEqual({package.name for package in found}, {"liba-dev", "liba1", "libb"})
        with self.assertRaisesRegex(Missing, "libz-dev"):
            sysroot.closure(["libz-dev"], packages)

    def test_links_stay_inside(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "usr/lib/libx.so")
            path.parent.mkdir(parents=True)
            path.symlink_to("/lib/libx.so.1")
            sysroot._make_links_relative(pathlib.Path(folder))
            self.assertEqual(os.readlink(path), "../../lib/libx.so.1")


class CacheFolder(unittest.TestCase):
    def setUp(self):
        self.cache = cache.Cache(self.enterContext(tempfile.TemporaryDirectory()))

    def test_a_folder_is_filled_once(self):
        filled = []

        def fill(folder):
            filled.append(folder)
            (folder / "a").write_text("x", encoding="utf-8")

        for _ in range(2):
            path = self.cache.folder("kernels/6.12", fill)
            self.assertEqual((path / "a").read_text(encoding="utf-8"), "x")
        self.assertEqual(len(filled), 1)

    def test_who_is_interrupted_leaves_nothing_that_looks_whole(self):
        def fill(folder):
            (folder / "a").write_text("x", encoding="utf-8")
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.cache.folder("kernels/6.12", fill)
        self.assertFalse((self.cache.root / "kernels/6.12").exists())
        self.assertEqual(list((self.cache.root / "unfinished").iterdir()), [])

    def test_what_a_killed_run_left_is_cleared_away(self):
        (self.cache.root / "unfinished/6.12").mkdir(parents=True)
        (self.cache.root / "unfinished/6.12/half").write_text("x", encoding="utf-8")
        path = self.cache.folder("kernels/6.12", lambda folder: (folder / "whole").touch())
        self.assertEqual([file.name for file in path.iterdir()], ["whole"])

    def test_the_lock_lets_one_in_at_a_time(self):
        other = cache.Cache(self.cache.root)
        inside, order = threading.Event(), []

        def wait():
            with other.lock():
                order.append("other")
            inside.set()

        with self.cache.lock():
            thread = threading.Thread(target=wait)
            thread.start()
            self.assertFalse(inside.wait(0.2))
            order.append("first")
        thread.join()
        self.assertEqual(order, ["first", "other"])


if __name__ == "__main__":
    unittest.main()
