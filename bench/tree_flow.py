"""What the row `index` measures, in processes of their own: ``python -m bench.tree_flow STEP FOLDER ...``.

    build FOLDER NODES ROOT   two segments of the same rows, names raw and in frames; a second tree for `diff`, twice
    ask FOLDER NAMES          paths, directories, a rename, sums, a search
    diff FOLDER               the tree with another one, with the same and with other node ids, and with a delta
    flat FOLDER DIRECTORIES   a computed tree of 13 nodes for each directory: written, and summed up

Times are the median of several turns, in seconds: of the wall clock, or of the CPU for questions of microseconds,
in which nothing waits and others on the machine would be measured. Each step prints one JSON object.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.grown_trees import Change, Seen, computed, repeated
from dunlin.backup.tree import totals
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import RAW, ZSTD
from dunlin.backup.tree.diff import diff
from dunlin.backup.tree.find import find
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree

TURNS = 5
CHANGED = 1_000
"""One file of so many differs between the trees that are compared."""


def main() -> None:
    """Do one step."""
    step, folder, *rest = sys.argv[1:]
    steps: dict[str, Callable[..., dict[str, Any]]] = {"build": build, "ask": ask, "diff": compare, "flat": flat}
    print(json.dumps(steps[step](Path(folder), *rest)))


def peak() -> int:
    """Bytes of memory at the highest, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own() -> int:
    """Bytes of memory of this process alone: without what is mapped from files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def turns(call: Callable[[], object], count: int = TURNS, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median time of a call."""
    taken = []
    for _ in range(count):
        begun = clock()
        call()
        taken.append(clock() - begun)
    return statistics.median(taken)


def busy(call: Callable[[], object]) -> float:
    """The median CPU time of a call that does not wait."""
    return turns(call, 3 * TURNS, time.thread_time)


def build(folder: Path, nodes: str, root: str) -> dict[str, Any]:
    """Both codings, and the trees that are compared with them."""
    seen = Seen(Path(root))
    told: dict[str, Any] = {"entries": seen.entries}
    for name, coding in (("raw", RAW), ("zstd", ZSTD)):
        begun = time.perf_counter()
        info = repeated(folder / name, seen, int(nodes), coding)
        told[name] = {
            "seconds": time.perf_counter() - begun, "nodes": info.directories + info.files,
            "directories": info.directories, "size": info.size, "columns": info.columns, "own": own(),
        }  # fmt: skip
    repeated(folder / "same-ids", seen, int(nodes), RAW, Change(CHANGED))
    repeated(folder / "other-ids", seen, int(nodes), RAW, Change(CHANGED, 12_345))
    return told


def ask(folder: Path, names: str) -> dict[str, Any]:
    """Questions to one segment."""
    begun = time.perf_counter()
    segment = Segment.open(folder / names)
    told: dict[str, Any] = {"check": time.perf_counter() - begun}
    segment = Segment.open(folder / names, check=False)
    tree = Tree([segment])
    chance = random.Random(1)
    paths, twelve = [], []
    while len(paths) < 2_000 or len(twelve) < 1_000:
        row = tree.row(chance.randrange(segment.directories.rows))
        path = tree.path(row.node) or b""
        if row.files and path.count(b"/") == 6 and len(paths) < 2_000:
            paths.append(path + b"/" + chance.choice(list(tree.run(row.node).each_name())))
        if 11 <= row.files <= 13 and len(twelve) < 1_000:
            twelve.append(row.node)
    told["lookup"] = busy(lambda: [tree.lookup(path) for path in paths]) / len(paths)
    told["columns"] = busy(lambda: [columns(tree, node) for node in twelve]) / len(twelve)
    told["objects"] = busy(lambda: [whole(tree, node) for node in twelve]) / len(twelve)
    told["renamed"] = totals.totals(tree, tree.directories(1)[0].node)._asdict()
    node = tree.directories(1)[0].node
    told["rename"] = busy(lambda: rename(folder, segment, tree, node))
    with_delta = Tree([segment, Segment.open(folder / "renamed")])
    first = tree.directories(1)[0].name
    paths = [path.replace(first, b"another name", 1) for path in paths]
    assert all(with_delta.lookup(path) for path in paths)
    told["lookup-delta"] = busy(lambda: [with_delta.lookup(path) for path in paths]) / len(paths)
    told["own"] = own()
    told["du"] = turns(lambda: totals.totals(tree))
    told["du-part"] = turns(lambda: totals.totals(tree, tree.directories(1)[0].node))
    told["sizes"] = turns(lambda: totals.sizes(tree), 1)
    told["ages"] = turns(lambda: totals.ages(tree, time.time_ns(), [86_400, 30 * 86_400, 365 * 86_400]), 1)
    told["found"] = 0

    def search() -> None:
        told["found"] = sum(1 for _ in find(tree, "*passwd*"))

    told["find"] = turns(search, 3)
    return told


