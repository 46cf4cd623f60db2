"""Damage of all kinds, found and named by path; everything else is whole and restores."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from dunlin.backup import keys, rebuild, repository, verified
from dunlin.backup.objects import Objects
from dunlin.backup.prune import prune
from dunlin.backup.repository import Settings
from dunlin.backup.snapshot import SnapshotStore
from dunlin.backup.verified import Subset
from dunlin.backup.verify import Index, Looked, Verified, look_at, verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.local import LocalStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up

FILES = {f"d{number % 3}/f{number}": random.Random(number).randbytes(900) for number in range(12)}
FILES |= {"large": random.Random(99).randbytes(150_000), "d0/large": random.Random(98).randbytes(90_000)}

EVERYTHING = Subset()


class Place:
    def __init__(self, root: Path, password: bytes | None) -> None:
        self.root, self.password = root / "repository", password
        self.source = root / "source"
        for name, data in FILES.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.root.mkdir()
        repository.init(Objects(LocalStore(str(self.root))), password, Settings())
        self.back_up()

    def area(self) -> repository.Area:
        opened = repository.open_repository(Objects(LocalStore(str(self.root))), lambda: self.password)
        return opened.area("acme", "docs")

    def back_up(self) -> None:
        area = self.area()
        source = LocalStore(str(self.source))
        asked = Asked("file:///x", movers=1)
        back_up(asked, area, lambda: source, lambda: self.area().repository, Stop(), NullReport())

    def verify(self, data: Subset | None = EVERYTHING) -> Verified:
        return verify([self.area()], data=data)

    def objects(self, pattern: str) -> list[Path]:
        return sorted(path for path in self.root.glob(pattern) if path.is_file())

    def restored(self) -> dict[str, bytes]:
        """What of the newest snapshot restores."""
        area = self.area()
        store = SnapshotStore(area, area.manifest(area.resolve("latest")))
        found = {}
        for name in FILES:
            try:
                found[name] = b"".join(map(bytes, store.read(store.stat(name))))
            except DunlinError:
                continue
        return found


@pytest.fixture(params=[b"word", None], ids=["sealed", "plain"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    return Place(tmp_path, request.param)


def flip(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[at] ^= 0x10
        path.write_bytes(raw)

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


KINDS = {
    "pack": "acme/packs/*/*",
    "bundle": "acme/docs/????????????????????????????????",
    "index of packs": "acme/chunks/*",
    "index of bundles": "acme/docs/chunks/*",
    "tree": "acme/docs/tree/????????????????????????????????",
    "pages": "acme/docs/tree/*.pages",
    "snapshot": "acme/docs/snapshots/*",
}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped at the beginning": flip(30),
    "flipped at the end": flip(-40),
    "cut": cut,
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
}


def test_what_is_whole_is_told_to_be(place: Place) -> None:
    found = place.verify()
    assert found.whole
    assert (found.snapshots, found.segments, found.read_packs) == (1, 1, found.packs)
    assert found.read_bytes == found.pack_bytes == sum(
        path.stat().st_size for kind in ("pack", "bundle") for path in place.objects(KINDS[kind])
    )
    assert place.restored() == FILES


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_and_what_is_not_named_restores(
    place: Place, kind: str, damage: Callable[[Path], None]
) -> None:
    damage(place.objects(KINDS[kind])[0])
    found = place.verify()
    if kind == "snapshot" and damage is DAMAGES["removed"]:
        assert (found.snapshots, found.whole) == (0, True)  # that is what forgetting is
        return
    assert not found.whole
    lost = {each.path for each in found.lost}
    if found.lost_snapshots:
        assert kind in ("tree", "snapshot")
        return
    assert kind not in ("tree", "snapshot")
    assert lost <= {*FILES, "d0", "d1", "d2", "."}
    try:
        restored = place.restored()
    except DunlinError:
        assert kind.startswith("index") or kind == "pages"
        return
    # What lies in a directory of which nothing is known but its name may come back or not.
    whole = {name for name in FILES if name not in lost and "." not in lost and name.split("/")[0] not in lost}
    assert whole <= restored.keys()
    assert not restored.keys() & lost
    assert all(FILES[name] == data for name, data in restored.items())


def test_a_flipped_bit_in_data_is_found_only_when_data_are_read(place: Place) -> None:
    flip(600)(max(place.objects(KINDS["pack"]), key=lambda path: path.stat().st_size))
    assert place.verify(None).whole
    found = place.verify()
    assert [each.what for each in found.damages] == ["pack"]
    assert len(found.lost) == 1
    assert found.lost[0].path in ("large", "d0/large")


@pytest.mark.parametrize("kind", ["pack", "bundle", "tree", "pages", "snapshot"])
def test_two_objects_that_changed_places_are_found(place: Place, kind: str) -> None:
    (place.source / "d0/large").write_bytes(random.Random(7).randbytes(99_000))
    (place.source / "d1/f1").write_bytes(random.Random(8).randbytes(999))
    place.back_up()
    one, two = place.objects(KINDS[kind])[:2]
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)
    assert not place.verify(None).whole


def test_an_object_that_is_there_twice_does_no_harm(place: Place) -> None:
    for kind in ("pack", "bundle"):
        path = place.objects(KINDS[kind])[0]
        twin = path.with_name(path.name[:2] + 30 * "0")
        shutil.copyfile(path, twin)
    found = place.verify()
    assert not found.lost
    assert not found.lost_snapshots
    assert place.restored() == FILES
    if place.password is not None:
        assert len(found.damages) == 2  # a sealed pack opens under its own name only


def test_a_lost_index_comes_back_from_the_packs(place: Place) -> None:
    for path in [*place.objects(KINDS["index of packs"]), *place.objects(KINDS["index of bundles"])]:
        path.unlink()
    assert {each.path for each in place.verify(None).lost} == set(FILES)
    rebuild.chunk_index(place.area().repository, "acme", "me")
    assert place.verify().whole
    assert place.restored() == FILES


def test_what_is_left_of_a_cut_pack_is_found_in_its_frames(place: Place) -> None:
    path = max(place.objects(KINDS["pack"]), key=lambda each: each.stat().st_size)
    path.write_bytes(path.read_bytes()[:-200])
    done = rebuild.chunk_index(place.area().repository, "acme", "me")
    assert len(done.damaged) == 1
    assert "large" in place.restored()


def test_a_subset_goes_on_where_the_last_one_left_off(place: Place) -> None:
    (place.source / "d1/f1").write_bytes(b"new")
    place.back_up()
    packs = {**place.area().packs(True), **place.area().packs(False)}
    read = [place.verify(Subset(size=1)).read_packs for _ in packs]
    assert read == [1] * len(packs)
    assert verified.read(place.area()).keys() == packs.keys()
    assert verify([place.area()], data=Subset(), max_age=3600).read_packs == 0
    parts = [place.verify(Subset(part=(number, 3))).read_packs for number in (1, 2, 3)]
    assert sum(parts) == len(packs)


def test_a_damaged_pack_is_not_in_the_ledger_and_is_read_again(place: Place) -> None:
    cut(place.objects(KINDS["pack"])[0])
    place.verify()
    assert len(verified.read(place.area())) == len(place.objects(KINDS["pack"]) + place.objects(KINDS["bundle"])) - 1


def test_many_entries_of_the_ledger_become_one(place: Place) -> None:
    for _ in range(18):
        place.verify()
    assert len(place.objects("acme/verified/*")) == 2
    assert verify([place.area()], data=Subset(), max_age=3600).read_packs == 0


def test_an_unknown_snapshot_is_told(place: Place) -> None:
    with pytest.raises(DunlinError) as error:
        verify([place.area()], text="nothing")
    assert error.value.kind is ErrorKind.NOT_FOUND


class Beside:
    """Looks at packs as `verify` does by itself; something happens first, once: somebody else is at work."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens: Callable[[], object] | None = happens

    def __call__(self, index: Index, chosen: AbstractSet[bytes]) -> Iterator[Looked]:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        for name, each in index.packs.items():
            yield name, each, *look_at(index, name, each, read=name in chosen)


