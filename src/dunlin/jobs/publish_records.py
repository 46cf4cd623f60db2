"""What publishing needs of the ledger, and no more; the promises are those of `queue.ledger`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from dunlin.jobs.publish_results import Outcomes
from dunlin.jobs.publish_walk import Records
from dunlin.queue.ledger.words import (
    Job,
    JobStatus,
    NewItem,
    NewJob,
    OpenUnit,
    Share,
    Submitted,
    Unit,
    UnitStatus,
    Wish,
)


class Jobs(Protocol):
    """What is needed of the ledger's jobs; see `queue.ledger.jobs`."""

    def submit(self, new: NewJob, items: Sequence[NewItem] = ()) -> Submitted: ...
    def asked(self, tenant: str, key: str, body: bytes) -> Job | None: ...
    def get(self, id: str, tenant: str | None = None) -> Job | None: ...
    def claim(
        self, owner: str, seconds: float, kinds: Collection[str] = (), share: Share = ..., host: str = ""
    ) -> Job | None: ...
    def renew(self, owner: str, seconds: float) -> list[str]: ...
    def sweep(self, owner: str = "") -> list[str]: ...
    def move(
        self,
        id: str,
        to: JobStatus,
        only: Collection[JobStatus] = (),
        error: str = "",
        result: bytes | None = None,
        owner: str = "",
    ) -> Job | None: ...
    def progress(self, id: str, counts: Mapping[str, int], owner: str = "") -> bool: ...
    def ask(self, id: str, wish: Wish) -> bool: ...
    def wishes(self, owner: str) -> dict[str, Wish]: ...
    def page(
        self,
        tenant: str | None = None,
        kind: str = "",
        statuses: Collection[JobStatus] = (),
        search: str = "",
        after: str = "",
        count: int = 100,
    ) -> list[Job]: ...


class Files(Records, Outcomes, Protocol):
    """What is needed of the ledger's files; see `queue.ledger.files`."""

    def walked(self, job: str, item: int, error: str = "") -> None: ...
    def units(
        self, job: str, status: UnitStatus | None = None, after: int = -1, count: int = 100
    ) -> list[Unit]: ...
    def replace(self, job: str, unit: int) -> OpenUnit | None: ...
    def retry(
        self, job: str, per_unit: int = 250, count: int = 10_000, before: float | None = None
    ) -> list[OpenUnit]: ...
    def cancel(self, job: str) -> int: ...


class PublishLedger(Protocol):
    """The ledger, as far as it is needed."""

    @property
    def jobs(self) -> Jobs: ...
    @property
    def files(self) -> Files: ...
