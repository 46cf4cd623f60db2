"""`dunlin serve`."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from dunlin import config
from dunlin.cli.base import Command, Option, config_option, drop_output, settings_of
from dunlin.cli.exposed import note_of, places_with_passwords, typed
from dunlin.errors import usage

if TYPE_CHECKING:
    from dunlin.config.logins import Located
    from dunlin.config.service import Service, Tenant
    from dunlin.config.settings import Settings
    from dunlin.jobs.options import SyncOptions
    from dunlin.web.backups import Asked

HELP = """
Serve the HTTP API, and do the jobs that it is asked for, until stopped: publish files, look keys up, sync, check and
back up places, on demand or by a timetable. Without any configuration it listens on this machine alone and needs no
other server. `dunlin worker` takes part of the work elsewhere.
"""

EXAMPLE = """
dunlin serve
dunlin serve --config /etc/dunlin/dunlin.yaml
dunlin serve --http-addr 127.0.0.1:9000 --queue postgresql://dunlin@db/dunlin
"""

LOOK = 1.0
"""Seconds between two looks at whether the server is alive."""

LEAVING = 3.0
"""Seconds that threads have to end in when everything else has."""


@click.pass_context
def serve(ctx: click.Context, /, **values: Any) -> int:
    """Parse, call, print, exit code."""
    from dunlin.config.outward import messages
    from dunlin.config.service import service
    from dunlin.report.logs import Log
    from dunlin.web.serve import LEVELS, Given
    from dunlin.web.serve import serve as run

    settings = settings_of(ctx)
    over = typed(ctx, "http_addr", "queue", "ledger")
    found = _over(service(settings), over)
    level = values.get("log_level") or found.log_level
    log = Log(_say, values.get("log_format") or "logfmt", LEVELS[level])
    for note in (*settings.notes, *note_of(places_with_passwords(ctx))):
        from dunlin.report import Event, Level

        log.event(Event(Level.WARN, "configuration", note))
    file = settings.file.path if settings.file else ""
    holder = [settings]
    states = _states(values.get("state_db") or _stated(settings))
    given = Given(
        service=found._replace(log_level=level),
        reload=partial(_again, file, over, values.get("log_level"), holder),
        file=file,
        queue=place_of(ctx, "queue"),
        ledger=ledger_place(found, place_of(ctx, "ledger")),
        states=states,
        ask=partial(_ask, holder, found.queue, states),
        keep=partial(_keep, holder, found.queue),
        resolve=partial(_resolve, holder),
        log=log,
        messages=messages(settings),
    )
    others = set(threading.enumerate())
    with Waiting() as waiting:
        code = run(given, waiting)
        _leave(code, others)
        return code


def _leave(code: int, others: set[threading.Thread]) -> None:
    """End here where a thread hangs for good, at a share whose server is gone: the interpreter would wait for it."""
    until = time.monotonic() + LEAVING
    left = [thread for thread in threading.enumerate() if thread not in others]
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in left):
        os._exit(code)  # everything is saved and closed


def _over(found: Service, values: Mapping[str, Any]) -> Service:
    """The settings with what the command line says, checked once more."""
    from dunlin.config import service

    if values.get("http_addr"):
        found = service.listening(found, values["http_addr"])
    if values.get("queue"):
        found = found._replace(queue=values["queue"])
    if values.get("ledger"):
        found = found._replace(ledger=values["ledger"])
    service.check(found)
    return found


def _again(file: str, over: Mapping[str, Any], level: str | None, holder: list[Settings]) -> Service:
    """The settings as they are now."""
    from dunlin.config.service import service
    from dunlin.config.settings import settings

    now = settings(file)
    found = _over(service(now), over)
    holder[0] = now
    return found._replace(log_level=level) if level else found


def _ask(holder: list[Settings], queue: str, states: str, kind: str, options: Mapping[str, Any]) -> SyncOptions:
    from dunlin.cli.service_ask import ask

    found = ask(kind, options, holder[0], queue)
    return found._replace(state_db=states) if states and "state_db" not in options else found


def _keep(holder: list[Settings], queue: str, kind: str, options: Mapping[str, Any], tenant: Tenant) -> Asked:
    from dunlin.cli.service_backups import ask

    return ask(kind, options, tenant, holder[0], queue)


def _resolve(holder: list[Settings], text: str) -> Located:
    from dunlin.config.logins import place

    return place(text, "dest", {}, holder[0])


def _stated(settings: Settings) -> str | None:
    found = settings.find("--state-db", ("--database",))
    return None if found is None else str(found.value)


def _states(option: str | None) -> str:
    """The state file of the service's runs, which need not be there yet; "" where none is kept."""
    from dunlin.state.location import locate

    return locate(option or None, os.getcwd(), config.user_state_dir()).path or ""


