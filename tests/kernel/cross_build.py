"""Builds the arm64 programs of the tier, in the directory build-arm64/ of the project."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import sysroot
from cache import say
from problems import Missing

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "build-arm64"
TARGET = "kernel-programs"

# Without debug information: a guest's memory holds each program whole.
_OPTIONS = ("-Dkernel_tier=true", "-Ddebug=false")


def build(cache, update=False):
    """Brings the programs up to date."""
    cross_file = sysroot.get(cache, update) / "cross.ini"
    say(f"building {DIRECTORY.name}/")
    try:
        configure = ["sh", str(ROOT / ".ci/configure"), str(DIRECTORY), "--cross-file", str(cross_file), *_OPTIONS]
        with _lock():
            command_line = DIRECTORY / "meson-private/cmd_line.txt"
            if command_line.exists() and str(cross_file) not in command_line.read_text(encoding="utf-8"):
                shutil.rmtree(DIRECTORY)  # it was set up for another sysroot
            told = subprocess.run(configure, check=False, stdout=subprocess.PIPE)
            if told.returncode != 0:
                sys.stderr.buffer.write(told.stdout)  # where meson says what is wrong
            told.check_returncode()
            subprocess.run(["ninja", "-C", str(DIRECTORY), "--quiet", TARGET], check=True)
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is not installed: sh .ci/install build cross") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"the build for arm64 failed: {' '.join(error.cmd)}") from error


@contextlib.contextmanager
def _lock():
    """Held by one run at a time: neither meson nor ninja expects another in its directory."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def program(name):
    """The path of a built program."""
    return DIRECTORY / ("src/granule" if name == "granule" else f"tests/kernel/cases/{name}")
