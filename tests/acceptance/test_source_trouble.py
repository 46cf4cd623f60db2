"""Sources that are not there, may not be read, change while they are read, or answer with errors."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import OLD, SECOND, Pair, change_times, names, same, temporaries, touched, write
from tests.fuse.slowfs import mounted

LARGE = 9 << 20
"""Bytes: goes through the pipeline."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def bind(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", source, target], check=True)


@pytest.fixture
def unmounting() -> Iterator[Callable[[Path], Path]]:
    """A function that notes a mount, which is undone at the end."""
    noted: list[Path] = []

    def note(path: Path) -> Path:
        noted.append(path)
        return path

    yield note
    for path in reversed(noted):
        subprocess.run(["umount", path], check=True)


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("dunlin: ")]
    assert len(lines) == 1, text
    return lines[0]


# ---- nothing to read at all ----


def test_missing(pair: Pair) -> None:
    done = dunlin("sync", "-a", pair.root / "nowhere", pair.target, cwd=pair.cwd, expect=1)
    assert "nowhere" in one_line(done.stderr)
    assert not pair.target.exists()


def test_a_file(pair: Pair) -> None:
    write(pair.root / "file", "x")
    done = dunlin("sync", "-a", pair.root / "file", pair.target, cwd=pair.cwd, expect=1)
    assert "is a file" in one_line(done.stderr)
    assert not pair.target.exists()


def test_a_missing_directory_above(pair: Pair) -> None:
    done = dunlin("sync", "-a", pair.source, pair.root / "no/such/target", cwd=pair.cwd, expect=None)
    assert done.returncode in (1, 2)
    assert "no/such" in one_line(done.stderr)


@pytest.mark.root
def test_an_unreadable_root(pair: Pair) -> None:
    write(pair.source / "f", "x")
    write(pair.target / "precious", "x")
    pair.source.chmod(0o000)
    done = pair.sync("-a", "--delete-extras", prefix=UNPRIVILEGED, expect=1)
    assert "ermission" in one_line(done.stderr)
    assert names(pair.target) == {"precious"}


@pytest.mark.root
def test_an_unreadable_directory(pair: Pair) -> None:
    """One directory below may not be listed: 23, the rest is copied, and nothing is deleted anywhere."""
    write(pair.source / "open/f", "x")
    write(pair.source / "closed/g", "x")
    write(pair.source / "blind/h", "x")
    write(pair.target / "closed/there", "x")
    write(pair.target / "open/extra", "x")
    (pair.source / "closed").chmod(0o000)
    (pair.source / "blind").chmod(0o444)  # may be listed, but nothing in it can be looked at
    done = pair.sync("-a", "--delete-extras", prefix=UNPRIVILEGED, expect=23)
    assert str(pair.source / "closed") in done.stderr
    assert names(pair.target) >= {"open/f", "open/extra", "closed/there"}
    assert "not deleted" in done.stderr


@pytest.mark.root
def test_one_file_of_thousands_is_denied(pair: Pair) -> None:
    for number in range(3000):
        write(pair.source / f"{number % 20}/f{number}", f"{number}", OLD + number)
    (pair.source / "7/f1007").chmod(0o000)
    write(pair.source / "large", b"l" * LARGE, mode=0o000)
    write(pair.target / "7/extra", "x")
    done = pair.sync("-a", "--delete-extras", "--json", prefix=UNPRIVILEGED, expect=23)
    stats = json.loads(done.stdout)["stats"]
    assert (stats["copied_files"], stats["failed_files"], stats["deleted_files"]) == (2999, 2, 0)
    failures = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert len(failures) == 2
    assert any(str(pair.source / "7/f1007") in line and "ermission denied" in line for line in failures)
    assert any(str(pair.source / "large") in line and "ermission denied" in line for line in failures)
    assert names(pair.target) == names(pair.source) - {"7/f1007", "large"} | {"7/extra"}
    (pair.source / "7/f1007").chmod(0o600)
    (pair.source / "large").chmod(0o600)
    done = pair.sync("-a", "--delete-extras", "--json", prefix=UNPRIVILEGED)
    stats = json.loads(done.stdout)["stats"]
    assert (stats["copied_files"], stats["deleted_files"]) == (2, 1)
    same(pair.source, pair.target)


