#!/usr/bin/env python3
"""Draw docs/throttling.svg: the throttle on simulated machines. `--check` only tells whether it is up to date.

A simulated machine has one gauge, which follows from the workers and the time; the real throttle looks at it
every five seconds. Everything is computed from a seed, so the picture is the same wherever it is drawn.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from dunlin.pace.throttle import LOOK, Throttle  # noqa: E402

MODEL = Callable[[float, int, random.Random], float]
"""What the gauge reads: seconds, workers, chance."""


class Look(NamedTuple):
    """One look: seconds since the start, what the gauge read, workers before and after it."""

    time: float
    gauge: float
    before: int
    workers: int


def simulate(model: MODEL, seconds: float, most: int = 10, threshold: float = 0.8, seed: int = 1) -> list[Look]:
    """What the throttle does on a machine that behaves like `model`."""
    now = 0.0
    chance = random.Random(seed)
    throttle = Throttle(most, threshold, lambda: now)
    looks = []
    while now < seconds:
        now += LOOK
        before = throttle.workers
        gauge = min(1.0, max(0.0, model(now, before, chance)))
        throttle.sample({"cpu": gauge})
        looks.append(Look(now, gauge, before, throttle.workers))
    return looks


def own(each: float, others: float = 0.0, noise: float = 0.0) -> MODEL:
    """Every worker takes `each` of the machine, others take `others` all the time; both with noise."""
    return lambda time, workers, chance: others + each * workers + chance.uniform(-noise, noise)


def guest(each: float, others: float, begin: float, end: float) -> MODEL:
    """Others take `others` of the machine from `begin` to `end`."""
    return lambda time, workers, chance: each * workers + (others if begin <= time < end else 0.0)


def disk(best: int) -> MODEL:
    """A disk that bears `best` workers well, and waits more than in proportion with more of them."""
    return lambda time, workers, chance: 0.6 * workers / best if workers <= best else 0.6 * (workers / best) ** 4


def bursts(each: float, others: float, period: float) -> MODEL:
    """Others come and go."""
    return lambda time, workers, chance: each * workers + (others if time % period < period / 2 else 0.0)


SCENES: tuple[tuple[str, MODEL], ...] = (
    ("each worker takes 12 % of the machine", own(0.12)),
    ("others take half of it between 60 s and 180 s", guest(0.06, 0.5, 60, 180)),
    ("a disk that bears four workers", disk(4)),
    ("others take 70 % of it, every other minute", bursts(0.03, 0.7, 120)),
)

WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H, GAP = 760, 640, 46, 30, 690, 100, 52
SPAN, MOST, THRESHOLD = 600.0, 10, 0.8


def drawing() -> str:
    """The picture, as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Workers and load over ten minutes on four simulated machines">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for number, (title, model) in enumerate(SCENES):
        parts += _panel(title, simulate(model, SPAN), TOP + number * (PLOT_H + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, looks: list[Look], top: float) -> list[str]:
    def x(time: float) -> float:
        return LEFT + time / SPAN * PLOT_W

    def y(share: float) -> float:
        return top + (1 - share) * PLOT_H

    load = " ".join(f"{x(look.time):.1f},{y(look.gauge):.1f}" for look in looks)
    steps, level = [f"{x(0):.1f},{y(1):.1f}"], 1.0
    for look in looks:
        steps.append(f"{x(look.time):.1f},{y(level):.1f}")
        level = look.workers / MOST
        steps.append(f"{x(look.time):.1f},{y(level):.1f}")
    parts = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{PLOT_W}" height="{PLOT_H}" fill="none" stroke="#999999"/>',
        f'<line x1="{LEFT}" x2="{LEFT + PLOT_W}" y1="{y(THRESHOLD):.1f}" y2="{y(THRESHOLD):.1f}" stroke="#c03030" '
        'stroke-dasharray="4 3"/>',
        f'<polyline points="{load}" fill="none" stroke="#b0a060" stroke-width="1.2"/>',
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="#2050a0" stroke-width="2"/>',
        f'<text x="{LEFT - 6}" y="{y(1) + 8:.1f}" text-anchor="end" fill="#2050a0">{MOST}</text>',
        f'<text x="{LEFT - 6}" y="{y(0):.1f}" text-anchor="end" fill="#2050a0">0</text>',
        f'<text x="{LEFT - 6}" y="{y(THRESHOLD) + 4:.1f}" text-anchor="end" fill="#c03030">80 %</text>',
    ]
    return parts + [
        f'<text x="{x(time):.1f}" y="{top + PLOT_H + 14}" text-anchor="middle" fill="#666666">{time:.0f} s</text>'
        for time in (0.0, 120.0, 240.0, 360.0, 480.0, 600.0)
    ]


def main(arguments: list[str]) -> int:
    """Draw, or check; the exit code."""
    file = ROOT / "docs" / "throttling.svg"
    if "--check" not in arguments:
        file.write_text(drawing(), encoding="utf-8")
        return 0
    if not file.exists() or file.read_text(encoding="utf-8") != drawing():
        print("docs/throttling.svg is not what scripts/plots.py draws: run it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
