"""The destination is full, over quota, read-only or not ours to write: stop cleanly, say what to do, go on later."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import Pair, same, temporaries
from tests.acceptance.trouble import (
    age,
    ask,
    begin,
    check_state,
    check_true,
    complete,
    copied,
    ended,
    ext4,
    in_memory,
    many,
    remount,
    small,
    tmpfs,
    told,
    until,
)
from tests.fuse.slowfs import mounted

pytestmark = [pytest.mark.slow, pytest.mark.root]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        yield Pair.make(place)


def fails(pair: Pair, *options: str, says: str = "No space left on device") -> str:
    """A run that stops with one readable line, leaves no temporary file, and a state that is true."""
    done = dunlin("sync", "-a", *options, pair.source, pair.target, cwd=pair.cwd)
    words = done.stdout + done.stderr
    assert done.returncode == 2, words
    lines = [line for line in words.splitlines() if says in line]
    assert lines, words
    assert len(lines) <= 3, words
    assert not temporaries(pair.target)
    if (pair.cwd / ".sync-state.db").exists() and "--state-db=none" not in options:
        check_true(pair)
        assert ask(pair, "SELECT status FROM run ORDER BY id DESC LIMIT 1") == [("failed",)]
    return words


def size_of(path: str) -> int:
    """Its bytes; none where a run has removed it by now."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


TREES = {
    "small files": lambda pair: many(pair.source, directories=60, files=45, wide=1_500),
    "wide": lambda pair: many(pair.source, directories=2, files=2, wide=7_000),
    "medium files": lambda pair: small(pair, 12, 1 << 20),
}


@pytest.mark.parametrize(
    ("tree", "options"),
    [("small files", ()), ("small files", ("--movers=1",)), ("wide", ()), ("medium files", ())],
)
def test_tmpfs_is_full(pair: Pair, tree: str, options: tuple[str, ...]) -> None:
    TREES[tree](pair)
    with tmpfs(pair.target, "size=8m"):
        words = fails(pair, *options)
        assert "make room" in words
        had = ask(pair, "SELECT count(*) FROM file WHERE status = 1")[0][0]
        assert had > 5
        # as long as nothing changed it fails again, and nothing is lost by that
        fails(pair)
        check_true(pair)
        remount(pair.target, "size=200m")
        assert complete(pair, "-a")["continued"] is True
        check_state(pair)
        assert complete(pair, "-a")["stats"]["copied_files"] == 0


@pytest.mark.parametrize("options", [("--scan-first",), ("--state-db=none",), ("--fsync=file",), ("-H", "-S", "-X")])
def test_with_other_options(pair: Pair, options: tuple[str, ...]) -> None:
    many(pair.source, directories=60, files=45, wide=1_500)
    with tmpfs(pair.target, "size=8m"):
        fails(pair, *options)
        remount(pair.target, "size=200m")
        complete(pair, "-a", *options)


def test_ext4_is_full(pair: Pair) -> None:
    many(pair.source, directories=40, files=40, wide=2_000, large=(2,))
    with ext4(pair.target, pair.root / "image", 8):
        (pair.target / "lost+found").rmdir()
        fails(pair)
        had = copied(pair)
        assert had > 10
    os.truncate(pair.root / "image", 64 << 20)
    subprocess.run(["e2fsck", "-fy", pair.root / "image"], check=False, capture_output=True)  # 1: it mended something
    subprocess.run(["resize2fs", pair.root / "image"], check=True, capture_output=True)
    with ext4(pair.target, pair.root / "image", 64):
        shutil.rmtree(pair.target / "lost+found", ignore_errors=True)
        assert complete(pair, "-a")["continued"] is True
        check_state(pair)


def test_full_in_the_middle_of_a_large_file(pair: Pair) -> None:
    """Somebody else fills the disk after the look at the free space: that is ENOSPC in the middle."""
    small(pair, 4, 20 << 20)
    with tmpfs(pair.target, "size=50m"):
        process = begin(pair, "-a", "--bwlimit=40M")
        until(lambda: any(size_of(name) > 2 << 20 for name in temporaries(pair.target)), process)
        with open(pair.target / "ballast", "wb") as file:
            file.write(b"b" * (22 << 20))
        code, words = ended(process)
        assert code == 2, words
        assert "No space left" in words or "free at the destination" in words
        assert not temporaries(pair.target)
        check_true(pair)
        assert ask(pair, "SELECT count(*) FROM file WHERE status = 2") == [(0,)]
        (pair.target / "ballast").unlink()
        remount(pair.target, "size=200m")
        assert complete(pair, "-a")["continued"] is True
        check_state(pair)


def test_a_file_larger_than_what_is_free_is_not_begun(pair: Pair) -> None:
    small(pair, 2, 30 << 20)
    with tmpfs(pair.target, "size=40m"):
        words = fails(pair, "--workers=1", says="are free at the destination")
        assert copied(pair) <= 1
        assert f"{30 << 20}" in words or "30" in words
        remount(pair.target, "size=200m")
        complete(pair, "-a")
        check_state(pair)


def test_no_inodes_left(pair: Pair) -> None:
    many(pair.source, directories=10, files=20, wide=500)
    with tmpfs(pair.target, "size=100m,nr_inodes=150"):
        fails(pair)
        assert 20 < copied(pair) < 150
        remount(pair.target, "nr_inodes=100000")
        complete(pair, "-a")
        check_state(pair)


