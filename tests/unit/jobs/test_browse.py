"""Which snapshot is meant, and what is seen in it."""

from __future__ import annotations

import os
import stat
import time
from itertools import pairwise
from pathlib import Path

import pytest

from dunlin.backup.repository import Repository, Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import backup, browse, repo
from dunlin.jobs.browse import Wanted
from dunlin.pace.stop import Stop
from dunlin.report import NullReport


class Kept:
    """A source, and a repository with snapshots of it."""

    def __init__(self, root: Path) -> None:
        self.source = root / "home"
        (self.source / "sub" / "deep").mkdir(parents=True)
        (self.source / "a").write_text("a")
        (self.source / "a-b").write_text("bb")
        (self.source / "sub" / "c").write_text("ccc")
        (self.source / "sub" / "deep" / "d").write_text("dddd")
        (self.source / "link").symlink_to("a")
        self.place = repo.Place(str(root / "vault"))
        self.opened: Repository = repo.init(self.place, None, Settings())

    def back_up(
        self, share: str = "home", tenant: str = "default", tags: tuple[str, ...] = (), content: bool = True
    ) -> str:
        options = backup.Options(
            str(self.source), self.place, share=share, tenant=tenant, tags=tags, movers=1, content=content
        )
        made = backup.run(options, self.opened, Stop(), NullReport()).snapshot
        assert made is not None
        return made.id

    def spot(self, text: str = "latest", share: str = "") -> browse.Place:
        return browse.resolve(self.opened, "default", share, browse.parse(text))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latest", Wanted("latest")),
        ("3f:", Wanted("3f")),
        ("3f:/a//b/", Wanted("3f", "a/b")),
        ("3f:./a:b", Wanted("3f", "a:b")),
    ],
)
def test_what_people_write_for_a_snapshot(text: str, wanted: Wanted) -> None:
    assert browse.parse(text) == wanted


@pytest.mark.parametrize("text", ["", ":a", "latest:a/../b", "latest:.."])
def test_what_is_no_snapshot(text: str) -> None:
    with pytest.raises(DunlinError):
        browse.parse(text)


def test_a_snapshot_is_found_by_id_time_and_share(kept: Kept) -> None:
    first, second = kept.back_up(), kept.back_up()
    assert kept.spot().manifest.id == second
    assert kept.spot(first[:12]).manifest.id == first
    made = kept.spot(first).area.snapshots()[0]
    assert kept.spot(made.time).manifest.id == first
    with pytest.raises(DunlinError, match="could be 2 snapshots"):
        kept.spot(made.time[:4])
    other = kept.back_up("other")
    assert kept.spot(other[:12]).area.share == "other"
    assert kept.spot("latest", "home").manifest.id == second
    with pytest.raises(DunlinError, match="there are home, other"):
        kept.spot()
    with pytest.raises(DunlinError, match="could be 3 snapshots of home, other"):
        kept.spot(made.time[:4])
    with pytest.raises(DunlinError, match="dunlin snapshots lists them") as caught:
        kept.spot("zz")
    assert caught.value.kind is ErrorKind.NOT_FOUND


def test_where_there_is_none_it_is_said_where_there_are(kept: Kept) -> None:
    with pytest.raises(DunlinError, match="dunlin backup makes one"):
        kept.spot()
    kept.back_up(tenant="acme")
    with pytest.raises(DunlinError, match="--tenant: there are acme"):
        kept.spot()
    kept.back_up()
    with pytest.raises(DunlinError, match="there is a share home"):
        kept.spot("latest", "nothing")


def test_snapshots_by_share_and_tag(kept: Kept) -> None:
    ids = [kept.back_up(tags=("x", "y")), kept.back_up("other", tags=("x",)), kept.back_up(tags=("y",))]
    assert [each.id for each in browse.snapshots(kept.opened, "default")] == ids
    assert [each.id for each in browse.snapshots(kept.opened, "default", "home")] == [ids[0], ids[2]]
    assert [each.id for each in browse.snapshots(kept.opened, "default", tags=("x", "y"))] == [ids[0]]


def test_listings(kept: Kept) -> None:
    kept.back_up()
    assert [line.path for line in browse.listing(kept.spot())] == ["a", "a-b", "link", "sub"]
    deep = ["a", "a-b", "link", "sub", "sub/c", "sub/deep", "sub/deep/d"]
    assert [line.path for line in browse.listing(kept.spot(), deep=True)] == deep
    [line] = browse.listing(kept.spot("latest:sub/c"))
    assert (line.path, line.size, line.kind, line.mode) == ("sub/c", 3, stat.S_IFREG, None)
    long = {line.path: line for line in browse.listing(kept.spot(), long=True)}
    assert long["link"].target == "a"
    there = (kept.source / "a").stat()
    assert (long["a"].mode, long["a"].uid, long["a"].mtime) == (there.st_mode, there.st_uid, there.st_mtime_ns)
    with pytest.raises(DunlinError, match="holds no such thing"):
        list(browse.listing(kept.spot("latest:nothing")))


