"""Which files belong to the project, and what is in them.

Paths are relative to the root, with '/', as everywhere in these checks.
"""

import os
import pathlib
import subprocess

CXX = (".hpp", ".cpp", ".h", ".c")


class Project:
    """A tree of files, read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.files = sorted(_from_git(self.root) or _from_walk(self.root))

    def under(self, folders, suffixes):
        """The files below any of `folders` with any of `suffixes`."""
        prefixes = tuple(folder + "/" for folder in folders)
        return [file for file in self.files if file.startswith(prefixes) and file.endswith(suffixes)]

    def text(self, file):
        """The file's text; nothing for data that isn't text."""
        data = (self.root / file).read_bytes()
        return "" if b"\0" in data else data.decode("utf-8", errors="replace")

    def lines(self, file):
        """(number from 1, line) of the file's text."""
        return enumerate(self.text(file).splitlines(), start=1)


def _from_git(root):
    """What is tracked, and what is new and not ignored. Nothing where `root` is no git work tree of its own."""
    if not (root / ".git").exists():
        return []
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    names = listed.stdout.decode("utf-8").split("\0")
    return [name for name in names if name and (root / name).is_file()]


def _from_walk(root):
    """Every file but those of git, of build directories and of Python's cache: for a tree without git."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in (".git", "__pycache__") and not (pathlib.Path(folder) / name / "meson-private").exists()
        ]
        found += [(pathlib.Path(folder) / name).relative_to(root).as_posix() for name in names]
    return found
