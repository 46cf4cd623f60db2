"""A new directory appears whole, or file by file as ever: never in part, and nothing is left behind."""

from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.stores.local import stage
from dunlin.stores.local.batch import BatchOptions, BatchResult, new_worker
from dunlin.stores.local.store import LocalStore, facts_of

OLD = 1_222_222_222_222_222_223
COUNT = stage.LEAST + 4
PERMS = {"token": "0badc0de01", "perms": True}
as_root = pytest.mark.root


class Pair:
    """Two local stores, a directory ``p/d`` in each, and what the files of it became."""

    def __init__(self, place: Path, bucket: Bucket) -> None:
        self.source, self.target = place / "source", place / "target"
        self.here, self.there = self.source / "p/d", self.target / "p/d"
        for directory in (self.here, self.there):
            directory.mkdir(parents=True)
        self.names = [f"f{n:02}" for n in range(COUNT)]
        for name in self.names:
            (self.here / name).write_text(name * 100)
            (self.here / name).chmod(0o640)
            os.utime(self.here / name, ns=(OLD, OLD))
        os.utime(self.source / "p", ns=(OLD - 1, OLD - 2))
        self.bucket: Any = bucket
        self.stores = LocalStore(str(self.source)), LocalStore(str(self.target))
        self.worker = new_worker()
        self.stages = 0
        self.renames = 0

    def copy(self, directory: str = "p/d", fresh: bool = True, **options: Any) -> BatchResult:
        count = options.pop("count", COUNT)
        rows = [(name, facts_of((self.here / name).lstat()), None) for name in self.names[:count]]
        before = descriptors()
        source, target = self.stores
        made = BatchOptions(**{**PERMS, **options})
        how = (rows, made, self.bucket, self.worker, fresh)
        result: BatchResult = target.copy_batch(source, directory, directory, *how)
        for store in self.stores:
            store.dirs.close()
        assert descriptors() == before
        told = [row[0] for row in (*result.rows, *result.large, *result.failed, *result.rest)] + result.vanished
        assert sorted(told) == self.names[:count]  # every name in exactly one list
        assert not list(self.target.rglob(".dunlin-*"))
        return result

    def whole(self, *but: str) -> bool:
        return {path.name: path.read_text() for path in self.there.iterdir() if path.name not in but} == {
            name: name * 100 for name in self.names if name not in but
        }


def descriptors() -> int:
    gc.collect()  # stores that others let go give their descriptors back whenever that happens
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    bucket = Bucket.create()
    made = Pair(tmp_path, bucket)
    rename, mkdir = os.rename, os.mkdir

    def counted_rename(*args: Any, **fds: Any) -> None:
        made.renames += 1
        rename(*args, **fds)

    def counted_mkdir(*args: Any, **fds: Any) -> None:
        made.stages += 1
        mkdir(*args, **fds)

    monkeypatch.setattr(os, "rename", counted_rename)
    monkeypatch.setattr(os, "mkdir", counted_mkdir)
    yield made
    for store in made.stores:
        store.close()
    bucket.close()


# ---- published ----


def test_all_files_appear_with_one_rename(pair: Pair) -> None:
    pair.there.chmod(0o751)
    before = pair.there.stat()
    result = pair.copy()
    after = pair.there.stat()
    assert pair.renames == 1
    assert pair.whole()
    assert [row[0] for row in result.rows] == pair.names
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    for name in pair.names:
        there = (pair.there / name).lstat()
        assert (there.st_mtime_ns, stat.S_IMODE(there.st_mode)) == (OLD, 0o640)


def test_the_directory_above_gets_the_times_of_the_source_again(pair: Pair) -> None:
    pair.copy()
    assert (pair.target / "p").stat().st_mtime_ns == OLD - 2


def test_what_was_opened_before_is_not_used_for_the_new_directory(pair: Pair) -> None:
    target = pair.stores[1]
    with target.dirs.open("p/d") as before:
        old = os.fstat(before).st_ino
    rows = [(name, None, None) for name in pair.names]
    options = BatchOptions(token="t")
    target.copy_batch(pair.stores[0], "p/d", "p/d", rows, options, pair.bucket, pair.worker, True)
    with target.dirs.open("p/d") as after:
        assert os.fstat(after).st_ino == pair.there.stat().st_ino != old
    assert sorted(name for batch in target.list("p/d") for name, _ in batch) == pair.names


def test_files_that_the_short_way_leaves_are_renamed_within_the_stage(pair: Pair) -> None:
    new = pair.here / pair.names[3]
    new.write_text(new.name * 100)  # just now: it is looked at twice
    assert len(pair.copy().rows) == COUNT
    assert pair.renames == 2
    assert pair.whole()


def test_two_rows_of_one_name_are_no_failure(pair: Pair) -> None:
    """As two names are that differ in case, where nobody knew that the file system takes them for one."""
    (pair.here / "F00").write_text("F00")
    source, target = pair.stores
    rows = [(name, facts_of((pair.here / name).lstat()), None) for name in [*pair.names, "f00"]]
    result = target.copy_batch(source, "p/d", "p/d", rows, BatchOptions(token="t"), pair.bucket, pair.worker, True)
    assert len(result.rows) == COUNT + 1
    assert pair.whole()


