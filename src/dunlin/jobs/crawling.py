"""What the crawl of a run may take: asked for by options, derived from the machine for the rest."""

from __future__ import annotations

from dunlin.jobs.budget import PROCESS, fitting, needed
from dunlin.jobs.options import SyncOptions
from dunlin.pace.machine import Machine
from dunlin.pace.window import LEAST_FILES, Marks, WindowLimits, active_files, crawl_parallelism
from dunlin.workers.crawl import CrawlPlan

ENOUGH = 512 << 20
"""Bytes of memory for a run from which on frontier and backlog are kept as they are meant to be."""

LEAST_SHARE = 1 / 16

SPARE_THREADS = 64
"""Threads beyond four for each file in flight: those that lead, answer, list and move parts."""


def crawl_plan(
    options: SyncOptions, machine: Machine, movers: int, workers: int, urls: tuple[str, str], flights: int = 0
) -> CrawlPlan:
    """The plan of a run.

    Args:
        options: as capped by the machine (`jobs.limits`).
        movers: processes that list beside the one that leads.
        workers: files in flight in the whole run.
        urls: canonical URLs of both sides.
        flights: as many as they may come to be, where that is more.
    """
    asked, bar = options.crawl, options.limits.memory_bytes
    files, most_files = active_files(machine.memory_bytes, _for_names(bar, machine, movers), PROCESS * (movers + 1))
    if asked.max_active_files:
        files = most_files = min(asked.max_active_files, most_files)
    # Each directory may come to hold two runs, however short: more of them than fit would not be bounded by the files.
    fitting = max(1, files // LEAST_FILES)
    derived = crawl_parallelism(machine.whole_cores, (url.partition(":")[0] for url in urls))
    directories = min(asked.parallelism or derived, fitting)
    most = asked.parallelism or max(derived, workers)
    return CrawlPlan(
        WindowLimits(directories, files, 4 * max(workers, flights) + SPARE_THREADS, Marks(asked.engage, asked.release)),
        most_directories=max(1, min(most, most_files // LEAST_FILES)),
        most_files=most_files,
        least_files=min(files, LEAST_FILES),
        lifts=not asked.parallelism,
        consistency=asked.consistency,
        cooldown=asked.cooldown,
        memory_bytes=bar or machine.memory_bytes,
        share=max(LEAST_SHARE, min(1.0, (bar or machine.memory_bytes or ENOUGH) / ENOUGH)),
    )


def _for_names(bar: int, machine: Machine, movers: int) -> int:
    """The limit on memory (bytes) that names are derived from: what the next mover will take is kept for it.

    Else the window would become smaller where there is just enough memory for one more mover.
    """
    memory = min(bar, machine.memory_bytes or bar)
    return min(memory, needed(movers + 1) - PROCESS) if bar and movers >= fitting(memory) else bar
