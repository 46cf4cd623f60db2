"""What a backup costs as the number of files grows, and what that comes to at a billion: a projection, not a run.

Three sizes, each twice the one before, are backed up into an empty repository and then again, unchanged. Every figure
is taken for a straight line, a + b·n, through the three (least squares); the projection is the line at a billion. A
straight line may be wrong. So the slope of the upper half is told beside the slope of the lower one: where the two
differ, the figure does not grow as a line does, and the projection errs to that side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.context import Context
from bench.measure import remove
from bench.results import Check, Row
from bench.rows.backups import saving, turns
from bench.trees import Tree
from bench.vaults import Vault, vaults

BILLION = 1_000_000_000
FOLDER = 1_000
"""Files of a directory."""


def billion(context: Context) -> Row:
    """The curve at three sizes, and where it leads."""
    most = 8_000 if context.quick else context.files
    row = Row("backup-billion", f"backups of up to {most:,} files of 16 bytes, and the projection to {BILLION:,}")
    (vault,) = vaults(context, "dunlin")
    counts = [most // 4, most // 2, most]
    found: dict[str, list[float]] = {}
    for number, count in enumerate(counts):
        tree = Tree(f"billion-{number}", count // FOLDER, FOLDER, 0, 16)
        source = context.tree(tree)
        vault.again(context)
        for step in ("first", "unchanged"):
            name = f"{count:,} files, {step}"
            turns(context, row, [vault], 0, name, saving(context, source))
            run = row.runs[f"dunlin, {name}"][-1]
            _note(found, f"{step}: hours", run["wall"] / 3600)
            _note(found, f"{step}: processor hours", run["cpu"] / 3600)
            _note(found, f"{step}: memory of all processes, GB", run["peak_pss"] / 1e9)
        for kind, value in kept(vault).items():
            _note(found, kind, value)
        remove(source)
        (context.work / f"{tree.name}.done").unlink()
    for what, values in found.items():
        what, _, unit = what.rpartition(", ") if ", " in what else (what, "", "")
        row.checks.append(Check(f"at a billion: {what}", line(counts, values, BILLION), unit))
        row.checks.append(Check(f"slope of the upper half against the lower: {what}", bend(counts, values), "×"))
    row.notes.append(
        f"a projection by a straight line through {len(counts)} sizes, each run once on tmpfs, with {FOLDER:,} files "
        "in a directory. Not run: a billion files; a restore, a verification and a prune of so many; a store far "
        "away, which adds its requests (objects above) and its time; a chunk index larger than the memory, whose "
        "lookups then wait for the disk; several shares at once"
    )
    remove(vault.place)
    return row


def kept(vault: Vault) -> dict[str, float]:
    """What lies in the repository, by kind."""
    found = dict.fromkeys(("tree, GB", "pages, GB", "chunk index, GB", "packs, GB", "objects, millions"), 0.0)
    root = vault.place / "repository"
    for path in root.rglob("*"):
        if path.is_file():
            found[f"{_kind(path.relative_to(root))}, GB"] += path.stat().st_size / 1e9
            found["objects, millions"] += 1e-6
    return found


def _kind(path: Path) -> str:
    if "tree" in path.parts:
        return "pages" if path.suffix == ".pages" else "tree"
    return "chunk index" if "chunks" in path.parts else "packs"


def line(counts: list[int], values: list[float], at: int) -> float:
    """Where the straight line through the points, by least squares, leads."""
    slope, start = np.polyfit(np.array(counts, float), np.array(values), 1)
    return float(start + slope * at)


def bend(counts: list[int], values: list[float]) -> float:
    """The slope between the last two points for the slope between the first two; 1 is a straight line."""
    lower, upper = np.diff(values) / np.diff(counts)
    return float(upper / lower) if lower else float("inf") if upper else 1.0


def _note(found: dict[str, list[float]], what: str, value: float) -> None:
    found.setdefault(what, []).append(value)
