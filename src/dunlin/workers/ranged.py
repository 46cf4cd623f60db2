"""Huge files in ranges: one unit of the coordinator becomes many, which any number of workers do at the same time.

Theory. A `Move` of one huge file is one worker's for hours, while the others have nothing left to do. So whoever takes
units is wrapped: such a unit does not go out as it is, but as a `Begin`, then as many `Bring`s as the file has ranges,
and, when all of them have come back, as a `Complete`; what became of the file is told to the coordinator as that of
its one unit. The coordinator knows nothing of it, nor does the queue.

* *What is lost is done again by itself*: a worker that dies costs the ranges that it had, and no other. Over one range
  `DEATHS` of them may die.
* *A file that changes* meanwhile, or whose temporary file somebody removed, is begun anew, as often as any file is
  tried; ranges of the version before find nothing any more to write into.
* *A file whose versions are each machine's own* is not shared: on mounts that give every client inode numbers of its
  own (sshfs, CIFS with `noserverino`, most of FUSE) what one worker began has changed for another. So a file that had
  one size and one time at two beginnings, and is told to have changed all the same, goes to one worker as a whole; when
  that was so of `UNSHARED` files one after the other, all that follow do.
* *A file that is given up* is thrown away here, by the process that coordinates, when its last range has come back:
  it also does that when the run is stopped and no worker takes units any more. Uploads stay where it makes sense to go
  on with them (`drop` decides). What a killed coordinator leaves behind is found by the next run like any
  temporary file; the file is begun anew then (a continued upload sends no part twice).
* *Half of the room* that there is for units goes to ranges while some wait, so that neither they nor the listing of the
  tree stand still.

Only a file that waits by itself is cut; a name that is tried again by `retry`, or made where a directory stood, is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MTIME, SIZE, Action, Facts, Kind, facts, join
from dunlin.pace.window import WindowLimits
from dunlin.report import Event, Level, Report
from dunlin.stores.base import Begun
from dunlin.transfer.outcome import Outcome, Range
from dunlin.transfer.ranges import Span, spans
from dunlin.workers import tasks
from dunlin.workers.doers import Arrival, Doers
from dunlin.workers.tasks import Begin, Bring, Complete, Move

DEATHS = 3
"""Workers that may die over one step of a file before the file counts as failed."""

OWN = 1 << 40
"""Units of the coordinator have smaller numbers than those made here; so have workers than the files shown as such."""

AGAIN = frozenset({ErrorKind.CHANGED, ErrorKind.CHECKSUM, ErrorKind.NOT_FOUND})
"""Kinds of errors after which a file is begun anew."""

UNSHARED = 2
"""Files that workers could not share, after which no other is tried."""

Drop = Callable[[str, Begun, ErrorKind], None]
"""(path, what was begun, why it is given up) throws it away, unless it makes sense to go on with it another time."""


@dataclass(slots=True, eq=False, repr=False)
class _File:
    """A file that is copied in ranges.

    Attributes:
        unit: the coordinator's number of it. packed: the unit as it came. move: the same.
        attempt: how often it was begun. token: of the temporary file; gone: those of attempts to begin that were lost.
        facts, begun: its version, and what was begun of it; None: nothing yet. before: the version begun before it.
        todo: ranges that were not given out. out: steps that are. came: ranges that were brought, by their beginning.
        failed: of the step that failed first. outcome: what is told of the file in the end; over: that is known.
    """

    unit: int
    packed: tuple[Any, ...]
    move: Move
    attempt: int = 1
    token: str = ""
    gone: tuple[str, ...] = ()
    facts: Facts = ()
    begun: Begun | None = None
    before: Facts = ()
    todo: deque[Span] = field(default_factory=deque)
    out: int = 0
    came: dict[int, Range] = field(default_factory=dict)
    failed: Outcome | None = None
    outcome: Outcome = field(default_factory=Outcome)
    over: bool = False

    @property
    def path(self) -> str:
        return join(self.move.directory, self.name)

    @property
    def name(self) -> str:
        return self.move.turns[0][0]

    @property
    def size(self) -> int:
        return self.move.turns[0][1]

    @property
    def exists(self) -> bool:
        return self.move.turns[0][3]


@dataclass(slots=True, eq=False, repr=False)
class _Step:
    """A unit that went out for a file. `deaths`: of workers that had it."""

    file: _File
    task: Begin | Bring | Complete
    deaths: int = 0


class Ranged:
    """See `doers.Doers`; what is not of a huge file goes to `pool` as it is.

    Args:
        pool: takes the units.
        run: 8 hexadecimal digits, for the names of temporary files.
        above: bytes of a file from which on it is cut; 0: none is.
        attempts: how often a file is begun that changes while it is read.
        drop: throws away what was begun.
        report: gets warnings.
    """

    def __init__(self, pool: Doers, run: str, above: int, attempts: int, drop: Drop, report: Report) -> None:
        self._pool = pool
        self._run = run
        self._above = above
        self._attempts = attempts
        self._drop = drop
        self._report = report
        self._files: dict[int, _File] = {}
        self._steps: dict[int, _Step] = {}
        self._next = OWN
        self._theirs: set[int] = set()
        self._stopping = False
        self._unshared = 0
        self.threads = pool.threads
        self.batch = pool.batch
        self.page = pool.page
        self.parts = pool.parts

    # ---- what the coordinator asks ----

    @property
    def started(self) -> bool:
        return self._pool.started

    @property
    def size(self) -> int:
        return self._pool.size

    @property
    def room(self) -> int:
        """What the pool has, less what ranges that wait may claim: half of all."""
        room = self._pool.room
        waiting = sum(len(file.todo) for file in self._files.values())
        if not waiting:
            return room
        half = (room + len(self._theirs) + len(self._steps)) // 2
        claimed = min(waiting, max(1, half) - len(self._steps))
        return room - max(0, claimed)

    @property
    def busy(self) -> bool:
        return self._pool.busy or bool(self._files)

    @property
    def wanted(self) -> int:
        return self._pool.wanted

    @property
    def in_flight(self) -> int:
        return self._pool.in_flight

    @property
    def pids(self) -> list[int]:
        return self._pool.pids

    @property
    def numbers(self) -> list[int]:
        return self._pool.numbers

    def start(self) -> None:
        self._pool.start()

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        """Take a unit: a huge file begins, anything else goes on."""
        move = self._huge(packed)
        if move is None:
            self._theirs.add(unit)
            self._pool.submit(unit, packed, announce)
            return
        file = self._files[unit] = _File(unit, packed, move)
        self._begin(file)

    def tell(self, *message: object) -> None:
        if message[0] == "cancel":
            self._stopping = True
        self._pool.tell(*message)

    def poll(self, timeout: float) -> list[Arrival]:
        """What has come of the coordinator's own units."""
        self._feed()
        arrivals: list[Arrival] = []
        for arrival in self._pool.poll(timeout):
            step = self._steps.pop(arrival.unit, None) if arrival.kind in _OF_UNITS else None
            if step is not None:
                self._came(step, arrival)
                arrivals += _shown(step.file)
                continue
            if arrival.kind != "part" and arrival.kind in _OF_UNITS:
                self._theirs.discard(arrival.unit)
            arrivals.append(arrival)
        self.threads = self._pool.threads
        for file in list(self._files.values()):
            arrivals += self._settle(file)
        return arrivals

    def settled(self) -> None:
        self._pool.settled()

    def learn(self, seconds: float) -> None:
        self._pool.learn(seconds)

    def grow(self, threads: int) -> None:
        self._pool.grow(threads)

    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None:
        self._pool.limit(workers, share, hold)

    def window(self, limits: WindowLimits) -> None:
        self._pool.window(limits)

    def close(self) -> None:
        self._pool.close()

    # ---- steps ----

    def _huge(self, packed: tuple[Any, ...]) -> Move | None:
        if not self._above or self._stopping or packed[0] != Move.__name__:
            return None
        move = Move(*packed[1:])
        (_, size, action, _), *others = move.turns
        return move if size >= self._above and action == Action.COPY and not others else None

    def _begin(self, file: _File) -> None:
        if file.token:
            file.gone += (file.token,)
        # By chance: a zombie of the attempt before must not find this one's.
        file.token = f"{self._run}-r{getrandbits(40):010x}"
        move = file.move
        task = Begin(move.directory, file.name, file.exists, file.token, file.gone, move.sweep, move.dead)
        self._send(_Step(file, task))

    def _send(self, step: _Step) -> None:
        self._steps[self._next] = step
        step.file.out += 1
        self._pool.submit(self._next, tasks.pack(step.task), step.deaths > 0)
        self._next += 1

    def _feed(self) -> None:
        """Give out ranges while there is room, those of the first file first."""
        for file in self._files.values():
            while file.todo and file.failed is None and not self._stopping:
                if self._pool.room <= 0:
                    return
                assert file.begun is not None
                start, length = file.todo.popleft()
                self._send(_Step(file, Bring(file.move.directory, file.name, file.facts, file.begun, start, length)))

    def _came(self, step: _Step, arrival: Arrival) -> None:
        """One step has come back, in whatever way."""
        file = step.file
        if arrival.kind == "part":
            self._steps[arrival.unit] = step
            return
        file.out -= 1
        if arrival.kind == "lost":
            self._lost(step, begun=bool(arrival.body[1]))
            return
        if arrival.kind == "fault":
            text = str(arrival.body[0])
            self._fail(file, DunlinError("copy", file.path, ErrorKind.INTERNAL, text, "this is a fault of dunlin"))
            return
        outcome = Outcome.unpack(arrival.body[0])
        self._pool.learn(outcome.seconds)
        file.outcome.news += outcome.news
        file.outcome.refused.update(outcome.refused)
        if outcome.failed or outcome.vanished or outcome.fatal is not None:
            file.failed = file.failed or outcome
        elif outcome.brought is not None:
            came = Range(*outcome.brought)
            file.came[came.start] = came
        elif outcome.begun is not None:
            file.facts, file.begun = outcome.begun[0], Begun(*outcome.begun[1])
            file.todo.extend(spans(file.begun.size, file.begun.part))
        else:
            outcome.news, outcome.refused = file.outcome.news, file.outcome.refused
            file.outcome, file.over = outcome, True
            self._unshared = 0

    def _lost(self, step: _Step, begun: bool) -> None:
        """Nobody will bring this step to an end: it is done again, by another."""
        file = step.file
        if self._stopping or file.failed is not None:
            return
        deaths = step.deaths + 1 if begun or not step.deaths else step.deaths
        if deaths >= DEATHS:
            self._fail(file, DunlinError("copy", file.path, ErrorKind.INTERNAL, f"{deaths} workers died over it"))
            return
        task = step.task
        if isinstance(task, Begin):
            file.gone += (file.token,)
            file.token = f"{self._run}-r{getrandbits(40):010x}"
            task = task._replace(token=file.token, gone=file.gone)
        self._send(_Step(file, task, deaths))

    def _fail(self, file: _File, error: DunlinError) -> None:
        if file.failed is None:
            file.failed = Outcome()
            file.failed.fail(file.name, error)

    # ---- the end of a file ----

    def _settle(self, file: _File) -> Iterable[Arrival]:
        """What is to be told of a file, once none of its steps is under way."""
        if file.out:
            return ()
        if file.over:
            return self._end(file, file.outcome)
        if file.failed is not None:
            return self._failed(file, file.failed)
        if self._stopping:
            self._throw_away(file, ErrorKind.INTERRUPTED)
            return self._end(file, _waits(file))
        if file.begun is not None and not file.todo:
            ranges = tuple(file.came[start] for start in sorted(file.came))
            move = file.move
            self._send(_Step(file, Complete(move.directory, file.name, file.exists, file.facts, file.begun, ranges)))
        return ()

    def _failed(self, file: _File, failed: Outcome) -> Iterable[Arrival]:
        kind = _kind(failed)
        if kind is ErrorKind.UNSUPPORTED and file.begun is None:
            # It is but one part, or this destination takes files from one hand only: so are, or does, all smaller ones.
            self._above = max(self._above, file.size + 1)
            return self._as_a_whole(file)
        self._throw_away(file, kind)
        if kind is ErrorKind.CHANGED and failed.fatal is None and not self._stopping and _looks_unchanged(file):
            self._not_shared(file)
            return (Arrival("end", OWN + file.unit, (0,)), *self._as_a_whole(file))
        if self._stopping or failed.fatal is not None:
            waits = _waits(file)
            waits.fatal = failed.fatal if kind is not ErrorKind.INTERRUPTED else None
            return self._end(file, waits)
        if kind in AGAIN and file.attempt < self._attempts:
            file.attempt += 1
            _, _, line, _ = failed.failed[0]
            file.outcome.tell(
                Level.WARN,
                "file.retry",
                f"{file.path}: {line}; attempt {file.attempt}/{self._attempts}",
                path=file.path,
                attempt=file.attempt,
                error=line,
            )
            file.before = file.facts if file.begun is not None else ()
            file.begun, file.failed = None, None
            file.todo.clear()
            file.came.clear()
            self._begin(file)
            return ()
        failed.failed = [(name, kind, line, file.attempt) for name, kind, line, _ in failed.failed]
        failed.news, failed.refused = file.outcome.news, file.outcome.refused
        return self._end(file, failed)

    def _as_a_whole(self, file: _File) -> Iterable[Arrival]:
        """One worker is to bring the file, as if it had never been cut."""
        del self._files[file.unit]
        self._theirs.add(file.unit)
        self._pool.submit(file.unit, file.packed)
        return ()

    def _not_shared(self, file: _File) -> None:
        self._unshared += 1
        if self._unshared == 1:
            message = "workers do not see one version of it (inode numbers of their own?): one copies it as a whole"
            self._report.event(Event(Level.WARN, "file.whole", f"{file.path}: {message}", {"path": file.path}))
        if self._unshared == UNSHARED:
            self._above = 0

    def _end(self, file: _File, outcome: Outcome) -> Iterable[Arrival]:
        del self._files[file.unit]
        return (Arrival("end", OWN + file.unit, (0,)), Arrival("done", file.unit, (outcome.pack(),)))

    def _throw_away(self, file: _File, kind: ErrorKind) -> None:
        if file.begun is None:
            return
        try:
            self._drop(file.path, file.begun, kind)
        except DunlinError as error:
            self._report.event(Event(Level.WARN, "temporary.kept", str(error), {"path": file.path}))


def _kind(failed: Outcome) -> ErrorKind:
    if failed.fatal is not None:
        return ErrorKind(failed.fatal[0])
    return ErrorKind(failed.failed[0][1]) if failed.failed else ErrorKind.VANISHED


def _looks_unchanged(file: _File) -> bool:
    """Whether all machines agree that it is the version that was begun before. `file.begun` is what failed now."""
    if file.begun is None or not file.before:
        return False
    return all(file.before[at] == file.facts[at] for at in (SIZE, MTIME))


_OF_UNITS = frozenset({"done", "part", "lost", "fault"})


def _shown(file: _File) -> Iterable[Arrival]:
    """How far it is, beside its ranges that are under way: what was brought of it already."""
    done = sum(each.length for each in file.came.values())
    return (Arrival("task", OWN + file.unit, (0, file.path, file.size, done)),) if done else ()


def _waits(file: _File) -> Outcome:
    """The file stays pending: the next run brings it."""
    outcome = file.outcome
    outcome.waiting = [(file.name, facts(Kind.FILE, file.size), int(Action.COPY), file.exists)]
    return outcome
