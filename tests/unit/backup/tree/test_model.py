"""Whatever is done to a tree, its segments show what a dictionary shows: deltas, moves, removals, compaction."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.backup.tree import totals, walk
from dunlin.backup.tree.build import SegmentWriter
from dunlin.backup.tree.columns import RAW, ZSTD
from dunlin.backup.tree.compact import Compacted, compact, join
from dunlin.backup.tree.diff import diff
from dunlin.backup.tree.find import find
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Directory, Tree
from tests.unit.backup.tree.grown import Folder, Model, Row, add_run, paths, seen

NAMES = (b"a", b"b", b"a.txt", b"a\x00", b"\xff", b"longer-than-eight-bytes", b"longer-than-eight", b"n" * 300)


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 64))
def test_segments_show_what_a_dictionary_shows(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), random.Random(seed))
        for _ in range(world.chance.randint(1, 120)):
            world.step()
        world.flush()
        assert world.checks > 0


class World:
    """A model that changes by chance, and segments: a delta holds what changed since the last one."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.model: Model = {1: Folder(0, b"")}
        self.segments: list[Segment] = []
        self.next = 2
        self.runs = {1}
        self.rows: set[int] = set()
        self.removed: set[int] = set()
        self.before: dict[bytes, tuple[int, ...]] = {}
        self.last = Tree()
        self.made = self.checks = 0

    def step(self) -> None:
        steps = (self.add_directory, self.put_file, self.remove_file, self.move, self.remove_directory, self.flush,
                 self.compacted, self.joined)  # fmt: skip
        self.chance.choices(steps, (8, 16, 4, 8, 2, 4, 1, 2))[0]()

    def pick(self) -> int:
        return self.chance.choice(sorted(self.model))

    def free(self, parent: int, name: bytes) -> bool:
        taken = {folder.name for folder in self.model.values() if folder.parent == parent}
        return name not in taken and name not in self.model[parent].files

    def add_directory(self) -> None:
        parent, name = self.pick(), self.chance.choice(NAMES)
        if self.free(parent, name):
            self.model[self.next] = Folder(parent, name, self.next, self.next)
            self.runs.add(self.next)
            self.next += 1

    def put_file(self) -> None:
        home, name, chance = self.pick(), self.chance.choice(NAMES), self.chance
        if name in self.model[home].files or self.free(home, name):
            size, mtime = chance.randrange(1 << 34), chance.randint(-(1 << 62), 1 << 62)
            self.model[home].files[name] = Row(self.next, size, mtime, self.next * 7, fingerprint=self.next * 11)
            self.runs.add(home)
            self.next += 1

    def remove_file(self) -> None:
        home = self.pick()
        if files := self.model[home].files:
            del files[self.chance.choice(sorted(files))]
            self.runs.add(home)

    def move(self) -> None:
        node, parent, name = self.pick(), self.pick(), self.chance.choice(NAMES)
        above = parent
        while above > 1 and above != node:
            above = self.model[above].parent
        if node != 1 and above != node and self.free(parent, name):
            self.model[node].parent, self.model[node].name = parent, name
            self.rows.add(node)

    def remove_directory(self) -> None:
        node = self.pick()
        if node == 1:
            return
        self.removed.add(node)
        waiting = [node]
        while waiting:
            gone = waiting.pop()
            del self.model[gone]
            if gone in self.rows:
                self.removed.add(gone)  # the segments have it elsewhere
            waiting += [other for other, folder in self.model.items() if folder.parent == gone]

    def flush(self) -> None:
        tree = Tree(self.segments)
        with SegmentWriter(self.path()) as writer:
            for node in self.runs & self.model.keys():
                folder = self.model[node]
                writer.add_directory(node, folder.parent, folder.name, folder.mtime, folder.fingerprint)
                add_run(writer, node, folder.files)
            for node in (self.rows - self.runs) & self.model.keys():
                row = tree.directory(node)
                assert row is not None
                row = row._replace(parent=self.model[node].parent, name=self.model[node].name)
                writer.add_directory(*row[:6], files=row.files, size=row.size, check=row.check)
            for node in self.removed:
                writer.remove(node)
            writer.finish()
        self.segments.append(Segment.open(self.path()))
        self.made += 1
        self.runs, self.rows, self.removed = set(), set(), set()
        self.shows_the_model()
        self.checks += 1

    def path(self) -> Path:
        return self.folder / str(self.made)

    def compacted(self) -> None:
        old, names = Tree(self.segments), self.chance.choice([RAW, ZSTD])
        if not self.segments:
            return
        made = compact(self.segments, self.path(), names=names)
        fresh = Segment.open(self.path())
        self.made += 1
        tree = Tree([fresh])
        assert seen(tree) == seen(old)
        assert (made.info.directories, made.info.files) == (len(walk.below(old)), totals.totals(tree).files)
        self.pages_follow(made, fresh, self.segments)
        self.segments = [fresh]

    def joined(self) -> None:
        """Deltas that follow each other, the newest or others, become one."""
        if len(self.segments) < 2:
            return
        first = self.chance.randint(1, len(self.segments) - 1)
        last = self.chance.randint(first + 1, len(self.segments))
        some = self.segments[first:last]
        made = join(some, self.path(), names=self.chance.choice([RAW, ZSTD]))
        fresh = Segment.open(self.path())
        self.made += 1
        self.pages_follow(made, fresh, some)
        old = Tree(self.segments)
        self.segments[first:last] = [fresh]
        new = Tree(self.segments)
        assert seen(new) == seen(old)
        assert totals.totals(new) == totals.totals(old)
        assert old.overlay is not None
        assert new.overlay is not None
        for name, column in old.overlay.columns.items():
            assert (new.overlay.columns[name] == column).all()
        assert (new.overlay.removed == old.overlay.removed).all()
        assert (new.overlay.gone == old.overlay.gone).all()

    @staticmethod
    def pages_follow(made: Compacted, fresh: Segment, old: list[Segment]) -> None:
        """What is told of the entries of pages is where the rows were."""
        rows = np.argsort(fresh.array("d.page"))
        assert len(rows) == len(made.directories)
        for row, (number, page) in zip(rows.tolist(), made.directories.tolist(), strict=True):
            was = old[number].array("d.page").tolist().index(page)
            assert fresh.directories.name(row) == old[number].directories.name(was)
            assert fresh.array("d.node")[row] == old[number].array("d.node")[was]
        origin = [(number, first + at) for number, first, rows in made.files.tolist() for at in range(rows)]
        assert len(origin) == fresh.files.rows
        for row, (number, was) in enumerate(origin):
            assert fresh.files.node(row) == old[number].files.node(was)

    def shows_the_model(self) -> None:
        tree = Tree(self.segments)
        wanted = paths(self.model)
        assert seen(tree) == wanted
        for path in wanted:
            found = tree.lookup(path)
            assert found is not None
            if isinstance(found, Directory):
                assert tree.path(found.node) == path
        files = [values for values in wanted.values() if len(values) == 6]
        sums = (len(wanted) - len(files), len(files), sum(values[1] for values in files))
        assert totals.totals(tree) == totals.totals(tree, 1) == sums
        assert sum(totals._sum(tree, walk.live(tree))[:2]) == len(wanted)
        by_child = [totals.totals(tree, child.node) for child in tree.directories(1)]
        assert sum(total.size for total in by_child) + sum(f.size for f in self.model[1].files.values()) == sums[2]
        assert {found.path for found in find(tree, "*a*")} == {
            path for path in wanted if b"a" in path.rpartition(b"/")[2]
        }
        self.differences(tree, wanted)

    def differences(self, tree: Tree, wanted: dict[bytes, object]) -> None:
        """Against the view before, whose node ids are the same."""
        changes = list(diff(self.last, tree))
        told = {change.path: change for change in changes}
        kinds = {path: len(values) for path, values in (self.before | wanted).items()}
        assert all(told[path].new is None for path in self.before.keys() - wanted.keys())
        assert all(told[path].old is None for path in wanted.keys() - self.before.keys())
        for path in wanted.keys() & self.before.keys():
            same = self.before[path][kinds[path] == 6 :] == wanted[path][kinds[path] == 6 :]
            assert same == (path not in told) or len(self.before[path]) != len(wanted[path]), path
        assert told.keys() <= kinds.keys()
        self.last, self.before = tree, wanted
