"""Writes a cpio archive in the "newc" format, which the kernel unpacks as its first file system
(Linux Documentation/driver-api/early-userspace/buffer-format.rst).
"""

_DIRECTORY, _FILE, _LINK = 0o040000, 0o100000, 0o120000
_TRAILER = "TRAILER!!!"


class Archive:
    """Files by their path from the root, without the leading '/'. Folders above a file are made with it."""

    def __init__(self):
        self._entries = {}  # path: (mode, content)

    def folder(self, path):
        parts = path.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            self._entries.setdefault("/".join(parts[:count]), (_DIRECTORY | 0o755, b""))

    def file(self, path, content, executable=False):
        self._add(path, _FILE | (0o755 if executable else 0o644), content)

    def link(self, path, target):
        self._add(path, _LINK | 0o777, target.encode("utf-8"))

    def __contains__(self, path):
        return path.strip("/") in self._entries

    def _add(self, path, mode, content):
        path = path.strip("/")
        if "/" in path:
            self.folder(path.rpartition("/")[0])
        self._entries[path] = (mode, content)

    def bytes(self):
        """The archive; a folder comes before what is in it, because it was added first."""
        parts = [
            _entry(inode, path, mode, content) for inode, (path, (mode, content)) in enumerate(self._entries.items(), start=1)
        ]
        return b"".join([*parts, _entry(0, _TRAILER, 0, b"")])


def _entry(inode, path, mode, content):
    """Thirteen numbers of eight hexadecimal digits, the name, and the content, the latter two padded to four bytes."""
    name = path.encode("utf-8") + b"\0"
    links = 2 if mode & _DIRECTORY and not mode & _FILE else 1
    # inode, mode, user, group, links, time, size, device and its kind (major, minor each), length of the name, checksum
    numbers = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(header + name) + _padded(content)


def _padded(data):
    return data + b"\0" * (-len(data) % 4)
