"""Directories that are not empty and stand where the source has something else: they go with the extras, or stay."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import Pair, make, names, same, snapshot, write

root = pytest.mark.root


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """`way` is a file at the source and a full directory at the destination."""
    made = Pair.make(tmp_path)
    make(made.source, {"way": b"file", "other": b"x", "d/way": b"below", "d/e": b"e"})
    make(made.target, {"way/sub/f": b"1", "way/g": b"2", "d/way/h": b"3", "d/e": b"e", "extra": b"4"})
    return made


def mirror(pair: Pair, *more: str | Path, expect: int, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    done = pair.sync("-a", "--delete-extras", "--json", *more, expect=expect, prefix=prefix)
    told: dict[str, Any] = json.loads(done.stdout)
    told["log"] = done.stderr
    return told


def kept(pair: Pair) -> None:
    assert {"way/sub/f", "way/g", "d/way/h", "extra"} <= names(pair.target)


def failed(pair: Pair) -> set[str]:
    database = sqlite3.connect(pair.cwd / ".sync-state.db")
    try:
        return {path for (path,) in database.execute("SELECT path FROM file_path WHERE status = 'failed'")}
    finally:
        database.close()


@pytest.mark.parametrize("movers", [(), ("--movers", "2", "--scan-first")])
def test_they_go_with_the_extras_and_the_files_come_in_the_same_run(pair: Pair, movers: tuple[str, ...]) -> None:
    make(pair.source, {f"many/{n}": b"n" for n in range(400 if movers else 3)})
    told = mirror(pair, *movers, expect=0)
    same(pair.source, pair.target)
    stats = told["stats"]
    assert (stats["deleted_files"], stats["deleted_directories"]) == (4, 3)
    assert stats["scanned_files"] == len([fact for fact in snapshot(pair.source).values() if fact.kind == "file"])
    assert stats["equal_files"] == 1
    assert stats["copied_files"] == stats["scanned_files"] - 1
    assert stats["failed_files"] == 0
    told = mirror(pair, expect=0)
    assert told["stats"]["equal_files"] == stats["scanned_files"]


def test_a_dry_run_counts_what_the_run_deletes(pair: Pair) -> None:
    told = mirror(pair, "--dry-run", expect=0)["stats"]
    assert (told["extra_files"], told["extra_directories"]) == (4, 3)
    assert mirror(pair, "--dry-run", "--max-delete=6", expect=25)
    done = mirror(pair, "--max-delete=6", expect=25)
    assert (done["stats"]["deleted_files"], done["stats"]["deleted_directories"]) == (0, 0)
    done = mirror(pair, "--max-delete=7", expect=0)
    assert (done["stats"]["deleted_files"], done["stats"]["deleted_directories"]) == (4, 3)


def test_too_many_extras_leave_all_of_them_and_say_why(pair: Pair) -> None:
    told = mirror(pair, "--max-delete=3", expect=25)
    kept(pair)
    assert told["stats"]["failed_files"] == 2
    for name in ("way", "d/way"):
        (line,) = [line for line in told["log"].splitlines() if f"cannot replace {name}:" in line]
        assert "a directory that is not empty stands where it belongs" in line
        assert "more than --max-delete 3" in line
    assert failed(pair) == {"way", "d/way"}
    assert {"other"} <= names(pair.target)


@root
def test_an_error_at_the_source_leaves_them_and_says_why(pair: Pair) -> None:
    make(pair.source, {"secret/f": b"s"})
    (pair.source / "secret").chmod(0)
    log = pair.root / "log"
    told = mirror(pair, "--log-file", log, "--log-file-format=json", expect=23, prefix=UNPRIVILEGED)
    kept(pair)
    assert failed(pair) == {"way", "d/way"}
    line = next(line for line in told["log"].splitlines() if "cannot replace way:" in line)
    assert "nothing is deleted in this run" in line
    assert "errors while reading the source" in line
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told_failed = {line["destination"].partition("/target/")[2] for line in lines if line["outcome"] == "failed"}
    assert told_failed == {"way", "d/way", "secret"}
    (pair.source / "secret").chmod(0o755)
    mirror(pair, expect=0)
    same(pair.source, pair.target)
    assert failed(pair) == set()


def test_everything_that_may_come_after_them(pair: Pair) -> None:
    """A link, a FIFO, a large file, and names of one file, of which another is there already, or none."""
    for name in ("link", "fifo", "large", "one", "two", "late"):
        make(pair.target, {f"{name}/in": b"x", f"{name}/deep/er/in": b"x"})
    (pair.source / "link").symlink_to("other")
    os.mkfifo(pair.source / "fifo")
    (pair.source / "large").write_bytes(os.urandom(9 << 20))
    write(pair.source / "one", "several names")
    os.link(pair.source / "one", pair.source / "two")
    os.link(pair.source / "other", pair.source / "late")
    told = mirror(pair, "-H", expect=0)
    same(pair.source, pair.target)
    assert told["stats"]["hard_links"] == 2
    assert mirror(pair, "-H", expect=0)["stats"]["copied_files"] == 0


def test_what_was_in_them_is_kept_in_the_backup_directory(pair: Pair) -> None:
    mirror(pair, "--backup-dir", "../kept", expect=0)
    same(pair.source, pair.target)
    assert {"way/sub/f", "way/g", "d/way/h", "extra"} <= names(pair.root / "kept")


def test_what_the_filters_protect_keeps_its_directory(pair: Pair) -> None:
    make(pair.target, {"way/sub/keep.log": b"log"})
    told = mirror(pair, "--exclude=*.log", expect=23)
    assert {"way/sub/f", "way/g", "way/sub/keep.log"} <= names(pair.target)
    assert "extra" not in names(pair.target)
    assert (pair.target / "d/way").read_bytes() == b"below"
    assert "the filters protect way/sub/keep.log" in told["log"]


def test_a_link_to_the_outside_is_not_followed_by_the_live_look(pair: Pair) -> None:
    """The source's own `way/sub/f` is reached through the link, and is none of its names."""
    make(pair.root / "outside", {"sub/f": b"1", "g": b"2"})
    (pair.source / "way").unlink()
    (pair.source / "way").symlink_to("../outside")
    mirror(pair, expect=0)
    same(pair.source, pair.target)
    assert names(pair.root / "outside") == {"sub", "sub/f", "g"}


def test_without_the_option_nothing_of_it_goes(pair: Pair) -> None:
    done = pair.sync("-a", expect=23)
    kept(pair)
    assert done.stderr.count("--delete-extras lets it be removed") == 2


def test_check_tells_what_stands_in_the_way(pair: Pair) -> None:
    done = dunlin("check", "-a", pair.source, pair.target, cwd=pair.cwd, expect=3)
    assert {"differ way", "extra way/g", "extra way/sub", "extra way/sub/f"} <= set(done.stdout.splitlines())
