"""`dunlin control`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dunlin.cli.base import Command, Option, closest, config_option, echo, log_level_option, state_option
from dunlin.cli.parameters import whole
from dunlin.errors import DunlinError, ErrorKind, printable, usage

if TYPE_CHECKING:
    from dunlin.state import Run

VERBS = ("bwlimit", "pause", "resume", "stop")

EXAMPLE = """
dunlin control bwlimit 5M
dunlin control bwlimit '08:00,5M 19:00,off'
dunlin control pause --run 12
dunlin control stop --state-db /var/lib/dunlin/nightly.db
"""

WAIT = 5.0
"""Seconds until a run should have taken an order; it looks for some several times a second."""

_DONE = {
    "pause": "is paused; `dunlin control resume` lets it go on",
    "resume": "goes on",
    "stop": "finishes what is in flight and stops",
}


def control(verb: tuple[str, ...], run: int | None, state_db: str | None, log_level: str) -> int:
    """Parse, call, print, exit code."""
    from dunlin.cli.statefile import lives, open_state, watches

    order, argument = parse(verb)
    state = open_state(state_db, write=True)
    try:
        live = [each for each in state.running() if lives(each)]
        # The pairs of one watch are in one process: to stop one of them stops the watch.
        busy = {each.pid for each in live}
        waiting = {each.pid: each for each in state.watched() if each.pid not in busy and watches(each)}
        if order == "stop":
            live += waiting.values()
        elif not live and waiting:
            raise usage("a watch waits between two looks, and no run is going on", "only stop reaches it now")
        chosen = choose(live, run)
        pairs = {pair.id: f"{pair.source} -> {pair.destination}" for pair in state.status(chosen.pair)}
        state.control_put(chosen.id, order, argument)
        taken = wait(lambda: state.control_waiting(chosen.id) == 0, time.monotonic, time.sleep)
    finally:
        state.close()
    who = f"run {chosen.id} ({printable(pairs.get(chosen.pair, '?'))}, process {chosen.pid})"
    if not taken:
        click.echo(f"dunlin: {who} did not take the order within {WAIT:.0f} seconds; it stays in force", err=True)
        return 2
    echo(f"{who} {_DONE.get(order) or f'has the limit {argument} now'}")
    return 0


def parse(words: tuple[str, ...]) -> tuple[str, str]:
    """(verb, argument) of the words of the command line. Raises USAGE."""
    from dunlin.pace.schedule import parse_schedule

    if not words:
        raise usage("what shall the run do?", f"write one of: {', '.join(VERBS)}")
    verb, *rest = words
    if verb not in VERBS:
        raise usage(f"a run cannot be told to {printable(verb)}", closest(verb, VERBS) or f"write {', '.join(VERBS)}")
    if verb == "bwlimit":
        if not rest:
            raise usage("bwlimit needs a rate", "write `dunlin control bwlimit 5M`, or off")
        argument = " ".join(rest)
        parse_schedule(argument)
        return verb, argument
    if rest:
        raise usage(f"{verb} takes nothing more, but there is {printable(' '.join(rest))}")
    return verb, ""


def choose(runs: list[Run], wanted: int | None) -> Run:
    """The run that is spoken to. Raises USAGE when it is not clear which, NOT_FOUND when there is none."""
    if wanted is not None:
        for run in runs:
            if run.id == wanted:
                return run
    if not runs:
        raise DunlinError("reach a run", "", ErrorKind.NOT_FOUND, "no run is running", "`dunlin status` shows all runs")
    numbers = ", ".join(str(run.id) for run in runs)
    if wanted is not None:
        raise DunlinError(f"reach run {wanted}", "", ErrorKind.NOT_FOUND, "it is not running", f"running: {numbers}")
    if len(runs) > 1:
        raise usage(f"{len(runs)} runs are running: {numbers}", "choose one with --run ID")
    return runs[0]


def wait(done: Callable[[], bool], clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
    """Whether `done` came true within `WAIT` seconds."""
    end = clock() + WAIT
    while not done():
        if clock() >= end:
            return False
        sleep(0.05)
    return True


command = Command(
    "control",
    help="""
    Tell a running sync something: a new bandwidth limit (bwlimit RATE, a rate, off or a timetable), pause, resume
    or stop. It is told through the state file and answers within a second or so.
    """,
    short_help="pause, resume, stop or slow down a run",
    example=EXAMPLE,
    callback=control,
    params=[
        click.Argument(["verb"], metavar="bwlimit RATE|pause|resume|stop", nargs=-1),
        Option("--run", "The run's number, where several are running.", section="Where", type=whole(1),
               metavar="ID"),
        state_option(),
        config_option("Where"),
        log_level_option(),
    ],
)  # fmt: skip
