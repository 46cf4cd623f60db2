"""Trees that are lost or damaged come back from their pages, and everything with them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.backup import keys, mend, repository
from dunlin.backup.lease import PRUNE, Lease
from dunlin.backup.manifest import Manifest
from dunlin.backup.objects import Objects
from dunlin.backup.pages import PagesReader
from dunlin.backup.repository import Settings
from dunlin.backup.snapshot import SnapshotStore, open_pages
from dunlin.backup.verified import Subset
from dunlin.backup.verify import Verified, verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.local import LocalStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up
from tests.unit.backup.held import Held, everything


class Place:
    """A repository with three snapshots: a base, and two deltas in which things were changed, moved, removed."""

    def __init__(self, root: Path, password: bytes | None, *, append_only: bool = False) -> None:
        self.root, self.source, self.password = root / "repository", root / "source", password
        self.root.mkdir()
        repository.init(Objects(LocalStore(str(self.root))), password, Settings(append_only=append_only))
        rng = random.Random(3)
        for number in range(60):
            self.write(f"d{number % 6}/e{number % 4}/file {number}", rng.randbytes(rng.randrange(0, 3000)))
        self.write("large", rng.randbytes(150_000))
        self.write("n" * 255, b"a long name")
        (self.source / "link").symlink_to("large")
        (self.source / "empty").mkdir()
        os.utime(self.write("early", b"1"), ns=(0, -11_676_096_000 * 10**9 + 123_456_789))
        os.utime(self.write("late", b"2"), ns=(0, 32_503_680_000 * 10**9 + 987_654_321))
        with open(self.write("d0/sparse", b""), "wb") as file:
            file.truncate(5 << 20)
        self.held = [self.back_up()]
        self.write("d1/new", b"new")
        self.write("d0/e0/file 0", b"changed")
        os.chmod(self.source / "d2", 0o700)
        self.remove("d3")
        self.held.append(self.back_up())
        self.write("d4/e0/other", b"other")
        self.remove("d5/e1")
        self.held.append(self.back_up())
        self.manifests: list[Manifest] = [self.area().manifest(name) for name in self.area().snapshots()]
        assert [len(each.segments) for each in self.manifests] == [1, 2, 3]

    def write(self, name: str, content: bytes) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def remove(self, name: str) -> None:
        for path in sorted((self.source / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (self.source / name).rmdir()

    def area(self) -> repository.Area:
        opened = repository.open_repository(Objects(LocalStore(str(self.root))), lambda: self.password)
        return opened.area("acme", "docs")

    def back_up(self) -> Held:
        source, asked = LocalStore(str(self.source)), Asked("file:///x", movers=1)
        back_up(asked, self.area(), lambda: source, lambda: self.area().repository, Stop(), NullReport())
        return self.holds(-1)

    def holds(self, number: int) -> Held:
        """Everything that a snapshot holds, read to the last byte."""
        area = self.area()
        return everything(SnapshotStore(area, area.manifest(area.snapshots()[number])))

    def segment(self, number: int) -> Path:
        return self.root / "acme/docs/tree" / self.manifests[-1].segments[number].id

    def pages(self, number: int) -> Path:
        return self.segment(number).with_suffix(".pages")

    def mend(self) -> list[mend.Fate]:
        return mend.trees(self.area().repository, "acme", "me")

    def verify(self) -> Verified:
        return verify([self.area()], data=Subset())


@pytest.fixture(params=[b"word", None], ids=["sealed", "plain"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    return Place(tmp_path, request.param)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "removed": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": flip,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_segment_comes_back(place: Place, number: int, damage: Callable[[Path], None]) -> None:
    path = place.segment(number)
    damage(path)
    users = tuple(each.id for each in place.manifests[number:])
    assert {each.snapshot for each in place.verify().lost_snapshots} == set(users)
    (fate,) = place.mend()
    assert (fate.share, fate.key, fate.snapshots, fate.error) == ("docs", f"acme/docs/tree/{path.name}", users, None)
    assert fate.why.kind in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND)
    assert place.verify().whole
    assert [place.holds(at) for at in (0, 1, 2)] == place.held
    assert place.mend() == []


def test_segments_that_changed_places_come_back(place: Place) -> None:
    one, two = place.segment(0), place.segment(1)
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)
    assert [fate.error for fate in place.mend()] == [None, None]
    assert place.verify().whole
    assert [place.holds(at) for at in (0, 1, 2)] == place.held
    assert [place.manifests[2]] == [place.area().manifest(name) for name in place.area().snapshots()[2:]]


def test_the_next_backup_goes_on_from_a_mended_tree(place: Place) -> None:
    for number in (0, 1, 2):
        place.segment(number).unlink()
    assert len(place.mend()) == 3
    assert place.back_up() == place.held[-1]
    newest = place.area().manifest(place.area().snapshots()[-1])
    assert newest.segments == place.manifests[-1].segments, "nothing had changed"
    assert newest.totals.read_bytes == 0


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_what_cannot_be_mended_is_told_and_left(place: Place, damage: str) -> None:
    place.segment(1).unlink()
    DAMAGES[damage](place.pages(1))
    before = sorted(place.root.rglob("*"))
    fates = place.mend()
    assert [fate.key.endswith(".pages") for fate in fates] == [False, True]
    for fate in fates:
        assert fate.error is not None
        assert fate.error.kind in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND)
        assert fate.snapshots == (place.manifests[1].id, place.manifests[2].id)
    assert sorted(place.root.rglob("*")) == before
    assert place.holds(0) == place.held[0]


def test_pages_of_another_segment_put_nothing_in_its_place(place: Place) -> None:
    place.pages(1).write_bytes(place.pages(0).read_bytes())
    flip(place.segment(1))
    held = place.segment(1).read_bytes()
    fates = place.mend()
    assert len(fates) == 2
    assert all(fate.error is not None for fate in fates)
    assert place.segment(1).read_bytes() == held


@pytest.mark.parametrize("damage", ["cut", "flipped", "half"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pages_whose_end_is_lost_still_restore_and_are_mended(place: Place, number: int, damage: str) -> None:
    path = place.pages(number)
    before = path.read_bytes()
    whole = open_pages(place.area(), place.segment(number).name)
    if damage == "half":  # all pages are there, not all that would make the segment again
        path.write_bytes(before[: max(spans[-1][1] for spans in whole._spans) + 5])
    else:
        path.write_bytes(before[:-9] if damage == "cut" else before[:-3] + b"?" + before[-2:])
    found = place.verify()
    assert [(each.what, each.key) for each in found.damages] == [("pages", f"acme/docs/tree/{path.name}")]
    assert not found.lost
    assert [place.holds(at) for at in (0, 1, 2)] == place.held
    (fate,) = place.mend()
    assert (fate.key, fate.error) == (f"acme/docs/tree/{path.name}", None)
    assert place.password is not None or path.read_bytes() == before
    assert place.verify().whole
    place.segment(number).unlink()
    assert [fate.error for fate in place.mend()] == [None]
    assert place.verify().whole


def test_pages_of_which_some_are_lost_are_told_and_left(place: Place) -> None:
    path = place.pages(0)
    path.write_bytes(path.read_bytes()[: open_pages(place.area(), place.segment(0).name)._spans[1][0][1] - 1])
    held = path.read_bytes()
    (fate,) = place.mend()
    assert fate.error is not None
    assert path.read_bytes() == held
    assert {each.path for each in place.verify().lost} >= {"large", "early", "link"}


def test_only_what_the_manifests_name_is_put_in_its_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer may lay segments out in another way than the one that wrote what is lost."""

    def other(pages: PagesReader, path: Path, remake: Callable[[PagesReader, Path], None] = mend.remake) -> None:
        remake(pages, path)
        flip(path)

    monkeypatch.setattr(mend, "remake", other)
    place.segment(0).unlink()
    (fate,) = place.mend()
    assert fate.error is not None
    assert "another one than its snapshots name" in fate.error.reason
    assert not place.segment(0).exists()


