#!/usr/bin/env python3
"""Of results of `granule replay --json`: replays.py FILE... writes [[trace, binds, p50 ns, p99.9 ns], ...]."""

import json
import sys


def main(paths):
    lines = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        for replay in document["traces"]:
            name = replay["trace"].rpartition("/")[2]
            lines.append([name, replay["binds"], replay["ns_per_bind_p50"], replay["ns_per_bind_p999"]])
    json.dump(lines, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
