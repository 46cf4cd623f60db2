"""Which downloads are continued, and how the whole is proved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, SIZE, Entry
from dunlin.pace.bucket import Bucket
from dunlin.report import NullReport
from dunlin.stores.base import Meta
from dunlin.stores.local import LocalStore
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.transfer import Options, content, resume
from dunlin.transfer.resume import CONTINUED, Resumable, Witness, resumable, version_of
from dunlin.transfer.site import Site
from dunlin.transfer.stream import stream_file
from tests.unit.stores.objects.fake_service import FakeService

DATA = bytes(range(256)) * 400
SHA = Options(checksum="sha256")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket.create()
    yield made
    made.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "CONTINUED", 1000)


def filled(**options: Any) -> tuple[FakeService, ObjectStore, Entry]:
    service = FakeService(**options)
    service.fill("d/k", data=DATA)
    store = ObjectStore(service)
    return service, store, store.stat("d/k")


def test_a_version_is_a_place_a_path_an_etag_and_a_size(small: None) -> None:
    _, store, entry = filled()

    def version(path: str = "d/k", store: Any = store, **facts: Any) -> str:
        changed = list(entry.facts)
        for at, value in facts.items():
            changed[{"size": SIZE, "etag": IDENT}[at]] = value
        return version_of(store, path, tuple(changed))  # type: ignore[arg-type]

    first = version()
    assert len(first) == 16
    assert int(first, 16)
    assert version() == first
    others = {version("d/l"), version(size=4000), version(etag="x"), version(store=ObjectStore(store.service, "r/"))}
    assert len(others | {first}) == 5


def test_only_large_versions_with_a_name_from_far_away_are_continued(small: None) -> None:
    _, store, entry = filled()
    assert version_of(store, "k", (*entry.facts[:IDENT], "", *entry.facts[IDENT + 1 :])) == ""
    assert version_of(store, "k", (entry.facts[0], 1000, *entry.facts[2:])) == ""
    assert version_of(MemoryStore(), "k", entry.facts) == ""
    assert CONTINUED == 100_000_000


def test_the_digest_is_asked_for_once_and_for_large_objects_only(small: None) -> None:
    service, store, entry = filled()
    service.requests.clear()
    stated = ("md5", hashlib.md5(DATA).digest())
    assert resumable(store, entry) == Resumable(version_of(store, "d/k", entry.facts), stated)
    assert service.requests == {"stated": 1}
    assert resumable(MemoryStore(), entry) is None
    _, store, entry = filled(states_md5=False)
    found = resumable(store, entry)
    assert found is not None
    assert found.stated is None


def begun(tmp_path: Path, found: Resumable, data: bytes) -> LocalStore:
    (tmp_path / f".dunlin-{found.version}-0.part").write_bytes(data)
    return LocalStore(str(tmp_path))


@pytest.mark.parametrize("have", [1, 50_000, len(DATA)])
@pytest.mark.parametrize("checksum", ["sha256", "none"])
def test_a_continued_file_has_the_digest_of_the_whole(
    small: None, tmp_path: Path, bucket: Bucket, have: int, checksum: str
) -> None:
    service, store, entry = filled()
    found = resumable(store, entry)
    assert found is not None
    target = begun(tmp_path, found, DATA[:have])
    service.calls.clear()
    done = stream_file(
        store, target, entry, "k", Meta(), Options(checksum=checksum), 1 << 20, bucket, NullReport(), 0, found
    )
    assert (tmp_path / "k").read_bytes() == DATA
    assert done.digest == (hashlib.sha256(DATA).digest() if checksum == "sha256" else None)
    assert [call[2] for call in service.calls if call[0] == "get"] == ([have] if have < len(DATA) else [])


@pytest.mark.parametrize("have", [50_000, len(DATA)])
@pytest.mark.parametrize("checksum", ["sha256", "none"])
def test_a_damaged_beginning_is_noticed_and_not_kept(
    small: None, tmp_path: Path, bucket: Bucket, have: int, checksum: str
) -> None:
    _, store, entry = filled()
    found = resumable(store, entry)
    assert found is not None
    target = begun(tmp_path, found, b"\1" + DATA[1:have])
    options = Options(checksum=checksum)
    with pytest.raises(DunlinError) as caught:
        stream_file(store, target, entry, "k", Meta(), options, 1 << 20, bucket, NullReport(), 0, found)
    assert caught.value.kind is ErrorKind.CHECKSUM
    assert list(tmp_path.iterdir()) == []
    stream_file(store, target, entry, "k", Meta(), options, 1 << 20, bucket, NullReport(), 0, found)
    assert (tmp_path / "k").read_bytes() == DATA


def test_a_stop_ends_the_reading_of_what_is_there_and_keeps_it(small: None, tmp_path: Path, bucket: Bucket) -> None:
    _, store, entry = filled()
    found = resumable(store, entry)
    assert found is not None
    target = begun(tmp_path, found, DATA[:50_000])
    bucket.stop()
    with pytest.raises(DunlinError) as caught:
        stream_file(store, target, entry, "k", Meta(), SHA, 1 << 20, bucket, NullReport(), 0, found)
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [DATA[:50_000]]


def test_a_witness_without_a_stated_digest_believes(bucket: Bucket) -> None:
    witness = Witness("sha256", None, "k", bucket)
    witness.see(DATA[:1000])
    witness.update(DATA[1000:])
    assert witness.seen_bytes == 1000
    assert witness.digest() == hashlib.sha256(DATA).digest()


@pytest.mark.parametrize(
    ("have", "free", "fits"), [(0, len(DATA) - 1, False), (0, len(DATA), True), (60_000, 50_000, True)]
)
def test_what_is_there_already_needs_no_room(
    small: None, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, have: int, free: int, fits: bool
) -> None:
    _, store, entry = filled()
    (tmp_path / "d").mkdir()
    found = resumable(store, entry)
    assert found is not None
    begun(tmp_path / "d", found, DATA[:have])
    target = LocalStore(str(tmp_path))
    monkeypatch.setattr(target, "free_space", lambda: free)
    site = Site(store, target, SHA, bucket)
    monkeypatch.setattr(content, "FETCHED", 1000)
    if fits:
        content._move_content(site, target, entry)
        assert (tmp_path / "d" / "k").read_bytes() == DATA
        return
    with pytest.raises(DunlinError) as caught:
        content._move_content(site, target, entry)
    assert caught.value.kind is ErrorKind.NO_SPACE
