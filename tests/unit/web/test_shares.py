"""What each tenant gets: places for jobs, a part of the bytes, and that the queue is told again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dunlin.config.service import Service, Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.office import Office
from dunlin.jobs.options import Result, Spread, SyncOptions
from dunlin.model import Stats
from dunlin.pace.schedule import parse_schedule
from dunlin.pace.stop import Stop
from dunlin.queue import caps
from dunlin.queue.caps import Shared
from dunlin.queue.embedded import Embedded
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import Job, NewJob, Share
from dunlin.queue.open import open_queue
from dunlin.report import NullReport, Report
from dunlin.web.runner import Runner
from dunlin.web.shares import Keeper, Shares
from tests.unit.web.served import settings

ONE = Tenant("one", ("/srv/one",), ("one/",), 1, 4, 1_000_000)
TWO = Tenant("two", ("/srv/two",), ("two/",), bandwidth=600_000)


def having(*tenants: Tenant, jobs: int = 3) -> Service:
    return settings()._replace(tenants={each.name: each for each in tenants}, jobs=jobs)


@pytest.mark.parametrize(
    ("found", "share"),
    [
        (having(), Share()),
        (having(ONE), Share({"one": 1})),
        (having(ONE, TWO), Share({"one": 1}, 2)),
        (having(TWO, ONE, jobs=2), Share({"one": 1}, 1)),
        (having(TWO, ONE, jobs=1), Share({"one": 1}, 1)),
    ],
)
def test_one_place_is_left_for_others_where_there_are_others(found: Service, share: Share) -> None:
    assert Shares(lambda: found).claims() == share


def job(tmp_path: Path, priority: int = 0) -> Job:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    try:
        return ledger.jobs.submit(NewJob("sync", tenant="two", priority=priority)).job
    finally:
        ledger.close()


def test_a_run_over_the_queue_has_its_tenant_and_priority(tmp_path: Path) -> None:
    options = SyncOptions("/a", "/b", spread=Spread("queue.db"))
    fitted = Shares(lambda: having(ONE, TWO)).fit(options, TWO, job(tmp_path, 7))
    assert fitted == options._replace(spread=Spread("queue.db", tenant="two", priority=7))
    alone = Shares(having).fit(options, Tenant("default", (), ()), job(tmp_path, -7))
    assert alone.spread == Spread("queue.db", priority=-7), "without tenants nobody's account is looked for"


def test_a_run_that_is_done_here_has_an_equal_part_of_its_tenants_bytes(tmp_path: Path) -> None:
    shares, one = Shares(lambda: having(ONE, TWO)), job(tmp_path)

    def rate(tenant: Tenant, asked: str = "") -> tuple[int, ...]:
        limit = parse_schedule(asked) if asked else None
        fitted = shares.fit(SyncOptions("/a", "/b", bandwidth=limit), tenant, one)
        assert fitted.bandwidth is not None
        return tuple(fitted.bandwidth.rate_at(datetime(2024, 1, 1, hour)) for hour in (9, 20))

    assert rate(ONE) == (1_000_000, 1_000_000)
    assert rate(TWO) == (200_000, 200_000), "three jobs at a time"
    assert rate(TWO, "50KB") == (50_000, 50_000)
    assert rate(TWO, "08:00,50KB 19:00,off") == (50_000, 200_000)
    unbound = Tenant("x", (), ())
    assert shares.fit(SyncOptions("/a", "/b"), unbound, one).bandwidth is None


class Waiting:
    """A run that goes on until it is stopped."""

    def __init__(self) -> None:
        self.asked: list[SyncOptions] = []

    def __call__(self, options: SyncOptions, stop: Stop, report: Report, *, office: Office | None) -> Result:
        self.asked.append(options)
        ended = threading.Event()
        stop.tell(ended.set)
        assert ended.wait(20)
        return Result(Stats(), "interrupted", stop.reason, 130)


def test_a_tenant_whose_jobs_never_end_leaves_a_place_for_others(tmp_path: Path) -> None:
    ledger, queue, run = open_ledger(str(tmp_path / "l.db")), open_queue(str(tmp_path / "q.db")), Waiting()
    found = having(ONE._replace(jobs=0), TWO, jobs=3)

    def ask(kind: str, options: Mapping[str, Any]) -> SyncOptions:
        return SyncOptions(options["source"], "/b", spread=Spread("q.db"))

    tenants = {name: Tenant(name, ("/",), ()) for name in ("one", "two")}
    runner = Runner(
        ledger.jobs, ask, run, tenants.get, 3, "me", NullReport(), lambda event: None, time.monotonic,
        lambda: Office(queue), Shares(lambda: found),
    )  # fmt: skip

    def submit(tenant: str, source: str, priority: int) -> None:
        options = msgspec.json.encode({"source": source, "destination": "/b"})
        ledger.jobs.submit(NewJob("sync", options, tenant, priority=priority))

    try:
        for n in range(5):
            submit("one", f"/one{n}", 100)
        runner.look()
        assert runner.busy == 2
        submit("two", "/two0", -100)
        runner.look()
        assert runner.busy == 3
        until(lambda: len(run.asked) == 3)
        spreads = {options.source: options.spread for options in run.asked}
        assert spreads == {
            "/one0": Spread("q.db", priority=100, tenant="one"), "/one1": Spread("q.db", priority=100, tenant="one"),
            "/two0": Spread("q.db", priority=-100, tenant="two"),
        }  # fmt: skip
    finally:
        runner.close(20)
        ledger.close()
        queue.close()


def until(good: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not good():
        assert time.monotonic() < end
        time.sleep(0.005)  # for a thread, not for a clock


class Away(Embedded):
    """Nothing can be written until it is back."""

    away = False

    def write(self, name: str, value: bytes | None, seconds: float = 0.0) -> None:
        if self.away:
            raise DunlinError("write", "", ErrorKind.NETWORK, "away")
        super().write(name, value, seconds)


def test_what_could_not_be_put_is_put_later(tmp_path: Path) -> None:
    queue = Away.open(str(tmp_path / "queue.db"), lambda _: None)
    assert isinstance(queue, Away)
    now = [settings()._replace(shares=Shared({"g": 1}))]
    keeper = Keeper(queue, lambda: now[0])
    keeper.put()
    now[0] = settings()._replace(shares=Shared({"g": 2}))
    keeper.look()
    assert caps.read(queue) == Shared({"g": 1}), "a look puts nothing new: that is for who read the configuration again"
    queue.away = True
    with pytest.raises(DunlinError, match="away"):
        keeper.put()
    queue.away = False
    keeper.look()
    assert caps.read(queue) == Shared({"g": 2})
    queue.write(caps.NAME, None)
    keeper.look()
    assert caps.read(queue) == Shared({"g": 2})
    queue.close()
