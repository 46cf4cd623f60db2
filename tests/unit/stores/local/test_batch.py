"""The fast path of local to local: content, metadata, and every way in which a file can go wrong under it."""

from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Facts, Row
from dunlin.pace.bucket import Bucket
from dunlin.stores.local import batch, quick
from dunlin.stores.local.batch import BUFFER, BatchOptions, BatchResult, copy_batch, new_worker
from dunlin.stores.local.store import facts_of

PLAIN = BatchOptions(token="0000000000")
PERMS = replace(PLAIN, perms=True)
ROOT = os.geteuid() == 0
as_root = pytest.mark.root


class Pair:
    """Two open directories and a batch between them."""

    def __init__(self, source: Path, target: Path, bucket: Bucket) -> None:
        self.source, self.target, self.bucket = source, target, bucket
        self.fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target)]
        self.worker = new_worker()

    def row(self, name: str) -> Row:
        return name, look(self.source / name), look(self.target / name)

    def copy(self, *names: str, options: BatchOptions = PLAIN, rows: list[Row] | None = None) -> BatchResult:
        gc.collect()  # stores that others let go give their descriptors back whenever that happens
        before = len(os.listdir("/proc/self/fd"))
        rows = [self.row(name) for name in names] if rows is None else rows
        result = copy_batch(*self.fds, rows, options, self.bucket, self.worker, ("/source", "/target"))
        assert len(os.listdir("/proc/self/fd")) == before
        assert [name for name in os.listdir(self.target) if name.startswith(".dunlin-")] == []
        told = [row[0] for row in (*result.rows, *result.large, *result.failed, *result.rest)] + result.vanished
        assert sorted(told) == sorted(row[0] for row in rows)  # every name in exactly one list
        return result


def look(path: Path) -> Facts | None:
    try:
        return facts_of(path.lstat())
    except FileNotFoundError:
        return None


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    bucket = Bucket.create()
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    made = Pair(tmp_path / "source", tmp_path / "target", bucket)
    yield made
    for fd in made.fds:
        os.close(fd)
    bucket.close()


@pytest.fixture
def umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    old = os.umask(0o022)
    os.umask(old)

    def change(mask: int) -> None:
        os.umask(mask)
        monkeypatch.setattr(quick, "_umask", None)

    yield change
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- content and times ----


@pytest.mark.parametrize("size", [0, 1, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7])
def test_content_times_and_row(pair: Pair, size: int) -> None:
    content = os.urandom(size)
    (pair.source / "f").write_bytes(content)
    os.utime(pair.source / "f", ns=(1_111_111_111_111_111_111, 1_222_222_222_222_222_223))
    result = pair.copy("f", options=replace(PLAIN, one_shot=hashing.one_shot("sha1"), new_hasher=sha1))
    there = (pair.target / "f").stat()  # before it is read here, which sets the access time
    assert (pair.target / "f").read_bytes() == content
    assert (there.st_atime_ns, there.st_mtime_ns) == (1_111_111_111_111_111_111, 1_222_222_222_222_222_223)
    here = (pair.source / "f").stat()
    ((name, told, mtime, ctime, birth, told_mode, uid, gid, digest),) = result.rows
    assert (name, told, mtime, ctime) == ("f", size, here.st_mtime_ns, here.st_ctime_ns)
    assert (told_mode, uid, gid) == (here.st_mode, here.st_uid, here.st_gid)
    assert birth is None or birth <= ctime
    one_shot = hashing.one_shot("sha1")
    assert one_shot is not None
    assert digest == one_shot(content)


def sha1() -> hashing.Hasher:
    made = hashing.new("sha1")
    assert made is not None
    return made


@pytest.mark.parametrize("algorithm", hashing.ALGORITHMS)
def test_every_algorithm_in_one_read_and_in_several(pair: Pair, algorithm: str) -> None:
    (pair.source / "short").write_bytes(b"short")
    (pair.source / "long").write_bytes(b"long" * BUFFER)
    one_shot = hashing.one_shot(algorithm)
    maker: Any = (lambda: hashing.new(algorithm)) if one_shot else None
    result = pair.copy("short", "long", options=replace(PLAIN, one_shot=one_shot, new_hasher=maker))
    wanted = [one_shot(b"short"), one_shot(b"long" * BUFFER)] if one_shot else [None, None]
    assert [row[8] for row in result.rows] == wanted


