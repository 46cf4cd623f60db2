"""Rules made ready: the pair's idea of equal names, and what a fingerprint stands for."""

from __future__ import annotations

import pytest

from dunlin.filters.selection import Selection
from dunlin.plan import Policy
from dunlin.stores.base import Caps
from dunlin.workers.context import TEMPORARY, Rules, collation
from dunlin.workers.setup import token
from tests.unit.workers.conftest import World

BYTES = Caps()
FOLDING = Caps(case_sensitive=False, preserves_form=False)
CASE = Caps(case_sensitive=False)
FORM = Caps(preserves_form=False)


@pytest.mark.parametrize(
    ("source", "target", "names", "same"),
    [
        (BYTES, FOLDING, ("Readme", "README"), True),
        (FOLDING, BYTES, ("Readme", "README"), True),
        (BYTES, CASE, ("straße", "STRASSE"), True),
        (BYTES, CASE, ("Éa", "éa"), True),
        (BYTES, FORM, ("é", "e\u0301"), True),
        (BYTES, FORM, ("a", "A"), False),
        (BYTES, FOLDING, ("e\u0301", "É"), True),
        (BYTES, FOLDING, ("a\udcff", "A\udcff"), True),
        (BYTES, FOLDING, ("a", "b"), False),
    ],
)
def test_collation(source: Caps, target: Caps, names: tuple[str, str], same: bool) -> None:
    collate = collation(source, target)
    assert collate is not None
    assert (collate(names[0]) == collate(names[1])) is same


def test_two_exact_stores_need_no_collation() -> None:
    assert collation(BYTES, BYTES) is None


def test_the_seed_stands_for_what_in_sync_means(world: World) -> None:
    base = world.context(policy=Policy())
    same = [Policy(delete=True)]
    other = [Policy(perms=True), Policy(compare="size"), Policy(links=True), Policy(window=5), Policy(owner=True)]
    for policy in same:
        assert world.context(policy=policy).seed == base.seed
    for policy in other:
        assert world.context(policy=policy).seed != base.seed
    assert world.context(policy=Policy(), selection=Selection(max_depth=3)).seed != base.seed


def test_a_doubtful_directory_is_compared_by_content_and_otherwise_as_asked(world: World) -> None:
    policy = Policy(perms=True, window=3)
    assert world.context(policy=policy).suspect == policy._replace(compare="checksum")


@pytest.mark.parametrize("number", [0, 1, 15, 255])
def test_temporary_names_tell_run_and_mover(number: int) -> None:
    name = f".dunlin-{token(Rules(run='0badc0de'), number)}-{number}.tmp"
    match = TEMPORARY.fullmatch(name)
    assert match is not None
    assert match[1] == "0badc0de"
    assert int(match[2], 16) == number


@pytest.mark.parametrize(
    "name", [".dunlin-state", ".dunlin-0badc0de.tmp", "x.dunlin-0badc0de01-1.tmp", ".dunlin-0-1.tmp"]
)
def test_other_names_are_not_temporary(name: str) -> None:
    assert TEMPORARY.fullmatch(name) is None
