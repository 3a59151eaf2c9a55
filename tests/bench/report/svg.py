"""A line chart with logarithmic axes as SVG text: small, and readable on light and dark pages."""

from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 700, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 170, 72, 52
COLOURS = ("#0b62a4", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c")
_LABEL_STEP = 14


def chart(title, subtitle, x_label, y_label, lines, quiet=(), marks=()):
    """`lines` and `quiet` (what is there for comparison): [(name, [(x, y), ...])], all values above 0. `marks`: [(x, name)]."""
    points = [point for _, line in (*lines, *quiet) for point in line]
    x_ticks, y_ticks = _ticks([x for x, _ in points], (1,)), _ticks([y for _, y in points], (1, 2, 5))

    def at_x(value):
        return LEFT + log10(value / x_ticks[0]) / log10(x_ticks[-1] / x_ticks[0]) * (WIDTH - LEFT - RIGHT)

    def at_y(value):
        return HEIGHT - BOTTOM - log10(value / y_ticks[0]) / log10(y_ticks[-1] / y_ticks[0]) * (HEIGHT - TOP - BOTTOM)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(LEFT, 22, title, size=15)
    yield _text(LEFT, 40, subtitle, size=10, colour="#555555")
    for tick in x_ticks:
        yield _line(at_x(tick), TOP, at_x(tick), HEIGHT - BOTTOM)
        yield _text(at_x(tick), HEIGHT - BOTTOM + 16, f"1e{log10(tick):.0f}", anchor="middle")
    for tick in y_ticks:
        y = at_y(tick)
        decade = f"{tick:e}".startswith("1.0")
        yield _line(LEFT, y, WIDTH - RIGHT, y, colour="#cccccc" if decade else "#eeeeee")
        yield _text(LEFT - 6, y + 4, f"{tick:g}", anchor="end", size=12 if decade else 10)
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, anchor="middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<g transform="rotate(-90 16 {middle:.0f})">{_text(16, middle, y_label, anchor="middle")}</g>'
    for x, name in marks:
        if x_ticks[0] <= x <= x_ticks[-1]:
            yield _line(at_x(x), TOP, at_x(x), HEIGHT - BOTTOM, colour="#888888", dashes="2 3")
            yield _text(at_x(x), TOP - 6, name, anchor="middle", size=10, colour="#555555")
    places = _label_places([*lines, *quiet], at_y)
    for number, (name, line) in enumerate((*lines, *quiet)):
        is_quiet = number >= len(lines)
        colour = "#888888" if is_quiet else COLOURS[number % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        dashes = ' stroke-dasharray="5 4"' if is_quiet else ""
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{1 if is_quiet else 2}"{dashes}/>'
        for x, y in line:
            yield f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{1.5 if is_quiet else 2.5}" fill="{colour}"/>'
        yield _text(WIDTH - RIGHT + 8, places[number] + 4, name, colour=colour)
    yield "</svg>"


def _ticks(values, factors):
    """`factors` times powers of ten, from the last not above all values to the first not below them; two at least."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    found = [factor * 10**exponent for exponent in range(low, high + 1) for factor in factors]
    first = max(number for number, tick in enumerate(found) if tick <= min(values))
    last = min((number for number, tick in enumerate(found) if tick >= max(values)), default=len(found) - 1)
    return found[first : max(last, first + 1) + 1]


def _label_places(lines, at_y):
    """Beside the last point of each line, but not over each other, and not below the chart."""
    wanted = sorted((at_y(line[-1][1]), number) for number, (_, line) in enumerate(lines))
    places = {}
    free = TOP
    for y, number in wanted:
        places[number] = max(y, free)
        free = places[number] + _LABEL_STEP
    highest = HEIGHT - BOTTOM
    for _, number in reversed(wanted):
        places[number] = min(places[number], highest)
        highest = places[number] - _LABEL_STEP
    return [places[number] for number in range(len(lines))]


def _line(x1, y1, x2, y2, colour="#cccccc", dashes=""):
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"{style}/>'


def _text(x, y, text, anchor="start", size=12, colour="#222222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