def test_strange_names_and_old_times(pair: Pair) -> None:
    names = ["\udcff\n", "é", "e\u0301", "x" * 255, "-rf", ".dunlin"]
    for name in names:
        (pair.source / name).write_text(name.encode("utf-8", "replace").decode())
        os.utime(pair.source / name, ns=(-5_000_000_001, -1))
    pair.copy(*names)
    for name in names:
        assert (pair.target / name).read_bytes() == (pair.source / name).read_bytes()
        assert (pair.target / name).stat().st_mtime_ns == -1


def test_reading_leaves_the_sources_access_time(pair: Pair) -> None:
    (pair.source / "f").write_text("x")
    os.utime(pair.source / "f", ns=(1_000_000_000, 2_000_000_000))
    pair.copy("f")
    assert (pair.source / "f").stat().st_atime_ns == 1_000_000_000


def test_a_file_over_the_limit_is_left_to_others(pair: Pair) -> None:
    (pair.source / "large").write_bytes(b"123456")
    (pair.source / "small").write_bytes(b"12345")
    result = pair.copy("large", "small", options=replace(PLAIN, limit=5))
    assert [row[0] for row in result.large] == ["large"]
    assert os.listdir(pair.target) == ["small"]


# ---- mode, owner ----


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("wanted", [0o644, 0o777, 0o400, 0o000, 0o4755, 0o2750, 0o1666])
def test_perms_are_exact_whatever_the_umask(pair: Pair, umask: Callable[[int], None], mask: int, wanted: int) -> None:
    umask(mask)
    (pair.source / "f").write_text("x")
    (pair.source / "f").chmod(wanted)
    for _ in range(2):  # new, and over an older one
        pair.copy("f", options=PERMS)
        assert mode(pair.target / "f") == wanted
        (pair.target / "f").chmod(0o777)


@pytest.mark.parametrize(("mask", "wanted"), [(0o000, 0o775), (0o022, 0o755), (0o077, 0o700)])
def test_without_perms_a_new_file_gets_what_the_umask_leaves(
    pair: Pair, umask: Callable[[int], None], mask: int, wanted: int
) -> None:
    umask(mask)
    (pair.source / "f").write_text("x")
    (pair.source / "f").chmod(0o6775)
    pair.copy("f")
    assert mode(pair.target / "f") == wanted


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("in_place", [True, False])
def test_without_perms_an_overwritten_file_keeps_its_mode(
    pair: Pair, umask: Callable[[int], None], mask: int, in_place: bool
) -> None:
    umask(mask)
    (pair.source / "f").write_text("new")
    (pair.source / "f").chmod(0o600)
    (pair.target / "f").write_text("old")
    (pair.target / "f").chmod(0o664)
    pair.copy("f", options=replace(PLAIN, in_place=in_place))
    assert (pair.target / "f").read_text() == "new"
    assert mode(pair.target / "f") == 0o664


def test_a_link_that_is_replaced_gives_no_mode(pair: Pair, umask: Callable[[int], None]) -> None:
    umask(0o022)
    (pair.source / "f").write_text("new")
    (pair.source / "f").chmod(0o640)
    (pair.target / "f").symlink_to(pair.source)
    pair.copy("f")
    assert mode(pair.target / "f") == 0o640
    assert not (pair.target / "f").is_symlink()


@as_root
def test_owner_and_group(pair: Pair) -> None:
    both = replace(PERMS, owner=True, group=True)
    for name, uid, gid in (("theirs", 1234, 2345), ("ours", os.geteuid(), os.getegid())):
        (pair.source / name).write_text("x")
        os.chown(pair.source / name, uid, gid)
        (pair.source / name).chmod(0o4750)  # fchown takes setuid away: it has to be given again
        pair.copy(name, options=both)
        there = (pair.target / name).stat()
        assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (uid, gid, 0o4750)


@as_root
def test_only_what_was_asked_for_is_given(pair: Pair) -> None:
    (pair.source / "f").write_text("x")
    os.chown(pair.source / "f", 1234, 2345)
    for options, wanted in (
        (PLAIN, (0, 0)),
        (replace(PLAIN, owner=True), (1234, 0)),
        (replace(PLAIN, group=True), (0, 2345)),
        (replace(PLAIN, group=True, groups=frozenset({2345})), (0, 2345)),
        (replace(PLAIN, group=True, groups=frozenset({1})), (0, 0)),
    ):
        pair.copy("f", options=options)
        there = (pair.target / "f").stat()
        assert (there.st_uid, there.st_gid) == wanted


