"""Runs that must stay within directories: nothing that is done to paths meanwhile leads them out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import spread, sync
from dunlin.jobs.options import Log, Spread, Within
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.workers.lock import RunLock
from tests.unit.jobs.conftest import Places


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("outside")
    (found / "secret").write_text("kept")
    return found


def bound(places: Places, *files: str) -> Within:
    return Within((str(places.root.resolve()),), frozenset(files))


def waits(places: Places, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """The next run has to wait for its lock, and something happens meanwhile."""
    lock = RunLock(f"file://{places.target}", str(places.root / "locks"))
    lock.take(0)

    def nap(seconds: float, stop: object) -> None:
        meanwhile()
        lock.release()

    monkeypatch.setattr(sync, "_nap", nap)


def test_a_run_within_does_its_work(places: Places) -> None:
    places.file("a")
    log = Log(file=str(places.root / "log"), report_file=str(places.root / "report"))
    files = ("log_file", "report_file", "state_db", "backup_dir")
    found = places.run(within=bound(places, *files), log=log, backup_dir="old")
    assert found.exit_code == 0
    assert (places.root / "report").read_text() == "copied\ta\n"


@pytest.mark.parametrize("name", ["source", "destination"])
def test_a_place_outside_is_refused_before_anything_is_made(places: Places, outside: Path, name: str) -> None:
    places.file("a")
    with pytest.raises(DunlinError, match="outside the allowed roots") as found:
        places.run(within=bound(places), **{name: str(outside / "new")})
    assert found.value.kind is ErrorKind.DENIED
    assert not places.target.exists()
    assert [each.name for each in outside.iterdir()] == ["secret"]


def test_a_backup_directory_is_taken_as_it_is_written(places: Places) -> None:
    """`in/../../x` lies in the root to the system, and above it to who resolves words."""
    places.file("a")
    deep = places.target / "a" / "b"
    deep.mkdir(parents=True)
    (places.target / "in").symlink_to(deep)
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        places.run(within=bound(places, "backup_dir"), backup_dir="in/../../../x")


@pytest.mark.parametrize("option", ["report_file", "file"])
def test_a_link_that_is_made_while_a_run_waits_is_not_followed(
    places: Places, outside: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.file("a")
    path = places.root / "written"
    waits(places, monkeypatch, lambda: path.symlink_to(outside / "secret"))
    log = Log()._replace(**{option: str(path)})
    with pytest.raises(DunlinError):
        places.run(within=bound(places, "log_file", "report_file"), log=log, lock_wait=60.0)
    assert (outside / "secret").read_text() == "kept"


def test_places_are_looked_at_again_when_the_run_has_its_lock(
    places: Places, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.file("a")
    (outside / "source").mkdir()
    (outside / "source" / "secret").write_text("of somebody else")

    def swap() -> None:
        places.source.rename(places.root / "moved")
        places.source.symlink_to(outside / "source")

    waits(places, monkeypatch, swap)
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        places.run(within=bound(places), lock_wait=60.0)
    assert list(places.target.iterdir()) == []


class Office:
    """Waits for the office of the destination, while something happens."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def take(self, *_: object) -> None:
        self._meanwhile()


def test_and_again_when_it_has_its_office(places: Places, outside: Path) -> None:
    places.file("a")

    def swap() -> None:
        places.target.rename(places.root / "moved")
        places.target.symlink_to(outside)

    with pytest.raises(DunlinError, match="outside the allowed roots"):
        sync.run(places.options(within=bound(places)), Stop(), NullReport(), office=cast(Any, Office(swap)))
    assert [each.name for each in outside.iterdir()] == ["secret"]


def test_and_again_when_a_run_that_goes_to_workers_has_it(
    places: Places, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, closed = places.open(), threading.Event()

    def take(*_: object, home: str = "") -> None:
        places.target.rename(places.root / "moved")
        places.target.symlink_to(outside)

    monkeypatch.setattr(spread, "open_queue", lambda url: SimpleNamespace(close=closed.set))
    monkeypatch.setattr(spread, "take", take)
    for name in ("_check", "_clean"):
        monkeypatch.setattr(spread, name, lambda *_: None)
    setup: Any = SimpleNamespace(rules=SimpleNamespace(run="r", dead=frozenset()))
    options = places.options(within=bound(places), spread=Spread("redis://queue"))
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        spread.spread(options, pair, setup, cast(Any, None), cast(Any, None), NullReport())
    assert closed.is_set()
    assert [each.name for each in outside.iterdir()] == ["secret"]


def test_the_state_file_is_looked_at_as_well(places: Places, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places.file("a")
    waits(places, monkeypatch, lambda: places.state_db.symlink_to(outside / "new.db"))
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        places.run(within=bound(places, "state_db"), lock_wait=60.0)
    assert not (outside / "new.db").exists()


def test_what_nobody_bound_goes_where_it_is_told(places: Places, outside: Path) -> None:
    places.file("a")
    log = Log(report_file=str(outside / "report"))
    assert places.run(within=bound(places, "log_file"), log=log).exit_code == 0
    assert (outside / "report").read_text() == "copied\ta\n"