def place_of(ctx: click.Context, what: str) -> str:
    """Where the queue or the ledger of a service lies that is told nothing: here, else in the user's directory."""
    from dunlin.config.service import LEDGER_NAME, QUEUE_NAME

    name = QUEUE_NAME if what == "queue" else LEDGER_NAME
    here = os.path.join(os.getcwd(), name)
    if os.access(here if os.path.lexists(here) else os.getcwd(), os.W_OK):
        return here
    directory = config.user_state_dir()
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        raise usage(f"{here} cannot be written", f"--{what} names another place") from None
    return os.path.join(directory, name.lstrip("."))


def ledger_place(found: Service, otherwise: str) -> str:
    """Where the ledger lies: as told, beside a queue in PostgreSQL, else in a file of its own."""
    if found.ledger:
        return found.ledger
    return found.queue if found.queue.startswith(("postgresql://", "postgres://")) else otherwise


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
        return
    drop_output(sys.stderr)


class Waiting:
    """Waits for signals in the main thread: SIGINT and SIGTERM end the service, SIGHUP reads the configuration again.

    The second signal to end it ends the process at once. A handler only writes a byte into a pipe.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._before: dict[int, Any] = {}
        self._times = 0
        self._process = os.getpid()

    def __enter__(self) -> Waiting:
        for name, handler in (("SIGINT", self._end), ("SIGTERM", self._end), ("SIGHUP", self._again)):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def __call__(self, alive: Callable[[], bool], reload: Callable[[], object]) -> None:
        while alive():
            ready, _, _ = select.select([self._read], [], [], LOOK)
            for word in os.read(self._read, 16) if ready else b"":
                if word == ord("e"):
                    return
                reload()

    def _end(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:
            return
        self._times += 1
        if self._times > 1:
            os._exit(130)
        os.write(self._write, b"e")

    def _again(self, number: int, frame: object) -> None:
        if os.getpid() == self._process:
            os.write(self._write, b"r")


def _address(text: str) -> Any:
    from dunlin.report.address import parse_address

    return parse_address(text)


def queue_options(section: str = "Where") -> list[Option]:
    """Where the queue and the ledger lie."""
    return [
        Option("--queue", "The queue: a file, redis://HOST, rediss://HOST or postgresql://HOST/DATABASE. Default: "
               ".dunlin-queue.db here.", section=section, metavar="URL"),
        Option("--ledger", "Jobs, users and keys: a file or postgresql://HOST/DATABASE. Default: with the queue where "
               "that is PostgreSQL, else .dunlin-ledger.db here.", section=section, metavar="URL"),
    ]  # fmt: skip


def _options() -> list[click.Parameter]:
    from dunlin.cli.base import parsed

    return [
        Option("--http-addr", "Listen here: HOST:PORT. Default: 127.0.0.1:8080. Elsewhere than on loopback keys and "
               "http.allowed_roots are needed.", section="Where", type=parsed(_address), metavar="HOST:PORT"),
        *queue_options(),
        Option("--state-db", "The state file of its runs. Default: .sync-state.db here.", section="Where",
               aliases=["--database"], metavar="FILE"),
        config_option("Where"),
        Option("--log-level", "How much is told: debug, info, warn, error or fatal. Default: daemon.log_level, else "
               "info.", section="Output", type=click.Choice(["debug", "info", "warn", "error", "fatal"]),
               metavar="LEVEL"),
        Option("--log-format", "logfmt (default), text or json, on standard error.", section="Output",
               type=click.Choice(["text", "json", "logfmt"]), metavar="FORMAT"),
    ]  # fmt: skip


command = Command(
    "serve", help=HELP, short_help="serve the HTTP API and do its jobs", example=EXAMPLE, callback=serve,
    params=_options(),
)  # fmt: skip
