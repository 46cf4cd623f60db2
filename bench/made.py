"""`dunlin` on trees that are computed as they are listed: ``python -m bench.made sync SOURCE DESTINATION ...``.

No disk here holds ten million files, and if it did, its listing is what would be measured. So this is the real program
with one thing exchanged: where a directory holds a file `made.json`, the local store that is opened for it is a `Made`.
Everything else is what always runs: the command line, the job, the coordinator with its frontier, forked movers (they
have what their parent exchanged), the merge, the state file, and a real local store for whatever is *written*, so that
the directory holds afterwards what was copied, and ``deleted`` the names of what was deleted.

Names and facts are a function of the shape, so that both sides agree without anybody remembering anything. Where
`Shape.differing` is set, of each so many names in a directory the second is missing at the source, the third at the
destination, and the fourth has another time there: with 1,000, two million names have two thousand of each.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry, Facts
from dunlin.stores.base import Body, Caps, Data, Listing, Meta
from dunlin.stores.buffers import Buffers
from dunlin.stores.local import LocalStore

MARK = "made.json"
DELETED = "deleted"
BATCH = 5_000
"""Names in one batch of a listing, as the local store has it."""

EPOCH_NS = 1_600_000_000_123_456_789
TO_A_PARENT = 50
"""Directories to a parent, as in `bench.trees`."""

EXTRA, MISSING, CHANGED = 1, 2, 3
"""Places among `Shape.differing` names: only at the destination, only at the source, with another time there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`folders` directories, `TO_A_PARENT` to a parent (0: only the root), with `files` files each.

    `differing`: one name of so many differs in each of three ways; 0: none. `shuffled`: names come in no order, and in
    another one on each side; else as the numbers go. `side`: "source" or "target".
    """

    folders: int
    files: int
    side: str
    differing: int = 0
    shuffled: bool = False

    @property
    def count(self) -> int:
        """Files of both sides together, each name once."""
        return max(self.folders, 1) * self.files

    @property
    def entries(self) -> int:
        """Files and directories below the root, where none differ."""
        return self.count + self.folders + -(-self.folders // TO_A_PARENT)

    def has(self, index: int) -> bool:
        """Whether this side has the file of that number within its directory."""
        absent = EXTRA if self.side == "source" else MISSING
        return not self.differing or index % self.differing != absent

    def names(self, what: int) -> Iterator[str]:
        """The files of a directory that differ in one of the three ways."""
        return (file_name(index) for index in range(what, self.files, self.differing)) if self.differing else iter(())


def place(base: Path, shape: Shape) -> Path:
    """Make the directory that stands for one side, or empty it again."""
    base.mkdir(parents=True, exist_ok=True)
    for path in base.iterdir():
        path.unlink()
    (base / MARK).write_text(json.dumps(asdict(shape)))
    return base


def file_name(index: int) -> str:
    """The name of a file: as long as names are."""
    return f"file-{index:07d}.dat"


def top_name(number: int) -> str:
    """The name of a directory in the root."""
    return f"d{number:05d}"


def folder_name(number: int) -> str:
    """The name of a directory with files."""
    return f"s{number:06d}"


def number_of(name: str, make: Callable[[int], str]) -> int | None:
    """The number from which `make` made a name; None for any other name."""
    digits = "".join(filter(str.isdecimal, name))
    return int(digits) if digits and make(int(digits)) == name else None


def order(count: int, seed: int) -> Iterator[list[int]]:
    """Every number below `count` once, in batches, in no order, without a list of all.

    Steps of a golden part of the whole spread each batch over all of it, and a shuffle undoes their regularity.
    """
    step = max(1, int(count * (0.6180339887 if seed % 2 else 0.7548776662)))
    while gcd(step, count) != 1:
        step += 1
    chance = random.Random(seed)
    for first in range(0, count, BATCH):
        batch = [(seed + at * step) % count for at in range(first, min(first + BATCH, count))]
        chance.shuffle(batch)
        yield batch


class Made:
    """One side, computed; what is written goes to `real`.

    It has none of the powers of a local store except making directories and dressing them: files are compared and
    recorded by the general path, not copied by the quick one.
    """

    def __init__(self, real: LocalStore, shape: Shape) -> None:
        self._real = real
        self._shape = shape
        self._names = {index: file_name(index) for index in range(shape.files)} if shape.files <= BATCH else {}
        self._owner = os.geteuid(), os.getegid()

    @property
    def caps(self) -> Caps:
        """Those of the file system in which the directory lies."""
        return self._real.caps

    @property
    def url(self) -> str:
        """Where the directory lies."""
        return self._real.url

    def close(self) -> None:
        """Close the real store."""
        self._real.close()

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory, computed batch by batch."""
        shape = self._shape
        kind, number = self._parse(directory)
        if kind == "top":
            first = number * TO_A_PARENT
            last = min(first + TO_A_PARENT, shape.folders)
            yield [(folder_name(inner), self._directory(1 + inner)) for inner in range(first, last)]
        elif kind == "root" and shape.folders:
            tops = -(-shape.folders // TO_A_PARENT)
            for first in range(0, tops, BATCH):
                numbers = range(first, min(first + BATCH, tops))
                yield [(top_name(top), self._directory(-1 - top)) for top in numbers]
        elif kind in ("root", "folder"):
            yield from self._files(max(number, 0))
        else:
            raise DunlinError("list", directory, ErrorKind.NOT_FOUND, "no such directory")

    def _files(self, folder: int) -> Listing:
        shape, known = self._shape, self._names
        if shape.shuffled:
            batches: Iterator[Sequence[int]] = order(shape.files, 1 if shape.side == "source" else 2)
        else:
            starts = range(0, shape.files, BATCH)
            batches = (range(first, min(first + BATCH, shape.files)) for first in starts)
        for batch in batches:
            yield [
                (known[index] if known else file_name(index), self._file(folder, index))
                for index in batch
                if shape.has(index)
            ]

    def stat(self, path: str) -> Entry:
        """The entry at `path`, computed, or else what really stands there."""
        above, _, name = path.rpartition("/")
        kind, number = self._parse(path)
        if kind:
            ident = {"root": 0, "top": -1 - number, "folder": 1 + number}[kind]
            return Entry(path, self._directory(ident))
        index = number_of(name, file_name)
        holder, folder = self._parse(above)
        holds = holder == "folder" or (holder == "root" and not self._shape.folders)
        if index is not None and holds and index < self._shape.files and self._shape.has(index):
            return Entry(path, self._file(max(folder, 0), index))
        return self._real.stat(path)

    def _parse(self, path: str) -> tuple[str, int]:
        """Which directory a path means: ("root" | "top" | "folder", number), or ("", -1) for none."""
        if not path:
            return "root", -1
        tops = -(-self._shape.folders // TO_A_PARENT)
        head, slash, tail = path.partition("/")
        top, inner = number_of(head, top_name), number_of(tail, folder_name)
        if top is None or top >= tops:
            return "", -1
        if not slash:
            return "top", top
        if inner is None or inner // TO_A_PARENT != top or inner >= self._shape.folders:
            return "", -1
        return "folder", inner

    def _directory(self, ident: int) -> Facts:
        return (stat.S_IFDIR | 0o755, 0, EPOCH_NS, *self._owner, EPOCH_NS, 2, 1, (1 << 50) + ident, EPOCH_NS, 0)

    def _file(self, folder: int, index: int) -> Facts:
        number = folder * self._shape.files + index
        time = EPOCH_NS + number * 1_000_003
        changed = self._shape.differing and index % self._shape.differing == CHANGED
        mtime = time - 86_400_000_000_000 if changed and self._shape.side == "target" else time
        uid, gid = self._owner
        return (stat.S_IFREG | 0o644, number % 5_000, mtime, uid, gid, time, 1, 1, (1 << 51) + number, time, 0)

    # ---- content, and what is real ----

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """As many zeros as the entry has bytes."""
        stop = entry.size if length is None else min(entry.size, start + length)
        while start < stop:
            block: Data = bytes(min(1 << 16, stop - start)) if into is None else into.take()
            piece = block[: stop - start]
            if isinstance(piece, memoryview):
                piece[:] = bytes(len(piece))
            start += len(piece)
            yield piece

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Really write it."""
        return self._real.write(path, body, meta=meta, if_absent=if_absent)

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Put made names down as deleted, and really delete others."""
        made = [path for path in paths if number_of(path.rpartition("/")[2], file_name) is not None]
        if made:
            with open(Path(self._real.root) / DELETED, "a", encoding="utf-8") as file:
                file.write("".join(f"{path}\n" for path in made))
        real = [path for path in paths if path not in made]
        return self._real.delete(real) + [True] * len(made)

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """All of them are there."""
        if not self._parse(path)[0]:
            raise DunlinError("make the directory", path, ErrorKind.UNSUPPORTED, "directories here are computed")
        return False


def instead(local: Callable[..., Any]) -> Callable[..., Any]:
    """What opens local stores, so that it opens a `Made` where the directory is marked."""

    def opened(path: str, *rest: Any) -> Any:
        real = local(path, *rest)
        mark = Path(path) / MARK
        return Made(real, Shape(**json.loads(mark.read_text()))) if mark.exists() else real

    return opened


def main() -> None:
    """Run dunlin."""
    from dunlin.cli.main import main as program
    from dunlin.stores import open as opening

    opening._local = instead(opening._local)
    program()


if __name__ == "__main__":
    main()
