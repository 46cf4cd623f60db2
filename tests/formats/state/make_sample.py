"""Makes schema-N.db.gz for the current schema: once, when a schema is new. A stored sample is never changed.

PYTHONPATH=src python tests/formats/state/make_sample.py
"""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile

from dunlin.errors import ErrorKind
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import CrawlMetric, DirectoryStatus, FileStatus, Metric, State, Target, store
from dunlin.state.runs import Life

HERE = os.path.dirname(__file__)
START = 1_700_000_000_000_000_000


def fill(path: str) -> None:
    """A pair with a completed and an interrupted run, and something in every table."""
    times = itertools.count(START, 1_000_000)
    state = State.open(path, NullReport(), clock=lambda: next(times))
    pair = state.pair("file:///home/me/photos", "file:///mnt/nas/photos", "all")
    first = state.begin_run(pair, {"archive": True}, "boot-1", 100)
    root = state.start_frontier(first.id)
    state.put_synced(first.id, root, [("a.jpg", 3, START + 1, START, None, 0o100644, 1, 2, b"\x01" * 32)], "blake3")
    sub, raw = state.add_directories(first.id, [("2023", Target.PRESENT), ("caf\udce9", Target.ABSENT)])
    state.finish_directory(first.id, root, DirectoryStatus.DONE, START, b"digest")
    bad = ("locked", 5, START, START, None, 0o100600, 1, 2, "etag", "bWQ1", None, None)
    state.put_files(first.id, sub, [(*bad, FileStatus.FAILED, "Permission denied", ErrorKind.DENIED.value)])
    state.finish_directory(first.id, sub, DirectoryStatus.DONE)
    state.finish_directory(first.id, raw, DirectoryStatus.DONE)
    state.finish_run(first.id, "completed", Stats(scanned_files=2, copied_files=1, failed_files=1, copied_bytes=3), "")
    state.set_durable(pair.id, state.now())
    state.set_root(pair.id, "8:1")

    second = state.begin_run(pair, {"archive": True}, "boot-1", 101)
    waits = ("b\udcff.jpg", 7, START, START, None, 0o100644, 1, 2, None, None, None, None)
    state.put_files(second.id, sub, [(*waits, FileStatus.PENDING, None, None)])
    state.finish_directory(second.id, sub, DirectoryStatus.SCANNED)
    state.add_directories(second.id, [("2024", Target.UNKNOWN)])
    state.add_extras(pair.id, [("old", True, True), ("old/x", False, False)])
    state.add_links(pair.id, [(1, 2, "one", True), (1, 2, "two", False)])
    state.set_token(pair.id, "", "next", 12)
    state.put_metric(second.id, Metric(cpu=12.5, memory=1 << 26, workers=2, cause="memory", paused=True, seconds=60))
    state.update_run(second.id, Stats(), Life(paused=True, limit=9))
    state.put_event(second.id, 20, "files.more", "and 7 more", size=8, number=7)
    state.database.execute(state.statements["past_add"], (pair.id, 472_222, 1, 1, 2, 3, 0, 0, 0.5))
    state.put_crawl(second.id, CrawlMetric(active=4, held=1_000, files_limit=2_000, engaged="memory", settled=3))
    state.put_event(second.id, 40, "file.failed", "Permission denied", "2023/locked", ErrorKind.DENIED)
    state.control_put(second.id, "pause")
    state.finish_run(second.id, "interrupted", Stats(scanned_files=1), "SIGINT")
    state.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        made = os.path.join(directory, "sample.db")
        fill(made)
        with open(made, "rb") as file:
            packed = gzip.compress(file.read(), 9, mtime=0)
    # "x": an existing sample is never overwritten
    with open(os.path.join(HERE, f"schema-{store.SCHEMA.version}.db.gz"), "xb") as file:
        file.write(packed)
