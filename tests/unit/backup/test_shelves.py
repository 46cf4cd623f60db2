"""What is needed of packs comes out the same, whatever memory there is to find it out."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from dunlin.backup import chunks, pieces, prune
from dunlin.backup.buckets import Buckets
from dunlin.backup.chunks import Segment
from dunlin.backup.prune import Pruned
from dunlin.backup.repository import open_repository
from dunlin.backup.shelves import COST, Pile, Shelves
from dunlin.backup.words import Location
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import MemoryStore
from tests.unit.backup.world import CONTENTS, NAMES, Client, World, every

CHUNKS, PACKS = 900, 12


def pack(number: int) -> bytes:
    return bytes([number]) * 16


def shelves(folder: Path, most: int) -> tuple[Shelves, list[bytes]]:
    """A hundred chunks in each pack, eight in a frame, some of them twice; every other chunk of some is needed."""
    chance = random.Random(7)
    ids = [chance.randbytes(32) for _ in range(CHUNKS)]
    segments: list[tuple[str, Segment]] = []
    for number in range(PACKS):
        some = ids[number * 75 : number * 75 + 100]
        rows = [(chunk, Location(pack(number), at // 8 * 1000, 700 + number, at % 8 * 512 + 512))
                for at, chunk in enumerate(some)]  # fmt: skip
        segments.append((f"{number}", chunks.build(rows)))
    wanted = [chunk for at, chunk in enumerate(ids) if at // 75 % 3 and at % 2]
    pile = Pile(segments)
    ranges = pieces.ranges(pile.rows, most)
    need = Buckets(folder, [first for first, _ in ranges[1:]], 2, once=True)
    halves = np.frombuffer(b"".join(chunk[:16] for chunk in wanted), ">u8").reshape(-1, 2)
    need.add([halves[:, 0], halves[:, 1]])
    packs = {pack(number): None for number in range(PACKS)}
    return Shelves(None, True, pile, packs, need, ranges, folder), wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [1, 10, 333])
def test_packs_are_weighed_alike_whatever_the_number_of_ranges(most: int, tmp_path: Path) -> None:
    one, wanted = shelves(tmp_path, 1 << 20)
    many, _ = shelves(tmp_path, most)
    assert (len(one.ranges), len(many.ranges)) == (1, -(-one.pile.rows // most))
    leave = {pack(4)}
    expected, found = (each.weigh(each.there(leave), each.all_there({pack(5)})) for each in (one, many))
    for name, before, after in zip(expected._fields, expected, found, strict=True):
        assert np.array_equal(before, after), name
    assert expected.missing == 0
    assert expected.last[4]  # what is in it alone is needed
    assert not expected.used[4]
    assert expected.used.any()
    assert (expected.taken <= expected.held).all()
    assert expected.held[3] == 13 * 703  # all of its frames, whatever of them is elsewhere, too
    assert len(wanted) > 200


@pytest.mark.parametrize("most", [1, 10, 333])
def test_needed_chunks_are_told_pack_by_pack_in_their_order(most: int, tmp_path: Path) -> None:
    one, _ = shelves(tmp_path, 1 << 20)
    many, _ = shelves(tmp_path, most)
    chosen = {pack(1), pack(2), pack(7)}
    expected, found = (dict(each.places(each.there(), chosen)) for each in (one, many))
    assert expected == found
    assert set(found) <= chosen
    assert sum(map(len, found.values())) > 50
    for places in found.values():
        order = [(place.offset, place.inside) for place, _ in places]
        assert order == sorted(order)


def test_what_is_missing_is_counted_in_every_range(tmp_path: Path) -> None:
    found, wanted = shelves(tmp_path, 50)
    weighed = found.weigh([found.pile.mask(set())], [found.pile.mask(set())])
    assert weighed.missing == len(wanted)


def test_a_pile_is_written_again_in_pieces_that_overlap_in_nothing(tmp_path: Path) -> None:
    found, _ = shelves(tmp_path, 50)
    whole = list(found.pile.again([found.pile.mask({pack(2)}), found.pile.mask({pack(1)})], 100))
    assert len(whole) == PACKS
    assert len(chunks.in_order(whole)) == 1
    assert sum(map(len, whole)) == 175  # of the 25 in both those of the first group
    rows = [bytes(each.packs[at]) for each in whole for at in each.columns()[2].tolist()]
    assert rows.count(pack(2)) == 100


def contents_of(store: MemoryStore) -> dict[str, bytes]:
    names = [name for batch in store.walk("") for name, facts in batch if not facts[0] & 0o040000]
    return {name: b"".join(map(bytes, store.read(store.stat(name)))) for name in names}


def test_a_prune_with_hardly_any_memory_does_the_same() -> None:
    world = World()
    for number, data in enumerate(CONTENTS * 2):
        world.change("docs", f"n{number}" if number % 2 else NAMES[number % 6], data + bytes([number]))
        world.change("pictures", f"p{number % 7}", data)
        world.back_up("docs")
        if number % 3 == 0:
            world.back_up("pictures")
    for _ in range(15):
        world.forget("docs", 0)
    before = {key: b"".join(map(bytes, world.store.read(world.store.stat(key)))) for key in every(world)}
    times = world.now
    told: list[Pruned] = []
    left: list[list[tuple[int, int]]] = []
    for memory in (1 << 28, COST):
        world.now = times
        world.store = MemoryStore(clock=world.tick)
        for key, data in before.items():
            folder = ""
            for name in key.split("/")[:-1]:
                folder = f"{folder}/{name}".lstrip("/")
                world.store.make_directory(folder)
            world.store.write(key, Body(len(data), lambda start, data=data: iter([data[start:]])), meta=Meta())  # type: ignore[misc]
        repository = open_repository(Client(world.store), lambda: None)
        told.append(prune.prune(repository, "acme", "me", max_unused=0.1, most_small=3, memory=memory))
        world.restores()
        area = world.area("docs")
        packs = [each for small in (True, False) for each in area.packs(small).values()]
        rows = sum(len(each) for small in (True, False) for _, each in area.chunk_segments(small))
        left.append([(len(packs), sum(each.size for each in packs)), (rows, 0)])
    assert told[0] == told[1]
    assert told[0].copied_packs + told[0].joined_packs > 0
    assert left[0] == left[1]
