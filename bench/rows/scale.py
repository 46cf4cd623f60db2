"""Rows about very many names: a million again, ten million that are computed, two million in one directory."""

from __future__ import annotations

import functools
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench import made
from bench.context import Context, alternate, rsync, say
from bench.made import Shape, order, place
from bench.measure import Failed, remove
from bench.results import Check, Row, at_most
from bench.trees import EPOCH_NS, Tree, check_copy, files_in

MB = 1_000_000
MEMORY = 300
"""MB: what all processes of a run may take, whatever the size of the tree."""

MARGIN = 60
"""Seconds that a change must be older than the last successful run for --ctime-skip: the default."""


def again(context: Context) -> Row:
    """Nothing to do in a million files, and how much of that --ctime-skip saves."""
    tree = Tree("million-flat", context.fewer(10_000, 40), 100, 0, 0)
    row = Row("scale-again", f"{tree.count:,} files in {tree.folders:,} directories again, nothing to do")
    source, copy = context.tree(tree), context.work / "again"
    margin = context.fewer(MARGIN, 1)
    context.forget()
    if not context.only_peers:
        wait_until_older(source, margin)
    context.run((rsync() if context.only_peers else context.sync())(source, copy))
    skip = ("--ctime-skip", "--ctime-margin", f"{margin}s")
    programs = {
        "dunlin": context.sync("--json"), "dunlin --ctime-skip": context.sync("--json", *skip), "rsync": rsync(),
    }  # fmt: skip
    calls = {name: functools.partial(context.run, command(source, copy)) for name, command in programs.items()}

    def after(name: str) -> None:
        if name.startswith("dunlin"):
            expect(context, scanned_files=tree.count, equal_files=tree.count, copied_files=0)
            skipped = context.told()["stats"]["settled_directories"]
            # All but the root, and the directories in which the copy was made just before: none at the source.
            if (skipped >= tree.folders) is not ("skip" in name):
                raise Failed(f"{name} skipped {skipped} directories")

    alternate(context, row, calls, after=after)
    check_copy(source, copy)
    remove(copy)
    clear(context, tree)
    if "dunlin" in row.runs:
        row.checks += [
            at_most("time against rsync -a", row.ratio("dunlin", "rsync"), 1.0),
            Check("CPU against rsync -a", row.ratio("dunlin", "rsync", "cpu"), "×"),
            at_most("memory", peak(row, "dunlin") / MB, MEMORY, "MB"),
            at_most("--ctime-skip against dunlin without it", row.ratio("dunlin --ctime-skip", "dunlin"), 0.7),
            Check("--ctime-skip: CPU against without", row.ratio("dunlin --ctime-skip", "dunlin", "cpu"), "×"),
            at_most("--ctime-skip: memory", peak(row, "dunlin --ctime-skip") / MB, MEMORY, "MB"),
        ]
    row.notes.append(f"empty files; the first run began more than {margin} s after the last change at the source")
    return row


def wait_until_older(root: Path, seconds: float) -> None:
    """Wait until all below `root` changed last more than so many seconds ago: what --ctime-skip asks for."""
    newest = max(os.stat(path).st_ctime for path in (root, *(Path(entry.path) for entry in files_in(root))))
    left = newest + seconds + 1 - time.time()
    if left > 0:
        say(f"  waiting {left:.0f} s until the tree has not changed for {seconds:g} s")
        time.sleep(left)


def clear(context: Context, tree: Tree) -> None:
    """Remove a tree that no other row wants: memory is short."""
    remove(context.work / tree.name)
    (context.work / f"{tree.name}.done").unlink()


def expect(context: Context, **counts: int) -> None:
    """Raise Failed unless the last run told exactly these counts."""
    stats = context.told()["stats"]
    wrong = {name: stats[name] for name, count in counts.items() if stats[name] != count}
    if wrong:
        raise Failed(f"counted {wrong}, and not {[counts[name] for name in wrong]}")


def peak(row: Row, program: str) -> float:
    """The most memory of any run."""
    return float(max(run["peak_pss"] for run in row.runs[program]))


# ---- computed trees ----


def computed(context: Context, source: Path, target: Path, *options: str) -> list[str]:
    """`dunlin sync -a` of a tree that is computed, its state on a real disk: ten million rows are 1.4 GB."""
    state = context.disk / "made.db"
    return [
        sys.executable, "-m", "bench.made", "sync", "-a", str(source), str(target),
        "--state-db", str(state), "--quiet", "--json", *options,
    ]  # fmt: skip


def forget(context: Context) -> None:
    """Remove the state of computed trees."""
    for path in context.disk.glob("made.db*"):
        path.unlink()


def generated(context: Context) -> Row:
    """Memory must not grow with the tree."""
    files = 100
    sizes = {"1 M": context.fewer(10_000, 100), "10 M": context.fewer(100_000, 400)}
    title = f"trees of {' and '.join(sizes)} entries, {files} files to a directory, computed as they are listed"
    row = Row("scale-generated", title)
    if context.only_peers:
        return row
    for size, folders in sizes.items():
        shape = Shape(folders, files, "source")
        for name in (f"dunlin, {size}, first run", f"dunlin, {size}, again"):
            if name.endswith("first run"):
                forget(context)
            run_computed(context, row, name, shape)
            expect(context, scanned_files=shape.count, equal_files=shape.count, copied_files=0, extra_files=0)
            expect(context, scanned_directories=1 + shape.entries - shape.count)
            row.checks.append(Check(f"{name}: entries a second", shape.entries / row.median(name), "/s"))
        state = sum(path.stat().st_size for path in context.disk.glob("made.db*"))
        row.checks.append(Check(f"dunlin, {size}: state for each file", state / shape.count, "bytes"))
    forget(context)
    for run in ("first run", "again"):
        grown = peak(row, f"dunlin, 10 M, {run}") / peak(row, f"dunlin, 1 M, {run}")
        row.checks.append(at_most(f"{run}: memory of 10 M against 1 M", grown, 1.1))
        row.checks.append(at_most(f"{run}: memory of 10 M", peak(row, f"dunlin, 10 M, {run}") / MB, MEMORY, "MB"))
    row.notes.append(MADE)
    return row


