import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.backup import chunks
from dunlin.backup.words import Location, Stored
from dunlin.errors import DunlinError, ErrorKind


def chunk(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def location(number: int) -> Location:
    return Location(b"pack%012d" % (number % 7), number * 1000, 100 + number, 512 * (1 + number % 200))


def segment(numbers: list[int]) -> chunks.Segment:
    return chunks.build((chunk(number), location(number)) for number in numbers)


def find(where: chunks.Segment, number: int) -> Location | None:
    key = chunk(number)
    return where.find(int.from_bytes(key[:8]), int.from_bytes(key[8:16]))


@given(st.lists(st.integers(0, 5000), max_size=60, unique=True))
def test_a_segment_holds_what_it_was_built_of_also_when_stored(numbers: list[int]) -> None:
    built = segment(numbers)
    data = chunks.to_bytes(built)
    stored = chunks.from_buffer(data, "x")
    for number in numbers:
        assert find(built, number) == find(stored, number) == location(number)
    assert find(stored, 6000) is None
    assert len(data) == 32 + 16 * len({location(number).pack for number in numbers}) + 28 * len(numbers)


def test_the_largest_place_fits() -> None:
    far = Location(b"p" * 16, (1 << 32) - 1, (1 << 24) - 1, 255 * 512)
    built = chunks.from_buffer(chunks.to_bytes(chunks.build([(chunk(1), far)])), "x")
    assert find(built, 1) == far


def test_ids_that_begin_alike_are_told_apart() -> None:
    ids = [bytes(8) + bytes([i]) * 24 for i in range(5)]
    built = chunks.build((key, location(i)) for i, key in enumerate(ids))
    for i, key in enumerate(ids):
        assert built.find(0, int.from_bytes(key[8:16])) == location(i)


def test_merging_keeps_the_place_of_the_earlier_segment() -> None:
    again = chunks.build([(chunk(1), location(99)), (chunk(5), location(5))])
    merged = chunks.merge([segment([1, 2]), again])
    assert [find(merged, number) for number in (1, 2, 5)] == [location(1), location(2), location(5)]
    assert len(merged) == 3


def test_the_index_finds_what_was_stored_before_and_what_was_added() -> None:
    index = chunks.ChunkIndex([segment([1, 2]), segment([3])])
    place = location(4)
    index.add(place.pack, [Stored(chunk(4), place.offset, place.length, place.inside, 5)])
    assert [index.find(chunk(number)) for number in (1, 3, 4, 5)] == [location(1), location(3), place, None]


@pytest.mark.parametrize("segments", [[], [[1, 2, 7]], [[1], [2, 5], [7, 9]]])
def test_many_are_found_at_once_whatever_they_lie_in(segments: list[list[int]]) -> None:
    index = chunks.ChunkIndex([segment(numbers) for numbers in segments])
    wanted = [7, 3, 1, 2, 7]
    found = index.find_many(b"".join(chunk(number) for number in wanted))
    columns = zip(*(column.tolist() for column in found[1:]), strict=True)
    there = [Location(found.names[pack], *where) if pack >= 0 else None for pack, *where in columns]
    known = {number for numbers in segments for number in numbers}
    assert there == [location(number) if number in known else None for number in wanted]
    assert len(found.names) == len(known & set(wanted))  # and not of all that each segment names
    assert [len(column) for column in index.find_many(b"")[1:]] == [0] * 4


def test_a_delta_becomes_segments_that_are_merged_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "DELTA", 10)
    index = chunks.ChunkIndex()
    for number in range(85):
        place = location(number)
        index.add(place.pack, [Stored(chunk(number), place.offset, place.length, place.inside, 5)])
    assert [len(each) for each in index._fresh] == [80]
    assert [index.find(chunk(number)) for number in range(85)] == [location(number) for number in range(85)]
    taken = index.take()
    assert taken is not None
    assert len(taken) == 85
    assert index.take() is None
    assert index.find(chunk(84)) == location(84)


@pytest.mark.parametrize("at", [0, 5, 10, 40, -9, -1])
def test_damage_is_seen(at: int) -> None:
    data = bytearray(chunks.to_bytes(segment([1, 2, 3])))
    data[at] ^= 0x80
    with pytest.raises(DunlinError) as error:
        chunks.from_buffer(bytes(data), "somewhere")
    assert error.value.kind in (ErrorKind.CORRUPT, ErrorKind.NEWER)
    assert "somewhere" in str(error.value)


@pytest.mark.parametrize("size", [0, 3, 31, 60])
def test_a_segment_that_is_cut_short_is_damaged(size: int) -> None:
    with pytest.raises(DunlinError):
        chunks.from_buffer(chunks.to_bytes(segment([1, 2, 3]))[:size], "x")


