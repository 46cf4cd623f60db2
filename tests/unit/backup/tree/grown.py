"""Trees as dictionaries, and the same as segments: the model that the tests compare with."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from dunlin.backup.tree.build import DIRECTORY, FILE, SegmentInfo, SegmentWriter
from dunlin.backup.tree.view import Tree


@dataclass
class Row:
    """A file of the model."""

    node: int
    size: int = 0
    mtime: int = 0
    hash: int = 0
    flags: int = FILE
    fingerprint: int = 0

    def values(self) -> tuple[int, ...]:
        return (self.node, self.size, self.mtime // 100 * 100, self.hash, self.flags, self.fingerprint)


@dataclass
class Folder:
    """A directory of the model: parent and name, its files by name."""

    parent: int
    name: bytes
    mtime: int = 0
    fingerprint: int = 0
    files: dict[bytes, Row] = field(default_factory=dict)


Model = dict[int, Folder]
"""Directories by node id; 1 is the root."""


def write(writer: SegmentWriter, model: Model, only: set[int] | None = None) -> None:
    """Rows and runs of all directories, or of some, in no order."""
    nodes = [node for node in model if only is None or node in only]
    random.Random(len(nodes)).shuffle(nodes)
    for node in nodes:
        folder = model[node]
        writer.add_directory(node, folder.parent, folder.name, folder.mtime, folder.fingerprint)
        add_run(writer, node, folder.files)


def add_run(writer: SegmentWriter, node: int, files: dict[bytes, Row]) -> None:
    """The run of one directory."""
    names = sorted(files)
    rows = [files[name] for name in names]
    writer.add_run(
        node, b"".join(names), [len(name) for name in names], [row.node for row in rows], [row.size for row in rows],
        [row.mtime // 100 for row in rows], [row.hash for row in rows], [row.flags for row in rows],
        [row.fingerprint for row in rows],
    )  # fmt: skip


def segment(path: Path, model: Model, names: int = 0) -> SegmentInfo:
    """The whole model as one segment."""
    with SegmentWriter(path, names=names) as writer:
        write(writer, model)
        return writer.finish()


def paths(model: Model) -> dict[bytes, object]:
    """Everything that can be reached, by path: the node id of a directory, the values of a file."""
    below: dict[int, list[int]] = {}
    for node, folder in model.items():
        below.setdefault(folder.parent, []).append(node)
    found: dict[bytes, object] = {}
    waiting = [(1, b"")]
    while waiting:
        node, path = waiting.pop()
        found[path] = (node, model[node].mtime // 100 * 100, model[node].fingerprint)
        prefix = path + b"/" if path else b""
        for name, row in model[node].files.items():
            found[prefix + name] = row.values()
        waiting += [(child, prefix + model[child].name) for child in below.get(node, ())]
    return found


def seen(tree: Tree) -> dict[bytes, object]:
    """The same of a tree, by walking it."""
    found: dict[bytes, object] = {}
    root = tree.directory(1)
    waiting = [(root, b"")] if root else []
    while waiting:
        directory, path = waiting.pop()
        found[path] = (directory.node, directory.mtime, directory.fingerprint)
        assert directory.flags & 15 == DIRECTORY
        prefix = path + b"/" if path else b""
        directories, run = tree.children(directory.node)
        assert [d.name for d in directories] == sorted(d.name for d in directories)
        files = list(run.files())
        assert [f.name for f in files] == sorted(f.name for f in files)
        assert (directory.files, directory.size) == (len(files), sum(f.size for f in files))
        for file in files:
            found[prefix + file.name] = (file.node, file.size, file.mtime, file.hash, file.flags, file.fingerprint)
        waiting += [(child, prefix + child.name) for child in directories]
    return found


def grow(seed: int, directories: int, files: int) -> Model:
    """A tree that looks like one of people: chance decides depth, names, sizes and times."""
    chance = random.Random(seed)
    model: Model = {1: Folder(0, b"", 5, 6)}
    node = 1
    for _ in range(directories):
        node += chance.randint(1, 3)
        parent = chance.choice(list(model))
        model[node] = Folder(parent, name(chance, node), chance.randint(-(1 << 60), 1 << 62), chance.getrandbits(64))
    for _ in range(files):
        node += 1
        home = model[chance.choice(list(model))]
        home.files[name(chance, node)] = Row(
            node, chance.choice([0, 1, 4096, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 42]),
            chance.choice([0, -1, -(10**18), 1_700_000_000_123_456_789, 2**32 * 10**9, 2**62]), chance.getrandbits(64),
            chance.choice([FILE, FILE | 0x10, 0o120000 >> 12]), chance.getrandbits(64),
        )  # fmt: skip
    return model


def name(chance: random.Random, number: int) -> bytes:
    """A name that no other number has; some are long, some no UTF-8."""
    size = chance.choice([0, 0, 1, 5, 9, 20, 240, 255, 400])
    return b"%s%d" % (chance.choice([b"common-beginning-", b"\xff\xfe", b"", bytes(chance.randbytes(size))]
                      ).replace(b"/", b"_"), number)  # fmt: skip
