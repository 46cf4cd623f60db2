"""Azure Files keeps the contract: on the emulator, in a share of its own for each test."""

from __future__ import annotations

from collections.abc import Callable

from dunlin.report import RecordingReport
from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.base import Store
from dunlin.stores.wrap import Counted, Paced, Retrying
from tests.contract.objects import Wanted
from tests.contract.support import FreeBucket, once


def _share(wanted: Wanted) -> Store:
    server = wanted("azfiles")
    return open_place(place_of(f"azfiles://{server.share()}", server.login))


def _below(wanted: Wanted) -> Store:
    """The contract holds for a directory of a share, too."""
    server = wanted("azfiles")
    store = open_place(place_of(f"azfiles://{server.share()}/a root/of two", server.login))
    store.make_directory("")
    return store


STORES: dict[str, Callable[[Wanted], Store]] = {
    "azfiles": _share,
    "azfiles-below": _below,
    "counted-azfiles": lambda wanted: Counted(_share(wanted), RecordingReport()),
    "paced-azfiles": lambda wanted: Paced(_share(wanted), FreeBucket()),
    "retrying-azfiles": lambda wanted: Retrying(_share(wanted), once),
}
"""Each store of a share, by itself and in wrappers."""
