"""The first signal asks, the second ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dunlin.cli.signals import ASKED, Hurry, Signals
from dunlin.pace.stop import Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_says_so(number: signal.Signals) -> None:
    stop, said = Stop(), list[str]()
    before = signal.getsignal(number)
    with Signals(stop, said.append):
        os.kill(os.getpid(), number)
    assert stop.reason == f"interrupted by {number.name}"
    assert said == [ASKED]
    assert signal.getsignal(number) is before


def test_the_second_raises_and_leaves_no_alarm_behind() -> None:
    stop = Stop()

    def twice() -> None:
        with Signals(stop, lambda text: None):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert stop.reason == "interrupted by SIGTERM"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with Signals(stop, lambda text: None):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_child_has_its_own_life() -> None:
    stop = Stop()
    with Signals(stop, lambda text: None):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1 if stop.requested else 42)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert not stop.requested


@pytest.mark.parametrize("job", ["parent", "mover"])
def test_ctrl_z_stops_the_process_with_the_terminal_in_order(job: str) -> None:
    """A child does it, since the stop is real; its parent waits for the stop and lets it go on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # the kernel stops no group that has nobody outside who could let it go on

        def rest() -> None:
            os.write(writer, b"rest ")

        def back(seconds: float) -> None:
            os.write(writer, f"back {seconds >= 0} ".encode())

        signals = Signals(Stop(), lambda text: None, rest=rest, back=back)
        if job == "mover":
            signals._process = 0  # as if it was inherited
        with signals:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTSTP)
        os.write(writer, str(signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL).encode())
        os._exit(0)
    os.close(writer)
    stops = 0
    while os.WIFSTOPPED(status := os.waitpid(child, os.WUNTRACED)[1]):
        stops += 1
        os.kill(child, signal.SIGCONT)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    assert (os.waitstatus_to_exitcode(status), stops) == (0, 2)
    assert told == ("rest back True rest back True True" if job == "parent" else "False")


HANGS = """
import os, signal, sys
from dunlin.cli import signals
from dunlin.pace.stop import Stop
signals.GRACE = 0.05
with signals.Signals(Stop(), lambda text: None, lambda: os.write(1, b"restored")):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        while True:  # a cleanup that never comes back
            pass
"""


def test_a_cleanup_that_hangs_does_not_hold_the_process() -> None:
    result = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=20)
    assert result.returncode == 130
    assert result.stdout == b"restored"


def test_at_the_end_a_signal_only_hurries() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Hurry() as hurry:
        assert not hurry.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert hurry.asked()
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
