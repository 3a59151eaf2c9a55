"""The table of kernels in the project's README, made of what proof_plain and proof_library found: run.py --readme."""

import re

BEGIN = "<!-- tests/kernel/run --readme: begin -->\n"
END = "<!-- end -->\n"

# proof_cases.hpp names them.
_CASES = ("unmap 4K at the edge", "unmap 4K inside", "the same, queued", "map 64K over it", "unmap a leaf inside")
_PLAIN, _LIBRARY = "proof", "proof, through the library"


def table(tables):
    """Markdown; None where this run did not make every row of it. `tables`: {name: rows}, rows as run.table_rows has them."""
    plain = _by_kernel(tables.get(_PLAIN, ()))
    library = _by_kernel(tables.get(_LIBRARY, ()))
    if not plain or plain.keys() != library.keys():
        return None
    lines = [
        "| Linux | | " + " | ".join(_CASES) + " | kernel warnings |",
        "| --- | --- |" + " --- |" * len(_CASES) + " --: |",
    ]
    for kernel, row in plain.items():
        lines.append(_line(kernel, "plainly", row))
        lines.append(_line("", "granule", library[kernel]))
    return "\n".join(lines) + "\n"


def inserted(readme, made):
    """The README with this table in the place of the one that it has."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the line {(END if begin else BEGIN).strip()!r}")
    return before + begin + made + end + after


def _by_kernel(rows):
    return {row["kernel"].partition("+")[0]: row for row in rows if row.get("huge pages", True)}


def _line(kernel, how, row):
    return f"| {kernel} | {how} | " + " | ".join(_cell(row[case]) for case in _CASES) + f" | {row['kernel warnings']} |"


def _cell(outcome):
    """ "works, 4 operations in 1 ioctl" is "works (4)"; what does not work is meant to be seen."""
    counted = re.fullmatch(r"works, (\d+) operations? in 1 ioctl", outcome)
    if counted:
        return f"works ({counted[1]})"
    return outcome if outcome == "works" else f"**{outcome}**"
