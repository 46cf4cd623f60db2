"""The scan unit: one directory is listed on both sides, compared, decided and, if small, carried out.

The same function runs in the parent process, in a local mover and in a worker elsewhere. What it
finds goes back as outcomes: one for each window of a huge directory, and the last one when the
directory is through. Nothing is remembered between units.

What the outcome promises: `listed` is set only when both listings ended cleanly. One that fails makes
the directory fail, with nothing more done in it, because without it no decision is safe: half a listing
of the source must not pass for the whole, and without the destination's nobody knows what would be replaced.
The source's sub-directories are queued all the same, as far as it has named them, with `Presence.UNKNOWN`:
each has listings of its own.
"""

from __future__ import annotations

import contextlib
import marshal
from collections import Counter
from collections.abc import Callable, Iterator

from dunlin import plan
from dunlin.compare import RUN, Side, merge
from dunlin.compare.fingerprint import fingerprint
from dunlin.compare.listing import Named, OrderError
from dunlin.errors import DunlinError, ErrorClass, ErrorKind, Place, class_of
from dunlin.hashing import blake2b
from dunlin.model import (
    ATIME,
    BARE_DIRECTORY,
    CHANGED,
    CTIME,
    DIRECTORY_BITS,
    FILE_BITS,
    GID,
    IDENT,
    MODE,
    MTIME,
    PERMISSION_BITS,
    SIZE,
    TYPE_BITS,
    UID,
    Action,
    Difference,
    Facts,
    Operation,
    Row,
    Same,
    join,
)
from dunlin.pace.window import Slot
from dunlin.report import Level
from dunlin.stores.base import Lists, MakesDirs, Meta, Order, SetsMeta, power
from dunlin.transfer.content import as_copied, births
from dunlin.transfer.directory import carry_out, dress_directory, make_way
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.site import STREAM
from dunlin.workers import leftover
from dunlin.workers.context import Context
from dunlin.workers.names import Names
from dunlin.workers.tally import tally
from dunlin.workers.tasks import Scan
from dunlin.workers.twice import owed_for, settle

HUGE = b"rows"
"""In place of a fingerprint: all files are on record, but the listing came in several windows."""

Emit = Callable[[Outcome], None]


def scan(context: Context, task: Scan, emit: Emit, slot: Slot | None = None) -> Outcome:
    """Do one directory; `emit` gets an outcome for every window but the last, which is returned.

    `slot`: its place in the window of the crawl, which is told what is in memory; None: nobody counts.
    """
    told: Counter[str] = Counter()

    def tell(part: Outcome) -> None:
        told.update(part.counts)
        emit(part)

    try:
        return _Scan(context, task, tell, slot).run()
    except OrderError:
        if slot is not None:
            slot.let_go(slot.held)
        return _scan_again(context, task, emit, told, slot)


def _scan_again(context: Context, task: Scan, emit: Emit, told: Counter[str], slot: Slot | None) -> Outcome:
    """Do a directory whose listing turned out not to be in order, after windows with the counts `told` have gone out.

    What was counted then is taken off what is counted now (`twice`).
    """
    owed = owed_for(told)

    def settled(part: Outcome) -> Outcome:
        settle(owed, part.counts)
        return part

    # Where names come in no order, those before a bookmark were not all dealt with.
    task = task._replace(bookmark=None)
    second = _Scan(context, task, lambda part: emit(settled(part)), slot, proven=False)
    second.fresh = second.fresh and not told
    return settled(second.run())


