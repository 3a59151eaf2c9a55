"""A folder includes only folders to its left:

    mali/  <-  allocator/  <-  src/  <-  examples/, tests/

and the two on the left stay pure: they include of the system only what is listed here.
"""

import posixpath
import re

from project_files import CXX

# A folder, and the folders that it may include. What is in examples/ are projects of their own, and the C files of tests/ are
# somebody's who has only the installed headers: these include their own headers by name, from where they are or from
# examples/, and of ours the installed ones.
MAY_INCLUDE = {
    "mali": {"mali"},
    "allocator": {"mali", "allocator"},
    "src": {"mali", "allocator", "src"},
    "examples": {"src"},
    "tests": {"mali", "allocator", "src", "tests"},
}
FOLDERS = tuple(MAY_INCLUDE)

# Headers that need neither an operating system nor a heap nor locks: mali/ runs in firmware. <cassert> and <cstring> are
# what every firmware's C library has; <atomic> is there because a GPU walks the tables while they are written, <memory>
# for std::addressof, <system_error> for the std::errc of <charconv>. The last two are the compiler's: vectors.
PURE = {
    "algorithm", "array", "atomic", "bit", "cassert", "charconv", "climits", "compare", "concepts", "cstddef", "cstdint",
    "cstring", "initializer_list", "iterator", "limits", "memory", "new", "numeric", "optional", "ranges", "span",
    "string_view", "system_error", "tuple", "type_traits", "utility", "variant",
    "tl/expected.hpp",
    "arm_neon.h", "immintrin.h",
}  # fmt: skip

# allocator/ has nodes, so it has a heap: mimalloc's, the C library's under a sanitizer, or the containers'. Still no OS, but for
# the one file that asks it for huge pages, and no locks: the caller's lock covers it.
WITH_HEAP = PURE | {"cstdlib", "functional", "map", "mimalloc.h", "set", "string", "unordered_map", "vector"}

SYSTEM_HEADERS = {"mali": PURE, "allocator": WITH_HEAP}
OF_ONE_FILE = {"allocator/node_memory.cpp": {"sys/mman.h"}}

# The installed headers, which are src/include/granule/, are included as <granule/...>.
INSTALLED = "granule/"

_INCLUDE = re.compile(r"""\s*#\s*include\s*(?:"(?P<own>[^"]*)"|<(?P<system>[^>]*)>)""")


def check(project):
    known = set(project.files)
    for file in project.under(FOLDERS, CXX):
        folder = file.split("/")[0]
        for number, line in project.lines(file):
            match = _INCLUDE.match(line)
            if not match:
                continue
            outside = folder == "examples" or (folder == "tests" and file.endswith((".c", ".h")))
            if outside and match["own"] is not None:
                problem = _problem_outside(file, match["own"], known)
            else:
                problem = _problem(file, match["own"], match["system"], known)
            if problem:
                yield f"{file}:{number}: {problem}"


def _problem_outside(file, name, known):
    folder = file.split("/")[0]
    places = {f"{posixpath.dirname(file)}/{name}", f"{folder}/{name}"}
    return None if places & known else f'"{name}" is not its own: it has its own headers and the installed ones, <granule/...>'


def _problem(file, own, system, known):
    folder = file.split("/")[0]
    name = system if own is None else own
    if name.startswith(INSTALLED):
        name = "src/include/" + name
    of_project = own is not None or name.split("/")[0] in FOLDERS
    if not of_project:
        allowed = SYSTEM_HEADERS.get(folder)
        if allowed is not None and name not in allowed | OF_ONE_FILE.get(file, set()):
            return f"<{name}> is not in the list of what {folder}/ may include of the system (tests/house/include_rule.py)"
        return None
    target = name.split("/")[0]
    if target not in FOLDERS or name not in known:
        return f'"{name}" is not a header of the project, written from its root'
    if target not in MAY_INCLUDE[folder]:
        return f'{folder}/ includes "{name}": a folder includes only folders to its left'
    if folder == "examples" and target == "src" and not name.startswith("src/include/"):
        return f'an example includes "{name}": it uses the installed headers only'
    return None
