#!/usr/bin/env python3
"""Of results of `granule replay --json`: replays.py FILE... writes [{trace, binds, times, ...}, ...].

Times are those of replays that verified nothing; of one that did (`--verify`) its mismatches are added.
"""

import json
import sys

KEPT = ("binds", "overmaps", "partial_unmaps", "granules_remapped", "ns_per_bind_p50", "ns_per_bind_p999")


def of(documents):
    replays = [replay for document in documents for replay in document["traces"]]
    mismatches = {_name(replay): replay["mismatches"] for replay in replays if replay["verify"]}
    found = []
    for replay in replays:
        if not replay["verify"]:
            found.append({"trace": _name(replay), **{key: replay[key] for key in KEPT}})
            if _name(replay) in mismatches:
                found[-1]["mismatches"] = mismatches[_name(replay)]
    return found


def _name(replay):
    return replay["trace"].rpartition("/")[2]


def main(paths):
    documents = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            documents.append(json.load(file))
    json.dump(of(documents), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
