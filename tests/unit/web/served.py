"""A service without a process: the application over a real ledger and queue, with a publisher that remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx

from dunlin.config.service import Service, Tenant, service
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.ledger import Ledger, open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewItem, NewJob
from dunlin.queue.open import open_queue
from dunlin.report.prometheus import Metrics
from dunlin.web.app import make_service
from dunlin.web.bounded import Bounded
from dunlin.web.exposition import ServiceMetrics
from dunlin.web.hub import Hub
from dunlin.web.limits import Failures, Rates
from dunlin.web.monitor import routes as monitor
from dunlin.web.monitor.depth import Depth
from dunlin.web.services import Calls, Found, Item, Services
from dunlin.web.vaults import Vaults


class Publisher:
    """Puts jobs on record and keeps what it was asked for; knows some keys."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.asked: list[tuple[list[Item], str, str]] = []
        self.keys: dict[str, int] = {}
        self.fails: DunlinError | None = None
        self.forgotten: list[str] = []

    def publish(
        self, items: Sequence[Item], tenant: Tenant, by: str, key: str, body: bytes, priority: int = 0
    ) -> Job:
        if self.fails is not None:
            raise self.fails
        self.asked.append((list(items), tenant.name, by))
        new = NewJob("publish", b"{}", tenant.name, by, "items", priority, key, body)
        return self.ledger.jobs.submit(new, [NewItem(each.source, each.to) for each in items]).job

    def check(self, key: str, prefixes: Sequence[str]) -> Found:
        if self.fails is not None:
            raise self.fails
        return Found(key in self.keys, True, 1_704_110_400.0, self.keys.get(key, 0))

    def invalidate(self, key: str, prefixes: Sequence[str]) -> None:
        self.forgotten.append(key)

    def retry(self, job: Job) -> int:
        return 0

    def cancel(self, job: Job) -> None:
        self.ledger.jobs.move(job.id, JobStatus.CANCELLED)

    def pause(self, job: Job) -> bool:
        return False

    def resume(self, job: Job) -> bool:
        return self.ledger.jobs.move(job.id, JobStatus.QUEUED, (JobStatus.PAUSED,)) is not None

    def result(self, job: Job) -> dict[str, Any] | None:
        return {"total_files": 0}


class Runner:
    """Takes every job whose source is not /refused."""

    def __init__(self) -> None:
        self.woken = 0

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        if not isinstance(options.get("source"), str) or not isinstance(options.get("destination"), str):
            raise DunlinError("start", "", ErrorKind.USAGE, "source is missing")
        if options["source"] == "/refused":
            raise DunlinError("use source", "/refused", ErrorKind.DENIED, "it is outside the allowed roots")
        return f"{options['source']} -> {options['destination']}"

    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        return "nas" if str(options["source"]).startswith("/of/nas") else ""

    def wake(self) -> None:
        self.woken += 1


class Served:
    """The parts, and calls of the application."""

    def __init__(self, services: Services, publisher: Publisher, runner: Runner, faults: list[Exception]) -> None:
        self.services, self.publisher, self.runner, self.faults = services, publisher, runner, faults
        self.depth = Depth(services.queue.stats, services.clock)
        self.app = make_service(services, monitor(services, self.depth))

    def ask(
        self, method: str, path: str, host: str = "localhost", address: str = "127.0.0.1", **more: Any
    ) -> httpx.Response:
        """One request, as httpx makes it, from an address."""

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=True, client=(address, 123)  # type: ignore[arg-type]
            )  # fmt: skip
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as client:
                return await client.request(method, path, **more)

        return anyio.run(call)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("POST", path, **more)


def settings(**variables: str) -> Service:
    """Settings from variables: HTTP_ADDR="0.0.0.0:8080"."""
    return service(Settings(environ={f"DUNLIN_{name}": value for name, value in variables.items()}))


@contextmanager
def served(
    directory: Path,
    clock: Callable[[], float] = time.time,
    ready: Mapping[str, str] | None = None,
    states: str = "",
    found: Service | None = None,
    **variables: str,
) -> Iterator[Served]:
    """A service whose files are in a directory, with settings from variables, or as they were found."""
    now = found or settings(**variables)
    ledger, queue = open_ledger(str(directory / "ledger.db"), clock), open_queue(str(directory / "queue.db"))
    publisher, runner, faults = Publisher(ledger), Runner(), []  # type: tuple[Publisher, Runner, list[Exception]]
    calls, publishes = Calls(4), Bounded(2, 2, 0.5)
    vaults = Vaults(lambda: now.repositories)
    try:
        yield Served(
            Services(
                ledger=ledger, queue=queue, publisher=publisher, existence=publisher, runner=runner,
                settings=lambda: now, states=lambda: states, hub=Hub(),
                metrics=ServiceMetrics(Metrics("1"), queue.stats, queue.workers, dict), calls=calls, lookups=calls,
                publishes=publishes,
                rates=Rates(), failures=Failures(3), clock=clock, version="1",
                ready=lambda: ready or {"ledger": "ok"}, fault=faults.append, vaults=vaults,
            ),
            publisher, runner, faults,
        )  # fmt: skip
    finally:
        calls.close()
        publishes.close()
        vaults.close()
        ledger.close()
        queue.close()