MADE = (
    "both sides are bench/made.py: listings are computed inside dunlin's own processes, which is part of their time; "
    "all else is the real program, its state on a disk"
)


def run_computed(context: Context, row: Row, name: str, shape: Shape, *options: str) -> tuple[Path, Path]:
    """One run of a pair of computed trees; the directories that stand for them."""
    source = place(context.work / "made-source", shape)
    target = place(context.work / "made-target", replace(shape, side="target"))
    say(f"  {name}")
    measured = context.run(computed(context, source, target, *options))
    row.runs.setdefault(name, []).append(measured.as_dict())
    return source, target


# ---- one directory ----


def one_directory(context: Context) -> Row:
    """A directory whose names come in no order, and do not fit into memory."""
    count = context.fewer(2_000_000, 120_000)
    row = Row("scale-onedir", f"{count:,} names in one directory, listed in no order")
    if not context.only_peers:
        computed_directory(context, row, count)
    real_directory(context, row, count)
    for name in row.runs:
        bar = f"{name}: memory"
        value = peak(row, name) / MB
        row.checks.append(at_most(bar, value, MEMORY, "MB") if name.startswith("dunlin") else Check(bar, value, "MB"))
    if not context.only_peers:
        row.checks.append(at_most("names not treated as they had to be", 0, 0, ""))
    row.notes += [MADE, "real: empty files made in no order on tmpfs, which lists them so; copied to a disk"]
    return row


def computed_directory(context: Context, row: Row, count: int) -> None:
    """Both sides computed, with differences: every name that is copied or deleted is compared with what had to be."""
    shape = Shape(0, count, "source", differing=1_000, shuffled=True)
    forget(context)
    name = "dunlin, computed, 3 of 1,000 differ"
    _, target = run_computed(context, row, name, shape, "--delete-extras")
    told = {path.name for path in target.iterdir()} - {made.MARK, made.DELETED}
    deleted = (target / made.DELETED).read_text().splitlines()
    new, extra, changed = (set(shape.names(what)) for what in (made.MISSING, made.EXTRA, made.CHANGED))
    differs("copied", told, new | changed)
    differs("deleted", set(deleted), extra)
    if len(deleted) != len(extra):
        raise Failed("names were deleted twice")
    expect(
        context, equal_files=count - len(new | extra | changed), copied_files=len(new | changed),
        missing_files=len(new), differing_files=len(changed), deleted_files=len(extra), failed_files=0,
    )  # fmt: skip
    forget(context)


def differs(what: str, found: set[str], wanted: set[str]) -> None:
    """Raise Failed unless the names are exactly those."""
    if found != wanted:
        wrong = sorted(found ^ wanted)
        raise Failed(f"{what}: {len(found - wanted)} too many, {len(wanted - found)} missing, {wrong[:3]}")


def real_directory(context: Context, row: Row, count: int) -> None:
    """Source on tmpfs, copy on a disk: everything copied, then some differences, then nothing to do.

    A tmpfs has an inode for every second page of memory: not enough for both.
    """
    source, copy = context.work / "onedir-source", context.disk / "onedir-copy"
    make_shuffled(source, count)
    state = ("--state-db", str(context.work / "state.db"), "--quiet", "--json")
    few = max(1, count // 1_000)

    def dunlin(name: str, *options: str, **counts: int) -> None:
        say(f"  {name}")
        command = [*context.sync(*options)(source, copy), *state]
        row.runs.setdefault(name, []).append(context.run(command).as_dict())
        expect(context, failed_files=0, **counts)
        check_copy(source, copy)

    def peer(name: str) -> None:
        say(f"  {name}")
        row.runs.setdefault(name, []).append(context.run(rsync()(source, copy)).as_dict())
        check_copy(source, copy)

    context.forget()
    if not context.only_peers:
        dunlin("dunlin, real, first run", copied_files=count, equal_files=0)
        for index in range(few):
            (copy / made.file_name(index)).unlink()
            (copy / f"extra-{index}").touch()
            os.utime(source / made.file_name(few + index), ns=(EPOCH_NS, EPOCH_NS))
        dunlin(
            "dunlin, real, 3 of 1,000 differ", "--delete-extras",
            copied_files=2 * few, missing_files=few, differing_files=few, deleted_files=few,
            equal_files=count - 2 * few,
        )  # fmt: skip
        dunlin("dunlin, real, again", copied_files=0, equal_files=count)
    else:
        peer("rsync, real, first run")
    peer("rsync, real, again")
    context.forget()
    remove(source)
    remove(copy)


def make_shuffled(root: Path, count: int) -> None:
    """`count` empty files in one directory, made in no order."""
    root.mkdir()
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for batch in order(count, 3):
            for index in batch:
                fd = os.open(made.file_name(index), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
                os.utime(fd, ns=(EPOCH_NS + index, EPOCH_NS + index * 1_000_003))
                os.close(fd)
    finally:
        os.close(folder)
