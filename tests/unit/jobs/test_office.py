"""The office of a destination: one run has it, the dead do not, and who may have lost it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.office import SURE, Office, name_of, take
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.sync import run
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport

TARGET = "s3://bucket/a"


class Scene:
    """A queue, and a clock that moves when somebody waits."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.now, self.stop, self.report = queue, 100.0, Stop(), RecordingReport()
        self.naps = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps += 1
        assert self.naps < 1000

    def office(self) -> Office:
        return Office(self.queue, lambda: self.now, self.sleep)

    def take(
        self, office: Office, token: str = "mine", dead: frozenset[str] = frozenset(), patience: float = 1.0
    ) -> None:
        office.take(TARGET, "s3://bucket/a", token, dead, patience, self.stop, self.report)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    queue = open_queue(str(tmp_path / "queue.db"))
    yield Scene(queue)
    queue.close()


def test_directories_of_one_name_on_two_machines_are_two_places(scene: Scene) -> None:
    token = iter("abcd")
    names = [take(scene.queue, "file:///b", "/b", next(token), frozenset(), 0.0, home=home) for home in ("one", "two")]
    assert names == [name_of("file:///b", "one"), name_of("file:///b", "two")]
    one, other = scene.office(), scene.office()
    one.take("file:///c", "/c", "mine", frozenset(), 0.0, scene.stop, scene.report, "one")
    other.take("file:///c", "/c", "other", frozenset(), 0.0, scene.stop, scene.report, "two")
    assert one.keep()
    assert other.keep()
    with pytest.raises(DunlinError) as caught:
        take(scene.queue, "file:///c", "/c", "third", frozenset(), 0.0, home="two")
    assert caught.value.kind is ErrorKind.LOCKED


def test_a_run_takes_the_office_of_its_own_machine(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    options = SyncOptions(
        str(tmp_path / "a"), str(tmp_path / "b"), home="one", state_db="none", runtime=str(tmp_path), lock_wait=0.0
    )
    office = scene.office()
    assert scene.queue.hold(name_of(f"file://{tmp_path}/b", "two"), "somebody", 30.0)
    assert run(options, scene.stop, scene.report, office=office).status == "completed"
    assert not scene.queue.hold(name_of(f"file://{tmp_path}/b", "one"), "somebody", 30.0)
    with pytest.raises(DunlinError):
        run(options, scene.stop, scene.report, office=scene.office())


def test_one_run_has_it_until_it_leaves(scene: Scene) -> None:
    one, other = scene.office(), scene.office()
    scene.take(one)
    with pytest.raises(DunlinError) as caught:
        scene.take(other, "other")
    assert caught.value.kind is ErrorKind.LOCKED
    assert 1.0 <= scene.now - 100.0 < 1.5
    assert one.keep()
    one.leave()
    one.leave()
    scene.take(other, "other")
    assert one.keep(), "it has none any more, so none is lost"
    assert not scene.queue.hold(name_of(TARGET), "third", 1.0)


def test_the_dead_do_not_keep_it(scene: Scene) -> None:
    assert scene.queue.hold(name_of(TARGET), "killed", 30.0)
    scene.take(scene.office(), dead=frozenset({"killed", "mine"}))
    assert scene.naps == 0
    assert not scene.queue.hold(name_of(TARGET), "third", 1.0)


def test_who_lost_it_learns_that(scene: Scene) -> None:
    office = scene.office()
    assert office.keep()
    assert office.sure
    scene.take(office)
    scene.queue.leave(name_of(TARGET), "mine")
    assert take(scene.queue, TARGET, TARGET, "other", frozenset(), 0.0)
    assert not office.keep()


def test_who_did_not_keep_it_cannot_be_sure(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    office = scene.office()
    scene.take(office)
    scene.now += SURE - 1
    assert office.keep()
    scene.now += SURE - 1
    assert office.sure

    def away(*_: object) -> bool:
        raise DunlinError("use the queue", "", ErrorKind.NETWORK, "away")

    monkeypatch.setattr(scene.queue, "hold", away)
    assert office.keep(), "an answer that did not come says nothing"
    scene.now += 2
    assert not office.sure


def test_a_queue_that_is_away_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    hold, calls = scene.queue.hold, []

    def away(name: str, owner: str, seconds: float) -> bool:
        calls.append(name)
        if len(calls) < 50:
            raise DunlinError("use the queue", "", ErrorKind.NETWORK, "away")
        return hold(name, owner, seconds)

    monkeypatch.setattr(scene.queue, "hold", away)
    scene.take(scene.office(), patience=0.0)
    assert len(scene.report.named("queue.away")) == 1
    assert not hold(name_of(TARGET), "third", 1.0)


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, None])
def test_a_run_that_is_to_stop_does_not_wait(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: ErrorKind | None
) -> None:
    def no(*_: object) -> bool:
        scene.stop.request("cancelled")
        if kind is not None:
            raise DunlinError("use the queue", "", kind, "away")
        return False

    monkeypatch.setattr(scene.queue, "hold", no)
    with pytest.raises(DunlinError) as caught:
        scene.take(scene.office(), patience=60.0)
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert scene.naps == 0