def test_one_bad_file_does_not_keep_the_others_from_appearing(pair: Pair) -> None:
    (pair.here / "f01").unlink()
    (pair.here / "f02").write_text("longer than said" * 1_000)
    source, target = pair.stores
    rows = [(name, None, None) for name in pair.names]
    options = BatchOptions(token="t", limit=10_000)
    result = target.copy_batch(source, "p/d", "p/d", rows, options, pair.bucket, pair.worker, True)
    assert result.vanished == ["f01"]
    assert [row[0] for row in result.large] == ["f02"]
    assert pair.whole("f01", "f02")


def test_a_batch_without_a_single_copy_replaces_nothing(pair: Pair) -> None:
    before = pair.there.stat().st_ino
    for name in pair.names:
        (pair.here / name).unlink()
    source, target = pair.stores
    rows = [(name, None, None) for name in pair.names]
    result = target.copy_batch(source, "p/d", "p/d", rows, BatchOptions(token="t"), pair.bucket, pair.worker, True)
    assert result.vanished == pair.names
    assert pair.there.stat().st_ino == before
    assert os.listdir(pair.target) == ["p"]


# ---- reasons to do without ----


def by_file(pair: Pair, **options: Any) -> None:
    """The batch is carried out file by file, and the directory stays the one that it was."""
    inode = pair.there.stat().st_ino
    result = pair.copy(**options)
    assert sorted(row[0] for row in result.rows) == pair.names[: options.get("count", COUNT)]
    assert pair.there.stat().st_ino == inode
    assert (pair.target / "p").stat().st_mtime_ns != OLD - 2


@pytest.mark.parametrize("options", [{"fresh": False}, {"count": stage.LEAST - 1}, {"fsync": True}, {"in_place": True}])
def test_what_the_batch_says_against_it(pair: Pair, options: dict[str, Any]) -> None:
    by_file(pair, **options)
    assert pair.stages == 0


def test_a_bandwidth_limit(pair: Pair) -> None:
    pair.bucket.set_rate(1 << 30)
    by_file(pair)
    assert pair.stages == 0


def test_a_directory_with_something_in_it(pair: Pair) -> None:
    (pair.there / "sub").mkdir()
    pair.stages = 0
    by_file(pair)
    assert pair.stages == 0


def test_a_directory_above_that_may_not_be_written_to(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "access", lambda *args, **how: asked.append(args) or False)
    by_file(pair)
    assert (asked, pair.stages) == ([(".", os.W_OK | os.X_OK)], 0)


def set_group(pair: Pair) -> None:
    pair.there.chmod(0o2755)


def default_acl(pair: Pair) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:1:rwx", pair.there], check=True)


def default_acl_of_the_root(pair: Pair) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:1:rwx", pair.target], check=True)


def access_acl(pair: Pair) -> None:
    subprocess.run(["setfacl", "-m", "u:1:rwx", pair.there], check=True)


def set_group_of_the_root(pair: Pair) -> None:
    pair.target.chmod(0o2755)


@pytest.mark.parametrize(
    "change", [set_group, set_group_of_the_root, default_acl, default_acl_of_the_root, access_acl]
)
def test_a_directory_that_a_stage_is_not_like(pair: Pair, change: Callable[[Pair], None]) -> None:
    change(pair)
    by_file(pair)


@as_root
def test_another_group_or_owner(pair: Pair) -> None:
    os.chown(pair.there, -1, 12345)
    by_file(pair)
    for name in pair.names:
        (pair.there / name).unlink()
    os.chown(pair.there, 12345, os.getegid())
    by_file(pair)


