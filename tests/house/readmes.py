"""A stranger finds out what a folder is for: the root and each top folder have a README.md of a page, and a folder with
sources that has none is named, as `folder/`, in the README.md of a folder above it.
"""

import pathlib

from include_rule import FOLDERS
from project_files import CXX

ROOT = pathlib.PurePosixPath(".")
FEWEST_LINES = 3
MOST_LINES = 200  # a page that scrolls a few times; what is longer is two pages


def check(project):
    readmes = {
        pathlib.PurePosixPath(file).parent: project.text(file)
        for file in project.files
        if pathlib.PurePosixPath(file).name == "README.md"
    }
    top = [pathlib.PurePosixPath(folder) for folder in FOLDERS if project.under([folder], "")]
    for folder in [ROOT, *top]:
        if folder not in readmes:
            yield f"{folder}/README.md: missing"
    for folder in sorted({pathlib.PurePosixPath(file).parent for file in project.under(FOLDERS, CXX)}):
        if folder not in [*top, *readmes] and not _named_above(folder, readmes):
            yield f"{folder}/: no README.md, and none above names it"
    for folder, text in readmes.items():
        length = len(text.splitlines())
        if not FEWEST_LINES <= length <= MOST_LINES:
            yield f"{folder}/README.md: {length} lines; a page is wanted"


def _named_above(folder, readmes):
    return any(f"{folder.relative_to(above)}/" in readmes.get(above, "") for above in folder.parents)
