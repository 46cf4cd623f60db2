"""What the tests of bad days share: trees worth interrupting, a look at processes, at the state file, and mounts."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair, same, temporaries

OLD = 1_600_000_000_123_456_789


# ---- trees ----


def many(root: Path, *, directories: int = 40, files: int = 40, wide: int = 3_000, large: tuple[int, ...] = ()) -> None:
    """Small files in directories of three levels, one directory of `wide` files, and files of `large` MiB."""
    dice = random.Random(7)
    for d in range(directories):
        where = root / f"d{d % 7}" / f"e{d % 3}" / f"f{d:03}"
        where.mkdir(parents=True)
        for n in range(files):
            (where / f"n{n:03}").write_bytes(dice.randbytes(dice.choice((0, 17, 900, 4_096, 9_000))))
        (where / "link").symlink_to("n000")
    (root / "wide").mkdir(parents=True, exist_ok=True)
    for n in range(wide):
        (root / "wide" / f"w{n:05}").write_bytes(b"%d" % n * 300)
    for n, size in enumerate(large):
        block = dice.randbytes(1 << 20)
        with open(root / f"large{n}", "wb") as file:
            for k in range(size):
                file.write(block[k:] + block[:k])
    age(root)


def age(root: Path) -> None:
    """Old times everywhere, another for each name, children before parents."""
    for at, (here, directories, files) in enumerate(os.walk(root, topdown=False)):
        for n, name in enumerate(files + directories):
            stamp = OLD + (at * 10_007 + n) * 1_000_003
            os.utime(os.path.join(here, name), ns=(stamp, stamp), follow_symlinks=False)
    os.utime(root, ns=(OLD, OLD))


def small(pair: Pair, count: int = 40, size: int = 1 << 20) -> None:
    """`count` files of `size` bytes in two directories: with a limit they take as long as a test needs."""
    dice = random.Random(3)
    for n in range(count):
        path = pair.source / "ab"[n % 2] / f"f{n:03}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dice.randbytes(size))
    age(pair.source)


# ---- processes ----


def begin(pair: Pair, *options: str, **popen: Any) -> subprocess.Popen[bytes]:
    """`dunlin sync` of the pair, in the background."""
    process = start("sync", *options, pair.source, pair.target, cwd=pair.cwd, **popen)
    _begun.append(process)
    return process


_begun: list[subprocess.Popen[bytes]] = []


def end_all() -> None:
    """Let nothing live that a failed test has left."""
    for process in _begun:
        process.kill()
        process.communicate()
    _begun.clear()


def until(
    true: Callable[[], Any],
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = 60,
    why: Callable[[], object] = lambda: "it did not come true",
) -> Any:
    """Wait for a condition, and return what it gave; the process must live meanwhile.

    `seconds`: the usual ones are only for a test that fails. `why`: what is told then.
    """
    deadline = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        if found := true():
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError((process.returncode, process.communicate(), why()))
        now = time.monotonic()
        assert now < deadline, why()
        time.sleep(max(0.01, now - begun))  # a look that costs much must not hold up what is looked at


def halted(count: Callable[[], int]) -> int:
    """How many there are, as soon as none has come for a second."""

    def found() -> tuple[int, ...]:
        before = count()
        time.sleep(1)
        return (before,) if count() == before else ()

    (there,) = until(found)
    return int(there)


def ended(process: subprocess.Popen[bytes], seconds: float = 20) -> tuple[int, str]:
    """Exit code and everything printed; no traceback may be part of it."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    told = (out + err).decode("utf-8", "replace")
    assert "Traceback" not in told, told
    return process.returncode, told


def movers(process: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the movers: the children that do not lead a session of their own, as the flusher does."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        children = psutil.Process(process.pid).children()
        return [c.pid for c in children if c.status() != psutil.STATUS_ZOMBIE and os.getsid(c.pid) != c.pid]
    return []


def copied(pair: Pair) -> int:
    """How many files have reached the destination under their names."""
    return sum(not name.startswith(".dunlin-") for _, _, files in os.walk(pair.target) for name in files)


def kill(pid: int) -> None:
    """End a process without warning, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# ---- the state file ----


def ask(pair: Pair, sql: str, *values: object, name: str = ".sync-state.db") -> list[Any]:
    """Rows from the state file."""
    with contextlib.closing(sqlite3.connect(pair.cwd / name)) as db, db:
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return db.execute(sql, values).fetchall()


def check_state(pair: Pair) -> None:
    """The state file is sound, and says that everything is done."""
    assert ask(pair, "PRAGMA integrity_check") == [("ok",)]
    assert ask(pair, "SELECT DISTINCT status FROM file") in ([], [(1,)])
    assert ask(pair, "SELECT DISTINCT status FROM directory") == [(2,)]
    assert ask(pair, "SELECT status FROM run ORDER BY id DESC LIMIT 1") == [("completed",)]


def check_true(pair: Pair) -> None:
    """Whatever the state calls synced is at the destination, whole and with its time."""
    rows = ask(
        pair,
        "SELECT d.path, f.name, f.size, f.mtime FROM file AS f JOIN directory AS d ON d.id = f.directory_id"
        " WHERE f.status = 1",
    )
    for directory, name, size, mtime in rows:
        there = (pair.target / directory / name).stat()
        assert (there.st_size, there.st_mtime_ns) == (size, mtime), f"{directory}/{name}"


def told(pair: Pair, *options: str, expect: int | None = 0, timeout: float = 60) -> dict[str, Any]:
    """A run's JSON summary; `stderr` holds what else it said."""
    done = dunlin(
        "sync", "--json", *options, pair.source, pair.target, cwd=pair.cwd, expect=expect, timeout=timeout
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    summary["stderr"] = done.stderr
    return summary


def complete(pair: Pair, *options: str, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """One more run ends well: trees are identical and nothing is left over."""
    summary = told(pair, *options)
    same(pair.source.resolve(), pair.target, ignore)
    assert not temporaries(pair.target)
    return summary


# ---- mounts ----


def _run(*words: str | Path) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


@contextlib.contextmanager
def tmpfs(where: Path, options: str) -> Iterator[Path]:
    """A file system in memory, mounted at `where` (made if it is missing)."""
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)


def remount(where: Path, options: str) -> None:
    """Change a mount: its size, read-only."""
    _run("mount", "-o", f"remount,{options}", where)


@contextlib.contextmanager
def in_memory(where: Path) -> Iterator[Path]:
    """A directory in memory where we may mount one, else a plain one: nobody waits for the disk to be flushed."""
    where.mkdir(parents=True, exist_ok=True)
    with tmpfs(where, "size=1g") if os.geteuid() == 0 else contextlib.nullcontext(where):
        try:
            yield where
        finally:
            end_all()


@contextlib.contextmanager
def ext4(where: Path, image: Path, megabytes: int) -> Iterator[Path]:
    """An ext4 file system of that size in the file `image`, mounted at `where`."""
    where.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
    _run("mount", "-o", "loop", image, where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)
