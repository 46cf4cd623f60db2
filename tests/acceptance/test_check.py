"""`dunlin check`: the same merge without moving anything."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import make, snapshot
from tests.fuse.slowfs import mounted

root = pytest.mark.root
fuse = pytest.mark.fuse


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal trees, made without dunlin."""
    content = {"a": b"1", "sub/b": b"22", "sub/deep/c": b"333", "empty": None, "zero": b""}
    for side in ("source", "destination"):
        make(tmp_path / side, content)
        (tmp_path / side / "link").symlink_to("sub/b")
    return tmp_path / "source", tmp_path / "destination"


def check(pair: tuple[Path, Path], *more: str | Path, expect: int, **options: Any) -> tuple[set[str], dict[str, int]]:
    """The lines, and the counts of a second call with --json, which must agree."""
    cwd = pair[0].parent
    before = snapshot(cwd)
    plain = dunlin("check", *more, *pair, cwd=cwd, expect=expect, **options)
    machine = dunlin("check", "--json", *more, *pair, cwd=cwd, expect=expect, **options)
    assert snapshot(cwd) == before, "a check writes nothing"
    told = json.loads(machine.stdout)
    assert told["exit_code"] == expect
    assert told["mode"] == "check"
    lines = plain.stdout.splitlines()
    return {line for line in lines if line.split()[0] in ("differ", "missing", "extra")}, told["stats"]


def differences(stats: dict[str, int]) -> tuple[int, ...]:
    return tuple(
        stats[name]
        for name in ("equal_files", "differing_files", "missing_files", "missing_directories", "extra_files",
                     "extra_directories")
    )  # fmt: skip


def test_equal_trees(pair: tuple[Path, Path]) -> None:
    lines, stats = check(pair, "-a", expect=0)
    assert lines == set()
    assert differences(stats) == (5, 0, 0, 0, 0, 0)
    summary = dunlin("check", "-a", *pair, cwd=pair[0].parent).stdout
    assert "in sync: 5 matched, 0 differ" in summary