# ---- errors of the file system ----


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("operation", ["open", "read"])
def test_an_input_error_in_one_file(pair: Pair, operation: str) -> None:
    """That file fails with its path, the old copy stays, the rest is copied, nothing is deleted."""
    backing = pair.root / "backing"
    for name in ("a", "bad/small.x", "bad/after", "z"):
        write(backing / name, name)
    write(backing / "bad/large.x", b"l" * LARGE)
    write(backing / "bad/empty.x", b"")
    write(pair.target / "bad/small.x", "the old copy", OLD - SECOND)
    write(pair.target / "extra", "x")
    with mounted(backing, pair.source, errors={f"{operation}:bad/*.x": errno.EIO}):
        done = pair.sync("-a", "--delete-extras", expect=23)
        for name in ("small.x", "large.x"):
            assert any(f"source/bad/{name}" in line and "nput/output" in line for line in done.stderr.splitlines())
    assert (pair.target / "bad/small.x").read_text() == "the old copy"
    assert names(pair.target) >= {"a", "z", "bad/after", "extra"}
    assert "bad/large.x" not in names(pair.target)
    assert temporaries(pair.target) == []


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("where", ["bad", "bad/*", ""])
def test_an_input_error_while_listing(pair: Pair, where: str) -> None:
    """A directory that cannot be listed is no empty directory: a failure, and no deletes anywhere."""
    backing = pair.root / "backing"
    for name in ("a", "bad/f", "bad/sub/g", "good/h"):
        write(backing / name, name)
    for name in ("bad/f", "bad/old", "bad/sub/old", "good/old", "old"):
        write(pair.target / name, "precious")
    with mounted(backing, pair.source, errors={f"readdir:{where}": errno.EIO}):
        done = pair.sync("-a", "--delete-extras", expect=None)
    # The root may fail before the run begins.
    assert done.returncode in ((23,) if where else (1, 2, 23)), done.stderr
    assert "nput/output error" in done.stderr
    assert names(pair.target) >= {"bad/f", "bad/old", "bad/sub/old", "good/old", "old"}
    if where:
        assert {"a", "good/h"} <= names(pair.target)
        assert "source/bad" in done.stderr


@pytest.mark.fuse
@pytest.mark.root
def test_a_file_that_cannot_be_looked_at(pair: Pair) -> None:
    """`stat` of one name fails: the directory is not known completely, so nothing of it may seem to be missing."""
    backing = pair.root / "backing"
    for name in ("d/a", "d/bad", "d/z", "e/f"):
        write(backing / name, name)
    for name in ("d/bad", "d/old"):
        write(pair.target / name, "precious")
    with mounted(backing, pair.source, errors={"stat:d/bad": errno.EIO}, readdirplus=False):
        pair.sync("-a", "--delete-extras", expect=23)
    assert (pair.target / "d/bad").read_text() == "precious"
    assert (pair.target / "d/old").exists()
    assert (pair.target / "e/f").exists()


