"""What became of files, as rows of the state."""

from __future__ import annotations

from dunlin.model import CHANGED, CTIME, GID, MODE, MTIME, SIZE, UID, Facts
from dunlin.state.codec import FileStatus
from dunlin.state.store import State
from dunlin.transfer.outcome import Copied, Outcome
from dunlin.workers.context import Rules
from dunlin.workers.tasks import Scan, Task


def as_row(name: str, facts: Facts) -> Copied:
    """The row of a file that is in sync with these facts of the source; its hash is not known here."""
    mtime = facts[MTIME] if facts[MTIME] != CHANGED else facts[CTIME]
    return (name, facts[SIZE], mtime, facts[CTIME], None, facts[MODE], facts[UID], facts[GID], None)


def wanted(rules: Rules, task: Task, deaths: int, outcome: Outcome) -> Outcome:
    """What of an outcome is to be put on record.

    Of a run whose state is thrown away at its end nobody asks again for files that are in sync; but where one was
    waiting on record, or may have been before a mover died, it has to be known that it does no more.
    """
    if rules.rows or not isinstance(task, Scan) or deaths or task.bookmark is not None:
        return outcome
    return Outcome(failed=outcome.failed, vanished=outcome.vanished, waiting=outcome.waiting)


def put_rows(
    state: State,
    run: int,
    directory: int,
    outcome: Outcome,
    checksum: str | None,
    *,
    waiting: bool = True,
    fresh: bool = False,
) -> None:
    """Put the files of one unit on record: copied, found in sync, waiting, failed.

    Args:
        directory: its id. checksum: the algorithm of the digests.
        waiting: waiting files get rows (see `docs/decisions/0003-waiting-files.md`).
        fresh: no file of the directory had a row before.
    """
    etags = outcome.etags
    if outcome.copied and etags:
        rows = [_file_row(row, FileStatus.SYNCED, checksum, etags.get(row[0])) for row in outcome.copied]
        state.put_files(run, directory, rows, fresh=fresh)
    elif outcome.copied:
        state.put_synced(run, directory, outcome.copied, checksum, fresh=fresh)
    if outcome.seen:
        rows = [_file_row(row, FileStatus.SYNCED, checksum, etags.get(row[0])) for row in outcome.seen]
        state.put_files(run, directory, rows, written=False)
    if outcome.waiting and waiting:
        rows = [_file_row(as_row(name, facts), FileStatus.PENDING) for name, facts, _, _ in outcome.waiting]
        state.put_files(run, directory, rows, written=False)
    failed = [
        (name, *(None,) * 11, int(FileStatus.FAILED), message, kind)
        for name, kind, message, _ in outcome.failed
        # What is listed, and was to lie further down, has no directory that it could be a file of.
        if name and "/" not in name
    ]
    if failed:
        state.put_files(run, directory, failed, written=False)
    if outcome.vanished:
        state.forget_missing(directory, [name for name in outcome.vanished if name])


def _file_row(
    row: Copied, status: FileStatus, algorithm: str | None = None, etag: str | None = None
) -> tuple[object, ...]:
    name, size, mtime, ctime, birth, mode, uid, gid, digest = row
    used = algorithm if digest is not None else None
    return (name, size, mtime, ctime, birth, mode, uid, gid, etag, None, used, digest, int(status), None, None)
