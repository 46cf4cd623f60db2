"""Where a mover works: both stores, and how it moves things between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dunlin import hashing
from dunlin.pace.bucket import Bucket
from dunlin.report import NullReport, Report
from dunlin.stores.base import Store
from dunlin.stores.local.batch import BatchOptions, new_worker
from dunlin.transfer.options import Options

LEAST = 512 << 10
"""Bytes of buffers that a pipeline gets in any case: two blocks that are still worth a system call."""

STREAM = 8 << 20
"""Bytes: a larger file goes through the pipeline and is a unit of its own."""


@dataclass(slots=True)
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
    """

    source: Store
    target: Store
    options: Options
    bucket: Bucket
    token: str = "0"
    budget: int = 32 << 20
    report: Report = field(default_factory=NullReport)
    backup: Store | None = None
    backup_prefix: str = ""
    batch: BatchOptions = field(init=False)
    _local: threading.local = field(default_factory=threading.local)
    _lent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        checksum = self.options.checksum
        self.batch = BatchOptions(
            token=self.token,
            one_shot=hashing.one_shot(checksum),
            new_hasher=None if checksum == "none" else lambda: hashing.new(checksum),  # type: ignore[arg-type,return-value]
            perms=self.options.perms,
            owner=self.options.owner,
            group=self.options.group,
            groups=self.options.groups,
            in_place=self.options.in_place,
            fsync=self.options.fsync == "file",
            limit=STREAM,
            attempts=self.options.attempts,
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

    @property
    def worker(self):  # type: ignore[no-untyped-def]
        """This thread's buffer for small files."""
        try:
            return self._local.worker
        except AttributeError:
            self._local.worker = new_worker()
            return self._local.worker
