"""The outcome of every file, written where people asked for it: the audit log and the report file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from dunlin.errors import printable, translate
from dunlin.jobs.options import SyncOptions, Within
from dunlin.jobs.pair import PairOfStores
from dunlin.model import join
from dunlin.report import Event, Level, Report
from dunlin.state.audit import AuditLog, AuditOptions, AuditRow
from dunlin.state.location import own_files
from dunlin.state.slow import Slow, Slowest
from dunlin.state.within import At, directory_of, open_file
from dunlin.transfer.outcome import Outcome


class FileRecord:
    """Takes outcomes and writes a line per file to `--log-file` and `--report-file`."""

    def __init__(self, options: SyncOptions, pair: PairOfStores, run: int, report: Report) -> None:
        checksum = options.transfer.checksum
        self._checksum = None if checksum == "none" else checksum
        self._operation = 0
        self._names = report if options.log.names else None
        self.slowest = Slowest()
        self._log = None
        if options.log.file and options.mode == "sync":
            kept = AuditOptions(options.log.format, options.log.max_size, options.log.keep)
            at = _at(options.log.file, options.within, "log_file")
            self._log = AuditLog(options.log.file, kept, run, pair.source, pair.target, report, time.time_ns, at)
        self._report = None
        if options.log.report_file:
            at = _at(options.log.report_file, options.within, "report_file")
            try:
                self._report = open(  # noqa: SIM115  (closed in close)
                    options.log.report_file, "w", encoding="utf-8", errors="surrogateescape",
                    opener=lambda path, flags: open_file(path, flags, at),
                )  # fmt: skip
            except OSError as error:
                raise translate(error, "open the report file", options.log.report_file) from error

    def put(self, directory: str, outcome: Outcome) -> None:
        """Write what became of the files of one unit; units are numbered as in `workers.telling`."""
        self._operation += 1
        if outcome.seconds > self.slowest.floor:
            self.slowest.add(_slow(directory, outcome))
        if self._names is not None:
            for row in outcome.copied:
                path = join(directory, row[0])
                self._names.event(Event(Level.DEBUG, "file.copied", path, {"path": path, "size": row[1]}))
        if self._log is None and self._report is None:
            return
        rows = list(self._rows(directory, outcome))
        if self._log is not None and rows:
            self._log.write(rows, self._operation)
        if self._report is not None:
            for outcome_word, path, *_ in rows:
                self._report.write(f"{outcome_word}\t{_one_line(path)}\n")
            for _, name, _, fields in outcome.news:
                if name == "plan":
                    self._report.write(f"{fields['verb']}\t{_one_line(fields['path'])}\n")

    def _rows(self, directory: str, outcome: Outcome) -> Iterable[AuditRow]:
        each = outcome.seconds / max(1, len(outcome.copied))
        for row in outcome.copied:
            yield "copied", join(directory, row[0]), self._checksum, row[8], row[1], each, ""
        for name, _, message, _ in outcome.failed:
            path = join(directory, name) if name else directory
            yield "failed", path, None, None, None, None, message
        for name in outcome.vanished:
            yield "vanished", join(directory, name) if name else directory, None, None, None, None, ""
        for _, event, _, fields in outcome.news:
            if event == "file.deleted":
                yield "deleted", str(fields["path"]), None, None, None, None, ""
            elif event == "file.skipped":
                yield "skipped", str(fields["path"]), None, None, None, None, str(fields["reason"])
            elif event in ("file.created", "file.metadata"):
                yield event.partition(".")[2], str(fields["path"]), None, None, None, None, ""
        for _, is_new, row in outcome.joined:
            if is_new:
                yield "linked", join(directory, row[0]), self._checksum, row[8], row[1], None, ""

    def close(self) -> None:
        """Close both files."""
        if self._log is not None:
            self._log.close()
        if self._report is not None:
            self._report.close()


def _at(path: str, within: Within, name: str) -> At | None:
    """The directory that a file must lie in which the run writes; None: any."""
    return directory_of(path, within.roots or ()) if within.has(name) else None


def _slow(directory: str, outcome: Outcome) -> Slow:
    """A unit as `state.slow` knows it: by the file where it is one file, else by its directory."""
    copied = outcome.copied
    size = sum(row[1] for row in copied)
    one = len(copied) == 1 and not outcome.listed
    return Slow(outcome.seconds, len(copied), size, join(directory, copied[0][0]) if one else f"{directory}/")


def _one_line(path: str) -> str:
    return printable(path.replace("\\", "\\\\"))


def own_paths(options: SyncOptions, state: str | None) -> list[str]:
    """Absolute paths of the files that a run itself writes: never part of a tree."""
    paths = own_files(os.path.abspath(state)) if state else []
    if options.log.file:
        log = os.path.abspath(options.log.file)
        paths += [log, *(f"{log}.{n}" for n in range(1, options.log.keep + 1))]
    if options.log.report_file:
        paths.append(os.path.abspath(options.log.report_file))
    if options.log.profile:
        paths.append(os.path.abspath(options.log.profile))
    return sorted({*paths, *(os.path.realpath(path) for path in paths)})
