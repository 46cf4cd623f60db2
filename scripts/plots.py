#!/usr/bin/env python3
"""Draw docs/throttling.svg, the throttle on simulated machines, and docs/requests.svg, the climb at simulated stores.

A simulated machine has one gauge, which follows from the workers and the time; the real throttle looks at it
every five seconds. A simulated store has a throughput, which follows from the requests under way and the time; the real
climb sees what ended, twice a second. Everything is computed from a seed, so the pictures are the same wherever they
are drawn. `--check` only tells whether they are up to date.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from dunlin.pace.climb import Climb, Move, Seen  # noqa: E402
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

# ---- stores ----

STORE = Callable[[float, float, random.Random], float]
"""Seconds that a request takes: seconds since the start, requests under way, chance."""

GLANCE = 0.5
"""Seconds between two samples."""


class Glance(NamedTuple):
    """One sample: seconds since the start, requests under way, how many ended in a second, what stands, any move."""

    time: float
    level: int
    rate: float
    stands: int
    move: Move | None


def climb(
    store: STORE,
    seconds: float,
    start: int = 32,
    least: int = 4,
    most: int = 128,
    seed: int = 1,
    noise: float = 0.03,
    wanted: float = 1e9,
    refuses: float = 1e9,
) -> list[Glance]:
    """What the climb does at a store, with at most `wanted` requests to be made, and none above `refuses` borne.

    How many end in a sample varies by `noise`, and is a whole number.
    """
    now, owed = 0.0, 0.0
    chance = random.Random(seed)
    steered = Climb(start, least, most)
    seen = []
    while now < seconds:
        now += GLANCE
        level = steered.level
        under_way = min(float(level), wanted)
        owed += under_way / store(now, under_way, chance) * GLANCE * max(0.0, chance.gauss(1, noise))
        ended = int(owed)
        owed -= ended
        move = steered.sample(Seen(GLANCE, ended, ended * 4096, under_way, refused=level > refuses))
        seen.append(Glance(now, level, ended / GLANCE, steered.stands, move))
    return seen


def servers(number: int, seconds: float) -> STORE:
    """So many requests are worked at, each for so long; others wait."""
    return lambda time, under_way, chance: seconds * max(1.0, under_way / number)


def bent(knee: float, seconds: float, sharp: float = 4.0) -> STORE:
    """Latency begins to grow before the knee, and goes on growing after it."""
    return lambda time, under_way, chance: seconds * (1 + (under_way / knee) ** sharp) ** (1 / sharp)


def linked(seconds: float, requests: float) -> STORE:
    """A line on which a request takes so long, and which carries so many of them in a second."""
    return lambda time, under_way, chance: max(seconds, under_way / requests)


def trampled(number: int, seconds: float, loss: float = 0.5) -> STORE:
    """Servers that get less done the more wait for them."""

    def takes(time: float, under_way: float, chance: random.Random) -> float:
        over = max(0.0, under_way / number - 1)
        return seconds * max(1.0, under_way / number) * (1 + loss * over)

    return takes


def changing(before: STORE, after: STORE, at: float) -> STORE:
    """A store that becomes another one."""
    return lambda time, under_way, chance: (before if time < at else after)(time, under_way, chance)


PLACES: tuple[tuple[str, STORE, float], ...] = (
    ("eight servers, 60 ms for a request", servers(8, 0.06), 1e9),
    ("far away: 250 ms for a request, as many as one likes", servers(10_000, 0.25), 1e9),
    ("a knee at 48 requests", bent(48, 0.1), 1e9),
    ("12 servers; from 60 s on 60 of them", changing(servers(12, 0.05), servers(60, 0.05), 60), 1e9),
    ("503 above 40 requests", servers(10_000, 0.1), 40),
)

WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H, GAP = 760, 640, 46, 30, 690, 100, 52
SPAN, MOST, THRESHOLD = 600.0, 10, 0.8
CLIMB_SPAN, CLIMB_MOST = 180.0, 128


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


def climbing() -> str:
    """The picture of the climb, as SVG."""
    height = TOP + len(PLACES) * (PLOT_H + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Requests under way and throughput over three minutes at five simulated '
        'stores">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, store, refuses) in enumerate(PLACES):
        glances = climb(store, CLIMB_SPAN, refuses=refuses)
        parts += _climbing_panel(title, glances, TOP + number * (PLOT_H + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _climbing_panel(title: str, glances: list[Glance], top: float) -> list[str]:
    def x(time: float) -> float:
        return LEFT + time / CLIMB_SPAN * PLOT_W

    def y(share: float) -> float:
        return top + (1 - share) * PLOT_H

    most = max(glance.rate for glance in glances)
    rates = " ".join(f"{x(glance.time):.1f},{y(glance.rate / most):.1f}" for glance in glances)
    steps, level = [], glances[0].level
    for glance in glances:
        steps.append(f"{x(glance.time - GLANCE):.1f},{y(level / CLIMB_MOST):.1f}")
        level = glance.level
        steps.append(f"{x(glance.time - GLANCE):.1f},{y(level / CLIMB_MOST):.1f}")
    steps.append(f"{x(CLIMB_SPAN):.1f},{y(level / CLIMB_MOST):.1f}")
    parts = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>',
        f'<text x="{LEFT + PLOT_W}" y="{top - 8}" text-anchor="end" fill="#b0a060">at most {most:.0f} a second</text>',
        f'<rect x="{LEFT}" y="{top}" width="{PLOT_W}" height="{PLOT_H}" fill="none" stroke="#999999"/>',
        f'<line x1="{LEFT}" x2="{LEFT + PLOT_W}" y1="{y(32 / CLIMB_MOST):.1f}" y2="{y(32 / CLIMB_MOST):.1f}" '
        'stroke="#c0c0c0" stroke-dasharray="4 3"/>',
        f'<polyline points="{rates}" fill="none" stroke="#b0a060" stroke-width="1.2"/>',
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="#2050a0" stroke-width="2"/>',
        f'<text x="{LEFT - 6}" y="{y(1) + 8:.1f}" text-anchor="end" fill="#2050a0">{CLIMB_MOST}</text>',
        f'<text x="{LEFT - 6}" y="{y(32 / CLIMB_MOST) + 4:.1f}" text-anchor="end" fill="#2050a0">32</text>',
        f'<text x="{LEFT - 6}" y="{y(0):.1f}" text-anchor="end" fill="#2050a0">0</text>',
    ]
    return parts + [
        f'<text x="{x(time):.1f}" y="{top + PLOT_H + 14}" text-anchor="middle" fill="#666666">{time:.0f} s</text>'
        for time in (0.0, 60.0, 120.0, 180.0)
    ]


def main(arguments: list[str]) -> int:
    """Draw, or check; the exit code."""
    code = 0
    for name, draw in (("throttling.svg", drawing), ("requests.svg", climbing)):
        file = ROOT / "docs" / name
        if "--check" not in arguments:
            file.write_text(draw(), encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != draw():
            print(f"docs/{name} is not what scripts/plots.py draws: run it")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
