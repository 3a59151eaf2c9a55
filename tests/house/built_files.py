"""Every source and every header is in a meson.build: a test that nobody compiles cannot fail.

A file counts where the meson.build of its folder, or of a folder above, names it. Headers are in the lists of what is
compiled alone: `library_headers`, `program_headers` (of tests) and `installed_headers`. The projects in examples/ name their
sources, their neighbours' included; their headers come with them. Programs that a test builds against the installed library
count where that test, a `run.py` beside them, names them.
"""

import pathlib

from include_rule import FOLDERS
from project_files import CXX


def check(project):
    known = set(project.files)
    examples = [project.text(file) for file in project.under(["examples"], ("meson.build",))]
    for file in project.under(FOLDERS, CXX):
        if file.startswith("examples/"):
            ends = (file.removeprefix("examples/"), file.rpartition("/")[2])
            if not file.endswith((".h", ".hpp")) and not any(f"{end}'" in text for text in examples for end in ends):
                yield f"{file}: no meson.build names it, so it is never compiled"
            continue
        path = pathlib.PurePosixPath(file)
        builder = str(path.parent / "run.py")
        if file.startswith("tests/") and builder in known and f'"{path.name}"' in project.text(builder):
            continue
        for folder in path.parents:
            build_file = str(folder / "meson.build")
            if build_file in known and f"'{path.relative_to(folder)}'" in project.text(build_file):
                break
        else:
            yield f"{file}: no meson.build names it, so it is never compiled"
