"""Backups, scans, restores, verifications, forgetting and pruning that the service does: each as its command would.

A job names a repository of the configuration, and is its tenant's: the tenant of the service is the tenant of that name
in the repository, whatever the job says, and whoever may not use a repository is told that there is none. Its source or
destination has to lie in the tenant's roots, as a sync's. Nothing is written into a repository but by its own jobs.

A restore is a sync, and is run as one (`runner`). The others compute for long, and some of them fork, so each has a
process of its own (`jobs.apart`) that gets the keys of its tenant only (`backup_work`).

One backup of a share at a time, and one prune of a tenant: whoever finds another one at work waits. What a machine
that died holds is free after a quarter of an hour (`backup.lease`), so a job that another service takes over may have
to wait for that long; after that it is somebody who works, and the job fails with who that is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dunlin.config.repositories import Repository, lies
from dunlin.config.words import closest
from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.jobs.office import Office
from dunlin.jobs.options import SEVERITY, Result, SyncOptions, Within
from dunlin.model import is_below
from dunlin.pace.stop import Stop
from dunlin.queue.ledger.words import Job
from dunlin.report import Event, Level, Report
from dunlin.stores.login import Login
from dunlin.stores.open import local_path, shown_place
from dunlin.web.kinds import REMOVES
from dunlin.web.outcome import Done, ended, told
from dunlin.web.roots import FILES, allowed, check_files, check_kept, denied

if TYPE_CHECKING:
    from dunlin.backup.repository import Repository as Opened
    from dunlin.config.service import Service, Tenant
    from dunlin.jobs.browse import Place as Spot
    from dunlin.jobs.repo import Place
    from dunlin.web.backup_work import Work
    from dunlin.web.machine import Machine
    from dunlin.web.runner import Run
    from dunlin.web.shares import Shares

PATIENCE = 16 * 60.0
"""Seconds that a job waits for another one of its share; longer than a lease outlives its owner."""

AGAIN = 5.0
"""Seconds between two attempts."""


class Asked(NamedTuple):
    """What a job asks for, understood.

    Attributes:
        repository: its name.
        options: of the work: `jobs.backup.Options`, `SyncOptions` of a restore, `jobs.verify.Options` and so on.
        share: "" for the only one, or for all. dry: nothing is changed.
        snapshot, path, overwrite, verify: of a restore (a verification has the first, too; of forgetting it is what
            people are told).
        prune: of forgetting: free afterwards what nobody needs.
    """

    repository: str
    options: Any
    share: str = ""
    dry: bool = False
    snapshot: str = ""
    path: str = ""
    overwrite: str = ""
    verify: bool = False
    prune: bool = False


Ask = Callable[[str, Mapping[str, Any], "Tenant"], Asked]
Apart = Callable[[Callable[["Work", Stop, Report], Done], "Work", Stop, Report], Done]


class Backups:
    """Does the jobs of `kinds.KEEPS`.

    Args:
        ask: from words to options (`cli.service_backups`). run: `jobs.sync.run`. apart: `jobs.apart.apart`.
        settings: the configuration as it is now. machine: this one. shares: divides bytes among tenants.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Ask,
        run: Run,
        apart: Apart,
        settings: Callable[[], Service],
        machine: Callable[[], Machine],
        shares: Shares,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._ask, self._run, self._apart = ask, run, apart
        self._settings, self._machine, self._shares = settings, machine, shares
        self._clock, self._sleep = clock, sleep

    # ---- before it is begun ----

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """Whether such a job can be done for a tenant; its label. Raises USAGE, CONFIG, DENIED."""
        asked, known = self._understood(kind, options, tenant)
        inside = f"{known.name}:{asked.share}" if asked.share else known.name
        if kind in ("backup", "scan"):
            return f"{shown_place(asked.options.source)} -> {inside}"
        if kind == "restore":
            path = f"/{printable(asked.path)}" if asked.path else ""
            return f"{inside}@{printable(asked.snapshot)}{path} -> {shown_place(asked.options.destination)}"
        return f"{inside}@{printable(asked.snapshot)}" if asked.snapshot else inside

    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """The label of the machine whose paths such a job names; "": of none. Raises as `check`."""
        asked, known = self._understood(kind, options, tenant)
        places = [known.url, *(place for place, _ in _places(kind, asked).values())]
        paths = [path for path in map(local_path, places) if path is not None]
        for name in FILES:
            value = options.get(name)
            paths += [str(each) for each in (value if isinstance(value, list) else [value]) if each]
        return self._machine().of_paths([os.path.realpath(path) for path in paths])

    def _understood(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> tuple[Asked, Repository]:
        # Files of patterns are read while the words are understood, so their places come first.
        check_files(options, tenant.roots)
        try:
            asked = self._ask(kind, options, tenant)
        except ImportError:
            hint = "install it with its extra: pip install 'dunlin[backup]'"
            raise usage("this dunlin was installed without what backups need", hint) from None
        settings = self._settings()
        known = settings.repository(asked.repository, tenant.name)
        if known is None:
            mine = [name for name, each in settings.repositories.items() if tenant.name in each.tenants]
            raise usage(f"there is no repository {printable(asked.repository)}", closest(asked.repository, mine))
        if kind in REMOVES and known.append_only and not asked.dry:
            raise usage(f"the repository {known.name} is append-only: nothing is removed from it")
        for name, (place, login) in _places(kind, asked).items():
            if tenant.roots and not allowed(place, tenant.roots, login):
                raise denied(name, place)
        if kind != "restore":
            return asked, known
        if tenant.listed:
            check_kept(asked.options)
        self.check_target(asked.options)
        if tenant.roots:
            roots = tuple(root for root in tenant.roots if "://" not in root)
            asked = asked._replace(options=asked.options._replace(within=Within(roots)))
        return asked, known

    def check_target(self, options: SyncOptions) -> None:
        """Refuse a run that writes into a repository of the configuration, or deletes around one. Raises DENIED."""
        known = [each.lies or lies(each.url, each.login) for each in self._settings().repositories.values()]
        if options.mode != "sync" or not known:
            return
        there = lies(options.destination, options.login_target)
        for each in known:
            if ("://" in each) is not ("://" in there):
                continue
            if is_below(there, each) or (options.policy.delete and is_below(each, there)):
                shown = printable(shown_place(options.destination))
                reason = "a repository of backups is there"
                raise DunlinError("write to", shown, ErrorKind.DENIED, reason, "name another place")

    # ---- doing it ----

    def do(self, job: Job, tenant: Tenant, stop: Stop, report: Report, office: Office) -> Done:
        """Do a job. Raises what makes it fail, and INTERRUPTED."""
        from dunlin.jobs.repo import Place
        from dunlin.web import backup_work

        asked, known = self._understood(job.kind, msgspec.json.decode(job.options), tenant)
        place = Place(known.url, known.login, known.cache)
        if job.kind == "restore":
            return self._restore(asked, known, place, tenant, job, stop, report, office)
        options = asked.options
        how = getattr(options, "spread", None)
        if how is not None:
            options = options._replace(spread=self._shares.spread(how, tenant, job))
        elif job.kind in ("backup", "scan"):
            options = options._replace(bandwidth=self._shares.limited(options.bandwidth, tenant))
        if job.kind in ("backup", "scan"):
            place = place._replace(timeout=options.timeout, request_timeout=options.request_timeout)
        roots = tuple(root for root in tenant.roots if "://" not in root) if tenant.roots else None
        work = backup_work.Work(known.name, place, known.password(), tenant.name, options, roots, asked.prune)
        call = {
            "backup": backup_work.back_up, "scan": backup_work.back_up, "verify": backup_work.verify,
            "prune": backup_work.prune, "forget": backup_work.forget,
        }[job.kind]  # fmt: skip
        return self._patiently(lambda: self._apart(call, work, stop, report), stop, report)

    def _patiently(self, act: Callable[[], Done], stop: Stop, report: Report) -> Done:
        """Do it, when nobody else is at the same share."""
        until, said = self._clock() + PATIENCE, False
        while True:
            try:
                return act()
            except DunlinError as error:
                if error.kind is not ErrorKind.LOCKED or self._clock() >= until:
                    raise
                if not said:
                    said = True
                    report.event(Event(Level.INFO, "backup.waits", f"waiting: {error.reason}"))
            again = self._clock() + AGAIN
            while self._clock() < again:
                if stop.requested:
                    raise DunlinError("start", "", ErrorKind.INTERRUPTED, stop.reason)
                self._sleep(0.2)

    def _restore(
        self, asked: Asked, known: Repository, place: Place, tenant: Tenant, job: Job, stop: Stop, report: Report,
        office: Office,
    ) -> Done:  # fmt: skip
        from dunlin.jobs.restore import Snapshot, restoring, verifying
        from dunlin.web.backup_work import described, open_for

        opened = open_for(known.name, place, known.password, tenant.name)
        try:
            snapshot = Snapshot(place, opened, _spot(opened, tenant.name, asked))
        finally:
            opened.close()
        options = restoring(asked.options, snapshot, asked.overwrite)
        # Device files open a way around every permission.
        options = options._replace(policy=options.policy._replace(devices=False))
        options = self._shares.fit(options, tenant, job)
        writes = options.mode == "sync"
        # A spread run has an office of its own.
        result = self._run(options, stop, report, office=office if writes and options.spread is None else None)
        body = {**told(result), "repository": known.name, "snapshot": described(snapshot.manifest)}
        if not (asked.verify and writes and result.exit_code in (0, 23, 24)):
            return _ended(result, body)
        compared = self._run(verifying(options)._replace(spread=None), stop, report, office=None)
        worse = min(result, compared, key=lambda each: SEVERITY.index(each.exit_code))
        return _ended(worse, {**body, "exit_code": worse.exit_code, "verified": told(compared)})


def _ended(result: Result, body: dict[str, Any]) -> Done:
    if result.exit_code == 3:
        result = result._replace(message="what was restored differs from the snapshot")
    return ended(result)._replace(result=body)


def _spot(opened: Opened, tenant: str, asked: Asked) -> Spot:
    """The snapshot that a restore means. Raises NOT_FOUND, USAGE, without a word on who else is in the repository."""
    from dunlin.jobs.browse import Wanted, resolve

    try:
        return resolve(opened, tenant, asked.share, Wanted(asked.snapshot, asked.path), content=True)
    except DunlinError as error:
        raise DunlinError(error.operation, error.where, error.kind, error.reason) from None


def _places(kind: str, asked: Asked) -> dict[str, tuple[str, Login]]:
    """The places that a job names itself, with their logins."""
    if kind in ("backup", "scan"):
        return {"source": (asked.options.source, asked.options.login)}
    if kind == "restore":
        return {"destination": (asked.options.destination, asked.options.login_target)}
    return {}
