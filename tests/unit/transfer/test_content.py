"""One file's way where object stores are concerned: who moves the bytes, and which times are believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CHANGED, IDENT, MTIME, Facts, Row
from dunlin.pace.bucket import Bucket
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import Paced
from dunlin.transfer.content import ANY_SERVICE, copy_file
from dunlin.transfer.directory import dressed
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import Site
from tests.contract.support import FreeBucket
from tests.unit.stores.objects.fake_service import FakeService

Make = Callable[..., Site]
DRESSED = {"mtime": "1600000000.000000007", "mode": "100640", "uid": "7", "gid": "8"}


@pytest.fixture
def here() -> FakeService:
    service = FakeService()
    service.put("d/f", b"content", DRESSED)
    return service


@pytest.fixture
def there() -> FakeService:
    return FakeService()


def row(service: FakeService, path: str, mtime: int | None = None) -> Row:
    """As a merge would have it, perhaps with a time that it was told."""
    what: Facts = ObjectStore(service).stat(path).facts
    return (path.rpartition("/")[2], (*what[:MTIME], mtime, *what[MTIME + 1 :]) if mtime is not None else what, None)


def bring(site: Site, mine: Row, directory: str = "d") -> Outcome:
    outcome = Outcome()
    copy_file(site, directory, mine, outcome)
    return outcome


def test_the_service_copies_between_its_buckets(site: Make, here: FakeService, there: FakeService) -> None:
    made = site(source=ObjectStore(here), target=ObjectStore(there))
    here.requests.clear()
    outcome = bring(made, row(here, "d/f"))
    assert (there.objects["d/f"].data, there.objects["d/f"].metadata) == (b"content", DRESSED)
    assert (here.requests["get"], there.requests["put"], there.requests["copy"]) == (0, 0, 1)
    assert outcome.counts == {"copied_files": 1, "copied_bytes": 7}
    assert outcome.copied[0][:3] == ("f", 7, 1_600_000_000_000_000_007)


def test_a_time_that_nobody_knows_reaches_no_object(site: Make, here: FakeService, there: FakeService) -> None:
    made = site(source=ObjectStore(here), target=ObjectStore(there))
    mine = row(here, "d/f", CHANGED)
    outcome = bring(made, mine)
    assert there.objects["d/f"].metadata["mtime"] == DRESSED["mtime"]
    assert outcome.copied[0][2] == 1_600_000_000_000_000_007
    made.copies = None
    there.delete(["d/f"])
    outcome = bring(made, mine)
    assert there.objects["d/f"].metadata["mtime"] == DRESSED["mtime"]
    assert outcome.copied[0][2] == 1_600_000_000_000_000_007


@pytest.mark.parametrize("kind", [ErrorKind.UNSUPPORTED, ErrorKind.DENIED])
def test_a_service_that_will_not_copy_is_asked_once(
    site: Make, here: FakeService, there: FakeService, kind: ErrorKind
) -> None:
    made = site(source=ObjectStore(here), target=ObjectStore(there))
    there.faults["copy"] = [DunlinError("copy to", "x", kind)]
    for _ in range(2):
        bring(made, row(here, "d/f"))
    assert there.objects["d/f"].data == b"content"
    assert (there.requests["copy"], there.requests["put"]) == (1, 2)


def test_one_object_that_is_too_large_says_nothing_of_others(
    site: Make, here: FakeService, there: FakeService
) -> None:
    made = site(source=ObjectStore(here), target=ObjectStore(there))
    there.faults["copy"] = [DunlinError("copy to", "x", ErrorKind.UNSUPPORTED)]
    name, what, _ = row(here, "d/f")
    assert what is not None

    class Large:
        """Says that it cannot, of an object over what any service copies."""

        def copy_into(self, entry: Any, *_: Any, **__: Any) -> Any:
            assert entry.size > ANY_SERVICE
            raise DunlinError("copy", "x", ErrorKind.UNSUPPORTED)

    made.copies = large = Large()  # type: ignore[assignment]
    bring(made, (name, (what[0], ANY_SERVICE + 1, *what[2:]), None))
    assert made.copies is large


def test_bytes_that_must_be_seen_are_not_copied_elsewhere(
    site: Make, here: FakeService, there: FakeService
) -> None:
    for source, target in (
        (Paced(ObjectStore(here), FreeBucket()), ObjectStore(there)),
        (ObjectStore(here), Paced(ObjectStore(there), FreeBucket())),
    ):
        there.delete(["d/f"])
        bring(site(source=source, target=target), row(here, "d/f"))
        assert there.objects["d/f"].data == b"content"
    assert there.requests["copy"] == 0


def test_another_version_than_the_listed_one_is_looked_up_and_tried_again(
    site: Make, here: FakeService, there: FakeService
) -> None:
    name, what, _ = row(here, "d/f")
    assert what is not None
    listed = (*what[:IDENT], "an old etag", *what[IDENT + 1 :])
    outcome = bring(site(source=ObjectStore(here), target=ObjectStore(there)), (name, listed, None))
    assert there.objects["d/f"].data == b"content"
    assert outcome.failed == []


def test_an_object_that_is_gone_has_vanished(site: Make, here: FakeService, there: FakeService) -> None:
    mine = row(here, "d/f")
    here.delete(["d/f"])
    outcome = bring(site(source=ObjectStore(here), target=ObjectStore(there)), mine)
    assert (outcome.vanished, outcome.failed) == (["f"], [])


def test_objects_arrive_at_the_pace_of_the_limit(site: Make, here: FakeService, target: Any, bucket: Bucket) -> None:
    bucket.set_rate(100_000)
    here.put("big", b"x" * 200_000, {})
    taken: list[int] = []
    made = site(source=ObjectStore(here), target=target)
    made.bucket = type("Counting", (), {
        "take": lambda self, n: taken.append(n), "block_for": lambda self, n: bucket.block_for(n),
        "stopped": False, "rate": 100_000,
    })()  # fmt: skip
    bring(made, row(here, "big"), "")
    assert sum(taken) == 200_000


@pytest.mark.parametrize("data", [b"", b"conten", b"content!"])
def test_the_listed_version_has_the_listed_size(site: Make, here: FakeService, target: Any, data: bytes) -> None:
    here.put("f", b"content", {})
    listed = row(here, "f")
    here.objects["f"].data = data  # and the etag is the same
    outcome = bring(site(source=ObjectStore(here, verify=False), target=target), listed, "")
    assert [failure[:2] for failure in outcome.failed] == [("f", "io")]
    assert list(target.list("")) == []


def test_the_size_of_a_large_object_is_looked_at_too(site: Make, here: FakeService, target: Any) -> None:
    here.put("big", b"x" * 2_000_000, {})
    listed = row(here, "big")
    here.objects["big"].data = b"x" * 100
    outcome = bring(site(source=ObjectStore(here, verify=False), target=target), listed, "")
    assert [failure[:2] for failure in outcome.failed] == [("big", "io")]
    assert here.requests["get"] == 0


class Announced(bytes):
    """Content of which nothing is read."""

    def __len__(self) -> int:
        return 1 << 30


@pytest.mark.parametrize(("budget", "block"), [(32, 2), (4, 2), (64, 3), (128, 5), (1024, 5)])
def test_a_large_object_arrives_in_blocks_as_small_as_the_buffers_allow(
    site: Make, target: Any, monkeypatch: pytest.MonkeyPatch, budget: int, block: int
) -> None:
    """Sizes in MiB. Two of the smallest are room enough; what is sent on as an object keeps the size of its parts."""
    asked: list[tuple[int, int]] = []

    def streamed(*arguments: Any) -> Any:
        asked.append((arguments[9] >> 20, room[-1] >> 20))
        raise DunlinError("copy", "big", ErrorKind.DENIED)

    monkeypatch.setattr("dunlin.transfer.content.stream_file", streamed)
    service, room = FakeService(states_md5=False), []
    service.put("big", b"", {})
    service.objects["big"].data = Announced()
    for end in (target, ObjectStore(FakeService())):
        made = site(source=ObjectStore(service), target=end)
        made.copies, made.budget, real = None, budget << 20, made.room
        monkeypatch.setattr(made, "room", lambda size, block, real=real: room.append(block) or real(size, block))
        bring(made, row(service, "big"), "")
    assert asked == [(block, 2), (5, 5)]


def test_unknown_times_and_owners_are_no_difference(site: Make) -> None:
    made = site(perms=True, owner=True, group=True)
    known: Facts = (0o100644, 1, 5, 1, 1, 5, 1, 0, "v", 5, 0)
    bare: Facts = (0o100000, 1, None, None, None, None, 1, 0, "v", None, 0)
    assert dressed(made, ("f", known, bare))
    assert dressed(made, ("f", bare, known))
    assert not dressed(made, ("f", known, (*known[:MTIME], 6, *known[MTIME + 1 :])))
