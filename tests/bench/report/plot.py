#!/usr/bin/env python3
"""Draws what an operation costs against the number of live items: plot.py JSON DIRECTORY writes growth-*.svg there.

The JSON is that of `run --growth`. The date and the machine are in the picture.
"""

import json
import pathlib
import sys

import svg

# File, title, what is counted, section, [(line, test's prefix, metric)].
CHARTS = (
    ("growth-va.svg", "VA heap: free + alloc", "live allocations", "va",
     [(mix, mix, "pair_ns") for mix in ("M", "T", "S")]),
    ("growth-va-special.svg", "VA heap: the rarer calls, median", "live allocations", "va",
     [("alloc of 2 MiB", "2 MiB", "alloc_p50_ns"), ("free of 2 MiB", "2 MiB", "free_p50_ns"),
      ("alloc, fixed address", "fixed", "alloc_p50_ns")]),
    ("growth-map.svg", "Map of mappings: map or unmap, as a batch", "N (mappings: 1.7 N, 0.8 N, N)", "map",
     [(workload, workload, "op_ns") for workload in ("W1", "W2", "W3")]),
    ("growth-find.svg", "Map of mappings: look-up by VA", "N (mappings: 1.7 N, 0.8 N, N)", "map",
     [(workload, workload, "find_ns") for workload in ("W1", "W2", "W3")]),
)  # fmt: skip
SUBJECTS = ("granule, batch", "granule")  # the first that there is


def points(tests, prefix, metric):
    found = []
    for test, runs in tests.items():
        name, _, count = test.rpartition(" N=")
        run = next((runs[subject] for subject in SUBJECTS if subject in runs), None)
        if name != prefix or run is None or metric not in run:
            continue
        empty = runs.get("NULL", {}).get(metric, 0) if metric in ("pair_ns", "op_ns", "find_ns") else 0
        found.append((int(count), max(run[metric] - empty, 0.1)))
    return sorted(found)


def main(path, directory):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    subtitle = f"{document['time'][:10]}, {document['machine']}; the loop's own time subtracted"
    for name, title, x_label, section, wanted in CHARTS:
        tests = document["sections"].get(section, {})
        lines = [(line, points(tests, prefix, metric)) for line, prefix, metric in wanted]
        lines = [(line, found) for line, found in lines if len(found) > 1]
        if not lines:
            print(f"{name}: nothing was measured for it", file=sys.stderr)
            continue
        text = "\n".join(svg.chart(title, subtitle, x_label, "ns per operation", lines)) + "\n"
        (pathlib.Path(directory) / name).write_text(text, encoding="utf-8")
        print(f"{pathlib.Path(directory) / name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
