"""The shared libraries that an arm64 program needs, its loader included: from given folders, else the cross compiler's."""

import functools
import pathlib
import re
import subprocess

from problems import Missing

_AARCH64 = b"\xb7\x00"  # e_machine in an ELF file's header
_PREFIX = "aarch64-linux-gnu-"


def closure(program, folders):
    """{name: path} of everything that the loader will look for; nothing for a file that isn't a dynamic ELF file."""
    found, open_files = {}, [pathlib.Path(program)]
    while open_files:
        file = open_files.pop()
        for name in needed(file):
            if name not in found:
                found[name] = _find(name, folders, file)
                open_files.append(found[name])
    return found


def needed(file):
    """The libraries and the loader that an ELF file names."""
    with open(file, "rb") as content:
        header = content.read(20)
    if header[:4] != b"\x7fELF":
        return []
    if header[18:] != _AARCH64:
        raise Missing(f"{file} is a program or library, but not one for arm64")
    told = subprocess.run([_PREFIX + "readelf", "-dl", "-W", str(file)], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"\(NEEDED\).*\[(.*)\]", told)
    loader = re.findall(r"interpreter: .*/([^]]*)\]", told)
    return libraries + loader


def _find(name, folders, wanted_by):
    for folder in folders:
        if (pathlib.Path(folder) / name).is_file():
            return pathlib.Path(folder) / name
    path = pathlib.Path(_of_compiler(name))
    if not path.is_file():
        places = ", ".join(map(str, folders)) or "any folder given"
        raise Missing(
            f"{wanted_by} needs {name}\n  not in {places}, nor the cross compiler's\n  --library-path FOLDER adds one"
        )
    return path


@functools.lru_cache(maxsize=None)
def _of_compiler(name):
    told = subprocess.run([_PREFIX + "gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return told.stdout.strip()
