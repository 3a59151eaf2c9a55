"""The folder in which downloads and what was unpacked from them stay between runs.

    lists/       which packages there are
    downloads/   packages that are not unpacked yet, NAME.part while incomplete
    unfinished/  what is being unpacked
    kernels/     a folder a kernel
    sysroots/    the libraries' packages, unpacked
    lock         held by who downloads or unpacks

A folder appears under its name once it is whole, by a rename: who is interrupted at any moment leaves nothing that the
next run could take for complete. Two runs at once wait for each other at the lock, and only to fill the cache.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import sys


def default_root():
    """Where the cache is, unless somebody says otherwise."""
    if os.environ.get("GRANULE_KERNEL_CACHE"):
        return pathlib.Path(os.environ["GRANULE_KERNEL_CACHE"])
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "granule-kernels"


def say(text):
    """A line of progress."""
    print(f"kernel: {text}", file=sys.stderr, flush=True)


class Cache:
    def __init__(self, root=None, offline=False):
        self.root = pathlib.Path(root or default_root()).absolute()  # the cross file names it
        self.offline = offline
        self._locked = False
        self.root.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def lock(self):
        """Held by at most one process. Taking it again inside is allowed."""
        if self._locked:
            yield
            return
        with open(self.root / "lock", "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run to finish with {self.root}")
                fcntl.flock(file, fcntl.LOCK_EX)
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def folder(self, name, fill):
        """The folder `name` ("kernels/6.12"), which fill(PATH) makes where there is none yet."""
        path = self.root / name
        if path.is_dir():
            return path
        with self.lock():
            if path.is_dir():  # another run made it meanwhile
                return path
            unfinished = self.root / "unfinished" / path.name
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            try:
                fill(unfinished)
                path.parent.mkdir(exist_ok=True)
                unfinished.rename(path)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return path

    def file(self, name):
        """The path of the file `name`, in a folder that exists."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def write_whole(path, text):
    """Writes a file so that a reader finds the old one or the new one, never a part."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
