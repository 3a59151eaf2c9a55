"""Tables of Markdown, line by line."""


def number(value):
    if value == 0:
        return "0"
    magnitude = abs(value)
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def whole(value):
    """As 17,523."""
    return f"{value:,.0f}"


def table(head, rows, left=1):
    """`head` and rows of texts; the first `left` columns are words, the others numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * left + " --: |" * (len(head) - left)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def goals(rows):
    """`rows` of goals.py."""

    def measured(row):
        text = "; ".join(f"{label} {number(value)}{row.unit}" for label, value, _ in row.cells)
        return text + (f" ({row.note})" if row.note and text else "")

    head = ("what", "against", "goal", "measured", "met?")
    return table(head, ((row.what, row.against, row.goal, measured(row), row.met()) for row in rows), left=len(head))


def replays(found):
    head = ("trace", "binds", "p50 of a bind", "p99.9")
    return table(
        head,
        (
            (
                replay["trace"],
                whole(replay["binds"]),
                f"{number(replay['ns_per_bind_p50'])} ns",
                f"{number(replay['ns_per_bind_p999'])} ns",
            )
            for replay in found
        ),
    )


def instructions(counts):
    """A table a section, a line a test: `counts` is [section, test, subject, metric, per operation]."""
    sections = {}
    for section, test, subject, metric, value in counts:
        subjects, lines = sections.setdefault(section, ([], {}))
        if subject not in subjects:
            subjects.append(subject)
        lines.setdefault((test, metric), {})[subject] = value
    for section, (subjects, lines) in sections.items():
        rows = (
            [f"{test}, {metric}"] + [number(values[subject]) if subject in values else "" for subject in subjects]
            for (test, metric), values in lines.items()
        )
        yield from table([f"{section}: instructions per operation", *subjects], rows)
        yield ""