def test_no_inodes_for_directories(pair: Pair) -> None:
    for n in range(300):
        (pair.source / f"d{n % 10}" / f"e{n}").mkdir(parents=True)
    age(pair.source)
    with tmpfs(pair.target, "size=100m,nr_inodes=60"):
        fails(pair)
        remount(pair.target, "nr_inodes=100000")
        complete(pair, "-a")
        check_state(pair)


def test_full_before_the_first_byte(pair: Pair) -> None:
    small(pair, 3, 1_000)
    with tmpfs(pair.target, "size=100m,nr_inodes=2"):
        (pair.target / "ballast").write_text("")
        done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, expect=2)
        assert "No space left" in done.stderr
        assert "free space" in done.stderr


def test_links_and_metadata_of_the_directory_in_which_it_was_full(pair: Pair) -> None:
    """Everything that comes after the files of a directory must be made up for, too."""
    for n in range(300):
        (pair.source / f"f{n:03}").write_bytes(os.urandom(40_000))
    for n in range(50):
        (pair.source / f"l{n:03}").symlink_to(f"f{n:03}")
        (pair.source / f"s{n:03}").mkdir()
        (pair.source / f"s{n:03}" / "file").write_bytes(b"s")
    age(pair.source)
    with tmpfs(pair.target, "size=4m"):
        fails(pair)
        remount(pair.target, "size=100m")
        complete(pair, "-a")
        check_state(pair)


def test_deletes_wait_for_a_run_that_had_room(pair: Pair) -> None:
    small(pair, 12, 1 << 20)
    with tmpfs(pair.target, "size=8m"):
        (pair.target / "old").mkdir()
        (pair.target / "old" / "file").write_text("only here")
        fails(pair, "--delete-extras")
        assert (pair.target / "old" / "file").exists()
        remount(pair.target, "size=100m")
        told(pair, "-a", "--delete-extras")
        same(pair.source, pair.target)


@pytest.mark.fuse
def test_a_mount_that_says_so_at_the_end(tmp_path: Path) -> None:
    """A network mount with a quota: the kernel buffers, the server refuses."""
    pair = Pair.make(tmp_path)
    small(pair, 30, 500_000)
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing", pair.target, capacity=6_000_000, writeback=True):
        fails(pair)
    pair.target.rmdir()
    (tmp_path / "backing").rename(pair.target)
    complete(pair, "-a")
    check_state(pair)


# ---- not to be written at all ----


def test_read_only_mount(pair: Pair) -> None:
    small(pair, 3, 1_000)
    with tmpfs(pair.target, "size=10m"):
        complete(pair, "-a")
        (pair.source / "a" / "f000").write_bytes(b"changed")
        remount(pair.target, "ro")
        done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, expect=2)
        assert "Read-only file system" in done.stderr
        assert "mount options" in done.stderr
        assert str(pair.target) in done.stderr
        # looking is allowed
        assert "f000" in dunlin("sync", "-a", "-n", pair.source, pair.target, cwd=pair.cwd, expect=0).stdout
        dunlin("check", pair.source, pair.target, cwd=pair.cwd, expect=3)
        remount(pair.target, "rw")
        complete(pair, "-a")


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("count", "where"), [(30, "b/*"), (40, ".dunlin-*/f03?")], ids=["file by file", "all at once"]
)
def test_becomes_read_only_while_it_runs(tmp_path: Path, count: int, where: str) -> None:
    """As ext4 does after an error of the disk: the run had begun, and now nothing can be written any more."""
    pair = Pair.make(tmp_path)
    small(pair, count, 100_000)
    backing = tmp_path / "backing"
    backing.mkdir()
    with mounted(backing, pair.target, errors={f"write:{where}": errno.EROFS}):
        words = fails(pair, says="Read-only file system")
        assert "make it writable" in words
    pair.target.rmdir()
    backing.rename(pair.target)
    assert complete(pair, "-a")["continued"] is True
    check_state(pair)


def test_a_root_that_is_not_ours(pair: Pair) -> None:
    small(pair, 3, 1_000)
    pair.target.mkdir(mode=0o555)
    done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED)
    if done.returncode == 0:  # the owner may lend the bit to a directory of its own
        same(pair.source, pair.target)
    os.chown(pair.target, 1234, 1234)
    pair.target.chmod(0o755)
    (pair.source / "a" / "new").write_text("new")
    before = sorted(os.listdir(pair.target))
    done = dunlin(
        "sync", "-a", pair.source, pair.target, cwd=pair.cwd,
        prefix=(
            "setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown",
            "--inh-caps=-dac_override,-dac_read_search,-fowner,-chown",
        ),
        expect=2,
    )  # fmt: skip
    assert "Permission denied" in done.stderr
    assert "check its permissions" in done.stderr
    assert sorted(os.listdir(pair.target)) == before


def test_a_parent_that_is_not_ours(pair: Pair) -> None:
    small(pair, 3, 1_000)
    closed = pair.root / "closed"
    closed.mkdir()
    os.chown(closed, 1234, 1234)
    done = dunlin("sync", "-a", pair.source, closed / "new", cwd=pair.cwd, prefix=UNPRIVILEGED, expect=2)
    assert "Permission denied" in done.stderr
    assert "closed/new" in done.stderr
    assert not (closed / "new").exists()
