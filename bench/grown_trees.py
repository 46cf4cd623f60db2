"""Big node trees for the row `index`: real names of one directory tree repeated, and computed ones.

Rows are made and written some hundred thousand at a time, so the trees may be larger than the memory.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.tree.build import FILE, SegmentInfo, SegmentWriter
from dunlin.backup.tree.columns import NO_CONTENT, TICK

SEED = 7


@dataclass(frozen=True, slots=True)
class Change:
    """How a second tree differs from the first: one file of so many has another time; other node ids or not."""

    every: int = 0
    shift: int = 0


class Seen:
    """A real tree as packed columns: directories with parents before children, runs in the same order."""

    def __init__(self, root: Path) -> None:
        self.parents, self.directory_names = array("q"), list[bytes]()
        self.counts, self.lengths = array("q"), array("I")
        self.sizes, self.ticks, self.flags = array("q"), array("q"), array("B")
        parts: list[bytes] = []
        waiting: list[tuple[int, bytes, bytes]] = [(-1, b"", os.fsencode(root))]
        while waiting:
            parent, name, path = waiting.pop()
            number = len(self.parents)
            self.parents.append(parent)
            self.directory_names.append(name)
            try:
                entries = sorted(os.scandir(path), key=lambda entry: entry.name)
            except OSError:
                entries = []
            files = 0
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((number, entry.name, entry.path))
                    continue
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:  # gone meanwhile
                    continue
                parts.append(entry.name)
                self.lengths.append(len(entry.name))
                self.sizes.append(facts.st_size)
                self.ticks.append(facts.st_mtime_ns // TICK)
                self.flags.append(facts.st_mode >> 12)
                files += 1
            self.counts.append(files)
        self.names = b"".join(parts)
        self.files, self.directories = len(self.sizes), len(self.parents)

    @property
    def entries(self) -> int:
        """Files and directories."""
        return self.files + self.directories


def repeated(path: Path, seen: Seen, nodes: int, names: int, change: Change | None = None) -> SegmentInfo:
    """The tree again and again, in directories of the root of a million nodes each, until there are about `nodes`."""
    change = change or Change()
    chance = np.random.default_rng(SEED)
    counts = np.array(seen.counts, np.int64)
    lengths, sizes = np.array(seen.lengths, "<u4"), np.array(seen.sizes, np.int64)
    ticks, flags = np.array(seen.ticks, np.int64), np.array(seen.flags, np.uint8)
    # Directories and files of one directory get their ids when it is listed, as in a backup.
    own, of_files = _ids(np.array(seen.parents, np.int64), counts)
    with SegmentWriter(path, names=names) as writer:
        first = 1 + change.shift
        group, together = 0, 1_000_000 // seen.entries + 1
        writer.add_directory(1, 0, b"")
        for copy in range(max(1, nodes // seen.entries)):
            if copy % together == 0:
                first += 1
                group = first
                writer.add_directory(group, 1, b"group-%05d" % (copy // together), copy, copy)
            ids = (own + first + 1).tolist()
            for number, (parent, name) in enumerate(zip(seen.parents, seen.directory_names, strict=True)):
                if parent < 0:
                    writer.add_directory(ids[number], group, b"copy-%05d" % copy, copy, copy)
                else:
                    writer.add_directory(ids[number], ids[parent], name, number, number)
            prints = chance.integers(0, 1 << 63, seen.files, dtype=np.uint64)
            hashes = chance.integers(0, 1 << 63, seen.files, dtype=np.uint64)
            times = ticks
            if change.every:
                times = times.copy()
                times[copy % change.every :: change.every] += 10**9 // TICK
                prints[copy % change.every :: change.every] += np.uint64(1)
            columns = (lengths, of_files + first + 1, sizes, times, hashes, flags, prints)
            writer.add_runs(own + first + 1, counts, seen.names, columns)
            first += seen.entries
        return writer.finish()


def _ids(parents: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers from 0 for directories and files, in the order in which a walk finds them."""
    begins = np.cumsum(counts) - counts + np.arange(len(counts))
    files = np.repeat(begins + 1 - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
    return begins, files


def computed(path: Path, directories: int, files: int, fan: int = 20) -> SegmentInfo:
    """`directories` with `files` files each; each directory has `fan` directories until all have a parent."""
    chance = np.random.default_rng(SEED)
    step = max(1, (1 << 18) // files)
    digits = 9
    with SegmentWriter(path) as writer:
        writer.add_directory(1, 0, b"")
        for at in range(0, directories, step):
            count = min(step, directories - at)
            numbers = range(at, at + count)
            for number in numbers:
                parent = 1 if number < fan else 2 + (number // fan - 1)
                writer.add_directory(2 + number, parent, b"directory-%d" % number, number, number)
            rows = count * files
            number = np.arange(at * files, at * files + rows, dtype=np.int64)
            text = np.empty((rows, digits + 9), np.uint8)
            text[:, :5] = np.frombuffer(b"file-", np.uint8)
            for digit in range(digits):
                text[:, 5 + digit] = number // 10 ** (digits - 1 - digit) % 10 + ord("0")
            text[:, 5 + digits :] = np.frombuffer(b".dat", np.uint8)
            hashes = chance.integers(0, 1 << 63, rows, dtype=np.uint64)
            columns = (
                np.full(rows, digits + 9, "<u4"), number + directories + 2, number * 977 % (1 << 22),
                (1_500_000_000_000_000_000 + number * 1_234_567_800 % (1 << 58)) // TICK, hashes,
                np.full(rows, FILE | NO_CONTENT, np.uint8), hashes,
            )  # fmt: skip
            writer.add_runs(np.arange(2 + at, 2 + at + count), np.full(count, files), text.tobytes(), columns)
        return writer.finish()
