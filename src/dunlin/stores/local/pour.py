"""Small files whose content is at hand, written into one directory, one after the other: the second half of `batch`.

Where they come from a repository, their content is in memory and their facts are known, so nothing is opened, looked
at or read: a file costs five system calls (create, write, times, close, rename), four where the directory appears as a
whole (`stage`). The promises are those of `batch.copy_batch`, and what is left out there is left out here: modes and
owners that a new file has anyway are not set. A file with extended attributes, and any file where the directory would
hand down an access control list of its own, gets its metadata by `meta.apply`, which knows the order.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import ATIME, CTIME, GID, MODE, MTIME, NLINK, PERMISSION_BITS, SIZE, UID, Facts, Row
from dunlin.stores.base import Contents, Gathered, MakesMeta
from dunlin.stores.local import quick
from dunlin.stores.local.batch import CREATE, BatchOptions, BatchResult, Bucket, Worker, _Copy
from dunlin.stores.local.meta import Refusals, apply, by_descriptor


def write_batch(
    target_fd: int,
    rows: Sequence[Row],
    contents: Contents,
    meta: MakesMeta,
    options: BatchOptions,
    bucket: Bucket,
    worker: Worker,
    refusals: Refusals,
    where: str = "",
    hidden: bool = False,
) -> BatchResult:
    """Write the regular files `rows` into an open directory.

    Args:
        target_fd: descriptor of the directory.
        rows: names with their facts.
        contents: what they hold.
        meta: what a file with these facts and extended attributes gets.
        bucket: asked for the bytes of each file before they are written; its `stopped` ends the batch.
        worker: this thread's counter of temporary names.
        where: the directory's path, for messages.
        hidden: nobody can see it yet (`stage`): files may be written under their final names.

    Files that are to keep what stands there of mode or owner are left to others, in `large`. Raises nothing: what
    ends the run stands in `fatal`.
    """
    result = BatchResult()
    pour = _Pour(target_fd, meta, options, bucket, worker, result, where, refusals, hidden)
    perms = options.perms
    plain = [
        row
        for row in rows
        if (facts := row[1]) is not None
        and facts[UID] is not None
        and facts[MTIME] is not None
        and (perms or row[2] is None)
    ]
    if len(plain) < len(rows):
        names = {row[0] for row in plain}
        result.large = [row for row in rows if row[0] not in names]
    one, done = pour.writer(), 0
    try:
        for row, each in zip(plain, contents(plain), strict=True):
            if bucket.stopped:
                break
            try:
                if each.error is not None:
                    raise each.error
                one(row, each)
            except DunlinError as error:
                if error.fatal:
                    result.fatal = error
                    break
                if error.kind is ErrorKind.VANISHED:
                    result.vanished.append(row[0])
                else:
                    result.failed.append((row[0], error, 1))
            done += 1
    except DunlinError as error:
        # The contents as a whole cannot be had.
        if error.fatal:
            result.fatal = error
        else:
            result.failed += [(row[0], error, 1) for row in plain[done:]]
            done = len(plain)
    result.rest = plain[done:]
    return result


class _Pour:
    """One batch: everything the loop needs, looked up once."""

    def __init__(
        self, target_fd: int, meta: MakesMeta, options: BatchOptions, bucket: Bucket, worker: Worker,
        result: BatchResult, where: str, refusals: Refusals, hidden: bool,
    ) -> None:  # fmt: skip
        self._fd, self._meta, self._options, self._bucket, self._worker = target_fd, meta, options, bucket, worker
        self._refusals, self._where, self._hidden = refusals, where, hidden
        self._copy = _Copy(-1, target_fd, options, bucket, worker, result, ("", where))
        self._closely = self._copy.umask == 0o7777
        self._bits = PERMISSION_BITS if options.perms else 0o777
        self._set = self._copy.umask | 0o7000 if options.perms else 0

    def writer(self) -> Callable[[Row, Gathered], None]:
        """The function that writes one file. All calls of our own are unfolded in it: they were a third of its time."""
        options, copy, worker, hidden, meta = self._options, self._copy, self._worker, self._hidden, self._meta
        fd, bits, to_set, closely, where = self._fd, self._bits, self._set, self._closely, self._where
        may_own, own_uid, own_gid = copy.may_own, copy.uid, copy.gid
        prefix, take, one_shot, commit = copy.prefix, self._bucket.take, options.one_shot, options.commit
        os_open, os_write, os_utime, os_close, os_rename = os.open, os.write, os.utime, os.close, os.rename
        append, fsync = copy.result.rows.append, options.fsync

        def dress(out: int, facts: Facts, xattrs: dict[str, bytes] | None, name: str) -> None:
            if xattrs or closely:
                apply(by_descriptor(out), meta(facts, xattrs), self._refusals, f"{where}/{name}")
            else:
                copy._dress(out, facts[MODE] & bits, looked(facts))

        def one(row: Row, content: Gathered) -> None:
            name, facts, _ = row
            assert facts is not None
            data, xattrs, _ = content
            mode, _, mtime, uid, gid, ctime, _, _, _, atime, *_ = facts
            size = len(data)
            take(size)
            digest = one_shot(data) if one_shot else None
            if hidden:
                temp = name
            else:
                worker.number += 1
                temp = f"{prefix}{worker.number}.tmp"
            try:
                out = os_open(temp, CREATE, mode & bits, dir_fd=fd)
            except OSError as error:
                raise self._refused(error, name) from error
            try:
                try:
                    if size and os_write(out, data) != size:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if xattrs or closely or mode & to_set or (may_own and (uid != own_uid or gid != own_gid)):
                        dress(out, facts, xattrs, name)
                    else:
                        try:
                            os_utime(out, ns=(atime, mtime))
                        except (OSError, OverflowError):
                            dress(out, facts, xattrs, name)
                    if fsync:
                        os.fsync(out)
                finally:
                    os_close(out)
                if not hidden:
                    if commit is not None:
                        commit()
                    os_rename(temp, name, src_dir_fd=fd, dst_dir_fd=fd)
            except BaseException as error:
                quick.unlink_quietly(temp, fd)
                if isinstance(error, OSError):
                    raise copy._failed("write", name, error) from error
                raise
            append((name, size, mtime, ctime, None, mode, uid, gid, digest))

        return one

    def _refused(self, error: OSError, name: str) -> DunlinError:
        """Why a file could not be made."""
        if not (isinstance(error, FileExistsError) and self._hidden):
            return self._copy._failed("create", name, error)
        reason = "the destination holds it and another name as one name"
        return DunlinError("create", f"{self._where}/{name}", ErrorKind.CLASH, reason)


def looked(facts: Facts) -> tuple[Any, ...]:
    """Facts in the order of `quick.Looked`."""
    return (
        facts[MODE], facts[SIZE], facts[MTIME], facts[CTIME], None, facts[UID], facts[GID], facts[NLINK], facts[ATIME]
    )  # fmt: skip
