"""Which names of one directory take part in a unit, as its two listings come; what is noticed on the way is kept.

Filters, the run's own files, temporary files, places that lie within each other, depth, bookmarks: each asks about
names one by one, and most runs have none of them. So a batch passes only those that may have to say something.

What a failed directory still shows. A listing that ends in an error says nothing about what it lacks, and
nothing of the directory is acted on. But a sub-directory that it named is there, and may be looked at by itself. So the
names of the source's sub-directories are kept as they pass, until their window has been dealt with: the latest two runs
of them (`pace.window`), since what came before in a directory that long mostly has been.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from dunlin.compare import RUN
from dunlin.compare.listing import Named, OrderError
from dunlin.errors import DunlinError
from dunlin.model import CTIME, DEV, DIRECTORY_BITS, IDENT, MODE, SIZE, TYPE_BITS, Facts, join, sort_key
from dunlin.report import Level
from dunlin.stores.base import Lists, WalksPages, power
from dunlin.transfer.outcome import Outcome
from dunlin.workers import leftover
from dunlin.workers.bookmark import Bookmarks
from dunlin.workers.context import BEGUN, FORGOTTEN, STALE, TEMPORARY, Context
from dunlin.workers.flat import Carried, directory_names, unpacked
from dunlin.workers.tasks import Scan
from dunlin.workers.unseen import Unseen, lacking

NAMED = 5
"""How many names a line names."""

PAGES = 10_000
"""Sub-directories of a listing that are kept by name in any case: two batches of any store."""


class Names:
    """The names of one directory that take part.

    Args:
        proven: the stores' promises of an order are believed.
        outcome: gives the outcome that is being filled; there is another one for every window.

    Attributes:
        begun: downloads at the destination that were begun: (version, name and facts).
        marks: pages behind which the source's listing may be taken up again.
        source_failed: it was the source whose listing ended in an error.
        passed: the source's sub-directories that came by and were not dealt with, the latest of them.
    """

    def __init__(self, context: Context, task: Scan, proven: bool, outcome: Callable[[], Outcome]) -> None:
        self.context = context
        self.site = context.site
        self.rules = context.rules
        self.task = task
        self.directory = task.directory
        self.proven = proven
        self.outcome = outcome
        self.begun: list[tuple[str, Named]] = []
        self.marks = Bookmarks()
        self.source_failed = False
        self.most = max(PAGES, 2 * min(RUN, context.window.run))
        self.passed: deque[str] = deque(maxlen=self.most)
        self._reached = b""  # the last key of a listing that was taken up again
        self._below = {True: Carried(), False: Carried()}  # the source's sub-directories, the destination's

    def listing(self, is_source: bool) -> Iterator[list[Named]]:
        """The names that take part on one side, batch by batch. Raises what the store does, and `OrderError`."""
        rules = self.rules
        selection = rules.selection
        store = self.site.source if is_source else self.site.target
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
        ours = store.caps.directories
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
            self._tell(namesakes, unseen)
        except DunlinError:
            self.source_failed = self.source_failed or is_source
            raise

    def attach(self, outcome: Outcome) -> None:
        """Give sub-directories what is known of them already."""
        for name, _ in outcome.subdirectories:
            for mine, theirs in ((self._below[True], outcome.below), (self._below[False], outcome.below_target)):
                listing = mine.take(name)
                if listing is not None:
                    theirs[name] = listing

    def sized(self, facts: Facts) -> bool:
        """Whether size and age let a name take part.

        They decide about a name, not about its two sides: a name that they keep out at the source is no extra at
        the destination, and one that takes part is compared with whatever stands there. So they are asked only when
        both sides have been seen.
        """
        selection = self.rules.selection
        return not selection.sized or selection.takes(facts)

    def remove(self, named: Named) -> None:
        """Remove what a dead run left in this directory of the destination; where that fails it is told."""
        try:
            leftover.remove(self.site.target, join(self.directory, named[0]), named[1])
        except DunlinError as error:
            self.outcome().tell(Level.WARN, "temporary.kept", str(error))

    def visitable(self, complete: bool) -> list[str]:
        """The sub-directories that came by since this was asked, to be looked at though nothing of theirs was decided.

        `complete`: the listing has ended cleanly. Where the pair takes several spellings for one name, two
        directories of the source must never become one: then only a complete listing tells which may be visited.
        """
        collate, known = self.context.collate, complete and len(self.passed) < self.most
        names = list(dict.fromkeys(self.passed))
        self.passed.clear()
        if collate is None:
            return names
        spelled = Counter(collate(name) for name in names)
        return [name for name in names if known and spelled[collate(name)] == 1]

    def dealt_with(self, upto: bytes | None) -> None:
        """Everything up to a key of the pair was decided upon and told; None: everything that has come by."""
        if upto is None or not self.passed:
            self.passed.clear()
            return
        collate = self.context.collate or str
        kept = [name for name in self.passed if sort_key(collate(name), True) > upto]
        self.passed.clear()
        self.passed.extend(kept)

    # ---- what a batch is asked ----

    def _unseen(self) -> Unseen | None:
        """What the source's listing has to show of the paths that are wanted, if it can tell."""
        context = self.context
        if self.task.bookmark or self.directory not in context.children:
            return None
        return Unseen(self.directory, context.listed, context.children)

    def _tell(self, namesakes: list[str], unseen: Unseen | None) -> None:
        """A side's listing has ended: what is left out of it, and what it lacks."""
        outcome = self.outcome()
        if namesakes:
            more = f" and {len(namesakes) - NAMED} more" if len(namesakes) > NAMED else ""
            message = f"{', '.join(namesakes[:NAMED])}{more}: left alone, dunlin's own file is in that place"
            outcome.tell(Level.WARN, "own.namesake", message, path=namesakes[0])
        for name in unseen.missing() if unseen is not None else ():
            outcome.fail(name, lacking(join(self.directory, name)))

    def _behind(self, last: bytes, names: list[Named], is_source: bool) -> list[Named]:
        """The names behind the bookmark: only where they come in order was everything before it dealt with."""
        keys = [_key(named) for named in names]
        if is_source:
            if any(one >= other for one, other in pairwise([self._reached, *keys])):
                raise OrderError(self.directory)
            self._reached = keys[-1] if keys else self._reached
        return [named for named, key in zip(names, keys, strict=True) if key > last]

    def _listed(self, store: Lists, is_source: bool) -> Iterator[list[Named]]:
        """The names of the directory: by a flat listing where that saves requests."""
        travelled = self.task.listing if is_source else self.task.there
        if travelled is not None:
            return directory_names(unpacked(travelled), self._below[is_source])
        # A filter may keep whole subtrees out, which a flat listing would read all the same.
        walks = power(store, WalksPages) if self.context.flat[is_source] and self.proven else None
        if walks is None:
            return store.list(self.directory)
        marks = self.marks if is_source else Bookmarks()
        token = self.task.bookmark[0] if is_source and self.task.bookmark else ""
        return directory_names(marks.note(walks.walk_pages(self.directory, token)), self._below[is_source])

    def _take_in(self, names: list[Named]) -> None:
        sizes = [what[SIZE] for _, what in names if what[MODE] & TYPE_BITS != DIRECTORY_BITS]
        if len(sizes) < len(names):
            self.passed.extend(_directories(names))
        if self.rules.selection.sized:
            sizes = [
                what[SIZE] for _, what in names if what[MODE] & TYPE_BITS != DIRECTORY_BITS and self.sized(what)
            ]
        counts = self.outcome().counts
        counts["scanned_files"] += len(sizes)
        counts["scanned_bytes"] += sum(sizes)

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
                self.remove(named)
        return True

    def _own(self, named: Named) -> bool:
        """Whether it is this run's own state, log or report file, under whatever name it is reached."""
        ident = (named[1][DEV], named[1][IDENT])
        for path in self.rules.own:
            try:
                st = os.stat(path)
            except OSError:
                continue
            if (st.st_dev, st.st_ino) == ident:
                return True
        return False


def _key(named: Named) -> bytes:
    return sort_key(named[0], named[1][MODE] & TYPE_BITS == DIRECTORY_BITS)


def _directories(names: Iterable[Named]) -> Iterator[str]:
    return (name for name, what in names if what[MODE] & TYPE_BITS == DIRECTORY_BITS)
