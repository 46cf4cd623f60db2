"""Which limits a run holds to: what was asked for, and for the rest what the class of the machine says.

The values of a class (`pace.machine`) are caps on what is automatic. Those on processors and memory hold only where the
run minds the machine's load at all (`--auto-throttle`, or a class of which that is the default): on a server that
does nothing else, a limit that nobody asked for would only be slow.
"""

from __future__ import annotations

from collections.abc import Iterator

from dunlin.jobs.budget import FAR_LEAST, PROCESS, fitting
from dunlin.jobs.options import SyncOptions
from dunlin.pace.machine import Machine, class_of
from dunlin.pace.sizes import format_size
from dunlin.pace.window import LEAST_RUN
from dunlin.report import Event, Level
from dunlin.stores.open import is_far
from dunlin.workers.governor import Enforced

SMALLEST = 64 << 20
"""Bytes: the least limit on memory that can be asked for, so none that is automatic lies below it."""

FEWEST = 4 * LEAST_RUN
"""Names that the listing of one long directory takes, however few may be held: on both sides a run that is being
sorted, and the batch that follows it. Stores that list in larger pages take more."""

FAR_SMALLEST = 2 * PROCESS + FAR_LEAST
"""Bytes: what a run to or from an object store takes, however little it does at a time."""


def enforced(options: SyncOptions, machine: Machine) -> Enforced | None:
    """What a run with these options holds to on a machine; None: to nothing, so nothing need be watched."""
    limits, row = options.limits, class_of(machine)
    auto = row.auto_throttle if limits.auto_throttle is None else limits.auto_throttle
    cpu = limits.cpu_percent or (row.cpu_percent if auto else 0)
    memory = limits.memory_bytes
    if auto and not memory:
        least = FAR_SMALLEST if _is_far(options) else SMALLEST
        memory = max(least, min(row.memory_bytes, machine.memory_bytes // 2 or row.memory_bytes))
    cpu = cpu if cpu < 100 else 0
    if not (auto or cpu or memory):
        return None
    return Enforced(machine.cores, cpu, memory, limits.throttle_threshold if auto else 0.0, limits.link_bytes)


def capped(options: SyncOptions, machine: Machine) -> SyncOptions:
    """The options with what is automatic cut down to what the machine and its class bear."""
    held, row, crew = enforced(options, machine), class_of(machine), options.crew
    if row.workers and not (crew.workers or crew.movers or crew.threads):
        crew = crew._replace(workers=row.workers)
    memory = held.memory_bytes if held is not None else 0
    if memory:
        # Each process takes something before it does anything: where there is little, there are fewer of them.
        most = fitting(min(memory, machine.memory_bytes or memory))
        crew = crew._replace(movers=min(crew.movers or min(machine.whole_cores, 8), most))
    return options._replace(crew=crew, limits=options.limits._replace(memory_bytes=memory))


def too_little(options: SyncOptions) -> Iterator[Event]:
    """What is to be said at the start of limits that are below what a run takes at the least.

    They are held to as far as that goes: one mover, one file at a time; one directory at a time, in the shortest runs.
    """
    limit, files = options.limits.memory_bytes, options.crawl.max_active_files
    if 0 < limit < FAR_SMALLEST and _is_far(options):
        asked, least = format_size(limit), format_size(FAR_SMALLEST)
        text = f"--max-memory-mb: {asked} is less than a run with an object store takes, at least {least} is needed"
        yield Event(Level.WARN, "memory.floor", text, {"limit": limit, "needed": FAR_SMALLEST})
    if 0 < files < FEWEST:
        text = f"--max-active-files: {files:,} is less than a long directory takes, up to {FEWEST:,} names may be held"
        yield Event(Level.WARN, "files.floor", text, {"limit": files, "needed": FEWEST})


def _is_far(options: SyncOptions) -> bool:
    return is_far(options.source) or is_far(options.destination)
