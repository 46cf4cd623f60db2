#!/usr/bin/env python3
"""Write docs/reference/cli.md from the commands themselves; with --check only say whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
AGAIN = "run scripts/docs_cli.py"


def page() -> str:
    """The whole page."""
    return "\n".join(lines())


def lines() -> Iterator[str]:
    """The page, line by line."""
    import click

    from dunlin.cli.main import COMMANDS, main

    yield "# Commands and options"
    yield ""
    yield f"This page is made from the program: {AGAIN} after changing an option."
    yield ""
    yield "Every option has a variable that gives its value when the command line does not; switches have a `--no-`"
    yield "form of every name, which wins over the environment. In a variable, the empty value means *off*, and where"
    yield "a number may be *automatic*, 0 says so. Variables of options that may be given several times hold one value"
    yield "per line. Credentials have forms for one side: `--source-account-key`, `--dest-account-key`. What wins over"
    yield "what, and the keys of a file, are in [configuration](../configuration.md); what the exit codes mean is in"
    yield "[exit codes](../exit-codes.md)."
    yield ""
    context = click.Context(main, info_name="dunlin")
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield from section(command, f"dunlin {name}")
    yield "## dunlin --version, dunlin --help"
    yield ""
    yield "`-V`, `--version` prints one line with the version; `-h`, `--help` prints help, also behind any command."
    yield ""


def section(command: object, words: str) -> Iterator[str]:
    """One command."""
    import click

    from dunlin.cli.base import Command

    assert isinstance(command, Command)
    arguments = " ".join(each.metavar or "" for each in command.params if isinstance(each, click.Argument))
    yield f"## {words}"
    yield ""
    yield "```"
    yield f"{words} [OPTIONS] {arguments}".rstrip()
    yield "```"
    yield ""
    for paragraph in (command.help or "").strip().split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""
    for title, options in command.sections():
        yield f"### {words.removeprefix('dunlin ')}: {title[:1].lower()}{title[1:]}"
        yield ""
        yield "| option | meaning | variable |"
        yield "|---|---|---|"
        yield from (row(option) for option in options)
        yield ""
    yield "Examples:"
    yield ""
    yield "```"
    yield from (line.strip() for line in command.example.strip().splitlines())
    yield "```"
    yield ""


def row(option: object) -> str:
    """One option as a row of a table."""
    from dunlin import config
    from dunlin.cli.base import Option

    assert isinstance(option, Option)
    names, help = option.record()
    also = f" Also: {', '.join(f'`{name}`' for name in option.aliases)}." if option.aliases else ""
    cells = (f"`{names}`", f"{help}{also}", f"`{config.variable_name(option.flag)}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Write the page, or check it."""
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            print(f"{PAGE.relative_to(PAGE.parent.parent.parent)} is out of date: {AGAIN}")
            return 1
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
