"""The scan unit: one directory is listed on both sides, compared, decided and, if small, carried out.

The same function runs in the parent process, in a local mover and in a worker elsewhere. What it
finds goes back as outcomes: one for each window of a huge directory, and the last one when the
directory is through. Nothing is remembered between units.

What the outcome promises: `listed` is set only when the source's listing ended cleanly; a target
listing that fails makes the directory fail, with nothing done in it, because without it no decision
is safe.
"""

from __future__ import annotations

import contextlib
import marshal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from dunlin import plan
from dunlin.compare import RUN, Side, merge
from dunlin.compare.fingerprint import fingerprint
from dunlin.compare.listing import Named, OrderError
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import blake2b
from dunlin.model import (
    ATIME,
    BARE_DIRECTORY,
    CHANGED,
    CTIME,
    DEV,
    DIRECTORY_BITS,
    FILE_BITS,
    GID,
    IDENT,
    MODE,
    MTIME,
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
    sort_key,
)
from dunlin.report import Level
from dunlin.stores.base import Lists, MakesDirs, Meta, Order, SetsMeta, WalksPages, power
from dunlin.transfer.content import as_copied, births
from dunlin.transfer.directory import carry_out, dress_directory, make_way
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.site import STREAM
from dunlin.workers import leftover
from dunlin.workers.bookmark import Bookmarks
from dunlin.workers.context import BEGUN, FORGOTTEN, STALE, TEMPORARY, Context
from dunlin.workers.flat import Carried, directory_names, unpacked
from dunlin.workers.tally import tally
from dunlin.workers.tasks import Scan
from dunlin.workers.twice import owed_for, settle
from dunlin.workers.unseen import Unseen, lacking

HUGE = b"rows"
"""In place of a fingerprint: all files are on record, but the listing came in several windows."""

NAMED = 5
"""How many names a line names."""

Emit = Callable[[Outcome], None]


def scan(context: Context, task: Scan, emit: Emit) -> Outcome:
    """Do one directory; `emit` gets an outcome for every window but the last, which is returned."""
    told: Counter[str] = Counter()

    def tell(part: Outcome) -> None:
        told.update(part.counts)
        emit(part)

    try:
        return _Scan(context, task, tell).run()
    except OrderError:
        return _scan_again(context, task, emit, told)


def _scan_again(context: Context, task: Scan, emit: Emit, told: Counter[str]) -> Outcome:
    """Do a directory whose listing turned out not to be in order, after windows with the counts `told` have gone out.

    What was counted then is taken off what is counted now (`twice`).
    """
    owed = owed_for(told)

    def settled(part: Outcome) -> Outcome:
        settle(owed, part.counts)
        return part

    # Where names come in no order, those before a bookmark were not all dealt with.
    task = task._replace(bookmark=None)
    second = _Scan(context, task, lambda part: emit(settled(part)), proven=False)
    second.fresh = second.fresh and not told
    return settled(second.run())


