"""What the pages tell people to type: commands, options and values that the program takes.

Of the troubleshooting page that is every command and option in its text, of all pages the commands in blocks of code.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from dunlin.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
SPANS = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8")))
COMMANDS = [span for span in SPANS if re.match(r"(?:\./)?dunlin [a-z]", span)]
OPTIONS = [span for span in SPANS if re.match(r"--?[a-z]", span)]
PLACEHOLDER = re.compile(r"[A-Z]+|@FILE|…|\.\.\.")

TYPED = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\./)?dunlin ((?!slot )[a-z-].*)")
"""A line of code that is typed; `dunlin slot` is a text of the formats."""


def shown() -> list[tuple[str, str]]:
    """The commands in blocks of code, each with its page."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        fenced = False
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            fenced ^= line.startswith("```")
            if (fenced or line.startswith("    ")) and (typed := TYPED.fullmatch(line.strip())):
                found.append((page.name, typed[1]))
    return found


SHOWN = shown()


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words behind its name."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(command)
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    return command, words


def check(command: click.Command, words: list[str]) -> int:
    """How many options there are among the words. Each is one of the command, and its value one that it takes."""
    options = {name: each for each in command.params if isinstance(each, click.Option)
               for name in (*each.opts, *each.secondary_opts)}  # fmt: skip
    context = click.Context(command)
    rest, count = list(words), 0
    while rest:
        word = rest.pop(0)
        if re.match(r"[0-9]?[>|&]", word):
            break
        if not word.startswith("-") or word == "-":
            continue
        if re.fullmatch(r"-[A-Za-z]{2,}", word):  # switches in one word
            rest[:0] = [f"-{letter}" for letter in word[1:]]
            continue
        name, equals, value = word.partition("=")
        assert name in options, f"{command.name} has no {name}"
        option, count = options[name], count + 1
        if option.is_flag or option.count or not (equals or rest):
            continue
        value = value if equals else rest.pop(0)
        if not PLACEHOLDER.fullmatch(value):
            option.type.convert(value, option, context)
    return count


@pytest.mark.parametrize("span", COMMANDS)
def test_each_command_is_one(span: str) -> None:
    command, words = command_of(shlex.split(span)[1:])
    assert command is not main
    check(command, words)


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_each_command_in_a_block_of_code_is_one(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    command, rest = command_of(words)
    assert command is not main or words[0].startswith("-")
    check(command, rest)


@pytest.mark.parametrize("span", OPTIONS)
def test_each_option_is_one_of_sync(span: str) -> None:
    command, _ = command_of(["sync"])
    assert check(command, shlex.split(span)) >= 1


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 5
    assert len(SHOWN) >= 100
    assert {"README.md", "backup.md", "service.md", "workers.md"} <= {page for page, _ in SHOWN}
    assert len(OPTIONS) >= 15


@pytest.mark.parametrize("span", ["--worker 5", "--timeout soon", "--max-memory-mb lots"])
def test_a_wrong_one_is_found(span: str) -> None:
    command, _ = command_of(["sync"])
    with pytest.raises((AssertionError, click.UsageError)):
        check(command, shlex.split(span))