@as_root
def test_a_directory_that_hands_down_its_group_does_not_when_group_is_kept(pair: Pair) -> None:
    os.chown(pair.target, 0, 3456)
    pair.target.chmod(0o2755)
    (pair.source / "f").write_text("x")
    pair.copy("f")
    assert (pair.target / "f").stat().st_gid == 3456
    # The directory's group is looked up once per batch.
    pair.copy("f", options=replace(PLAIN, group=True))
    assert (pair.target / "f").stat().st_gid == os.getegid()


@as_root
def test_in_place_gives_back_owner_and_mode(pair: Pair) -> None:
    (pair.source / "f").write_text("x")
    (pair.source / "f").chmod(0o640)
    (pair.target / "f").write_text("yy")
    (pair.target / "f").chmod(0o777)
    os.chown(pair.target / "f", 77, 88)
    pair.copy("f", options=replace(PERMS, owner=True, group=True, in_place=True))
    there = (pair.target / "f").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (os.geteuid(), os.getegid(), 0o640)


@pytest.mark.parametrize(("call", "what"), [("fchmod", "permissions"), ("utime", "times"), ("fchown", "owner")])
def test_a_share_that_refuses_an_attribute_is_told_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, call: str, what: str
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("a", "b"):
        (pair.source / name).write_text("x")
        (pair.source / name).chmod(0o4755)
        if call == "fchown" and ROOT:
            os.chown(pair.source / name, 5, 5)
    monkeypatch.setattr(batch.os, call, refuse)
    result = pair.copy("a", "b", options=replace(PERMS, owner=ROOT, in_place=call == "fchown"))
    assert [row[0] for row in result.rows] == ["a", "b"]
    if call != "fchown" or ROOT:
        assert result.refused == {what: "Operation not permitted"}


def test_an_error_that_is_no_refusal_is_a_failure(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (pair.source / "f").write_text("x")
    monkeypatch.setattr(batch.os, "utime", broken)
    result = pair.copy("f")
    assert [(name, error.kind) for name, error, _ in result.failed] == [("f", ErrorKind.IO)]
    assert os.listdir(pair.target) == []


# ---- what changes under it ----


def test_a_file_that_is_gone_has_vanished(pair: Pair) -> None:
    (pair.source / "here").write_text("x")
    result = pair.copy("gone", "here")
    assert result.vanished == ["gone"]
    assert [row[0] for row in result.rows] == ["here"]


@pytest.mark.parametrize("size", [100, BUFFER, 2 * BUFFER + 5])
@pytest.mark.parametrize("by", [1, 300_000, -1, -50])
def test_a_file_that_grows_or_shrinks_is_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, size: int, by: int
) -> None:
    (pair.source / "f").write_bytes(b"x" * size)
    real = os.readv
    changes = iter([by])

    def readv(fd: int, buffers: Any) -> int:
        change = next(changes, 0)
        if change:
            os.truncate(pair.source / "f", size + change)
        return real(fd, buffers)

    monkeypatch.setattr(batch.os, "readv", readv)
    result = pair.copy("f")
    assert [row[1] for row in result.rows] == [size + by]
    assert (pair.target / "f").stat().st_size == size + by


def test_a_change_of_the_same_size_is_seen(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.source / "f").write_bytes(b"before")
    real = os.readv
    changes = iter([1])

    def readv(fd: int, buffers: Any) -> int:
        n = real(fd, buffers)
        if next(changes, 0):
            (pair.source / "f").write_bytes(b"behind")
        return n

    monkeypatch.setattr(batch.os, "readv", readv)
    pair.copy("f")
    assert (pair.target / "f").read_bytes() == b"behind"


