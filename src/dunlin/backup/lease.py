"""Leases: which backups are going on, by the store's clock; one writer for a share.

A store offers no locks, and ours must not: a lock that somebody forgot is the best-known fault of backup programs. A
*lease* is a small object `{tenant}/leases/{share}.{token}` that its owner writes again every minute. What was not
written for `EXPIRES` is dead. Ages are differences between times that the store gave to objects, so clocks of
machines play no part.

Taking a lease: write one's own object, then list. Whoever sees another live lease of the share takes its own away
again and says so. Of two that begin in one moment, the one that lists last sees the other; both may back off, never
both go on. The object of a dead lease is removed by whoever takes the share after it.

What an owner does may take hours between two places at which it could think of its lease: a thread beside it writes
the lease again (`Lease.rest` ends it for a moment, where processes are forked). A writing that fails in a way that may
pass is tried again, as long as the lease is alive.

A lease can be lost: its owner was stopped for longer than `EXPIRES`. The owner counts by a clock of its own, which
goes on while the machine sleeps, from before each writing, and never writes again after `GIVES_UP`, which is shorter
than `EXPIRES` by more than a request can take: so what others took for dead does not come back to life. Where the
machine slept in the midst of a writing, it does, and its owner lets go of it. Who commits asks `alive` first.

A process that was killed cannot end its lease. So a lease names its owner: boot of the machine, process namespace,
process, start of the process. Whoever shares the first two sees that the process is gone, and need not wait.

When a lease *began*, by the store's clock, is the time of the first object, which later ones repeat. A lease also
*pins* the snapshot that its backup goes on from: what that one needs is needed as long as the backup lasts, even if
somebody forgets it meanwhile. Until a backup has said which it is, nothing of the tenant is removed (`prune`). A prune
has a lease of its own, of a share that cannot be (`PRUNE`): one at a time for a tenant, and it is in nobody's way.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dunlin.backup.objects import Found, Objects
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import passed
from dunlin.pace.machine import boot_id

RENEWED = 60.0
"""Seconds between two writings of a live lease."""

EXPIRES = 15 * 60.0
"""Seconds after which a lease that was not written again is dead."""

GIVES_UP = 9 * 60.0
"""Seconds after which its owner regards it as lost; a request may take five minutes and still be no ghost."""

AGAIN = 15.0
"""Seconds between a writing that failed and the next, and between two looks whether it is time to write."""

PRUNE = "~prune"
"""Stands for the share in the lease of a prune."""


@dataclass(frozen=True, slots=True)
class Live:
    """A lease that is alive: whose, and when it began by the store's clock, ns since 1970.

    `parent`: id of the snapshot that it pins, "" for none, None where it has not said so yet.
    """

    key: str
    share: str
    began: int
    who: str
    parent: str | None = None


class Lease:
    """One's own lease on a share, which a thread keeps alive until it is released. For one thread beside that.

    Args:
        objects: of the repository.
        tenant, share: of what is written.
        who: shown to others who want the share: host and process.
        clock: seconds; it never goes back, and goes on while the machine sleeps.

    Raises LOCKED, naming who holds the share.
    """

    def __init__(
        self, objects: Objects, tenant: str, share: str, who: str, clock: Callable[[], float] = passed
    ) -> None:
        self._objects, self._clock = objects, clock
        self._who = who
        self._owner = owner(os.getpid())
        self._parent: str | None = None
        self.key = f"{tenant}/leases/{share}.{new_id()}"
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._lost = False
        self._written = clock()
        self._due = self._written + RENEWED
        mine = objects.put(self.key, self._content(0), if_absent=True)
        self.began = mine.time
        try:
            self._alone(tenant, share, mine)
        except DunlinError:
            self.release()
            raise
        self._begin()

    def renew(self) -> bool:
        """Write the lease again if it is time to; whether it is still held. Raises what will not pass by itself."""
        if not self._lock.acquire(blocking=False):
            return self._young()  # the thread is writing it
        try:
            if self._lost or not self._young():
                return False
            if self._clock() >= self._due:
                self._again()
            return not self._lost
        finally:
            self._lock.release()

    def _again(self) -> None:
        self._due = self._clock() + AGAIN
        try:
            if self._objects.find(self.key) is None:
                self._lost = True
            else:
                self._write()
        except DunlinError as error:
            if not error.retryable:
                raise

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Without the thread: a process that is forked would inherit what it holds in that moment."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._keep, name=self.key, daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _keep(self) -> None:
        while not self._over.wait(AGAIN):
            with suppress(DunlinError):  # whoever holds the lease meets it, too
                self.renew()

    def pin(self, parent: str) -> int:
        """Say which snapshot (its id, "" for none) must not lose what it needs; the store's time, ns since 1970.

        Raises BUSY when the lease was lost.
        """
        with self._lock:
            if not self.alive():
                raise DunlinError("keep the lease", self.key, ErrorKind.BUSY, "it was lost", "run it again")
            self._parent = parent
            return self._write()

    def _write(self) -> int:
        begun = self._clock()
        found = self._objects.put(self.key, self._content(self.began))
        if not self._young():
            self._lost = True  # it slept while it wrote: others may have taken it for dead before this came
        self._written, self._due = begun, begun + RENEWED
        return found.time

    def alive(self) -> bool:
        """Whether nobody can have taken it for dead: it is there, and young enough by our own clock."""
        return not self._lost and self._young() and self._objects.find(self.key) is not None

    def _young(self) -> bool:
        return self._clock() - self._written < GIVES_UP

    def release(self) -> None:
        """End it. One that cannot be removed dies by itself."""
        self._end()
        self._objects.remove([self.key])

    def _alone(self, tenant: str, share: str, mine: Found) -> None:
        for each in live(self._objects, tenant, mine.time):
            if each.share == share and each.key != self.key:
                what, where = ("backup", f"{tenant}/{share}") if share != PRUNE else ("prune", tenant)
                raise DunlinError(
                    "back up to" if share != PRUNE else "prune",
                    where,
                    ErrorKind.LOCKED,
                    f"another {what} of this {'share' if share != PRUNE else 'tenant'} is going on"
                    f" ({each.who or 'unknown'})",
                    f"a {what} that died is forgotten after {EXPIRES / 60:.0f} minutes",
                )

    def _content(self, began: int) -> bytes:
        content: dict[str, Any] = {"began": began, "who": self._who, "owner": self._owner}
        if self._parent is not None:
            content["parent"] = self._parent
        return json.dumps(content).encode()


class Unwritten:
    """Stands for a lease where nothing may be written: for a run that only tells. The time is this machine's then."""

    def pin(self, parent: str) -> int:
        """The time, ns since 1970."""
        return time.time_ns()

    def renew(self) -> bool:
        """What is not held cannot be lost."""
        return True


