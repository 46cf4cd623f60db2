"""Long work on a repository from its command line to its exit code: the view, signals, the end of it.

`verify`, `prune`, `forget --prune`, `repo rebuild-index`: each opens the repository, works in stages, and has a result
that is told in lines or as one JSON object. A backup has more to tell and its own way to do so (`backing`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from dunlin.cli import keeping
from dunlin.cli.conduct import Stage
from dunlin.cli.outlet import Outlet
from dunlin.cli.signals import Signals
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import Event, Fan, Level, Report

if TYPE_CHECKING:
    from dunlin.backup.repository import Repository

T = TypeVar("T")


class Told(NamedTuple):
    """How a piece of work ended.

    Attributes:
        code: exit code.
        lines: for people, on standard output.
        wrong: those of them that are told also to who wants to hear of trouble only.
        machine: the object of --json, without status and exit code.
    """

    code: int
    lines: Sequence[str]
    wrong: Sequence[str]
    machine: dict[str, Any]


def conduct(
    ctx: click.Context, title: str, act: Callable[[Repository, Report, Stop], T], told: Callable[[T], Told]
) -> int:
    """Open the repository, do the work, tell about it; returns the exit code.

    `title`: "Verification", for who asks for the lines of a log; "": it is over at once, and needs none.
    """
    from dunlin.cli.asking import notes_of, telling_of
    from dunlin.cli.extras import addable
    from dunlin.jobs.repo import open_at
    from dunlin.stores.open import shown_place

    telling, stop, stage = telling_of(ctx), Stop(), Stage()
    place = keeping.place_of(ctx)
    outlet = stage.outlet = Outlet(telling, stop, ends=False, facts={"mode": "repository"})
    for note in notes_of(ctx):
        outlet.log.event(Event(Level.WARN, "configuration", note))
    try:
        # Who types a password may still change his mind: signals are not caught before.
        with (
            closing(open_at(place, keeping.password_of(ctx), known=keeping.known_password(ctx))) as opened,
            Signals(stop, stage.urgent, stage.leave, stage.rest, stage.back),
        ):
            logs = bool(title) and telling.log_format is not None
            if logs:
                message = f"{title} started (repository={shown_place(place.url)})"
                outlet.log.event(Event(Level.INFO, "run.begins", message))
            end = told(act(opened, Fan(outlet.reports()), stop))
            if logs:
                level = Level.INFO if end.code == 0 else Level.WARN
                outlet.log.event(Event(level, "run.ended", f"{title} completed", {"exit_code": end.code}))
    except DunlinError as error:
        if addable(error) or not (telling.as_json or error.kind is ErrorKind.INTERRUPTED):
            raise
        status = "interrupted" if error.kind is ErrorKind.INTERRUPTED else "failed"
        line = error.reason if error.kind is ErrorKind.INTERRUPTED else str(error)
        outlet.say(f"dunlin: {line}")
        end = Told(error.exit_code, (), (), {"status": status, "message": line})
    finally:
        with suppress(Exception):
            outlet.close()
    if telling.as_json:
        outlet.finish(json.dumps({"status": "completed", "exit_code": end.code, "message": "", **end.machine}))
    else:
        outlet.finish("\n".join(end.wrong if telling.quiet else end.lines))
    return 2 if outlet.unwritten else end.code