def test_a_damaged_manifest_is_named_and_the_rest_is_mended(place: Place) -> None:
    name = place.area().snapshots()[1]
    flip(place.root / name.key)
    place.segment(0).unlink()
    fates = place.mend()
    assert [(fate.key, fate.snapshots, fate.error is None) for fate in fates] == [
        (name.key, (name.id,), False),
        (f"acme/docs/tree/{place.segment(0).name}", (place.manifests[0].id, place.manifests[2].id), True),
    ]
    assert place.holds(2) == place.held[2]


def test_no_nonce_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another zstd would pack the same tree otherwise, and the key of the object is the one it had."""
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    place = Place(tmp_path, b"word")
    first = place.segment(0).read_bytes()
    seen = [first[8:20]]
    for _ in range(3):
        place.segment(0).unlink()
        place.mend()
        again = place.segment(0).read_bytes()
        assert (first[0], again[0]) == (0x50, 0x51)
        seen.append(again[8:20])
    assert len(set(seen)) == 4


def test_an_append_only_repository_is_mended_too(tmp_path: Path) -> None:
    place = Place(tmp_path, None, append_only=True)
    flip(place.segment(0))
    assert [fate.error for fate in place.mend()] == [None]
    assert place.verify().whole


def test_nothing_is_mended_while_a_prune_goes_on(place: Place) -> None:
    lease = Lease(place.area().objects, "acme", PRUNE, "somebody")
    lease.pin("")
    place.segment(0).unlink()
    with pytest.raises(DunlinError) as error:
        place.mend()
    assert error.value.kind is ErrorKind.LOCKED
    lease.release()
    assert len(place.mend()) == 1


def test_a_bad_copy_in_the_cache_is_replaced(place: Place, tmp_path: Path) -> None:
    def area() -> repository.Area:
        objects = Objects(LocalStore(str(place.root)))
        return repository.open_repository(objects, lambda: place.password, tmp_path / "cache").area("acme", "docs")

    SnapshotStore(area(), place.manifests[0])
    cached = tmp_path / "cache" / area().repository.id / f"acme/docs/tree/{place.segment(0).name}"
    whole = cached.read_bytes()
    flip(cached)
    assert everything(SnapshotStore(area(), place.manifests[0])) == place.held[0]
    assert cached.read_bytes() == whole, "who reads it throws a bad one away"
    flip(cached)
    mend.trees(area().repository, "acme", "me")
    assert not cached.exists()


def test_rows_that_could_not_mend_are_found_before_they_are_needed(place: Place) -> None:
    path = place.pages(0)
    pages = open_pages(place.area(), place.segment(0).name)
    raw = bytearray(path.read_bytes())
    raw[pages._rows[1][0][0] + 30] ^= 1
    path.write_bytes(raw)
    found = place.verify()
    assert [(each.what, each.key) for each in found.damages] == [("pages", f"acme/docs/tree/{path.name}")]
    assert not found.lost
    assert not found.lost_snapshots
    assert [place.holds(at) for at in (0, 1, 2)] == place.held
