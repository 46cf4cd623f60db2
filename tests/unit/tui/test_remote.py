"""What the dashboard reads from a service, and what becomes of it when something else answers, or nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.tui import remote
from dunlin.tui.remote import Client, JobNow, ServiceReader, Want
from tests.unit.tui.servicestub import KEY, NOW, Stub, problem, serving

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving(Stub()) as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(stub: Stub, clock: Clock) -> ServiceReader:
    return ServiceReader(Client(stub.url), clock)


def refused(client: Client) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        client.greet()
    assert caught.value.exit_code == 1
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


# ---- a look ----


def test_jobs_that_are_not_over_stand_first(reader: ServiceReader) -> None:
    look = reader.look(Want())
    assert (look.problem, look.time) == ("", NOW)
    assert [job.id for job in look.jobs] == ["j8", "j7", "j6", "j9", "j5", "j4"]


def test_active_jobs_are_there_however_many_newer_ones_are_over(reader: ServiceReader, stub: Stub) -> None:
    others = [{**stub.job("j9"), "id": f"n{at}"} for at in range(remote.COUNT + 5)]
    stub.found["jobs"][:0] = others
    look = reader.look(Want())
    assert [job.id for job in look.jobs[:3]] == ["j8", "j7", "j6"]
    assert len(look.jobs) == 3 + remote.COUNT


def test_figures_of_a_sync_and_of_a_publish_job(reader: ServiceReader) -> None:
    jobs = {job.id: job for job in reader.look(Want()).jobs}
    sync, publish = jobs["j8"], jobs["j5"]
    assert (sync.share, sync.left_bytes, sync.seconds(NOW)) == (0.75, 1 << 30, 900)
    assert (publish.done_files, publish.done_bytes, publish.failed) == (47, 4 << 20, 3)
    assert (publish.files_rate, publish.seconds(NOW), publish.share) == (47 / 30, 30, 1)
    assert jobs["j6"].share is None
    assert jobs["j9"].share == 1


def test_speed_and_time_left_come_from_the_last_seconds(reader: ServiceReader, stub: Stub, clock: Clock) -> None:
    def read(seconds: int, files: int, size: int) -> JobNow:
        clock.now = NOW + seconds * SECOND
        stub.job("j8")["counts"] = {"copied_files": files, "copied_bytes": size, "pending_bytes": 5000}
        return reader.look(Want()).jobs[0]

    first = read(0, 100, 0)
    assert (first.files_rate, first.seconds_left) == (None, None)
    assert read(2, 110, 200).files_rate == 5
    slow = read(20, 110, 200)  # the window has moved on, and nothing with it
    assert slow.files_rate == 0
    last = read(22, 150, 1200)
    assert (last.bytes_rate, last.seconds_left) == (50, 100)
    assert read(24, 0, 0).bytes_rate is None  # the job was continued by another run, which counts anew


def test_queues_and_workers(reader: ServiceReader) -> None:
    look = reader.look(Want())
    assert look.queues[0] == ("runs", 123, 8, 0, 75.0, False)
    assert (look.queues[1].dead, look.queues[1].paused) == (2, True)
    assert [(each.name, each.busy, each.slots) for each in look.workers] == [("nas-1", 6, 8), ("nas-2", 2, 4)]


def test_queues_that_a_key_may_not_see_are_said_and_the_rest_is_shown(reader: ServiceReader, stub: Stub) -> None:
    stub.raw["/api/v1/queues"] = problem(403, "queues are shared by all tenants")
    look = reader.look(Want())
    assert (look.problem, look.shared, len(look.jobs)) == ("", "queues are shared by all tenants", 6)


def test_what_happened_is_there_at_the_first_look_and_pauses_when_they_are_seen(
    reader: ServiceReader, stub: Stub, clock: Clock
) -> None:
    words = [(each.job, each.word) for each in reader.look(Want()).activity]
    assert words[:2] == [("j8", "begun"), ("j9", "completed")]
    assert ("j5", "failed") in words
    stub.job("j8")["status"] = "paused"
    clock.now += SECOND
    assert reader.look(Want()).activity[0] == (clock.now, "j8", "paused", stub.job("j8")["label"], "")
    stub.job("j8")["status"] = "running"
    clock.now += SECOND
    assert [each.word for each in reader.look(Want()).activity[:2]] == ["resumed", "paused"]


def test_a_search_is_the_services(reader: ServiceReader, stub: Stub) -> None:
    assert [job.id for job in reader.look(Want(text="mail")).jobs] == ["j7"]
    assert all("search=mail" in target for _, target, _ in stub.asked if "/jobs?" in target)


def test_an_open_job_has_its_failures(reader: ServiceReader, stub: Stub) -> None:
    look = reader.look(Want(job="j5"))
    assert look.job is not None
    assert (look.job.error, len(look.failures), look.failures[0].attempt) == ("3 files failed", 3, 4)
    assert [each.path for each in reader.look(Want(job="j5", failed_text="name-2")).failures] == ["reports/name-2.pdf"]
    gone = reader.look(Want(job="../keys"))
    assert (gone.job, gone.problem) == (None, "")
    assert stub.asked[-1][1] == "/api/v1/jobs/..%2Fkeys"


def test_orders_arrive_and_refusals_are_the_services_words(reader: ServiceReader, stub: Stub) -> None:
    assert reader.tell("j8", "pause") == ""
    assert (stub.asked[-1][:2], stub.job("j8")["status"]) == (("POST", "/api/v1/jobs/j8/pause"), "paused")
    assert reader.tell("j6", "resume") == "the service: the job is not paused"


# ---- when something is wrong ----


def test_a_service_that_goes_away_leaves_the_figures_and_is_asked_again(clock: Clock) -> None:
    stub = Stub()
    with serving(stub):
        reader = ServiceReader(Client(stub.url), clock)
        assert reader.look(Want()).problem == ""
        port = int(stub.url.rpartition(":")[2])
    away = reader.look(Want())
    assert away.problem == "the service does not answer (Connection refused)"
    assert (len(away.jobs), away.time) == (6, NOW)
    clock.now += SECOND
    with serving(stub, port):
        back = reader.look(Want())
    assert (back.problem, back.time) == ("", clock.now)


@pytest.mark.parametrize(
    "body",
    [b'{"items": 7}', b'{"items": [7]}', b'{"items": [{}]}', b"[]", b"{", b"\xff", b"[" * 100_000,
     b'{"items": [{"id": "a", "status": "running", "created": "yesterday"}]}'],
)  # fmt: skip
def test_answers_that_cannot_be_are_one_line(reader: ServiceReader, stub: Stub, body: bytes) -> None:
    reader.look(Want())
    stub.raw["/api/v1/jobs"] = 200, "application/json", body
    look = reader.look(Want())
    assert look.problem
    assert len(look.jobs) == 6


def test_values_that_cannot_be_are_none(reader: ServiceReader, stub: Stub) -> None:
    text = json.dumps({"items": [{**stub.job("j8"), "wish": 7, "counts": {"copied_files": "X", "copied_bytes": 1}}]})
    stub.raw["/api/v1/jobs"] = 200, "application/json", text.replace('"X"', "NaN").replace(": 1}", ": true}").encode()
    [job] = reader.look(Want()).jobs
    assert (job.done_files, job.done_bytes, job.wish) == (0, 0, "")


def test_another_program_is_named_as_such(stub: Stub) -> None:
    page = 200, "text/html", b"<html>hello"
    for raw in (page, (404, "text/html", b"no"), (401, "text/html", b"login"), (500, "text/html", b"oh")):
        stub.raw = {"/": raw}
        assert "is not `dunlin serve`" in refused(Client(stub.url)).reason
    stub.raw = {"/healthz": (200, "application/json", b'{"status": "ok"}')}
    assert "is not `dunlin serve`" in refused(Client(stub.url)).reason


def test_what_speaks_no_http_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-whatever\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        error = refused(Client(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert "is not `dunlin serve`" in error.reason


def test_a_service_that_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = refused(Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.05))
    assert (error.kind, error.reason) == (ErrorKind.TIMEOUT, "no answer in time")


def test_an_answer_that_never_ends_is_given_up(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 1000, 6))
    error = refused(Client(stub.url, clock=lambda: next(moments) * 2))
    assert error.kind is ErrorKind.TIMEOUT
    monkeypatch.setattr(remote, "LARGEST", 10)
    assert "more than 10 bytes" in refused(Client(stub.url)).reason


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = refused(Client(f"http://127.0.0.1:{port}"))
    assert str(error) == f"cannot read the service http://127.0.0.1:{port}: Connection refused"


# ---- keys and addresses ----


def test_keys(stub: Stub) -> None:
    stub.key = KEY
    missing = refused(Client(stub.url))
    assert "asks for a key" in missing.reason
    assert "DUNLIN_KEY" in missing.hint
    wrong = refused(Client(stub.url, "dk_wrong_words"))
    assert "does not know this key" in wrong.reason
    assert "dk_wrong" not in str(wrong)
    Client(stub.url, KEY).greet()
    assert stub.asked[-1][2] == f"Bearer {KEY}"


def test_a_key_goes_nowhere_else(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Stub()) as other:
        monkeypatch.setenv("http_proxy", other.url)
        stub.raw, stub.headers = {"/": (302, "text/plain", b"")}, {"Location": f"{other.url}/healthz"}
        assert "HTTP 302" in refused(Client(stub.url, KEY)).reason
        assert other.asked == []
        assert len(stub.asked) == 1


@pytest.mark.parametrize("key", ["dk_a\r\nHost: x", "dk a", "dk_ä", "dk_\x1b"])
def test_what_is_no_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(DunlinError) as caught:
        Client("http://127.0.0.1:1", key)
    assert caught.value.kind is ErrorKind.USAGE
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://[::1", "http://h/?a=b",
     "http://h/a b", "http://h/\x1b[2J", "http://ä/", "http://u:secret@h/"],
)  # fmt: skip
def test_what_is_no_address_is_one_line(url: str) -> None:
    with pytest.raises(DunlinError) as caught:
        Client(url)
    assert caught.value.kind is ErrorKind.USAGE
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_address_below_a_path(stub: Stub) -> None:
    stub.raw["/below/healthz"] = 200, "application/json", b'{"status": "ok", "parts": {}}'
    stub.raw["/below/api/v1/jobs"] = 200, "application/json", b'{"items": []}'
    Client(f"{stub.url}/below/").greet()
    found: list[Any] = [target for _, target, _ in stub.asked]
    assert found == ["/below/healthz", "/below/api/v1/jobs?count=1"]
