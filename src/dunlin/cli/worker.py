"""`dunlin worker`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from dunlin.cli import parameters
from dunlin.cli.base import Command, Option, config_option, log_level_option, settings_of
from dunlin.cli.exposed import note_of, places_with_passwords

if TYPE_CHECKING:
    from dunlin.pace.stop import Stop
    from dunlin.report import Report
    from dunlin.workers.agents import AgentSetup

HELP = """
Take units of work from a queue and do them, until told to stop: of every `dunlin sync --queue URL`, and every backup,
scan, restore and verification, that uses the same queue. Any number of workers may come and go; what one that died had
begun is done by another within some seconds.

Places are named by the run (loc://NAME/PATH) and looked up in this machine's configuration, and so are logins, and the
password of a repository (DUNLIN_PASSWORD, or `backup.password_file`). The first SIGTERM or SIGINT lets what is under
way end; the second ends at once.
"""

EXAMPLE = """
dunlin worker --queue postgresql://dunlin@db/work --workers 8
dunlin worker --queue redis://queue:6379/0 --host-label nas
DUNLIN_QUEUE_URL=@/etc/dunlin/queue dunlin worker
"""

SLOTS = 4
"""Files in flight for each processor, by default."""


@click.pass_context
def worker(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.config.spread import Places, host_label, queue_url
    from dunlin.config.vaults import Vaults
    from dunlin.errors import usage
    from dunlin.workers.agent import Pace, check_pace
    from dunlin.workers.agents import AgentSetup
    from dunlin.workers.remote import PREFIX

    settings = settings_of(ctx)
    url = queue_url(values["queue"], ctx.meta.get("dunlin.origins", {}).get("--queue"), settings)
    if not url:
        raise usage("which queue? --queue is missing", "write `dunlin worker --queue URL`, or queue.url in the file")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slots = values["workers"] or SLOTS * cores
    host = host_label(values["host_label"])
    labels = tuple(dict.fromkeys((host, *values["labels"])))
    default = Pace()
    pace = default._replace(**{name: values[name] for name in ("lease", "beat") if values[name]})
    check_pace(pace)
    grace = 30.0 if values["grace"] is None else values["grace"]
    setup = AgentSetup(
        url, host, slots, labels, Places(settings), (PREFIX + "*",), grace, pace, publishes=True,
        vaults=Vaults(settings),
    )  # fmt: skip
    processes = min(values["processes"] or cores, slots)
    notes = [*settings.notes, *note_of(places_with_passwords(ctx))]
    return run(setup, processes, values["log_level"], values["log_format"] or "logfmt", notes)


def run(setup: AgentSetup, processes: int, level: str, form: str, notes: list[str]) -> int:
    """Start the processes, watch over them until a signal comes, end them."""
    import time

    from dunlin.cli.signals import Signals
    from dunlin.pace.stop import Stop
    from dunlin.queue.open import open_queue, shown
    from dunlin.report import Event, Level
    from dunlin.workers.agents import Agents, forked

    log = _log(level, form)
    for note in notes:
        log.event(Event(Level.WARN, "configuration", note))
    open_queue(setup.url).close()  # what is wrong with it is said once, not by every process
    stop = Stop()

    def body(place: int, asked: Stop) -> int:
        return _child(setup, processes, place, asked, log)

    agents = Agents(forked(body), processes, setup.grace)
    message = f"works for {shown(setup.url)}: {setup.slots} files at a time, {processes} processes"
    with Signals(stop, lambda text: None):
        log.event(Event(Level.INFO, "worker.started", message, {"labels": " ".join(setup.labels)}))
        agents.start()
        try:
            while not stop.requested and agents.failed is None:
                agents.look()
                time.sleep(0.1)
        finally:
            agents.close()
    log.event(Event(Level.INFO, "worker.ended", stop.reason or "a process of it failed"))
    return agents.failed or 0


def _child(setup: AgentSetup, processes: int, place: int, stop: Stop, log: Report) -> int:
    from dunlin.cli.main import complain
    from dunlin.errors import DunlinError
    from dunlin.workers.agents import AGAIN, work

    try:
        work(setup, processes, place, stop, log)
    except DunlinError as error:
        return complain(error, traceback=False)
    except BaseException as error:
        complain(error, traceback=True)
        return AGAIN
    return 0


def _log(level: str, form: str) -> Report:
    import sys

    from dunlin.cli.outlet import LEVELS
    from dunlin.report.logs import Log

    def say(line: str) -> None:
        # One write: lines of several processes must not mix.
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    return Log(say, form, LEVELS[level])


def _options() -> list[click.Parameter]:
    section = parameters.QUEUE
    return [
        parameters.queue_option(),
        Option("--workers", "Files in flight in this worker. Default: four for each processor.", section=section,
               automatic=True, type=parameters.whole(1, 1024), metavar="N"),
        Option("--processes", "Processes that share them. Default: one for each processor.", section=section,
               automatic=True, type=parameters.whole(1, 256), metavar="N"),
        parameters.label_option(),
        Option("--labels", "Further labels whose local paths this machine reaches. May be repeated.", section=section,
               multiple=True, metavar="NAME"),
        Option("--lease", "How long a unit is this worker's without a sign of life. What a killed worker had is begun "
               "elsewhere after that and a second more: 7s. At least two heartbeats and a second. Default: 6s.",
               section=section, type=parameters.INTERVAL, metavar="TIME"),
        Option("--heartbeat", "Time between two signs of life. One that comes late must do no harm, so no more than "
               "the lease less a second, halved. Default: 2s.", section=section, into="beat",
               type=parameters.INTERVAL, metavar="TIME"),
        Option("--grace", "How long units under way may take to end when the worker is to stop. Default: 30s.",
               section=section, type=parameters.SECONDS, metavar="TIME"),
        config_option(section),
        log_level_option(),
        Option("--log-format", "text, json or logfmt (default).", section="Output",
               type=click.Choice(["text", "json", "logfmt"]), metavar="FORMAT"),
    ]  # fmt: skip


command = Command(
    "worker",
    help=HELP,
    short_help="take part in syncs and backups over a queue",
    example=EXAMPLE,
    callback=worker,
    params=_options(),
)
