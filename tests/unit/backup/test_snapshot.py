"""A chunk that is stored twice is read from where it is whole."""

from __future__ import annotations

import pytest

from dunlin.backup import marks
from dunlin.backup.snapshot import SnapshotStore
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.world import World

SMALL, LARGE = b"s" * 50, b"l" * 150


@pytest.fixture
def twice() -> tuple[World, list[list[str]]]:
    """What was stored, thought to be damaged, and stored again; the keys of the first packs and of the second."""
    world = World()
    packs: list[list[str]] = []
    for name in ("a", "b"):
        world.change("docs", name, SMALL)
        world.change("docs", f"d/{name}", LARGE)
        world.back_up("docs")
        area = world.area("docs")
        found = [each.key for small in (True, False) for each in area.packs(small).values()]
        packs.append([key for key in found if not packs or key not in packs[0]])
        marks.put_bad(area, found, [])
    assert [len(each) for each in packs] == [2, 2]
    return world, packs


def batches(world: World, text: str = "latest", *, listed: bool = True) -> dict[str, bytes | DunlinError]:
    """The content of all files, read by directory."""
    area = world.area("docs")
    store = SnapshotStore(area, area.manifest(area.resolve(text)))
    found: dict[str, bytes | DunlinError] = {}
    for directory in ("", "d"):
        whole = SnapshotStore(area, store.manifest) if not listed else store
        rows = [row for batch in whole.list(directory) for row in batch if row[0] in ("a", "b")]
        for (name, _), got in zip(rows, store.read_batch(directory, rows, ()), strict=True):
            found[f"{directory}/{name}".lstrip("/")] = got.error or bytes(got.data)
    return found


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["rotten", "missing"])
@pytest.mark.parametrize("listed", [True, False])
def test_what_is_whole_in_one_of_two_packs_is_read(
    twice: tuple[World, list[list[str]]], which: int, how: str, listed: bool
) -> None:
    world, packs = twice
    if how == "rotten":
        world.rot(packs[which])
    else:
        world.area("docs").objects.remove(packs[which])
    world.restores()
    assert not world.lost
    assert batches(world, listed=listed) == {"a": SMALL, "b": SMALL, "d/a": LARGE, "d/b": LARGE}
    world.verify()
    assert not world.lost


def test_what_is_in_no_pack_any_more_is_told(twice: tuple[World, list[list[str]]]) -> None:
    world, packs = twice
    world.rot(packs[0])
    world.area("docs").objects.remove(packs[1])
    found = list(batches(world).values())
    assert len(found) == 4
    for each in found:
        assert isinstance(each, DunlinError)
        assert each.kind is ErrorKind.IO
    world.verify()
    assert {data for _, data in world.lost} == {SMALL, LARGE}


def test_another_place_is_asked_for_only_where_one_is_damaged(
    twice: tuple[World, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = twice

    def unreachable(self: object, key: str) -> None:
        asked.append(key)
        raise DunlinError("read", key, ErrorKind.NETWORK, "the connection broke")

    asked: list[str] = []
    area = world.area("docs")
    store = SnapshotStore(area, area.manifest(area.resolve("latest")))
    list(store.list(""))
    entry = store.stat("a")
    monkeypatch.setattr(type(area.objects), "reader", unreachable)
    with pytest.raises(DunlinError) as raised:
        list(store.read(entry))
    assert raised.value.kind is ErrorKind.NETWORK
    assert len(asked) == 1
