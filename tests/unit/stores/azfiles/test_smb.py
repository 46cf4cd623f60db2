"""SMB times, attributes and extended attributes, from answers and to requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.model import ATIME, MODE, MTIME, UID
from dunlin.stores.azfiles import smb
from dunlin.stores.base import Meta
from dunlin.stores.objects import azure_xml as xml

HEADERS = {
    "etag": '"0x8D1"', "content-length": "7",
    "x-ms-file-creation-time": "2019-04-10T17:35:06.1234567Z",
    "x-ms-file-last-write-time": "2023-11-14T22:13:20.1234567Z",
    "x-ms-file-change-time": "2023-11-14T22:13:21.0000000Z",
    "x-ms-file-attributes": "ReadOnly | Archive", "x-ms-file-permission-key": "1*2", "x-ms-file-id": "9",
}  # fmt: skip


@given(st.integers(-(1 << 62), 1 << 62))
def test_times_keep_their_ticks(moment: int) -> None:
    text = smb.time_text(moment)
    assert len(text) == 28
    assert smb.read_time(text) == moment // 100 * 100


@pytest.mark.parametrize(
    ("text", "moment"),
    [("1970-01-01T00:00:00.0000001Z", 100), ("1970-01-01T00:00:01Z", 10**9), ("1970-01-01T00:00:00.5Z", 5 * 10**8)],
)
def test_times_with_fewer_digits(text: str, moment: int) -> None:
    assert smb.read_time(text) == moment


def test_what_an_answer_says() -> None:
    found = smb.told({**HEADERS, "x-ms-meta-mode": "100640", "x-ms-meta-uid": "5", "x-ms-meta-gid": "6"}, False)
    assert (found.size, found.etag, found.permission, found.ident) == (7, "0x8D1", "1*2", "9")
    assert found.facts[MODE] == 0o100640
    assert found.facts[UID] == 5
    assert found.facts[MTIME] == found.facts[ATIME] == 1_700_000_000_123_456_700
    assert smb.told({**HEADERS, "content-range": "bytes 0-1/50"}, False).size == 50


@pytest.mark.parametrize(
    ("kept", "mtime"),
    [("1700000000.123456789", 1_700_000_000_123_456_789), ("1700000000.123456689", 1_700_000_000_123_456_700)],
)
def test_the_exact_mtime_counts_as_long_as_nobody_else_has_written(kept: str, mtime: int) -> None:
    assert smb.told({**HEADERS, "x-ms-meta-mtime": kept}, False).facts[MTIME] == mtime


def test_only_what_a_tick_cannot_hold_is_metadata() -> None:
    assert smb.metadata_of(Meta(mtime=100), {"mtime": "1.000000001", "other": "x"}, False) == {"other": "x"}
    assert smb.metadata_of(Meta(mtime=101, mode=0o711), {}, True) == {"mtime": "0.000000101", "mode": "40711"}


NAMES = st.text(min_size=1, max_size=9).map(lambda name: f"user.{name}")


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=5))
def test_extended_attributes_come_back(given_ones: dict[str, bytes]) -> None:
    meta = Meta(xattrs=given_ones, xattr_space=("user.",))
    kept = xml.metadata_of(xml.stored_metadata(smb.metadata_of(meta, {"xattr.user.gone": "1"}, False)))
    told = smb.told(HEADERS, False)._replace(metadata=kept)
    assert smb.xattrs_of(told, "O:BA", ("user.",)) == given_ones


def test_what_only_a_share_has_is_an_extended_attribute() -> None:
    found = smb.xattrs_of(smb.told(HEADERS, False), "O:BAG:SY", ("user.",))
    assert found == {
        "user.dunlin.created": b"2019-04-10T17:35:06.1234567Z",
        "user.dunlin.changed": b"2023-11-14T22:13:21.0000000Z",
        "user.dunlin.attributes": b"ReadOnly|Archive",
        "user.dunlin.permission": b"O:BAG:SY",
    }
    meta = Meta(mtime=0, xattrs=found, xattr_space=("user.",))
    assert smb.permission_of(meta) == "O:BAG:SY"
    assert smb.smb_headers(meta, "3*4") == {
        "x-ms-file-last-write-time": "1970-01-01T00:00:00.0000000Z",
        "x-ms-file-creation-time": "2019-04-10T17:35:06.1234567Z",
        "x-ms-file-change-time": "2023-11-14T22:13:21.0000000Z",
        "x-ms-file-attributes": "ReadOnly|Archive",
        "x-ms-file-property-semantics": "Restore",
        "x-ms-file-permission-key": "3*4",
    }
    assert smb.PLAIN not in smb.metadata_of(meta, {smb.PLAIN: "1"}, False)


def test_nonsense_is_not_sent() -> None:
    wrong = {"user.dunlin.created": b"yesterday", "user.dunlin.attributes": b"a\r\nb: c"}
    assert smb.smb_headers(Meta(xattrs=wrong, xattr_space=("user.",))) == {}
