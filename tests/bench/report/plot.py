#!/usr/bin/env python3
"""Draws what an operation costs against the number of items: plot.py JSON DIRECTORY writes growth-*.svg there.

The JSON is that of `run --growth`; date and machine are in the picture. Times are as they were taken: the empty loop is a line
of its own, or named. Where what a line goes through outgrows a cache (bytes that the run counted, over the caches of its machine) there
is a mark, and a table in DIRECTORY/README.md.
"""

import json
import pathlib
import sys
from math import exp, log

import marked
import svg
import tables

COMMAND = "tests/bench/run --growth"
SUBJECTS = ("granule", "granule, batch")

_LIVE = "live allocations"
_MAPPINGS = "N (mappings: 1.5 N, 0.8 N, N)"
_PAGES = "pages of 4 KiB that are mapped"

# File, title, what is counted, section, [(line, test's prefix, subject, metric)].
CHARTS = (
    ("growth-va.svg", "VA heap: free + alloc", _LIVE, "va",
     [(mix, mix, "granule", "pair_ns") for mix in ("M", "T", "S")]),
    ("growth-va-special.svg", "VA heap: the rarer calls, one at a time", _LIVE, "va",
     [("alloc of 2 MiB", "2 MiB", "granule", "alloc_mean_ns"), ("free of 2 MiB", "2 MiB", "granule", "free_mean_ns"),
      ("alloc, fixed address", "fixed", "granule", "alloc_mean_ns"), ("free of it", "fixed", "granule", "free_mean_ns")]),
    ("growth-map.svg", "Map of mappings: map or unmap", _MAPPINGS, "map",
     [(f"{workload}{how}", workload, subject, "op_ns") for subject, how in (("granule", ""), ("granule, batch", ", batch"))
      for workload in ("W1", "W2", "W3")]),
    ("growth-find.svg", "Map of mappings: look-up by VA", _MAPPINGS, "map",
     [(workload, workload, "granule", "find_ns") for workload in ("W1", "W2", "W3")]),
    ("growth-table.svg", "Page table: all pages in one call, per page", _PAGES, "pt-growth",
     [("map, fresh tables", "contiguous", "granule", "map_fresh_ns"), ("map, tables there", "contiguous", "granule", "map_warm_ns"),
      ("unmap", "contiguous", "granule", "unmap_ns")]),
    ("growth-pages.svg", "Page table: one page at random", _PAGES, "pt-growth",
     [("map", "pages", "granule", "map_ns"), ("unmap", "pages", "granule", "unmap_ns"), ("walk", "walk", "granule", "walk_ns")]),
    ("growth-bind.svg", "A whole bind of a 64 KiB tile", "mappings", "bind",
     [("one by one", "tile", "granule", "bind_ns"), ("64 a transaction", "tile", "granule", "batch_ns")]),
)  # fmt: skip


def by_count(tests, prefix):
    """[(N, {subject: {metric: value}})] of the tests "PREFIX N=...", the fewest first."""
    found = []
    for test, runs in tests.items():
        name, _, count = test.rpartition(" N=")
        if name == prefix:
            found.append((int(count), runs))
    return sorted(found, key=lambda pair: pair[0])


def points(tests, prefix, subject, metric):
    return [
        (n, runs[subject][metric])
        for n, runs in by_count(tests, prefix)
        if metric in runs.get(subject, {}) and runs[subject][metric] > 0
    ]


def footprint(tests, prefix, subject):
    """[(N, bytes that the operations of a line go through)]: of the structure, and of what its caller keeps of an item."""
    of = "T" if prefix in ("2 MiB", "fixed") else prefix  # such a call is made in a heap that was churned with T
    found = []
    for n, runs in by_count(tests, of):
        run = runs.get(subject, {})
        if "bytes_per_live" in run:
            found.append((n, n * (run["bytes_per_live"] + run["callers_bytes_per_live"])))
        elif "bytes_per_mapping" in run:
            found.append((n, run["mappings"] * run["bytes_per_mapping"]))
        elif "bytes_per_page" in run:
            found.append((n, n * run["bytes_per_page"]))
    return found


