"""The state file is locked, damaged, of another version, at a bad place, on a full disk; or lies within the trees."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin, environment
from tests.acceptance.trees import Pair, names, same, temporaries
from tests.acceptance.trouble import (
    ask,
    begin,
    check_state,
    complete,
    copied,
    ended,
    in_memory,
    many,
    remount,
    small,
    tmpfs,
    until,
)

pytestmark = [pytest.mark.slow]
root = pytest.mark.root
STATE = ".sync-state.db"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with in_memory(tmp_path / "pair") as place:
        pair = Pair.make(place)
        small(pair, 10, 5_000)
        yield pair


def refused(pair: Pair, *options: str | Path, code: int, state: str | Path = STATE) -> str:
    """A run that cannot begin: one line that names the file and what to do, and nothing is copied."""
    done = dunlin("sync", "-a", *options, pair.source, pair.target, cwd=pair.cwd, timeout=40)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("dunlin: ")]
    assert len(lines) == 1, done.stderr
    assert str(state) in lines[0]
    assert not pair.target.exists() or copied(pair) == 0
    assert not pair.target.exists() or not temporaries(pair.target)
    return lines[0]


# ---- damaged, strange, of another version ----


@pytest.mark.parametrize("how", ["garbage", "truncated", "zeros", "text"])
def test_damaged(pair: Pair, how: str) -> None:
    complete(pair, "-a")
    file = pair.cwd / STATE
    good = file.read_bytes()
    body = {
        "garbage": os.urandom(len(good)),
        "truncated": good[:4096] + good[4096 : len(good) // 2],
        "zeros": good[:100] + bytes(len(good) - 100),
        "text": b"not a database\n" * 100,
    }[how]
    file.write_bytes(body)
    (pair.source / "a" / "new").write_text("new")
    done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd)
    assert done.returncode in (1, 2), done.stderr
    lines = [line for line in done.stderr.splitlines() if STATE in line]
    assert lines, done.stderr
    assert "--state-db" in " ".join(lines) or "remove" in " ".join(lines) or "move" in " ".join(lines), done.stderr
    assert file.read_bytes()[:100] == body[:100], "it is the user's to throw away"
    assert not temporaries(pair.target)
    dunlin("status", cwd=pair.cwd)
    file.rename(pair.cwd / "damaged")
    complete(pair, "-a")
    check_state(pair)


def test_of_a_newer_version(pair: Pair) -> None:
    complete(pair, "-a")
    ask(pair, "PRAGMA user_version = 99")
    (pair.target / "a" / "f000").unlink()
    before = (pair.cwd / STATE).read_bytes()
    done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, expect=1)
    assert "newer dunlin (schema 99" in done.stderr
    assert "update dunlin" in done.stderr
    assert (pair.cwd / STATE).read_bytes() == before
    assert not (pair.target / "a" / "f000").exists()


def test_of_another_program(pair: Pair) -> None:
    with contextlib.closing(sqlite3.connect(pair.cwd / STATE)) as db, db:
        db.execute("CREATE TABLE photos (name TEXT)")
    assert "another program" in refused(pair, code=1)


def test_a_directory(pair: Pair) -> None:
    (pair.cwd / STATE).mkdir()
    assert "it is a directory" in refused(pair, code=1)


def test_in_a_directory_that_is_missing(pair: Pair) -> None:
    words = refused(pair, f"--state-db={pair.root}/none/here.db", code=1, state="here.db")
    assert "directory" in words.lower()


# ---- locked ----


def hold(file: Path) -> sqlite3.Connection:
    """Another process's transaction, as a backup program may have it."""
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    return db


def test_locked_for_good(pair: Pair) -> None:
    complete(pair, "-a")
    (pair.source / "a" / "new").write_text("new")
    with contextlib.closing(hold(pair.cwd / STATE)):
        begun = time.monotonic()
        done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, timeout=40)
        assert 5 < time.monotonic() - begun < 25
        assert done.returncode == 1, done.stderr
        assert STATE in done.stderr
        assert "locked" in done.stderr or "in use" in done.stderr
    assert complete(pair, "-a")["stats"]["copied_files"] == 1


def test_locked_for_a_while(pair: Pair) -> None:
    complete(pair, "-a")
    small(pair, 60)
    process = begin(pair, "-a", "--bwlimit=20M")
    until(lambda: copied(pair) > 15, process)
    with contextlib.closing(hold(pair.cwd / STATE)):
        time.sleep(1.5)
    code, words = ended(process)
    assert code == 0, words
    complete(pair, "-a")
    check_state(pair)


# ---- not writable ----


@root
def test_in_a_directory_that_cannot_be_written_the_default_moves(pair: Pair) -> None:
    pair.cwd.chmod(0o555)
    home = Path(environment(pair.cwd)["XDG_STATE_HOME"]) / "dunlin" / "sync-state.db"
    done = dunlin("sync", "-a", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED, expect=0)
    assert str(home) in done.stderr
    assert "cannot be written" in done.stderr
    assert home.exists()
    same(pair.source, pair.target)
    words = dunlin("status", cwd=pair.cwd, prefix=UNPRIVILEGED, expect=0)
    assert "completed" in words.stdout