def test_every_kind_of_difference(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (source / "a").write_bytes(b"longer")
    make(source, {"new/dir/file": b"x", "only-here": b"y"}, mtime=None)
    make(destination, {"old/dir/file": b"x", "only-there": b"y"}, mtime=None)
    lines, stats = check(pair, expect=3)
    assert lines == {
        "differ a", "missing new", "missing new/dir", "missing new/dir/file", "missing only-here",
        "extra old", "extra old/dir", "extra old/dir/file", "extra only-there",
    }  # fmt: skip
    assert differences(stats) == (3, 1, 2, 2, 2, 2)
    lines, stats = check(pair, "--one-way", expect=3)
    assert not [line for line in lines if line.startswith("extra")]
    assert differences(stats) == (3, 1, 2, 2, 0, 0)
    quiet = dunlin("check", "-q", *pair, cwd=source.parent, expect=3)
    assert quiet.stdout == ""


def test_one_way_ignores_what_only_the_destination_has(pair: tuple[Path, Path]) -> None:
    make(pair[1], {"more/files": b""}, mtime=None)
    check(pair, expect=3)
    check(pair, "--one-way", expect=0)


def test_kinds_that_differ(pair: tuple[Path, Path]) -> None:
    destination = pair[1]
    (destination / "a").unlink()
    make(destination, {"a/inner": b"x"}, mtime=None)
    (destination / "sub/b").unlink()
    (destination / "sub/b").symlink_to("deep")
    (destination / "empty").rmdir()
    (destination / "empty").write_bytes(b"")
    lines, stats = check(pair, "-a", expect=3)
    assert lines == {"differ a", "extra a/inner", "differ sub/b", "differ empty"}
    assert differences(stats) == (3, 3, 0, 0, 1, 0)
    lines, _ = check(pair, "-a", "--one-way", expect=3)
    assert lines == {"differ a", "differ sub/b", "differ empty"}


def test_links(pair: tuple[Path, Path]) -> None:
    destination = pair[1]
    (destination / "link").unlink()
    (destination / "link").symlink_to("elsewhere")
    check(pair, expect=0)  # without -l they do not take part
    lines, _ = check(pair, "-l", expect=3)
    assert lines == {"differ link"}


def test_names_of_one_file(pair: tuple[Path, Path]) -> None:
    """With -H names that are one file at the source and not at the destination differ; without it nothing changes."""
    for side in pair:
        (side / "sub/b2").unlink(missing_ok=True)
        os.link(side / "sub/b", side / "sub/b2")
        os.link(side / "a", side / "sub/a2")
    source, destination = pair
    make(source, {"x": b"x"})
    make(destination, {"x": b"x", "y": b"x"})
    os.link(source / "x", source / "y")
    os.link(source / "x", source / "z")
    lines, stats = check(pair, "-aH", expect=3)
    assert lines == {"differ y (no hard link of x)", "missing z"}
    assert differences(stats) == (8, 1, 1, 0, 0, 0)
    lines, stats = check(pair, "-a", expect=3)
    assert lines == {"missing z"}
    assert differences(stats) == (9, 0, 1, 0, 0, 0)
    dunlin("sync", "-aH", "--state-db=none", *pair, cwd=source.parent, expect=0)
    lines, stats = check(pair, "-aH", "--compare=checksum", expect=0)
    assert differences(stats) == (10, 0, 0, 0, 0, 0)
    # What differs in content is told once.
    (destination / "sub/a2").unlink()
    make(destination, {"sub/a2": b"other"})
    lines, stats = check(pair, "-aH", expect=3)
    assert lines == {"differ sub/a2"}
    assert differences(stats)[:2] == (9, 1)


def test_links_of_several_names(pair: tuple[Path, Path]) -> None:
    for side in pair:
        os.link(side / "link", side / "link2", follow_symlinks=False)
    check(pair, "-aH", expect=0)
    (pair[1] / "link2").unlink()
    os.symlink("sub/b", pair[1] / "link2")
    lines, _ = check(pair, "-aH", expect=3)
    assert lines == {"differ link2 (no hard link of link)"}
    check(pair, "-a", expect=0)


@root
def test_special_files(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    os.mkfifo(source / "fifo")
    os.mknod(source / "device", 0o600 | 0o020000, os.makedev(1, 3))
    os.mknod(destination / "device", 0o600 | 0o020000, os.makedev(1, 5))
    check(pair, expect=0)
    lines, _ = check(pair, "-D", expect=3)
    assert lines == {"missing fifo", "differ device"}


@root
@pytest.mark.parametrize("how", [(), ("--compare=checksum",)])
def test_modes_and_owners_count_where_they_are_kept(pair: tuple[Path, Path], how: tuple[str, ...]) -> None:
    destination = pair[1]
    (destination / "a").chmod(0o600)
    os.chown(destination / "sub/b", 4711, -1)
    os.chown(destination / "sub/deep/c", -1, 4711)
    check(pair, *how, expect=0)
    assert check(pair, *how, "-p", expect=3)[0] == {"differ a"}
    assert check(pair, *how, "-o", expect=3)[0] == {"differ sub/b"}
    assert check(pair, *how, "-g", expect=3)[0] == {"differ sub/deep/c"}
    assert check(pair, *how, "-a", expect=3)[0] == {"differ a", "differ sub/b", "differ sub/deep/c"}


def test_modes_of_directories_count_where_they_are_kept(pair: tuple[Path, Path]) -> None:
    (pair[1] / "sub/deep").chmod(0o700)
    check(pair, expect=0)
    assert check(pair, "-p", expect=3)[0] == {"differ sub/deep"}


def test_checksum_reads_both_sides(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    stamp = (source / "sub/b").stat().st_mtime_ns
    (destination / "sub/b").write_bytes(b"2X")
    os.utime(destination / "sub/b", ns=(stamp, stamp))
    check(pair, expect=0)
    lines, stats = check(pair, "-c", expect=3)
    assert lines == {"differ sub/b"}
    assert stats["verified_files"] == 3
    for algorithm in ("md5", "sha1", "sha256", "blake2b", "blake3", "xxh3", "crc64", "none"):
        assert check(pair, "-c", "--checksum", algorithm, expect=3)[0] == {"differ sub/b"}, algorithm


def test_times_count_only_where_they_are_compared(pair: tuple[Path, Path]) -> None:
    os.utime(pair[1] / "a")
    assert check(pair, expect=3)[0] == {"differ a"}
    check(pair, "--size-only", expect=0)
    check(pair, "--compare=checksum", expect=0)
    check(pair, "--modify-window", "100000d", expect=0)


def test_filters_and_the_report_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    make(pair[0], {"one\ttab": b"", "two\nlines": b"", "skip.log": b""}, mtime=None)
    (pair[1] / "a").unlink()
    make(pair[1], {"extra.txt": b""}, mtime=None)
    dunlin("check", "--exclude=*.log", "--report-file", tmp_path / "report", *pair, cwd=tmp_path, expect=3)
    assert sorted((tmp_path / "report").read_text().splitlines()) == [
        "extra\textra.txt", "missing\ta", "missing\tone\\ttab", "missing\ttwo\\nlines", "skip\tlink",
    ]  # fmt: skip


def test_places_that_are_not_there(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for places in ((pair[0], tmp_path / "none"), (tmp_path / "none", pair[1])):
        done = dunlin("check", *places, cwd=tmp_path, expect=1)
        assert "there is no such directory" in done.stderr
        assert not (tmp_path / "none").exists()


@root
def test_what_cannot_be_read_is_23_and_not_equal(pair: tuple[Path, Path]) -> None:
    source, destination = pair
    (destination / "sub").chmod(0)
    done = dunlin("check", source, destination, cwd=source.parent, expect=23, prefix=UNPRIVILEGED)
    assert "sub" in done.stderr
    assert "not fully compared" in done.stdout
    assert "missing sub/b" not in done.stdout, "what could not be looked at is not missing"
    (destination / "sub").chmod(0o755)
    (source / "sub/b").chmod(0)
    dunlin("check", "-c", source, destination, cwd=source.parent, expect=23, prefix=UNPRIVILEGED)


@fuse
def test_io_errors_of_the_destination_are_23(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with mounted(pair[1], tmp_path / "mnt", errors={"read:sub/b": errno.EIO}) as mount:
        done = dunlin("check", "-c", pair[0], mount.path, cwd=tmp_path, expect=23)
        assert "sub/b" in done.stderr
        assert "1 could not be read" in done.stdout
