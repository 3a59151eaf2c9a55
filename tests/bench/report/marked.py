#!/usr/bin/env python3
"""The parts of a page that a program writes: marked.py FILE NAME puts standard input between the lines

    <!-- NAME: begin -->
    <!-- end -->

of FILE. NAME is the command that makes it.
"""

import pathlib
import sys


def inserted(page, name, made):
    """`page` with `made`, whole lines, between the marks of `name`. ValueError: it has none."""
    begin, end = f"<!-- {name}: begin -->\n", "<!-- end -->\n"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"it lacks the line {(end if found else begin).strip()!r}")
    return before + begin + made + end + after


def insert(path, name, made):
    """Into a file, which it changes only where it can be done whole."""
    path = pathlib.Path(path)
    try:
        page = inserted(path.read_text(encoding="utf-8"), name, made)
    except ValueError as problem:
        raise SystemExit(f"{path}: {problem}") from None
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    insert(sys.argv[1], sys.argv[2], sys.stdin.read())