@pytest.mark.parametrize("size", [10, BUFFER + 10])
def test_a_file_that_never_stands_still_fails_after_its_attempts(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    (pair.source / "f").write_bytes(b"x" * size)
    (pair.source / "g").write_bytes(b"calm")
    (pair.target / "f").write_bytes(b"old")
    real = os.readv

    def readv(fd: int, buffers: Any) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/f"):
            with (pair.source / "f").open("ab") as file:
                file.write(b"more")
        return real(fd, buffers)

    monkeypatch.setattr(batch.os, "readv", readv)
    result = pair.copy("f", "g", options=replace(PLAIN, attempts=3))
    assert [(name, error.kind, attempt) for name, error, attempt in result.failed] == [("f", ErrorKind.CHANGED, 3)]
    assert (pair.target / "f").read_bytes() == b"old"
    assert [row[0] for row in result.rows] == ["g"]


@pytest.mark.parametrize("swap", ["fifo", "directory", "link"])
def test_what_is_no_file_any_more_is_not_read_and_does_not_hang(pair: Pair, swap: str) -> None:
    (pair.source / "f").write_text("x")
    (pair.source / "g").write_text("x")
    rows = [pair.row("f"), pair.row("g")]
    (pair.source / "f").unlink()
    if swap == "fifo":
        os.mkfifo(pair.source / "f")
    elif swap == "directory":
        (pair.source / "f").mkdir()
    else:
        (pair.source / "f").symlink_to("g")
    result = pair.copy(rows=rows)
    assert [(name, error.kind) for name, error, _ in result.failed] == [("f", ErrorKind.CHANGED)]
    assert os.listdir(pair.target) == ["g"]


def test_a_read_error_fails_one_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (pair.source / name).write_text(name)
    real = os.readv

    def readv(fd: int, buffers: Any) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/a"):
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, buffers)

    monkeypatch.setattr(batch.os, "readv", readv)
    result = pair.copy("a", "b")
    ((name, error, attempt),) = result.failed
    assert (name, error.kind, error.operation, error.where, attempt) == ("a", ErrorKind.IO, "read", "/source/a", 1)
    assert os.listdir(pair.target) == ["b"]


# ---- the destination ----


@pytest.mark.parametrize("there", ["file", "link", "fifo", "nothing"])
@pytest.mark.parametrize("in_place", [True, False])
def test_what_stands_there_is_replaced_and_never_written_through(pair: Pair, there: str, in_place: bool) -> None:
    (pair.source / "f").write_text("new")
    precious = pair.target.parent / "precious"
    precious.write_text("precious")
    if there == "file":
        (pair.target / "f").write_text("much longer than the new one")
    elif there == "link":
        (pair.target / "f").symlink_to(precious)
    elif there == "fifo":
        os.mkfifo(pair.target / "f")
    result = pair.copy("f", options=replace(PLAIN, in_place=in_place))
    assert result.failed == []
    assert stat.S_ISREG((pair.target / "f").lstat().st_mode)
    assert (pair.target / "f").read_text() == "new"
    assert precious.read_text() == "precious"


@as_root
def test_in_place_never_writes_into_a_device(pair: Pair) -> None:
    (pair.source / "f").write_text("new")
    os.mknod(pair.target / "f", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    pair.copy("f", options=replace(PLAIN, in_place=True))
    assert (pair.target / "f").read_text() == "new"


@pytest.mark.parametrize("old", [0, 3, 5000, 2 * BUFFER])
@pytest.mark.parametrize("new", [0, 4, 5001, BUFFER, BUFFER + 1])
def test_in_place_leaves_no_rest_of_the_old_one(pair: Pair, old: int, new: int) -> None:
    (pair.source / "f").write_bytes(b"n" * new)
    (pair.target / "f").write_bytes(b"o" * old)
    inode = (pair.target / "f").stat().st_ino
    pair.copy("f", options=replace(PLAIN, in_place=True))
    assert (pair.target / "f").read_bytes() == b"n" * new
    assert (pair.target / "f").stat().st_ino == inode


def test_a_directory_in_the_way_fails_one_file(pair: Pair) -> None:
    for name in ("a", "b"):
        (pair.source / name).write_text(name)
    (pair.target / "a").mkdir()
    result = pair.copy("a", "b")
    assert [(name, error.kind) for name, error, _ in result.failed] == [("a", ErrorKind.EXISTS)]
    assert (pair.target / "b").read_text() == "b"


@pytest.mark.root
@as_root
@pytest.mark.parametrize("in_place", [True, False])
def test_a_full_destination_ends_the_batch_and_leaves_no_rubbish(tmp_path: Path, in_place: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(target)], check=True)
    bucket = Bucket.create()
    try:
        for name in "abcdef":
            (source / name).write_bytes(os.urandom(20_000))
        pair = Pair(source, target, bucket)
        try:
            result = pair.copy(*"abcdef", options=replace(PLAIN, in_place=in_place))
        finally:
            for fd in pair.fds:
                os.close(fd)
        assert result.fatal is not None
        assert result.fatal.kind is ErrorKind.NO_SPACE
        done = [row[0] for row in result.rows]
        assert len(done) >= 2
        assert [row[0] for row in result.rest] == [name for name in "abcdef" if name not in done]
        assert result.failed == []
        for name in done:
            assert (target / name).read_bytes() == (source / name).read_bytes()
        if not in_place:
            assert sorted(os.listdir(target)) == done
    finally:
        bucket.close()
        subprocess.run(["umount", str(target)], check=True)