class _Scan:
    """One directory being looked at."""

    def __init__(self, context: Context, task: Scan, emit: Emit, proven: bool = True) -> None:
        self.context = context
        self.site = context.site
        self.rules = context.rules
        self.task = task
        self.emit = emit
        self.proven = proven
        self.directory = task.directory
        self.files_left = task.files
        self.bytes_left = task.size
        self.waiting = False
        self.begun: list[tuple[str, Named]] = []
        self.wanted: set[str] = set()
        self.failures = 0
        self.incomplete = False
        self.source_failed = False
        self.huge = False
        self.left_alone = False
        self.reached = b""  # the last key of a listing that was taken up again
        self.in_the_way: list[Row] = []
        # Its parent's unit has just made it, and no other unit works in it before this one's first outcome.
        self.fresh = task.presence == Presence.SOURCE
        self.hash = blake2b(context.seed, digest_size=16)
        self.outcome = Outcome()
        self.marks = Bookmarks()
        self.below = {True: Carried(), False: Carried()}  # the source's sub-directories, the destination's

    def run(self) -> Outcome:
        """The outcome of the last window; the listings go on into whichever is current."""
        self._run()
        self._attach(self.outcome)
        return self.outcome

    def _run(self) -> None:
        outcome = self.outcome
        if self.task.sweep and self.rules.mode == "sync":
            self._sweep_root(outcome)
        source_facts, source = self._open_source(outcome)
        if source is None and self.task.presence != Presence.TARGET:
            return
        if source is not None and self.task.digest and (self.rules.trust_state or self.rules.settled is not None):
            self._fingerprint(source, outcome)
            if outcome.recorded and self._settled(source_facts, source, outcome) and self._trusted(source, outcome):
                return
        target = self._open_target(outcome)
        if target is None:
            return
        if source is not None and outcome.digest is None:
            self._fingerprint(source, outcome, streams=target.empty)
        target.gather()
        matched = self.rules.record and self.rules.mode == "sync" and not outcome.recorded
        policy = self.context.suspect if self.task.suspect else self.rules.policy
        same = plan.same(policy) if self.task.suspect else self.context.same
        if self.rules.selection.sized:
            same = self._sized_and(same)
        try:
            sides = (source or Side(None), target)
            for difference in merge(*sides, same, self.context.collate, matched, self.context.apart):
                self._window(difference, policy, outcome, matched)
                if outcome.fatal is not None:
                    outcome.digest = None
                    return  # what follows was not done either: the directory stays queued
                self._check_stop(outcome)
                if not difference.last:
                    mark = self.marks.best(difference.upto)
                    outcome.bookmark = (mark.token, mark.last) if mark else None  # `marshal` takes no named tuples
                    outcome = self._flush(outcome)
        except DunlinError as error:
            self._broken(error, outcome)
            return
        outcome.listed = True
        self._end(source_facts, outcome)

    # ---- the two sides ----

    def _open_source(self, outcome: Outcome) -> tuple[Facts | None, Side | None]:
        if self.task.presence == Presence.TARGET:
            return None, None
        try:
            bare = not self.site.source.caps.directories
            facts = BARE_DIRECTORY if bare else self.site.source.stat(self.directory).facts
            side = self._side(self.site.source, self._listing(self.site.source, True))
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND and self.directory:
                self.source_failed = True
                outcome.vanish("")
                outcome.tell(Level.WARN, "directory.vanished", f"{self.directory}: gone before it was listed")
                return None, None
            self.source_failed = True
            self._broken(error, outcome)
            return None, None
        outcome.counts["scanned_directories"] += 1
        # The directory's own metadata is part of what is in sync.
        own = (facts[MODE], facts[MTIME], facts[UID], facts[GID], *facts[CTIME : self.context.span])
        self.hash.update(marshal.dumps(own, 2))
        return facts, side

    def _open_target(self, outcome: Outcome) -> Side | None:
        if self.task.presence == Presence.SOURCE:
            return Side(None)
        try:
            return self._side(self.site.target, self._listing(self.site.target, False))
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                self._broken(error, outcome)
                return None
        if self.rules.mode == "sync" and self.task.presence != Presence.TARGET:
            dirs = power(self.site.target, MakesDirs)
            try:
                if dirs is not None and dirs.make_directory(self.directory):
                    outcome.counts["created_directories"] += 1
            except DunlinError as error:
                self._broken(error, outcome)
                return None
        return Side(None)

    def _side(self, store: Lists, listing: Iterator[list[Named]]) -> Side:
        proven = self.proven and getattr(store, "caps").order is Order.PROVEN  # noqa: B009  (Lists has no caps)
        return Side(listing, proven=proven, collate=self.context.collate, run=RUN)

    def _listing(self, store: Lists, is_source: bool) -> Iterator[list[Named]]:
        """The names that take part, batch by batch."""
        rules = self.rules
        selection = rules.selection
        filtered = not selection.everything and (is_source or not rules.delete_excluded)
        takes = selection.matcher(self.directory) if filtered else None
        if rules.begin and not (is_source or rules.delete_excluded):
            takes = self.context.prefixed(self.directory, takes)
        depth = self.directory.count("/") + 1 if self.directory else 0
        deep = selection.max_depth is not None and depth + 1 >= selection.max_depth
        skip = rules.skip_source if is_source else rules.skip_target
        inodes, own = self.context.root_inodes, self.context.own_names
        keeps_own, namesakes = self.context.keeps_own(self.directory), []
        unseen = self._unseen() if is_source else None
        # Somebody's objects may have such names: ours are files.
        ours = (self.site.source if is_source else self.site.target).caps.directories
        try:
            for batch in self._listed(store, is_source):
                names = batch
                if unseen is not None:
                    unseen.see(batch)
                plain = [name for name, _ in batch]
                if ours and ".dunlin-" in "/".join(plain):
                    names = [named for named in names if not self._temporary(named, is_source)]
                if not own.isdisjoint(plain):
                    names = [named for named in names if not self._own(named)]
                if skip:
                    names = [named for named in names if join(self.directory, named[0]) not in skip]
                if not inodes.isdisjoint([what[IDENT] for _, what in names]):
                    names = [named for named in names if (named[1][DEV], named[1][IDENT]) not in rules.roots]
                if takes is not None:
                    names = [
                        (name, what) for name, what in names if takes(name, what[MODE] & TYPE_BITS == DIRECTORY_BITS)
                    ]
                if deep:
                    names = [named for named in names if named[1][MODE] & TYPE_BITS != DIRECTORY_BITS]
                if keeps_own:
                    names, left = self.context.without_own(self.directory, names, is_source)
                    namesakes += left
                if self.task.bookmark:
                    names = self._behind(self.task.bookmark[1], names, is_source)
                names = self.context.timed(self.directory, names, is_source)
                if is_source:
                    self._take_in(names)
                yield names
            self._tell_of_names(namesakes, unseen)
        except DunlinError:
            self.source_failed = is_source
            raise

    def _unseen(self) -> Unseen | None:
        """What the source's listing has to show of the paths that are wanted, if it can tell."""
        context = self.context
        if self.task.bookmark or self.directory not in context.children:
            return None
        return Unseen(self.directory, context.listed, context.children)

    def _tell_of_names(self, namesakes: list[str], unseen: Unseen | None) -> None:
        """A side's listing has ended: what is left out of it, and what it lacks."""
        if namesakes:
            more = f" and {len(namesakes) - NAMED} more" if len(namesakes) > NAMED else ""
            message = f"{', '.join(namesakes[:NAMED])}{more}: left alone, dunlin's own file is in that place"
            self.outcome.tell(Level.WARN, "own.namesake", message, path=namesakes[0])
        for name in unseen.missing() if unseen is not None else ():
            self.outcome.fail(name, lacking(join(self.directory, name)))

    def _behind(self, last: bytes, names: list[Named], is_source: bool) -> list[Named]:
        """The names behind the bookmark: only where they come in order was everything before it dealt with."""
        keys = [_key(named) for named in names]
        if is_source:
            if any(one >= other for one, other in pairwise([self.reached, *keys])):
                raise OrderError(self.directory)
            self.reached = keys[-1] if keys else self.reached
        return [named for named, key in zip(names, keys, strict=True) if key > last]

    def _listed(self, store: Lists, is_source: bool) -> Iterator[list[Named]]:
        """The names of the directory: by a flat listing where that saves requests."""
        travelled = self.task.listing if is_source else self.task.there
        if travelled is not None:
            return directory_names(unpacked(travelled), self.below[is_source])
        # A filter may keep whole subtrees out, which a flat listing would read all the same.
        walks = power(store, WalksPages) if self.context.flat[is_source] and self.proven else None
        if walks is None:
            return store.list(self.directory)
        marks = self.marks if is_source else Bookmarks()
        token = self.task.bookmark[0] if is_source and self.task.bookmark else ""
        return directory_names(marks.note(walks.walk_pages(self.directory, token)), self.below[is_source])

    def _attach(self, outcome: Outcome) -> None:
        """Give sub-directories what is known of them already."""
        for name, _ in outcome.subdirectories:
            for mine, theirs in ((self.below[True], outcome.below), (self.below[False], outcome.below_target)):
                listing = mine.take(name)
                if listing is not None:
                    theirs[name] = listing

    def _take_in(self, names: list[Named]) -> None:
        if self.rules.selection.sized:
            names = [named for named in names if self._sized(named[1])]
        sizes = [what[SIZE] for _, what in names if what[MODE] & TYPE_BITS != DIRECTORY_BITS]
        self.outcome.counts["scanned_files"] += len(sizes)
        self.outcome.counts["scanned_bytes"] += sum(sizes)

    # Size and age decide about a name, not about its two sides: a name that they keep out at the source is no
    # extra at the destination, and one that takes part is compared with whatever stands there. So they are asked
    # only when both sides have been seen.

    def _sized(self, facts: Facts) -> bool:
        selection = self.rules.selection
        return not selection.sized or selection.takes(facts)

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

    def _temporary(self, named: Named, is_source: bool) -> bool:
        """Whether it is a temporary file or a stage of dunlin; at the destination those of dead runs are removed."""
        match = TEMPORARY.fullmatch(named[0])
        if match is None:
            begun = BEGUN.fullmatch(named[0])
            if begun is not None and not is_source and self.context.now() - named[1][CTIME] > FORGOTTEN:
                self.begun.append((begun[1], named))
            return begun is not None
        if not is_source and self.rules.mode == "sync" and self.site.target.caps.directories:
            token = match[1] + match[2]
            dead = match[1] in self.rules.dead or token in self.task.sweep
            if dead or self.context.now() - named[1][CTIME] > STALE:
                self._remove(named)
        return True

    def _remove(self, named: Named) -> None:
        try:
            leftover.remove(self.site.target, join(self.directory, named[0]), named[1])
        except DunlinError as error:
            self.outcome.tell(Level.WARN, "temporary.kept", str(error))

    def _own(self, named: Named) -> bool:
        """Whether it is this run's own state, log or report file, under whatever name it is reached."""
        import os

        ident = (named[1][7], named[1][8])
        for path in self.rules.own:
            try:
                st = os.stat(path)
            except OSError:
                continue
            if (st.st_dev, st.st_ino) == ident:
                return True
        return False

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
            elif self._sized(what):
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

    def _check_stop(self, outcome: Outcome) -> None:
        if self.site.bucket.stopped:
            raise DunlinError("scan", self.directory, ErrorKind.INTERRUPTED, "the run was stopped")

    def _flush(self, outcome: Outcome) -> Outcome:
        """Send what a window brought and go on with an empty outcome."""
        outcome.unfinished = True
        self._attach(outcome)
        self.emit(outcome)
        self.outcome = Outcome()
        return self.outcome

    # ---- the end ----

    def _broken(self, error: DunlinError, outcome: Outcome) -> None:
        """The directory could not be listed on one side: nothing is known to be missing in it."""
        if error.kind is ErrorKind.INTERRUPTED:
            outcome.end(error)
            return
        outcome.digest = None
        outcome.fail("", error, count="failed_directories", source=self.source_failed)

    def _end(self, source: Facts | None, outcome: Outcome) -> None:
        clean = not (self.failures or outcome.failed or outcome.vanished)
        if self.huge:
            outcome.digest = HUGE
        # With a file that was left alone, nobody can say of the listing that all of it is in sync.
        if not clean or self.incomplete or self.left_alone or outcome.fatal is not None:
            outcome.digest = None
        if self.rules.mode != "sync" or source is None or outcome.fatal is not None:
            return
        for version, named in self.begun:
            if version not in self.wanted and self.site.target.caps.directories:
                self._remove(named)
        partly = self.left_alone or self.incomplete or self.huge or self.task.bookmark is not None
        outcome.complete = not (partly or outcome.recorded)
        outcome.unfinished = self.waiting
        self._dress_above()
        if not self.waiting:
            finish(self.context, self.directory, source, outcome)

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


def _key(named: Named) -> bytes:
    return sort_key(named[0], named[1][MODE] & TYPE_BITS == DIRECTORY_BITS)


def finish(context: Context, directory: str, source: Facts, outcome: Outcome) -> None:
    """Give the directory its own metadata, now that nothing in it changes any more."""
    if source[MTIME] is None or not context.site.target.caps.directories:
        return  # nothing to be done, so nothing to look at
    try:
        target = context.site.target.stat(directory).facts
        dress_directory(context.site, directory, source, target, outcome)
    except DunlinError as error:
        outcome.fail("", error, count="failed_directories")
