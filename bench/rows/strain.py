"""Rows about trouble: directories that fail among many, and limits on processor time and memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.context import Context, alternate, prefault, say
from bench.made import Shape, place
from bench.measure import Failed, Measured, remove
from bench.outside import EVERY, Outside, busiest, mean_rate, mean_resident
from bench.results import Check, Row, at_least, at_most
from bench.rows import scale
from bench.rows.scale import clear, expect
from bench.trees import Tree, check_copy
from tests.acceptance.program import UNPRIVILEGED

MIB = 1 << 20
MINUTE = 60.0


def failing(context: Context) -> Row:
    """A tenth of the directories cannot be listed, half of them at the source and half at the destination."""
    folders, each = context.fewer(10_000, 100), 10
    tree = Tree("failing", folders, each, 0, 0)
    row = Row("scale-failing", f"{folders // 10:,} failing directories among {folders:,} with {each} files each")
    if context.only_peers:
        return row
    source, copy = context.tree(tree), context.work / "copy"
    broken = [source / f"d{number // 50:03d}" / f"s{number:05d}" for number in range(0, folders, 10)]
    unreadable, unwritable = broken[::2], [copy / path.relative_to(source) for path in broken[1::2]]

    def call(trouble: bool) -> Callable[[], Measured]:
        def run() -> Measured:
            remove(copy)
            context.forget()
            for path in broken[1::2]:
                (copy / path.relative_to(source)).mkdir(parents=True)
            shut([*unreadable, *unwritable], trouble)
            command = [*UNPRIVILEGED, *context.sync("--quiet", "--json")(source, copy)]
            return context.run(command, expect=23 if trouble else 0)

        return run

    def after(name: str) -> None:
        if name != FAILING:
            expect(context, copied_files=tree.count, failed_directories=0, source_errors=0)
            check_copy(source, copy)
            return
        expect(
            context, failed_directories=len(broken), source_errors=len(unreadable), failed_files=0,
            copied_files=tree.count - len(broken) * each,
        )  # fmt: skip
        shut([*unreadable, *unwritable], False)
        wrong = [path for path in broken if os.listdir(copy / path.relative_to(source))]
        if wrong:
            raise Failed(f"something was copied into {len(wrong)} directories that fail")
        # What has failed is tried again by the next run, and nothing else is copied by it.
        context.run(context.sync("--quiet", "--json")(source, copy))
        expect(context, copied_files=len(broken) * each, failed_directories=0)
        check_copy(source, copy)

    alternate(context, row, {FAILING: call(True), "dunlin, none fails": call(False)}, after=after)
    shut(unreadable, False)
    remove(copy)
    clear(context, tree)
    row.checks += [
        at_most("counts that are wrong, siblings that were not copied", 0, 0, ""),
        Check("time against the same tree without failures", row.ratio(FAILING, "dunlin, none fails"), "×"),
        Check("CPU against the same tree without failures", row.ratio(FAILING, "dunlin, none fails", "cpu"), "×"),
    ]
    row.notes.append(
        "half of them cannot be listed at the source, the other half not at the destination; the program runs without "
        "the capabilities that let root read everything; a run after it, with everything readable, copies the rest"
    )
    return row


FAILING = "dunlin, a tenth fails"


def shut(folders: Sequence[Path], closed: bool) -> None:
    """Let nobody into the directories, or all again."""
    for path in folders:
        path.chmod(0 if closed else 0o755)


# ---- limits ----


def caps(context: Context) -> Row:
    """A limit on processor time, and one on memory, watched from outside for a minute each."""
    row = Row("scale-caps", "limits on processor time and memory, watched from outside for a minute each")
    seconds = MINUTE if not context.quick else 4.0
    if context.only_peers:
        return row
    processor_cap(context, row, 25, seconds)
    memory_caps(context, row, 150, seconds)
    row.notes += [
        f"each is ended after {seconds:g} s, since it would go on for long; looks every {EVERY * 1000:g} ms",
        "large files have no blocks on the disk (-S); the directory is bench/made.py, listed in no order on both sides",
    ]
    return row


def watched(context: Context, row: Row, name: str, command: Sequence[str], seconds: float) -> Outside:
    """A run that is watched, and ended after so many seconds."""
    say(f"  {name}")
    outside = Outside(stop_after=seconds)
    try:
        measured = context.run(command, expect=130, watch=outside)
    finally:
        outside.end()
    row.runs[name] = [measured.as_dict()]
    return outside


def processor_cap(context: Context, row: Row, percent: int, seconds: float) -> None:
    """Small files, then large ones without content on the disk: reading and hashing them is what takes time."""
    source, copy = context.tree(Tree("capped", context.fewer(300, 20), 100)), context.work / "copy"
    large(source, 64, 8 << 30)
    prefault(context, context.fewer(300, 20) * MIB)
    remove(copy)
    context.forget()
    name = f"dunlin --max-cpu-percent {percent}"
    options = ("--max-cpu-percent", str(percent), "-S", "--quiet")
    looks = watched(context, row, name, context.sync(*options)(source, copy), seconds).looks
    allowed = percent / 100 * len(os.sched_getaffinity(0))
    row.checks += [
        at_least(f"{name}: mean against the limit", mean_rate(looks) / allowed, 0.9),
        at_most(f"{name}: mean against the limit", mean_rate(looks) / allowed, 1.0),
    ]
    for window in (10, 5, 1):
        if looks[-1].at - looks[0].at > window:
            what = f"{name}: busiest {window} s against the limit"
            value = busiest(looks, window) / allowed
            row.checks.append(at_most(what, value, 1.1) if window == 10 else Check(what, value, "×"))
    remove(copy)
    clear(context, Tree("capped", 0, 0))


def large(root: Path, count: int, size: int) -> None:
    """Files of that many bytes that take no room."""
    for number in range(count):
        with open(root / f"large-{number:03d}", "wb") as file:
            file.truncate(size)


def memory_caps(context: Context, row: Row, limit: int, seconds: float) -> None:
    """Large files, whose buffers are planned for, and a directory of very many names, which nobody plans for."""
    source, copy = context.work / "sparse", context.work / "copy"
    source.mkdir()
    large(source, 64, 8 << 30)
    movers = ("--movers", "4", "--disk-buffer-mb", "512")  # asked for more than the limit leaves room for
    memory_cap(context, row, "large files", limit, seconds, lambda *options: context.sync(*options, "-S")(source, copy))
    memory_cap(
        context, row, "large files, 4 movers", limit, seconds,
        lambda *options: context.sync(*options, *movers, "-S")(source, copy),
    )  # fmt: skip
    remove(copy)
    remove(source)
    shape = Shape(0, context.fewer(4_000_000, 2_000_000), "source", differing=1_000, shuffled=True)
    one, other = place(context.work / "made-source", shape), context.work / "made-target"

    def directory(*options: str) -> list[str]:
        scale.forget(context)
        return scale.computed(context, one, place(other, replace(shape, side="target")), *options)

    memory_cap(context, row, "one huge directory", limit, seconds, directory)
    scale.forget(context)


def memory_cap(
    context: Context, row: Row, what: str, limit: int, seconds: float, command: Callable[..., Sequence[str]]
) -> None:
    """The same work with the limit and, to show that it would take more or less, without."""
    cap = ("--max-memory-mb", str(limit))
    for name, options in ((f"{what}, {' '.join(cap)}", cap), (f"{what}, no limit on memory", ())):
        context.forget()
        looks = watched(context, row, f"dunlin, {name}", command(*options, "--quiet"), seconds).looks
        most, mean = max(look.resident for look in looks) / MIB, mean_resident(looks) / MIB
        if options:
            row.checks.append(at_most(f"{name}: most resident against the limit", most / limit, 1.0))
            row.checks.append(Check(f"{name}: mean resident against the limit", mean / limit, "×"))
        else:
            row.checks.append(Check(f"{name}: most resident", most, "MiB"))
