"""What hangs takes no place from the rest; the clock is the test's own, and what hangs waits for an event."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.aside import Aside


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.aside = Aside("test", places=2, still=60.0, most=4, clock=lambda: self.now)
        self.back = threading.Event()

    def hang(self, *keys: str) -> None:
        for key in keys:
            self.aside.begin(key, lambda: self.back.wait(20))


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.back.set()
    assert made.aside.wait(20)


def test_so_many_at_a_time(scene: Scene) -> None:
    assert scene.aside.room
    scene.hang("a")
    assert scene.aside.room
    scene.hang("b")
    assert not scene.aside.room
    assert (scene.aside.keys, scene.aside.going("a"), scene.aside.going("c")) == ({"a", "b"}, True, False)
    scene.back.set()
    assert scene.aside.wait(20)
    assert (scene.aside.keys, scene.aside.room) == (set(), True)


def test_what_is_silent_loses_its_place_and_is_told_once(scene: Scene) -> None:
    scene.hang("a", "b")
    scene.now = 59.0
    scene.aside.moved("b")
    scene.aside.moved("unknown")
    assert (scene.aside.room, scene.aside.silent()) == (False, [])
    scene.now = 60.0
    assert (scene.aside.room, scene.aside.silent(), scene.aside.silent()) == (True, ["a"], [])
    assert scene.aside.going("a"), "it is left to itself"


def test_what_gets_on_again_has_its_place_again(scene: Scene) -> None:
    scene.hang("a", "b")
    scene.now = 60.0
    assert sorted(scene.aside.silent()) == ["a", "b"]
    scene.aside.moved("a"), scene.aside.moved("b")
    assert not scene.aside.room
    scene.now = 120.0
    assert (scene.aside.room, sorted(scene.aside.silent())) == (True, ["a", "b"])


def test_what_hangs_is_bounded(scene: Scene) -> None:
    scene.hang("a", "b")
    scene.now = 60.0
    scene.hang("c", "d")
    scene.now = 120.0
    assert not scene.aside.room


def test_what_comes_after_finds_room(scene: Scene) -> None:
    seen: list[tuple[bool, set[str]]] = []
    scene.hang("a")
    scene.aside.begin("b", lambda: seen.append((scene.aside.room, scene.aside.keys)), lambda: seen.append(
        (scene.aside.room, scene.aside.keys)
    ))  # fmt: skip
    until = time.monotonic() + 20
    while len(seen) < 2 and time.monotonic() < until:
        os.sched_yield()
    assert seen == [(False, {"a", "b"}), (True, {"a"})]


def test_waiting_ends(scene: Scene) -> None:
    scene.hang("a")
    assert not scene.aside.wait(0.0)


def test_no_thread_keeps_the_process_from_ending(scene: Scene) -> None:
    found: list[bool] = []
    scene.aside.begin("a", lambda: found.append(threading.current_thread().daemon))
    assert scene.aside.wait(20)
    assert found == [True]


def test_what_could_not_begin_takes_no_place(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(DunlinError, match="can't start new thread") as error:
            scene.hang("a")
        assert error.value.kind is ErrorKind.BUSY
    assert scene.aside.keys == set()
