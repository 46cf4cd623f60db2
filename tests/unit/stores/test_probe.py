"""Stores that fold case or spelling are found out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Entry
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import MemoryStore
from dunlin.stores.probe import probe_case
from tests.contract.support import names


class Folding:
    """A store whose server regards names as equal that `fold` maps to one."""

    def __init__(self, fold: Callable[[str], str]) -> None:
        self.inner = MemoryStore()
        self.fold = fold

    def stat(self, path: str) -> Entry:
        return self.inner.stat(self.fold(path))

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        return self.inner.write(self.fold(path), body, meta=meta, if_absent=if_absent)

    def delete(self, paths: Sequence[str]) -> list[bool]:
        return self.inner.delete([self.fold(path) for path in paths])


@pytest.mark.parametrize(
    ("fold", "wanted"),
    [
        (lambda name: name, (True, True)),
        (str.casefold, (False, True)),
        (lambda name: unicodedata.normalize("NFD", name), (True, False)),
        (lambda name: unicodedata.normalize("NFC", name.casefold()), (False, False)),
    ],
)
def test_probe(fold: Callable[[str], str], wanted: tuple[bool, bool]) -> None:
    store = Folding(fold)
    assert probe_case(store) == wanted
    assert names(store.inner) == []


def test_a_store_that_fails_is_not_a_store_that_folds() -> None:
    store = MemoryStore()
    broken = DunlinError("look at", "x", ErrorKind.IO)
    store.faults["stat", unicodedata.normalize("NFD", ".dunlin-0-probé.tmp")] = broken
    with pytest.raises(DunlinError) as error:
        probe_case(store)
    assert error.value is broken
    assert names(store) == []
