"""A file is one idea; one of over 500 lines says in its header why it is longer.

The reason is a comment among the first 40 lines that has the word 'lines'.
"""

import re

from include_rule import FOLDERS
from project_files import CXX

MOST_LINES = 500
HEADER_LINES = 40

_REASON = re.compile(r"^\s*(//|\*|/\*).*\blines\b")


def check(project):
    for file in project.under(FOLDERS, CXX + (".py",)):
        lines = project.text(file).splitlines()
        if len(lines) > MOST_LINES and not any(_REASON.match(line) for line in lines[:HEADER_LINES]):
            yield f"{file}: {len(lines)} lines, and its header does not say why (a comment with the word 'lines')"
