"""Asking a store what its server does with the case and the spelling of names."""

from __future__ import annotations

import unicodedata
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Deletes, Meta, Stats, Writes


class Probed(Stats, Writes, Deletes, Protocol):
    """What the test needs."""


_NAME = unicodedata.normalize("NFC", ".dunlin-{run}-probé.tmp")


def probe_case(store: Probed, run_id: str = "0") -> tuple[bool, bool]:
    """Whether `Readme` and `README` are two names, and whether NFC and NFD spellings are.

    Writes an empty file into the root, asks for it under other spellings, and removes it; `run_id` is part of its
    name, so that the next run knows whose it was if this one dies here. Raises what writing and looking raise.
    """
    name = _NAME.format(run=run_id)
    store.write(name, Body(0, lambda start: iter(())), meta=Meta())
    try:
        folded = _there(store, name.replace("probé", "PROBÉ"))
        normalised = _there(store, unicodedata.normalize("NFD", name))
    finally:
        store.delete([name])
    return not folded, not normalised


def _there(store: Stats, name: str) -> bool:
    try:
        store.stat(name)
    except DunlinError as error:
        if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.NAME):
            return False
        raise
    return True