def outgrows(sizes, limit):
    """The N at which `sizes`, [(N, bytes)], go over `limit`, between two N by the straight line of the logarithms; or None."""
    for (n, size), (next_n, next_size) in zip(sizes, sizes[1:]):
        if size <= limit < next_size:
            part = log(limit / size) / log(next_size / size)
            return exp(log(n) + part * log(next_n / n))
    return None


def marks(document, tests, wanted):
    """[(N, "L2 1 MiB"), ...]: for each cache the middle of the lines that outgrow it."""
    found = []
    for name, limit in document["caches"]:
        over = [outgrows(footprint(tests, prefix, subject), limit) for _, prefix, subject, _ in wanted]
        over = [log(n) for n in over if n]
        if over:
            found.append((exp(sum(over) / len(over)), f"{name} {_bytes(limit)}"))
    return found


def growth_table(document):
    """Lines of Markdown; None where a line was not measured."""
    rows = []
    for _, title, _, section, wanted in CHARTS:
        tests = document["sections"].get(section, {})
        for line, prefix, subject, metric in wanted:
            found = points(tests, prefix, subject, metric)
            if len(found) < 2:
                return None
            sizes = footprint(tests, prefix, subject)
            per_item = f"{sizes[0][1] / sizes[0][0]:.0f}; {sizes[-1][1] / sizes[-1][0]:.0f}" if sizes else ""
            crossings = [outgrows(sizes, limit) for _, limit in document["caches"]]
            rows.append(
                [f"{title.partition(',')[0]}: {line}", per_item]
                + [f"{n:.1e}".replace("e+0", "e") if n else "" for n in crossings]
                + [_at(found, n) for n in (1_000, 100_000, 10_000_000)]
            )
    head = (
        "line",
        "bytes an item, first; last",
        *(f"over {name}, {_bytes(limit)}" for name, limit in document["caches"]),
        "ns at 1e3",
        "1e5",
        "1e7",
    )
    return "\n".join(tables.table(head, rows)) + f"\n\n{_when(document)}.\n"


def _at(found, n):
    value = dict(found).get(n)
    return "" if value is None else tables.number(value)


def _bytes(count):
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def _when(document):
    return f"{document['runs'][-1]['time'][:10]}, {document['machine']}"


def main(path, directory):
    directory = pathlib.Path(directory)
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    for name, title, x_label, section, wanted in CHARTS:
        tests = document["sections"].get(section, {})
        lines = [(line, points(tests, prefix, subject, metric)) for line, prefix, subject, metric in wanted]
        lines = [(line, found) for line, found in lines if len(found) > 1]
        if not lines:
            print(f"{name}: nothing was measured for it", file=sys.stderr)
            continue
        empty = points(tests, wanted[0][1], "NULL", wanted[0][3])
        quiet, subtitle = [("the empty loop", empty)] if empty else [], _when(document)
        if empty and 10 * min(y for _, y in empty) < min(y for _, found in lines for _, y in found):
            # Far below the lines it would only press them flat: words are enough.
            quiet, subtitle = [], f"{subtitle}; the empty loop: {max(y for _, y in empty):.1g} ns at most"
        text = "\n".join(
            svg.chart(
                title,
                subtitle,
                x_label,
                "ns",
                lines,
                quiet=quiet,
                marks=marks(document, tests, wanted),
            )
        )
        (directory / name).write_text(text + "\n", encoding="utf-8")
        print(f"{directory / name}")
    table = growth_table(document)
    if table is None:
        print("README.md keeps its table of growth: not every line in it was measured", file=sys.stderr)
    else:
        marked.insert(directory / "README.md", COMMAND, table)


if __name__ == "__main__":
    main(*sys.argv[1:])
