r"""How a pattern becomes regular expressions; the language itself is described in `dunlin.filters`.

A pattern is read into tokens, then the tokens are written as regular expressions:

    ("text", regex)  exactly one character, no slash
    ("*", "")        any characters but slashes
    ("**", "")       any characters
    ("/", "")        a slash
    ("/**/", "")     a slash, and any directories behind it; at the very start: any directories
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_Token = tuple[str, str]
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Pattern(NamedTuple):
    """What a pattern matches: `cuts` are (regex of "" or "dir/dir/", or None for any; regex of the name)."""

    cuts: tuple[tuple[str | None, str], ...]
    directories_only: bool
    stars: bool  # nothing but stars, and not for directories only
    below: str | None  # regex of the directories ("dir/dir/") below which it can match; None: any


def read_pattern(text: str) -> tuple[Pattern, ...]:
    """The patterns that `text` stands for: one, or two for ``dir/***``. Raises ValueError with a reason."""
    anchored = text.startswith("/")
    directories_only = text.endswith("/")
    body = text.strip("/")
    if not body:
        raise ValueError("it is empty" if not text else "the root itself always takes part")
    parts = re.split("/+", body)
    for part in parts:
        if part in (".", ".."):
            raise ValueError(f"no path has a part {part!r}; begin with / to anchor at the root of the transfer")
    if len(parts) > 1 and parts[-1] == "***":
        return _pattern(parts[:-1], anchored, True), _pattern([*parts[:-1], "**"], anchored, directories_only)
    return (_pattern(parts, anchored, directories_only),)


def _pattern(parts: list[str], anchored: bool, directories_only: bool) -> Pattern:
    tokens = _tokens(parts)
    start = "" if anchored or tokens[0][0] == "/**/" else "(?:.*/)?"
    any_directory = not anchored and all(kind in ("text", "*") for kind, _ in tokens)
    cuts = tuple((None if any_directory else start + before, name) for before, name in _cuts(tokens))
    stars = not directories_only and all(kind != "text" for kind, _ in tokens)
    return Pattern(cuts, directories_only, stars, _below(tokens) if anchored else None)


def _tokens(parts: list[str]) -> list[_Token]:
    tokens: list[_Token] = []
    for number, part in enumerate(parts):
        if number + 1 < len(parts) and len(part) > 1 and not part.strip("*"):
            if tokens[-1:] == [("/", "")]:
                tokens.pop()
            if tokens[-1:] != [("/**/", "")]:
                tokens.append(("/**/", ""))
            continue
        tokens.extend(_part_tokens(part))
        if number + 1 < len(parts):
            tokens.append(("/", ""))
    return tokens


def _part_tokens(part: str) -> Iterator[_Token]:
    at = 0
    while at < len(part):
        char = part[at]
        if char == "*":
            end = at
            while end < len(part) and part[end] == "*":
                end += 1
            yield ("*" if end - at == 1 else "**", "")
            at = end
        elif char == "?":
            yield "text", "[^/]"
            at += 1
        elif char == "[":
            regex, at = _bracket(part, at + 1)
            yield "text", regex
        elif char == "\\":
            if at + 1 == len(part):
                raise ValueError(r"a backslash at the end; write \\ for a backslash")
            yield "text", re.escape(part[at + 1])
            at += 2
        else:
            yield "text", re.escape(char)
            at += 1


def _bracket(part: str, at: int) -> tuple[str, int]:
    """The regex for the brackets whose inside begins at `at`, and where they end."""
    negated = part[at : at + 1] in ("!", "^")
    first = at = at + 1 if negated else at
    items: list[str] = []
    while True:
        if at >= len(part):
            raise ValueError(r"[ without ]; write \[ for a bracket")
        if part[at] == "]" and at > first:
            break
        if part.startswith("[:", at) and (end := part.find(":]", at + 2)) > 0:
            name = part[at + 2 : end]
            if name not in _CLASSES:
                raise ValueError(f"[:{name}:] is no class of characters; there are {', '.join(sorted(_CLASSES))}")
            items.append(_CLASSES[name])
            at = end + 2
            continue
        low, at = _bracket_char(part, at)
        high = low
        if part[at : at + 1] == "-" and part[at + 1 : at + 2] not in ("", "]"):
            high, at = _bracket_char(part, at + 1)
            if high < low:
                raise ValueError(f"the range {low}-{high} is empty")
        items.append(f"{re.escape(low)}-{re.escape(high)}")
    # No class matches a slash, whatever stands in it: names have none, but ** looks at whole paths.
    return (f"[^/{''.join(items)}]" if negated else f"(?!/)[{''.join(items)}]"), at + 1


def _bracket_char(part: str, at: int) -> tuple[str, int]:
    if part[at] == "\\":
        at += 1
    if at >= len(part):
        raise ValueError(r"[ without ]; write \[ for a bracket")
    return part[at], at + 1


_REGEX = {"*": "[^/]*", "**": ".*", "/": "/", "/**/": "/(?:.*/)?"}


def _regex(tokens: Sequence[_Token]) -> str:
    """The first tokens of a pattern as a regex."""
    out = [text or _REGEX[kind] for kind, text in tokens]
    if tokens and tokens[0][0] == "/**/":
        out[0] = "(?:.*/)?"
    return "".join(out)


def _name_regex(tokens: Sequence[_Token]) -> str:
    """Tokens without slashes as a regex for one name; stars of both kinds are equal there."""
    fixed = [""]
    for kind, text in tokens:
        if kind == "text":
            fixed[-1] += text
        else:
            fixed.append("")
    if len(fixed) == 1:
        return fixed[0]
    # All but the last star may stop at the first fit for good: without atomic groups a pattern such as
    # *a*a*a*a*b would try every way of sharing out the letters of a long name.
    inner = "".join(f"(?>[^/]*?{each})" for each in fixed[1:-1] if each)
    return f"{fixed[0]}{inner}[^/]*{fixed[-1]}"


def _cuts(tokens: list[_Token]) -> Iterator[tuple[str, str]]:
    """Every way in which the last slash of a path can fall into the pattern: (regex up to it, regex of the name)."""
    last = max((n for n, (kind, _) in enumerate(tokens) if kind in ("/", "/**/")), default=-1)
    yield _regex(tokens[: last + 1]), _name_regex(tokens[last + 1 :])
    for n in range(last + 1, len(tokens)):
        if tokens[n][0] == "**":
            yield _regex(tokens[:n]) + ".*/", _name_regex(tokens[n:])


def _below(tokens: list[_Token]) -> str:
    """The regex of the directories ("a/b/") that can be parents, near or far, of what anchored tokens match."""
    parents, component, rest = [], "", ""
    for kind, text in tokens:
        if kind == "**":
            rest = f"(?:{component}.*/)?"
            break
        if kind in ("/", "/**/"):
            parents.append(f"{component}/" if component else "")
            component = ""
            if kind == "/**/":
                rest = "(?:.*/)?"
                break
        else:
            component += text or _REGEX[kind]
    for parent in reversed(parents):
        rest = f"(?:{parent}{rest})?"
    return rest
