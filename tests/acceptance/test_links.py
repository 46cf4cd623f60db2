"""Links: none is followed, neither in the source nor where somebody planted one in the destination."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.acceptance.program import UNPRIVILEGED, dunlin
from tests.acceptance.trees import OLD, SECOND, Pair, change_times, names, same, snapshot, touched, write
from tests.fuse.slowfs import mounted


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A place that no run may touch, whatever links lead there."""
    place = tmp_path / "outside"
    write(place / "file", "precious")
    write(place / "sub/inner", "precious too")
    return place


def loops(root: Path) -> None:
    write(root / "d/file", "x")
    os.symlink(".", root / "here")
    os.symlink("..", root / "d/up")
    os.symlink("loop-b", root / "loop-a")
    os.symlink("loop-a", root / "loop-b")
    os.symlink(root, root / "d/absolute")
    os.symlink("/", root / "d/root")


@pytest.mark.parametrize("options", [["-a"], ["-aH"], ["-l"], []], ids=" ".join)
def test_loops_in_the_source(pair: Pair, options: list[str]) -> None:
    """A link is copied as a link or skipped; nothing goes round."""
    loops(pair.source)
    pair.sync(*options)
    if options:
        same(pair.source, pair.target, [] if "-a" in options[0] else ["mode", "uid", "gid"])
    else:
        assert names(pair.target) == {"d", "d/file"}
    before = change_times(pair.target)
    pair.sync(*options)
    assert touched(before, change_times(pair.target)) == []


PLANTED = [["-a"], ["-a", "--delete-extras"], ["-r"], ["-a", "--in-place"], ["-a", "--scan-first"], ["-aHAXS"],
           ["-a", "--trust-state"], ["-a", "--force-resync"], ["-a", "--compare", "checksum"],
           ["-a", "--backup-dir", "../kept"], ["-a", "--update"]]  # fmt: skip


@pytest.mark.parametrize("options", PLANTED, ids=" ".join)
def test_links_planted_in_the_destination(pair: Pair, outside: Path, options: list[str]) -> None:
    """A directory and files of the destination are replaced by links to elsewhere: nothing is written there."""
    write(pair.source / "d/sub/inner", "mine")
    write(pair.source / "d/file", "mine")
    write(pair.source / "file", "mine")
    write(pair.source / "equal", "precious")
    write(pair.source / "large", b"l" * (9 << 20))
    pair.sync("-a")
    expected = snapshot(pair.target)
    for name in ("file", "equal", "large"):
        (pair.target / name).unlink()
        os.symlink(outside / "file", pair.target / name)
    (pair.target / "d").rename(pair.root / "moved")
    os.symlink(outside, pair.target / "d")
    before = (snapshot(outside), change_times(outside))
    for name in ("file", "d/file", "d/sub/inner"):
        write(pair.source / name, "mine, and changed since", OLD + SECOND)
    pair.sync(*options)
    assert (snapshot(outside), change_times(outside)) == before
    assert not (pair.target / "d").is_symlink()
    assert (pair.target / "d/sub/inner").read_text() == "mine, and changed since"
    if options != ["-a", "--trust-state"]:
        same(pair.source, pair.target, [] if "-a" in options[0] else ["mode", "uid", "gid"])
    assert set(expected) == set(snapshot(pair.target))


def test_a_planted_link_among_extras(pair: Pair, outside: Path) -> None:
    """Deleting extras removes the link itself, and not what it leads to."""
    write(pair.source / "f", "x")
    write(pair.target / "extra/deep/g", "x")
    os.symlink(outside, pair.target / "to-outside")
    os.symlink(outside, pair.target / "extra/deep/also")
    before = (snapshot(outside), change_times(outside))
    pair.sync("-a", "--delete-extras")
    same(pair.source, pair.target)
    assert (snapshot(outside), change_times(outside)) == before


def test_a_directory_of_links_gives_way(pair: Pair, outside: Path) -> None:
    """A directory full of links makes way for a file."""
    write(pair.source / "x", "a file")
    (pair.target / "x").mkdir(parents=True)
    os.symlink(outside, pair.target / "x/link")
    before = (snapshot(outside), change_times(outside))
    pair.sync("-a", "--delete-extras")
    same(pair.source, pair.target)
    assert (snapshot(outside), change_times(outside)) == before