def test_every_place_of_a_chunk_is_told_once_the_best_first() -> None:
    first, second = chunks.build([(chunk(1), location(2))]), segment([1, 3])
    index = chunks.ChunkIndex([first, second, segment([1])])
    assert list(index.places(chunk(1))) == [location(2), location(1)]
    assert list(index.places(chunk(3))) == [location(3)]
    assert list(index.places(chunk(5))) == []


def test_merging_may_keep_a_chunk_of_each_pack_that_holds_it() -> None:
    places = [location(1), location(2), location(8), location(1)]  # the third is in the same pack as the first
    merged = chunks.merge([chunks.build([(chunk(1), place)]) for place in places] + [segment([5])], every=True)
    packs = [bytes(merged.packs[at]) for at in merged.columns()[2].tolist()]
    found = [Location(pack, int(offset), int(frame) >> 8, (int(frame) & 0xFF) * 512)
             for pack, offset, frame in zip(packs, *merged.columns()[3:], strict=True)]  # fmt: skip
    assert sorted(found) == sorted([location(1), location(2), location(5)])


def test_what_a_run_stores_is_asked_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    index = chunks.ChunkIndex([segment([1000])])
    for number in range(300):
        for each in range(1 + number % 3):
            place = location(number)
            index.add(place.pack, [Stored(chunk(10 * number + each), *place[1:], 5)])
        assert index.take() is not None
    asked = []
    real = chunks.Segment.places
    monkeypatch.setattr(chunks.Segment, "places", lambda *words: (asked.append(1), real(*words))[1])
    assert index.find(chunk(5000)) is None
    assert len(asked) <= 10
    assert all(index.find(chunk(10 * number)) == location(number) for number in range(300))
    assert (index.find_many(b"".join(chunk(10 * number) for number in range(300))).pack >= 0).all()


def test_segments_that_do_not_overlap_are_one_run() -> None:
    whole = segment(list(range(500)))
    middle = chunks.ENDS // 2
    halves = [whole.cut(0, middle), whole.cut(middle, chunks.ENDS)]
    assert sum(map(len, halves)) == 500
    assert 100 < len(halves[0]) < 400
    assert len(chunks.in_order(halves)) == len(chunks.in_order(halves[::-1])) == 1
    assert len(chunks.in_order([*halves, whole])) == len(chunks.in_order([halves[0], whole, halves[1]])) == 2
    assert len(chunks.in_order([whole, whole, whole, segment([])])) == 3
    index = chunks.ChunkIndex(halves)
    assert [index.find(chunk(number)) for number in range(500)] == [location(number) for number in range(500)]


def test_of_segments_that_overlap_the_earlier_is_asked_first() -> None:
    """Also where a later one would fit beside one that is asked before."""
    ids = sorted(chunk(number) for number in range(4))
    low, high = chunks.build([(ids[0], location(1))]), chunks.build([(ids[3], location(2))])
    wide = chunks.build([(ids[0], location(3)), (ids[3], location(4))])
    index = chunks.ChunkIndex([low, wide, high])
    assert [index.find(ids[0]), index.find(ids[3])] == [location(1), location(4)]
    assert list(index.places(ids[3])) == [location(4), location(2)]


def test_what_merging_leaves_out_is_told() -> None:
    again = chunks.build([(chunk(1), location(99)), (chunk(5), location(5))])
    kept, rest = chunks.split([segment([1, 2]), again])
    assert [find(kept, number) for number in (1, 2, 5)] == [location(1), location(2), location(5)]
    assert (len(rest), find(rest, 1)) == (1, location(99))


def test_a_segment_in_a_file_says_the_same(tmp_path: Path) -> None:
    whole = segment(list(range(50)))
    there = chunks.mapped(whole, tmp_path)
    assert there is not whole
    assert [find(there, number) for number in range(50)] == [location(number) for number in range(50)]
    assert list(tmp_path.iterdir()) == []
    assert chunks.mapped(whole, tmp_path / "nowhere") is whole


def test_a_tidy_segment_names_the_packs_that_it_speaks_of() -> None:
    whole = segment(list(range(50)))
    part = chunks.tidy(whole.part({location(3).pack}, inside=True))
    assert [bytes(pack) for pack in part.packs] == [location(3).pack]
    assert find(part, 3) == find(part, 10)._replace(offset=3000, length=103, inside=512 * 4)  # type: ignore[union-attr]


def test_ids_that_begin_alike_are_merged_in_their_order() -> None:
    ids = [bytes(8) + bytes([i]) * 24 for i in range(6)]
    parts = [chunks.build([(ids[i], location(i)), (ids[i + 3], location(i + 3))]) for i in (2, 0, 1)]
    whole = chunks.merge(parts)
    assert whole.columns()[1].tolist() == sorted(int.from_bytes(key[8:16]) for key in ids)
    assert [whole.find(0, int.from_bytes(key[8:16])) for key in ids] == [location(i) for i in range(6)]
