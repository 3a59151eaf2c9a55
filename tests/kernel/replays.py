"""What a replay of a trace on a real driver found: the report that `granule replay --json` writes, as tests and a row."""

import base64
import gzip
import json

TABLE = "Traces replayed on real drivers: ioctls and operations, the driver's own beside the library's"

# What a kernel's behaviour makes necessary, beyond what the trace's driver asked for.
_FORCED = ("residual_operations", "isolating_operations", "piece_operations")


def unpacked(text):
    """The report in what replay.sh prints."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def read(report):
    """(tests, rows, same): as results.Outcome has them."""
    tests, rows, same = [], [], []
    for trace in report["traces"]:
        name = trace["trace"].rpartition("/")[2].partition(".")[0]
        tests.append((f"{name} is replayed without a mismatch", trace["good"], _why(trace)))
        forced = sum(trace[count] for count in _FORCED)
        for what, own, ours in (
            ("ioctls", trace["driver_ioctls"], trace["ioctls"]),
            ("operations", trace["driver_operations"], trace["kernel_operations"] - forced),
        ):
            if own:  # panfrost binds without being asked
                tests.append((f"{name}: no more {what} than its driver made", 0 < ours <= own, f"{ours} instead of {own}"))
        rows.append((TABLE, _row(name, trace, forced)))
        if not trace["moved_bos"]:
            same.append((f"mappings at the end of {name}", trace["end_mappings"]))
    return tests, rows, same


def _why(trace):
    if trace["good"]:
        return ""
    words = [trace["verdict"], *(f"line {finding['line']}: {finding['what']}" for finding in trace["findings"][:2])]
    if trace["error"]:
        words.append(f"line {trace['error']['line']}: {trace['error']['message']}")
    return "; ".join(words)


def _row(name, trace, forced):
    return {
        "trace": name,
        "taken for one that": trace["kernel"],
        "binds": trace["binds"],
        "driver: ioctls": trace["driver_ioctls"],
        "library: ioctls": trace["ioctls"],
        "driver: operations": trace["driver_operations"],
        "library: operations": trace["kernel_operations"],
        "of these for the kernel": forced,
        "granules remapped": trace["granules_remapped"],
        "mismatches": trace["mismatches"] if trace["verify"] else "not compared",
    }
