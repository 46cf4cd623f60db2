"""Charts of a run as inline SVG, drawn here and without a library.

A chart is as wide as the page and as high as the style sheet says: its coordinates run from 0 to 1,000 and from 0 to
100, whatever its shape, and lines keep their width (`vector-effect`). Text would be stretched with it, so the words at
its axes are HTML beside it. What a chart shows is in a table as well, for those who do not see it; a browser shows the
figures of a part of it when it is pointed at.

Means are drawn as steps: a slope between two of them would claim to know what was in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from dunlin.jobs.history import Stretch
from dunlin.pace.sizes import format_duration
from dunlin.web.markup import Child, Safe, el

WIDTH, HEIGHT = 1000, 100
LEAST = 4.0
"""Width of the smallest mark."""


class Spot(Protocol):
    """A part of the time that a curve shows, in seconds since its begin, and how many errors it saw."""

    @property
    def begin(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def errors(self) -> int: ...


S = TypeVar("S", bound=Spot)


def plot(
    points: Sequence[S],
    value: Callable[[S], float | None],
    seconds: float,
    *,
    name: str,
    what: str,
    kind: str,
    ceiling: float,
    written: Callable[[float], str],
    stretches: Sequence[Stretch] = (),
    tips: Sequence[str] = (),
    low: bool = False,
    axis: bool = True,
    when: Callable[[float], str] | None = None,
) -> Safe:
    """A curve over the time of a run, with its axes.

    Args:
        name, what: of the chart, for those who cannot see it. kind: its colour in the style sheet.
        ceiling: the value at the top. written: a value in words.
        stretches: drawn behind it. tips: what is shown where each point is pointed at.
        low: half as high. axis: with times below it; `when`: a time in words, as time since the begin otherwise.
    """
    x = WIDTH / max(seconds, 1e-9)
    bands = [
        el(
            "rect",
            el("title", f"{each.word} {_span(each.begin, each.end)}{f': {each.cause}' if each.cause else ''}"),
            class_=each.word,
            x=_n(each.begin * x),
            y=0,
            width=_n(max(LEAST, (each.end - each.begin) * x)),
            height=HEIGHT,
        )
        for each in stretches
    ]
    lines = [el("line", class_="grid", x1=0, x2=WIDTH, y1=y, y2=y) for y in (25, 50, 75)]
    curves = [el("path", class_=f"curve {kind}", d=path) for path in _paths(points, value, x, HEIGHT / ceiling)]
    marks = [
        el("rect", class_="error", x=_n(p.begin * x), y=92, width=_n(max(LEAST, (p.end - p.begin) * x)), height=8)
        for p in points
        if p.errors
    ]
    hits = [
        el("rect", el("title", tip), class_="hit", x=_n(p.begin * x), width=_n((p.end - p.begin) * x), height=HEIGHT)
        for p, tip in zip(points, tips, strict=False)
    ]
    shape = el(
        "svg",
        el("title", name),
        el("desc", what),
        *(bands, lines, curves, marks, hits),
        class_="low" if low else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {what}",
    )
    scale = el("div", *(el("span", written(ceiling * part)) for part in (1, 0.5, 0)), class_="y", aria_hidden="true")
    times: Child = None
    if axis:
        parts = (0, 0.25, 0.5, 0.75, 1)
        words = [el("span", (when or clock)(seconds * part)) for part in parts]
        times = el("div", words, class_="x", aria_hidden="true")
    return el("div", scale, shape, times, class_="plot")


def _paths(points: Sequence[S], value: Callable[[S], float | None], x: float, y: float) -> Iterator[str]:
    """A path for each part of the curve that has no gap."""
    corners: list[str] = []
    end = 0.0
    for point in points:
        height = value(point)
        if height is None:
            if corners:
                yield f"{' '.join(corners)} L{_n(end)} {HEIGHT} Z"
            corners = []
            continue
        begin, end = point.begin * x, point.end * x
        level = _n(HEIGHT - min(HEIGHT, max(0.0, height * y)))
        if not corners:
            corners.append(f"M{_n(begin)} {HEIGHT}")
        corners.append(f"L{_n(begin)} {level} L{_n(end)} {level}")
    if corners:
        yield f"{' '.join(corners)} L{_n(end)} {HEIGHT} Z"


def columns(values: Sequence[tuple[float, str, str]], *, name: str, what: str) -> Safe:
    """Columns side by side: (value, class, what is shown where it is pointed at) of each."""
    most = max((value for value, _, _ in values), default=0) or 1.0
    width = WIDTH / max(8, len(values))
    shapes = [
        el(
            "rect",
            el("title", tip),
            class_=kind,
            x=_n(at * width + width * 0.12),
            y=_n(HEIGHT - max(2.0, value / most * 94)),
            width=_n(width * 0.76),
            height=_n(max(2.0, value / most * 94)),
        )
        for at, (value, kind, tip) in enumerate(values)
    ]
    return el(
        "svg",
        el("title", name),
        el("desc", what),
        shapes,
        class_="runs",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {what}",
    )


def bar(share: float) -> Safe:
    """A bar that is so full, 0 to 1; the figure stands beside it."""
    width = max(0.4, min(1.0, share) * 100) if share > 0 else 0
    return el("svg", el("rect", width=f"{_n(width)}%", height="100%", rx=2), aria_hidden="true", focusable="false")


def spans(rows: Sequence[tuple[float, float, str]], seconds: float) -> list[Safe]:
    """For each (begin, end, class) a strip of the run's time with that part of it filled."""
    x = 100 / max(seconds, 1e-9)
    return [
        el(
            "svg",
            el("rect", class_=kind, x=f"{_n(begin * x)}%", width=f"{_n(max(0.5, (end - begin) * x))}%", height="100%"),
            aria_hidden="true",
            focusable="false",
        )
        for begin, end, kind in rows
    ]


def round_up(value: float, base: int) -> float:
    """The next value that is easy to read: 1, 2 or 5 times a power of 10, and for `base` 1024 of those of each unit."""
    if value <= 0:
        return 1.0
    unit = 1.0
    while base == 1024 and value > 1000 * unit:
        unit *= 1024
    power = unit
    while value > power * 10:
        power *= 10
    while value <= power:
        power /= 10
    return next(power * part for part in (1, 2, 5, 10) if value <= power * part)


def clock(seconds: float) -> str:
    """Seconds as time since the begin, short."""
    return "0" if seconds < 1e-9 else f"{seconds:.0f}s" if 10 <= seconds < 59.5 else format_duration(seconds)


def _span(begin: float, end: float) -> str:
    return f"from {clock(begin)} to {clock(end)}"


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