def test_names_and_sums(kept: Kept) -> None:
    kept.back_up()
    assert [line.path for line in browse.find(kept.spot(), "[cd]*")] == ["sub/deep", "sub/c", "sub/deep/d"]
    assert [line.path for line in browse.find(kept.spot("latest:sub/deep"), "*")] == ["sub/deep/d"]
    assert list(browse.sums(kept.spot(), 0)) == [browse.Sum("", 3, 5, 11)]
    assert [each.path for each in browse.sums(kept.spot(), 2)] == ["sub/deep", "sub", ""]
    assert list(browse.sums(kept.spot("latest:sub"))) == [browse.Sum("sub/deep", 1, 1, 4), browse.Sum("sub", 2, 2, 7)]
    assert list(browse.sums(kept.spot("latest:a"))) == [browse.Sum("a", 0, 1, 1)]


def test_files_by_size_and_age(kept: Kept) -> None:
    day = 86_400 * 10**9
    os.utime(kept.source / "sub/c", ns=(0, time.time_ns() + 5 * day))
    os.utime(kept.source / "a", ns=(0, time.time_ns() - 8 * day))
    kept.back_up()
    assert browse.sizes(kept.spot("latest:sub")) == [browse.Bar("size", 2, 4, 1, 3), browse.Bar("size", 4, 8, 1, 4)]
    assert sum(bar.files for bar in browse.sizes(kept.spot())) == 5
    bars = browse.ages(kept.spot())
    assert [(bar.least, bar.below) for bar in bars] == list(pairwise((0, *browse.AGES, None)))
    assert [bar.files for bar in bars] == [4, 0, 1, *[0] * 6]
    assert (bars[0].size, bars[2].size) == (10, 1)
    for count in (browse.sizes, browse.ages):
        with pytest.raises(DunlinError, match="is a file"):
            count(kept.spot("latest:a"))


def test_differences_of_a_part(kept: Kept) -> None:
    first = kept.back_up()
    (kept.source / "sub" / "c").write_text("changed")
    (kept.source / "a").unlink()
    kept.back_up()
    seen = {(each.what, each.path, each.before, each.after) for each in browse.diff(kept.spot(first), kept.spot())}
    assert {("changed", "sub/c", 3, 7), ("removed", "a", 1, None)} <= seen
    part = [each.path for each in browse.diff(kept.spot(f"{first}:sub"), kept.spot("latest:sub"))]
    assert part == ["sub/c"]
    assert list(browse.diff(kept.spot(), kept.spot())) == []


def test_differences_of_two_paths(kept: Kept) -> None:
    """What stands at one path is held against what stands at the other, and told under the second."""
    for name, content in (("c", "CCC"), ("new", "n")):
        (kept.source / "other").mkdir(exist_ok=True)
        (kept.source / "other" / name).write_text(content)
    kept.back_up()
    found = list(browse.diff(kept.spot("latest:sub"), kept.spot("latest:other")))
    seen = {(each.what, each.path, each.directory) for each in found}
    assert {("removed", "other/deep", True), ("removed", "other/deep/d", False), ("added", "other/new", False)} <= seen
    assert ("changed", "other/c", False) in seen
    files = [(each.what, each.path, each.before, each.after) for each in
             browse.diff(kept.spot("latest:a"), kept.spot("latest:a-b"))]  # fmt: skip
    assert files == [("changed", "a-b", 1, 2)]
    mixed = [(each.what, each.path) for each in browse.diff(kept.spot("latest:a"), kept.spot("latest:sub"))]
    assert mixed == [("changed", "sub")]
    assert list(browse.diff(kept.spot("latest:a"), kept.spot("latest:a"))) == []


def test_one_damaged_snapshot_hides_no_other(kept: Kept) -> None:
    ids = [kept.back_up() for _ in range(3)]
    area = kept.opened.area("default", "home")
    kept.opened.objects.put(area.snapshots()[1].key, b"nonsense")
    damaged: list[tuple[object, DunlinError]] = []
    found = browse.snapshots(kept.opened, "default", damaged=damaged)  # type: ignore[arg-type]
    assert [each.id for each in found] == [ids[0], ids[2]]
    assert [(name.id, error.kind) for name, error in damaged] == [(ids[1], ErrorKind.CORRUPT)]  # type: ignore[attr-defined]
    with pytest.raises(DunlinError) as error:
        browse.snapshots(kept.opened, "default")
    assert error.value.kind is ErrorKind.CORRUPT
    assert repo.stats(kept.opened).source_bytes > 0


def test_the_latest_that_is_to_be_restored_is_no_scan(kept: Kept) -> None:
    scan = kept.back_up(content=False)
    assert browse.resolve(kept.opened, "default", "", Wanted("latest"), content=True).manifest.id == scan
    whole = kept.back_up()
    scan = kept.back_up(content=False)
    assert browse.resolve(kept.opened, "default", "", Wanted("latest", "sub"), content=True).manifest.id == whole
    assert kept.spot().manifest.id == scan
    assert browse.resolve(kept.opened, "default", "", Wanted(scan[:8]), content=True).manifest.id == scan
