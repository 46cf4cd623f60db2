"""What is not sent."""

from __future__ import annotations

import pytest

from dunlin.stores.azfiles.writing import is_zero

BLOCK = 64 << 10


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_only_zeros_are_zero(size: int) -> None:
    data = bytearray(size)
    assert is_zero(bytes(data))
    assert is_zero(memoryview(data))
    for at in {0, size // 2, size - 1, min(BLOCK, size - 1)}:
        data[at] = 1
        assert not is_zero(memoryview(data))
        data[at] = 0


def test_nothing_is_not_zero() -> None:
    assert not is_zero(b"")
