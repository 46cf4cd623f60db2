"""Trees to copy, the same at every run, and the check that a copy is right."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Failed

BLOB = random.Random(1).randbytes(1 << 20)
EPOCH_NS = 1_600_000_000_123_456_789


@dataclass(frozen=True, slots=True)
class Tree:
    """``folders`` directories (0 = only the root) with ``files`` files each, of ``smallest`` to ``largest`` bytes.

    ``sizes`` instead gives the sizes of the files one by one; they are dealt out to the folders in turn.
    """

    name: str
    folders: int
    files: int
    smallest: int = 2000
    largest: int = 6000
    sizes: tuple[int, ...] = field(default=())

    @property
    def count(self) -> int:
        """Number of files."""
        return len(self.sizes) or max(self.folders, 1) * self.files


def build(tree: Tree, base: Path) -> Path:
    """Make the tree below ``base``, or return it when it is already there."""
    root = base / tree.name
    done = base / (tree.name + ".done")
    if done.exists():
        return root
    chance = random.Random(tree.name)
    for number in range(max(tree.folders, 1)):
        # Fifty directories to a parent: 1,000 of them are twenty by fifty.
        folder = root / f"d{number // 50:03d}" / f"s{number:05d}" if tree.folders else root
        folder.mkdir(parents=True, exist_ok=True)
        fill(tree, number, os.open(folder, os.O_RDONLY | os.O_DIRECTORY), chance)
    done.touch()
    return root


def fill(tree: Tree, number: int, folder: int, chance: random.Random) -> None:
    """Write the files of one folder; closes the descriptor ``folder``."""
    try:
        if tree.sizes:
            mine = list(enumerate(tree.sizes))[number :: max(tree.folders, 1)]
        else:
            mine = [(index, chance.randint(tree.smallest, tree.largest)) for index in range(tree.files)]
        for index, size in mine:
            fd = os.open(f"file-{index:07d}.dat", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
            try:
                start = chance.randrange(len(BLOB) - (1 << 16))
                left = size
                while left > 0:
                    left -= os.write(fd, memoryview(BLOB)[start : start + left])
                    start = chance.randrange(len(BLOB) // 2)
                time_ns = EPOCH_NS + chance.randrange(10**17)
                os.utime(fd, ns=(time_ns, time_ns))
            finally:
                os.close(fd)
    finally:
        os.close(folder)


def files_in(root: Path) -> Iterator[os.DirEntry[str]]:
    """Every file below ``root``."""
    waiting = [os.fspath(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry


def check_copy(
    source: Path, copy: Path, *, sample: int = 200, times: bool = True, modes: bool | None = None
) -> None:
    """Raise Failed unless ``copy`` has the same names and, in a sample of files, the same content, mode and times.

    ``modes`` None: compared when times are.
    """
    names = sorted(os.path.relpath(entry.path, source) for entry in files_in(source))
    found = sorted(os.path.relpath(entry.path, copy) for entry in files_in(copy))
    if names != found:
        missing = set(names) - set(found)
        extra = set(found) - set(names)
        raise Failed(f"the copy has {len(missing)} missing and {len(extra)} extra files, {sorted(missing | extra)[:3]}")
    for name in random.Random(7).sample(names, min(sample, len(names))):
        first, second = os.stat(source / name), os.stat(copy / name)
        if first.st_size != second.st_size or (times and first.st_mtime_ns != second.st_mtime_ns):
            raise Failed(f"{name}: size or time differs")
        if (times if modes is None else modes) and first.st_mode != second.st_mode:
            raise Failed(f"{name}: mode differs")
        same_content(source / name, copy / name, first.st_size)


def same_content(first: Path, second: Path, size: int) -> None:
    """Compare small files whole and big ones at 64 places; raise Failed when they differ."""
    with open(first, "rb", buffering=0) as one, open(second, "rb", buffering=0) as two:
        step = max(1 << 16, size // 64)
        for offset in range(0, max(size, 1), step):
            if os.pread(one.fileno(), 1 << 16, offset) != os.pread(two.fileno(), 1 << 16, offset):
                raise Failed(f"{second.name}: content differs near byte {offset}")
