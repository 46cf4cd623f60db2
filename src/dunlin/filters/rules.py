"""Rules, and many of them joined into one regular expression per kind of directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dunlin.errors import printable, usage
from dunlin.filters.patterns import Pattern, read_pattern
from dunlin.model import join

Matcher = Callable[[str, bool], bool]
"""(name, whether it is a directory) -> whether it takes part."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `include` or exclude what `pattern` matches. `origin` tells a person where it was written."""

    include: bool
    pattern: str
    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        line = f"{'+' if self.include else '-'} {printable(self.pattern)}"
        return f"{line} ({self.origin})" if self.origin else line


def checked(rule: Rule) -> tuple[Pattern, ...]:
    """The patterns of a rule. Raises USAGE when there is something wrong with them."""
    try:
        return read_pattern(rule.pattern)
    except ValueError as error:
        where = f"{rule.origin}: " if rule.origin else ""
        raise usage(f"{where}pattern {printable(rule.pattern)!r}: {error}") from None


class Compiled:
    """The rules of one selection, ready for any directory."""

    def __init__(self, rules: tuple[Rule, ...], ignore_case: bool) -> None:
        self._flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
        self._rules = rules
        self._cuts: list[tuple[int, Pattern, re.Pattern[str] | None, str]] = []
        self._reach: list[tuple[int, re.Pattern[str] | None]] = []
        stars: set[int] = set()
        for number, rule in enumerate(rules):
            for pattern in checked(rule):
                for before, name in pattern.cuts:
                    compiled = None if before is None else re.compile(before, self._flags)
                    self._cuts.append((number, pattern, compiled, name))
                if rule.include:
                    below = None if pattern.below is None else re.compile(pattern.below, self._flags)
                    self._reach.append((number, below))
                elif pattern.stars and self._reach:
                    stars.add(number)
        self._stars = frozenset(stars)
        self._cache: dict[tuple[int, ...], Matcher] = {}

    def _active(self, directory: str) -> tuple[int, ...]:
        where = f"{directory}/" if directory else ""
        return tuple(n for n, cut in enumerate(self._cuts) if cut[2] is None or cut[2].fullmatch(where))

    def matcher(self, directory: str) -> Matcher:
        active = self._active(directory)
        found = self._cache.get(active)
        if found is None:
            if len(self._cache) >= 256:  # patterns with many different parents; keep memory bounded
                self._cache.clear()
            found = self._cache[active] = self._join(active)
        files = found
        if not any(self._cuts[n][0] in self._stars for n in active):
            return files

        def matches(name: str, is_directory: bool) -> bool:
            if not is_directory:
                return files(name, False)
            rule = self._first(active, directory, name, True)
            return rule is None or rule.include

        return matches

    def _join(self, active: tuple[int, ...]) -> Matcher:
        of_files = self._alternatives(n for n in active if not self._cuts[n][1].directories_only)
        of_directories = self._alternatives(active)

        def matches(name: str, is_directory: bool) -> bool:
            match, signs = of_directories if is_directory else of_files
            found = match(name)
            return found is None or signs[found.lastindex or 0]

        return matches

    def _alternatives(self, cuts: Iterable[int]) -> tuple[Callable[[str], re.Match[str] | None], list[bool]]:
        """One regex for all cuts, a group for each run of cuts with one sign; and the signs of the groups."""
        signs, runs = [True], list[list[str]]()
        for n in cuts:
            number, _, _, name = self._cuts[n]
            if not runs or signs[-1] != self._rules[number].include:
                runs.append([])
                signs.append(self._rules[number].include)
            runs[-1].append(name)
        while runs and signs[-1]:  # includes at the end change nothing
            runs.pop()
            signs.pop()
        if not runs:
            return _no_match, signs
        return re.compile("|".join(f"({'|'.join(run)})" for run in runs), self._flags).fullmatch, signs

    def first(self, directory: str, name: str, is_directory: bool) -> Rule | None:
        """The rule that decides, found the slow way: one rule after the other."""
        return self._first(self._active(directory), directory, name, is_directory)

    def _first(self, active: tuple[int, ...], directory: str, name: str, is_directory: bool) -> Rule | None:
        for n in active:
            number, pattern, _, regex = self._cuts[n]
            if pattern.directories_only and not is_directory:
                continue
            if re.fullmatch(regex, name, self._flags) is None:
                continue
            if is_directory and number in self._stars and self._included_below(number, join(directory, name)):
                continue
            return self._rules[number]
        return None

    def _included_below(self, before: int, directory: str) -> bool:
        """Whether an include that stands earlier than rule `before` could match something below `directory`."""
        where = f"{directory}/"
        return any(n < before and (below is None or below.fullmatch(where)) for n, below in self._reach)


def _no_match(name: str) -> None:
    return None
