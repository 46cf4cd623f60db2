"""The first requests of a run: who answers is told, who does not is given up soon."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import NoReturn

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.pair import _let_in, open_pair
from dunlin.jobs.sync import run
from dunlin.pace.gate import Gate
from dunlin.pace.retry import PATIENCE, REACH, REQUEST
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport
from dunlin.stores.login import Login
from dunlin.stores.objects import place as places
from tests.unit.stores.objects.fake_service import FakeService


def test_the_login_that_answered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(place: object, connections: int, on_login: object = None, *more: object) -> NoReturn:
        assert callable(on_login)
        on_login("Azure CLI")
        raise DunlinError("list", "x", ErrorKind.AUTH)

    monkeypatch.setattr(places, "open_service", answered)
    report = RecordingReport()
    options = SyncOptions("az://photos", str(tmp_path), login_source=Login({"account_name": "acct"}))
    with pytest.raises(DunlinError):
        open_pair(options, "0", report)
    [event] = report.named("login.answered")
    assert event.message == "logged in to https://acct.blob.core.windows.net/photos by Azure CLI"
    assert event.fields["login"] == "Azure CLI"


class Noted(Gate):
    """A gate that counts requests that are made again, and waits for none of them."""

    def __init__(self) -> None:
        super().__init__(4)
        self.errors: list[ErrorKind] = []

    def note(self, error: DunlinError, attempt: int = 1, wait: float = 0.0) -> None:
        self.errors.append(error.kind)

    def sleep(self, seconds: float) -> None:
        pass


def test_nobody_at_the_address_is_asked_a_few_times_only() -> None:
    gate = Noted()
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        login = Login({"endpoint": address, "access_key_id": "k", "secret_access_key": "s"})
        store = places.open_place(places.place_of("s3://bucket", login), gate=gate, start=True)
        with pytest.raises(DunlinError) as caught:
            store.stat("")
        store.close()
    assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.NETWORK, 1)
    assert gate.errors == [ErrorKind.NETWORK] * 3


def test_who_asks_for_patience_gets_it() -> None:
    assert ErrorKind.BUSY in PATIENCE.kinds
    assert not PATIENCE.kinds & REACH.kinds
    assert PATIENCE.kinds | REACH.kinds == REQUEST.kinds
    assert PATIENCE.attempts == REQUEST.attempts


def test_who_may_not_look_has_the_wrong_login() -> None:
    refused = _let_in(DunlinError("list", "s3://b", ErrorKind.DENIED, "AccessDenied"))
    assert (refused.kind, refused.exit_code, refused.reason) == (ErrorKind.AUTH, 1, "AccessDenied")
    away = DunlinError("list", "s3://b", ErrorKind.NETWORK)
    assert _let_in(away) is away


def test_a_stop_ends_the_waiting_for_a_service_that_asks_for_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slept(seconds: float) -> NoReturn:
        raise AssertionError(f"waits {seconds} s for a service, and nobody wants it any more")

    busy = DunlinError("list", "s3://bucket", ErrorKind.BUSY)
    busy.retry_after = 60.0
    service = FakeService()
    service.faults["page"] = [busy] * 9
    monkeypatch.setattr(places, "open_service", lambda *_, **__: service)
    monkeypatch.setattr(time, "sleep", slept)
    stop = Stop()
    stop.request("SIGINT")
    for source, target in (("s3://bucket", str(tmp_path)), (str(tmp_path), "s3://bucket")):
        service.requests.clear()
        with pytest.raises(DunlinError) as caught:
            run(SyncOptions(source, target, mode="plan"), stop, RecordingReport())
        assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.INTERRUPTED, 130)
        assert service.requests["page"] == 1
