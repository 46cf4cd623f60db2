"""What all commands share: options with a group and a variable, help with exit codes, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from dunlin.config.words import closest as closest
from dunlin.errors import DunlinError, printable, translate

if TYPE_CHECKING:
    from dunlin.config.settings import Settings

EXIT_CODES = (
    (0, "done"),
    (1, "wrong usage or configuration, login refused, source missing, pair in use"),
    (2, "fatal during the run, or the destination is unwritable or full"),
    (3, "`check` or `diff` found differences, or `verify`, `snapshots` or `repo rebuild-index` damage"),
    (23, "some files failed"),
    (24, "some files vanished before they were read; nothing else went wrong"),
    (25, "more deletions than --max-delete: nothing was deleted"),
    (130, "interrupted by a signal or `dunlin control stop`"),
)
"""The exit codes of every command; where several apply: 1, 2, 130, 25, 23, 3, 24, in that order."""

SYNCING = ("sync", "check")
"""The commands that the section `sync` of a file is for."""

KEEPING = (
    *("repo", "backup", "scan", "snapshots", "ls", "find", "du", "diff"),
    *("restore", "verify", "forget", "prune"),
)
"""The commands that the section `backup` of a file is for."""

SETTINGS = {"max_content_width": 100, "help_option_names": ["--help"]}


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of a value that one of our own parsers reads; its USAGE error becomes one that names the option."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except DunlinError as error:
            raise click.BadParameter("; ".join(filter(None, (error.reason, error.hint)))) from error

    return convert


class Option(click.Option):
    """An option with a section of the help, names that only old habits know, and a variable.

    Attributes:
        section: the heading of the help under which it stands.
        shown: its names in the help; `aliases` work too and are listed in docs/reference/cli.md only.
        flag: the name that `config.variable_name` turns into its variable, and that `config.schema` knows.
    """

    def __init__(
        self,
        shown: str,
        help: str,
        *,
        section: str = "Other",
        aliases: Sequence[str] = (),
        off: str | None = None,
        automatic: bool = False,
        **attributes: Any,
    ) -> None:
        """Args:
        shown: names, separated by spaces, the long one last: ``"-l --links"``.
        off: the value that "" in a variable or a file stands for; None: the default.
        automatic: 0 there stands for the default.
        attributes: as for `click.Option`. Switches (``is_flag``) get a ``--no-`` form of every name.
        """
        self.section = section
        self.shown = tuple(shown.split())
        self.aliases = tuple(aliases)
        self.flag = self.shown[-1]
        self._off = off
        self._automatic = automatic
        names = [*self.shown, *self.aliases]
        self.switch = bool(attributes.get("is_flag")) and not attributes.pop("plain", False)
        if self.switch:
            names = [f"{name}/--no-{name.lstrip('-')}" for name in names]
            self._off = "0"
        attributes.setdefault("default", None)
        identifier = self.flag.lstrip("-").replace("-", "_")
        super().__init__([attributes.pop("into", identifier), *names], help=help, **attributes)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        if self.name not in opts:
            found = settings_of(ctx).find(self.flag, self.aliases)
            if found is not None and _meant_for(ctx.command.name, found.key):
                ctx.meta.setdefault("dunlin.origins", {})[self.flag] = found
                layer = ParameterSource.ENVIRONMENT if found.layer == "environment" else ParameterSource.DEFAULT_MAP
                return self._said(found.value), layer
        return super().consume_value(ctx, opts)

    def _said(self, value: Any) -> Any:
        """A value of the environment or the file as click takes it; None stands for the default."""
        if value == "" and isinstance(value, str):
            value = self._off
        if value is None or (self._automatic and str(value).strip() == "0"):
            return None
        if self.multiple:
            return value if isinstance(value, list) else str(value).splitlines()
        return value if isinstance(value, bool) else str(value)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        given = (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
        if ctx is not None and ctx.get_parameter_source(self.name or "") in given:
            key: str = ctx.meta["dunlin.origins"][self.flag].key
            return key
        return self.flag

    def record(self) -> tuple[str, str]:
        """Names with the value's placeholder, and the help."""
        names = ", ".join(self.shown)
        if not self.is_flag and not self.count:
            names += f" {self.placeholder()}"
        return names, self.help or ""

    def placeholder(self) -> str:
        """What stands for the value in the help."""
        if self.metavar:
            return self.metavar
        if isinstance(self.type, click.Choice):
            return "|".join(self.type.choices)
        return self.type.name.upper()


