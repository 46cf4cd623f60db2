"""What a killed process leaves behind: temporary files, and stages (`stores.local.stage`), found by their names.

A stage is a directory with plain files in it, no more. So that is what is removed: a directory of such a
name that holds anything else was filled by somebody else, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DIRECTORY_BITS, MODE, TYPE_BITS, Facts, is_file, join
from dunlin.stores.base import KeepsBegun, Lists, RemovesDirectories, Store, power, remove_directory
from dunlin.workers.context import TEMPORARY


class Removable(Lists, RemovesDirectories, Protocol):
    """What can be swept."""


def remove(store: Removable, path: str, what: Facts) -> None:
    """Remove a temporary file, or a stage with the files in it. That it is gone is no error; others are raised."""
    try:
        if what[MODE] & TYPE_BITS == DIRECTORY_BITS:
            store.delete(_plain_files(store, path))
            remove_directory(store, path)
        elif not _kept(store, path):
            store.delete([path])
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise


def sweep(store: Removable, directory: str, dead: Callable[[str, str], bool]) -> list[DunlinError]:
    """Remove what the dead left in a directory; returns the errors of what would not go.

    `dead` is asked with the two parts of each token: the run, and the mover. Among objects there is nothing to
    remove: they appear whole, so what has such a name is somebody's file.
    """
    errors: list[DunlinError] = []
    if not store.caps.directories:
        return errors
    try:
        for batch in store.list(directory):
            for name, what in batch:
                match = TEMPORARY.fullmatch(name)
                if match and dead(match[1], match[2]):
                    try:
                        remove(store, join(directory, name), what)
                    except DunlinError as error:
                        errors.append(error)
    except DunlinError as error:
        errors.append(error)
    return errors


def _kept(store: object, path: str) -> bool:
    """Whether it is a large upload that the next one continues."""
    keeps = power(store, KeepsBegun) if TEMPORARY.fullmatch(path.rpartition("/")[2]) else None
    return keeps is not None and keeps.keep_begun(path)


def versions(source: Store, directory: str, waiting: Iterable[tuple[str, Facts, int, bool]]) -> set[str]:
    """The versions that are about to be fetched into a directory: downloads of them that were begun are wanted."""
    from dunlin.transfer.resume import version_of

    return {version_of(source, join(directory, name), what) for name, what, _, _ in waiting}


def _plain_files(store: Lists, path: str) -> list[str]:
    names = [named for batch in store.list(path) for named in batch]
    if not all(is_file(what) for _, what in names):
        raise DunlinError("remove", path, ErrorKind.EXISTS, "it holds more than files, so dunlin has not made it")
    return [join(path, name) for name, _ in names]
