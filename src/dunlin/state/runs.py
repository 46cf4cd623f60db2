"""Pairs and runs: who synced what with what, when, and how it ended.

A run that was cut short is *continued*: the new run takes over its frontier (`begin_run` with
`continues`), so that pending files go first and only directories that were never listed are listed.

Power cuts
    "Synced" must not outlive the data. Whoever flushes the destination calls `set_durable` with a time
    taken before the flush: what was written earlier is safe. The first run of another boot marks the
    directories written since then as *doubtful* (`begin_run` does it, in one transaction, so that a run
    that dies early cannot lose the mark). A directory stays doubtful until it is finished as done.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dunlin.model import Stats
from dunlin.sqlite import Database
from dunlin.state.codec import RUN_STATUS, decode_name, encode_name


class Pair(NamedTuple):
    """A source with a destination. `changed`: other files are selected than in the last run, so the frontier is void.

    `durable_before`: ns; what was written to the destination earlier is on stable storage. `root`: identity of the
    source's file system, as given to `set_root`. `known_files`: files in the source when a run last completed.
    """

    id: int
    source: str
    destination: str
    selection: str
    changed: bool
    durable_before: int
    boot_id: str
    root: str | None
    known_files: int


class Life(NamedTuple):
    """How a run goes, beside its counts: what it says with every sign of life.

    Attributes:
        paused: nothing is moved until somebody resumes it.
        listed: the listing is over, so what is pending is all there will be.
        limit: bytes per second that it may move; 0: as many as it can.
        workers: files in flight at most. wanted: what they would be if the host had no say.
        cause: why it is slowed down ("cpu 91%", "memory"); "" when it is not.
        flying: bytes that are on their way and not counted yet.
        files, bytes: per second, over the last seconds.
        listed_at: when the listing was over, ns; 0: it goes on, or nobody has looked.
    """

    paused: bool = False
    listed: bool = False
    limit: int = 0
    workers: int = 0
    wanted: int = 0
    cause: str = ""
    flying: int = 0
    files: float = 0.0
    bytes: float = 0.0
    listed_at: int = 0


class Run(NamedTuple):
    """One execution. Times in ns; `status` is a word of `codec.RUN_STATUS`; `origin` the first run of its chain."""

    id: int
    pair: int
    started: int
    ended: int | None
    updated: int
    boot_id: str
    pid: int
    status: str
    message: str
    stats: Stats
    options: dict[str, Any]
    continued_from: int | None
    origin: int
    life: Life = Life()

    @property
    def seconds(self) -> float:
        """How long it took; of one that has not ended, until its last sign of life."""
        return max(0, (self.ended or self.updated) - self.started) / 1e9


class Unfinished(NamedTuple):
    """What the last run left: directories never listed, directories listed with files pending, those files."""

    run: int
    queued: int
    scanned: int
    pending_files: int
    pending_bytes: int

    @property
    def any(self) -> bool:
        """Whether there is anything to continue."""
        return self.queued > 0 or self.scanned > 0


class Runs:
    """Pairs and runs of one state file."""

    def __init__(self, database: Database, sql: dict[str, str], now: Callable[[], int]) -> None:
        self._database = database
        self._sql = sql
        self._now = now

    def pair(self, source: str, destination: str, selection_hash: str) -> Pair:
        """The pair of these canonical URLs (no query, no credentials); made when it is new.

        The stored selection changes only when a run begins, so that asking twice gives one answer.
        """
        with self._database.transaction():
            row = self._database.one(self._sql["pair_get"], (source, destination))
            if row is None:
                self._database.execute(self._sql["pair_insert"], (source, destination, selection_hash))
                row = self._database.one(self._sql["pair_get"], (source, destination))
        number, selection, durable, boot, root, known = row
        changed = selection != selection_hash
        return Pair(number, source, destination, selection_hash, changed, durable, boot, root, known)

    def pairs(self) -> list[tuple[int, str, str]]:
        """(id, source, destination) of every pair on record."""
        return [(number, source, target) for number, source, target, _ in self._database.query(self._sql["pair_all"])]

    def begin_run(
        self, pair: Pair, options: dict[str, Any], boot_id: str, pid: int, continues: int | None = None
    ) -> Run:
        """Write down that a run begins. The caller holds the pair's lock and gives options without secrets.

        A run of the pair that still says "running" is dead, for its lock was free: it becomes interrupted.
        With `continues` the new run takes over that run's frontier, and directories in doubt are queued again
        whatever became of them; without, deferred deletions and links of earlier runs are dropped.
        """
        database, sql = self._database, self._sql
        with database.transaction():
            database.execute(sql["run_dead"], (pair.id,))
            boot, durable = database.one(sql["pair_boot"], (pair.id,))
            if boot != boot_id:
                # directories nobody wrote to have written = 0
                database.execute(sql["doubt_mark"], (pair.id, max(durable, 1)))
            database.execute(sql["pair_began"], (pair.id, pair.selection, boot_id))
            now = self._now()
            text = json.dumps(options, default=str)
            database.execute(sql["run_insert"], (pair.id, now, boot_id, pid, text, continues))
            run = database.last_id()
            database.execute(sql["run_origin"], (run,))
            if continues is None:
                database.execute(sql["extra_clear"], (pair.id,))
                database.execute(sql["link_clear"], (pair.id,))
            else:
                self.adopt(continues, run)
                database.execute(sql["doubt_queue"], (pair.id, run))
        return self.run(run)

    def adopt(self, old: int, new: int) -> None:
        """Give the frontier of run `old` (directories queued, and those listed with files pending) to run `new`."""
        with self._database.transaction():
            self._database.execute(self._sql["directory_adopt_queued"], (old, new))
            self._database.execute(self._sql["directory_adopt_scanned"], (old, new))

    def update_run(self, run: int, stats: Stats, life: Life | None = None) -> None:
        """Show the counts so far, that the run lives, and how; without `life` that stays as it was said last."""
        said = None if life is None else json.dumps(life._asdict())
        self._database.execute(self._sql["run_update"], (run, _dump(stats), self._now(), said))

    def finish_run(self, run: int, status: str, stats: Stats, message: str = "") -> None:
        """Write down how a run ended: "completed", "failed" or "interrupted".

        A completed run also sets how many files the pair is known to have (over its chain of continued runs).
        """
        if status not in RUN_STATUS[1:]:
            raise ValueError(f"no such end of a run: {status}")
        database, sql = self._database, self._sql
        with database.transaction():
            database.execute(sql["run_finish"], (run, status, _dump(stats), message, self._now()))
            ended = self.run(run)
            if status == "completed" and not ended.options.get("retry"):
                known = database.value(sql["run_chain_files"], (ended.pair, ended.origin))
                database.execute(sql["pair_known"], (ended.pair, known))

    def run(self, number: int) -> Run:
        """The run of that number. Raises `KeyError`."""
        row = self._database.one(self._sql["run_get"], (number,))
        if row is None:
            raise KeyError(number)
        return to_run(row)

    def last_run(self, pair: int) -> Run | None:
        """The pair's latest run."""
        row = self._database.one(self._sql["run_last"], (pair,))
        return to_run(row) if row else None

    def newest_run(self) -> Run | None:
        """The latest run of all pairs."""
        row = self._database.one(self._sql["run_newest"])
        return to_run(row) if row else None

    def retries(self, pair: int, run: int) -> list[int]:
        """The later runs of the pair that tried again what failed in `run`."""
        rows = self._database.query(self._sql["run_retries"], (pair, run))
        return [number for number, tried in rows if run in json.loads(tried)]

    def last_success(self, pair: int) -> int | None:
        """When (ns) the pair's last run without any failure began, or the first one that it continued."""
        began: int | None = self._database.value(self._sql["run_began_clean"], (pair,))
        return began

    def running(self) -> list[Run]:
        """Runs that say they are running. Whether they live is for the caller to find out (pid, lock)."""
        return [to_run(row) for row in self._database.query(self._sql["run_live"])]

    def watched(self) -> list[Run]:
        """The last run of each pair, where it is over and was one of a watch (`watch` among its options).

        Whether the watch lives is for the caller to find out (pid). Retries are made beside it.
        """
        found = []
        for pair, *_ in self._database.query(self._sql["pair_all"]):
            rows = self._database.query(self._sql["run_last_whole"], (pair,))
            found += [run for run in map(to_run, rows) if run.status != "running" and run.options.get("watch")]
        return found

    def unfinished(self, pair: int) -> Unfinished | None:
        """What the pair's last run left to do; None when it completed, or there was none."""
        last = self.last_run(pair)
        if last is None or last.status == "completed" or last.options.get("retry"):
            return None  # what a retry was to do stays on record as failed
        value, sql = self._database.value, self._sql
        files, size = self._database.one(sql["pending_totals"], (last.id,))
        queued = value(sql["directory_count_queued"], (last.id,))
        scanned = value(sql["directory_count_scanned"], (last.id,))
        return Unfinished(last.id, queued, scanned, files, size)

    def tokens(self, pair: int, limit: int = 1000) -> frozenset[str]:
        """What named the temporary files of the pair's latest runs (`token` among their options)."""
        rows = self._database.query(self._sql["run_tokens"], (pair, limit))
        return frozenset(token for (token,) in rows if token)

    def moved_bytes(self, pair: int) -> int:
        """Bytes that all runs of the pair have moved so far."""
        return int(self._database.value(self._sql["run_moved"], (pair,)))

    def set_root(self, pair: int, root: str) -> None:
        """Remember the identity of the source's file system, to notice when another one is mounted there."""
        self._database.execute(self._sql["pair_root"], (pair, root))

    def set_durable(self, pair: int, time: int) -> None:
        """Everything written before `time` (ns, from `State.now` before the flush began) is on stable storage."""
        self._database.execute(self._sql["pair_durable"], (pair, time))

    def suspects(self, pair: int, after: int = 0, limit: int = 1000) -> list[tuple[int, str]]:
        """(id, path) of directories written before the last reboot and not known to have survived it, by id.

        A page at a time: give the last id as `after`. Empty for a pair that a flush covers.
        """
        rows = self._database.query(self._sql["doubt_page"], (pair, after, limit))
        return [(number, decode_name(path)) for number, path in rows]

    def suspect_files(self, directory_id: int) -> Iterator[str]:
        """The synced files of a suspect directory whose content must be looked at again."""
        after: str | bytes = ""
        while True:
            rows = self._database.query(self._sql["doubt_files"], (directory_id, after, 1000))
            for (name,) in rows:
                yield decode_name(name)
            if len(rows) < 1000:
                return
            after = rows[-1][0]

    def set_token(self, pair: int, prefix: str, token: str | None, total: int) -> None:
        """Where a flat listing of `prefix` may be taken up again, and how many names it has given."""
        self._database.execute(self._sql["token_put"], (pair, encode_name(prefix), token, self._now(), total))

    def checked(self, pair: int, total: int) -> None:
        """All of a far source has been looked at now, and holds so many files: the pair's row of the checkpoints.

        A place where its listing may be taken up again stays.
        """
        with self._database.transaction():
            self._database.execute(self._sql["checked_put"], (pair, encode_name(""), self._now(), total))
            self._database.execute(self._sql["checked_drop"], (pair, encode_name("")))

    def set_bookmark(self, pair: int, directory: str, mark: tuple[str, bytes]) -> None:
        """Where the listing of a directory may be taken up again: a token, and the key up to which all is on record."""
        token, last = mark
        text = json.dumps([token, last.hex()])
        self._database.execute(self._sql["bookmark_put"], (pair, encode_name(directory), text, self._now()))

    def bookmark(self, pair: int, directory: str) -> tuple[str, bytes] | None:
        """What `set_bookmark` left, None when the listing was not cut short."""
        found = self.token(pair, directory)
        if found is None or found[0] is None:
            return None
        token, last = json.loads(found[0])
        return token, bytes.fromhex(last)

    def clear_bookmarks(self, pair: int) -> None:
        """Forget all of them: every directory is listed from its beginning."""
        self._database.execute(self._sql["bookmark_clear"], (pair,))

    def token(self, pair: int, prefix: str) -> tuple[str | None, int, int] | None:
        """(token, time in ns, total) as `set_token` left it."""
        row = self._database.one(self._sql["token_get"], (pair, encode_name(prefix)))
        return tuple(row) if row else None


def _dump(stats: Stats) -> str:
    return json.dumps({name: value for name, value in dataclasses.asdict(stats).items() if value})


_STATS = frozenset(field.name for field in dataclasses.fields(Stats))


def to_run(row: tuple[Any, ...]) -> Run:
    """A `Run` from a row of the run_* statements."""
    counts = {name: value for name, value in json.loads(row[9]).items() if name in _STATS}
    said = json.loads(row[13]) if row[13] else {}
    life = Life(**{name: value for name, value in said.items() if name in Life._fields})
    return Run._make((*row[:9], Stats(**counts), json.loads(row[10]), *row[11:13], life))
