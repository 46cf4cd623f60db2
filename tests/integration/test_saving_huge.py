"""A directory that is done in windows: what comes of it is what comes of it in one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.backup import keys, repository, windows
from dunlin.backup.manifest import Manifest, Totals
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Area, Settings
from dunlin.backup.snapshot import SnapshotStore, open_pages
from dunlin.backup.verified import Subset
from dunlin.backup.verify import verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.base import Body, Meta
from dunlin.stores.local import LocalStore
from dunlin.stores.memory import CAPS, MemoryStore
from dunlin.workers import held, savers
from dunlin.workers.savers import Asked
from dunlin.workers.saving import _Run, back_up
from tests.integration.test_saving import Place, everything, same
from tests.unit.backup.world import content


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


def in_windows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "HUGE", 4)
    patch.setattr(windows, "WINDOW", 3)
    patch.setattr(held, "LIVE", 2)


FAR = replace(CAPS, far=True)
NAMES = st.text("ab-.0", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
LISTING = st.dictionaries(NAMES, st.sampled_from(["file", "other", "folder", "link"]), max_size=16)


class Twin:
    """One source, and two tenants: for one it is backed up in windows, for the other at once."""

    def __init__(self) -> None:
        self.now = 10**18
        self.source = MemoryStore("source", clock=self.tick, caps=FAR)
        self.place = MemoryStore("repository")
        repository.init(Objects(self.place), None, Settings(small=100))
        self.there: dict[str, str] = {}

    def tick(self) -> int:
        self.now += 10**9
        return self.now

    def area(self, tenant: str) -> Area:
        return repository.open_repository(Objects(self.place), lambda: None).area(tenant, "docs")

    def become(self, listing: dict[str, str]) -> None:
        for name in [name for name, kind in self.there.items() if listing.get(name) != kind]:
            below = [f"{name}/inside"] if self.there.pop(name) == "folder" else []
            self.source.delete([*below, name])
        for name, kind in listing.items():
            if self.there.get(name) == kind:
                continue
            if kind == "folder":
                self.source.make_directory(name)
                self.write(f"{name}/inside", b"in " + name.encode())
            elif kind == "link":
                self.source.make_link(name, "nowhere", meta=Meta(mtime=self.tick()))
            else:
                self.write(name, name.encode() * (1 if kind == "file" else 60))
        self.there = dict(listing)

    def write(self, path: str, data: bytes) -> None:
        self.source.write(path, Body(len(data), lambda start: iter([data[start:]])), meta=Meta(mtime=self.tick()))

    def back_up(self, tenant: str, bucket: Any = None) -> Manifest:
        area = self.area(tenant)
        asked = Asked("memory://", movers=1, accept_source=True)
        stop = bucket.stop if bucket is not None else Stop()
        done = back_up(asked, area, lambda: self.source, lambda: area.repository, stop, NullReport(), bucket)
        return done.manifest

    def look(self, tenant: str, manifest: Manifest) -> object:
        area = self.area(tenant)
        store = SnapshotStore(area, manifest)
        assert not verify([area], data=Subset()).lost
        return everything(store)


def counted(totals: Totals) -> Totals:
    return replace(totals, stored_bytes=0)


@given(first=LISTING, second=LISTING, third=LISTING)
@settings(max_examples=15, deadline=None)
def test_windows_make_no_difference(first: dict[str, str], second: dict[str, str], third: dict[str, str]) -> None:
    twin = Twin()
    for listing in (first, second, second, third):
        twin.become(listing)
        whole = twin.back_up("whole")
        with pytest.MonkeyPatch.context() as patch:
            in_windows(patch)
            cut = twin.back_up("cut")
        assert counted(cut.totals) == counted(whole.totals)
        assert len(cut.segments) == len(whole.segments)
        assert twin.look("cut", cut) == twin.look("whole", whole)


def test_no_message_is_longer_than_a_window_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    in_windows(monkeypatch)
    twin = Twin()
    rows: list[int] = []
    take = _Run._take

    def seen(run: _Run, number: int, saved: Any, part: Any) -> None:
        rows.append(max(saved.rows, len(saved.children)))
        take(run, number, saved, part)

    monkeypatch.setattr(_Run, "_take", seen)
    kinds = ["file", "folder", "link", "file"]
    twin.become({f"n{at}": kinds[at % 4] for at in range(40)})
    twin.back_up("acme")
    assert (max(rows), sum(rows)) == (3, 40 + 10)
    rows.clear()
    twin.back_up("acme")
    assert sum(rows) == 10  # only the directories are told where nothing changed
    rows.clear()
    twin.become({})
    twin.back_up("acme")
    assert sum(rows) == 0


class Ending:
    """Stops a run after so many bytes."""

    def __init__(self, most: int) -> None:
        self.left, self.stop = most, Stop()

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            self.stop.request("enough")
            raise DunlinError("go on", "", ErrorKind.INTERRUPTED, "enough")


def test_who_was_interrupted_in_the_middle_goes_on_from_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    in_windows(monkeypatch)
    twin, chance = Twin(), random.Random(1)
    for at in range(40):
        twin.write(f"f{at:02}", chance.randbytes(50))
    with pytest.raises(DunlinError) as raised:
        twin.back_up("acme", Ending(1000))
    assert raised.value.kind is ErrorKind.INTERRUPTED
    assert twin.area("acme").snapshots() == []
    done = twin.back_up("acme")
    assert (done.totals.files, done.totals.new_bytes) == (40, 40 * 50 - 1000)
    assert len(content(SnapshotStore(twin.area("acme"), done))) == 40


def test_movers_of_their_own_and_groups_that_are_told_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_windows(monkeypatch)
    monkeypatch.setattr(savers, "ROWS", 5)
    place = Place(tmp_path)
    for at in range(60):
        place.write(f"wide/f{at}", f"{at}")
        place.write(f"d{at % 9}/g{at}", f"{at}")
        place.write(f"few{at % 20}/h{at}", f"{at}")
    totals = place.back_up().manifest.totals
    assert (totals.files, totals.new_files, totals.directories) == (180, 180, 31)
    same(place)
    (place.source / "wide" / "f7").unlink()
    place.write("wide/f8", "another")
    place.write("wide/new/one", "new")
    totals = place.back_up().manifest.totals
    assert (totals.files, totals.new_files, totals.changed_files, totals.removed_files) == (180, 1, 1, 1)
    same(place)
    assert not verify([place.area()], data=Subset()).lost


def test_damage_in_the_pages_of_a_huge_directory_has_it_read_again(place_cut: Place) -> None:
    place = place_cut
    for at in range(30):
        place.write(f"f{at:02}", f"{at}")
    place.write("sub/g", "g")
    segment = place.back_up().manifest.segments[0].id
    start, end = open_pages(place.area(), segment)._spans[1][0]
    pages = place.target / "acme/docs/tree" / f"{segment}.pages"
    raw = bytearray(pages.read_bytes())
    raw[(start + end) // 2] ^= 1
    pages.write_bytes(raw)
    place.write("f99", "more")
    assert not place.back_up().errors
    assert len([event for event in place.report.events if event.name == "backup.anew"]) == 1
    found = place.snapshot()
    names = [*(f"f{at:02}" for at in range(30)), "f99"]
    assert [name for batch in found.list("") for name, _ in batch] == [*names, "sub"]
    for name in names:
        assert b"".join(map(bytes, found.read(found.stat(name)))) == (place.source / name).read_bytes()


@pytest.fixture
def place_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    in_windows(monkeypatch)
    return Place(tmp_path)


@pytest.mark.parametrize("before", [False, True])
def test_attributes_of_a_directory_that_cannot_be_read_leave_out_nothing_else(tmp_path: Path, before: bool) -> None:
    place = Place(tmp_path)
    place.write("d/f", "content")
    os.setxattr(place.source / "d", "user.kept", b"yes")
    if before:
        place.back_up()
        os.chmod(place.source / "d", 0o700)

    class Refusing(LocalStore):
        def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
            if path == "d":
                raise DunlinError("read the attributes of", path, ErrorKind.IO, "refused")
            return super().get_xattrs(path, space)

    refusing: Callable[[], Any] = lambda: Refusing(str(place.source))  # noqa: E731
    done = place.back_up(refusing)
    assert [error.where for error in done.errors] == ["d"]
    assert (done.manifest.totals.failed_entries, done.manifest.totals.files, done.manifest.complete) == (1, 1, False)
    assert content(place.snapshot()) == {"d/f": b"content"}
    place.back_up()  # which asks again, though nothing changed
    same(place)
    assert place.snapshot().get_xattrs("d", ("user.",)) == {"user.kept": b"yes"}
