"""What a process does that the service starts for a job with a repository (`jobs.apart`), and what it tells of it.

Each function is told where the repository is, what opens it, and for whom; from then on it holds the keys of this
tenant alone. What becomes of it is `Done`: plain values, since the result of a job is JSON in the ledger, of bounded
length.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.errors import DunlinError, printable
from dunlin.jobs.repo import Place, open_at
from dunlin.jobs.within import stay
from dunlin.pace.sizes import format_number
from dunlin.pace.stop import Stop
from dunlin.report import Report
from dunlin.stores.open import canonical_url
from dunlin.web.outcome import Done, good

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.prune import Pruned
    from dunlin.backup.repository import Repository
    from dunlin.backup.verify import Verified
    from dunlin.jobs.forget import Fate

SHOWN = 100
"""Most names of one kind in a result."""


class Work(NamedTuple):
    """What a process is told.

    Attributes:
        name: of the repository, as the configuration calls it. place: where that is. password: what opens it.
        tenant: for whom. asked: the options of the job (`jobs.backup.Options` and its like).
        roots: where the source may lie; None: anywhere. prune: see `forget`.
    """

    name: str
    place: Place
    password: bytes | None
    tenant: str
    asked: Any
    roots: tuple[str, ...] | None = None
    prune: bool = False


def open_for(name: str, place: Place, password: Callable[[], bytes | None], tenant: str) -> Repository:
    """A repository with the keys of one tenant. Raises as `open_at`, without telling where it lies."""
    from dunlin.backup.repository import Repository as Opened

    try:
        opened = open_at(place, password)
    except DunlinError as error:
        raise DunlinError("open the repository", name, error.kind, error.reason) from None
    try:
        return Opened(opened.objects, *opened.told(tenant))
    except DunlinError as error:
        opened.close()
        raise DunlinError("open the repository", name, error.kind, error.reason) from None


@contextmanager
def _opened(work: Work) -> Iterator[Repository]:
    opened = open_for(work.name, work.place, lambda: work.password, work.tenant)
    try:
        yield opened
    finally:
        opened.close()


def _me() -> str:
    return f"{platform.node() or 'a host'}, process {os.getpid()}"


def back_up(work: Work, stop: Stop, report: Report) -> Done:
    """`dunlin backup`, or `dunlin scan`."""
    from dunlin.jobs.backup import run

    asked = work.asked._replace(repository=work.place, host=platform.node())
    stay(work.roots, canonical_url(asked.source, asked.login))
    with _opened(work) as opened:
        result = run(asked, opened, stop, report)
    made = None if asked.dry else result.snapshot
    body: dict[str, Any] = {
        "repository": work.name, "seconds": round(result.seconds, 3), "dry_run": asked.dry,
        "totals": _given(dataclasses.asdict(result.totals)), "vanished": result.vanished,
        "errors": [_error(each) for each in result.errors[:SHOWN]],
    }  # fmt: skip
    if made is not None:
        body["snapshot"] = described(made)
    message = result.message
    if result.errors:
        failed = max(len(result.errors), result.totals.failed_entries)
        message = f"{failed:,} could not be read; the first: {printable(str(result.errors[0]))}"
    return _done(result.status, result.exit_code, message, body)


def verify(work: Work, stop: Stop, report: Report) -> Done:
    """`dunlin verify`."""
    from dunlin.jobs.verify import verify as act

    begun = time.monotonic()
    with _opened(work) as opened:
        found = act(opened, work.asked._replace(place=work.place), report, stop)
    seconds = round(time.monotonic() - begun, 3)
    body = {"repository": work.name, "seconds": seconds, **_verified(found)}
    if found.whole:
        return _done("completed", 0, "", body)
    lost = len({(each.share, each.path) for each in found.lost})
    words = [f"{format_number(len(found.damages), 'object')} damaged", f"{format_number(lost, 'file')} lost"]
    if found.lost_snapshots:
        words.append(f"{format_number(len(found.lost_snapshots), 'snapshot')} lost")
    return _done("completed", 3, ", ".join(words), body)


def prune(work: Work, stop: Stop, report: Report) -> Done:
    """`dunlin prune`."""
    from dunlin.jobs.prune import prune as act

    begun = time.monotonic()
    with _opened(work) as opened:
        found = act(opened, work.asked, _me(), report, stop)
    seconds = round(time.monotonic() - begun, 3)
    body = {"repository": work.name, "seconds": seconds, "dry_run": work.asked.dry, **_pruned(found)}
    return _done("completed", *_freed(found), body)


def forget(work: Work, stop: Stop, report: Report) -> Done:
    """`dunlin forget`; with `work.prune` what nobody needs is freed afterwards."""
    from dunlin.jobs.forget import forget as act
    from dunlin.jobs.forget import freeing
    from dunlin.jobs.prune import prune as free

    begun = time.monotonic()
    with _opened(work) as opened:
        fates = act(opened, work.asked)
        found = None
        if work.prune and not work.asked.dry:
            found = free(opened, freeing(work.asked), _me(), report, stop)
    freed = {} if found is None else {"prune": _pruned(found)}
    seconds = round(time.monotonic() - begun, 3)
    body = {"repository": work.name, "seconds": seconds, "dry_run": work.asked.dry, **_decided(fates), **freed}
    return _done("completed", *(_freed(found) if found is not None else (0, "")), body)


# ---- what is told ----


def _done(status: str, code: int, message: str, body: dict[str, Any]) -> Done:
    told = {"status": status, "exit_code": code, "message": message, **body}
    return Done(status, good(status, code), message, told)


def described(made: Manifest) -> dict[str, Any]:
    """A snapshot as results name it; its time as RFC 3339."""
    return {
        "id": made.id, "time": _moment(made.time), "tenant": made.tenant, "share": made.share, "tags": list(made.tags),
        "content": made.content, "complete": made.complete,
    }  # fmt: skip


def _moment(ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ns / 1e9))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _error(error: DunlinError) -> dict[str, str]:
    return {"path": _legible(error.where), "kind": error.kind.value, "error": _legible(str(error))}


def _legible(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _rows(some: Sequence[Any]) -> list[dict[str, Any]]:
    return [{name: _legible(value) for name, value in each._asdict().items()} for each in some[:SHOWN]]


def _verified(found: Verified) -> dict[str, Any]:
    known = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
    numbers = {name: value for name, value in known.items() if isinstance(value, int)}
    lists = {name: value for name, value in known.items() if isinstance(value, list)}
    return {
        "whole": found.whole, "totals": numbers, "found": {name: len(value) for name, value in lists.items()},
        **{name: _rows(value) for name, value in lists.items()},
    }  # fmt: skip


def _freed(found: Pruned) -> tuple[int, str]:
    """The exit code of a prune, and what is wrong."""
    return (2, "short of room: some packs could not be copied, or their index written") if found.short else (0, "")


def _pruned(found: Pruned) -> dict[str, Any]:
    return {"totals": _given(dataclasses.asdict(found))}


def _decided(fates: Sequence[Fate]) -> dict[str, Any]:
    gone = [each for each in fates if not each.kept]
    shown = [*gone[:SHOWN], *[each for each in fates if each.kept][:SHOWN]]
    return {
        "removed": len(gone), "kept": len(fates) - len(gone),
        "snapshots": [{**described(each.snapshot), "kept": each.kept, "reasons": list(each.reasons)} for each in shown],
    }  # fmt: skip
