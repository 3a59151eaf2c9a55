"""The machine that a run was made on: what it is called, and its data caches."""

import os
import pathlib
import subprocess

_CACHES = pathlib.Path("/sys/devices/system/cpu/cpu0/cache")


def name():
    """As "AMD EPYC, 2 processors, g++ (...) 12.2.0"."""
    compiler = subprocess.run([os.environ.get("CXX", "g++"), "--version"], capture_output=True, text=True, check=False).stdout
    return ", ".join(part for part in (_processor(), f"{os.cpu_count()} processors", compiler.partition("\n")[0]) if part)


def caches():
    """[["L1", bytes], ...] of one processor, the smallest first; none where the system does not say."""
    found = []
    for cache in _CACHES.glob("index*"):
        try:
            kind, level, size = ((cache / file).read_text().strip() for file in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found.append([f"L{level}", int(size[:-1]) * 1024])
    return sorted(found, key=lambda cache: cache[1])


def _processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
