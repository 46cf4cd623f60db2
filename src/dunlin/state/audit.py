"""The audit log: one line per name that was not in sync, whatever became of it (``--log-file``).

    text   time=2026-01-31T12:00:00.000000Z run=7 op=3 outcome=copied source="/a/x" destination="/b/x"
           hash=blake3:9f… size=4096 seconds=0.001 error=""          (on one line)
    json   {"time":"…","run":7,"op":3,"outcome":"copied","source":"/a/x",…}

Strings are quoted as in JSON (RFC 8259) in both formats, so that no name can break a line or forge a
field; whatever a terminal could act upon is escaped, bytes that are not UTF-8 appear as ``\\udcXX``.

A batch is one `write` to a descriptor opened for appending: lines of several processes do not mix, and
what was written survives a killed process. A full disk does not stop a run: the lines are counted as lost, a
warning is given once, and writing is tried again with the next batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import NamedTuple

from dunlin.errors import DunlinError, translate
from dunlin.report import Event, Level, Report
from dunlin.state.within import At, open_file

AuditRow = tuple[str, str, str | None, bytes | None, int | None, float | None, str]
"""outcome (copied, created, linked, metadata, deleted, skipped, vanished, failed), path below both roots, hash
algorithm, hash, bytes, seconds, error or ""."""


class AuditOptions(NamedTuple):
    """How the log is kept. `format`: "text" or "json". `max_bytes`: rotate above that size, 0 never.

    `keep`: how many rotated files stay (``log.1`` is the newest).
    """

    format: str = "text"
    max_bytes: int = 0
    keep: int = 5


class AuditLog:
    """Appends to one file; opened again when something else has moved or removed the file."""

    def __init__(
        self,
        path: str,
        options: AuditOptions,
        run: int,
        source: str,
        destination: str,
        report: Report,
        clock: Callable[[], int] = time.time_ns,
        at: At | None = None,
    ) -> None:
        """Open `path` for appending.

        Args:
            run: the run's number, on every line.
            source, destination: roots as they are to be shown, without credentials; paths are appended.
            clock: gives ns since 1970.
            at: the directory that it must lie in (`state.within`); None: any.

        Raises `DunlinError` when the file cannot be opened: a run that cannot be audited does not start.
        """
        if options.format not in ("text", "json"):
            raise ValueError(f"no such format: {options.format}")
        self.path = path
        self._at = at
        self._name = path if at is None else os.path.basename(path)
        self.lost = 0
        self._options = options
        self._run = run
        self._source = _root(source)
        self._destination = _root(destination)
        self._report = report
        self._clock = clock
        self._descriptor = -1
        self._size = 0
        self._torn = False
        try:
            self._open()
        except OSError as error:
            raise translate(error, "open the audit log", path) from error

    def write(self, rows: Sequence[AuditRow], operation: int = 0) -> None:
        """Append a line per row, all stamped with the time of this call. Never raises for the log's sake."""
        if not rows:
            return
        lines = self._json(rows, operation) if self._options.format == "json" else self._text(rows, operation)
        # names that are not UTF-8 are already escaped
        data = "\n".join(lines).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._ready(len(data))
            self._append(data)
        except (OSError, DunlinError) as error:
            if not self.lost:
                reason = error if isinstance(error, DunlinError) else translate(error, "write the audit log", self.path)
                self._report.event(Event(Level.WARN, "audit.lost", str(reason), {"path": self.path}))
            self.lost += len(rows)

    def close(self) -> None:
        """Close the file and tell how many lines were lost, if any. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self.lost:
                message = f"{self.lost} lines of the audit log were lost"
                self._report.event(Event(Level.WARN, "audit.closed", message, {"path": self.path, "lost": self.lost}))

    def _text(self, rows: Sequence[AuditRow], operation: int) -> list[str]:
        front = f"time={_stamp(self._clock())} run={self._run} op={operation} outcome="
        source, destination = self._source, self._destination
        lines = []
        for outcome, path, algorithm, digest, size, seconds, error in rows:
            quoted = _quote(path)[1:]
            shown = f"{algorithm}:{digest.hex()}" if digest else ""
            lines.append(
                f'{front}{outcome} source="{source}{quoted} destination="{destination}{quoted} hash={shown} '
                f"size={'' if size is None else size} seconds={'' if seconds is None else f'{seconds:.3f}'} "
                f"error={_quote(error) if error else _EMPTY}"
            )
        return lines

    def _json(self, rows: Sequence[AuditRow], operation: int) -> list[str]:
        front = f'{{"time":"{_stamp(self._clock())}","run":{self._run},"op":{operation},"outcome":"'
        source, destination = self._source, self._destination
        lines = []
        for outcome, path, algorithm, digest, size, seconds, error in rows:
            quoted = _quote(path)[1:]
            shown = f'"{algorithm}:{digest.hex()}"' if digest else "null"
            lines.append(
                f'{front}{outcome}","source":"{source}{quoted},"destination":"{destination}{quoted},"hash":{shown},'
                f'"size":{"null" if size is None else size},'
                f'"seconds":{"null" if seconds is None else f"{seconds:.3f}"},'
                f'"error":{_quote(error) if error else _EMPTY}}}'
            )
        return lines

    def _open(self) -> None:
        self._descriptor = open_file(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, self._at)
        self._size = os.fstat(self._descriptor).st_size

    def _ready(self, coming: int) -> None:
        """Follow a file that was moved away, and rotate one that would grow too big."""
        if self._descriptor < 0:
            self._open()
        try:
            with self._at() if self._at is not None else nullcontext() as directory:
                there = os.stat(self._name, dir_fd=directory, follow_symlinks=self._at is None)
            here = os.fstat(self._descriptor)
            same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
            self._size = here.st_size
        except FileNotFoundError:
            same = False
        limit = self._options.max_bytes
        full = same and bool(limit) and self._size > 0 and self._size + coming > limit
        if full:
            with suppress(OSError):  # a log that is too big is better than lines that are lost
                self._rotate()
        if full or not same:
            os.close(self._descriptor)
            self._descriptor = -1
            self._open()

    def _rotate(self) -> None:
        with self._at() if self._at is not None else nullcontext() as directory:
            if self._options.keep < 1:
                os.unlink(self._name, dir_fd=directory)
                return
            for number in range(self._options.keep - 1, 0, -1):
                before, after = f"{self._name}.{number}", f"{self._name}.{number + 1}"
                with suppress(FileNotFoundError):
                    os.replace(before, after, src_dir_fd=directory, dst_dir_fd=directory)
            os.replace(self._name, f"{self._name}.1", src_dir_fd=directory, dst_dir_fd=directory)

    def _append(self, data: bytes) -> None:
        if self._torn:  # end the line that a full disk cut
            data = b"\n" + data
        view = memoryview(data)
        while view:
            try:
                done = os.write(self._descriptor, view)
            except OSError:
                self._torn = self._torn or len(view) < len(data)
                raise
            view = view[done:]
        self._torn = False


_EMPTY = '""'


def _root(root: str) -> str:
    """A root ready to have a quoted path appended: escaped, without the quotes, with a slash."""
    return str(_quote(root if root.endswith("/") else root + "/"))[1:-1]


def _quote(text: str) -> str:
    """`text` as a JSON string; readable where it is printable, escaped to ASCII where it is not."""
    return str(encode_basestring(text) if text.isprintable() else encode_basestring_ascii(text))


def _stamp(now: int) -> str:
    seconds, rest = divmod(now, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"
