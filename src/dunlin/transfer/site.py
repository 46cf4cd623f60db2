"""Where a mover works: both stores, and how it moves things between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Paces
from dunlin.report import NullReport, Report
from dunlin.stores.base import Copies, Store, power
from dunlin.stores.local.batch import BatchOptions, new_worker
from dunlin.transfer.options import Options

if TYPE_CHECKING:  # loaded only where a store is far away
    from dunlin.pace.gate import Gate
    from dunlin.transfer.hands import Hands

_LOOK = 0.25

LEAST = 512 << 10
"""Bytes of buffers that a pipeline gets in any case: two blocks that are still worth a system call."""

STREAM = 8 << 20
"""Bytes: a larger file goes through the pipeline and is a unit of its own."""


class Site:
    """One process's view of a pair.

    Attributes:
        source, target: the two stores, wrapped as the run wants them.
        options: how to transfer.
        bucket: the run's bandwidth, pause and stop, shared by all processes.
        token: names this process's temporary files.
        budget: bytes of buffers that all pipelines of this process may use together.
        report: gets tasks: what is being moved right now.
        backup: the store that receives overwritten and deleted files; None: they are gone.
        backup_prefix: the directory below that store's root; when it lies in the destination
            itself, `backup` is the target and files are moved instead of copied.
        hands: carry many files of a unit at a time, where a store is far away; None: one after the other.
        gate: how many of them may be under way, as far as a service wishes.
        turn: held while a file is sent that a limit cuts into pieces: a small object leaves in one request, and many
            that had waited for their share side by side would leave at once.
        copies: what lets a service copy between the two sides, until it says that it cannot.
        commit: called right before a small file gets its name; what it raises leaves the name alone.
        vacant: the target for names that were not there when they were listed; else the target itself.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        options: Options,
        bucket: Paces,
        token: str = "0",
        budget: int = 32 << 20,
        report: Report | None = None,
        backup: Store | None = None,
        backup_prefix: str = "",
        hands: Hands | None = None,
        gate: Gate | None = None,
        commit: Callable[[], None] | None = None,
        vacant: Store | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.vacant = vacant or target
        self.options = options
        self.bucket = bucket
        self.token = token
        self.budget = budget
        self.report: Report = report or NullReport()
        self.backup = backup
        self.backup_prefix = backup_prefix
        self.hands = hands
        self.gate = gate
        self.turn = threading.Lock()
        self.copies: Copies | None = None
        if source.caps.far and target.caps.far:
            self.copies = power(source, Copies)
        self._local = threading.local()
        self._lent = 0
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        checksum = options.checksum
        self.batch = BatchOptions(
            token=token,
            one_shot=hashing.one_shot(checksum),
            new_hasher=None if checksum == "none" else lambda: hashing.new(checksum),  # type: ignore[arg-type,return-value]
            perms=options.perms,
            owner=options.owner,
            group=options.group,
            groups=options.groups,
            in_place=options.in_place,
            fsync=options.fsync == "file",
            limit=STREAM,
            attempts=options.attempts,
            commit=commit,
        )

    @contextmanager
    def share(self) -> Iterator[int]:
        """Bytes of buffers for one pipeline while it lasts: half of what is left, so that others find some."""
        with self._lock:
            share = max(LEAST, (self.budget - self._lent) // 2)
            self._lent += share
        try:
            yield share
        finally:
            with self._lock:
                self._lent -= share

    @contextmanager
    def room(self, size: int, block: int) -> Iterator[int]:
        """Bytes of buffers for one file to or from far away while it lasts; waits until others have left enough.

        Args:
            size: bytes of the file. block: of the blocks in which it travels.

        Two blocks, or the whole file, are enough. Three quarters of what is left are given, for each block is a
        request under way; one file always gets something. Raises INTERRUPTED when the run is stopped meanwhile.
        """
        least = min(2 * block, size)
        with self._room:
            while self._lent and self.budget - self._lent < least:
                if self.bucket.stopped:
                    raise DunlinError("copy", "", ErrorKind.INTERRUPTED, "the run was stopped")
                self._room.wait(_LOOK)
            share = min(size, max(least, (self.budget - self._lent) * 3 // 4))
            self._lent += share
        try:
            yield share
        finally:
            with self._room:
                self._lent -= share
                self._room.notify_all()

    @property
    def worker(self):  # type: ignore[no-untyped-def]
        """This thread's buffer for small files."""
        try:
            return self._local.worker
        except AttributeError:
            self._local.worker = new_worker()
            return self._local.worker
