from dataclasses import replace

import pytest

from dunlin.backup import manifest
from dunlin.backup.manifest import Manifest, SegmentRef, Totals
from dunlin.errors import DunlinError, ErrorKind

FULL = Manifest(
    id="ab" * 16,
    time=1_763_790_000_123_456_789,
    tenant="acme",
    share="docs",
    source="file:///srv/dòcs",
    host="box",
    tags=("nightly", "été"),
    parent="cd" * 16,
    segments=(SegmentRef("11" * 16, 5, 1 << 40, bytes(range(32))), SegmentRef("22" * 16, 0, 0, b"")),
    next_node=1 << 62,
    selection="0123",
    content=False,
    complete=False,
    started=-1,
    program="0.1",
    totals=Totals(*range(1, 13)),
)


@pytest.mark.parametrize("what", [FULL, Manifest(id="ab" * 16, time=0, tenant="t", share="s")])
def test_a_manifest_comes_back(what: Manifest) -> None:
    assert manifest.from_bytes(manifest.to_bytes(what), "x") == what


@pytest.mark.parametrize("name", ["", "../../../../home/x", "11" * 15, "11" * 16 + "\n", "11" * 16 + ".pages"])
def test_a_segment_that_is_called_otherwise_is_damage(name: str) -> None:
    with pytest.raises(DunlinError) as error:
        manifest.from_bytes(manifest.to_bytes(replace(FULL, segments=(SegmentRef(name, 1, 1, b""),))), "x")
    assert error.value.kind is ErrorKind.CORRUPT


def test_names_sort_by_time() -> None:
    assert FULL.key == f"acme/docs/snapshots/20251122T054000.123456Z-{'ab' * 16}"
    later = replace(FULL, time=FULL.time + 1000, id="00" * 16)
    assert later.name > FULL.name


def test_a_newer_format_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "VERSION", 2)
    data = manifest.to_bytes(FULL)
    monkeypatch.undo()
    with pytest.raises(DunlinError, match="use a newer dunlin") as error:
        manifest.from_bytes(data, "x")
    assert error.value.kind is ErrorKind.NEWER


def test_fields_that_are_not_known_yet_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = (*manifest._SLOTS, "later")
    monkeypatch.setattr(manifest, "_SLOTS", longer)
    data = manifest.to_bytes(FULL)
    monkeypatch.undo()
    assert manifest.from_bytes(data, "x") == FULL


@pytest.mark.parametrize("data", [b"", b"1234", b"\xff\xff\xff\xffDLSN", b"\x08\0\0\0DLSN" + bytes(20)])
def test_damage_is_said(data: bytes) -> None:
    with pytest.raises(DunlinError, match="where it lies"):
        manifest.from_bytes(data, "where it lies")
