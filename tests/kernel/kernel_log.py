"""What a kernel said, read from its console: warnings and oopses, and whose fault they were.

The guest writes markers of its own into the log: which program begins, and that all have ended.
"""

import dataclasses
import re

BEGIN = "granule: begin "  # NAME of a program
END = "granule: end"

_LINE = re.compile(r"^\[\s*(?P<seconds>\d+\.\d+)\](?:\[[^]]*\])? (?P<text>.*)$")
# Until 6.17 "WARNING: CPU: 0 PID: 93 at FILE:LINE FUNCTION+0x1c/0x40", later "WARNING: FILE:LINE at FUNCTION+0x1c/0x40, ..."
_WARNING = re.compile(r"^WARNING: ")
_OOPS = re.compile(r"^(Unable to handle kernel|Internal error: |Kernel panic|kernel BUG at|BUG: |Oops)")
_PLACE = re.compile(r"(?P<file>[\w./-]+\.[chS]):(?P<line>\d+)")
_FUNCTION = re.compile(r"(?P<function>[\w.]+)\+0x[0-9a-f]+/0x")
_COUNTER = re.compile(r"^pc : ")


@dataclasses.dataclass
class Complaint:
    text: str
    program: str  # between whose markers it came; "" before the first and after the last
    seconds: float  # since the kernel started
    place: str = ""  # "io-pgtable-arm.c:595"
    function: str = ""


@dataclasses.dataclass
class KernelLog:
    warnings: list
    oopses: list
    lines: list  # (program, line) of everything from the first marker on


def parse(console):
    """The console's text as a KernelLog. Lines of an oops belong to its first line."""
    log, program, started, oops = KernelLog([], [], []), "", False, None
    for raw in console.splitlines():
        line = _LINE.match(raw)
        if line is None:
            continue
        seconds, text = float(line["seconds"]), line["text"]
        if text.startswith(BEGIN):
            program, started = text[len(BEGIN) :], True
        elif text.startswith(END):
            program = ""
        elif started:
            log.lines.append((program, raw))
        if _WARNING.match(text):
            log.warnings.append(_located(Complaint(text, program, seconds), text))
        elif _OOPS.match(text):
            if oops is None:
                oops = Complaint(text, program, seconds)
                log.oopses.append(oops)
        elif oops is not None and not oops.function and _COUNTER.match(text):
            _located(oops, text)
    return log


def _located(complaint, text):
    place, function = _PLACE.search(text), _FUNCTION.search(text)
    if place:
        complaint.place = f"{place['file'].rpartition('/')[2]}:{place['line']}"
    if function:
        complaint.function = function["function"]
    return complaint