def test_other_flags_of_the_inode(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pair.there.stat().st_ino
    monkeypatch.setattr(stage, "_flags", lambda fd: int(os.fstat(fd).st_ino == kept))
    by_file(pair)


@as_root
def test_another_file_system(pair: Pair) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", pair.there], check=True)
    try:
        by_file(pair)
    finally:
        subprocess.run(["umount", "-l", pair.there], check=True)


def test_a_name_that_is_taken(pair: Pair) -> None:
    number = pair.worker.number + 1
    taken = pair.target / f".dunlin-0badc0de01-{number}.tmp"
    taken.mkdir()
    (taken / "f").write_text("somebody's")
    with pytest.raises(AssertionError, match="dunlin-"):
        pair.copy()  # all is well but for what lay there before
    assert pair.whole()
    assert (taken / "f").read_text() == "somebody's"


def test_the_root_has_no_directory_above(tmp_path: Path, pair: Pair) -> None:
    for name in pair.names:
        os.link(pair.here / name, pair.source / name)
    inode = pair.target.stat().st_ino
    assert len(pair.copy("").rows) == COUNT
    assert pair.target.stat().st_ino == inode
    assert pair.stages == 0


# ---- renames that fail ----


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Renames from one directory into another fail."""
    rename = os.rename

    def refuse(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if src_dir_fd != dst_dir_fd:
            raise OSError(number, os.strerror(number))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", refuse)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EXDEV, errno.EBUSY, errno.EEXIST, errno.ENOSYS])
def test_a_share_that_cannot_is_asked_once(pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refusing(monkeypatch, number)
    for _ in range(2):
        by_file(pair)
        assert pair.whole()
        assert pair.stages == 1
        for name in pair.names:
            (pair.there / name).unlink()


class Meddling:
    """A bucket that lets somebody act when so many files have been written."""

    rate = 0

    def __init__(self, after: int, act: Callable[[], object]) -> None:
        self.left, self.act, self.stopped = after, act, False

    def take(self, n: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()

    def block_for(self, size: int) -> int:
        return size


def test_nothing_of_a_new_directory_is_seen_before_its_end(pair: Pair) -> None:
    seen: list[list[str]] = []
    pair.bucket = Meddling(COUNT, lambda: seen.append(os.listdir(pair.there)))
    pair.copy()
    assert seen == [[]]
    assert pair.whole()


def test_what_somebody_puts_there_meanwhile_stays(pair: Pair) -> None:
    pair.bucket = Meddling(3, lambda: (pair.there / "theirs").write_text("theirs"))
    by_file(pair)
    assert (pair.there / "theirs").read_text() == "theirs"
    assert pair.whole("theirs")
    (pair.there / "theirs").unlink()
    for name in pair.names:
        (pair.there / name).unlink()
    pair.copy()
    assert pair.stages == 2  # that says nothing about the file system


def test_a_link_planted_in_the_place_of_the_directory_is_not_followed(pair: Pair, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def plant() -> None:
        pair.there.rmdir()
        pair.there.symlink_to(outside)

    pair.bucket = Meddling(3, plant)
    with pytest.raises(DunlinError) as error:
        pair.copy()
    assert error.value.kind is ErrorKind.CHANGED
    assert os.listdir(outside) == []
    assert os.listdir(pair.target) == ["p"]


def test_a_directory_that_is_gone_meanwhile_is_there_again(pair: Pair) -> None:
    pair.bucket = Meddling(3, pair.there.rmdir)
    pair.copy()
    assert pair.whole()


# ---- batches that are cut short ----


def test_a_stop_publishes_what_is_whole(pair: Pair) -> None:
    def stop() -> None:
        pair.bucket.stopped = True

    pair.bucket = Meddling(5, stop)
    result = pair.copy()
    assert [row[0] for row in result.rows] == pair.names[:5]
    assert [row[0] for row in result.rest] == pair.names[5:]
    assert sorted(os.listdir(pair.there)) == pair.names[:5]
    assert pair.renames == 1


def test_a_stop_and_a_rename_that_fails(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        pair.bucket.stopped = True

    refusing(monkeypatch, errno.EACCES)
    pair.bucket = Meddling(5, stop)
    result = pair.copy()
    assert (result.rows, [row[0] for row in result.rest]) == ([], pair.names)
    assert os.listdir(pair.there) == []


def filling(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full after so many writes."""
    left = iter(range(after))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)


def test_a_full_disk_publishes_what_is_whole(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    filling(monkeypatch, 7)
    result = pair.copy()
    assert result.fatal is not None
    assert result.fatal.kind is ErrorKind.NO_SPACE
    assert [row[0] for row in result.rows] == pair.names[:7]
    assert sorted(os.listdir(pair.there)) == pair.names[:7]
    assert [row[0] for row in result.rest] == pair.names[7:]


def test_a_full_disk_and_a_rename_that_fails(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    filling(monkeypatch, 7)
    refusing(monkeypatch, errno.EIO)
    (pair.here / "f01").unlink()
    source, target = pair.stores
    rows = [(name, None, None) for name in pair.names]
    result = target.copy_batch(source, "p/d", "p/d", rows, BatchOptions(token="t"), pair.bucket, pair.worker, True)
    assert result.fatal is not None
    assert result.rows == []
    assert result.vanished == ["f01"]
    assert [row[0] for row in result.rest] == [name for name in pair.names if name != "f01"]
    assert os.listdir(pair.there) == []
    assert os.listdir(pair.target) == ["p"]


def test_an_interruption_leaves_no_stage(pair: Pair) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pair.bucket = Meddling(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        pair.copy()
    assert os.listdir(pair.target) == ["p"]
    assert os.listdir(pair.there) == []


def test_a_stage_that_may_not_appear_any_more_does_not(pair: Pair) -> None:
    def commit() -> None:
        raise DunlinError("finish", "", ErrorKind.INTERRUPTED, "its lease ran out")

    result = pair.copy(commit=commit)
    assert [row[0] for row in result.rest] == pair.names
    assert result.fatal is not None
    assert result.fatal.kind is ErrorKind.INTERRUPTED
    assert list(pair.there.iterdir()) == []
