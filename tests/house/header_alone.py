#!/usr/bin/env python3
"""Writes the source that compiles one header alone: header_alone.py ROOT HEADER SOURCE.

It includes the header twice and nothing else: a forgotten #pragma once shows too.
"""

import os
import pathlib
import sys


def main(root, header, source):
    name = pathlib.PurePath(os.path.relpath(header, root)).as_posix()
    pathlib.Path(source).write_text(f'#include "{name}"\n' * 2, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
