"""Metrics and messages of one command, apart from the command line."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from dunlin.jobs.outward import SENDING, Options, Outward, usage
from dunlin.pace.retry import REQUEST
from dunlin.report import Event, Level
from dunlin.report.address import Address
from dunlin.report.mail import mail_of
from dunlin.report.webhook import webhook_of
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