def test_a_short_write_is_gone_on_with(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.source / "f").write_bytes(bytes(range(200)))
    real = os.write
    monkeypatch.setattr(batch.os, "write", lambda fd, data: real(fd, data[:7]))
    pair.copy("f")
    assert (pair.target / "f").read_bytes() == bytes(range(200))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_fatal_write_gives_back_the_rest(pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for name in "abc":
        (pair.source / name).write_text(name)
    real = os.write

    def write(fd: int, data: Any) -> int:
        if bytes(data) == b"b":
            raise OSError(number, "no")
        return real(fd, data)

    monkeypatch.setattr(batch.os, "write", write)
    result = pair.copy(*"abc")
    assert result.fatal is not None
    assert result.fatal.fatal
    assert [row[0] for row in result.rows] == ["a"]
    assert [row[0] for row in result.rest] == ["b", "c"]


# ---- stopping, pace, the rest ----


def test_a_stop_between_two_files_gives_back_the_rest(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (pair.source / name).write_text(name)
    real = os.rename

    def rename(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        pair.bucket.stop()

    monkeypatch.setattr(batch.os, "rename", rename)
    result = pair.copy(*"abc")
    assert [row[0] for row in result.rows] == ["a"]
    assert [row[0] for row in result.rest] == ["b", "c"]
    assert result.fatal is None


def test_a_stop_within_a_file_leaves_nothing_of_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.source / "f").write_bytes(b"x" * (3 * BUFFER))
    (pair.source / "g").write_text("g")
    real = os.write

    def write(fd: int, data: Any) -> int:
        pair.bucket.stop()
        return real(fd, data)

    monkeypatch.setattr(batch.os, "write", write)
    result = pair.copy("f", "g")
    assert [row[0] for row in result.rest] == ["f", "g"]
    assert os.listdir(pair.target) == []


def test_every_byte_asks_the_bucket_under_a_limit(pair: Pair) -> None:
    sizes = {"a": 10, "b": 0, "c": BUFFER + 1000}
    for name, size in sizes.items():
        (pair.source / name).write_bytes(b"x" * size)
    pair.bucket.set_rate(1 << 30)
    pair.copy(*sizes)
    assert pair.bucket.granted == sum(sizes.values())
    assert (pair.target / "c").stat().st_size == BUFFER + 1000


def test_fsync_comes_before_the_name(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.source / "f").write_text("x")
    calls: list[str] = []
    for call in ("fsync", "rename"):
        real = getattr(os, call)

        def watched(*args: Any, call: str = call, real: Any = real, **kwargs: Any) -> Any:
            calls.append(call)
            return real(*args, **kwargs)

        monkeypatch.setattr(batch.os, call, watched)
    pair.copy("f", options=replace(PLAIN, fsync=True))
    assert calls == ["fsync", "rename"]


@pytest.mark.parametrize("size", [10, 3 * BUFFER])
def test_a_batch_that_may_not_go_on_leaves_the_name_alone(pair: Pair, size: int) -> None:
    asked: list[bool] = []

    def commit() -> None:
        asked.append((pair.target / "b").exists())
        if len(asked) == 2:
            raise DunlinError("finish", "", ErrorKind.INTERRUPTED, "its lease ran out")

    for name in ("a", "b", "c"):
        (pair.source / name).write_bytes(os.urandom(size))
    (pair.target / "b").write_text("as it was")
    result = pair.copy("a", "b", "c", options=replace(PLAIN, commit=commit))
    assert [row[0] for row in result.rows] == ["a"]
    assert [row[0] for row in result.rest] == ["b", "c"]
    assert result.fatal is not None
    assert result.fatal.kind is ErrorKind.INTERRUPTED
    assert asked == [True, True]
    assert (pair.target / "b").read_text() == "as it was"
