"""`dunlin control` over real state files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dunlin.cli import control
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import Order, State

Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / ".sync-state.db")


def begin(path: str, pair: str = "/d", pid: int = 0) -> int:
    state = State.open(path, NullReport())
    run = state.begin_run(state.pair("/s", pair, "all"), {}, "boot", pid or os.getpid())
    state.close()
    return run.id


def listen(path: str, run: int, got: list[Order], over: threading.Event) -> None:
    """A run that looks for orders."""
    state = State.open(path, NullReport())
    while not over.wait(0.01):
        got += state.control_poll(run)
    state.close()


@pytest.fixture
def running(path: str) -> object:
    """A run that takes orders; gives the list of those it took."""
    got: list[Order] = []
    over = threading.Event()
    thread = threading.Thread(target=listen, args=(path, begin(path), got, over))
    thread.start()
    yield got
    over.set()
    thread.join()


@pytest.mark.parametrize(
    ("words", "order", "said"),
    [
        (["pause"], ("pause", ""), "is paused"),
        (["resume"], ("resume", ""), "goes on"),
        (["stop"], ("stop", ""), "finishes what is in flight and stops"),
        (["bwlimit", "5M"], ("bwlimit", "5M"), "has the limit 5M now"),
        (["bwlimit", "08:00,5M", "19:00,off"], ("bwlimit", "08:00,5M 19:00,off"), "has the limit 08:00,5M 19:00,off"),
        (["--run", "1", "pause"], ("pause", ""), "run 1 (/s -> /d, process"),
    ],
)
def test_an_order_is_given_and_seen_to_be_taken(
    dunlin: Run, running: list[Order], words: list[str], order: tuple[str, str], said: str
) -> None:
    result = dunlin("control", *words)
    assert result.exit_code == 0, result.stderr
    assert said in result.stdout
    until = time.monotonic() + 20
    while not running:  # it is on record that it was taken before whoever took it has it
        assert time.monotonic() < until
    assert [(each.verb, each.argument) for each in running] == [order]


def test_an_order_that_is_not_taken(dunlin: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(path)
    monkeypatch.setattr(control, "WAIT", 0.0)
    result = dunlin("control", "pause")
    assert result.exit_code == 2
    assert "did not take the order" in result.stderr


def test_nothing_runs(dunlin: Run, path: str) -> None:
    run = begin(path)
    state = State.open(path, NullReport())
    state.finish_run(run, "completed", Stats())
    state.close()
    result = dunlin("control", "stop")
    assert result.exit_code == 1
    assert "no run is running" in result.stderr


def test_a_run_whose_process_is_gone_is_not_spoken_to(dunlin: Run, path: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    begin(path, pid=dead.pid)
    result = dunlin("control", "stop")
    assert result.exit_code == 1
    assert "no run is running" in result.stderr


def test_of_several_runs_one_must_be_named(dunlin: Run, path: str) -> None:
    first, second = begin(path), begin(path, "/e")
    result = dunlin("control", "stop")
    assert result.exit_code == 1
    assert f"2 runs are running: {first}, {second}; choose one with --run ID" in result.stderr
    missing = dunlin("control", "stop", "--run", "99")
    assert missing.exit_code == 1
    assert f"running: {first}, {second}" in missing.stderr


def test_waiting_ends_with_the_clock() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert not control.wait(lambda: False, lambda: now[0], sleep)
    assert control.WAIT <= now[0] < control.WAIT + 0.1
    assert control.wait(lambda: now[0] > 6, lambda: now[0], sleep)
