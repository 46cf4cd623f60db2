"""A thread of a mover: what became of its units is on its way before it waits for anything."""

from __future__ import annotations

import queue
import socket
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.model import Action
from dunlin.pace.bucket import Bucket
from dunlin.pace.window import Window, WindowLimits
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import STREAM
from dunlin.workers import mover, tasks
from dunlin.workers import wire as real
from dunlin.workers.handout import Handout
from dunlin.workers.tasks import Move, Scan

PATIENCE = 10.0


class Wire:
    """Keeps what is sent."""

    def __init__(self, works: bool = True) -> None:
        self.sent: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._works = works

    def send(self, message: tuple[Any, ...]) -> None:
        if not self._works:
            raise BrokenPipeError
        self.sent.put(message)


class Scene:
    """One thread with two units, the second of which wants a slot, of a window with one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
        def run(context: Any, task: Scan, emit: object) -> Outcome:
            if task.directory == "waits":
                with context.window.slot():
                    pass
            return Outcome()

        # Only what waits sends: no other reason to send may come first, however slow the machine is.
        monkeypatch.setattr(mover, "run_unit", run)
        monkeypatch.setattr(mover, "GROUP", 1e9)
        self.wire = wire
        self.window = Window(WindowLimits(directories=1))
        unsent = mover._Unsent()
        self.window.blocks = unsent.send
        self.work = Handout()
        self.work.want(1)
        self.work.put((n, tasks.pack(Scan(name)), False) for n, name in enumerate(("quick", "waits")))
        context: Any = SimpleNamespace(window=self.window, profiles=None)
        args: Any = (context, wire, self.work, None, unsent)
        self.thread = threading.Thread(target=mover._work, args=args, daemon=True)


def numbers_of(message: tuple[Any, ...]) -> list[int]:
    assert message[0] == "ended"
    return [each[1] for each in message[1]]


def test_outcomes_are_sent_before_the_next_unit_waits_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    scene = Scene(monkeypatch, wire)
    with scene.window.slot():
        scene.thread.start()
        assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [0]
    assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [1]
    scene.work.want(0)
    scene.thread.join(PATIENCE)
    assert not scene.thread.is_alive()
    assert wire.sent.empty()


def test_a_thread_whose_parent_has_gone_ends_instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, Wire(works=False))
    with scene.window.slot():
        scene.thread.start()
        scene.thread.join(PATIENCE)
        assert not scene.thread.is_alive()
    assert scene.window.numbers()[:2] == (0, 0)


def test_a_mover_sends_what_it_has_done_while_its_next_unit_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through a socket, as the parent sees it."""
    scene = Scene(monkeypatch, Wire())
    window = scene.window = Window(WindowLimits(directories=1))
    closed: list[str] = []
    sides = {side: SimpleNamespace(close=partial(closed.append, side)) for side in ("source", "target")}
    context = SimpleNamespace(window=window, profiles=None, site=SimpleNamespace(**sides, gate=None))
    monkeypatch.setattr(mover, "build", lambda *_: context)
    here, there = socket.socketpair()
    bucket = Bucket.create()
    setup: Any = SimpleNamespace(profile="")
    thread = threading.Thread(target=mover.serve, args=(there, setup, bucket, 1), daemon=True)
    thread.start()
    here.settimeout(PATIENCE)
    parent = real.Wire(here)
    with window.slot():
        parent.send(("units", [(n, tasks.pack(Scan(name)), False) for n, name in enumerate(("quick", "waits"))]))
        (first,) = parent.receive() or ()
        assert numbers_of(first) == [0]
    (second,) = parent.receive() or ()
    assert numbers_of(second) == [1]
    parent.close()
    thread.join(PATIENCE)
    assert closed == ["source", "target"]
    bucket.close()


def test_nothing_that_is_done_waits_for_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, release = Wire(), threading.Event()
    begun: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(context: Any, task: Move, emit: object) -> Outcome:
        begun.put(task.directory)
        if task.directory == "large":
            release.wait(PATIENCE)
        return Outcome()

    scene = Scene(monkeypatch, wire)
    monkeypatch.setattr(mover, "run_unit", run)
    scene.work.clear()
    moves = (("small", STREAM, 1), ("pages", STREAM, 2), ("large", STREAM + 1, 1), ("small", 0, 1))
    tasks_of = [Move(name, (("f", size, Action.COPY, False),) * number) for name, size, number in moves]
    scene.work.put((n, tasks.pack(task), False) for n, task in enumerate(tasks_of))
    scene.thread.start()
    assert [begun.get(timeout=PATIENCE) for _ in range(3)] == ["small", "pages", "large"]
    assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [0, 1]
    assert wire.sent.empty()
    release.set()
    assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [2, 3]
    scene.work.want(0)
    scene.thread.join(PATIENCE)


def test_a_unit_that_took_long_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as outcomes may be gathered: they are not kept until another unit of that kind is through."""
    wire, release = Wire(), threading.Event()
    clock = iter(range(100))

    def run(context: Any, task: Scan, emit: object) -> Outcome:
        if task.directory == "next":
            release.wait(PATIENCE)
        return Outcome()

    scene = Scene(monkeypatch, wire)
    monkeypatch.setattr(mover, "run_unit", run)
    monkeypatch.setattr(mover, "GROUP", 1.0)
    monkeypatch.setattr(mover, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    scene.work.clear()
    scene.work.put((n, tasks.pack(Scan(name)), False) for n, name in enumerate(("long", "next")))
    scene.thread.start()
    assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [0]
    release.set()
    assert numbers_of(wire.sent.get(timeout=PATIENCE)) == [1]
    scene.work.want(0)
    scene.thread.join(PATIENCE)
