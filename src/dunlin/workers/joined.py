"""The rows of names that were joined: units at the end of a run name paths of many directories."""

from __future__ import annotations

from dunlin.model import FILE_BITS, TYPE_BITS
from dunlin.state.codec import FileStatus
from dunlin.state.store import State
from dunlin.transfer.outcome import Copied, Outcome
from dunlin.workers.rows import put_rows


def put_joined(state: State, pair: int, run: int, outcome: Outcome, checksum: str | None) -> None:
    """Put what a `Join` brought on record, directory by directory.

    Args:
        outcome: its names are paths; the digests that are on record for the files that names were joined to are
            put into its `joined`.
        checksum: the algorithm of the digests of what was copied.
    """
    paths = [row[0] for row in (*outcome.copied, *outcome.seen)] + [path for path, *_ in outcome.failed]
    paths += [*outcome.vanished, *(row[0] for _, _, row in outcome.joined), *(path for path, *_ in outcome.joined)]
    parents = sorted({path.rpartition("/")[0] for path in paths if path})
    ids = {path: known.id for path, known in state.digests(pair, parents).items()}
    for directory, number in ids.items():
        # One after the other: there are few such directories, and few names that were not simply joined.
        part = Outcome(
            copied=[_named(row) for row in outcome.copied if _in(directory, row[0])],
            seen=[_named(row) for row in outcome.seen if _in(directory, row[0])],
            failed=[(_name(path), *rest) for path, *rest in outcome.failed if _in(directory, path)],  # type: ignore[misc]
            vanished=[_name(path) for path in outcome.vanished if _in(directory, path)],
        )
        if part.copied or part.seen or part.failed or part.vanished:
            put_rows(state, run, number, part, checksum)
    _put(state, run, ids, outcome, checksum)


def _put(state: State, run: int, ids: dict[str, int], outcome: Outcome, checksum: str | None) -> None:
    found: dict[str, tuple[str | None, bytes | None]] = {}
    rows: dict[tuple[str, bool], list[tuple[object, ...]]] = {}
    for number, (first, is_new, row) in enumerate(outcome.joined):
        directory = row[0].rpartition("/")[0]
        if row[5] & TYPE_BITS != FILE_BITS or directory not in ids:
            continue  # links and special files have no rows
        if first not in found:
            found[first] = _digest(state, ids, first)
        algorithm, digest = found[first]
        outcome.joined[number] = (first, is_new, (*row[:8], digest if algorithm == checksum else None))
        synced = int(FileStatus.SYNCED)
        rows.setdefault((directory, is_new), []).append(
            (_name(row[0]), *row[1:8], None, None, algorithm if digest else None, digest, synced, None, None)
        )
    for (directory, is_new), files in rows.items():
        state.put_files(run, ids[directory], files, written=is_new)


def _digest(state: State, ids: dict[str, int], path: str) -> tuple[str | None, bytes | None]:
    directory, _, name = path.rpartition("/")
    known = state.known_names(ids[directory], [name]).get(name) if directory in ids else None
    return (known.hash_algorithm, known.hash) if known is not None else (None, None)


def _in(directory: str, path: str) -> bool:
    return bool(path) and path.rpartition("/")[0] == directory


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _named(row: Copied) -> Copied:
    return (_name(row[0]), *row[1:])
