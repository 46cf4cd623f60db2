"""Where the content of a file with holes comes from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dunlin.stores.azfiles.store import HOLE, _segments, _zeros
from dunlin.stores.buffers import Buffers

MIB = 1 << 20
CUTS = st.lists(st.integers(0, 64 * MIB), unique=True, max_size=12).map(sorted)


@given(CUTS, st.integers(0, 30 * MIB), st.integers(1, 40 * MIB))
def test_every_byte_comes_once_and_no_content_from_a_hole(cuts: list[int], start: int, length: int) -> None:
    held = list(zip(cuts[::2], cuts[1::2], strict=False))
    stop = start + length
    at = start
    before = None
    for first, last, hole in _segments(held, start, stop):
        assert first == at
        assert last > first
        assert hole is not before
        if hole:
            assert last - first >= HOLE
            assert not any(one < last and first < other for one, other in held)
        at, before = last, hole
    assert at == stop


def test_a_small_hole_is_content() -> None:
    held = [(0, 5 * MIB), (5 * MIB + HOLE - 1, 9 * MIB), (20 * MIB, 21 * MIB)]
    assert list(_segments(held, 0, 30 * MIB)) == [
        (0, 9 * MIB, False), (9 * MIB, 20 * MIB, True), (20 * MIB, 21 * MIB, False), (21 * MIB, 30 * MIB, True)
    ]  # fmt: skip
    assert list(_segments([], 0, 2 * MIB)) == [(0, 2 * MIB, True)]


def test_zeros_take_one_buffer_at_a_time() -> None:
    pool = Buffers(3000, 1)
    view = pool.take()
    view[:] = b"x" * 3000
    pool.give(view)
    seen = 0
    for data in _zeros(10_001, pool):
        assert not any(data)
        seen += len(data)
        pool.give(data)
    assert seen == 10_001
    assert sum(map(len, _zeros(3 * MIB + 1, None))) == 3 * MIB + 1
