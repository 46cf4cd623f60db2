"""What every unit of a run needs to know, in any process: how to look, how to decide, how to move."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dunlin import plan
from dunlin.filters import Selection
from dunlin.model import Collate, Same
from dunlin.stores.base import Caps
from dunlin.transfer.site import Site

TEMPORARY = re.compile(r"\.dunlin-([0-9a-f]{8})([0-9a-f]{0,4})-(?:[0-9a-z]+|prob\S{1,2})\.tmp")
"""Names of temporary files: 8 digits of the run, then the mover. `prob...` is that of `stores.probe`."""

STALE = 24 * 3600 * 1_000_000_000
"""ns after which a temporary file of an unknown run is removed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a run looks and decides; sent to every mover once.

    Attributes:
        policy: what decides about a name.
        selection: which names take part.
        mode: "sync" does, "plan" prints what it would do, "check" compares and tells.
        delete_excluded: filtered names at the destination are extras.
        trust_state: a directory whose source is as recorded is not looked up at the destination.
        record: state is kept, so rows of files in sync are wanted once.
        own: absolute paths of the state file, the log, ...: never part of a tree.
        skip_source, skip_target: paths below the roots that never take part: one side lying in the
            other, the backup directory.
        roots: device and inode of either local root: a directory that is one of them is never entered from
            the other side, whatever mount or link leads there.
        run: 8 hexadecimal digits that name the run in temporary files.
        dead: the same of runs that are known to be over.
    """

    policy: plan.Policy = field(default_factory=plan.Policy)
    selection: Selection = field(default_factory=Selection)
    mode: str = "sync"
    delete_excluded: bool = False
    trust_state: bool = False
    record: bool = True
    own: tuple[str, ...] = ()
    skip_source: frozenset[str] = frozenset()
    skip_target: frozenset[str] = frozenset()
    roots: frozenset[tuple[int, int]] = frozenset()
    run: str = "00000000"
    dead: frozenset[str] = frozenset()


@dataclass(slots=True)
class Context:
    """`Rules` made ready in one process, with the site it works on."""

    site: Site
    rules: Rules
    now: Callable[[], int]
    refused: dict[str, str] = field(default_factory=dict)
    same: Same = field(init=False)
    suspect: plan.Policy = field(init=False)
    collate: Collate | None = field(init=False)
    seed: bytes = field(init=False)
    span: int = field(init=False)
    own_names: frozenset[str] = field(init=False)
    root_inodes: frozenset[int] = field(init=False)
    warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        policy = self.rules.policy
        self.same = plan.same(policy)
        self.suspect = replace(policy, compare="checksum")
        self.collate = collation(self.site.source.caps, self.site.target.caps)
        # What a directory's fingerprint also stands for: the rules under which it was found in sync.
        rules = (replace(policy, delete=False), self.rules.selection.fingerprint(), self.site.options.xattr_space)
        self.seed = hashlib.blake2b(repr(rules).encode(), digest_size=16).digest()
        self.span = 6 if policy.attributes else 5
        self.root_inodes = frozenset(inode for _, inode in self.rules.roots)
        self.own_names = frozenset(os.path.basename(path) for path in self.rules.own)


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