# ---- files that change while they are read ----


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("size", [3000, 600_000, LARGE], ids=["small", "middle", "large"])
@pytest.mark.parametrize("change", ["grow", "shrink", "vanish"])
@pytest.mark.parametrize("options", [["-a"], ["-aS"], ["-a", "--checksum", "none"]], ids=" ".join)
def test_a_change_while_reading(pair: Pair, change: str, size: int, options: list[str]) -> None:
    """Grown or shrunk: another attempt gets the new version, whole. Vanished: 24, and no fragment."""
    backing = pair.root / "backing"
    write(backing / "f", bytes(range(256)) * (size // 256))
    write(backing / "other", "x")
    with mounted(backing, pair.source, change_during_read={"f": change}, attr_timeout=0.0, entry_timeout=0.0):
        done = pair.sync(*options, expect=None)
    if change == "vanish" and "f" not in names(pair.target):
        assert done.returncode == 24, done.stderr
    else:
        # A file that was open when it vanished may still be read to its end.
        assert done.returncode == 0, done.stderr
        if (backing / "f").exists():
            assert (pair.target / "f").read_bytes() == (backing / "f").read_bytes()
            same(backing, pair.target)
    assert (pair.target / "other").read_text() == "x"
    assert temporaries(pair.target) == []


def test_files_that_are_always_written_to(pair: Pair) -> None:
    """A background writer: no run hangs or breaks off, and once the writer is done the next one brings all in sync.

    What the destination holds meanwhile is not looked at: the writer itself leaves mixtures in its files.
    """
    block = 4096
    count = 40

    def version(number: int) -> bytes:
        return number.to_bytes(8, "big") * (block // 8) * (1 + number % 3)

    for name in range(count):
        (pair.source / f"f{name}").write_bytes(version(0))
    over = threading.Event()

    def writer() -> None:
        generator = random.Random(1)
        number = 0
        while not over.is_set():
            number += 1
            path = pair.source / f"f{generator.randrange(count)}"
            content = version(number)
            if number % 2:
                (pair.source / ".new").write_bytes(content)
                (pair.source / ".new").rename(path)
            else:
                with path.open("r+b") as file:
                    for at in range(0, len(content), block):
                        file.write(content[at : at + block])
                        file.flush()
                    file.truncate(len(content))

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(4):
            done = pair.sync("-a", expect=None)
            assert done.returncode in (0, 23, 24), done.stderr
    finally:
        over.set()
        thread.join()
    (pair.source / ".new").unlink(missing_ok=True)
    pair.sync("-a", "--delete-extras")
    same(pair.source, pair.target)
    assert temporaries(pair.target) == []


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("replacement", ["fifo", "link", "directory", "file"])
def test_another_thing_takes_the_place_of_a_file(pair: Pair, replacement: str) -> None:
    """Between listing and reading the file becomes something else: never a hang, never what a link leads to."""
    backing = pair.root / "backing"
    for number in range(200):
        write(backing / f"d/f{number:03d}", f"{number}")
    write(pair.root / "secret", "secret")
    over = threading.Event()

    def swap() -> None:
        # Reading takes 1 ms a call and more; whatever of the 200 is left after the listing is swapped.
        while not over.is_set() and not (pair.target / "d/f000").exists():
            time.sleep(0.002)
        path = backing / "d/f199"
        path.unlink()
        if replacement == "fifo":
            os.mkfifo(path)
        elif replacement == "link":
            os.symlink(pair.root / "secret", path)
        elif replacement == "directory":
            write(path / "below", "x")
        else:
            write(path, "another file of another size", OLD + SECOND)

    with mounted(backing, pair.source, latency_ms=1, attr_timeout=0.0, entry_timeout=0.0):
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            done = pair.sync("-a", "--movers", "1", "--threads", "1", expect=None, timeout=40)
        finally:
            over.set()
            thread.join()
    assert done.returncode in (0, 23, 24), done.stderr
    there = pair.target / "d/f199"
    assert not there.exists() or there.read_text() in ("199", "another file of another size")
    assert sum(1 for name in names(pair.target) if name.startswith("d/f")) >= 199
    shutil.rmtree(pair.source)
    backing.rename(pair.source)
    pair.sync("-a", "--delete-extras", "--accept-source")
    same(pair.source, pair.target)


# ---- how the two places lie to each other ----


def test_destination_inside_the_source(pair: Pair) -> None:
    """It is left out of the source, again and again, and nothing in it is taken for an extra."""
    write(pair.source / "f", "x")
    write(pair.source / "d/g", "x")
    for _ in range(3):
        dunlin("sync", "-a", "--delete-extras", pair.source, pair.source / "d/copy", cwd=pair.cwd, expect=0)
        assert names(pair.source / "d/copy") == {"f", "d", "d/g"}


def test_source_inside_the_destination(pair: Pair) -> None:
    """The source is no extra of the destination."""
    write(pair.target / "here/source/f", "x")
    write(pair.target / "here/extra", "x")
    write(pair.target / "old", "x")
    for _ in range(2):
        dunlin("sync", "-a", "--delete-extras", pair.target / "here/source", pair.target, cwd=pair.cwd, expect=0)
        assert (pair.target / "here/source/f").read_text() == "x"
        assert names(pair.target) == {"f", "here", "here/source", "here/source/f"}


def test_inside_through_a_link(pair: Pair) -> None:
    write(pair.source / "f", "x")
    (pair.source / "copy").mkdir()
    os.symlink("source/copy", pair.root / "link")
    for _ in range(2):
        dunlin("sync", "-a", pair.source, pair.root / "link", cwd=pair.cwd, expect=0)
    assert names(pair.source / "copy") == {"f"}


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}//", "{}/.", "{}/../source", "link", "file://{}"])
def test_the_same_place_twice(pair: Pair, spelling: str) -> None:
    write(pair.source / "f", "x")
    os.symlink(pair.source, pair.root / "link")
    other = str(pair.root / "link") if spelling == "link" else spelling.format(pair.source)
    done = dunlin("sync", "-a", "--delete-extras", pair.source, other, cwd=pair.cwd, expect=1)
    assert "are the same" in one_line(done.stderr)
    assert names(pair.source) == {"f"}


@pytest.mark.root
def test_the_same_place_through_a_bind_mount(pair: Pair, unmounting: Callable[[Path], Path]) -> None:
    write(pair.source / "f", "x")
    bind(pair.source, unmounting(pair.target))
    done = pair.sync("-a", "--delete-extras", expect=1)
    assert "are the same" in one_line(done.stderr)
    assert names(pair.source) == {"f"}


@pytest.mark.root
def test_inside_through_a_bind_mount(pair: Pair, unmounting: Callable[[Path], Path]) -> None:
    """The destination is the source's own sub-directory, reached by another way."""
    write(pair.source / "f", "x")
    (pair.source / "copy").mkdir()
    bind(pair.source / "copy", unmounting(pair.target))
    for _ in range(3):
        pair.sync("-a", "--delete-extras", timeout=10)
    assert names(pair.target) == {"f"}


@pytest.mark.root
def test_the_source_inside_the_destination_through_a_bind_mount(pair: Pair, unmounting: Callable[[Path], Path]) -> None:
    """The source is mounted in the destination: it is no extra."""
    write(pair.source / "f", "x")
    (pair.target / "mounted").mkdir(parents=True)
    write(pair.target / "extra", "x")
    bind(pair.source, unmounting(pair.target / "mounted"))
    for _ in range(2):
        pair.sync("-a", "--delete-extras", timeout=10)
        assert names(pair.source) == {"f"}
        assert names(pair.target) == {"f", "mounted", "mounted/f"}


@pytest.mark.root
def test_another_file_system_mounted_in_the_source(pair: Pair, unmounting: Callable[[Path], Path]) -> None:
    """It is entered like any directory; hard links keep to their file system."""
    write(pair.source / "f", "x")
    (pair.source / "mounted").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", unmounting(pair.source / "mounted")], check=True)
    os.link(write(pair.source / "mounted/one", "y"), pair.source / "mounted/two")
    os.link(pair.source / "f", pair.source / "f2")
    pair.sync("-aH")
    same(pair.source, pair.target)
    before = change_times(pair.target)
    pair.sync("-aH")
    assert touched(before, change_times(pair.target)) == []


@pytest.mark.root
def test_an_unmounted_source(pair: Pair, unmounting: Callable[[Path], Path]) -> None:
    """Empty where it was full: nothing is deleted, and a line says why."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", pair.source], check=True)
    try:
        write(pair.source / "f", "x")
        pair.sync("-a")
    finally:
        subprocess.run(["umount", pair.source], check=True)
    done = pair.sync("-a", "--delete-extras", expect=None)
    assert names(pair.target) == {"f"}
    assert "is it mounted?" in done.stderr
    assert done.returncode == 1
    write(pair.source / "other", "what lies below the mount point")
    done = pair.sync("-a", "--delete-extras", expect=None)
    assert names(pair.target) == {"f", "other"}
    assert "another file system" in done.stderr
