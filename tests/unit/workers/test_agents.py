"""The processes of a worker: all are started, one that ends is replaced, and all end together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.jobs.spread import Given
from dunlin.pace.stop import Stop
from dunlin.queue.base import NewTask
from dunlin.queue.embedded import Embedded
from dunlin.stores.login import Login
from dunlin.workers import agents, packing, tasks
from dunlin.workers.agents import AGAIN, Agents, AgentSetup, forked, spawned, take_number
from dunlin.workers.context import Rules
from dunlin.workers.packing import Orders
from dunlin.workers.remote import mark_of, orders_name, setup_name
from dunlin.workers.setup import token
from dunlin.workers.tasks import Scan
from tests.unit.workers.remote import QUEUE, RUN, setup


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sleeper(place: int) -> int:
    child = subprocess.Popen(["sleep", "60"])
    child.returncode = 0
    return child.pid


def exiting(code: int) -> agents.Launch:
    def launch(place: int) -> int:
        child = subprocess.Popen(["sh", "-c", f"exit {code}"])
        child.returncode = 0
        return child.pid

    return launch


def test_one_that_is_killed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "SLOW", 0.05)
    made = Agents(sleeper, 2)
    made.start()
    first = made.pids
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)

    def replaced() -> bool:
        made.look()
        return len(made.pids) == 2 and first[0] not in made.pids

    until(replaced)
    assert first[1] in made.pids
    assert made.failed is None
    made.close()
    assert made.pids == []
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(("code", "failed"), [(1, 1), (2, 2), (AGAIN, None), (0, None)])
def test_one_that_ends_by_an_error_of_its_own_ends_the_worker(code: int, failed: int | None) -> None:
    made = Agents(exiting(code), 1)
    made.start()

    def ended() -> bool:
        made.look()
        return made.pids == []

    until(ended)
    assert made.failed == failed
    made.close()


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "CUT", 0.2)

    def deaf(place: int) -> int:
        child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        child.returncode = 0
        return child.pid

    made = Agents(deaf, 1, grace=0.0)
    made.start()
    (pid,) = made.pids
    time.sleep(0.1)
    made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_forked_child_is_asked_to_end_and_its_code_is_that_of_its_body(tmp_path: Path) -> None:
    def body(place: int, stop: Stop) -> int:
        (tmp_path / "begun").touch()
        while not stop.requested:
            time.sleep(0.01)
        return 7

    pid = forked(body)(0)
    until((tmp_path / "begun").exists)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_each_process_has_a_number_of_its_own(tmp_path: Path) -> None:
    queue = Embedded.open(str(tmp_path / "q.db"), lambda _: None, durable=False)
    names = {take_number(queue, "a-host") for _ in range(200)}
    numbers = {mark_of(name) for name in names}
    assert len(numbers) == 200
    assert all(token(Rules(run=RUN), mark_of(name)) == RUN + name[-4:] for name in names)  # what sweeps look for
    assert all(name.startswith(f"a-host-{os.getpid()}-") for name in names)
    queue.close()


def test_a_spawned_process_does_units(tmp_path: Path) -> None:
    made = setup(tmp_path)
    path = str(tmp_path / "q.db")
    queue = Embedded.open(path, lambda _: None, durable=False)
    queue.write(setup_name(RUN), packing.pack_setup(made))
    queue.write(orders_name(RUN), packing.pack_orders(Orders()))
    (tmp_path / "source" / "f").write_text("content")
    queue.put([NewTask(QUEUE, "1", packing.pack_unit(tasks.pack(Scan("")), False, []), retries=0)])
    places = {side: (place.place, Login()) for side, place in (("source", made.source), ("dest", made.target))}
    how = AgentSetup(path, "a-host", 1, (), Given(places), (QUEUE,), grace=5.0)
    crew = Agents(spawned(how, 1), 1, 5.0)
    crew.start()
    until(lambda: bool(queue.collect(QUEUE, 1)))
    crew.close()
    assert (tmp_path / "target" / "f").read_text() == "content"
    assert queue.workers() == []
    queue.close()