def pruned(place: Place) -> None:
    """Everything goes that the first snapshot alone needs, and it as well; what others need is copied."""
    area = place.area()
    area.objects.remove([area.snapshots()[0].key])
    before = {path.name for path in place.objects("acme/docs/*") + place.objects("acme/packs/*/*")}
    assert prune(area.repository, "acme", "box", max_unused=0.0).removed_objects
    after = {path.name for path in place.objects("acme/docs/*") + place.objects("acme/packs/*/*")}
    assert before - after
    assert after - before


def less(place: Place) -> None:
    """A second snapshot that needs half of the first one's small files."""
    for number in range(0, 12, 2):
        (place.source / f"d{number % 3}/f{number}").unlink()
    (place.source / "large").unlink()
    place.back_up()


def test_a_prune_beside_it_is_no_damage(place: Place) -> None:
    less(place)
    found = verify([place.area()], data=EVERYTHING, elsewhere=Beside(lambda: pruned(place)))
    assert (found.damages, found.lost, found.lost_snapshots, found.snapshots) == ([], [], [], 1)
    assert not place.objects("acme/marks/*.bad")


def test_an_index_that_is_replaced_while_it_is_read_is_no_damage(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    less(place)
    real, once = repository.Area.stored, [True]

    def stored(self: repository.Area, key: str) -> Iterator[bytes]:
        if "/chunks/" in key and once:
            once.clear()
            pruned(place)
        return real(self, key)

    monkeypatch.setattr(repository.Area, "stored", stored)
    found = place.verify()
    assert not once
    assert (found.damages, found.lost, found.lost_snapshots, found.snapshots) == ([], [], [], 1)


def test_a_backup_beside_it_is_for_the_next_verification(place: Place) -> None:
    def backed_up() -> None:
        (place.source / "new").write_bytes(b"new" * 40_000)
        place.back_up()

    found = verify([place.area()], data=EVERYTHING, elsewhere=Beside(backed_up))
    assert (found.whole, found.snapshots) == (True, 1)
    assert (place.verify().whole, place.verify().snapshots) == (True, 2)


def test_what_somebody_removes_beside_it_is_damage(place: Place) -> None:
    def removed() -> None:
        for path in place.objects("acme/packs/*/*"):
            path.unlink()

    found = verify([place.area()], data=EVERYTHING, elsewhere=Beside(removed))
    assert {damage.what for damage in found.damages} == {"pack"}
    assert {lost.path for lost in found.lost} == {"large", "d0/large"}
    assert place.objects("acme/marks/*.bad")
