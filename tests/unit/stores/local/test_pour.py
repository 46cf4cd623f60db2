"""Small files whose content is at hand: what a batch of them writes, and what it says of each."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Facts, Row
from dunlin.pace.bucket import Bucket
from dunlin.stores.base import Gathered, WritesBatch, power
from dunlin.stores.local import LocalStore
from dunlin.stores.local.batch import BatchOptions, BatchResult, new_worker
from dunlin.transfer.options import Options

KEPT = Options(perms=True, owner=True, group=True, xattrs=True, acls=True)
TIME = 1_600_000_000_123_456_789


def facts(size: int, mode: int = 0o644, uid: int | None = None) -> Facts:
    owner = os.geteuid() if uid is None else uid
    return (stat.S_IFREG | mode, size, TIME, owner, os.getegid(), TIME, 1, 0, 7, TIME + 5, 0)


def row(name: str, size: int, mode: int = 0o644) -> Row:
    return (name, facts(size, mode), None)


class Ground:
    """A destination, and batches written into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore(str(root))
        self.asked: list[list[str]] = []
        (root / "p/d").mkdir(parents=True)

    def write(
        self, rows: Sequence[Row], content: dict[str, Any], above: Facts | None = None, **how: Any
    ) -> BatchResult:
        def contents(wanted: Sequence[Row]) -> Iterator[Gathered]:
            self.asked.append([each[0] for each in wanted])
            for name, _, _ in wanted:
                what = content[name]
                yield Gathered(b"", None, what) if isinstance(what, DunlinError) else Gathered(what, {}, None)

        writes = power(self.store, WritesBatch)
        assert writes is not None
        options = BatchOptions(token="0123456700", **{"perms": True, "owner": True, "group": True, **how})
        bucket, worker = Bucket.create(0), new_worker()
        try:
            found: BatchResult = writes.write_batch("p/d", rows, contents, KEPT.meta, options, bucket, worker, above)
        finally:
            bucket.close()
        return found

    def names(self) -> list[str]:
        return sorted(os.listdir(self.root / "p/d"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.store.close()


def test_files_have_content_mode_and_times(ground: Ground) -> None:
    rows = [row("a", 3), row("b", 0, 0o600), row("c", 2, 0o4755), row("w", 1, 0o666)]
    result = ground.write(rows, {"a": b"one", "b": b"", "c": memoryview(b"xy"), "w": b"w"})
    assert [each[0] for each in result.rows] == ["a", "b", "c", "w"]
    for name, what, _ in rows:
        status = (ground.root / "p/d" / name).stat()
        assert what is not None
        assert (status.st_mode, status.st_size, status.st_mtime_ns) == what[:3]
        assert status.st_atime_ns == TIME + 5
    assert (ground.root / "p/d/c").read_bytes() == b"xy"
    assert ground.names() == ["a", "b", "c", "w"]


def test_what_stands_there_is_replaced_whole(ground: Ground) -> None:
    (ground.root / "p/d/a").write_text("old")
    before = (ground.root / "p/d/a").stat().st_ino
    result = ground.write([("a", facts(3), facts(3, 0o600))], {"a": b"new"})
    assert [each[0] for each in result.rows] == ["a"]
    assert (ground.root / "p/d/a").read_text() == "new"
    assert (ground.root / "p/d/a").stat().st_ino != before
    # Without permissions it would keep its mode, which is for others to see to.
    left = ground.write([("a", facts(3), facts(3, 0o600)), row("b", 1)], {"b": b"b"}, perms=False)
    assert ([each[0] for each in left.large], [each[0] for each in left.rows]) == (["a"], ["b"])


def test_each_file_has_its_own_error(ground: Ground) -> None:
    damaged = DunlinError("read", "p/d/b", ErrorKind.IO, "damaged")
    gone = DunlinError("read", "p/d/c", ErrorKind.VANISHED, "gone")
    result = ground.write([row(name, 1) for name in "abcd"], {"a": b"a", "b": damaged, "c": gone, "d": b"d"})
    assert [each[0] for each in result.rows] == ["a", "d"]
    assert result.failed == [("b", damaged, 1)]
    assert result.vanished == ["c"]
    assert ground.names() == ["a", "d"]


def test_contents_that_cannot_be_had_fail_what_is_left(ground: Ground) -> None:
    broken = DunlinError("read", "p/d", ErrorKind.NETWORK, "connection lost")

    def contents(wanted: Sequence[Row]) -> Iterator[Gathered]:
        yield Gathered(b"a", None, None)
        raise broken

    options = BatchOptions(token="0123456700", perms=True)
    rows = [row(name, 1) for name in "abc"]
    how = (KEPT.meta, options, Bucket.create(0), new_worker())
    result = ground.store.write_batch("p/d", rows, contents, *how)
    assert [each[0] for each in result.rows] == ["a"]
    assert result.failed == [("b", broken, 1), ("c", broken, 1)]
    assert (result.fatal, result.rest) == (None, [])


def test_a_full_destination_ends_the_batch(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = os.write

    def write(fd: int, data: bytes) -> int:
        if bytes(data) == b"b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return inner(fd, data)

    monkeypatch.setattr(os, "write", write)
    result = ground.write([row(name, 1) for name in "abc"], {"a": b"a", "b": b"b", "c": b"c"})
    assert result.fatal is not None
    assert result.fatal.kind is ErrorKind.NO_SPACE
    assert [each[0] for each in result.rest] == ["b", "c"]
    assert ground.names() == ["a"]


def test_a_new_directory_appears_at_once_and_the_one_above_has_its_times(ground: Ground) -> None:
    above = (stat.S_IFDIR | 0o755, 0, TIME, 0, 0, TIME, 2, 0, 1, TIME, 0)
    before = (ground.root / "p/d").stat().st_ino
    rows = [row(f"f{n:02}", 2) for n in range(40)]
    result = ground.write(rows, {each[0]: b"xy" for each in rows}, above)
    assert len(result.rows) == 40
    assert (ground.root / "p/d").stat().st_ino != before
    assert (ground.root / "p").stat().st_mtime_ns == TIME
    assert len(ground.names()) == 40
    assert len(ground.asked) == 1
    assert [name for name in os.listdir(ground.root) if name.startswith(".")] == []


def test_a_directory_that_hands_down_an_acl_gives_files_their_own_modes(ground: Ground) -> None:
    acl = bytes.fromhex("02000000" "01000700ffffffff" "02000700d2040000" "04000500ffffffff" "10000700ffffffff"
                        "20000500ffffffff")  # fmt: skip
    os.setxattr(ground.root / "p/d", "system.posix_acl_default", acl)
    result = ground.write([row("a", 1, 0o640)], {"a": b"a"})
    assert [each[0] for each in result.rows] == ["a"]
    assert (ground.root / "p/d/a").stat().st_mode & 0o777 == 0o640
