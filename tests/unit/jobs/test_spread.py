"""A run whose units go through a queue: what it refuses, what it tells, what it cleans up."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin import transfer
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import blake2b
from dunlin.jobs.office import name_of
from dunlin.jobs.options import Result, Spread, SyncOptions
from dunlin.jobs.spread import Given
from dunlin.jobs.sync import run
from dunlin.pace.stop import Stop
from dunlin.queue.base import NewTask
from dunlin.queue.embedded import Embedded
from dunlin.report import RecordingReport
from dunlin.state.store import State
from dunlin.stores.login import Login
from dunlin.workers.remote import queue_of, setup_name


class Site:
    """Two trees and a queue."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root / "queue.db")
        self.queue = Embedded.open(self.url, lambda _: None, durable=False)
        self.report = RecordingReport()
        (root / "source").mkdir()
        for n in range(30):
            (root / "source" / f"f{n}").write_text(f"content {n}")

    def run(self, source: str = "", target: str = "", **how: object) -> Result:
        options = SyncOptions(
            source or str(self.root / "source"),
            target or str(self.root / "target"),
            state_db=str(self.root / "state.db"),
            runtime=str(self.root),
            lock_wait=0.0,
            spread=Spread(self.url, host="here", label="here"),
        )
        return run(options._replace(**how), Stop(), self.report)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.queue.close()


def test_the_processes_that_come_along_do_all_of_it_and_nothing_is_left_in_the_queue(site: Site) -> None:
    result = site.run()
    assert (result.status, result.stats.copied_files) == ("completed", 30)
    assert (site.root / "target" / "f7").read_text() == "content 7"
    assert [stats for stats in site.queue.stats() if stats.waiting or stats.leased or stats.news] == []
    assert site.queue.workers() == []


def test_what_a_killed_run_left_in_the_queue_is_removed(site: Site) -> None:
    site.run()
    state = State.open(str(site.root / "state.db"), site.report)
    (token,) = state.tokens(1)
    state.close()
    site.queue.put([NewTask(queue_of(token), "1", b"")])
    site.queue.write(setup_name(token), b"x")
    site.run()
    assert site.queue.read(setup_name(token)) is None
    assert [stats.queue for stats in site.queue.stats() if stats.waiting] == []
    assert [event.name for event in site.report.events].count("queue.cleaned") == 1


def test_an_office_that_a_killed_run_held_is_taken_over(site: Site) -> None:
    site.run()
    state = State.open(str(site.root / "state.db"), site.report)
    (token,) = state.tokens(1)
    state.close()
    assert site.queue.hold(office(site), token, 100.0)
    assert site.run().status == "completed"


def test_another_run_on_the_same_destination_is_refused(site: Site) -> None:
    assert site.queue.hold(office(site), "somebody", 100.0)
    with pytest.raises(DunlinError) as raised:
        site.run()
    assert raised.value.kind is ErrorKind.LOCKED
    assert not list((site.root / "target").iterdir())


@pytest.mark.parametrize(("held", "refused"), [("another", False), ("here", True)])
def test_a_directory_of_that_name_on_another_machine_is_another_destination(
    site: Site, held: str, refused: bool
) -> None:
    assert site.queue.hold(name_of(f"file://{site.root / 'target'}", held), "somebody", 100.0)
    if refused:
        with pytest.raises(DunlinError) as raised:
            site.run(home="here")
        assert raised.value.kind is ErrorKind.LOCKED
    else:
        assert site.run(home="here").status == "completed"


def test_a_tree_in_the_memory_of_this_process_is_refused(site: Site) -> None:
    with pytest.raises(DunlinError, match="memory"):
        site.run(target="memory://spread")


def test_writing_in_place_is_refused(site: Site) -> None:
    with pytest.raises(DunlinError, match="--in-place"):
        site.run(transfer=transfer.Options(in_place=True))


def test_a_dry_run_does_its_work_itself(site: Site) -> None:
    result = site.run(mode="plan", spread=Spread("nope://x"))
    assert result.stats.missing_files == 30


def test_places_of_a_run_can_be_sent_to_a_process() -> None:
    given = Given({"source": ("/a", Login()), "dest": ("s3://b", Login({"account_key": "sekret"}))})
    sent = pickle.loads(pickle.dumps(given))
    assert sent("loc://x", "source") == ("/a", Login())
    assert sent("", "dest")[1]["account_key"] == "sekret"


def office(site: Site) -> str:
    url = f"file://{site.root / 'target'}"
    return "destination/" + blake2b(url.encode(), digest_size=16).hexdigest()
