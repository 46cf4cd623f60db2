"""The program: finds the command, runs it, turns what went wrong into one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NoReturn

import click

from dunlin import __version__, config
from dunlin.cli.base import SETTINGS, closest, drop_output, usage_line, write_ending
from dunlin.errors import DunlinError, translate

COMMANDS = {
    "sync": "make DESTINATION equal to SOURCE",
    "check": "compare SOURCE and DESTINATION without moving anything",
    "repo": "make a repository for backups, and look after it",
    "backup": "make a snapshot of SOURCE in a repository",
    "scan": "make a snapshot of names, sizes and times, without content",
    "snapshots": "list the snapshots of a repository",
    "ls": "list a directory of a snapshot",
    "find": "find names in a snapshot",
    "du": "show how much lies where in a snapshot",
    "diff": "show what differs between two snapshots",
    "restore": "bring back what a snapshot holds",
    "forget": "remove snapshots, by a policy or by name",
    "prune": "free what no snapshot needs",
    "verify": "see whether a repository is whole",
    "status": "show runs, totals, pending and failed files",
    "retry": "transfer the files now that failed in a run",
    "dashboard": "show a running sync live in the terminal",
    "history": "list the runs, or tell of one, as text or as a page",
    "control": "pause, resume, stop or slow down a run",
    "serve": "serve the HTTP API and do its jobs",
    "worker": "take part in syncs and backups over a queue",
    "user": "add, list and remove users of the service",
    "key": "make, list and revoke keys of programs for the service",
    "init": "write a commented configuration file",
    "config": "show the configuration that holds, and where it came from",
    "version": "show the versions of dunlin and of what it stands on",
}
"""Commands with their one-line help; `dunlin.cli.NAME.command` is loaded when it is used."""

_WORDS = {
    "copy": "sync", "mirror": "sync", "move": "sync", "cp": "sync", "rsync": "sync", "run": "sync",
    "compare": "check", "cryptcheck": "check", "progress": "status", "list": "status",
    "pause": "control pause", "resume": "control resume", "stop": "control stop",
    "bwlimit": "control bwlimit", "help": "--help", "daemon": "serve", "server": "serve", "api": "serve",
    "token": "key", "top": "dashboard", "monitor": "dashboard", "tui": "dashboard",
    "save": "backup", "create": "backup", "snap": "backup", "archive": "backup", "repository": "repo",
    "passwd": "repo password", "stats": "repo stats", "snapshot": "snapshots", "tree": "ls -R",
    "gc": "prune", "fsck": "verify", "scrub": "verify",
    "extract": "restore", "recover": "restore", "rebuild-index": "repo rebuild-index", "reindex": "repo rebuild-index",
}  # fmt: skip

_EXAMPLE = """
dunlin sync -a /home/me /mnt/backup/me
dunlin sync -a --delete-extras --bwlimit 20M /mnt/old /mnt/new
dunlin check /mnt/old /mnt/new
"""


class Program(click.Group):
    """`dunlin` itself. Command modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dunlin.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in COMMANDS and not word.startswith("-"):
            hint = f"did you mean `dunlin {_WORDS[word]}`?" if word in _WORDS else closest(word, COMMANDS)
            if not hint and (os.sep in word or os.path.exists(word)):
                hint = "did you mean `dunlin sync SOURCE DESTINATION`?"
            from dunlin.stores.open import shown_place

            raise click.UsageError(f"there is no command {shown_place(word)}" + (f"; {hint}" if hint else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_ending(formatter, _EXAMPLE)

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any
    ) -> NoReturn:
        """Run the command that `args` (default: those of the process) ask for, and exit."""
        if args is None:
            _speak_utf8()
            _open_standard_streams()
        words = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding lacks is shown escaped; it ends nothing.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(words, prog_name or "dunlin", **extra)
        except BrokenPipeError:
            code = 1
            drop_output()
        except BaseException as error:
            again = _begin_again(error)
            code = complain(error, _wants_traceback(words)) if again is None else again
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            code = 1
            drop_output()
        except OSError as error:
            drop_output()
            code = complain(translate(error, "write the output", ""), traceback=False)
        try:
            sys.stderr.flush()
        except OSError:  # the terminal is gone, and with it whoever might be told
            drop_output(sys.stderr)
        if args is None:
            gc.freeze()  # the process ends: to look for cycles among all that was imported would take 10 ms
        sys.exit(code or 0)


def _speak_utf8() -> None:
    """Names are UTF-8 whatever the locale says: under another one (Latin-1, say) begin once more in that mode."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions and hasattr(os, "execv"):
        os.environ["PYTHONUTF8"] = "1"  # for movers that are started anew
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _open_standard_streams() -> None:
    """Whoever closed a standard stream must not have the state file opened in its place, and written into."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _begin_again(error: BaseException) -> int | None:
    """The command once more, with a package that it lacked; None when that is not what went wrong."""
    if not isinstance(error, DunlinError | ImportError):
        return None
    from dunlin.cli import extras

    return extras.begin_again(error)


def _extra_of(error: ImportError) -> str:
    from dunlin.cli import extras

    return extras.missing(error)


def complain(error: BaseException, traceback: bool) -> int:
    """Say what went wrong in one line on standard error; returns the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 1
    if traceback:
        import traceback as tracebacks

        tracebacks.print_exception(error)
    code = 2
    if isinstance(error, DunlinError):
        line, code = str(error), error.exit_code
        if not error.where and error.kind.value == "usage":
            line = "; ".join(filter(None, (error.reason, error.hint)))
    elif isinstance(error, click.UsageError):
        line, code = usage_line(error), 1
    elif isinstance(error, click.ClickException):
        line, code = error.format_message(), 1
    elif isinstance(error, (KeyboardInterrupt, click.Abort)):
        line, code = "interrupted", 130
    elif isinstance(error, ImportError) and (extra := _extra_of(error)):
        line, code = f"{error.name} is not installed; install it with: pip install 'dunlin[{extra}]'", 1
    else:
        words = " ".join(str(error).split())
        line = f"a fault of dunlin itself: {type(error).__name__}: {words}"
        if not traceback:
            line += "; --log-level debug shows where"
    with suppress(OSError, ValueError):
        click.echo(f"dunlin: {line}", err=True)
    return code


def _wants_traceback(words: list[str]) -> bool:
    asked = ("--log-level", "debug") in pairwise(words) or "--log-level=debug" in words
    return asked or (config.variable("--log-level") == "debug" and not any("--log-level" in word for word in words))


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"dunlin {__version__}")
        ctx.exit()


main = Program(
    "dunlin",
    help="Mirror very many files between local disks and mounted shares, quickly and without losing any.",
    context_settings={**SETTINGS, "help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    params=[
        click.Option(
            ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
            help="Show the version and exit.",
        )
    ],
)  # fmt: skip