def columns(tree: Tree, node: int) -> None:
    """A directory as a backup reads it."""
    _, run = tree.children(node)
    _ = run.names, run.lengths, run.sizes, run.ticks, run.fingerprints


def whole(tree: Tree, node: int) -> None:
    """A directory as `ls` reads it."""
    _, run = tree.children(node)
    list(run.files())


def rename(folder: Path, segment: Segment, tree: Tree, node: int) -> Tree:
    """A directory of the root gets another name: one row written, the view with it opened."""
    with SegmentWriter(folder / "renamed") as writer:
        tree.rename(writer, node, 1, b"another name")
        info = writer.finish()
    assert (info.directories, info.files) == (1, 0)
    return Tree([segment, Segment.open(folder / "renamed")])


def compare(folder: Path) -> dict[str, Any]:
    """The differences are counted, and so is the time."""
    old = Tree([Segment.open(folder / "raw", check=False)])
    told: dict[str, Any] = {}
    for name in ("same-ids", "other-ids"):
        new = Tree([Segment.open(folder / name, check=False)])
        told[name] = timed(old, new)
    touch(folder / "delta", old)
    told["delta"] = timed(old, Tree([old.base, Segment.open(folder / "delta")]))
    told["own"] = own()
    return told


def timed(old: Tree, new: Tree) -> dict[str, float]:
    """Seconds and differences."""
    begun = time.perf_counter()
    count = sum(1 for _ in diff(old, new))
    return {"seconds": time.perf_counter() - begun, "differences": count}


def touch(path: Path, tree: Tree) -> None:
    """A delta with one changed file of `CHANGED`: the runs that these are in, whole."""
    chance = random.Random(3)
    wanted = max(1, tree.base.files.rows // CHANGED)
    with SegmentWriter(path) as writer:
        for handle in sorted(chance.sample(range(tree.base.directories.rows), wanted)):
            row, run = tree.row(handle), tree.run_at(handle)
            prints = run.fingerprints.copy()
            prints[:1] += np.uint64(1)
            writer.add_directory(*row[:6])
            writer.add_run(
                row.node, run.names, run.lengths, run.nodes, run.sizes, run.ticks, run.hashes, run.flags, prints
            )
        writer.finish()


def flat(folder: Path, directories: str) -> dict[str, Any]:
    """A tree that no disk here holds."""
    begun = time.perf_counter()
    info = computed(folder / "flat", int(directories), 12)
    told: dict[str, Any] = {
        "seconds": time.perf_counter() - begun, "nodes": info.directories + info.files, "size": info.size,
        "columns": info.columns, "peak": peak(),
    }  # fmt: skip
    tree = Tree([Segment.open(folder / "flat", check=False)])
    begun = time.perf_counter()
    told["total"] = totals.totals(tree)._asdict()
    told["du-cold"] = time.perf_counter() - begun
    told["du"] = turns(lambda: totals.totals(tree))
    told["du-part"] = turns(lambda: totals.totals(tree, tree.directories(1)[0].node), 1)
    told["part"] = totals.totals(tree, tree.directories(1)[0].node)._asdict()
    return told


if __name__ == "__main__":
    main()
