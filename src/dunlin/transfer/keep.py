"""Removing things, and keeping them in the backup directory (`--backup-dir`) instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.filters import Selection
from dunlin.model import DIRECTORY_BITS, MODE, PERMISSION_BITS, RDEV, TYPE_BITS, Entry, Kind, join
from dunlin.stores.base import (
    Body,
    Lists,
    MakesDirs,
    MakesLinks,
    Moves,
    RemovesDirectories,
    power,
    remove_directory,
)
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import Site


def keep_copy(site: Site, path: str) -> None:
    """Put what stands at `path` of the destination into the backup directory and leave it where it is."""
    _keep(site, path, stay=True)


def keep(site: Site, path: str) -> None:
    """Move what stands at `path` of the destination into the backup directory."""
    _keep(site, path, stay=False)


def _keep(site: Site, path: str, stay: bool) -> None:
    assert site.backup is not None
    kept = join(site.backup_prefix, path) if site.backup_prefix else path
    entry = site.target.stat(path)
    _make_parents(site, kept)
    if site.backup is site.target:
        moves = power(site.target, Moves)
        _make_room(site, kept, entry.kind)
        if stay and entry.kind is Kind.FILE:
            _second_name(site, entry, kept)
        elif moves is not None and entry.kind is Kind.DIRECTORY:
            _move_tree(site, path, kept)
        elif moves is not None:
            moves.move(path, kept)
        return
    _copy_out(site, entry, kept)
    if not stay and entry.kind is not Kind.DIRECTORY:
        site.target.delete([path])


def _second_name(site: Site, entry: Entry, kept: str) -> None:
    """Keep a file that is about to be replaced: as a hard link, else (or if it is overwritten in place) as a copy."""
    links = power(site.target, MakesLinks)
    if links is not None and not site.options.in_place:
        try:
            links.make_hard_link(entry.path, kept)
            return
        except DunlinError as error:
            if error.kind not in (ErrorKind.UNSUPPORTED, ErrorKind.DENIED, ErrorKind.IO):
                raise
    _copy_out(site, entry, kept)


def _make_parents(site: Site, kept: str) -> None:
    dirs = power(site.backup, MakesDirs)
    if dirs is None:
        return
    parts = kept.split("/")[:-1]
    for n in range(1, len(parts) + 1):
        parent = "/".join(parts[:n])
        try:
            dirs.make_directory(parent)
        except DunlinError as error:
            if error.kind is not ErrorKind.EXISTS:
                raise
            _make_room(site, parent, Kind.DIRECTORY)
            dirs.make_directory(parent)


def _make_room(site: Site, kept: str, kind: Kind) -> None:
    """What an earlier run kept gives way where only one of the two is a directory; else it is replaced or joined."""
    assert site.backup is not None
    try:
        old = site.backup.stat(kept).kind
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return
    if (old is Kind.DIRECTORY) is not (kind is Kind.DIRECTORY):
        if old is Kind.DIRECTORY:
            remove_tree(site.backup, kept, Outcome())
        else:
            site.backup.delete([kept])


def _move_tree(site: Site, path: str, kept: str) -> None:
    """Move a directory; where the backup has one of that name already, its entries one by one."""
    moves = power(site.target, Moves)
    assert moves is not None
    try:
        moves.move(path, kept)
    except DunlinError as error:
        if error.kind is not ErrorKind.EXISTS:
            raise
        for batch in site.target.list(path):
            for name, _ in batch:
                _keep(site, join(path, name), stay=False)
        remove_directory(site.target, path)


def _copy_out(site: Site, entry: Entry, kept: str) -> None:
    assert site.backup is not None
    _make_room(site, kept, entry.kind)
    meta = replace(site.options.meta(entry.facts), mode=entry.facts[MODE] & PERMISSION_BITS)
    if entry.kind is Kind.FILE:
        body = Body(entry.size, lambda start: site.target.read(entry, start))
        site.backup.write(kept, body, meta=meta)
    elif entry.kind is Kind.DIRECTORY:
        dirs = power(site.backup, MakesDirs)
        if dirs is not None:
            dirs.make_directory(kept)
        for batch in site.target.list(entry.path):
            for name, what in batch:
                _copy_out(site, Entry(join(entry.path, name), what), join(kept, name))
        remove_tree(site.target, entry.path, Outcome())
    elif entry.kind is Kind.LINK:
        links, there = power(site.target, MakesLinks), power(site.backup, MakesLinks)
        if links is not None and there is not None:
            there.make_link(kept, links.read_link(entry.path), meta)
    elif (there := power(site.backup, MakesLinks)) is not None:
        there.make_special(kept, entry.facts[MODE], entry.facts[RDEV], meta)


def contents(tree: Lists, path: str) -> Iterator[Entry]:
    """Everything below the directory `path`, each directory before what is in it; no link is followed."""
    stack = [path]
    while stack:
        here = stack.pop()
        for batch in tree.list(here):
            for name, what in batch:
                yield Entry(join(here, name), what)
                if what[MODE] & TYPE_BITS == DIRECTORY_BITS:
                    stack.append(join(here, name))


def not_empty(path: str) -> DunlinError:
    """The error for a directory that may not go."""
    reason = "a directory that is not empty stands where a file belongs"
    return DunlinError("replace", path, ErrorKind.EXISTS, reason, "--delete-extras lets it be removed")


def check_clear(site: Site, path: str) -> None:
    """Whether all that is in the directory `path`, which stands where a file belongs, may go if extras may.

    Raises EXISTS when nothing is to be deleted at all, or when something in it is protected by the filters.
    """
    if not site.options.clear:
        raise not_empty(path)
    selection = site.options.protected
    if selection is None:
        return
    for entry in contents(site.target, path):
        if not takes(selection, entry):
            reason = f"a directory stands where a file belongs, and the filters protect {printable(entry.path)}"
            raise DunlinError("replace", path, ErrorKind.EXISTS, reason, "remove it, or give another filter")


def still_blocked(path: str, why: str) -> DunlinError:
    """The error for a name where a directory still stands after the deletes, or since there were none."""
    reason = f"a directory that is not empty stands where it belongs, and {why}"
    return DunlinError("replace", path, ErrorKind.EXISTS, reason)


def takes(selection: Selection, entry: Entry) -> bool:
    """Whether the filters let an entry take part."""
    by_name = selection.explain(entry.path, entry.kind is Kind.DIRECTORY).takes_part
    return by_name and selection.takes(entry.facts)


class _Removable(Lists, RemovesDirectories, Protocol):
    """What `remove_tree` needs."""


def remove_tree(tree: _Removable, path: str, outcome: Outcome) -> None:
    """Remove `path` and all below it, children first, without recursion and without following links."""
    stack = [(path, False)]
    while stack:
        here, emptied = stack.pop()
        if emptied:
            outcome.counts["deleted_directories"] += remove_directory(tree, here)
            continue
        stack.append((here, True))
        files: list[str] = []
        for batch in tree.list(here):
            for name, what in batch:
                if what[MODE] & TYPE_BITS == DIRECTORY_BITS:
                    stack.append((join(here, name), False))
                else:
                    files.append(join(here, name))
        outcome.counts["deleted_files"] += sum(tree.delete(files))