def live(objects: Objects, tenant: str, now: int, *, tidy: bool = True) -> list[Live]:
    """The leases of a tenant that are alive, oldest first.

    `now`: by the store's clock, ns since 1970: the time of an object that was written this moment. `tidy`: the objects
    of dead ones are removed.
    """
    found, dead = [], []
    for each in objects.list(f"{tenant}/leases"):
        if now - each.time > EXPIRES * 1e9:
            dead.append(each.key)
            continue
        share = each.key.rpartition("/")[2].rpartition(".")[0]
        content = _read(objects, each.key)
        if content is not None:
            if _ended(str(content.get("owner", ""))):
                dead.append(each.key)
                continue
            began, parent = content.get("began"), content.get("parent")
            began = began if isinstance(began, int) and began else each.time
            pinned = parent if isinstance(parent, str) else None
            found.append(Live(each.key, share, began, str(content.get("who", "")), pinned))
    if dead and tidy:
        objects.remove(dead)
    return sorted(found, key=lambda each: each.began)


def owner(pid: int) -> str:
    """A process of this machine for as long as it lives, "" where that cannot be told or it has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        space = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return ""
    boot = boot_id()
    return f"{boot} {space} {pid} {status[19]}" if boot and status[0] not in "ZX" else ""


def _ended(name: str) -> bool:
    """Whether a process was one of this machine and has ended."""
    mine, other = owner(os.getpid()).split(), name.split()
    if len(mine) != 4 or len(other) != 4 or mine[:2] != other[:2] or not other[2].isdecimal():
        return False
    try:
        os.kill(int(other[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # another user's: it lives, and /proc may be hidden from this one
    return owner(int(other[2])) != name


def _read(objects: Objects, key: str) -> Mapping[str, Any] | None:
    try:
        content = json.loads(objects.get(key))
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None  # it ended in this moment
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
