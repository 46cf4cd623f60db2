"""codec: every name and number survives the way into SQLite and back."""

from __future__ import annotations

import apsw
from hypothesis import given
from hypothesis import strategies as st

from dunlin.state.codec import MAX, MIN, decode_name, encode_name, fit, signed

names = st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
# what the file system gives: bytes decoded with surrogateescape, so never half a pair on its own
real = names.filter(lambda name: not any(0xD800 <= ord(c) < 0xDC80 or ord(c) > 0xDCFF for c in name if ord(c) < 0xE000))


@given(real)
def test_name_survives_sqlite(name: str) -> None:
    connection = apsw.Connection(":memory:")
    (stored,) = connection.execute("SELECT ?", (encode_name(name),)).fetchall()[0]
    connection.close()
    assert decode_name(stored) == name


@given(st.lists(real.map(lambda name: name.encode("utf-8", "surrogateescape")), max_size=8, unique=True))
def test_text_sorts_as_its_bytes_and_before_every_blob(raw: list[bytes]) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (n, k BLOB)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(encode_name(_text(k)), k) for k in raw])
    found = connection.execute("SELECT typeof(n), k FROM t ORDER BY n").fetchall()
    connection.close()
    assert found == sorted(found, key=lambda row: (row[0] == "blob", row[1]))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@given(st.integers(0, 2**64 - 1))
def test_unsigned_numbers_fit_and_stay_different(number: int) -> None:
    assert MIN <= signed(number) <= MAX
    assert signed(number) % 2**64 == number


def test_what_does_not_fit_is_made_to() -> None:
    assert fit(("a\udcff", 2**70, -(2**70), None, b"x", 1.5, 3)) == (b"a\xff", MAX, MIN, None, b"x", 1.5, 3)
