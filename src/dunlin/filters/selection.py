"""Everything that decides which names take part, in one value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

from dunlin.errors import printable
from dunlin.filters.rules import Compiled, Matcher, Rule, checked
from dunlin.model import FILE_BITS, MODE, MTIME, SIZE, TYPE_BITS, Facts, join


class Decision(NamedTuple):
    """Why `path` takes part or not: the `rule` that decided, if one did, and the whole reason in words."""

    takes_part: bool
    rule: Rule | None
    reason: str


_OF_EVERYTHING = "2713684d86aa1ddb20acaa17c86b183e"
"""`Selection()._digest()`, written out: most runs select nothing in particular, and `hashlib` is slow to load."""


@dataclass(frozen=True)
class Selection:
    """Everything that decides which names take part.

    Attributes:
        rules: asked in order; the first match wins.
        files: paths (from the root, no slash at either end) that alone take part, with their parents, and
            with everything below those that are directories; None: no such list. Rules are asked as well.
        min_size, max_size: bytes, both inclusive, of regular files.
        newer_than, older_than: ns since 1970, both inclusive, of the mtime of regular files.
        max_depth: deepest level that takes part; names in the root have depth 1.
        ignore_case: rules do not tell upper from lower case. (`files` always does.)
        ages: what the user wrote for the two ages; it stands for them in the fingerprint, since "7 days ago"
            is another moment in each run.

    Raises USAGE when a pattern cannot be read.
    """

    rules: tuple[Rule, ...] = ()
    files: frozenset[str] | None = None
    min_size: int | None = None
    max_size: int | None = None
    newer_than: int | None = None
    older_than: int | None = None
    max_depth: int | None = None
    ignore_case: bool = False
    ages: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        for rule in self.rules:
            checked(rule)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def everything(self) -> bool:
        """Whether nothing is configured at all."""
        return replace(self, ignore_case=False, ages=("", "")) == Selection()

    @cached_property
    def sized(self) -> bool:
        """Whether `takes` has anything to ask."""
        return (self.min_size, self.max_size, self.newer_than, self.older_than) != (None, None, None, None)

    def takes(self, facts: Facts) -> bool:
        """Whether size and age let these facts take part; always for anything but regular files.

        What a store does not know (None) excludes nothing.
        """
        if (facts[MODE] & TYPE_BITS) != FILE_BITS:
            return True
        size, mtime = facts[SIZE], facts[MTIME]
        if size is not None:
            if self.min_size is not None and size < self.min_size:
                return False
            if self.max_size is not None and size > self.max_size:
                return False
        if mtime is not None:
            if self.newer_than is not None and mtime < self.newer_than:
                return False
            if self.older_than is not None and mtime > self.older_than:
                return False
        return True

    def depth_ok(self, depth: int) -> bool:
        """Whether names at this depth take part; names in the root have depth 1."""
        return self.max_depth is None or depth <= self.max_depth

    def matcher(self, directory: str) -> Matcher:
        """The function that decides by name, for the names in one directory. Make it once per directory."""
        by_rules = self._compiled.matcher(directory) if self.rules else _all
        by_list = self._by_list(directory)
        if by_list is None:
            return by_rules
        if by_rules is _all:
            return by_list
        return lambda name, is_directory: by_list(name, is_directory) and by_rules(name, is_directory)

    def _by_list(self, directory: str) -> Matcher | None:
        """The function that looks into the list of files; None where everything takes part."""
        if self.files is None or self._listed_above(directory):
            return None
        files, parents, prefix = self.files, self._parents, f"{directory}/" if directory else ""

        def listed(name: str, is_directory: bool) -> bool:
            path = prefix + name
            return path in files or (is_directory and path in parents)

        return listed

    def explain(self, path: str, is_directory: bool) -> Decision:
        """Which rule decided about `path`, or about the parent directory that keeps it out. By name only."""
        parts = path.split("/")
        decision = Decision(True, None, "no rule matches")
        for depth in range(1, len(parts) + 1):
            directory, name = "/".join(parts[: depth - 1]), parts[depth - 1]
            here, last = join(directory, name), depth == len(parts)
            kind = is_directory or not last
            whose = "" if last else f"its parent {printable(here)}: "
            if not self.depth_ok(depth):
                return Decision(False, None, f"{whose}deeper than {self.max_depth} levels")
            rule = self._compiled.first(directory, name, kind)
            if rule is not None and not rule.include:
                return Decision(False, rule, f"{whose}excluded by {rule}")
            by_list = self._by_list(directory)
            if by_list is not None and not by_list(name, kind):
                return Decision(False, None, f"{whose}not in the list of files")
            if last and rule is not None:
                decision = Decision(True, rule, f"included by {rule}")
        return decision

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change when another set of names may take part; the same on every machine."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return _OF_EVERYTHING if self == Selection() else self._digest()

    def _digest(self) -> str:
        import hashlib

        digest = hashlib.sha256(b"selection 1\0")

        def add(word: str, value: object) -> None:
            digest.update(f"{word}={value}\0".encode("utf-8", "surrogateescape"))

        for rule in self.rules:
            add("rule", f"{'+' if rule.include else '-'}{rule.pattern}")
        if self.files is not None:
            add("files", len(self.files))
            for path in sorted(self.files):
                add("file", path)
        add("size", (self.min_size, self.max_size))
        add("age", self.ages if any(self.ages) else (self.newer_than, self.older_than))
        add("depth", self.max_depth)
        add("case", self.ignore_case and bool(self.rules))
        return digest.hexdigest()[:32]

    @cached_property
    def _compiled(self) -> Compiled:
        return Compiled(self.rules, self.ignore_case)

    @cached_property
    def _parents(self) -> frozenset[str]:
        found: set[str] = set()
        for path in self.files or ():
            parent = path.rpartition("/")[0]
            while parent and parent not in found:
                found.add(parent)
                parent = parent.rpartition("/")[0]
        return frozenset(found)

    def _listed_above(self, directory: str) -> bool:
        """Whether `directory` or one of its parents is in the list of files: then everything in it is."""
        files = self.files or frozenset()
        while directory:
            if directory in files:
                return True
            directory = directory.rpartition("/")[0]
        return "" in files


def _all(name: str, is_directory: bool) -> bool:
    return True
