"""--dry-run: it tells what the real run then does, and writes nothing at all."""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import make, names, random_tree, snapshot
from tests.fuse.slowfs import mounted

root = pytest.mark.root
fuse = pytest.mark.fuse

TIME = 1_600_000_000.25


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A pair on which every action is called for."""
    source = make(
        tmp_path / "source",
        {"new": b"1", "changed": b"22", "equal": b"=", "sub/new-dir/f": b"3", "sub/e": b"4", "file-here": b"5",
         "dir-here/f": b"6", "mode": b"7", "no.log": b"8"},
    )  # fmt: skip
    (source / "link").symlink_to("new")
    (source / "same-link").symlink_to("new")
    os.mkfifo(source / "fifo")
    (source / "mode").chmod(0o751)
    destination = make(
        tmp_path / "destination",
        {"changed": b"old", "equal": b"=", "sub/e": b"4", "file-here/inner": b"x", "dir-here": b"x", "mode": b"7",
         "extra": b"x", "extra-dir/f": b"x"},
    )  # fmt: skip
    (destination / "same-link").symlink_to("new")
    stamp = (source / "same-link").lstat().st_mtime_ns
    os.utime(destination / "same-link", ns=(stamp, stamp), follow_symlinks=False)
    return source, destination


def plan(pair: tuple[Path, Path], *more: str | Path, expect: int = 0) -> dict[str, str]:
    """path -> verb of every line that the plan prints; nothing below the working directory may change by it."""
    source, destination = pair
    cwd = source.parent
    before = snapshot(cwd)
    done = dunlin("sync", "-n", *more, source, destination, cwd=cwd, expect=expect)
    assert snapshot(cwd) == before
    lines = done.stdout.splitlines()[:-1]
    verbs = ("copy", "update", "make directory", "make link", "make special file", "delete", "set metadata of")
    found = {}
    for line in lines:
        for verb in verbs:
            if line.startswith(f"{verb} "):
                found[line.removeprefix(f"{verb} ")] = verb
    return found


def test_every_action_is_told(pair: tuple[Path, Path]) -> None:
    assert plan(pair, "-a", "--delete-extras", "--exclude=*.log") == {
        "new": "copy",
        "changed": "update",
        "sub/new-dir": "make directory",
        "sub/new-dir/f": "copy",
        "file-here": "update",
        "file-here/inner": "delete",
        "dir-here": "make directory",
        "dir-here/f": "copy",
        "mode": "set metadata of",
        "link": "make link",
        "fifo": "make special file",
        "extra": "delete",
        "extra-dir": "delete",
        "extra-dir/f": "delete",
    }


def test_without_deletes_nothing_is_to_be_deleted(pair: tuple[Path, Path]) -> None:
    told = plan(pair, "-a", expect=23)  # the full directory in the way of `file-here` fails, as in the real run
    assert "delete" not in told.values()
    assert "file-here" not in told


def test_summary_and_json(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    before = snapshot(source.parent)
    arguments = ("sync", "-n", "-a", "--delete-extras", source, destination)
    summary = dunlin(*arguments, cwd=source.parent, expect=0).stdout.splitlines()
    assert any(line.startswith("would copy ") and "delete 5" in line for line in summary)
    done = dunlin(*arguments, "--json", cwd=source.parent, expect=0)
    told = json.loads(done.stdout)
    assert told["mode"] == "plan"
    assert told["run"] is None
    assert (told["stats"]["extra_files"], told["stats"]["extra_directories"]) == (3, 2)
    assert "delete extra-dir/f" in done.stderr
    assert snapshot(source.parent) == before


def test_an_unchanged_pair_has_an_empty_plan(pair: tuple[Path, Path]) -> None:
    dunlin("sync", "-a", "--delete-extras", *pair, cwd=pair[0].parent, expect=0)
    assert plan(pair, "-a", "--delete-extras") == {}


@pytest.mark.parametrize(
    "more",
    [
        ("--state-db", "state.db"),
        ("--log-file", "audit.log"),
        ("--backup-dir", ".kept", "--delete-extras"),
        ("--backup-dir", "../kept", "--delete-extras"),
        ("--scan-first", "--fsync=file"),
        ("--bwlimit=1M",),
        ("--trust-state",),
    ],
)
def test_nothing_at_all_is_written(pair: tuple[Path, Path], more: tuple[str, ...]) -> None:
    assert plan(pair, "-a", "--exclude=file-here", *more)


def test_a_missing_destination_is_not_made(pair: tuple[Path, Path]) -> None:
    nowhere = pair[0].parent / "nowhere"
    told = plan((pair[0], nowhere), "-a")
    assert set(told) == names(pair[0])
    assert not nowhere.exists()


def test_a_state_of_earlier_runs_stays_as_it_is(pair: tuple[Path, Path]) -> None:
    dunlin("sync", "-a", "--delete-extras", *pair, cwd=pair[0].parent, expect=0)
    (pair[0] / "new").write_bytes(b"newer")
    assert plan(pair, "-a") == {"new": "update"}


def test_the_report_file_that_was_asked_for_is_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = tmp_path / "report"
    dunlin("sync", "-n", "-a", "--delete-extras", "--report-file", report, *pair, cwd=tmp_path, expect=0)
    lines = report.read_text().splitlines()
    assert "copy\tnew" in lines
    assert "delete\textra-dir/f" in lines


def test_a_plan_that_would_delete_too_much_says_so(pair: tuple[Path, Path]) -> None:
    source = pair[0]
    before = snapshot(source.parent)
    done = dunlin("sync", "-n", "-a", "--delete-extras", "--max-delete=2", *pair, cwd=source.parent, expect=25)
    assert "--max-delete 2" in done.stderr
    assert snapshot(source.parent) == before


def test_a_plan_of_an_empty_source_says_that_nothing_would_be_deleted(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    empty = make(source.parent / "empty", {})
    done = dunlin("sync", "-n", "-a", "--delete-extras", empty, destination, cwd=source.parent)
    assert "is it mounted?" in done.stderr


@root
def test_what_cannot_be_read_is_23_and_told(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (source / "sub").chmod(0)
    done = dunlin(
        "sync", "-n", "-a", "--delete-extras", source, destination, cwd=source.parent, expect=23, prefix=UNPRIVILEGED
    )
    assert "sub" in done.stderr
    assert "delete sub" not in done.stdout


@fuse
def test_a_destination_that_cannot_be_listed_is_23(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with mounted(pair[1], tmp_path / "mnt", errors={"readdir:sub": errno.EIO}) as mount:
        done = dunlin("sync", "-n", "-a", pair[0], mount.path, cwd=tmp_path, expect=23)
    assert "copy sub/e" not in done.stdout


@fuse
def test_a_read_only_destination_can_be_planned_for(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with mounted(pair[1], tmp_path / "mnt", read_only=True) as mount:
        done = dunlin("sync", "-n", "-a", "--delete-extras", pair[0], mount.path, cwd=tmp_path, expect=0)
    assert "copy new" in done.stdout


# ---- the plan is what the real run does ----


@pytest.mark.parametrize("seed", range(8))
def test_the_plan_is_what_the_real_run_does(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    source, destination = tmp_path / "source", tmp_path / "destination"
    random_tree(source, chance)
    random_tree(destination, chance)
    more = chance.choice([["--exclude=a"], ["--exclude=/b", "--delete-excluded"], [], ["--size-only"], ["--update"],
                          ["-c"], ["--max-depth=2"], ["--min-size=1"]])  # fmt: skip
    options = ["-a", "--delete-extras", *more]
    told = plan((source, destination), *options, expect=0)
    before = {os.fsdecode(name): fact for name, fact in snapshot(destination).items()}
    # An open descriptor keeps the number of its inode from being given to another file.
    held = {path: os.open(destination / path, os.O_PATH | os.O_NOFOLLOW) for path in before}
    inodes = {path: os.fstat(fd).st_ino for path, fd in held.items()}
    dunlin("sync", *options, source, destination, cwd=tmp_path, expect=0)
    for fd in held.values():
        os.close(fd)
    after = {os.fsdecode(name): fact for name, fact in snapshot(destination).items()}

    def kind(path: str) -> str:
        return after[path].kind

    gone = {path for path in before if path not in after}
    # What is deleted and made again as another kind is in the plan as what it becomes.
    assert {path for path, verb in told.items() if verb == "delete"} == gone
    written = {path for path in after if inodes.get(path) != os.lstat(destination / path).st_ino}
    verbs = {"copy": "file", "update": "file", "make directory": "directory", "make link": "link",
             "make special file": "fifo"}  # fmt: skip
    assert {path: verbs[verb] for path, verb in told.items() if verb in verbs} == {p: kind(p) for p in written}
    touched = {path for path, verb in told.items() if verb == "set metadata of" and kind(path) != "directory"}
    kept = {path for path in after if path in before and path not in written and kind(path) != "directory"}
    assert {path for path in kept if after[path] != before[path]} == touched
    assert plan((source, destination), *options) == {}, "nothing is left to do"
