"""The FUSE file system of the tests does what it says: others rely on its rates, counts and faults."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fuse.shape import COPYING, OVERHEAD, Link, Options, Rules, busiest_window, slack
from tests.fuse.slowfs import Mount, mounted


def needs_fuse(test: Any) -> Any:
    """Mark a test that mounts; without /dev/fuse it fails (``-m "not fuse"`` leaves it out)."""
    return pytest.mark.fuse(test)


def needs_root(test: Any) -> Any:
    """Mark a test that sets owners and makes device nodes."""
    return pytest.mark.root(test)


@pytest.fixture
def mount_at(tmp_path: Path) -> Any:
    """``mount_at(**options)``: a mount of an empty directory."""
    (tmp_path / "backing").mkdir()

    @contextmanager
    def make(**options: Any) -> Iterator[Mount]:
        with mounted(tmp_path / "backing", tmp_path / "mnt", **options) as mount:
            yield mount

    return make


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_link_spends_exactly_the_time_that_the_bytes_take() -> None:
    time_ = Time()
    link = Link(1000, clock=lambda: time_.now, sleep=time_.sleep)
    for _ in range(50):
        link.carry(100)
    assert time_.now == pytest.approx(5.0)


def test_link_makes_up_for_its_own_oversleeping_and_not_for_idle_callers() -> None:
    time_ = Time()
    link = Link(1000, clock=lambda: time_.now, sleep=lambda seconds: time_.sleep(seconds + 0.003))
    for _ in range(100):
        link.carry(100)
    assert time_.now == pytest.approx(10.0, abs=0.02)


def test_link_after_a_pause_starts_anew() -> None:
    time_ = Time()
    link = Link(1000, clock=lambda: time_.now, sleep=time_.sleep)
    link.carry(100)
    time_.now += 60
    before = time_.now
    link.carry(1000)
    assert time_.now - before == pytest.approx(1.0 - OVERHEAD - 1000 * COPYING)


def test_busiest_window_finds_the_burst_between_whole_seconds() -> None:
    half = 500_000_000
    assert busiest_window([(0, 10), (3 * half, 50), (3 * half + 1, 40), (5 * half + 2, 70)]) == 90
    assert busiest_window([]) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"refuse": ("fly",)},
        {"errors": {"read": "EIO"}},
        {"errors": {"read:*": "EWHAT"}},
        {"change_during_read": {"a": "explode"}},
    ],
)
def test_a_word_without_meaning_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fly|read|EWHAT|explode"):
        Options(**options).checked()


def test_a_change_happens_once_per_rule() -> None:
    rules = Rules(Options(change_during_read={"*.log": "grow"}))
    assert rules.changing("a.log")
    assert rules.take_change("a.log") == "grow"
    assert rules.take_change("a.log") is None
    assert not rules.changing("a.log")


@needs_fuse
@needs_root
def test_rsync_finds_every_attribute_it_wrote(mount_at: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "dir" / "empty").mkdir(parents=True)
    (source / "file").write_bytes(os.urandom(3_000_000))
    os.link(source / "file", source / "dir" / "hard")
    os.symlink("nowhere/é", source / "soft")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (source / os.fsdecode(b"new\nline \xff" + b"x" * 200)).write_bytes(b"odd")
    os.setxattr(source / "file", "user.note", b"\0value")
    os.chown(source / "dir", 12, 34)
    os.chmod(source / "file", 0o4711)
    os.utime(source / "file", ns=(1, 1_234_567_890_123_456_789))
    os.utime(source / "dir", ns=(1, -1_500_000_000))
    with mount_at() as mount:
        subprocess.run(["rsync", "-aHAX", f"{source}/", f"{mount.path}/"], check=True)
        left = subprocess.run(
            ["rsync", "-aHAXnci", "--delete", f"{source}/", f"{mount.path}/"], check=True, capture_output=True
        )
        assert left.stdout == b""
        assert os.stat(mount.path / "file").st_mtime_ns == 1_234_567_890_123_456_789
        assert os.stat(mount.path / "dir").st_mtime_ns == -1_500_000_000
        assert os.stat(mount.path / "file").st_ino == os.stat(mount.path / "dir" / "hard").st_ino
        assert os.stat(mount.path / "null").st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE(os.stat(mount.backing / "file").st_mode) == 0o4711
    assert os.getxattr(mount.backing / "file", "user.note") == b"\0value"


@needs_fuse
def test_open_files_outlive_rename_and_unlink(mount_at: Any) -> None:
    with mount_at() as mount:
        (mount.path / "a" / "b").mkdir(parents=True)
        with open(mount.path / "a" / "b" / "f", "w+b") as file:
            file.write(b"one")
            os.rename(mount.path / "a", mount.path / "z")
            assert (mount.path / "z" / "b").is_dir()
            file.flush()
            os.unlink(mount.path / "z" / "b" / "f")
            file.write(b"two")
            file.flush()
            file.seek(0)
            assert file.read() == b"onetwo"
            assert os.fstat(file.fileno()).st_size == 6
        (mount.path / "z" / "b" / "f").write_bytes(b"new")
        os.replace(mount.path / "z" / "b" / "f", mount.path / "g")
        assert sorted(os.listdir(mount.path)) == ["g", "z"]
        assert (mount.backing / "g").read_bytes() == b"new"


@needs_fuse
def test_calls_are_counted_and_a_listing_brings_the_attributes(mount_at: Any) -> None:
    with mount_at() as mount:
        for number in range(200):
            (mount.backing / f"{number}").write_bytes(b"x")
        mount.reset()
        with os.scandir(mount.path) as entries:
            sizes = [entry.stat().st_size for entry in entries]
        counted = mount.counters()
        assert sizes == [1] * 200
        assert counted.get("lookup", 0) == 0
        assert counted.get("getattr", 0) <= 1  # the directory itself
        assert counted["readdirplus"] < 20
        (mount.path / "new").write_bytes(b"12345")
        assert mount.counters()["create"] == 1
        assert mount.counters()["bytes_written"] == 5


@needs_fuse
def test_without_attributes_each_stat_is_a_call(mount_at: Any) -> None:
    with mount_at(readdirplus=False, attr_timeout=0, entry_timeout=0) as mount:
        for number in range(20):
            (mount.backing / f"{number}").touch()
        with os.scandir(mount.path) as entries:
            assert all(entry.stat().st_size == 0 for entry in entries)
        assert mount.counters()["lookup"] >= 20


@needs_fuse
def test_counters_are_written_when_the_mount_ends(mount_at: Any, tmp_path: Path) -> None:
    with mount_at(counters=tmp_path / "counters") as mount:
        (mount.path / "d").mkdir()
    assert '"mkdir": 1' in (tmp_path / "counters").read_text()


@needs_fuse
def test_each_call_takes_the_latency_and_calls_overlap(mount_at: Any) -> None:
    with mount_at(latency_ms=100) as mount, ThreadPoolExecutor(40) as threads:
        started = time.monotonic()
        for number in range(3):
            (mount.path / f"d{number}").mkdir()
        calls = mount.counters()["mkdir"] + mount.counters()["lookup"]
        alone = time.monotonic() - started
        assert alone >= calls * 0.100
        before = mount.counters()["lookup"]
        started = time.monotonic()
        assert not any(threads.map(os.path.exists, [mount.path / f"none{n}" for n in range(40)]))
        together = time.monotonic() - started
        assert mount.counters()["lookup"] >= before + 40
        assert together < 40 * 0.100, "what one after the other takes at least"


@needs_fuse
def test_reading_and_writing_have_their_own_rates(mount_at: Any, tmp_path: Path) -> None:
    size = 20_000_000
    content = os.urandom(size)
    other = 2e6  # by the rate of the other direction it would take ten seconds
    with mount_at(read_rate=other, write_rate=20e6, write_log=tmp_path / "log") as mount:
        started = time.monotonic()
        (mount.path / "f").write_bytes(content)
        assert 0.97 <= time.monotonic() - started < size / other
        records = mount.writes()
        assert sum(n for _, n in records) == size
        assert max(n for _, n in records) == 1 << 20
        assert busiest_window(records, 250_000_000) <= 20e6 * (0.25 + slack(1 << 20)) + (1 << 20)
    with mount_at(read_rate=40e6, write_rate=other) as mount:
        started = time.monotonic()
        assert (mount.path / "f").read_bytes() == content
        assert 0.47 <= time.monotonic() - started < size / other


@needs_fuse
@pytest.mark.parametrize("direct", [True, False])
def test_only_a_direct_mount_reads_no_more_than_was_asked(mount_at: Any, direct: bool) -> None:
    with mount_at(direct_io=direct) as mount:
        (mount.backing / "f").write_bytes(bytes(1_000_000))
        with open(mount.path / "f", "rb", buffering=0) as file:
            file.read(4096)
            assert (mount.counters()["bytes_read"] == 4096) is direct


@needs_fuse
def test_a_full_mount_says_no_space(mount_at: Any) -> None:
    with mount_at(capacity=1_000_000) as mount:
        (mount.path / "a").write_bytes(bytes(600_000))
        with pytest.raises(OSError, match="No space") as failed:
            (mount.path / "b").write_bytes(bytes(600_000))
        assert failed.value.errno == errno.ENOSPC
        os.unlink(mount.path / "a")
        (mount.path / "c").write_bytes(bytes(600_000))
        vfs = os.statvfs(mount.path)
        assert vfs.f_blocks * vfs.f_frsize <= 1_000_000


@needs_fuse
def test_a_read_only_mount_refuses_to_write(mount_at: Any) -> None:
    with mount_at(read_only=True) as mount, pytest.raises(OSError, match="Read-only") as failed:
        (mount.path / "a").touch()
    assert failed.value.errno == errno.EROFS


@needs_fuse
def test_refused_operations_fail_and_others_work(mount_at: Any) -> None:
    with mount_at(refuse=("chmod", "chown", "utimens", "setxattr", "symlink", "link", "mknod")) as mount:
        path = mount.path / "f"
        path.write_bytes(b"x")
        calls: list[Callable[[], object]] = [
            lambda: os.chmod(path, 0o600),
            lambda: os.chown(path, 0, 0),
            lambda: os.utime(path, ns=(1, 1)),
            lambda: os.symlink("f", mount.path / "s"),
            lambda: os.link(path, mount.path / "l"),
            lambda: os.mkfifo(mount.path / "p"),
        ]
        for call in calls:
            with pytest.raises(PermissionError):
                call()
        with pytest.raises(OSError, match="not supported") as failed:
            os.setxattr(path, "user.a", b"b")
        assert failed.value.errno == errno.ENOTSUP
        os.truncate(path, 0)
        assert os.listdir(mount.path) == ["f"]


@needs_fuse
def test_errors_come_where_the_rules_say(mount_at: Any) -> None:
    errors = {"open:a": errno.EACCES, "read:b": errno.EIO, "readdir:d": errno.EIO, "stat:e": "ETIMEDOUT"}
    with mount_at(errors=errors) as mount:
        for name in ("a", "b", "c", "e"):
            (mount.backing / name).write_bytes(b"content")
        (mount.backing / "d").mkdir()
        assert sorted(os.listdir(mount.path)) == ["a", "b", "c", "d", "e"]
        got = {}
        calls: dict[str, Callable[[], object]] = {
            "a": (mount.path / "a").read_bytes,
            "b": (mount.path / "b").read_bytes,
            "d": lambda: os.listdir(mount.path / "d"),
            "e": (mount.path / "e").stat,
        }
        for name, call in calls.items():
            with pytest.raises(OSError, match=r"\[Errno") as failed:
                call()
            got[name] = failed.value.errno
        assert got == {"a": errno.EACCES, "b": errno.EIO, "d": errno.EIO, "e": errno.ETIMEDOUT}
        assert (mount.path / "c").read_bytes() == b"content"


@needs_fuse
@pytest.mark.parametrize(("change", "size"), [("grow", 100_000 + 4352), ("shrink", 50_000), ("vanish", None)])
def test_a_file_changes_when_it_is_first_read(mount_at: Any, change: str, size: int | None) -> None:
    with mount_at(change_during_read={"sub/f": change}) as mount:
        (mount.backing / "sub").mkdir()
        (mount.backing / "sub" / "f").write_bytes(bytes(100_000))
        with open(mount.path / "sub" / "f", "rb", buffering=0) as file:
            assert os.fstat(file.fileno()).st_size == 100_000
            read = len(file.read(1 << 20) or b"")
            assert read == (100_000 if size is None else size)
            if size is None:
                assert not (mount.path / "sub" / "f").exists()
            else:
                assert os.fstat(file.fileno()).st_size == size


@needs_fuse
def test_case_is_ignored_and_kept(mount_at: Any) -> None:
    with mount_at(case_insensitive=True, entry_timeout=0) as mount:
        (mount.path / "Readme").write_bytes(b"old")
        assert (mount.path / "README").read_bytes() == b"old"
        assert os.listdir(mount.path) == ["Readme"]
        (mount.path / "tmp").write_bytes(b"new")
        os.replace(mount.path / "tmp", mount.path / "README")
        assert os.listdir(mount.path) == ["README"]
        assert (mount.path / "readme").read_bytes() == b"new"
        os.unlink(mount.path / "rEADME")
        assert os.listdir(mount.path) == []


@needs_fuse
def test_times_are_as_coarse_as_asked(mount_at: Any) -> None:
    with mount_at(mtime_granularity_ns=2_000_000_000) as mount:
        path = mount.path / "f"
        path.touch()
        os.utime(path, ns=(1, 1_700_000_001_999_999_999))
        assert path.stat().st_mtime_ns == 1_700_000_000_000_000_000


@needs_fuse
def test_written_pages_may_stay_dirty_in_the_kernel(mount_at: Any) -> None:
    with mount_at(writeback=True) as mount:
        with open(mount.path / "f", "wb", buffering=0) as file:
            for _ in range(100):
                file.write(b"x" * 100)
            assert mount.counters().get("bytes_written", 0) == 0
            os.fsync(file.fileno())
            assert mount.counters()["bytes_written"] == 10_000
        assert (mount.backing / "f").stat().st_size == 10_000


@needs_fuse
def test_the_mount_ends_after_a_failure_and_with_a_file_left_open(mount_at: Any) -> None:
    with pytest.raises(ZeroDivisionError), mount_at(patience=0.2) as mount:  # noqa: PT012 - the failure is inside the mount
        left = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
        raise ZeroDivisionError
    assert not os.path.ismount(mount.path)
    assert not Path(f"/proc/{mount.pid}").exists()
    with pytest.raises(OSError, match=r"not connected"):
        os.write(left, b"x")
    with contextlib.suppress(OSError):  # closing a file of a dead mount may complain, and closes it
        os.close(left)


@needs_fuse
def test_a_mount_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="could not mount"), mounted(tmp_path / "missing", tmp_path / "mnt"):
        pytest.fail("mounted nothing")
