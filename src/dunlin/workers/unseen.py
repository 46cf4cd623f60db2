"""Paths that `--files-from` lists and a source far away lacks.

To ask for each of them would cost a request per path. But the directories that lead to them are listed anyway: what a
listing did not show when it had ended is missing, and so is all that was to lie below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from dunlin.compare.listing import Named
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import is_directory, join

Children = Mapping[str, Collection[str]]
"""By directory, the names in it that are listed or lead to listed paths."""


def lacking(path: str) -> DunlinError:
    """The failure of such a path."""
    return DunlinError("copy", path, ErrorKind.NOT_FOUND, "--files-from lists it, and the source has no such name")


def children_of(files: Iterable[str]) -> Children:
    """The names to look for in each directory, for a list of paths."""
    found: dict[str, set[str]] = {}
    for path in files:
        while path:
            above, _, name = path.rpartition("/")
            names = found.setdefault(above, set())
            if name in names:
                break
            names.add(name)
            path = above
    return found


class Unseen:
    """What one directory's listing has not shown yet."""

    def __init__(self, directory: str, files: Collection[str], children: Children) -> None:
        self._directory = directory
        self._files = files
        self._children = children
        names = children.get(directory, ())
        self._listed = {name for name in names if join(directory, name) in files}
        self._leading = {name for name in names if join(directory, name) in children}

    def see(self, names: Iterable[Named]) -> None:
        """Take in the next names. Only a directory leads further; it may stand for a listed file, too."""
        for name, what in names:
            self._listed.discard(name)
            if is_directory(what):
                self._leading.discard(name)

    def missing(self) -> list[str]:
        """The listed paths that cannot be there, once the listing has ended, relative to the directory."""
        found = sorted(self._listed)
        above = sorted(self._leading)
        while above:
            inner = above.pop()
            path = join(self._directory, inner)
            for name in sorted(self._children.get(path, ())):
                if join(path, name) in self._files:
                    found.append(join(inner, name))
                if join(path, name) in self._children:
                    above.append(join(inner, name))
        return found
