"""What no file of the project says: where somebody's machine keeps things, which host serves packages, work not done.

Pages (.md) besides: a place that something was to be put in, as @NAME@ in capitals. In meson.build that is meson's.
"""

import re

# What a report calls it, and its pattern. Written so that this file does not match itself.
FORBIDDEN = (
    ("a path of somebody's machine", re.compile(r"(?<![\w.])/(home|root|work|Users)/\w|[.]{2}/shared\b")),
    (
        "a host of a package registry",
        re.compile(
            r"\b(apt|archive|deb|ftp|mirrors?|proxy|pypi|registry|security|snapshot)([.][a-z0-9-]+)+[.](org|com|net|io)\b"
        ),
    ),
    ("work not done, without the number of an issue", re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b(?!\s?\(?#\d)")),
    ("a conflict of a merge", re.compile(r"^(<{7}|>{7}) ")),
)
FORBIDDEN_IN_PAGES = (("a place that was never filled", re.compile(r"@[A-Z][A-Z0-9_-]*@")),)


def check(project):
    for file in project.files:
        forbidden = FORBIDDEN + FORBIDDEN_IN_PAGES if file.endswith(".md") else FORBIDDEN
        for number, line in project.lines(file):
            for name, pattern in forbidden:
                if pattern.search(line):
                    yield f"{file}:{number}: {name}: {line.strip()[:100]}"