@root
def test_a_file_that_cannot_be_written_and_was_asked_for(pair: Pair) -> None:
    complete(pair, "-a", "--state-db=mine.db")
    (pair.cwd / "mine.db").chmod(0o444)
    (pair.target / "a" / "f000").unlink()
    done = dunlin("sync", "-a", "--state-db=mine.db", pair.source, pair.target, cwd=pair.cwd, prefix=UNPRIVILEGED)
    assert done.returncode == 2, done.stderr
    assert "mine.db" in done.stderr
    assert not (pair.target / "a" / "f000").exists()


@root
def test_in_a_mount_that_is_read_only(pair: Pair) -> None:
    with tmpfs(pair.root / "ro", "ro,size=1m") as place:
        done = dunlin("sync", "-a", pair.source, pair.target, cwd=place, env={"HOME": str(pair.root)}, expect=0)
        assert "cannot be written" in done.stderr
    same(pair.source, pair.target)


# ---- within the trees ----


@pytest.mark.parametrize("side", ["source", "target", "both"])
@pytest.mark.parametrize("delete", [(), ("--delete-extras",)])
def test_our_own_files_are_never_part_of_a_tree(pair: Pair, side: str, delete: tuple[str, ...]) -> None:
    """With everything SQLite keeps beside it, the audit log, what it was rotated to, and the report file."""
    if side == "both":
        # the destination lies within the source, and the state within the destination
        inner = pair.source / "a" / "mirror"
        inner.mkdir()
        trees, at = (pair.source, inner), inner / "keep"
    else:
        pair.target.mkdir()
        trees, at = (pair.source, pair.target), (pair.source if side == "source" else pair.target) / "keep"
    at.mkdir()
    (at / "theirs").write_text("not ours")
    words = [
        "-a", *delete, f"--state-db={at}/state.db", f"--log-file={at}/audit.log", "--log-file-size=2000",
        f"--report-file={at}/report.txt",
    ]  # fmt: skip
    for n in range(3):
        (pair.source / "a" / f"more{n}").write_text("more")
        done = dunlin("sync", *words, *trees, cwd=pair.cwd, expect=0)
        assert "state.db" not in done.stderr
    ours = {"state.db", "audit.log", "audit.log.1", "report.txt"}
    there = set(os.listdir(at))
    assert ours <= there
    assert not [name for name in os.listdir(at) if name.startswith(".dunlin-")]
    other = (trees[1] if side == "source" else trees[0]) / "keep"
    copies = set(os.listdir(other)) if other.exists() else set()
    assert not {name for name in copies if name.startswith(("state.db", "audit.log", "report.txt"))}
    assert (at / "theirs").exists() is (side == "source" or not delete)
    assert sqlite3.connect(at / "state.db").execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_default_state_where_the_run_was_started_within_the_source(pair: Pair) -> None:
    for _ in range(2):
        dunlin("sync", "-a", "--delete-extras", ".", pair.target, cwd=pair.source, expect=0)
    assert STATE in os.listdir(pair.source)
    assert not any(STATE in name for name in names(pair.target))
    assert copied(pair) == 10


def test_another_file_of_the_same_name_is_somebody_elses(pair: Pair) -> None:
    (pair.source / "b" / STATE).write_text("of another tree")
    (pair.source / "b" / (STATE + "-wal")).write_text("of another tree")
    complete(pair, "-a", "--delete-extras")
    assert (pair.target / "b" / STATE).read_text() == "of another tree"


# ---- the disk of the state is full ----


@root
def test_full_disk_of_the_state(pair: Pair) -> None:
    many(pair.source / "more", wide=9_000)
    with tmpfs(pair.root / "tiny", "size=600k") as place:
        done = dunlin("sync", "-a", f"--state-db={place}/state.db", pair.source, pair.target, cwd=pair.cwd)
        assert done.returncode == 2, done.stderr
        line = next(line for line in (done.stdout + done.stderr).splitlines() if "state.db" in line)
        assert "full" in line or "space" in line.lower()
        assert not temporaries(pair.target)
        with contextlib.closing(sqlite3.connect(place / "state.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = db.execute(
                "SELECT d.path, f.name, f.size FROM file f JOIN directory d ON d.id = f.directory_id WHERE f.status = 1"
            ).fetchall()
        for directory, name, size in rows:
            assert (pair.target / directory / name).stat().st_size == size
        remount(place, "size=60m")
        dunlin("sync", "-a", f"--state-db={place}/state.db", pair.source, pair.target, cwd=pair.cwd, expect=0)
        with contextlib.closing(sqlite3.connect(place / "state.db")) as db:
            assert db.execute("SELECT count(*) FROM file WHERE status <> 1").fetchall() == [(0,)]
    same(pair.source, pair.target)
    assert not temporaries(pair.target)


@root
def test_no_room_for_the_state_from_the_start(pair: Pair) -> None:
    with tmpfs(pair.root / "tiny", "size=16k") as place:
        words = refused(pair, f"--state-db={place}/state.db", code=2, state="state.db")
        assert "full" in words or "space" in words.lower()
