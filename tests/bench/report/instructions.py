#!/usr/bin/env python3
"""Adds up callgrind's dumps: instructions.py DUMP... writes [[section, test, subject, metric, per operation], ...].

A dump is a file SECTION.callgrind.NUMBER; its label is "TEST|SUBJECT|METRIC|OPERATIONS" (harness/collected.hpp). What the
empty loop takes is in the list as the subject NULL, not subtracted.
"""

import json
import os
import re
import sys

_LABEL = re.compile(r"^desc: Trigger: Client Request: (.*)\|(.*)\|(.*)\|(\d+)$", re.MULTILINE)
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def main(paths):
    counts = []
    for path in sorted(paths, key=_part):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        label, total = _LABEL.search(text), _TOTAL.search(text)
        if label and total:
            test, subject, metric, operations = label.groups()
            section = os.path.basename(path).partition(".")[0]
            counts.append([section, test, subject, metric, int(total[1]) / int(operations)])
    if not counts:
        raise SystemExit("instructions.py: no dump of callgrind has a label: was the runner built with valgrind's header?")
    json.dump(counts, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _part(path):
    number = path.rpartition(".")[2]
    return (path.rpartition(".")[0], int(number) if number.isdigit() else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