def test_roots_may_be_links(pair: Pair) -> None:
    """Source and destination themselves may be named through links: those the person typed."""
    write(pair.source / "d/f", "x")
    (pair.root / "real").mkdir()
    os.symlink("real", pair.root / "to")
    os.symlink("source", pair.root / "from")
    dunlin("sync", "-a", pair.root / "from", f"{pair.root}/to/", cwd=pair.cwd, expect=0)
    assert (pair.root / "to").is_symlink()
    same(pair.source, pair.root / "real")


def grouped(root: Path) -> list[set[str]]:
    """The names of each inode that has several."""
    groups: dict[int, set[str]] = {}
    for path in root.rglob("*"):
        if not path.is_dir():
            groups.setdefault(path.lstat().st_ino, set()).add(str(path.relative_to(root)))
    return sorted((group for group in groups.values() if len(group) > 1), key=sorted)


def spread(root: Path, groups: int = 40, each: int = 5) -> None:
    """Hard links across directories."""
    for group in range(groups):
        first = write(root / f"d{group % 7}/g{group}-0", f"group {group}")
        for number in range(1, each):
            place = root / f"d{(group + number) % 9}/e{number}"
            place.mkdir(parents=True, exist_ok=True)
            os.link(first, place / f"g{group}-{number}")


@pytest.mark.parametrize(
    "options", [["--workers", "8"], ["--movers", "2", "--scan-first"], ["--bwlimit", "50M"]], ids=" ".join
)
def test_hard_links_across_directories(pair: Pair, options: list[str]) -> None:
    """Groups stay groups when units run in parallel, and are copied once."""
    spread(pair.source)
    done = pair.sync("-aH", "--json", *options)
    stats = json.loads(done.stdout)["stats"]
    assert (stats["copied_files"], stats["hard_links"]) == (40, 160)
    assert grouped(pair.target) == grouped(pair.source)
    same(pair.source, pair.target)
    before = change_times(pair.target)
    done = pair.sync("-aH", "--json", *options)
    stats = json.loads(done.stdout)["stats"]
    assert (stats["copied_files"], stats["hard_links"], stats["equal_files"]) == (0, 0, 200)
    assert touched(before, change_times(pair.target)) == []


def test_hard_links_of_more_names_than_a_page(pair: Pair) -> None:
    """2,500 names of one inode, of which the copied one is neither first nor last."""
    first = write(pair.source / "m/middle", "x")
    for number in range(2500):
        place = pair.source / f"{'az'[number % 2]}/{number % 5}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(first, place / f"n{number}")
    pair.sync("-aH")
    assert grouped(pair.target) == grouped(pair.source)
    assert (pair.target / "m/middle").stat().st_nlink == 2501


def test_large_hard_linked_files(pair: Pair) -> None:
    """Files that go through the pipeline, with names before and after the copied one."""
    for number in range(3):
        first = write(pair.source / f"m{number}", bytes([number]) * (9 << 20))
        for directory in ("a", "z"):
            (pair.source / directory).mkdir(exist_ok=True)
            os.link(first, pair.source / directory / f"{number}")
    pair.sync("-aH")
    same(pair.source, pair.target)


def test_joined_at_the_destination_but_not_in_the_source(pair: Pair) -> None:
    """Two files whose copies are names of one inode: a change of one does not reach the other."""
    write(pair.source / "a", "one")
    write(pair.source / "b", "two", OLD + SECOND)
    write(pair.target / "a", "one")
    os.link(pair.target / "a", pair.target / "b")
    pair.sync("-aH")
    same(pair.source, pair.target)


def test_a_group_of_a_filtered_name(pair: Pair) -> None:
    """Names that the filters keep out take no part in their group."""
    first = write(pair.source / "a/skip-me", "x")
    (pair.source / "b").mkdir()
    os.link(first, pair.source / "b/one")
    os.link(first, pair.source / "b/two")
    pair.sync("-aH", "--exclude", "skip-me")
    assert grouped(pair.target) == [{"b/one", "b/two"}]


def test_in_place_reaches_every_name(pair: Pair) -> None:
    """In place the inode stays, so its other names show the new content: as with rsync --inplace."""
    write(pair.source / "a", "new content", OLD + SECOND)
    write(pair.target / "a", "old")
    os.link(pair.target / "a", pair.target / "other")
    pair.sync("-a", "--in-place")
    assert (pair.target / "other").read_text() == "new content"
    assert (pair.target / "a").stat().st_nlink == 2


def test_without_in_place_other_names_keep_their_content(pair: Pair) -> None:
    write(pair.source / "a", "new content", OLD + SECOND)
    write(pair.target / "a", "old")
    os.link(pair.target / "a", pair.target / "other")
    pair.sync("-a")
    assert (pair.target / "other").read_text() == "old"
    assert (pair.target / "a").read_text() == "new content"


