"""The row of a mount on which every call takes 2 ms."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from bench.context import Context, alternate, rsync
from bench.measure import Measured, remove
from bench.results import Check, Row, at_least
from bench.trees import Tree, check_copy
from tests.fuse.slowfs import mounted

LATENCY_MS = 2.0


def latency(context: Context) -> Row:
    """Many calls must be under way at once."""
    count = context.fewer(5000, 200)
    row = Row("latency", f"{count:,} files of ~4 KB, 2 ms per call (FUSE)")
    shapes = {
        "100 directories": Tree(f"slow-{count}", 100, count // 100),
        "one directory": Tree(f"slow-one-{count}", 0, count),
    }
    for shape, tree in shapes.items():
        for side in ("destination", "source"):
            if side == "source" and shape == "one directory":
                continue
            one_side(context, row, tree, f"{shape}, slow {side}", slow_source=side == "source")
    for key in [key for key in row.runs if key.startswith("dunlin")]:
        case = key.partition(": ")[2]
        ratio = row.ratio(f"rsync: {case}", key)
        what = f"speed against rsync -a, {case}"
        row.checks.append(at_least(what, ratio, 8) if "100" in case else Check(what, ratio, "×"))
    return row


def one_side(context: Context, row: Row, tree: Tree, case: str, *, slow_source: bool) -> None:
    """The source or the destination on the slow mount, the other one in memory."""
    source, target = context.tree(tree), context.work / "target"
    target.mkdir(exist_ok=True)
    programs = {f"dunlin: {case}": context.sync(), f"rsync: {case}": rsync()}
    with mounted(source if slow_source else target, context.work / "slow", latency_ms=LATENCY_MS) as mount:

        # A name of its own for each run: what is removed behind the mount's back stays in the kernel's cache.
        runs = itertools.count(1)
        copies: list[str] = []

        def call(name: str) -> Callable[[], Measured]:
            def run() -> Measured:
                context.forget()
                mount.reset()
                copies.append(f"copy{next(runs)}")
                start, end = (mount.path, target / copies[-1]) if slow_source else (source, mount.path / copies[-1])
                return context.run(programs[name](start, end))

            return run

        def after(name: str) -> None:
            check_copy(source, target / copies[-1])
            calls = sum(n for op, n in mount.counters().items() if not op.startswith("bytes"))
            row.notes.append(f"{name}: {calls / tree.count:.1f} calls per file")
            remove(target / copies[-1])

        alternate(context, row, {name: call(name) for name in programs}, after=after)
    row.notes = sorted(set(row.notes))
    remove(target)
