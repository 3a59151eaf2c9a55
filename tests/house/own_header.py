"""A source includes its own header first, and a header is guarded: so that compiling the source shows that the header
compiles alone, and only the others need a source of their own for that (header_alone.py).
"""

import re

from include_rule import FOLDERS

_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[\"<]([^\">]*)[\">]", re.MULTILINE)
_GUARD = re.compile(r"^[ \t]*#[ \t]*(?:pragma[ \t]+once|ifndef[ \t]+(\w+)\s+#[ \t]*define[ \t]+\1)\s", re.MULTILINE)


def check(project):
    known = set(project.files)
    for file in project.under(FOLDERS, (".hpp",)):
        if not _GUARD.search(project.text(file)):
            yield f"{file}: neither #pragma once nor an include guard"
    for file in project.under(FOLDERS, (".cpp",)):
        header = file.removesuffix(".cpp") + ".hpp"
        first = _INCLUDE.search(project.text(file))
        if header in known and not (first and f"/{header}".endswith(f"/{first[1]}")):
            yield f"{file}: does not include {header} first, which nothing else compiles alone"
