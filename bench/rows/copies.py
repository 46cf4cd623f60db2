"""Rows on a local file system in memory: many small files, one directory, nothing to do, one big file, a million."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.context import Command, Context, alternate, cp, prefault, rsync
from bench.measure import Measured, remove
from bench.results import Check, Row, at_least, at_most
from bench.trees import Tree, check_copy, same_content

MB = 1_000_000


def copying(context: Context, command: Command, source: Path, copy: Path) -> Callable[[], Measured]:
    """A run into a fresh destination, without any state."""

    def call() -> Measured:
        remove(copy)
        context.forget()
        return context.run(command(source, copy))

    return call


def copy_row(context: Context, row: Row, tree: Tree, programs: dict[str, Command]) -> Path:
    """Run the programs on ``tree`` alternately, checking and removing each copy."""
    source, copy = context.tree(tree), context.work / "copy"

    def after(_: str) -> None:
        check_copy(source, copy)
        remove(copy)

    alternate(
        context, row, {name: copying(context, command, source, copy) for name, command in programs.items()}, after=after
    )
    return source


def small_tree(context: Context) -> Tree:
    """100,000 files of about 4 KB in 1,000 directories."""
    return Tree("small", context.fewer(1000, 20), 100)


def small(context: Context) -> Row:
    """Many small files, first time."""
    tree = small_tree(context)
    row = Row("small", f"{tree.count:,} files of ~4 KB in {tree.folders:,} directories, tmpfs, state and blake3 on")
    prefault(context, context.fewer(1500, 50) * MB)
    copy_row(context, row, tree, {"dunlin": context.sync(), "rsync": rsync(), "cp": cp()})
    if "dunlin" in row.runs:
        row.checks += [
            at_least("speed against rsync -a", row.ratio("rsync", "dunlin"), 2.0),
            at_least("speed against cp -a", row.ratio("cp", "dunlin"), 1.2),
            at_most("CPU per file", row.median("dunlin", "cpu") / tree.count * 1e6, 36, "µs"),
        ]
    return row


def onedir(context: Context) -> Row:
    """All files in one directory."""
    tree = Tree("onedir", 0, context.fewer(50_000, 3000))
    row = Row("onedir", f"{tree.count:,} files of ~4 KB in one directory, tmpfs")
    prefault(context, context.fewer(800, 50) * MB)
    copy_row(context, row, tree, {"dunlin": context.sync(), "rsync": rsync(), "cp": cp()})
    if "dunlin" in row.runs:
        row.checks.append(at_least("speed against rsync -a", row.ratio("rsync", "dunlin"), 1.7))
    return row


def again(context: Context) -> Row:
    """The same tree when nothing changed."""
    tree = small_tree(context)
    row = Row("again", f"{tree.count:,} files again, nothing to do")
    source, copy = context.tree(tree), context.work / "again"
    context.forget()
    remove(copy)
    # Made by dunlin, so that its state is the one of an ordinary second run.
    context.run((rsync() if context.only_peers else context.sync())(source, copy))
    programs = {
        "dunlin": context.sync(), "dunlin --trust-state": context.sync("--trust-state"), "rsync": rsync(),
    }  # fmt: skip
    calls = {name: functools.partial(context.run, command(source, copy)) for name, command in programs.items()}
    alternate(context, row, calls)
    check_copy(source, copy)
    remove(copy)
    if "dunlin" in row.runs:
        row.checks += [
            at_most("time against rsync -a", row.ratio("dunlin", "rsync"), 1.0),
            at_most("--trust-state against rsync -a", row.ratio("dunlin --trust-state", "rsync"), 0.6),
            Check("--trust-state against dunlin without it", row.ratio("dunlin --trust-state", "dunlin"), "×"),
        ]
    return row


def big(context: Context) -> Row:
    """One file that fills the page cache."""
    size = context.fewer(4 << 30, 64 << 20)
    row = Row("big", f"one file of {size / 2**30:g} GiB, tmpfs")
    source = context.tree(Tree(f"big-{size}", 0, 1, sizes=(size,)))
    copy = context.work / "copy"
    prefault(context, size + (64 << 20))

    def after(_: str) -> None:
        (name,) = os.listdir(source)
        same_content(source / name, copy / name, size)
        remove(copy)

    programs = {
        "dunlin --checksum none": context.sync("--checksum", "none"), "dunlin": context.sync(), "cp": cp(),
    }  # fmt: skip
    alternate(
        context, row, {name: copying(context, command, source, copy) for name, command in programs.items()}, after=after
    )
    remove(source)
    (context.work / f"{source.name}.done").unlink()
    if "dunlin" in row.runs:
        row.checks += [
            at_least("speed against cp, no checksum", row.ratio("cp", "dunlin --checksum none"), 0.9),
            at_least("speed against cp, blake3", row.ratio("cp", "dunlin"), 0.8),
        ]
    return row


def million(context: Context) -> Row:
    """Memory when there are very many files, spread out and in one directory."""
    count = context.fewer(1_000_000, 4000)
    row = Row("million", f"{count:,} files: memory of all processes")
    shapes = {
        "in 1,000 directories": Tree("million", 1000, count // 1000, 0, 16),
        "in one directory": Tree("million-one", 0, count, 0, 16),
    }
    for where, tree in shapes.items():
        programs = {f"dunlin, {where}": context.sync(), f"rsync, {where}": rsync()}
        source, copy = context.tree(tree), context.work / "copy"

        def after(name: str, source: Path = source, copy: Path = copy, programs: dict[str, Command] = programs) -> None:
            check_copy(source, copy)
            if name.startswith("dunlin"):  # the second run has other lists to keep
                row.runs.setdefault(f"{name}, again", []).append(context.run(programs[name](source, copy)).as_dict())
            remove(copy)

        # Memory hardly varies: one run each.
        alternate(
            context,
            row,
            {name: copying(context, command, source, copy) for name, command in programs.items()},
            pairs=1,
            after=after,
        )
        shutil.rmtree(source)
        (context.work / f"{tree.name}.done").unlink()
    for name in [name for name in row.runs if name.startswith("dunlin")]:
        row.checks.append(at_most(f"{name}: peak resident", row.median(name, "peak_pss") / MB, 300, "MB"))
    return row
