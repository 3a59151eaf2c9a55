"""Every source and every header is in a meson.build: a test that nobody compiles cannot fail.

A file counts where the meson.build of its folder, or of a folder above, names it. Headers are in the lists of what is
compiled alone: `library_headers`, `program_headers` (of tests and examples) and `installed_headers`.
"""

import pathlib

from include_rule import FOLDERS
from project_files import CXX


def check(project):
    known = set(project.files)
    for file in project.under(FOLDERS, CXX):
        path = pathlib.PurePosixPath(file)
        for folder in path.parents:
            build_file = str(folder / "meson.build")
            if build_file in known and f"'{path.relative_to(folder)}'" in project.text(build_file):
                break
        else:
            yield f"{file}: no meson.build names it, so it is never compiled"
