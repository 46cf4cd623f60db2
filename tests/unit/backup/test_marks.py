"""What a backup counts on, and what it does not."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from dunlin.backup import marks, pieces
from dunlin.backup.chunks import ChunkIndex, Segment
from dunlin.backup.repository import Repository
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.world import Client, World

SMALL, LARGE = b"x" * 50, b"y" * 150


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_a_pack_that_is_gone_is_not_counted_on_whatever_the_index_says(content: bytes) -> None:
    """Removed by hand, by a rule of the bucket, or by a prune while the writer of the index slept for weeks."""
    world = World()
    world.change("docs", "a", content)
    world.back_up("docs")
    small = content is SMALL
    lost = world.area("docs").packs(small)
    world.store.delete([each.key for each in lost.values()])
    world.forget("docs", 0)
    world.change("docs", "b", content)
    world.back_up("docs")
    area = world.area("docs")
    assert len(area.packs(small)) == 1
    assert not area.packs(small).keys() & lost.keys()
    world.prune()  # or the order of the index decides which of both is found
    world.restores()


def test_what_is_marked_or_missing_is_not_in_the_index_of_a_backup() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.change("docs", name, name.encode() * 150)
        world.back_up("docs")
    area = world.area("docs")
    marked, gone, there = area.packs(False).items()
    marks.put(area, [marked[1].key])
    world.store.delete([gone[1].key])
    found = ChunkIndex(marks.segments(area, False, marks.absent(area)))
    ids = [area.identify(name.encode() * 150) for name in ("a", "b", "c")]
    assert [place.pack for place in map(found.find, ids) if place is not None] == [there[0]]


def test_a_pack_that_was_cut_short_is_not_counted_on() -> None:
    """A power cut may leave its name and fewer bytes than the index names."""
    world = World()
    world.change("docs", "a", LARGE)
    world.back_up("docs")
    area = world.area("docs")
    [(pack, found)] = area.packs(False).items()
    chunk = area.identify(LARGE)
    assert [each.find(int.from_bytes(chunk[:8]), int.from_bytes(chunk[8:16])) is not None
            for each in marks.segments(area, False, frozenset())] == [True]  # fmt: skip
    whole = area.objects.get(found.key)
    [segment] = marks.segments(area, False, frozenset())
    end = segment.ends()[pack]
    for size, there in ((end, True), (end - 1, False), (0, False)):
        area.objects.remove([found.key])
        area.objects.put(found.key, whole[:size])
        place = ChunkIndex(marks.segments(area, False, frozenset())).find(chunk)
        assert (place is not None) is there, size


MARK = "acme/marks/" + "0" * 32


@pytest.mark.parametrize("keys", [[], ["acme/docs/" + "1" * 32], [f"acme/docs/{number:032x}" for number in range(5)]])
def test_marks_say_how_many_keys_there_are(keys: list[str]) -> None:
    area = World().area("docs")
    mark = marks.put(area, keys)
    assert [found.keys for found in marks.read(area).marks] == [frozenset(keys)]
    text = b"".join(area.stored(f"acme/marks/{mark.id}")).decode().split("\n")
    assert (text[0], text[-1]) == ("dunlin marks 2", f"end {len(keys)}")


@pytest.mark.parametrize("lines", [["a", "b"], ["a", "b", "end 3"], ["a", "end 2"], [], ["end 1"], ["a", "end 1", "b"]])
@pytest.mark.parametrize("kind", ["", ".gone", ".bad"])
def test_marks_that_lost_their_end_are_damaged(lines: list[str], kind: str) -> None:
    """A container that is cut at the end of a frame opens, and seems whole."""
    area = World().area("docs")
    area.put_container(MARK + kind, "\n".join(["dunlin marks 2", *lines]).encode())
    with pytest.raises(DunlinError) as error:
        marks.read(area)
    assert error.value.kind is ErrorKind.CORRUPT
    damaged: list[tuple[object, DunlinError]] = []
    assert not marks.read(area, damaged).keys  # type: ignore[arg-type]
    assert len(damaged) == 1


def test_a_mark_that_was_cut_at_the_end_of_a_frame_is_damaged() -> None:
    area = World().area("docs")
    mark = marks.put(area, [f"acme/docs/{number:032x}" for number in range(40_000)])
    key = f"acme/marks/{mark.id}"
    whole = area.objects.get(key)
    first = 4 + whole[4:].index(whole[:4])  # plain frames begin alike
    area.objects.put(key, whole[:first])
    assert len(b"".join(area.stored(key))) == 1 << 20
    with pytest.raises(DunlinError) as error:
        marks.absent(area)
    assert error.value.kind is ErrorKind.CORRUPT


def test_marks_of_the_first_form_are_read() -> None:
    area = World().area("docs")
    area.put_container(MARK, b"dunlin marks 1\na\nb")
    assert [found.keys for found in marks.read(area).marks] == [{"a", "b"}]
    area.put_container(MARK + ".gone", b"dunlin marks 3\na\nend 1")
    with pytest.raises(DunlinError) as error:
        marks.read(area)
    assert error.value.kind is ErrorKind.NEWER


def lies_in_a_file(segment: Segment) -> bool:
    base: object = segment.columns()[0]
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


def test_large_parts_of_the_index_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(pieces, "FEW", 1)
    for round_ in range(2):
        for name in ("a", "b", "c"):
            world.change("docs", name, f"{name} {round_}".encode())
        world.back_up("docs")
    area = world.area("docs")
    config, secrets, _ = area.repository.told("acme")
    area = Repository(Client(world.store), config, secrets, tmp_path).area("acme", "docs")
    pack, _ = area.packs(True)
    monkeypatch.setattr(pieces, "LARGE", 2)
    found = marks.segments(area, True, {pack})
    assert [len(each) for each in found] == [3]
    marks.put_bad(area, [area.pack_key(pack.hex(), True)], [])
    found += marks.for_reading(area, True)
    assert [len(each) for each in found] == [3, 3, 3]
    assert all(map(lies_in_a_file, found))
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
