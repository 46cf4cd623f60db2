"""Rows about rates: two throttled mounts at once, and a limit of dunlin's own."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.context import Context, alternate, cp, rsync, say
from bench.measure import Dirty, Failed, Measured, remove
from bench.results import Check, Row, at_most
from bench.trees import Tree, check_copy, files_in
from tests.fuse.shape import busiest_window
from tests.fuse.slowfs import mounted

MB = 1_000_000
MIB = 1 << 20


def mixed_sizes(total: int) -> tuple[int, ...]:
    """Sizes that add up to ``total``: half of it in big files, the rest in medium and small ones."""
    chance = random.Random(5)
    sizes = [total // 8] * 4
    while sum(sizes) < total * 7 // 8:
        sizes.append(chance.randrange(total // 400, total // 80))
    while sum(sizes) < total:
        sizes.append(min(total - sum(sizes), chance.randrange(total // 8000, total // 2000)))
    chance.shuffle(sizes)
    return tuple(sizes)


def read_all(root: Path) -> float:
    """Seconds to read every file one after the other."""
    started = time.monotonic()
    buffer = bytearray(MIB)
    for entry in files_in(root):
        with open(entry.path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - started


def duplex(context: Context) -> Row:
    """Reading and writing must overlap completely, also where the kernel does not read ahead."""
    rate, total = 100 * MB, context.fewer(800, 100) * MB
    row = Row("duplex", f"{total // MB} MB from a mount read at 100 MB/s to a mount written at 100 MB/s (FUSE)")
    source = context.tree(Tree(f"mixed-{total}", 10, 0, sizes=mixed_sizes(total)))
    for direct, case in ((False, ""), (True, ", no read-ahead")):
        throttled_runs(context, row, source, case, rate, direct=direct)
    ideal = total / rate
    row.notes.append(f"the slower side alone takes {ideal:.2f} s, computed")
    for name in row.runs:
        share, what = row.median(name) / ideal, f"{name} against the slower side"
        row.checks.append(at_most(what, share, 1.1) if name.startswith("dunlin") else Check(what, share, "×"))
    return row


def throttled_runs(context: Context, row: Row, source: Path, case: str, rate: int, *, direct: bool) -> None:
    """The programs between two throttled mounts."""
    target = context.work / "target"
    target.mkdir()
    programs = {f"dunlin{case}": context.sync(), f"rsync{case}": rsync(), f"cp{case}": cp()}
    with (
        mounted(source, context.work / "from", read_rate=rate, direct_io=direct) as reading,
        mounted(target, context.work / "to", write_rate=rate) as writing,
    ):
        row.notes.append(f"plain reading{case}: {read_all(reading.path):.2f} s")

        def call(name: str) -> Callable[[], Measured]:
            def run() -> Measured:
                context.forget()
                reading.reset()
                return context.run(programs[name](reading.path, writing.path / "copy"))

            return run

        def after(name: str) -> None:
            if reading.counters()["bytes_read"] < row_bytes(source):
                raise Failed(f"{name} was served from a cache")
            check_copy(source, target / "copy")
            remove(writing.path / "copy")

        alternate(context, row, {name: call(name) for name in programs}, after=after)
    remove(target)


def row_bytes(root: Path) -> int:
    """Bytes in all files of a tree."""
    return sum(entry.stat().st_size for entry in files_in(root))


def bwlimit(context: Context) -> Row:
    """The limit holds over the whole run, in every second, and is not hidden by the page cache."""
    limit, total = 20 * MIB, context.fewer(400, 40) * MIB
    row = Row("bwlimit", f"--bwlimit 20M, {total // MIB} MiB")
    source = context.tree(Tree(f"limited-{total}", 4, 0, sizes=mixed_sizes(total)))
    programs = {"dunlin": context.sync("--bwlimit", "20M"), "rsync": rsync("--bwlimit=20M")}
    for where in ("FUSE", "FUSE with write-back", "disk"):
        for name, command in programs.items():
            if context.only_peers and name == "dunlin":
                continue
            context.forget()
            say(f"  bwlimit {name} to {where}")
            limited_run(context, row, name, where, functools.partial(command, source), source)
    ideal = total / limit
    for key, runs in row.runs.items():
        dunlin = key.startswith("dunlin")
        off = abs(runs[0]["wall"] / ideal - 1) * 100
        row.checks.append(
            at_most(f"{key}: total off the computed {ideal:g} s", off, 2, "%")
            if dunlin
            else Check(f"{key}: total off", off, "%")
        )
        if "busiest" in runs[0]:
            most = runs[0]["busiest"] / limit
            what = f"{key}: busiest second against the limit"
            row.checks.append(at_most(what, most, 1.1) if dunlin else Check(what, most, "×"))
        dirty = runs[0]["dirty"] / MIB
        what = f"{key}: most dirty pages"
        row.checks.append(at_most(what, dirty, 64, "MiB") if dunlin else Check(what, dirty, "MiB"))
    row.notes.append("dirty pages are Dirty + Writeback of the whole machine above what they were at the start; "
                     "the bar is the default buffer budget, 64 MiB")  # fmt: skip
    return row


def limited_run(
    context: Context, row: Row, name: str, where: str, command: Callable[[Path], Sequence[str]], source: Path
) -> None:
    """One limited run to one kind of destination."""
    if where == "disk":
        copy = context.disk / "copy"
        with Dirty() as dirty:
            measured = context.run(command(copy))
        extra: dict[str, object] = {}
        check_copy(source, copy)
        remove(copy)
    else:
        target, log = context.work / "target", context.work / "writes"
        target.mkdir(exist_ok=True)
        options = {"write_log": log, "writeback": where != "FUSE"}
        with mounted(target, context.work / "to", **options) as mount:
            with Dirty() as dirty:
                measured = context.run(command(mount.path / "copy"))
            writes = mount.writes()
        check_copy(source, target / "copy")
        extra = {"busiest": busiest_window(writes), "requests": len(writes)}
        remove(target)
    row.runs[f"{name} to {where}"] = [{**measured.as_dict(), **extra, "dirty": dirty.most}]
