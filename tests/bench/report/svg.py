"""A line chart with logarithmic axes as SVG text: small, and readable on light and dark pages."""

from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 56, 52
COLOURS = ("#0b62a4", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c")


def chart(title, subtitle, x_label, y_label, lines):
    """`lines`: [(name, [(x, y), ...])]; all values above 0."""
    x_values = [x for _, points in lines for x, _ in points]
    y_values = [y for _, points in lines for _, y in points]
    x_low, x_high = floor(log10(min(x_values))), ceil(log10(max(x_values)))
    y_low, y_high = floor(log10(min(y_values))), ceil(log10(max(y_values)))
    y_high = max(y_high, y_low + 1)

    def at_x(value):
        return LEFT + (log10(value) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def at_y(value):
        return HEIGHT - BOTTOM - (log10(value) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(LEFT, 22, title, size=15)
    yield _text(LEFT, 40, subtitle, size=10, colour="#555555")
    for exponent in range(x_low, x_high + 1):
        x = at_x(10**exponent)
        yield _line(x, TOP, x, HEIGHT - BOTTOM)
        yield _text(x, HEIGHT - BOTTOM + 16, f"1e{exponent}", anchor="middle")
    for exponent in range(y_low, y_high + 1):
        y = at_y(10**exponent)
        yield _line(LEFT, y, WIDTH - RIGHT, y)
        yield _text(LEFT - 6, y + 4, f"{10**exponent:g}", anchor="end")
        for factor in (2, 5):
            if exponent < y_high:
                y = at_y(factor * 10**exponent)
                yield _line(LEFT, y, WIDTH - RIGHT, y, colour="#eeeeee")
                yield _text(LEFT - 6, y + 4, f"{factor * 10**exponent:g}", anchor="end", size=9, colour="#777777")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, anchor="middle")
    yield f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2:.0f}" text-anchor="middle" transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:.0f})">{escape(y_label)}</text>'
    for name_y, (number, (name, points)) in zip(_label_places(lines, at_y), enumerate(lines)):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="2.5" fill="{colour}"/>'
        yield _text(WIDTH - RIGHT + 8, name_y + 4, name, colour=colour)
    yield "</svg>"


def _label_places(lines, at_y):
    """Beside the last point of each line, but not over each other."""
    wanted = sorted((at_y(points[-1][1]), number) for number, (_, points) in enumerate(lines))
    places = {}
    free = TOP
    for y, number in wanted:
        places[number] = max(y, free)
        free = places[number] + 14
    return [places[number] for number in range(len(lines))]


def _line(x1, y1, x2, y2, colour="#cccccc"):
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"/>'


def _text(x, y, text, anchor="start", size=12, colour="#222222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
