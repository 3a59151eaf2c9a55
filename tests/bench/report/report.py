#!/usr/bin/env python3
"""The table of the goals as Markdown on standard output, and everything that was measured as JSON.

    report.py --out FILE [--peers FILE] [--instructions FILE] [--replay FILE] --machine TEXT SECTION=FILE...
"""

import argparse
import json
from datetime import datetime, timezone

import goals
from results import Run


def read_own(files):
    sections, roles, disturbed = {}, {}, []
    for entry in files:
        section, _, path = entry.partition("=")
        with open(path, encoding="utf-8") as file:
            part = json.load(file)
        if section == "threads":
            part = threads_as_section(part)
        sections[section] = part["tests"]
        roles.update(part["roles"])
        disturbed += [f"{section} {what}" for what in part["disturbed"]]
    return Run(sections, roles), disturbed


def threads_as_section(cases):
    """What bench_vm_threads says, in the shape of the runner's sections."""
    tests = {
        f"{case['case']}, {case['threads']} threads": {
            "granule": {metric: value for metric, value in case.items() if metric not in ("case", "threads")}
        }
        for case in cases
    }
    return {"tests": tests, "roles": {"granule": "granule"}, "disturbed": []}


def read_peers(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    return Run(document["sections"], document["roles"]), document


def number(value):
    if value == 0:
        return "0"
    magnitude = abs(value)
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def markdown(table):
    head = ("what", "against", "goal", "measured", "met?")
    yield "| " + " | ".join(head) + " |"
    yield "| --- " * len(head) + "|"
    for row in table:
        measured = "; ".join(f"{label} {number(value)}{row.unit}" for label, value, _ in row.cells)
        measured += f" ({row.note})" if row.note and measured else ""
        yield "| " + " | ".join((row.what, row.against, row.goal, measured, row.met())) + " |"


def instruction_table(counts):
    """Instructions per operation, a line a test: `counts` is [test, subject, metric, per operation]."""
    subjects = []
    lines = {}
    for test, subject, metric, value in counts:
        if subject not in subjects:
            subjects.append(subject)
        lines.setdefault((test, metric), {})[subject] = value
    yield "| instructions per operation | " + " | ".join(subjects) + " |"
    yield "| --- |" + " --: |" * len(subjects)
    for (test, metric), values in lines.items():
        cells = [number(values[subject]) if subject in values else "" for subject in subjects]
        yield f"| {test}, {metric} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--peers")
    parser.add_argument("--instructions")
    parser.add_argument("--replay")
    parser.add_argument("--machine", required=True)
    parser.add_argument("sections", nargs="*")
    args = parser.parse_args()
    own, disturbed = read_own(args.sections)
    peers, peers_document = read_peers(args.peers) if args.peers else (None, None)
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    document = {"time": time, "machine": args.machine, "disturbed": disturbed, "roles": own.roles, "sections": own.sections}

    print(f"{time}, {args.machine}.\n")
    if disturbed:
        print("**Disturbed, run again:** " + "; ".join(disturbed) + "\n")
    if peers_document and peers_document.get("disturbed"):
        print("**Disturbed among the PEERS, run again:** " + "; ".join(peers_document["disturbed"]) + "\n")
    if args.sections or args.peers:
        table = goals.rows(own, peers)
        print("\n".join(markdown(table)) + "\n")
        document["goals"] = [
            {"what": row.what, "against": row.against, "goal": row.goal, "met": row.met(), "cells": row.cells} for row in table
        ]
    if peers_document:
        document["peers"] = peers_document
    if args.replay:
        with open(args.replay, encoding="utf-8") as file:
            document["replays"] = json.load(file)
        print("\n".join(replay_table(document["replays"])) + "\n")
    if args.instructions:
        with open(args.instructions, encoding="utf-8") as file:
            document["instructions"] = json.load(file)
        print("\n".join(instruction_table(document["instructions"])) + "\n")
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def replay_table(replays):
    """`replays` is [trace, binds, p50 ns, p99.9 ns]."""
    yield "| a whole replay | binds | p50 | p99.9 |"
    yield "| --- | --: | --: | --: |"
    for trace, binds, p50, p999 in replays:
        yield f"| {trace} | {binds} | {number(p50)} ns | {number(p999)} ns |"


if __name__ == "__main__":
    main()
