import numpy as np
import pytest

from dunlin.backup import vectors

KINDS = {"a": "<i8", "b": "u1", "c": "<u4", "d": "<u8"}
COLUMNS = {
    "a": np.array([1, -2, 1 << 62], np.int64),
    "b": np.frombuffer(b"words", np.uint8),
    "d": np.array([(1 << 64) - 1], np.uint64),
}


def stored() -> bytes:
    return vectors.to_bytes(b"TEST", tuple(KINDS), 3, COLUMNS.items())


def test_what_is_put_in_comes_out_and_what_is_not_there_does_not() -> None:
    count, found = vectors.from_bytes(stored(), b"TEST", KINDS)
    assert count == 3
    assert {name: column.tolist() for name, column in found.items()} == {
        name: column.tolist() for name, column in COLUMNS.items()
    }


def test_older_readers_pass_over_fields_that_were_added() -> None:
    count, found = vectors.from_bytes(stored(), b"TEST", {"a": "<i8", "b": "u1"})
    assert (count, list(found)) == (3, ["a", "b"])


def test_newer_readers_find_nothing_in_fields_that_were_added() -> None:
    count, found = vectors.from_bytes(stored(), b"TEST", KINDS | {"e": "<u4"})
    assert (count, list(found)) == (3, ["a", "b", "d"])


def test_what_comes_first_stands_last() -> None:
    columns = [("b", np.frombuffer(word, np.uint8)) for word in (b"first", b"second")]
    one = vectors.to_bytes(b"TEST", tuple(KINDS), 1, [columns[0], ("a", COLUMNS["a"])])
    assert one.index(b"first") > one.index((1 << 62).to_bytes(8, "little"))


def test_another_table_is_refused() -> None:
    with pytest.raises(ValueError, match="another kind"):
        vectors.from_bytes(stored(), b"ELSE", KINDS)


def test_zeros_are_told() -> None:
    assert vectors.zeros(np.zeros(3, np.uint64))
    assert vectors.zeros(np.zeros(0, np.int64))
    assert not vectors.zeros(np.array([0, 0, -1], np.int64))
