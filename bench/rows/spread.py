"""The row of a run that spreads: one tree, more and more workers, a mount on which every call takes 20 ms."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.context import CHECKOUT, Context, alternate, environment
from bench.measure import Failed, Measured, remove
from bench.results import Row, at_least
from bench.trees import Tree, check_copy, fill
from tests.fuse.slowfs import mounted

LATENCY_MS = 20.0
"""What a round trip to a share in another city takes."""

SLOTS = 4
"""Files in flight in each worker."""

BARS = {2: 1.9, 4: 3.6}
"""How many times as fast so many workers are to be as one."""

STARTED = 20.0


def spread(context: Context) -> Row:
    """Waiting is shared out: so many workers, so many times as fast."""
    wide, files = context.fewer(16, 4), 12
    count = wide * wide
    row = Row(
        "spread",
        f"{count * files:,} files of ~4 KB in {count} directories, {LATENCY_MS:.0f} ms per call of the destination "
        f"(FUSE), workers of {SLOTS} files in flight, queue in a file",
    )
    source, target = context.work / f"spread-{count}", context.work / "target"
    grow(source, wide, files)
    target.mkdir(exist_ok=True)
    queue = context.work / "queue.db"
    copies: list[Path] = []
    with mounted(target, context.work / "slow", latency_ms=LATENCY_MS) as mount:

        def call(workers: int) -> Callable[[], Measured]:
            def run() -> Measured:
                context.forget()
                # A name of its own for each run: what is removed behind the mount's back stays in the kernel's cache.
                name = f"copy{len(copies)}"
                copies.append(target / name)
                with working(context, queue, workers):
                    command = context.sync("--queue", str(queue), "--no-work")(source, mount.path / name)
                    return context.run(command)

            return run

        def after(name: str) -> None:
            check_copy(source, copies[-1])
            remove(copies[-1])

        programs = {f"dunlin: {n} worker{'s' * (n > 1)}": call(n) for n in (1, *BARS)}
        alternate(context, row, programs, after=after)
    if all(row.runs.get(name) for name in programs):
        for workers, bar in BARS.items():
            ratio = row.ratio("dunlin: 1 worker", f"dunlin: {workers} workers")
            row.checks.append(at_least(f"speed of {workers} workers against one", ratio, bar))
    return row


def grow(root: Path, wide: int, files: int) -> None:
    """So many directories with so many each: where one unit makes hundreds of directories, all others wait for it."""
    tree, chance = Tree(root.name, wide * wide, files), random.Random(root.name)
    for number in range(wide * wide if not root.exists() else 0):
        folder = root / f"d{number // wide:03d}" / f"s{number:05d}"
        folder.mkdir(parents=True)
        fill(tree, number, os.open(folder, os.O_RDONLY | os.O_DIRECTORY), chance)


@contextmanager
def working(context: Context, queue: Path, count: int) -> Iterator[None]:
    """So many workers, ready before anything is measured."""
    words = [*shlex.split(context.dunlin), "worker", "--queue", str(queue), "--workers", str(SLOTS), "--processes", "1"]
    workers = []
    logs = [context.work / f"worker{n}.log" for n in range(count)]
    try:
        for path in logs:
            with open(path, "wb") as log:
                workers.append(subprocess.Popen(words, cwd=CHECKOUT, env=environment(), stderr=log))
        deadline = time.monotonic() + STARTED
        while not all(b"worker.started" in path.read_bytes() for path in logs):
            if time.monotonic() > deadline:
                raise Failed("the workers did not start")
            time.sleep(0.05)
        time.sleep(1.0)  # their processes lease by now
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(60)
