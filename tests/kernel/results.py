"""What the programs of a guest said, and what the runner makes of it.

A program says it in lines "@granule {JSON}" (README.md). A guest's own script adds one before and one after each
program, so that what comes between is known to be of that program.
"""

import dataclasses
import json
import time
import zlib

import replays

MARK = "@granule {"


@dataclasses.dataclass
class Outcome:
    """Of one program in one guest."""

    program: str
    exit_code: int | None = None  # None: it did not end
    tests: list = dataclasses.field(default_factory=list)  # (name, passed, what)
    rows: list = dataclasses.field(default_factory=list)  # (table, {column: value})
    same: list = dataclasses.field(default_factory=list)  # (name, value)
    expected: set = dataclasses.field(default_factory=set)  # of "warnings", "oops"
    output: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class Collector:
    """Takes the lines of a guest one by one."""

    def __init__(self, programs):
        self.outcomes = {program: Outcome(program) for program in programs}
        self._now, self._since = None, 0.0

    def line(self, text):
        before, mark, rest = text.partition(MARK)
        if not mark:
            if self._now:
                self._now.output.append(text)
            return
        try:
            said = json.loads(MARK[-1] + rest)
        except ValueError:
            self._fail(f"a line that is not JSON: {text}")
            return
        if self._now and before:
            self._now.output.append(before)
        if "begin" in said:
            self._now, self._since = self.outcomes[said["begin"]], time.monotonic()
        elif self._now is None:
            pass  # of no program
        elif "end" in said:
            self._now.seconds = time.monotonic() - self._since
            self._now.exit_code, self._now = said["exit"], None
        elif "test" in said:
            self._now.tests.append((said["test"], said.get("passed") is True, said.get("what", "")))
        elif "table" in said:
            self._now.rows.append((said["table"], said.get("row", {})))
        elif "same" in said:
            self._now.same.append((said["same"], said.get("value")))
        elif "replay" in said:
            try:
                tests, rows, same = replays.read(replays.unpacked(said["replay"]))
            except (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error) as problem:
                self._fail(f"a replay's report that cannot be read: {problem!r}")
                return
            self._now.tests += tests
            self._now.rows += rows
            self._now.same += same
        elif said.get("expect") in ("warnings", "oops"):
            self._now.expected.add(said["expect"])
        else:
            self._fail(f"a line that means nothing: {text}")

    def _fail(self, what):
        if self._now:
            self._now.tests.append(("what it says", False, what))


def script(programs):
    """The shell script that runs (label, command, seconds) one after the other and says which one is running."""
    lines = []
    for label, command, seconds in programs:
        lines += [
            f"echo 'granule: begin {label}' > /dev/kmsg",
            f"echo '{MARK}\"begin\": \"{label}\"}}'",
            f"timeout -s KILL {seconds} {command}",
            f"printf '\\n{MARK}\"end\": \"{label}\", \"exit\": %d}}\\n' $?",
        ]
    return "\n".join(lines)


def judged(outcome, log, ending):
    """The tests of a program with what the kernel said about it: (name, passed, what), at least one."""
    tests = list(outcome.tests)
    warnings = [warning for warning in log.warnings if warning.program == outcome.program]
    oopses = [oops for oops in log.oopses if oops.program == outcome.program]
    if warnings and not outcome.expected:
        tests.append(("no kernel warning", False, "; ".join(sorted({_where(warning) for warning in warnings}))))
    if oopses and "oops" not in outcome.expected:
        tests.append(("no kernel oops", False, "; ".join(f"{oops.text} {oops.function}".strip() for oops in oopses)))
    if outcome.exit_code is None and not oopses:
        tests.append(("the program ends", False, ending))
    elif outcome.exit_code and all(passed for _, passed, _ in tests):
        tests.append(("exit code 0", False, f"it was {outcome.exit_code}" + _last_words(outcome)))
    return tests or [("a test", False, "the program ended well and tested nothing" + _last_words(outcome))]


def _where(complaint):
    return f"{complaint.function} {complaint.place}".strip() or complaint.text


def _last_words(outcome):
    words = " | ".join(line for line in outcome.output[-3:] if line)
    return f": {words}" if words else ""


def markdown(name, rows):
    """A table of rows {column: value}; its columns in the order in which they first appear."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"### {name}", "", "| " + " | ".join(columns) + " |"]
    numbers = [column for column in columns if all(type(row.get(column, 0)) in (int, float) for row in rows)]
    lines.append("| " + " | ".join("--:" if column in numbers else "---" for column in columns) + " |")
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines)


def _cell(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
