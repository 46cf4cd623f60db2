"""The row about the node tree of a backup: bytes for a node, time of a question."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from bench.context import Context, say
from bench.measure import Failed
from bench.results import Check, Row, at_most

BESIDE = {"f.fingerprint", "d.fingerprint", "d.check", "d.page"}
"""What only comparisons of trees and metadata pages touch, told apart from the others."""


def index(context: Context) -> Row:
    """A real tree repeated, and a computed one of five times as many nodes."""
    nodes = context.fewer(context.nodes, 200_000)
    folder = context.disk / "index"
    folder.mkdir()

    def step(name: str, *rest: str) -> dict[str, Any]:
        measured = context.run([sys.executable, "-m", "bench.tree_flow", name, str(folder), *rest])
        row.runs.setdefault(" ".join((name, *rest[:1])), []).append(measured.as_dict())
        say(f"  index {name}: {measured.wall:.1f} s wall, {measured.cpu:.1f} s CPU, {measured.max_rss / 1e6:.0f} MB")
        return context.told()

    row = Row("index", f"the node tree: the names of /usr repeated to {nodes:,} nodes, and {5 * nodes:,} computed ones")
    try:
        built = step("build", str(nodes), "/usr")
        for names in ("raw", "zstd"):
            size(row, names, built[names])
            asked(row, names, step("ask", names))
        compared(row, step("diff"))
        for path in folder.iterdir():
            path.unlink()
        computed(row, step("flat", str(5 * nodes // 13)), 5 * nodes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row.notes.append(
        f"/usr has {built['entries']:,} entries; its copies lie below directories with new names. Frames of names are "
        "packed one by one, so that the repetition saves nothing"
    )
    row.notes.append(
        "µs and ms are CPU times of one thread, the others wall times; medians of turns over the same thousands of "
        "paths; segments are in the page cache"
    )
    return row


def size(row: Row, names: str, told: dict[str, Any]) -> None:
    """Bytes for a node."""
    nodes, columns = told["nodes"], told["columns"]
    beside = sum(columns.get(name, 0) for name in BESIDE)
    row.checks.append(at_most(f"names {names}: bytes for a node", (told["size"] - beside) / nodes, 50, "B"))
    row.checks.append(Check(f"names {names}: fingerprints, checks and page references, beside", beside / nodes, "B"))
    for name, taken in sorted(columns.items(), key=lambda pair: -pair[1]):
        if taken / nodes >= 0.005:
            row.checks.append(Check(f"names {names}: column {name}", taken / nodes, "B"))
    row.checks.append(Check(f"names {names}: nodes written in a second", nodes / told["seconds"], "/s"))
    row.checks.append(Check(f"names {names}: own memory after writing", told["own"] / 1e6, "MB"))


def asked(row: Row, names: str, told: dict[str, Any]) -> None:
    """Times of questions."""
    row.checks += [
        at_most(f"names {names}: lookup of 8 names", told["lookup"] * 1e6, 20, "µs"),
        at_most(f"names {names}: directory of 12, as columns", told["columns"] * 1e6, 50, "µs"),
        at_most(f"names {names}: directory of 12, as objects", told["objects"] * 1e6, 50, "µs"),
        at_most(f"names {names}: rename, delta written and opened", told["rename"] * 1e3, 1, "ms"),
        Check(f"names {names}: lookup of 8 names, with a delta", told["lookup-delta"] * 1e6, "µs"),
        Check(f"names {names}: descendants of the renamed", sum(list(told["renamed"].values())[:2]) - 1, "nodes"),
        Check(f"names {names}: du of the whole", told["du"], "s"),
        Check(f"names {names}: du of the renamed", told["du-part"], "s"),
        Check(f"names {names}: histogram of sizes", told["sizes"], "s"),
        Check(f"names {names}: histogram of ages", told["ages"], "s"),
        Check(f"names {names}: find *passwd* ({told['found']:,} found)", told["find"], "s"),
        Check(f"names {names}: checksums of the whole segment", told["check"], "s"),
        Check(f"names {names}: own memory after lookups", told["own"] / 1e6, "MB"),
    ]


def compared(row: Row, told: dict[str, Any]) -> None:
    """Two scans."""
    for name, what in (("same-ids", "same node ids"), ("other-ids", "other node ids"), ("delta", "a delta")):
        if not told[name]["differences"]:
            raise Failed(f"{what}: no difference was found")
        what = f"diff, {what}, {told[name]['differences']:,} differences"
        row.checks.append(at_most(what, told[name]["seconds"], 5, "s"))


def computed(row: Row, told: dict[str, Any], nodes: int) -> None:
    """The large one."""
    if told["total"]["files"] + told["total"]["directories"] != told["nodes"]:
        raise Failed(f"du counts {told['total']} of {told['nodes']} nodes")
    beside = sum(told["columns"].get(name, 0) for name in BESIDE)
    row.checks += [
        at_most(f"{nodes:,} computed: du of the whole", told["du"], 2, "s"),
        Check(f"{nodes:,} computed: du, first time", told["du-cold"], "s"),
        Check(f"{nodes:,} computed: du of {told['part']['directories']:,} directories", told["du-part"], "s"),
        Check(f"{nodes:,} computed: bytes for a node", (told["size"] - beside) / told["nodes"], "B"),
        at_most(f"{nodes:,} computed: memory while writing", told["peak"] / 1e6, 2000, "MB"),
        Check(f"{nodes:,} computed: nodes written in a second", told["nodes"] / told["seconds"], "/s"),
    ]