class _Scan:
    """One directory being looked at."""

    def __init__(
        self, context: Context, task: Scan, emit: Emit, slot: Slot | None = None, proven: bool = True
    ) -> None:
        self.context = context
        self.slot = slot
        self.site = context.site
        self.rules = context.rules
        self.task = task
        self.emit = emit
        self.proven = proven
        self.names = Names(context, task, proven, lambda: self.outcome)
        self.directory = task.directory
        self.files_left = task.files
        self.bytes_left = task.size
        self.waiting = False
        self.wanted: set[str] = set()
        self.failures = 0
        self.incomplete = False
        self.huge = False
        self.left_alone = False
        self.in_the_way: list[Row] = []
        self.own: Facts | None = None
        self.broken = False
        self.unmade = False  # the destination has no such directory and could not be given one
        # Its parent's unit has just made it, and no other unit works in it before this one's first outcome.
        self.fresh = task.presence == Presence.SOURCE
        self.hash = blake2b(context.seed, digest_size=16)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """The outcome of the last window; the listings go on into whichever is current."""
        try:
            self._run()
            self.names.attach(self.outcome)
        finally:
            # They refer to each other: whole listings would wait for the collector, which comes rarely.
            self.names.outcome = Outcome
        return self.outcome

    def _run(self) -> None:
        if self.task.sweep and self.rules.mode == "sync":
            self._sweep_root(self.outcome)
        source: Side | None = None
        try:
            facts, source = self._open_source(self.outcome)
            if source is not None or self.task.presence == Presence.TARGET:
                self._compare(facts, source)
        except DunlinError as error:
            self._broken(error, source)

    def _compare(self, source_facts: Facts | None, source: Side | None) -> None:
        outcome = self.outcome
        if source is not None and self.task.digest and (self.rules.trust_state or self.rules.settled is not None):
            self._fingerprint(source, outcome)
            if outcome.recorded and self._settled(source_facts, source, outcome) and self._trusted(source, outcome):
                return
        target = self._open_target(source_facts, outcome)
        if source is not None and outcome.digest is None:
            self._fingerprint(source, outcome, streams=target.empty)
        target.gather()
        matched = self.rules.record and self.rules.mode == "sync" and not outcome.recorded
        policy = self.context.suspect if self.task.suspect else self.rules.policy
        same = plan.same(policy) if self.task.suspect else self.context.same
        if self.rules.selection.sized:
            same = self._sized_and(same)
        sides = (source or Side(None), target)
        for difference in merge(*sides, same, self.context.collate, matched, self.context.apart):
            self._window(difference, policy, outcome, matched)
            if outcome.fatal is not None:
                outcome.digest = None
                return  # what follows was not done either: the directory stays queued
            self._check_stop()
            if not difference.last:
                mark = self.names.marks.best(difference.upto)
                outcome.bookmark = (mark.token, mark.last) if mark else None  # `marshal` takes no named tuples
                outcome = self._flush(outcome)
                if difference.upto is not None:
                    self.names.dealt_with(difference.upto)
        outcome.listed = True
        self.names.dealt_with(None)
        self._end(source_facts, outcome)

    # ---- the two sides ----

    def _open_source(self, outcome: Outcome) -> tuple[Facts | None, Side | None]:
        """The directory's own facts and its listing; nothing where it has vanished. Raises what the store does."""
        if self.task.presence == Presence.TARGET:
            return None, None
        try:
            bare = not self.site.source.caps.directories
            self.own = facts = BARE_DIRECTORY if bare else self.site.source.stat(self.directory).facts
            side = self._side(self.site.source, self.names.listing(True))
        except DunlinError as error:
            self.names.source_failed = True
            place = Place.DIRECTORY if self.directory else Place.ROOT
            if class_of(error.kind, place) is not ErrorClass.EXPECTED:
                raise
            outcome.vanish("")
            outcome.tell(Level.WARN, "directory.vanished", f"{self.directory}: gone before it was listed")
            return None, None
        outcome.counts["scanned_directories"] += 1
        # The directory's own metadata is part of what is in sync.
        own = (facts[MODE], facts[MTIME], facts[UID], facts[GID], *facts[CTIME : self.context.span])
        self.hash.update(marshal.dumps(own, 2))
        return facts, side

    def _open_target(self, source: Facts | None, outcome: Outcome) -> Side:
        """The destination's listing, or that of a directory that was made just now. Raises what the store does."""
        if self.task.presence == Presence.SOURCE:
            return Side(None)
        try:
            return self._side(self.site.target, self.names.listing(False))
        except DunlinError as error:
            if class_of(error.kind, Place.DIRECTORY) is not ErrorClass.EXPECTED:
                raise
        # In a first run, or one that is continued, that is how it should be. One that was listed a moment ago is gone.
        level = Level.WARN if self.task.presence == Presence.BOTH else Level.DEBUG
        outcome.tell(level, "target.absent", f"Expected error (404): {self.directory or '.'}", path=self.directory)
        if self.task.presence != Presence.TARGET:
            self._make(source, outcome)
        return Side(None)

    def _make(self, source: Facts | None, outcome: Outcome) -> None:
        """Have the directory at the destination. Raises what the store does."""
        dirs = power(self.site.target, MakesDirs) if self.rules.mode == "sync" else None
        known = source is not None and source[UID] is not None
        like = source[MODE] if known and source is not None else None
        mode = like & PERMISSION_BITS if like is not None and self.site.options.perms else None
        try:
            if dirs is not None and dirs.make_directory(self.directory, mode, like):
                outcome.counts["created_directories"] += 1
        except DunlinError:
            self.unmade = True
            raise

    def _side(self, store: Lists, listing: Iterator[list[Named]]) -> Side:
        proven = self.proven and getattr(store, "caps").order is Order.PROVEN  # noqa: B009  (Lists has no caps)
        run = min(RUN, self.context.window.run)
        return Side(listing, proven=proven, collate=self.context.collate, run=run, holds=self.slot)

    def _sized_and(self, same: Same) -> Same:
        takes = self.rules.selection.takes
        return lambda source, target: takes(source) and same(source, target)

    def _rows_that_take_part(self, rows: list[Row]) -> list[Row]:
        selection, all_extras = self.rules.selection, self.rules.delete_excluded
        return [
            row
            for row in rows
            if (selection.takes(row[1]) if row[1] is not None else all_extras or selection.takes(row[2]))  # type: ignore[arg-type]
        ]

    # ---- the windows ----

    def _fingerprint(self, source: Side, outcome: Outcome, streams: bool = False) -> None:
        """Compare the source's listing with what is on record of it.

        `streams`: the destination has nothing, so a long listing is dealt with as it comes, not gathered.
        """
        if self.rules.mode != "sync" or not self.rules.record or self.task.bookmark:
            return
        if not streams:
            source.gather()
        if not source.single:
            self.huge = True
            outcome.recorded = self.task.digest == HUGE
            return
        if not self.rules.rows:
            return  # nobody will compare it with another
        self.hash.update(fingerprint(source.first, self.context.version))
        outcome.digest = self.hash.digest()
        outcome.recorded = outcome.digest == self.task.digest

    def _settled(self, own: Facts | None, source: Side, outcome: Outcome) -> bool:
        """Whether the directory, which is as recorded, need not be looked up at the destination."""
        before = self.rules.settled
        if self.rules.trust_state or before is None:
            return self.rules.trust_state
        # An object store tells no change times: its versions are in the fingerprint.
        times = [what[CTIME] for _, what in source.first] if own and own[CTIME] is not None else []
        if not self.directory or max(times, default=0) >= before or (own and (own[CTIME] or 0) >= before):
            return False
        outcome.counts["settled_directories"] += 1
        outcome.tell(Level.DEBUG, "directory.settled", f"{self.directory}: nothing in it has changed, skipped")
        return True

    def _trusted(self, source: Side, outcome: Outcome) -> bool:
        """Take an unchanged directory as in sync without looking at the destination."""
        if self.task.suspect or self.huge:
            return False
        for name, what in source.first:
            if what[MODE] & TYPE_BITS == DIRECTORY_BITS:
                outcome.subdirectories.append((name, int(Presence.BOTH)))
            elif self.names.sized(what):
                outcome.counts["equal_files"] += 1
                outcome.counts["equal_bytes"] += what[SIZE]
        outcome.listed = True
        return True

    def _window(self, difference: Difference, policy: plan.Policy, outcome: Outcome, matched: bool) -> None:
        outcome.counts["equal_files"] += difference.equal
        outcome.counts["equal_bytes"] += difference.equal_bytes
        for names in difference.clashes:
            for name in names:
                error = DunlinError(
                    "copy",
                    join(self.directory, name),
                    ErrorKind.CLASH,
                    f"the destination holds it and {', '.join(n for n in names if n != name)} as one name",
                    "rename one of them",
                )
                outcome.fail(name, error)
        if self.rules.selection.sized:
            difference.rows = self._rows_that_take_part(difference.rows)
        operations = plan.decide(difference, policy)
        # Files that --update or --skip-existing leave alone keep the rows that they have.
        self.left_alone = self.left_alone or any(each.reason in ("newer", "exists") for each in operations)
        if self.rules.mode != "sync":
            tally(self.context, self.directory, operations, outcome)
        elif operations:
            if self.slot is not None and difference.last:
                self.slot.listed()
            failed = len(outcome.failed) + len(outcome.vanished)
            carry_out(self.site, self.directory, self._within_budget(operations, outcome), outcome, self.fresh)
            self._make_way(outcome)
            self.failures += len(outcome.failed) + len(outcome.vanished) - failed
        self.fresh = False
        self.waiting = self.waiting or bool(outcome.waiting)
        if self.site.source.caps.far and outcome.waiting:
            self.wanted |= leftover.versions(self.site.source, self.directory, outcome.waiting)
        self.incomplete = self.incomplete or bool(outcome.linked or outcome.blocked)
        if matched:
            files = [
                named
                for named in difference.matched
                if named[1][MODE] & TYPE_BITS == FILE_BITS and named[1][MTIME] != CHANGED
            ]
            born = births(self.site, self.directory, [name for name, _ in files])
            outcome.seen += [as_copied(*named, None, birth) for named, birth in zip(files, born, strict=True)]
            if self.site.source.caps.far:
                outcome.etags.update((name, what[IDENT]) for name, what in files)

    def _within_budget(self, operations: list[Operation], outcome: Outcome) -> list[Operation]:
        """What this unit does itself; files beyond its budget, and large ones, are handed back."""
        kept = []
        for operation in operations:
            if operation.action in (Action.COPY, Action.VERIFY):
                if self._all_fit(operation):
                    kept.append(operation)
                    continue
                rows = []
                for row in operation.rows:
                    facts = row[1]
                    assert facts is not None
                    size = facts[SIZE]
                    if self.files_left > 0 and size <= self.bytes_left and size <= STREAM:
                        self.files_left -= 1
                        self.bytes_left -= size
                        rows.append(row)
                    elif operation.clear:
                        self.in_the_way.append(row)
                    else:
                        outcome.waiting.append((row[0], facts, int(operation.action), row[2] is not None))
                operation = Operation(operation.action, rows, operation.clear, operation.reason)
            if operation.rows:
                kept.append(operation)
        return kept

    def _make_way(self, outcome: Outcome) -> None:
        """Let files wait in whose place something of another kind stood: that is cleared by who has looked at it."""
        rows, self.in_the_way = self.in_the_way, []
        for row in rows:
            if outcome.fatal is None and row[1] is not None and make_way(self.site, self.directory, row, outcome):
                outcome.waiting.append((row[0], row[1], int(Action.COPY), False))

    def _all_fit(self, operation: Operation) -> bool:
        """Whether the whole operation is within the budget: the usual case, settled without a look at each row."""
        sizes = [facts[SIZE] for _, facts, _ in operation.rows if facts is not None]
        total = sum(sizes)
        if len(sizes) > self.files_left or total > self.bytes_left or max(sizes, default=0) > STREAM:
            return False
        self.files_left -= len(sizes)
        self.bytes_left -= total
        return True

    def _check_stop(self) -> None:
        if self.site.bucket.stopped:
            raise DunlinError("scan", self.directory, ErrorKind.INTERRUPTED, "the run was stopped")

    def _flush(self, outcome: Outcome) -> Outcome:
        """Send what a window brought and go on with an empty outcome."""
        outcome.unfinished = True
        self.names.attach(outcome)
        self.emit(outcome)
        self.outcome = Outcome()
        return self.outcome

    # ---- the end ----

    def _broken(self, error: DunlinError, source: Side | None) -> None:
        """The directory could not be listed on one side: nothing in it is acted on, and nothing is known to be missing.

        What it is known to hold below may be fine all the same: the source's sub-directories are still looked at.
        """
        failures = [(error, self.names.source_failed)]
        if not (error.fatal or self.unmade or self.task.presence == Presence.TARGET):
            try:
                self._go_below(source)
            except DunlinError as other:
                if other.kind is ErrorKind.INTERRUPTED:
                    self.outcome.end(other)
                    return
                failures.append((other, self.names.source_failed))
        for failure, is_source in failures:
            self._fail(failure, is_source)

    def _go_below(self, source: Side | None) -> None:
        """Queue the sub-directories that the source's listing names, read to its end if that can be done."""
        try:
            for _ in source.drain() if source is not None else ():
                self._check_stop()
                if len(self.names.passed) >= self.names.most // 2 and self.context.collate is None:
                    self._visit()
                    self._flush(self.outcome)
        except DunlinError as error:
            if error.kind is not ErrorKind.INTERRUPTED:
                self._visit()
            raise
        self._visit()

    def _visit(self) -> None:
        """Have the sub-directories that came by looked at, wherever they are."""
        names = self.names.visitable(complete=not self.names.source_failed)
        if names and self.names.source_failed and self.task.presence == Presence.UNKNOWN:
            # The destination was not asked. What lies below may have to be made, and this directory before.
            try:
                self._make(self.own, self.outcome)
            except DunlinError as error:
                self.outcome.tell(Level.WARN, "directory.unmade", str(error), path=self.directory)
                return
        self.outcome.subdirectories += [(name, int(Presence.UNKNOWN)) for name in names]

    def _fail(self, error: DunlinError, is_source: bool) -> None:
        """Put it on record that the directory failed; it counts once, though both sides may have."""
        outcome = self.outcome
        outcome.digest = None
        shown = f"Traversal failed: {self.directory or '.'}: {error}"
        count = "" if self.broken else "failed_directories"
        outcome.fail("", error, count=count, source=is_source, shown=shown)
        self.broken = True

    def _end(self, source: Facts | None, outcome: Outcome) -> None:
        clean = not (self.failures or outcome.failed or outcome.vanished)
        if self.huge:
            outcome.digest = HUGE
        # With a file that was left alone, nobody can say of the listing that all of it is in sync.
        if not clean or self.incomplete or self.left_alone or outcome.fatal is not None:
            outcome.digest = None
        if self.rules.mode != "sync" or source is None or outcome.fatal is not None:
            return
        for version, named in self.names.begun:
            if version not in self.wanted and self.site.target.caps.directories:
                self.names.remove(named)
        partly = self.left_alone or self.incomplete or self.huge or self.task.bookmark is not None
        outcome.complete = not (partly or outcome.recorded)
        outcome.unfinished = self.waiting
        self._dress_above()
        if not self.waiting:
            finish(self.context, self.directory, source, outcome, made=self.task.presence == Presence.SOURCE)

    # ---- after a kill ----

    def _sweep_root(self, outcome: Outcome) -> None:
        """Movers died over this unit: their stages lie in the root, which is not listed again."""
        for error in leftover.sweep(self.site.target, "", lambda run, mover: run + mover in self.task.sweep):
            outcome.tell(Level.WARN, "temporary.kept", str(error))

    def _dress_above(self) -> None:
        """The unit may have been cut short between the rename of its stage and the times of the directory above.

        Units that are done again do not know whether the destination has their directory; the others know.
        Only the times: with its mode it might become one that those who still work in it may not write to.
        """
        above = self.directory.rpartition("/")[0]
        own = self.site.source.caps.directories and self.site.target.caps.directories
        setter = power(self.site.target, SetsMeta)
        if not own or not above or self.task.presence != Presence.UNKNOWN or setter is None:
            return
        with contextlib.suppress(DunlinError):
            source = self.site.source.stat(above).facts
            if source[MTIME] is not None:
                setter.set_meta(above, Meta(mtime=source[MTIME], atime=source[ATIME]))


def finish(context: Context, directory: str, source: Facts, outcome: Outcome, *, made: bool = False) -> None:
    """Give the directory its own metadata, now that nothing in it changes any more. `made`: by this run."""
    if source[MTIME] is None or not context.site.target.caps.directories:
        return  # nothing to be done, so nothing to look at
    try:
        # What this run has made has times of its own, and to look far away would take two requests to learn that.
        blind = made and context.site.target.caps.far
        target = None if blind else context.site.target.stat(directory).facts
        dress_directory(context.site, directory, source, target, outcome)
    except DunlinError as error:
        outcome.fail("", error, count="failed_directories")