@pytest.mark.fuse
@pytest.mark.root
def test_a_destination_that_cannot_link(pair: Pair) -> None:
    """Every name gets content of its own, with a warning at most; the next run copies nothing again."""
    spread(pair.source, groups=3, each=3)
    (pair.root / "backing").mkdir()
    with mounted(pair.root / "backing", pair.target, refuse=["link"]):
        pair.sync("-aH")
        assert names(pair.target) == names(pair.source)
        same(pair.source, pair.target, ["group"])
        done = pair.sync("-aH", "--json")
        assert json.loads(done.stdout)["stats"]["copied_files"] == 0
    assert grouped(pair.root / "backing") == []


@pytest.mark.fuse
@pytest.mark.root
def test_a_destination_that_cannot_link_keeps_every_name_in_every_run(pair: Pair) -> None:
    """What a run keeps aside stays where it is until something else stands there."""
    spread(pair.source, groups=3, each=3)
    os.symlink("elsewhere", pair.source / "d0/link")
    os.link(pair.source / "d0/link", pair.source / "d1/link", follow_symlinks=False)
    (pair.root / "backing").mkdir()
    with mounted(pair.root / "backing", pair.target, refuse=["link"]):
        for _ in range(3):
            pair.sync("-aH", "--backup-dir", pair.root / "kept")
            same(pair.source, pair.target, ["group"])


def test_hard_links_leave_newer_files_alone(pair: Pair) -> None:
    """`--update` protects each name, whatever its inode has become at the source."""
    write(pair.source / "a", "old")
    os.link(pair.source / "a", pair.source / "b")
    os.link(pair.source / "a", pair.source / "c")
    for name in "ab":
        write(pair.target / name, f"newer {name}", OLD + SECOND)
    for _ in range(2):
        pair.sync("-aH", "--update")
        assert [(pair.target / name).read_text() for name in "abc"] == ["newer a", "newer b", "old"]


@pytest.mark.root
@pytest.mark.parametrize("compare", ["size+mtime", "checksum"])
def test_a_first_name_that_failed_is_not_spread(pair: Pair, compare: str) -> None:
    """The others of its inode are right, and stay so."""
    write(pair.source / "d1/a", "right")
    (pair.source / "d2").mkdir()
    for name in "bc":
        os.link(pair.source / "d1/a", pair.source / "d2" / name)
    write(pair.target / "d1/a", "stale", OLD + (SECOND if compare == "size+mtime" else 0))
    for name in "bc":
        write(pair.target / "d2" / name, "right")
    os.chown(pair.target / "d1", 4711, 4711)
    os.chmod(pair.target / "d1", 0o555)
    pair.sync("-rtH", "--compare", compare, expect=23, prefix=UNPRIVILEGED)
    assert (pair.target / "d1/a").read_text() != "right"
    assert [(pair.target / "d2" / name).read_text() for name in "bc"] == ["right", "right"]
    assert grouped(pair.target) == [{"d2/b", "d2/c"}]


def test_one_name_of_a_group_cannot_be_written(pair: Pair) -> None:
    """A filled directory stands where the first name belongs: that one fails, the others are joined."""
    first = write(pair.source / "a", "content")
    (pair.source / "d").mkdir()
    os.link(first, pair.source / "d/b")
    os.link(first, pair.source / "d/c")
    write(pair.target / "a/keep", "x")
    done = pair.sync("-aH", expect=23)
    assert "--delete-extras" in done.stderr
    assert grouped(pair.target) == [{"d/b", "d/c"}]
    assert (pair.target / "d/c").read_text() == "content"
    assert (pair.target / "a/keep").read_text() == "x"


@pytest.mark.fuse
@pytest.mark.root
def test_a_group_that_cannot_be_read(pair: Pair) -> None:
    """Every name of it fails, each is told, and the other group is complete."""
    for name in ("bad", "good"):
        first = write(pair.root / f"backing/{name}/1", name)
        for number in (2, 3):
            os.link(first, pair.root / f"backing/{name}/{number}")
    with mounted(pair.root / "backing", pair.source, errors={"open:bad/*": errno.EIO}):
        done = pair.sync("-aH", expect=23)
    for number in (1, 2, 3):
        assert f"bad/{number}" in done.stderr
    assert grouped(pair.target) == [{"good/1", "good/2", "good/3"}]
    pair.source.rmdir()
    (pair.root / "backing").rename(pair.source)
    pair.sync("-aH")
    same(pair.source, pair.target)
