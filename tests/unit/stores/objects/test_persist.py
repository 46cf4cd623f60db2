"""Requests made again by the one policy, and those that may have been carried out already."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import REQUEST
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Object
from tests.unit.stores.objects.fake_service import SMALL, FakeService, network

REQUESTS: dict[str, Any] = {
    "page": lambda service: service.page(""),
    "head": lambda service: service.head("k"),
    "get": lambda service: service.get("k"),
    "put": lambda service: service.put("k", b"x", {}),
    "begin": lambda service: service.begin("k", {}),
    "unfinished": lambda service: service.unfinished("k"),
    "parts": lambda service: service.parts("k", "u000001"),
    "part": lambda service: service.part("k", "u000001", 1, b"x", hashlib.md5(b"x").digest()),
    "complete": lambda service: service.complete("k", "u000001", [], {}),
    "abort": lambda service: service.abort("k", "u000001"),
    "copy": lambda service: service.copy(service, service.head("k"), "l", {}),
    "set_metadata": lambda service: service.set_metadata("k", {}),
    "delete": lambda service: service.delete(["k"]),
}


class Waits:
    """Counts waits instead of waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.told: list[tuple[ErrorKind, int, float]] = []

    def note(self, error: DunlinError, attempt: int, wait: float) -> None:
        self.told.append((error.kind, attempt, wait))

    def around(self, service: FakeService) -> RetryingService:
        return RetryingService(
            service, on_retry=self.note, sleep=self.seconds.append, clock=lambda: 0.0, chance=lambda: 0.0
        )


@pytest.fixture
def fake() -> FakeService:
    service = FakeService(SMALL)
    service.fill("k")
    service.begin("k", {})
    service.requests.clear()
    return service


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_every_request_is_made_again(fake: FakeService, name: str) -> None:
    waits = Waits()
    fake.faults[name] = [network(), network()]
    REQUESTS[name](waits.around(fake))
    assert fake.requests[name] == 3
    assert waits.seconds == [REQUEST.wait(1, 0), REQUEST.wait(2, 0)]
    assert waits.told == [(ErrorKind.NETWORK, 1, waits.seconds[0]), (ErrorKind.NETWORK, 2, waits.seconds[1])]


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_what_cannot_succeed_is_not(fake: FakeService, name: str) -> None:
    waits = Waits()
    fake.faults[name] = [DunlinError(name, "k", ErrorKind.DENIED)]
    with pytest.raises(DunlinError):
        REQUESTS[name](waits.around(fake))
    assert fake.requests[name] == 1
    assert waits.seconds == []


def test_a_server_is_left_alone_as_long_as_it_says(fake: FakeService) -> None:
    busy = DunlinError("list", "k", ErrorKind.BUSY)
    busy.retry_after = 17.0
    fake.faults["page"] = [busy]
    waits = Waits()
    waits.around(fake).page("")
    assert waits.seconds == [17.0]


def test_what_describes_a_service_passes() -> None:
    fake = FakeService(SMALL, metadata_listed=False, ordered=False)
    service = RetryingService(fake)
    assert (service.url, service.limits) == (fake.url, SMALL)
    assert service.ordered is service.metadata_listed is False
    assert service.part_tag(1, b"\1") == "01"
    service.close()
    assert fake.calls == [("close",)]


@pytest.mark.parametrize("metadata", [{}, {"mtime": "1"}])
def test_a_put_whose_answer_was_lost_recognises_its_own_object(fake: FakeService, metadata: dict[str, str]) -> None:
    fake.lost["put"] = [network()]
    etag = Waits().around(fake).put("new", b"content", metadata, if_absent=True)
    assert etag == fake.objects["new"].etag
    assert fake.requests["put"] == 2


def test_an_object_of_somebody_else_is_not_taken_for_ones_own(fake: FakeService) -> None:
    service = Waits().around(fake)
    for content, metadata in ((b"other", {}), (b"content", {"mtime": "2"})):
        fake.faults["put"] = [network()]
        fake.objects["k"].data, fake.objects["k"].metadata = content, metadata
        with pytest.raises(DunlinError) as error:
            service.put("k", b"content", {}, if_absent=True)
        assert error.value.kind is ErrorKind.EXISTS


def test_without_a_failed_attempt_nobody_looks(fake: FakeService) -> None:
    fake.objects["k"].data = b"content"
    with pytest.raises(DunlinError) as error:
        Waits().around(fake).put("k", b"content", {}, if_absent=True)
    assert error.value.kind is ErrorKind.EXISTS
    assert fake.requests["head"] == 0


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_completion_whose_answer_was_lost(fake: FakeService, if_absent: bool) -> None:
    service = Waits().around(fake)
    upload = service.begin("new", {"mtime": "1"})
    part = service.part("new", upload, 1, b"0123456789", hashlib.md5(b"0123456789").digest())
    fake.lost["complete"] = [network()]
    etag = service.complete("new", upload, [part], {"mtime": "1"}, if_absent=if_absent)
    assert etag == fake.objects["new"].etag
    assert fake.requests["complete"] == 2


def test_an_upload_that_is_gone_and_left_no_object(fake: FakeService) -> None:
    fake.faults["complete"] = [network()]
    with pytest.raises(DunlinError) as error:
        Waits().around(fake).complete("none", "u999999", [], {})
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_a_copy_between_two_services_reaches_through_both(fake: FakeService) -> None:
    other = FakeService()
    source, target = Waits().around(fake), Waits().around(other)
    origin: Object = source.head("k")
    assert target.copy(source, origin, "copy", {"a": "b"}) == other.objects["copy"].etag
    assert other.objects["copy"].metadata == {"a": "b"}


def test_a_stop_ends_the_waiting(fake: FakeService) -> None:
    def stopped(seconds: float) -> None:
        raise DunlinError("wait", "", ErrorKind.INTERRUPTED)

    fake.faults["head"] = [network()]
    with pytest.raises(DunlinError) as error:
        RetryingService(fake, sleep=stopped).head("k")
    assert error.value.kind is ErrorKind.INTERRUPTED
