"""Header and table of a segment, numbers, times."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from dunlin.backup.tree.columns import (
    ESCAPE,
    Column,
    Header,
    crc64,
    join_ticks,
    numbers,
    pack_front,
    split_times,
    unpack_front,
)
from dunlin.errors import DunlinError, ErrorKind

COLUMN = Column("f.size", "u4", 0, 128, 8, 5, 0)


def front(**changed: int) -> bytes:
    return pack_front(Header(1, 0, 1, 2, 3, 4, 192)._replace(**changed), [COLUMN])


def test_front_comes_back() -> None:
    data = front() + bytes(64)
    header, columns = unpack_front(memoryview(data), "x")
    assert header == Header(1, 0, 1, 2, 3, 4, 192)
    assert columns == {"f.size": COLUMN}
    assert len(front()) == 128


@pytest.mark.parametrize("at", [8, 9, 10, 12, 13, 14, 16, 24, 32, 40, 48, 56, 63, 64, 81, 90, 127])
def test_any_other_byte_of_the_front_is_refused(at: int) -> None:
    data = bytearray(front() + bytes(64))
    data[at] ^= 1
    with pytest.raises(DunlinError) as caught:
        unpack_front(memoryview(data), "x")
    assert caught.value.kind is (ErrorKind.NEWER if at == 9 else ErrorKind.CORRUPT)


@pytest.mark.parametrize("data", [b"", b"DUNLTREE", b"another file" * 20, front(), front() + bytes(63)])
def test_what_is_no_whole_segment_is_refused(data: bytes) -> None:
    with pytest.raises(DunlinError) as caught:
        unpack_front(memoryview(data), "x")
    assert caught.value.kind is ErrorKind.CORRUPT
    assert "\n" not in str(caught.value)


def test_a_newer_format_is_named() -> None:
    data = bytearray(front() + bytes(64))
    data[8] = 9
    with pytest.raises(DunlinError, match="it has format 9, and this program knows up to 1"):
        unpack_front(memoryview(data), "x")


def test_a_column_behind_the_end_is_refused() -> None:
    data = pack_front(Header(1, 0, 1, 2, 3, 4, 192), [COLUMN._replace(length=60)]) + bytes(64)
    with pytest.raises(DunlinError, match=r"column f\.size is cut off"):
        unpack_front(memoryview(data), "x")


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc64([b"1234", b"56789"]) == 0xAE8B14860A799888


@pytest.mark.parametrize("given", [[1, 2], array("i", [1, 2]), np.array([1, 2], np.uint16), b"\1\0\0\0\2\0\0\0"])
def test_numbers_are_taken_in_any_shape(given: object) -> None:
    assert numbers(given, "u4").tolist() == [1, 2]
    assert numbers(given, "u4").dtype == np.dtype("<u4")


def test_large_numbers_keep_every_digit() -> None:
    assert numbers([(1 << 64) - 1, 1], "u8").tolist() == [(1 << 64) - 1, 1]
    assert numbers([], "i8").tolist() == []
    for values, kind in (([1 << 32], "u4"), ([-1], "u8"), ([(1 << 64) - 1, -1], "u8"), ([1 << 63], "i8")):
        with pytest.raises(ValueError, match="does not fit"):
            numbers(values, kind)


def test_times_are_split_and_joined() -> None:
    first = (ESCAPE - 1) * 10**7 + 9_999_999
    times = np.array([0, 199, -1, -(10**16), 17_000_000_001_234_567, first, first + 1, (1 << 63) - 1], np.int64)
    seconds, ticks, outside, late = split_times(times)
    assert outside.tolist() == [2, 3, 6, 7]
    assert seconds[outside].tolist() == [ESCAPE] * 4
    whole = seconds.astype(np.int64)
    whole[outside] = late
    assert (whole * 10**7 + join_ticks(ticks)).tolist() == times.tolist()
