"""After the transfers: hard links are joined, then extras deleted, then directories dressed again.

Deleting is what a mirror may get wrong only once, so everything speaks against it until shown otherwise:

* any error at the source in this run, or in the run that it continues, disables every delete;
* so does a source root that is empty although state or destination are not, and one that lies on
  another file system than at the last run (an unmounted share lists cleanly, as empty or as whatever
  lies beneath);
* more extras than `max_delete` delete nothing at all;
* each name, or the topmost absent directory above it, is looked at once more at the source.

What lies in a directory that stands where the source has a file is an extra like any other. Such files
come after the deletes; where nothing may be deleted they fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from dunlin.model import Stats, join
from dunlin.state.codec import FileStatus
from dunlin.transfer import keep
from dunlin.transfer.outcome import Outcome
from dunlin.workers.coordinator import Coordinator
from dunlin.workers.tasks import Delete, Finish, Join, Unblock

AT_LEAST = 100
"""Deletes that the default of `max_delete` always allows."""

_PAGE = 1_000

MOST_TOUCHED = 10_000
"""Directories that wait to be dressed again: with more of them those are dressed at once, some perhaps twice."""


def join_links(crew: Coordinator) -> None:
    """Make the remembered names of each inode names of one inode at the destination; `check` only compares them."""
    for group in crew.state.link_groups(crew.pair):
        if crew.stopping:
            return
        crew.submit(Join(group.first, tuple(group.others), _has_failed(crew, group.first)), 0)
        for path in (group.first, *group.others):
            crew.touched.add(path.rpartition("/")[0])
        keep_pace(crew)
        _dress_many(crew)
    crew.drain()


def _has_failed(crew: Coordinator, path: str) -> bool:
    """Whether the file at `path` is on record as one that did not reach the destination."""
    if not (crew.stats.failed_files or crew.backlog.resumed):
        return False  # neither in this run nor in one that it continues: nothing to be looked up for each group
    directory, _, name = path.rpartition("/")
    known = crew.state.digests(crew.pair, [directory]).get(directory)
    row = crew.state.known_names(known.id, [name]).get(name) if known is not None else None
    return row is not None and row.status in (FileStatus.FAILED, FileStatus.PENDING)


def delete_refusal(stats: Stats, root_empty: bool, root_changed: bool, known_files: int) -> str:
    """Why nothing may be deleted in this run, or ""."""
    if stats.source_errors:
        return f"{stats.source_errors} errors while reading the source: what was not read only looks deleted"
    if root_empty and (known_files or stats.extra_files or stats.extra_directories):
        return "the source is empty although files are known of it: is it mounted?"
    if root_changed:
        return "the source lies on another file system than at the last run; --accept-source says that this is right"
    return ""


def delete_limit(max_delete: int | None, known_files: int) -> int:
    """How many files may be deleted: as asked, else a quarter of the known files, at least `AT_LEAST`."""
    return max_delete if max_delete is not None else max(AT_LEAST, known_files // 4)


def delete_extras(crew: Coordinator) -> None:
    """Delete what the scan put on record as extras, children before their parents."""
    after: str | None = None
    while not crew.stopping:
        page = crew.state.extras(crew.pair, _PAGE, after)
        if not page:
            break
        after = page[-1].path
        # One unit per directory, and a page is through before the next begins: parents wait for children.
        for directory, group in groupby(page, key=lambda extra: extra.path.rpartition("/")[0]):
            extras = list(group)
            names = tuple((extra.path.rpartition("/")[2], extra.is_directory) for extra in extras)
            if any(is_directory for _, is_directory in names):
                crew.drain()
            absent = not extras[0].top
            crew.submit(Delete(directory, names, absent), 0)
            if not absent:
                crew.touched.add(directory)
            keep_pace(crew)
        crew.drain()
        _dress_many(crew)
    crew.drain()


def place_blocked(crew: Coordinator) -> None:
    """Bring the names in sync where directories stood that are deleted now."""
    for directory, names in _blocked(crew):
        if crew.stopping:
            return
        known = crew.state.digests(crew.pair, [directory]).get(directory)
        crew.submit(Unblock(directory, names), known.id if known is not None else 0)
        crew.touched.add(directory)
        keep_pace(crew)
        _dress_many(crew)
    crew.drain()
    crew.crawl()


def leave_blocked(crew: Coordinator, why: str) -> None:
    """Let the names fail where directories stand that may not be deleted."""
    for directory, names in _blocked(crew):
        outcome = Outcome()
        for name in names:
            outcome.fail(name, keep.still_blocked(join(directory, name), why))
        crew.add(outcome, directory, rows=True)


def _blocked(crew: Coordinator) -> Iterator[tuple[str, tuple[str, ...]]]:
    after: str | None = None
    while page := crew.state.blocked(crew.pair, _PAGE, after):
        after = page[-1]
        for directory, paths in groupby(page, key=lambda path: path.rpartition("/")[0]):
            yield directory, tuple(path.rpartition("/")[2] for path in paths)


def _dress_many(crew: Coordinator) -> None:
    """Memory must not grow with the tree: do not wait for the end with too many directories."""
    if len(crew.touched) >= MOST_TOUCHED:
        crew.drain()
        dress_touched(crew)


def dress_touched(crew: Coordinator) -> None:
    """Links and deletes changed the times of their directories: set them again."""
    for directory in sorted(crew.touched):
        if crew.stopping:
            break
        crew.submit(Finish(directory), 0)
        keep_pace(crew)
    crew.touched.clear()
    crew.drain()


def keep_pace(crew: Coordinator) -> None:
    """Take in outcomes until there is room for another unit."""
    while crew.pool.started and crew.room() <= 0 and crew.flights:
        crew.collect()
