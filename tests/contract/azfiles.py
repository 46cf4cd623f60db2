"""Azure Files keeps the contract: on the emulator, in a share of its own for each test."""

from __future__ import annotations

from collections.abc import Callable

from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.base import Store
from tests.contract.objects import Wanted


def _share(wanted: Wanted) -> Store:
    server = wanted("azfiles")
    return open_place(place_of(f"azfiles://{server.share()}", server.login))


def _below(wanted: Wanted) -> Store:
    """The contract holds for a directory of a share, too."""
    server = wanted("azfiles")
    store = open_place(place_of(f"azfiles://{server.share()}/a root/of two", server.login))
    store.make_directory("")
    return store


SHARES: dict[str, Callable[[Wanted], Store]] = {"azfiles": _share, "azfiles-below": _below}
