"""Which names take part, from the command line to the trees."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import make, names, random_tree, snapshot
from tests.fuse.slowfs import mounted

root = pytest.mark.root
fuse = pytest.mark.fuse

HOUR, DAY = 3600, 86400


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small project."""
    return make(
        tmp_path / "source",
        {
            "readme.txt": b"r", "build/out.o": b"o", "build/keep.txt": b"k", "src/main.c": b"m", "src/main.o": b"o",
            "src/deep/util.c": b"u", "src/deep/note.txt": b"n", "photos/a.JPG": b"j", "photos/b.jpg": b"j",
            "empty": None, "cache/x/y": b"c",
        },
    )  # fmt: skip


DIRECTORIES = {"build", "src", "src/deep", "photos", "empty", "cache", "cache/x"}


def taken(source: Path, *options: str | Path, expect: int = 0, **more: Any) -> set[str]:
    """The files that a first sync with these options copies; the directories without files are left out."""
    destination = source.parent / "destination"
    dunlin("sync", *options, source, destination, cwd=source.parent, expect=expect, **more)
    return {name for name in names(destination) if not (destination / name).is_dir()}


ALL = {"readme.txt", "build/out.o", "build/keep.txt", "src/main.c", "src/main.o", "src/deep/util.c",
       "src/deep/note.txt", "photos/a.JPG", "photos/b.jpg", "cache/x/y"}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--exclude=*.o"], ALL - {"build/out.o", "src/main.o"}),
        (["--include=src/main.o", "--exclude=*.o"], ALL - {"build/out.o"}),
        (["--exclude=*.o", "--include=src/main.o"], ALL - {"build/out.o", "src/main.o"}),
        (["--exclude", "*.o", "--include", "src/main.o"], ALL - {"build/out.o", "src/main.o"}),
        (["--include=*.txt", "--exclude=*"], {"readme.txt", "build/keep.txt", "src/deep/note.txt"}),
        (["--exclude=*", "--include=*.txt"], set()),
        (["--exclude=/build"], ALL - {"build/out.o", "build/keep.txt"}),
        (["--include=build/keep.txt", "--exclude=/build"], ALL - {"build/out.o", "build/keep.txt"}),
        (["--include=build/keep.txt", "--exclude=/build/*"], ALL - {"build/out.o"}),
        (["--exclude=deep/"], ALL - {"src/deep/util.c", "src/deep/note.txt"}),
        (["--exclude=readme.txt/"], ALL),
        (["--exclude=src/**/*.c"], ALL - {"src/main.c", "src/deep/util.c"}),
        (["--include=*.jpg", "--exclude=*"], {"photos/b.jpg"}),
        (["--ignore-case", "--include=*.jpg", "--exclude=*"], {"photos/a.JPG", "photos/b.jpg"}),
        (["--max-depth=1"], {"readme.txt"}),
        (["--max-depth=2"], ALL - {"src/deep/util.c", "src/deep/note.txt", "cache/x/y"}),
        (["--include=/src/***", "--exclude=*"], {"src/main.c", "src/main.o", "src/deep/util.c", "src/deep/note.txt"}),
        (["--exclude=[!r]*.txt"], ALL - {"build/keep.txt", "src/deep/note.txt"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_the_first_match_wins(source: Path, options: list[str], expected: set[str]) -> None:
    assert taken(source, *options) == expected


def test_rules_from_files_keep_their_place_among_the_others(source: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("# a comment\n\nsrc/main.o\n")
    (tmp_path / "out").write_text("*.o\r\n*.c\n")
    expected = ALL - {"build/out.o", "src/main.c", "src/deep/util.c"}
    assert taken(source, "--include-from", tmp_path / "in", "--exclude-from", tmp_path / "out") == expected


def test_rules_from_files_in_the_other_order(source: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("src/main.o\n")
    (tmp_path / "out").write_text("*.o\n")
    expected = ALL - {"build/out.o", "src/main.o"}
    assert taken(source, "--exclude-from", tmp_path / "out", "--include-from", tmp_path / "in") == expected


def test_filter_from(source: Path, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("+ *.c\n# no objects\n- *.o\n- /cache\n")
    assert taken(source, "--filter-from", tmp_path / "rules") == ALL - {"build/out.o", "src/main.o", "cache/x/y"}


def test_an_exclamation_mark_forgets_what_stood_before(source: Path, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("!\n- *.txt\n")
    expected = {name for name in ALL if not name.endswith(".txt")}
    assert taken(source, "--exclude=*.o", "--filter-from", tmp_path / "rules") == expected


@pytest.mark.parametrize("how", ["lines", "zero", "stdin", "stdin-zero"])
def test_files_from(source: Path, tmp_path: Path, how: str) -> None:
    listed = ["src/main.c", "./build/", "/photos/b.jpg"]
    data = ("\0" if "zero" in how else "\n").join(["", *listed] if "zero" not in how else listed).encode()
    (tmp_path / "list").write_bytes(data)
    where = "-" if how.startswith("stdin") else str(tmp_path / "list")
    got = taken(source, "--files-from", where, input=data if where == "-" else None)
    assert got == {"src/main.c", "build/out.o", "build/keep.txt", "photos/b.jpg"}
    assert names(tmp_path / "destination") == got | {"src", "build", "photos"}


def test_names_in_a_list_may_be_odd(source: Path, tmp_path: Path) -> None:
    odd = ["new\nline", "\udcff\udcfe", " spaces ", "*.o", "é"]
    make(source, dict.fromkeys(odd, b"x"), mtime=None)
    data = "\0".join(odd).encode("utf-8", "surrogateescape")
    assert taken(source, "--files-from", "-", input=data) == set(odd)


def test_rules_apply_to_what_is_listed_too(source: Path, tmp_path: Path) -> None:
    assert taken(source, "--files-from=-", "--exclude=*.o", input=b"build\nsrc/main.o\n") == {"build/keep.txt"}


def test_a_listed_file_that_is_missing_is_reported_and_the_others_are_copied(source: Path, tmp_path: Path) -> None:
    data = b"src/main.c\nsrc/nothing.c\nnowhere/at/all\nreadme.txt\n"
    destination = tmp_path / "destination"
    done = dunlin("sync", "--json", "--files-from=-", source, destination, cwd=tmp_path, expect=23, input=data)
    assert "src/nothing.c" in done.stderr
    assert "nowhere/at/all" in done.stderr
    assert json.loads(done.stdout)["stats"]["failed_files"] == 2
    assert names(destination) == {"src", "src/main.c", "readme.txt"}


def test_a_listed_file_that_a_rule_excludes_is_not_missing(source: Path) -> None:
    assert taken(source, "--files-from=-", "--exclude=*.o", input=b"src/main.o\nsrc/main.c\n") == {"src/main.c"}


def test_a_list_protects_what_is_not_in_it_from_deletion(source: Path, tmp_path: Path) -> None:
    destination = make(tmp_path / "destination", {"src/old": b"", "build/old": b"", "old": b""})
    options = ("-a", "--delete-extras", "--files-from=-")
    dunlin("sync", *options, source, destination, cwd=tmp_path, expect=0, input=b"build")
    assert names(destination) == {"src", "src/old", "old", "build", "build/out.o", "build/keep.txt"}


# ---- sizes and ages ----


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--min-size=1K"], {"1024", "1025", "1000000"}),
        (["--min-size=1KB"], {"1000", "1023", "1024", "1025", "1000000"}),
        (["--max-size=1K"], {"0", "1", "1000", "1023", "1024"}),
        (["--min-size=1", "--max-size", "1023"], {"1", "1000", "1023"}),
        (["--max-size=0"], {"0"}),
        (["--min-size=0.9M"], {"1000000"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_sizes(tmp_path: Path, options: list[str], expected: set[str]) -> None:
    sizes = (0, 1, 1000, 1023, 1024, 1025, 1_000_000)
    source = make(tmp_path / "source", {str(size): bytes(size) for size in sizes})
    assert taken(source, *options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--min-age=2h"], {"days", "years"}),
        (["--max-age=2h"], {"now", "hour", "future"}),
        (["--min-age=2d", "--max-age=30d"], {"days"}),
        (["--max-age=2001-01-01"], {"now", "hour", "days", "future"}),
        (["--min-age=2001-01-01"], {"years"}),
        (["--min-age=0s"], {"now", "hour", "days", "years"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_ages(tmp_path: Path, options: list[str], expected: set[str]) -> None:
    now = time.time()
    ages = {"now": 1, "hour": HOUR, "days": 10 * DAY, "future": -DAY}
    source = make(tmp_path / "source", dict.fromkeys([*ages, "years"], b"x"))
    for name, age in ages.items():
        os.utime(source / name, (now - age, now - age))
    os.utime(source / "years", (800_000_000, 800_000_000))
    assert taken(source, *options) == expected


def test_directories_are_made_whatever_their_age_and_size(source: Path, tmp_path: Path) -> None:
    assert taken(source, "--min-size=1G") == set()
    assert names(tmp_path / "destination") == DIRECTORIES


# ---- excluded directories are not entered ----


@root
def test_an_excluded_directory_that_cannot_be_read_is_no_error(source: Path) -> None:
    (source / "cache").chmod(0)
    expected = ALL - {"cache/x/y"}
    assert taken(source, "--exclude=/cache/", prefix=UNPRIVILEGED) == expected
    (source / "src/deep").chmod(0)
    assert taken(source, "--exclude=/cache/", "--max-depth=2", prefix=UNPRIVILEGED) == expected


@fuse
def test_excluded_directories_are_not_listed_on_either_side(source: Path, tmp_path: Path) -> None:
    make(tmp_path / "backing", {"cache/x/y": b"old"})
    errors = {"readdir:cache*": errno.EIO, "open:cache*": errno.EIO}
    with mounted(source, tmp_path / "here", errors=errors) as here:  # noqa: SIM117
        with mounted(tmp_path / "backing", tmp_path / "there", errors=errors) as there:
            told = dunlin(
                "sync", "-a", "--json", "--delete-extras", "--exclude=/cache", here.path, there.path,
                cwd=tmp_path, expect=0,
            )  # fmt: skip
    assert json.loads(told.stdout)["stats"]["failed_directories"] == 0
    assert (tmp_path / "backing/cache/x/y").read_bytes() == b"old"
    assert (tmp_path / "backing/src/deep/util.c").exists()


# ---- changed filters ----


def test_changed_filters_scan_again_and_say_so(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "destination"
    arguments = ("-a", source, destination)
    first = dunlin("sync", "--exclude=*.o", *arguments, cwd=tmp_path, expect=0)
    assert "other files are selected" not in first.stderr
    second = dunlin("sync", "--trust-state", *arguments, cwd=tmp_path, expect=0)
    assert "other files are selected" in second.stderr
    assert snapshot(source) == snapshot(destination)
    third = dunlin("sync", *arguments, cwd=tmp_path, expect=0)
    assert "other files are selected" not in third.stderr


def test_the_same_filters_in_other_words_need_no_new_scan(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "destination"
    (tmp_path / "rules").write_text("- *.o\n")
    dunlin("sync", "-a", "--exclude=*.o", source, destination, cwd=tmp_path, expect=0)
    done = dunlin("sync", "-a", "--filter-from", "rules", source, destination, cwd=tmp_path, expect=0)
    assert "other files are selected" not in done.stderr


# ---- the same as rsync ----


PATTERNS = ("a", "/b", "c/", "a/b", "/a/*", "d*", "*/e", "a/**", "[a-c]", "/c/***", "?", "**/f")


@pytest.mark.parametrize("seed", range(12))
def test_a_mirror_of_random_trees_is_what_rsync_makes(tmp_path: Path, seed: int) -> None:
    """Two random trees that share many names, random rules: both programs must leave the same behind."""
    assert shutil.which("rsync"), "this test needs rsync: apt-get install rsync"
    chance = random.Random(seed)
    source, ours, theirs = (tmp_path / name for name in ("source", "ours", "theirs"))
    random_tree(source, chance)
    random_tree(ours, chance)
    for tree in (source, ours):  # rsync compares whole seconds
        for path in sorted([tree, *tree.rglob("*")], reverse=True):
            stamp = min(path.lstat().st_mtime_ns // 10**9, 1_650_000_000) * 10**9
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)
    subprocess.run(["cp", "-a", ours, theirs], check=True)
    rules = [f"--{chance.choice(['include', 'exclude', 'exclude'])}={chance.choice(PATTERNS)}" for _ in range(3)]
    more = chance.choice([["--delete-excluded"], ["--size-only"], ["-u"], ["-c"], ["-H"], []])
    rsync = ["rsync", "-a", "--delete", "--force", *rules, *more, f"{source}/", f"{theirs}/"]
    peer = subprocess.run(rsync, capture_output=True, text=True)
    done = dunlin("sync", "-a", "--delete-extras", *rules, *more, source, ours, cwd=tmp_path)
    if peer.returncode == 23 == done.returncode:
        # A directory that the filters protect stands where a file belongs: rsync empties it as far as it may.
        assert "the filters protect" in done.stderr
        return
    assert (peer.returncode, done.returncode) == (0, 0), peer.stderr + done.stderr
    # What is left of a directory that is otherwise deleted has no times to be given.
    only_there = {name for name, fact in snapshot(source).items() if fact.kind == "directory"}
    result, expected = snapshot(ours), snapshot(theirs)
    assert result.keys() == expected.keys(), (rules, more)
    for name, fact in result.items():
        if fact.kind != "directory" or name in only_there:
            assert fact == expected[name], (name, rules, more)


# ---- what cannot be used ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--exclude", "["], ["--exclude", "'['", "bracket"]),
        (["--include", ""], ["--include", "empty"]),
        (["--exclude", "a/../b"], ["'..'"]),
        (["--exclude-from", "missing"], ["missing", "No such file"]),
        (["--filter-from", "bad"], ["bad", "line 2", "no sign"]),
        (["--include-from", "pattern"], ["pattern", "line 1"]),
        (["--files-from", "missing"], ["missing", "No such file"]),
        (["--files-from", "out"], ["out", "line 2", "leads out of the source"]),
        (["--files-from", "."], ["Is a directory"]),
        (["--min-size", "big"], ["--min-size", "'big'"]),
        (["--max-size", "-1"], ["--max-size"]),
        (["--min-size", "2K", "--max-size", "1K"], ["--min-size is larger"]),
        (["--max-age", "soon"], ["--max-age", "soon"]),
        (["--max-depth", "0"], ["--max-depth"]),
        (["--max-depth", "x"], ["--max-depth"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_one_clear_line_and_exit_1(source: Path, tmp_path: Path, options: list[str], words: list[str]) -> None:
    (tmp_path / "bad").write_text("+ fine\nno sign\n")
    (tmp_path / "pattern").write_text("[\n")
    (tmp_path / "out").write_text("fine\n../../etc/passwd\n")
    done = dunlin("sync", *options, source, tmp_path / "destination", cwd=tmp_path, expect=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("dunlin: ")
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "destination").exists()
