"""POSIX facts and object metadata."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.model import ATIME, CTIME, FACTS, GID, MODE, MTIME, UID, Kind, is_directory, is_file
from dunlin.stores.base import Meta
from dunlin.stores.objects.metadata import DIRECTORY, facts, facts_of, metadata_of, read_time, time_text
from dunlin.stores.objects.service import Object

TIMES = st.integers(-(1 << 63), (1 << 63) - 1)
OWNERS = st.integers(0, 0xFFFFFFFE)


@given(st.none() | TIMES, st.none() | TIMES, st.none() | st.integers(0, 0o7777), st.none() | OWNERS, st.none() | OWNERS)
def test_what_is_stored_comes_back(
    mtime: int | None, atime: int | None, mode: int | None, uid: int | None, gid: int | None
) -> None:
    metadata = metadata_of(Meta(mode=mode, uid=uid, gid=gid, mtime=mtime, atime=atime))
    found = facts(3, 77, "etag", metadata)
    shown = 77 if mtime is None else mtime
    assert found == (
        stat.S_IFREG | (mode or 0), 3, shown, uid, gid, 77, 1, 0, "etag", shown if atime is None else atime, 0
    )
    assert all(key == key.lower() and value.isascii() for key, value in metadata.items())


@given(TIMES)
def test_times_to_the_nanosecond(moment: int) -> None:
    assert read_time(time_text(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.", 1_700_000_000_000_000_000),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.1234567899", 1_700_000_000_123_456_789),
        ("-0.000000001", -1),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20.1+01:00", 1_700_000_000_100_000_000),
        ("1969-12-31T23:59:59.25Z", -750_000_000),
        ("2023-02-31T00:00:00Z", None),
        ("99999999999", None),
        ("yesterday", None),
        ("1e9", None),
        ("", None),
        (" 1", None),
        ("\u0661", None),
    ],
)
def test_forms_of_times(text: str, moment: int | None) -> None:
    assert read_time(text) == moment


@pytest.mark.parametrize(
    ("mode", "bits"), [("100644", 0o644), ("644", 0o644), ("120777", 0o777), ("0104755", 0o4755), ("9", 0), ("-1", 0)]
)
def test_forms_of_modes(mode: str, bits: int) -> None:
    found = facts(0, 0, "", {"mode": mode})
    assert stat.S_IMODE(found[MODE]) == bits
    assert is_file(found)


@pytest.mark.parametrize("owner", ["", "root", "-1", "4294967295", "99999999999", "1.0"])
def test_owners_that_no_file_has_are_none(owner: str) -> None:
    found = facts(0, 0, "", {"uid": owner, "gid": owner})
    assert found[UID] is found[GID] is None


def test_not_told_is_not_the_same_as_not_there() -> None:
    untold = facts_of(Object("k", 1, 5, "e"))
    assert (untold[MTIME], untold[ATIME], untold[UID], untold[CTIME]) == (None, None, None, 5)
    none = facts_of(Object("k", 1, 5, "e", {}))
    assert (none[MTIME], none[ATIME], none[UID], none[CTIME]) == (5, 5, None, 5)
    others = facts_of(Object("k", 1, 5, "e", {"colour": "red", "mtime": "no time"}))
    assert others == none


def test_foreign_metadata_stays() -> None:
    kept = {"colour": "red", "mtime": "1.000000000", "uid": "7"}
    assert metadata_of(Meta(mtime=2_000_000_000), kept) == {"colour": "red", "mtime": "2.000000000", "uid": "7"}
    assert kept["mtime"] == "1.000000000"


def test_a_directory_knows_nothing_of_itself() -> None:
    assert is_directory(DIRECTORY)
    assert len(DIRECTORY) == len(FACTS)
    assert DIRECTORY[MODE] == Kind.DIRECTORY
    assert DIRECTORY[MTIME] is DIRECTORY[UID] is None
