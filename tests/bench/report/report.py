#!/usr/bin/env python3
"""The table of the goals as Markdown on standard output, and everything that was measured as JSON.

    report.py --out FILE [--before FILE] [--peers FILE] [--instructions FILE] [--replay FILE] [--what TEXT]
              [--figures FILE] [--readme FILE] SECTION=FILE...

`--before`: the JSON of earlier runs, which this one is added to. Without anything new it is reported as it is.
"""

import argparse
import json
import os
import pathlib
from datetime import datetime, timezone

import document as documents
import goals
import machine
import readme
import tables

FIGURES_HEAD = """# Figures

`sh tests/bench/run --figures` writes this page; README.md says how to read it. Ratios of one run hold on a machine that has
other work too, single cells move by a tenth.

"""


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def measured(args):
    """The document of this run alone."""
    found = documents.empty()
    for entry in args.sections:
        section, _, path = entry.partition("=")
        part = read(path)
        if section == "threads":
            part = threads_as_section(part)
        found["sections"][section] = part["tests"]
        found["roles"].update(part["roles"])
        found["disturbed"] += [f"{section} {what}" for what in part["disturbed"]]
    if args.peers:
        part = read(args.peers)
        found["peers"] = {key: part[key] for key in ("roles", "sections", "disturbed")}
    if args.replay:
        found["replays"] = read(args.replay)
    if args.instructions:
        found["instructions"] = read(args.instructions)
    if args.sections or args.peers or args.replay or args.instructions:
        found["machine"] = machine.name()
        found["caches"] = machine.caches()
        now = datetime.now(timezone.utc).isoformat(timespec="minutes")
        found["runs"] = [{"time": now.removesuffix("+00:00") + " UTC", "what": args.what}]
    return found


def threads_as_section(cases):
    """What bench_vm_threads says, in the shape of the runner's sections."""
    tests = {
        f"{case['case']}, {case['threads']} threads": {
            "granule": {metric: value for metric, value in case.items() if metric not in ("case", "threads")}
        }
        for case in cases
    }
    return {"tests": tests, "roles": {"granule": "granule"}, "disturbed": []}


def page(document, rows):
    """Everything for a reader, line by line."""
    yield f"{document['machine']}. Measured:"
    yield ""
    for run in document["runs"]:
        yield f"- {run['time']}: {run['what']}"
    yield ""
    for whose, disturbed in (("", document["disturbed"]), (" among the PEERS", document["peers"]["disturbed"])):
        if disturbed:
            yield f"**Disturbed{whose}, run again:** " + "; ".join(disturbed)
            yield ""
    if document["sections"] or document["peers"]["sections"]:
        yield "## Goals"
        yield ""
        yield from tables.goals(rows)
        yield ""
    if document["replays"]:
        yield "## Whole replays"
        yield ""
        yield from tables.replays(document["replays"])
        yield ""
    if document["instructions"]:
        yield "## Instructions"
        yield ""
        yield from tables.instructions(document["instructions"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--before")
    parser.add_argument("--peers")
    parser.add_argument("--instructions")
    parser.add_argument("--replay")
    parser.add_argument("--what", default="")
    parser.add_argument("--figures")
    parser.add_argument("--readme")
    parser.add_argument("sections", nargs="*")
    args = parser.parse_args()
    document = measured(args)
    if args.before:
        try:
            document = documents.added(read(args.before), document)
        except documents.OtherMachine as problem:
            raise SystemExit(f"{args.before}: {problem}") from None
        except (KeyError, TypeError, json.JSONDecodeError):
            raise SystemExit(f"{args.before}: not the JSON of a run of this program") from None
    rows = goals.rows(*documents.runs_of(document))
    document["goals"] = [
        {"what": row.what, "against": row.against, "goal": row.goal, "met": row.met(), "cells": row.cells} for row in rows
    ]
    text = "\n".join(page(document, rows)).rstrip("\n") + "\n"
    print(text)
    # Whole or not at all: what was measured before is in the same file.
    with open(args.out + ".new", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(args.out + ".new", args.out)
    if args.figures:
        pathlib.Path(args.figures).write_text(FIGURES_HEAD + text, encoding="utf-8")
    if args.readme:
        readme.write(args.readme, document)


if __name__ == "__main__":
    main()
