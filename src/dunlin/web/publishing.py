"""What `/publish` and `/check` stand on: the publisher, a worker for its units, the existence cache, the command hook.

All of them live in this process; workers elsewhere take units of the same queue. They are made here once, from settings
of which some may change: those are read where they are used.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dunlin.config.logins import Located
from dunlin.config.service import DEFAULT_TENANT, Service, Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.existence import Existence, ExistenceOptions
from dunlin.jobs.groups import place_groups
from dunlin.jobs.hook import CommandHook, Hook
from dunlin.jobs.publish import PublishItem, Rules
from dunlin.jobs.publish_tasks import QUEUE, PublishSettings
from dunlin.jobs.publisher import Publisher
from dunlin.pace.gate import Gate
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.queue.ledger.words import Job
from dunlin.report import Report
from dunlin.state.location import own_files
from dunlin.stores.base import Store, find_file
from dunlin.stores.login import Login
from dunlin.stores.open import Far, is_far, local_path, open_store
from dunlin.web.machine import machine
from dunlin.web.services import Found, Item
from dunlin.workers.accounts import Limits
from dunlin.workers.inside import Inside, work_inside
from dunlin.workers.publish_task import PublishTasks, TaskOptions

if TYPE_CHECKING:
    from dunlin.queue.ledger.ledger import Ledger

PROBE = ".dunlin-ready"
"""A key that need not exist: to be told so means that the store answers."""


class Publishing:
    """Publishes and looks keys up, from `start` to `close`.

    Args:
        settings: asked for at each step. destination: where it lies, at the start.
        resolve: from a location's name or a URL to where it lies, and how to get in.
        own: absolute paths of the service's own files.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: Queue,
        settings: Callable[[], Service],
        destination: Located,
        resolve: Callable[[str], Located],
        owner: str,
        own: Sequence[str],
        report: Report,
    ) -> None:
        self._ledger, self._queue, self._settings, self._resolve = ledger, queue, settings, resolve
        self._destination, self._report, self._owner = destination, report, owner
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._stop = Stop()
        self._bucket = bucket_of(destination.url)
        self._own = frozenset(name for path in own if path for name in own_files(os.path.abspath(path)))
        self._options = self._existence_options()
        self._grouped: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._publish_settings()
        self.cache = self._cache()
        self.existence = Existence(self._opened, self.cache, self._options, report)
        self.hook = CommandHook(
            lambda: Hook(*self._settings().hook), ledger.jobs, ledger.audit, report, owner=f"{owner}:hook",
            # With tenants it is nobody's in particular: administrators see it.
            tenant="" if settings().tenants else DEFAULT_TENANT,
        )  # fmt: skip
        self.publisher = Publisher(
            ledger, queue, self._publish_settings, report, owner=f"{owner}:publish", uploads=self.existence,
            uploaded=self.hook.uploaded, rules=lambda tenant: self._rules(self._settings().tenant(tenant)),
        )  # fmt: skip
        self._worker = threading.Thread(target=self._work, name="publish-worker", daemon=True)

    # ---- what it is made of ----

    def _cache(self) -> Any:
        redis = self._settings().redis
        if not redis:
            return self._ledger.existence
        from dunlin.queue.ledger.existence import RedisExistence

        return RedisExistence(redis)

    def _existence_options(self) -> ExistenceOptions:
        now = self._settings()
        return ExistenceOptions(self._bucket, now.prefixes, now.checks, now.check_timeout, now.ttl)

    def _publish_settings(self) -> PublishSettings:
        now = self._settings()
        return PublishSettings(
            destination=now.place,
            bucket=self._bucket,
            max_retry=now.max_retry,
            seconds=now.timeout,
            host=now.host if now.queue else "",
            shared=now.shared,
            own=self._own,
            target=local_path(self._destination.url) or "",
            groups=self._groups(now),
            capped=now.caps.directories,
            machine=machine(now, self._ledger).label,
        )

    def _groups(self, now: Service) -> tuple[str, ...]:
        """The groups of the destination: found once, since a directory is looked at for them, and may not answer."""
        asked = (now.place, *now.caps.directories)
        if self._grouped[0] != asked:
            found = place_groups(now.place, *self._destination[:2], now.caps.directories)
            self._grouped = asked, tuple(found)
        return self._grouped[1]

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = self._open(self._destination, self._settings().check_timeout)
            return self._store

    def _open(self, where: Located, total: float = 300.0) -> Store:
        # Look-ups that wait for a store which is away end with the service: the interpreter waits for their threads.
        gate = Gate(Far().connections, lambda: self._stop.requested)
        far = Far(login=where.login, total=total, listings=1, gate=gate) if is_far(where.url) else None
        return open_store(where.url, far=far)

    def _work(self) -> None:
        now = self._settings()
        how = Inside(socket.gethostname(), (now.host,) if now.host else (), now.slots)
        options = TaskOptions(limits=Limits(self._queue), notes=self.existence, recorded=self._queue.read)
        tasks = PublishTasks(self._where, options, self._report)
        try:
            work_inside(self._queue, {QUEUE: tasks}, how, self._stop, self._report)
        finally:
            tasks.close()

    def _where(self, place: str) -> tuple[str, Login]:
        found = self._resolve(place)
        return found.url, found.login

    def _rules(self, tenant: Tenant | None) -> Rules | None:
        """What a tenant may publish; None: nothing."""
        if tenant is None:
            return None
        roots = tuple(root for root in tenant.roots if "://" not in root)
        if tenant.roots and not roots:
            return None
        return Rules(roots, tenant.prefixes, local_path(self._destination.url) or "")

    # ---- what is asked of it ----

    def publish(
        self, items: Sequence[Item], tenant: Tenant, by: str, key: str, body: bytes, priority: int = 0
    ) -> Job:
        """See `services.Publishes`."""
        rules = self._rules(tenant)
        if rules is None:
            raise DunlinError("publish", "", ErrorKind.DENIED, "no directory of this machine may be published")
        asked = [PublishItem(*each) for each in items]
        return self.publisher.publish(asked, rules, tenant=tenant.name, by=by, key=key, body=body, priority=priority)

    def retry(self, job: Job) -> int:
        """See `services.Publishes`."""
        return self.publisher.retry(job.id)

    def cancel(self, job: Job) -> None:
        """See `services.Publishes`."""
        self.publisher.cancel(job.id)

    def pause(self, job: Job) -> bool:
        """See `services.Publishes`."""
        return self.publisher.pause(job.id)

    def resume(self, job: Job) -> bool:
        """See `services.Publishes`."""
        return self.publisher.resume(job.id)

    def result(self, job: Job) -> dict[str, Any] | None:
        """See `services.Publishes`."""
        return result_of(self._ledger, job)

    def check(self, key: str, prefixes: Sequence[str]) -> Found:
        """See `services.Looks`."""
        options = self._existence_options()
        if options != self._options:
            self._options = options
            self.existence.configure(options)
        return Found(*self.existence.check(key, prefixes))

    def invalidate(self, key: str, prefixes: Sequence[str]) -> None:
        """See `services.Looks`."""
        self.existence.invalidate(key, prefixes)

    def look(self) -> None:
        """Ask the store for a key that need not exist. Raises what the store raises."""
        find_file(self._opened(), PROBE)

    # ---- from start to end ----

    def start(self) -> None:
        """Begin."""
        self.publisher.start()
        self.hook.start()
        if self._settings().slots:
            self._worker.start()

    def close(self) -> None:
        """Finish the units under way or give them back, and end."""
        self._stop.request("the service is shutting down")
        if self._worker.is_alive():
            self._worker.join()  # before the publisher ends, which puts on record what is to be deleted
        self.publisher.close()
        self.hook.close()
        self.existence.close()
        if self.cache is not self._ledger.existence:
            self.cache.close()
        with self._lock:
            if self._store is not None:
                self._store.close()


def bucket_of(url: str) -> str:
    """How the existence cache calls a destination: of s3://bucket the bucket, as Sync4Loong does."""
    return url.partition("://")[2] or url


def result_of(ledger: Ledger, job: Job) -> dict[str, Any] | None:
    """Sync4Loong's SyncResult of a job."""
    from dunlin.jobs.publish_results import sync_result

    return sync_result(job, ledger.files, time.time())
