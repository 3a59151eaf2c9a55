"""Installs granule into a fresh prefix, and builds and runs programs against it as strangers would.

    run.py BUILD_DIR SOURCE_DIR

By pkg-config: C11, C++17, C++20, with gcc and clang, shared and static, and the format layer alone; by CMake; by meson, from
the prefix and as a subproject. The prefix is moved once, because packages are. Each program prints the version that it was
built with, or says what went wrong. A compiler that is not there is skipped, and said.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
COMPILERS = [("gcc", "g++"), ("clang", "clang++")]


class Failed(Exception):
    """What went wrong, with what the command said."""


def run(*command, env=None, cwd=None):
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Prefix:
    """An installed granule, and the environment in which it is found."""

    def __init__(self, build, directory):
        staged = directory / "staged"
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", staged)
        pkg_configs = list(staged.glob("**/pkgconfig/granule.pc"))
        if len(pkg_configs) != 1:
            raise Failed(f"one granule.pc is installed: {pkg_configs}")
        # Somewhere else than where it was configured for.
        root = pkg_configs[0].parents[2 if pkg_configs[0].parents[1].name == "lib" else 3]
        self.root = directory / "moved"
        shutil.move(root, self.root)
        self.pkg_config_path = next(self.root.glob("**/pkgconfig"))
        self.libraries = self.pkg_config_path.parent
        self.env = {
            **os.environ,
            "PKG_CONFIG_PATH": str(self.pkg_config_path),
            "CMAKE_PREFIX_PATH": str(self.root),
            "LD_LIBRARY_PATH": str(self.libraries),
        }

    def flags(self, package, *options):
        return run("pkg-config", *options, package, env=self.env).split()


def check_files(prefix, version):
    """What has to be there, and that nothing else is public."""
    headers = {path.name for path in (prefix.root / "include" / "granule").iterdir()}
    missing = {"granule.h", "granule.hpp"} - headers
    if missing:
        raise Failed(f"not installed: {missing}")
    soname = re.search(r"SONAME\s+(\S+)", run("objdump", "-p", prefix.libraries / "libgranule.so")).group(1)
    if not re.fullmatch(r"libgranule\.so\.\d+", soname) or not (prefix.libraries / soname).exists():
        raise Failed(f"soname {soname}")
    exported = run("nm", "-D", "--defined-only", prefix.libraries / "libgranule.so")
    names = {line.split()[2].split("@")[0] for line in exported.splitlines() if " T " in line}
    foreign = sorted(name for name in names if not name.startswith("granule_"))
    declared = set()
    for header in (prefix.root / "include" / "granule").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
        declared |= set(re.findall(r"^GRANULE_API\b[^;]*?\b(granule_\w+)\s*\(", text, re.MULTILINE))
    if foreign or names != declared:
        raise Failed(f"exported and not declared: {foreign or sorted(names - declared)}; "
                     f"declared and not exported: {sorted(declared - names)}")
    if prefix.flags("granule", "--modversion") != [version]:
        raise Failed("granule.pc has another version")
    return len(names)


def compile_and_run(prefix, compiler, standard, source, package, static, directory):
    program = directory / f"{pathlib.Path(source).stem}-{compiler}-{standard}-{'static' if static else 'shared'}"
    flags = prefix.flags(package, "--cflags")
    libraries = prefix.flags(package, "--libs", *(["--static"] if static else []))
    if static:
        libraries = [str(prefix.libraries / f"lib{flag[2:]}.a") if flag in ("-lgranule", "-lgranule-mali") else flag
                     for flag in libraries]
    run(compiler, f"-std={standard}", *WARNINGS, *flags, HERE / source, "-o", program, *libraries, env=prefix.env)
    return run(program, env=prefix.env)


def with_compilers(prefix, version, directory):
    done = 0
    for c_compiler, cpp_compiler in COMPILERS:
        if shutil.which(c_compiler) is None or shutil.which(cpp_compiler) is None:
            print(f"skipped: no {c_compiler}")
            continue
        for compiler, standard, source in [(c_compiler, "c11", "consumer.c"), (cpp_compiler, "c++17", "consumer.cpp"),
                                           (cpp_compiler, "c++20", "consumer.cpp")]:
            for static in (False, True):
                said = compile_and_run(prefix, compiler, standard, source, "granule", static, directory)
                expected = "granule " + ".".join(version.split(".")[:2])
                if said.strip() != expected:
                    raise Failed(f"{source} says {said!r}, not {expected!r}")
                done += 1
        compile_and_run(prefix, cpp_compiler, "c++20", "mali_consumer.cpp", "granule-mali", True, directory)
        done += 1
    return done


def with_cmake(prefix, directory):
    build = directory / "cmake"
    run("cmake", "-S", HERE / "cmake", "-B", build, env=prefix.env)
    run("cmake", "--build", build, env=prefix.env)
    for program in ("consumer_shared", "consumer_static", "consumer_mali"):
        run(build / program, env=prefix.env)
    return 3


def with_meson(prefix, source, directory):
    """By dependency('granule'): from the prefix, and then without one, as a subproject."""
    project = directory / "project"
    shutil.copytree(HERE / "meson", project)
    for consumer in ("consumer.c", "consumer.cpp"):
        shutil.copy(HERE / consumer, project)
    run("meson", "setup", directory / "from-prefix", project, env=prefix.env)
    run("ninja", "-C", directory / "from-prefix", env=prefix.env)
    run(directory / "from-prefix" / "consumer", env=prefix.env)

    # Only set up: building the library once more would show nothing that this does not.
    (project / "subprojects").mkdir()
    (project / "subprojects" / "granule").symlink_to(source)
    without = {name: value for name, value in os.environ.items() if name != "PKG_CONFIG_PATH"}
    run("meson", "setup", "--force-fallback-for=granule", directory / "as-subproject", project, env=without)
    targets = run("ninja", "-C", directory / "as-subproject", "-t", "targets", "all")
    if "libgranule.so" not in targets or "doctest" in targets or "subprojects/granule/src/granule:" in targets:
        raise Failed("as a subproject it is the library and nothing else")
    return 2


def with_readme(prefix, source, directory):
    """The program in README.md, as printed."""
    programs = re.findall(r"^```c\n(.*?)^```$", (source / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if len(programs) != 1:
        raise Failed(f"README.md has one program in C, not {len(programs)}")
    (directory / "readme.c").write_text(programs[0], encoding="utf-8")
    program = directory / "readme"
    run("gcc", "-std=c11", *WARNINGS, *prefix.flags("granule", "--cflags"), directory / "readme.c", "-o", program,
        *prefix.flags("granule", "--libs"), env=prefix.env)
    said = run(program, env=prefix.env)
    if said != "granules taken whole: 1, mapped again: 2044 KiB\n":
        raise Failed(f"the program in README.md says {said!r}")
    return 1


def main():
    build, source = map(pathlib.Path, sys.argv[1:])
    version = re.search(r"version: '([\d.]+)'", (source / "meson.build").read_text(encoding="utf-8")).group(1)
    with tempfile.TemporaryDirectory(prefix="granule-install-") as name:
        directory = pathlib.Path(name)
        prefix = Prefix(build, directory)
        functions = check_files(prefix, version)
        programs = with_compilers(prefix, version, directory) + with_cmake(prefix, directory)
        programs += with_meson(prefix, source, directory) + with_readme(prefix, source, directory)
        print(f"{functions} functions exported, all declared; {programs} ways to build a program")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"install test: {failure}")
