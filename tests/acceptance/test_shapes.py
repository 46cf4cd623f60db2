"""Trees of unusual shape: very deep, very wide, many empty directories, a file here and a directory there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import OLD, SECOND, Pair, change_times, names, same, touched, write

MEMORY = 300 << 20
"""Bytes that all processes of a run may hold together (issue: a directory of a million files)."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def memory() -> Iterator[Pair]:
    """A pair on a file system in memory, gone afterwards: 100,000 files would take a disk too long."""
    shm = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="dunlin-shapes-", dir=shm if shm.is_dir() else None))
    try:
        yield Pair.make(root / "pair")
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # our own libraries stop at the depth of some trees


def make_deep(root: Path, depth: int, every: int = 100) -> None:
    """A chain of directories, with a file in every `every`th of them."""
    fd = os.open(root, os.O_RDONLY)
    try:
        for level in range(depth):
            if level % every == 0:
                file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
                os.write(file, b"%d" % level)
                os.close(file)
            os.mkdir("d", dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
    finally:
        os.close(fd)


def chain(root: Path) -> list[tuple[int, int, bytes]]:
    """(mode, mtime, content of its file) of each directory of a chain, from the top."""
    found = []
    fd = os.open(root, os.O_RDONLY)
    while True:
        status = os.fstat(fd)
        try:
            file = os.open("file", os.O_RDONLY, dir_fd=fd)
            content = os.read(file, 100)
            os.close(file)
        except FileNotFoundError:
            content = b""
        found.append((status.st_mode, status.st_mtime_ns, content))
        try:
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
        except FileNotFoundError:
            os.close(fd)
            return found
        os.close(fd)
        fd = below


@pytest.mark.slow
def test_ten_thousand_levels(memory: Pair) -> None:
    """Copied, found in sync, checked; no limit of path length or recursion is met."""
    make_deep(memory.source, 10_000)
    memory.sync("-a", timeout=120)
    expected = chain(memory.source)
    assert len(expected) == 10_001
    assert chain(memory.target) == expected
    done = memory.sync("-a", "--json", timeout=120)
    stats = json.loads(done.stdout)["stats"]
    assert (stats["copied_files"], stats["created_directories"], stats["equal_files"]) == (0, 0, 100)


def test_checking_two_thousand_levels(memory: Pair) -> None:
    """`check` goes as deep; the paths of the deepest are longer than any system call takes."""
    make_deep(memory.source, 2_100)
    memory.target.mkdir()
    make_deep(memory.target, 2_100)
    dunlin("check", "--compare", "size", memory.source, memory.target, cwd=memory.cwd, expect=0)


@pytest.mark.slow
def test_an_extra_tree_of_three_thousand_levels(memory: Pair) -> None:
    write(memory.source / "f", "x")
    (memory.target / "extra").mkdir(parents=True)
    make_deep(memory.target / "extra", 3_000)
    memory.sync("-a", "--delete-extras", "--max-delete", "5000", timeout=120)
    same(memory.source, memory.target)


@pytest.mark.slow
def test_a_deep_directory_gives_way_to_a_file(memory: Pair) -> None:
    write(memory.source / "x", "a file")
    (memory.target / "x").mkdir(parents=True)
    make_deep(memory.target / "x", 2_000)
    memory.sync("-a", "--delete-extras", "--max-delete", "5000", timeout=120)
    same(memory.source, memory.target)


class Sampled:
    """The most memory (proportional set size) that a process and its children held together, in bytes."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            total = 0
            try:
                for process in (self._process, *self._process.children(recursive=True)):
                    total += process.memory_full_info().pss
            except (psutil.Error, OSError):
                continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self.peak


def measured(pair: Pair, *options: str) -> tuple[dict[str, int], int]:
    """A sync's statistics and its peak memory."""
    process = start("sync", *options, "--json", pair.source, pair.target, cwd=pair.cwd)
    sampled = Sampled(process.pid)
    out, err = process.communicate(timeout=600)
    peak = sampled.stop()
    assert process.returncode == 0, err.decode("utf-8", "replace")
    return json.loads(out)["stats"], peak


@pytest.mark.slow
def test_a_directory_of_120_000_files(memory: Pair) -> None:
    """Pages, the external sort, and bounded memory; then one changed, one removed, one added."""
    wide = memory.source / "wide"
    wide.mkdir()
    fd = os.open(wide, os.O_RDONLY)
    for number in range(120_000):
        file = os.open(f"file-{number * 7919 % 120_000:06d}", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
        os.write(file, b"%d" % number)
        os.close(file)
    os.close(fd)
    os.utime(wide, ns=(OLD, OLD))
    stats, peak = measured(memory, "-a")
    assert stats["copied_files"] == 120_000
    assert peak < MEMORY
    assert wide.stat().st_mtime_ns == (memory.target / "wide").stat().st_mtime_ns
    assert len(os.listdir(memory.target / "wide")) == 120_000
    stats, peak = measured(memory, "-a")
    assert (stats["copied_files"], stats["equal_files"]) == (0, 120_000)
    assert peak < MEMORY

    write(wide / "file-060000", "changed", OLD + SECOND)
    (wide / "file-000000").unlink()
    write(wide / "file-999999", "new")
    before = change_times(memory.target)
    stats, peak = measured(memory, "-a", "--delete-extras")
    assert (stats["copied_files"], stats["deleted_files"], stats["equal_files"]) == (2, 1, 119_998)
    assert peak < MEMORY
    root = os.fsencode(memory.target)
    assert touched(before, change_times(memory.target)) == [
        root + b"/wide", root + b"/wide/file-000000", root + b"/wide/file-060000", root + b"/wide/file-999999"
    ]  # fmt: skip


@pytest.mark.slow
def test_twenty_thousand_empty_directories(memory: Pair) -> None:
    for outer in range(200):
        for inner in range(100):
            (memory.source / f"{outer:03d}/{inner:03d}").mkdir(parents=True)
    stats, peak = measured(memory, "-a")
    assert stats["created_directories"] == 20_200
    assert peak < MEMORY
    same(memory.source, memory.target)
    for outer in range(100):
        shutil.rmtree(memory.source / f"{outer:03d}")
    stats, _ = measured(memory, "-a", "--delete-extras", "--max-delete", "20000")
    assert stats["deleted_directories"] == 10_100
    same(memory.source, memory.target)


BETWEEN = ("a ", "a b", "a!", "a-", "a-b", "a.", "a.txt", "a0", "aa", "b", "A")
"""Names that stand before, between and after a file `a` and a directory `a/`."""


@pytest.mark.parametrize("delete", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("empty", [False, True], ids=["filled", "empty"])
@pytest.mark.parametrize("directory_at", ["source", "target"])
def test_a_file_here_and_a_directory_there(pair: Pair, directory_at: str, empty: bool, delete: bool) -> None:
    """One difference, whatever stands between the two keys; the neighbours are copied in any case."""
    for name in BETWEEN:
        write(pair.source / name, name)
    here, there = (pair.source, pair.target) if directory_at == "source" else (pair.target, pair.source)
    (here / "a").mkdir(parents=True)
    if not empty:
        write(here / "a/below/file", "x")
    write(there / "a", "the file")
    refused = directory_at == "target" and not empty and not delete
    pair.sync("-a", *(["--delete-extras"] if delete else []), expect=23 if refused else 0)
    if refused:
        assert names(pair.target) == {*BETWEEN, "a", "a/below", "a/below/file"}
    else:
        same(pair.source, pair.target)


@pytest.mark.slow
@pytest.mark.parametrize("directory_at", ["source", "target"])
def test_the_same_in_a_directory_that_is_sorted_on_disk(memory: Pair, directory_at: str) -> None:
    """With more than 50,000 names between `a` and `a/` the two never are in memory together by chance."""
    here, there = (memory.source, memory.target) if directory_at == "source" else (memory.target, memory.source)
    for root in (memory.source, memory.target):
        root.mkdir(exist_ok=True)
        fd = os.open(root, os.O_RDONLY)
        for number in range(52_000):
            os.close(os.open(f"a-{number:05d}", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
            os.utime(f"a-{number:05d}", ns=(OLD, OLD), dir_fd=fd)
        os.close(fd)
    write(here / "a/below", "x")
    write(there / "a", "the file")
    write(memory.source / "a-01000", "changed")
    done = memory.sync("-a", "--delete-extras", "--json")
    stats = json.loads(done.stdout)["stats"]
    assert stats["equal_files"] == 51_999
    assert stats["copied_files"] == 2
    assert (memory.target / "a").is_dir() == (directory_at == "source")
    dunlin("check", memory.source, memory.target, cwd=memory.cwd, expect=0)


def test_a_chain_of_prefixes(pair: Pair) -> None:
    """`a`, `aa`, `aaa`, …: each a file here and a directory there."""
    for length in range(1, 60):
        write(pair.source / ("a" * length), "file")
        write(pair.target / ("a" * length) / "x", "y")
    pair.sync("-a", "--delete-extras", "--max-delete", "1000")  # what stands in the way counts, too
    same(pair.source, pair.target)


def test_an_empty_source_and_a_new_destination(pair: Pair) -> None:
    pair.sync("-a")
    assert list(pair.target.iterdir()) == []
    same(pair.source, pair.target)


def test_one_file(pair: Pair) -> None:
    write(pair.source / "only", "x")
    pair.sync("-a")
    same(pair.source, pair.target)
