#!/usr/bin/env python3
"""Runs one check of this folder over the project: run.py CHECK ROOT. Exit code: 0 kept, 1 violated."""

import importlib
import sys

from project_files import Project


def main(check, root):
    problems = list(importlib.import_module(check).check(Project(root)))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
