"""The stores that have to keep the contract, by name: each by itself and in the wrappers that let writes through.

What a store cannot do on purpose stands here, too. A test that needs a power runs over the stores that must have it
(`@needs(Walks)`), so that nothing is skipped while the tests run;
`test_powers.test_a_store_has_every_power_but_those_it_lacks_on_purpose` holds every store to this table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dunlin.report import RecordingReport
from dunlin.stores.base import (
    Copies,
    CopiesBatch,
    DropsMarkers,
    Fetches,
    FetchesDressed,
    Finds,
    HasSpace,
    KeepsBegun,
    KnowsBirths,
    LooksAt,
    MakesDirs,
    MakesLinks,
    Moves,
    Parts,
    ReadsBatch,
    RemovesDirs,
    StatesDigests,
    Store,
    Syncs,
    Walks,
    WalksPages,
    WritesBatch,
)
from dunlin.stores.local import LocalStore, WriteOptions, local_caps
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import POWERS, Counted, Guarded, Paced, ReadOnly, Retrying, UnlessThere
from tests.contract import azure as _azure  # noqa: F401 - registers its service
from tests.contract import gcs as _gcs  # noqa: F401 - registers its service
from tests.contract import s3 as _s3  # noqa: F401 - registers its service
from tests.contract.azfiles import SHARES
from tests.contract.objects import SERVICES, Wanted
from tests.contract.support import FreeBucket, once

Factory = Callable[[Path], Store]

# ---- which there are ----


def _local(**options: Any) -> Factory:
    return lambda path: LocalStore(str(path), options=WriteOptions(**options), caps=local_caps(str(path)))


FACTORIES: dict[str, Factory] = {
    "memory": lambda path: MemoryStore(),
    "local": _local(),
    "local-durable": _local(fsync_file=True),
    "local-in-place": _local(in_place=True),
    "local-sparse": _local(sparse=True),
    "local-push": _local(push=True),
}

WRAPPERS: dict[str, tuple[Callable[[Any], Any], frozenset[type]]] = {
    "Counted": (lambda store: Counted(store, RecordingReport()), frozenset()),
    "Paced": (
        lambda store: Paced(store, FreeBucket()),
        frozenset({Copies, CopiesBatch, ReadsBatch, WritesBatch}),
    ),
    "Retrying": (lambda store: Retrying(store, once), frozenset()),
    "Guarded": (lambda store: Guarded(store, lambda: None), frozenset()),
    "UnlessThere": (UnlessThere, frozenset()),
    "ReadOnly": (
        ReadOnly,
        frozenset({MakesDirs, RemovesDirs, DropsMarkers, Moves, Syncs, CopiesBatch, WritesBatch, Parts}),
    ),
}
"""Each wrapper, and the powers that it keeps back."""

WRAPPED: dict[str, tuple[str, ...]] = {
    "counted": ("Counted",),
    "paced": ("Paced",),
    "retrying": ("Retrying",),
    "stack": ("Counted", "Paced", "Retrying"),
}
"""The first word in the name of a store in wrappers, and those, the outermost first."""

KINDS: dict[str, str] = {
    **{name: name.partition("-")[0] for name in FACTORIES},
    **dict.fromkeys(SERVICES, "objects"),
    **dict.fromkeys(SHARES, "share"),
}
"""The stores without wrappers, and which line of `LACKS` each belongs to."""

STORES: frozenset[str] = frozenset({
    *KINDS,
    *(f"{word}-{inner}" for word in WRAPPED for inner in ("local", "memory", "objects", "azfiles") if word != "stack"),
    "stack-local",
})  # fmt: skip


def parts_of(name: str) -> tuple[tuple[str, ...], str]:
    """The wrappers of a store, the outermost first, and the name of the one inside."""
    words, _, inner = name.partition("-")
    return (WRAPPED[words], inner) if words in WRAPPED else ((), name)


def make(name: str, wanted: Wanted, root: Path) -> Store:
    """The empty store of a name.

    Args:
        name: one of `STORES`
        wanted: finds the fixture of a server
        root: an empty directory, for a local one
    """
    wrappers, inner = parts_of(name)
    made: Store
    if inner in FACTORIES:
        made = FACTORIES[inner](root)
    else:
        made = SHARES[inner](wanted) if inner in SHARES else ObjectStore(SERVICES[inner](wanted))
    for wrapper in reversed(wrappers):
        made = WRAPPERS[wrapper][0](made)
    return made


# ---- what they lack ----

LACKS: dict[str, frozenset[type]] = {
    "local": frozenset(
        {KeepsBegun, LooksAt, DropsMarkers, Walks, WalksPages, Fetches, FetchesDressed, Finds, StatesDigests}
    ),
    "memory": frozenset({
        *(KeepsBegun, LooksAt, DropsMarkers, WalksPages, Fetches, FetchesDressed, Finds),
        *(StatesDigests, Copies, CopiesBatch, ReadsBatch, WritesBatch, KnowsBirths, Parts),
    }),
    "objects": frozenset({
        *(KeepsBegun, LooksAt, RemovesDirs, MakesLinks, HasSpace, Syncs, KnowsBirths, CopiesBatch, ReadsBatch),
        *(WritesBatch, FetchesDressed),
    }),
    "share": frozenset({
        *(DropsMarkers, MakesLinks, Syncs, KnowsBirths, CopiesBatch, ReadsBatch, Walks, WalksPages, Finds),
        *(StatesDigests, Parts, WritesBatch),
    }),
    "none": frozenset(POWERS),
}  # fmt: skip
"""What each kind of store cannot do, on purpose."""

IN_PLACE = frozenset({"local-in-place"})
"""Stores that do not write whole or not at all: a mixture is what was asked for."""

ONE_HAND = IN_PLACE | {"gcs", "objects-paged"}
"""Stores that begin no large file for many hands: in place there is nothing to complete, an upload of Google's takes
its parts one after the other, and all parts of the paged one hold less than what the tests write."""


def lacks(name: str) -> frozenset[type]:
    """The powers that a store must not have: those its kind lacks, and those its wrappers keep back."""
    wrappers, inner = parts_of(name)
    return LACKS[KINDS[inner]].union(*(WRAPPERS[wrapper][1] for wrapper in wrappers))


def of(*kinds: str) -> frozenset[str]:
    """The stores of some kinds, in wrappers or not."""
    return frozenset(name for name in STORES if KINDS[parts_of(name)[1]] in kinds)


def needs(*powers: type, among: frozenset[str] = STORES) -> pytest.MarkDecorator:
    """A test runs over the stores that must have all these powers.

    Args:
        powers: what the test asks of its store
        among: the stores that it is about
    """
    names = sorted(name for name in among if not lacks(name) & set(powers))
    return pytest.mark.parametrize("store", names, indirect=True)