class Command(click.Command):
    """A command whose help has sections, an example and the exit codes, and whose arguments are named when missing."""

    def __init__(self, name: str, *, example: str, **attributes: Any) -> None:
        self.example = example
        attributes.setdefault("context_settings", SETTINGS)
        super().__init__(name, **attributes)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args == ["-h"]:
            args = ["--help"]
        ctx.meta["dunlin.arguments"] = list(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in self.sections():
            with formatter.section(title):
                formatter.write_dl([option.record() for option in options], col_max=34)

    def sections(self) -> list[tuple[str, list[Option]]]:
        """The options that the help shows, under their headings, in order."""
        found: dict[str, list[Option]] = {}
        for parameter in self.params:
            if isinstance(parameter, Option) and not parameter.hidden:
                found.setdefault(parameter.section, []).append(parameter)
        return list(found.items())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if any(option.switch for _, options in self.sections() for option in options):
            formatter.write_paragraph()
            formatter.write_text(
                "Every switch has a --no- form. A variable DUNLIN_NAME gives the option --name its value when "
                "the command line does not."
            )
        write_ending(formatter, self.example)


def _meant_for(command: str | None, key: str) -> bool:
    """Whether a command has to do with a key: `sync.json` in a file is not for `status`."""
    section = key.partition(".")[0]
    return command in {"sync": SYNCING, "backup": KEEPING}.get(section, (command,))


def write_ending(formatter: click.HelpFormatter, example: str) -> None:
    """The last part of every help: examples and exit codes."""
    with formatter.section("Examples"):
        for line in example.strip().splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), what) for code, what in EXIT_CODES])


def echo(text: str) -> None:
    """A line of the result on standard output. Raises NO_SPACE and its like when it cannot be written."""
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise translate(error, "write the output", "") from error


def drop_output(stream: TextIO | None = None) -> None:
    """A stream (None: standard output) has no reader, or no room: what is buffered must not complain at the exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (stream or sys.stdout).fileno())
        os.close(nowhere)


def log_level_option(section: str = "Output") -> Option:
    """``--log-level``, which every command has."""
    return Option(
        "--log-level",
        "How much is told: debug (with tracebacks), info, warn or error. Default: info.",
        section=section,
        type=click.Choice(["debug", "info", "warn", "error"]),
        metavar="LEVEL",
        default="info",
    )


def settings_of(ctx: click.Context) -> Settings:
    """What holds below the command line: with the file where the command has ``--config``, else the environment."""
    found: Settings | None = ctx.meta.get("dunlin.settings")
    if found is None:
        from dunlin.config.settings import Settings

        found = ctx.meta["dunlin.settings"] = Settings()
    return found


def config_option(section: str = "Configuration") -> Option:
    """``--config``. The file is read before any other option is looked at."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        # An entry of `jobs` is read with the same command line, and the settings for it are there already.
        if not ctx.resilient_parsing and "dunlin.job" not in ctx.meta:
            from dunlin.config.settings import settings

            ctx.meta["dunlin.settings"] = settings(value)

    return Option(
        "--config",
        "The configuration file, or none. Default: dunlin.yaml, dunlin.yml or dunlin.toml in the current directory, "
        "else config.yaml (.yml, .toml) in the user's configuration directory.",
        section=section,
        off="none",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=read,
    )


def state_option() -> Option:
    """``--state-db`` of the commands that only read it."""
    return Option(
        "--state-db",
        "The state file. Default: .sync-state.db in the current directory, else the user's state directory.",
        section="Where",
        aliases=["--database"],
        metavar="FILE",
    )


def usage_line(error: click.UsageError) -> str:
    """click's complaint as one line of ours."""
    message = error.format_message().strip().replace("\n", " ")
    if isinstance(error, click.NoSuchOption):
        from dunlin.cli.habits import HABITS

        name = error.option_name
        hint = HABITS.get(name, "")
        if not hint and error.ctx is not None:
            known = [word for each in error.ctx.command.params for word in each.opts if word.startswith("--")]
            bare = name.replace("--no-", "--", 1)
            hint = closest(bare, known) if bare not in known and name.startswith("--") else ""
        message = f"there is no option {printable(name)}" + (f"; {hint}" if hint else "")
    elif message.endswith("."):
        message = message[:-1]
    message = message[:1].lower() + message[1:]
    where = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
    return f"{printable(message)}{where}"
