"""Rules and lists of files as the user wrote them: on the command line and in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dunlin.errors import DunlinError, ErrorKind, printable, translate
from dunlin.filters.patterns import read_pattern
from dunlin.filters.rules import Rule, checked

_SIGNS = {"include": "+", "exclude": "-"}
_FROM = {"include-from": "+", "exclude-from": "-", "filter-from": ""}


def parse_rules(options: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    """The rules of a command line: (option, value) in the order in which they were written.

    Options are ``include``, ``exclude`` (a pattern each), ``include-from``, ``exclude-from`` and ``filter-from``
    (a file each, see `read_rules`). Raises USAGE for a pattern, CONFIG for a file that cannot be used.
    """
    rules: list[Rule] = []
    for option, value in options:
        if option in _SIGNS:
            rule = Rule(_SIGNS[option] == "+", value, f"--{option}")
            checked(rule)
            rules.append(rule)
        elif option in _FROM:
            rules = list(read_rules(value, _FROM[option], rules))
        else:
            raise ValueError(f"{option!r} is no option for rules")
    return tuple(rules)


def read_rules(path: str, default_sign: str, before: Sequence[Rule] = ()) -> tuple[Rule, ...]:
    """`before` and the rules in a file: one per line, ``+ pattern`` or ``- pattern``.

    With a `default_sign` (``+`` or ``-``) a line may also be the pattern alone. Empty lines and lines that begin with
    ``#`` are skipped; a line ``!`` forgets all rules so far, `before` included. Spaces at the end are dropped
    unless a backslash stands before them. Raises CONFIG naming file, line and reason.
    """
    rules = list(before)
    for number, line in enumerate(_read(path).split("\n"), 1):
        text = _stripped(line)
        if not text or text.startswith("#"):
            continue
        if text == "!":
            rules.clear()
            continue
        if text[:2] in ("+ ", "- "):
            sign, pattern = text[0], text[2:].lstrip(" ")
        elif default_sign:
            sign, pattern = default_sign, text
        else:
            raise _config(path, number, f"{printable(text)!r} has no sign", "begin with '+ ', '- ', '#' or '!'")
        rule = Rule(sign == "+", pattern, f"{printable(path)} line {number}")
        try:
            read_pattern(pattern)
        except ValueError as error:
            raise _config(path, number, f"pattern {printable(pattern)!r}: {error}") from None
        rules.append(rule)
    return tuple(rules)


def read_files(path: str) -> frozenset[str]:
    """The paths in a file for `Selection.files`: one per line, or ended by NUL characters if there are any.

    Among lines, empty ones and those that begin with ``#`` are skipped (``./#name`` is a path). A leading ``./``
    or ``/`` means the root of the transfer; ``.`` alone takes everything. Raises CONFIG naming file, line and reason.
    """
    text = _read(path)
    zero = "\0" in text
    found = set()
    for number, line in enumerate(text.split("\0" if zero else "\n"), 1):
        line = line if zero else line.removesuffix("\r")
        if not line or (not zero and line.startswith("#")):
            continue
        parts = [part for part in line.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise _config(path, number, f"{printable(line)!r} leads out of the source")
        found.add("/".join(parts))
    return frozenset(found)


def _stripped(line: str) -> str:
    text = line.removesuffix("\r").rstrip(" \t")
    slashes = len(text) - len(text.rstrip("\\"))
    return line[: len(text) + 1] if slashes % 2 and len(text) < len(line.removesuffix("\r")) else text


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        reason = translate(error, "read", path).reason
        raise DunlinError("read the rules in", path, ErrorKind.CONFIG, reason) from error


def _config(path: str, line: int, reason: str, hint: str = "") -> DunlinError:
    return DunlinError("use the rules in", path, ErrorKind.CONFIG, f"line {line}: {reason}", hint)
