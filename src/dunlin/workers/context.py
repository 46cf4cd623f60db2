"""What every unit of a run needs to know, in any process: how to look, how to decide, how to move."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dunlin import plan
from dunlin.compare.listing import Named
from dunlin.compare.recorded import source_times, surely, target_times
from dunlin.filters import Selection
from dunlin.hashing import blake2b
from dunlin.model import CTIME, IDENT, SIZE, Collate, Same, is_file, join
from dunlin.pace.window import Window
from dunlin.stores.base import Caps, Order
from dunlin.transfer.site import Site
from dunlin.workers.unseen import children_of

if TYPE_CHECKING:  # loaded only where a store is far away
    from dunlin.filters.rules import Matcher
    from dunlin.state.files import KnownFile
    from dunlin.workers.profiles import Profiles

TEMPORARY = re.compile(r"\.dunlin-([0-9a-f]{8})([0-9a-f]{0,4})-(?:[0-9a-z]+|prob\S{1,2})\.tmp")
"""Names of temporary files: 8 digits of the run, then the mover. `prob...` is that of `stores.probe`."""

STALE = 24 * 3600 * 1_000_000_000
"""ns after which a temporary file of an unknown run is removed."""

BEGUN = re.compile(r"\.dunlin-([0-9a-f]{16})-0\.part")
"""Names of downloads that can be continued (`stores.local.partial`); the group is the version."""

FORGOTTEN = 7 * STALE
"""ns after which one is removed when the source has that version no more."""


class Rules(NamedTuple):
    """How a run looks and decides; sent to every mover once.

    Attributes:
        policy: what decides about a name.
        selection: which names take part.
        mode: "sync" does, "plan" prints what it would do, "check" compares and tells.
        delete_excluded: filtered names at the destination are extras.
        begin: only names whose keys at the source begin with it take part, a plain string.
        trust_state: a directory whose source is as recorded is not looked up at the destination.
        settled: change times (ns) before this are settled: a directory in which all are older is not looked up
            there either, if its source is as recorded (`jobs.settled`); None: none are.
        record: state is kept, so rows of files in sync are wanted once.
        rows: also of those that a scan brought; False where the state is thrown away and the source never changes.
        own: absolute paths of the state file, the log, ...: never part of a tree.
        own_source, own_target: the same relative to the root that they lie below. On neither side does a name in their
            place take part.
        skip_source, skip_target: paths below the roots that never take part: one side lying in the
            other, the backup directory.
        roots: device and inode of either local root: a directory that is one of them is never entered from
            the other side, whatever mount or link leads there.
        run: 8 hexadecimal digits that name the run in temporary files.
        dead: the same of runs that are known to be over.
    """

    policy: plan.Policy = plan.Policy()
    selection: Selection = Selection()
    mode: str = "sync"
    delete_excluded: bool = False
    begin: str = ""
    trust_state: bool = False
    settled: int | None = None
    record: bool = True
    rows: bool = True
    own: tuple[str, ...] = ()
    own_source: frozenset[str] = frozenset()
    own_target: frozenset[str] = frozenset()
    skip_source: frozenset[str] = frozenset()
    skip_target: frozenset[str] = frozenset()
    roots: frozenset[tuple[int, int]] = frozenset()
    run: str = "00000000"
    dead: frozenset[str] = frozenset()


class Remembers(Protocol):
    """What the state remembers of files: from the state file itself (`state.known`), or as it came with a unit."""

    def rows(self, directory: str, names: Sequence[str]) -> Mapping[str, KnownFile]:
        """What is remembered of these names of a directory; the others are absent from the answer."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class Context:
    """`Rules` made ready in one process, with the site it works on."""

    def __init__(
        self,
        site: Site,
        rules: Rules,
        now: Callable[[], int],
        refused: dict[str, str] | None = None,
        known: Remembers | None = None,
        profiles: Profiles | None = None,
        window: Window | None = None,
    ) -> None:
        self.site = site
        self.rules = rules
        self.now = now
        self.refused = {} if refused is None else refused
        self.known = known
        self.profiles = profiles
        self.window = Window() if window is None else window
        self.warned: set[str] = set()
        policy = rules.policy
        self.same: Same = plan.same(policy)
        self.suspect = policy._replace(compare="checksum")
        # What a directory's fingerprint also stands for: the rules under which it was found in sync.
        found = (policy._replace(delete=False), rules.selection.fingerprint(), site.options.xattr_space)
        self.seed = blake2b(repr(found).encode(), digest_size=16).digest()
        source, target = site.source.caps, site.target.caps
        self.span = CTIME + 1 if policy.attributes else CTIME
        # An object's version is its etag; the mtime that a listing tells of it may be one that the state remembers.
        self.version = itemgetter(SIZE, CTIME, IDENT) if source.far else itemgetter(slice(0, self.span))
        self.collate = collation(source, target)
        # A source of twins for a destination that holds none clashes; the other way round nothing does.
        self.apart = target.twins
        wide = rules.selection.everything
        # A flat listing is cut into directories where these stay together, that is in the order of the keys.
        self.flat = {
            True: source.far and wide and source.order is Order.PROVEN,
            False: target.far and wide and target.order is Order.PROVEN,
        }
        self.root_inodes = frozenset(inode for _, inode in rules.roots)
        self.own_names = frozenset(os.path.basename(path) for path in rules.own)
        self.own = {
            True: frozenset(map(self._fold, rules.own_source)),
            False: frozenset(map(self._fold, rules.own_target)),
        }
        self.own_above = frozenset(path.rpartition("/")[0] for path in self.own[True] | self.own[False])
        files = rules.selection.files if source.far else None
        self.begin = self._fold(_begin_of_paths(rules.begin)) if rules.begin else ""
        self.listed = frozenset(path for path in files or () if self.begins(path, False))
        self.children = children_of(self.listed)

    def _fold(self, text: str) -> str:
        return text if self.collate is None else self.collate(text)

    def keeps_own(self, directory: str) -> bool:
        """Whether a file that the run itself writes lies in that directory of either side."""
        return bool(self.own_above) and self._fold(directory) in self.own_above

    def without_own(self, directory: str, names: list[Named], is_source: bool) -> tuple[list[Named], list[str]]:
        """The names in no place of such a file, and the paths of those in the place of one that the other side has."""
        kept, left = [], []
        for named in names:
            path = join(directory, named[0])
            place = self._fold(path)
            if place not in self.own[True] and place not in self.own[False]:
                kept.append(named)
            elif place not in self.own[is_source]:
                left.append(path)
        return kept, left

    def begins(self, path: str, is_directory: bool) -> bool:
        """Whether `Rules.begin` lets a name of the destination take part, or what may lie in the directory."""
        path = self._fold(path) + ("/" if is_directory else "")
        return path.startswith(self.begin) or (is_directory and self.begin.startswith(path))

    def prefixed(self, directory: str, takes: Matcher | None) -> Matcher | None:
        """`takes`, the filter by name for a directory of the destination (None: all), and `Rules.begin` as well.

        The source's store keeps to that by itself; here it is what keeps the other names from being extras.
        """
        if self._fold(f"{directory}/" if directory else "").startswith(self.begin):
            return takes

        def both(name: str, is_directory: bool) -> bool:
            return self.begins(join(directory, name), is_directory) and (takes is None or takes(name, is_directory))

        return both

    def timed(self, directory: str, names: list[Named], is_source: bool) -> list[Named]:
        """Names of a listing with the times that the state remembers, where the side is an object store."""
        source, target = self.site.source.caps, self.site.target.caps
        if self.rules.policy.attributes and self.known is not None and self.rules.mode != "check":
            rows = self.known.rows(directory, [name for name, what in names if is_file(what)])
            return surely(names, rows, is_source=is_source, etags=is_source == source.far)
        if not (source if is_source else target).far or not names:
            return names
        # The state holds one etag for each file: the source's, if that has etags.
        known: Mapping[str, KnownFile] = {}
        if self.known is not None and (is_source or not source.far):
            known = self.known.rows(directory, [name for name, what in names if is_file(what)])
        if is_source:
            return source_times(names, known, guess=self.rules.mode != "check")
        return target_times(names, known)


def _begin_of_paths(begin: str) -> str:
    """What the paths of all keys that begin with `begin` begin with."""
    from dunlin.stores.objects.keys import name_of

    *whole, part = begin.split("/")
    return "".join(f"{name_of(component)}/" for component in whole) + part


def collation(source: Caps, target: Caps) -> Collate | None:
    """The pair's idea of equal names: the coarser of the two sides', None for byte by byte."""
    fold = not (source.case_sensitive and target.case_sensitive)
    form = not (source.preserves_form and target.preserves_form)
    if not fold and not form:
        return None

    def collate(name: str) -> str:
        if name.isascii():
            return name.lower() if fold else name
        name = unicodedata.normalize("NFC", name)
        return unicodedata.normalize("NFC", name.casefold()) if fold else name

    return collate
