"""What was measured, as one document: the runner's sections, a harness's, whole replays, instruction counts, and when.

    {"machine": TEXT, "caches": [["L1", bytes], ...], "runs": [{"time": ISO, "what": TEXT}, ...],
     "roles": {subject: role}, "sections": {section: {test: {subject: {metric: value}}}}, "disturbed": [TEXT, ...],
     "peers": {"roles", "sections", "disturbed"},
     "replays": [{"trace", "binds", "ns_per_bind_p50", ...}, ...],  (replays.py)
     "instructions": [[section, test, subject, metric, per operation], ...]}

A later run is added to an earlier one test by test, so that a ratio is always of one run.
"""

from results import Run


class OtherMachine(Exception):
    pass


def empty():
    return {
        "machine": "",
        "caches": [],
        "runs": [],
        "roles": {},
        "sections": {},
        "disturbed": [],
        "peers": {"roles": {}, "sections": {}, "disturbed": []},
        "replays": [],
        "instructions": [],
    }


def added(before, later):
    """`before` with all that `later` measured in the place of its like."""
    if before["machine"] and later["machine"] and before["machine"] != later["machine"]:
        raise OtherMachine(f"measured on {before['machine']}; this is {later['machine']}")
    whole = _tests_added(before, later)
    whole["machine"] = later["machine"] or before["machine"]
    whole["caches"] = later["caches"] or before["caches"]
    whole["runs"] = before["runs"] + later["runs"]
    whole["peers"] = _tests_added(before["peers"], later["peers"])
    traces = {replay["trace"] for replay in later["replays"]}
    whole["replays"] = [replay for replay in before["replays"] if replay["trace"] not in traces] + later["replays"]
    counted = {tuple(count[:4]) for count in later["instructions"]}
    whole["instructions"] = [
        count for count in before["instructions"] if tuple(count[:4]) not in counted
    ] + later["instructions"]
    return whole


def runs_of(document):
    """The runner's run, and the harness's or None."""
    peers = document["peers"]
    return (
        Run(document["sections"], document["roles"]),
        Run(peers["sections"], peers["roles"]) if peers["sections"] else None,
    )


def _tests_added(before, later):
    sections = {section: dict(tests) for section, tests in before["sections"].items()}
    for section, tests in later["sections"].items():
        sections.setdefault(section, {}).update(tests)
    still = [notice for notice in before["disturbed"] if not _settled(notice, before["sections"], later["sections"])]
    return {
        "roles": {**before["roles"], **later["roles"]},
        "sections": sections,
        "disturbed": still + later["disturbed"],
    }


def _settled(notice, before, later):
    """Whether what a notice, "SECTION TEST: ...", is about was measured again. A name that is no test's is about them all."""
    section, _, rest = notice.partition(" ")
    test = rest.partition(":")[0]
    if section not in later:
        return False
    return test in later[section] or test not in before.get(section, {})
