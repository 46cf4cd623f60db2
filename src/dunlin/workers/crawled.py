"""How a crawl stands: one sample of it, made every few seconds for the log, the gauges and the state."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.pace.monitor import Adjustment


class Crawled(NamedTuple):
    """One sample of the crawl of a run, over all its processes.

    Attributes:
        active: directories that are being listed. waiting: those that were handed out and wait for a slot.
        queued: directories in the frontier's window; -1 where more are on record than it holds.
        held: names in memory in the listings of active directories (files in the window).
        files_limit, directories_limit: what the window allows of them now.
        total_files, total_directories: seen since the run began.
        files_per_second, directories_per_second: since the last sample.
        directory_seconds: what a directory took on average since the last sample; since the beginning where none
            was done since.
        memory_bytes: resident memory of all processes. memory_limit: what it may be; 0: nobody said.
        threads: of all processes. threads_limit: what the window allows of them.
        engaged: what keeps new directories waiting: resource ("files", "memory", "threads"), value, limit.
        transitions: since the last sample: resource, whether it was engaged, value in percent of the limit.
        adjustment: the change of the limits that this sample brought about. adjustments: how many there were.
        settled: directories that were skipped by their change times.
    """

    active: int = 0
    waiting: int = 0
    queued: int = 0
    held: int = 0
    files_limit: int = 0
    directories_limit: int = 0
    total_files: int = 0
    total_directories: int = 0
    files_per_second: float = 0.0
    directories_per_second: float = 0.0
    directory_seconds: float = 0.0
    memory_bytes: int = 0
    memory_limit: int = 0
    threads: int = 0
    threads_limit: int = 0
    engaged: tuple[tuple[str, float, float], ...] = ()
    transitions: tuple[tuple[str, bool, float], ...] = ()
    adjustment: Adjustment | None = None
    adjustments: int = 0
    settled: int = 0
