"""Destinations that hold less than a POSIX file system: no case, no owners, coarse times; and writing in place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.trees import OLD, SECOND, Pair, change_times, names, same, temporaries, touched, write
from tests.fuse.slowfs import mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair.make(tmp_path)
    backing(pair).mkdir()
    return pair


def backing(pair: Pair) -> Path:
    """What the mount at `pair.target` shows."""
    return pair.root / "backing"


@pytest.fixture
def caseless(pair: Pair) -> Iterator[Pair]:
    """A pair whose destination takes `Readme` and `README` for one name."""
    with mounted(backing(pair), pair.target, case_insensitive=True, attr_timeout=0.0, entry_timeout=0.0):
        yield pair


# ---- case ----


@pytest.mark.parametrize("options", [["-a"], ["-a", "--delete-extras"], ["-a", "--force-resync"], ["-r"]], ids=" ".join)
def test_a_rename_of_case_only(caseless: Pair, options: list[str]) -> None:
    """The destination follows the new spelling, and the copy is not deleted as an extra of itself."""
    write(caseless.source / "README", "text")
    write(caseless.source / "sub/Inner", "x")
    write(caseless.source / "other", "x")
    caseless.sync("-a")
    (caseless.source / "README").rename(caseless.source / "Readme")
    (caseless.source / "sub/Inner").rename(caseless.source / "sub/INNER")
    (caseless.source / "sub").rename(caseless.source / "Sub")
    caseless.sync(*options)
    assert names(backing(caseless)) == {"Readme", "Sub", "Sub/INNER", "other"}
    same(caseless.source, backing(caseless), [] if "-a" in options else ["mode", "mtime_ns"])
    done = caseless.sync(*options, "--json")
    assert json.loads(done.stdout)["stats"]["deleted_files"] == 0
    assert names(backing(caseless)) == {"Readme", "Sub", "Sub/INNER", "other"}


def test_a_rename_with_new_content(caseless: Pair) -> None:
    write(caseless.source / "README", "text")
    caseless.sync("-a")
    (caseless.source / "README").unlink()
    write(caseless.source / "readme", "new text", OLD + SECOND)
    caseless.sync("-a", "--delete-extras")
    assert names(backing(caseless)) == {"readme"}
    assert (backing(caseless) / "readme").read_text() == "new text"


def test_beyond_ascii(caseless: Pair) -> None:
    write(caseless.source / "ÄRGER", "x")
    caseless.sync("-a")
    (caseless.source / "ÄRGER").rename(caseless.source / "Ärger")
    caseless.sync("-a", "--delete-extras")
    assert names(backing(caseless)) == {"Ärger"}


@pytest.mark.parametrize("delete", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("kind", ["files", "directories", "mixed"])
def test_two_names_that_differ_in_case_only(caseless: Pair, kind: str, delete: bool) -> None:
    """Both are reported, neither is written over the other; what the destination has under the name stays."""
    first = write(caseless.source / ("a/Readme" if kind == "files" else "a/Readme/one"), "first")
    write(caseless.source / ("a/README" if kind != "directories" else "a/README/two"), "second")
    write(caseless.source / "a/other", "x")
    write(backing(caseless) / "a/readme", "precious")
    done = caseless.sync("-a", *(["--delete-extras"] if delete else []), expect=23)
    assert first
    for name in ("a/Readme", "a/README"):
        assert name in done.stderr
    assert names(backing(caseless)) == {"a", "a/readme", "a/other"}
    assert (backing(caseless) / "a/readme").read_text() == "precious"
    (caseless.source / "a/README").rename(caseless.source / "a/elsewhere")
    caseless.sync("-a", "--delete-extras")
    same(caseless.source, backing(caseless))


def test_clashes_in_a_new_directory(caseless: Pair) -> None:
    """The same where the destination has nothing yet."""
    for name in ("X", "x", "y", "Z"):
        write(caseless.source / f"new/{name}", name)
    done = caseless.sync("-a", expect=23)
    assert names(backing(caseless)) == {"new", "new/y", "new/Z"}
    assert "new/X" in done.stderr
    assert "new/x" in done.stderr
    assert temporaries(backing(caseless)) == []


# ---- metadata that a share refuses ----


def metadata(pair: Pair) -> None:
    for number in range(40):
        os.chown(write(pair.source / f"d{number % 4}/f{number}", f"{number}", mode=0o640), 1234, 1234)
        os.setxattr(pair.source / f"d{number % 4}/f{number}", "user.note", b"x")
    write(pair.source / "large", b"l" * (9 << 20), mode=0o640)
    os.chown(pair.source / "large", 1234, 1234)
    os.chown(pair.source / "d1", 1234, 1234)


@pytest.mark.parametrize("options", [[], ["--scan-first"], ["--movers", "2", "--sparse"]], ids=" ".join)
@pytest.mark.parametrize("refused", ["chmod", "chown", "utimens", "setxattr"])
def test_a_refusal_is_one_warning_and_no_failure(pair: Pair, refused: str, options: list[str]) -> None:
    """The content is there; the run ends with 0 and names the kind once."""
    metadata(pair)
    with mounted(backing(pair), pair.target, refuse=[refused]):
        done = pair.sync("-aX", *options)
    words = {
        "chmod": {"permissions"},
        "chown": {"owner", "group"},
        "utimens": {"times"},
        "setxattr": {"extended attributes"},
    }
    told = [
        line.partition("does not take ")[2].partition(":")[0]
        for line in done.stderr.splitlines()
        if "does not take" in line
    ]
    assert told
    assert len(told) == len(set(told))
    assert set(told) <= words[refused]
    assert "ERROR" not in done.stderr
    ignored = {"chmod": ["mode"], "chown": ["uid", "gid"], "utimens": ["mtime_ns"], "setxattr": ["xattrs"]}[refused]
    same(pair.source, backing(pair), ignored)


def test_refused_links_are_failures_that_say_so(pair: Pair) -> None:
    """A link cannot be replaced by anything: each fails with its path, the rest is copied."""
    write(pair.source / "f", "x")
    os.symlink("f", pair.source / "link")
    os.symlink("f", pair.source / "link2")
    with mounted(backing(pair), pair.target, refuse=["symlink"]):
        done = pair.sync("-a", expect=23)
    assert names(backing(pair)) == {"f"}
    assert any("ERROR" in line and "link2" in line for line in done.stderr.splitlines())
    assert temporaries(backing(pair)) == []


def test_refused_special_files(pair: Pair) -> None:
    write(pair.source / "f", "x")
    os.mkfifo(pair.source / "fifo")
    with mounted(backing(pair), pair.target, refuse=["mknod"]):
        done = pair.sync("-a", expect=23)
    assert names(backing(pair)) == {"f"}
    assert "fifo" in done.stderr


# ---- times ----


@pytest.mark.parametrize("options", [["-a"], ["-aHX"], ["-r"], ["-a", "--scan-first"]], ids=" ".join)
def test_two_seconds_of_granularity(pair: Pair, options: list[str]) -> None:
    """With --modify-window a second run does nothing: no file, link or directory is touched."""
    for number in range(30):
        write(pair.source / f"d{number % 3}/f{number}", f"{number}", OLD + number * 777_777_777)
    os.link(pair.source / "d0/f0", pair.source / "d1/linked")
    os.symlink("x", pair.source / "link")
    os.mkfifo(pair.source / "fifo")
    window = ["--modify-window", "2"]
    with mounted(backing(pair), pair.target, mtime_granularity_ns=2 * SECOND):
        pair.sync(*options, *window)
        before = change_times(backing(pair))
        done = pair.sync(*options, *window, "--json")
        stats = json.loads(done.stdout)["stats"]
        assert (stats["copied_files"], stats["metadata_entries"], stats["created_links"]) == (0, 0, 0)
        assert touched(before, change_times(backing(pair))) == []
        write(pair.source / "d0/f0", "other size")
        os.utime(pair.source / "d1/f1", ns=(OLD, OLD + 5 * SECOND))
        done = pair.sync(*options, *window, "--json")
        # d0/f0 has a second name, which is linked with -H and copied without.
        assert json.loads(done.stdout)["stats"]["copied_files"] == (2 if "H" in options[0] else 3)


# ---- in place ----


@pytest.mark.parametrize(
    "options", [["-a"], ["-r"], ["-a", "--scan-first"], ["-aS"], ["-a", "--checksum", "none"]], ids=" ".join
)
@pytest.mark.parametrize("size", [10, 5_000, 400_000, 9 << 20])
def test_in_place(pair: Pair, size: int, options: list[str]) -> None:
    """The old file is longer, shorter or as long; inode and other names stay, content and times are the source's."""
    for name, old in (("shorter", size // 2), ("longer", size * 2), ("same", size), ("empty", 0), ("linked", size + 1)):
        write(pair.source / name, os.urandom(size), OLD + 7)
        write(pair.target / name, b"o" * old, OLD - SECOND)
    write(pair.source / "now-empty", "", OLD + 7)
    write(pair.target / "now-empty", "x" * size, OLD - SECOND)
    write(pair.source / "new", os.urandom(size), OLD + 7)
    os.link(pair.target / "linked", pair.target / "other-name")
    inodes = {name: (pair.target / name).stat().st_ino for name in names(pair.target)}
    pair.sync(*options, "--in-place")
    for name in names(pair.source):
        here, there = pair.source / name, pair.target / name
        assert there.read_bytes() == here.read_bytes(), name
        assert there.stat().st_mtime_ns == OLD + 7
        assert inodes.get(name, there.stat().st_ino) == there.stat().st_ino
    assert (pair.target / "other-name").read_bytes() == (pair.source / "linked").read_bytes()
    before = change_times(pair.target)
    pair.sync(*options, "--in-place")
    assert touched(before, change_times(pair.target)) == []


def test_in_place_over_other_kinds(pair: Pair) -> None:
    """A link, a FIFO or an empty directory that stands there goes first: nothing is written through it."""
    write(pair.root / "outside", "precious")
    for name in ("link", "fifo", "directory"):
        write(pair.source / name, "content")
        write(pair.source / f"large-{name}", b"l" * (9 << 20))
    for prefix in ("", "large-"):
        (pair.target / f"{prefix}directory").mkdir(parents=True)
        os.symlink(pair.root / "outside", pair.target / f"{prefix}link")
        os.mkfifo(pair.target / f"{prefix}fifo")
    pair.sync("-a", "--in-place")
    same(pair.source, pair.target)
    assert (pair.root / "outside").read_text() == "precious"


def test_in_place_keeps_nothing_of_holes(pair: Pair) -> None:
    """With -S zeros in the source are zeros at the destination, also where the old file had something else."""
    with (pair.source / "f").open("wb") as file:
        file.write(b"data" * 1000)
        file.truncate(10 << 20)
    os.utime(pair.source / "f", ns=(OLD, OLD))
    write(pair.target / "f", b"o" * (12 << 20), OLD - SECOND)
    pair.sync("-aS", "--in-place")
    same(pair.source, pair.target)
