"""Metrics and messages of one command, apart from the command line."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from dunlin.jobs import outward as module
from dunlin.jobs.outward import SENDING, Options, Outward, usage
from dunlin.pace.retry import REQUEST
from dunlin.report import Event, Level
from dunlin.report.address import Address
from dunlin.report.mail import mail_of
from dunlin.report.webhook import webhook_of
from tests.servers.mail import Manners, mail_server
from tests.unit.stores.objects.azure_stub import Reply, Stub, stub

SECRET = "T0K3N"


@pytest.fixture
def chat() -> Iterator[Stub]:
    with stub(lambda asked: Reply(400)) as server:
        yield server


def test_options_do_not_show_their_secrets() -> None:
    hook = webhook_of(f"https://h/{SECRET}?{SECRET}")
    mail = mail_of(("a@x",), "smtps://me@h", SECRET)
    assert SECRET not in repr(Options(Address("h", 1), hook, mail))
    assert SECRET not in str(Options(webhook=hook))


def test_only_what_a_network_did_is_tried_again() -> None:
    assert SENDING.kinds == REQUEST.kinds
    assert SENDING.deadline is not None


def test_nothing_is_left_behind(chat: Stub) -> None:
    before = {thread.name for thread in threading.enumerate()}
    outward = Outward(Options(Address("127.0.0.1", 0), webhook_of(chat.url)), 1, "1")
    assert {"metrics", "notify clock", f"notify {chat.url}"} <= {each.name for each in threading.enumerate()} - before
    outward.close()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_what_went_wrong_is_told_by_the_runs_own_thread(chat: Stub) -> None:
    told: list[tuple[str, str]] = []

    def tell(event: Event) -> None:
        told.append((event.name, threading.current_thread().name))

    outward = Outward(Options(Address("127.0.0.1", 0), webhook_of(chat.url)), 1, "1")
    run = outward.pair(1)
    run.begins(Event(Level.INFO, "run.begins", "", {"source": "a", "destination": "b"}), tell)
    run.ends(Event(Level.ERROR, "run.ended", "", {"status": "failed", "exit_code": 2}), {})
    outward.pair(1).begins(Event(Level.INFO, "run.begins", "", {}), tell)
    outward.close()
    main = threading.current_thread().name
    assert told == [("metrics.served", main), ("notify.failed", main)]


def failed_run(outward: Outward, told: list[str]) -> None:
    run = outward.pair(1)
    fields = {"source": "a", "destination": "b"}
    run.begins(Event(Level.INFO, "run.begins", "", fields), lambda event: told.append(event.message))
    run.ends(Event(Level.ERROR, "run.ended", "", {"status": "failed", "exit_code": 2}), {})


def test_a_server_that_refuses_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 60.0)
    told: list[str] = []
    outward = Outward(Options(webhook=webhook_of("http://127.0.0.1:1/x")), 1, "1")
    failed_run(outward, told)
    begun = time.monotonic()
    outward.close()
    # Attempts by the policy of the run would be waited for until WAIT is over.
    assert time.monotonic() - begun < 30
    assert len(told) == 1
    assert "Connection refused" in told[0]


@pytest.mark.parametrize("hurry", [True, False])
def test_how_long_the_end_waits_for_one_who_never_answers(monkeypatch: pytest.MonkeyPatch, hurry: bool) -> None:
    wait = 60.0 if hurry else 0.3
    monkeypatch.setattr(module, "WAIT", wait)
    with mail_server(Manners(silent=True)) as silent:
        told: list[str] = []
        mail = mail_of(("a@x",), f"smtp://127.0.0.1:{silent.port}", "")
        outward = Outward(Options(mail=mail), 1, "1")
        failed_run(outward, told)
        begun = time.monotonic()
        outward.close(lambda: hurry)
        lasted = time.monotonic() - begun
    assert lasted < 10  # as long as nobody waits: the wait where one is in a hurry, or for the way of sending
    assert hurry or lasted >= wait
    assert len(told) == 1
    assert "no answer in time" in told[0]


def test_processes_are_added_up() -> None:
    alone = usage()
    assert (alone.processes >= 1, alone.resident_bytes > 1 << 20, alone.cpu_seconds > 0) == (True, True, True)
    work = "import sys; sum(range(3_000_000)); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = usage()
        assert both.processes == alone.processes + 1
        assert both.resident_bytes > alone.resident_bytes
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    after = usage()
    assert after.processes == alone.processes
    assert after.cpu_seconds >= both.cpu_seconds > alone.cpu_seconds
