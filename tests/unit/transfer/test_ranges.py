"""How a huge file is cut, and how the whole is proved of its ranges."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import one_shot
from dunlin.model import SIZE
from dunlin.pace.bucket import Bucket
from dunlin.report import RecordingReport
from dunlin.stores.base import Begun, Body, Meta
from dunlin.stores.local import LocalStore, local_caps
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import Counted
from dunlin.transfer import Options, ranges
from dunlin.transfer.outcome import Outcome, Range
from dunlin.transfer.site import Site
from tests.unit.stores.objects.fake_service import FakeService

STEP = 100_000
CONTENT = os.urandom(3 * STEP + 17)


@pytest.mark.parametrize(
    ("size", "part", "step", "count"),
    [
        (256 << 20, 1, 64 << 20, 4),
        ((256 << 20) + 1, 1, 64 << 20, 5),
        (256 << 20, 5 << 20, 65 << 20, 4),
        (1 << 40, 1, 256 << 20, 4096),
        ((1 << 40) + 1, 1, (256 << 20) + 1, 4096),
        (50 << 40, 5 << 30, 15 << 30, 3414),
        (1, 1, 64 << 20, 1),
    ],
)
def test_a_file_is_cut_at_multiples_of_its_parts_into_bounded_many(size: int, part: int, step: int, count: int) -> None:
    found = ranges.spans(size, part)
    assert len(found) == count
    assert [start for start, _ in found] == list(range(0, size, step))
    assert not step % part
    assert sum(length for _, length in found) == size
    assert all(length == step for _, length in found[:-1])


class Pair:
    """A file in a directory or a bucket, and a directory that it goes to."""

    def __init__(self, path: Path, bucket: Bucket) -> None:
        (path / "source").mkdir()
        (path / "target").mkdir()
        self.path = path / "target"
        self.source = LocalStore(str(path / "source"))
        self.target = LocalStore(str(path / "target"), caps=local_caps(str(path / "target")))
        self.asked = RecordingReport()
        self.bucket = bucket
        (path / "source" / "f").write_bytes(CONTENT)

    def site(self, source: Any = None, **options: Any) -> Site:
        target = Counted(self.target, self.asked)
        return Site(source or self.source, target, Options(**options), self.bucket)

    def brought(self, site: Site) -> tuple[Any, Begun, list[Range]]:
        facts, begun = ranges.begin(site, "f", "0badc0de-r1")
        spans = ranges.spans(facts[SIZE], begun.part)
        return facts, begun, [ranges.bring(site, "f", facts, begun, span) for span in spans]

    def damage(self, begun: Begun, at: int) -> None:
        with open(self.path / begun.id, "r+b") as file:
            file.seek(at)
            file.write(bytes([CONTENT[at] ^ 1]))


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(ranges, "RANGE", STEP)
    bucket = Bucket.create()
    made = Pair(tmp_path, bucket)
    yield made
    made.source.close()
    made.target.close()
    bucket.close()


def refused(kind: ErrorKind, attempt: Callable[[], Any]) -> DunlinError:
    with pytest.raises(DunlinError) as error:
        attempt()
    assert error.value.kind is kind
    return error.value


@pytest.mark.parametrize(
    ("checksum", "read"), [("blake3", len(CONTENT)), ("md5", len(CONTENT)), ("crc64", 0), ("none", 0)]
)
def test_what_arrived_is_read_again_only_for_a_digest_that_needs_it(pair: Pair, checksum: str, read: int) -> None:
    site = pair.site(checksum=checksum)
    facts, begun, found = pair.brought(site)
    assert len(found) == 4
    outcome = Outcome()
    ranges.complete(site, "f", False, facts, begun, found, outcome)
    hashed = one_shot(checksum)
    assert outcome.copied[0][-1] == (hashed(CONTENT) if hashed is not None else None)
    assert pair.asked.counts["store.bytes_read"] == read
    assert (pair.path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("at", [0, STEP - 1, STEP, 3 * STEP + 16])
def test_a_byte_that_arrived_otherwise_is_found_wherever_it_is(pair: Pair, at: int) -> None:
    site = pair.site()
    facts, begun, found = pair.brought(site)
    pair.damage(begun, at)
    error = refused(ErrorKind.CHECKSUM, lambda: ranges.complete(site, "f", False, facts, begun, found, Outcome()))
    assert error.operation == "verify"  # it was not the source that could not be read
    assert os.listdir(pair.path) == [begun.id]


def test_a_range_that_is_missing_is_found(pair: Pair) -> None:
    site = pair.site()
    facts, begun, found = pair.brought(site)
    for some in (found[:-1], [*found, found[0]]):
        refused(ErrorKind.CHECKSUM, lambda some=some: ranges.complete(site, "f", False, facts, begun, some, Outcome()))


@pytest.mark.parametrize("checksum", ["blake3", "none"])
def test_what_a_service_states_of_the_whole_is_compared_with_what_arrived(pair: Pair, checksum: str) -> None:
    source = ObjectStore(FakeService())
    source.write("f", Body(len(CONTENT), lambda start: iter([CONTENT[start:]])), meta=Meta(mtime=7))
    site = pair.site(source, checksum=checksum)
    facts, begun, found = pair.brought(site)
    ranges.complete(site, "f", False, facts, begun, found, Outcome())
    assert (pair.path / "f").read_bytes() == CONTENT
    facts, begun, found = pair.brought(site)
    pair.damage(begun, 5)
    refused(ErrorKind.CHECKSUM, lambda: ranges.complete(site, "f", False, facts, begun, found, Outcome()))


def test_a_range_whose_bytes_are_damaged_on_the_way_is_fetched_again(pair: Pair) -> None:
    site = pair.site()
    facts, begun = ranges.begin(site, "f", "0badc0de-r1")
    whole, failed = site.source.read, []

    def read(*how: Any, **more: Any) -> Iterator[Any]:
        if not failed:
            failed.append(True)
            raise DunlinError("read", "f", ErrorKind.CHECKSUM, "damaged")
        yield from whole(*how, **more)

    site.source.read = read  # type: ignore[method-assign]
    assert ranges.bring(site, "f", facts, begun, (0, STEP)).length == STEP
    failed.clear()
    site.options = site.options._replace(attempts=1)
    refused(ErrorKind.CHECKSUM, lambda: ranges.bring(site, "f", facts, begun, (0, STEP)))


def test_a_stop_ends_a_range_and_the_second_pass(pair: Pair) -> None:
    site = pair.site()
    facts, begun, found = pair.brought(site)
    pair.bucket.stop()
    refused(ErrorKind.INTERRUPTED, lambda: ranges.bring(site, "f", facts, begun, (0, STEP)))
    refused(ErrorKind.INTERRUPTED, lambda: ranges.complete(site, "f", False, facts, begun, found, Outcome()))
    assert os.listdir(pair.path) == [begun.id]


def test_a_directory_in_the_place_of_the_file_is_refused_before_a_byte_is_moved(pair: Pair) -> None:
    (pair.path / "f").mkdir()
    refused(ErrorKind.EXISTS, lambda: ranges.begin(pair.site(), "f", "0badc0de-r1"))
    assert os.listdir(pair.path) == ["f"]


def test_a_file_that_does_not_fit_is_refused_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.target, "free_space", lambda: 1000)
    refused(ErrorKind.NO_SPACE, lambda: ranges.begin(pair.site(), "f", "0badc0de-r1"))
    assert os.listdir(pair.path) == []
