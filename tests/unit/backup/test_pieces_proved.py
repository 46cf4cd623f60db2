"""Damaged pieces and joins, lost answers: nothing goes that is needed still, and what is damaged is in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import pieces
from dunlin.backup.repository import Area, Repository
from dunlin.backup.verified import Subset
from dunlin.backup.verify import verify
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tenant import Tenant


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pieces of like size are joined, so that a test needs few backups."""
    monkeypatch.setattr(pieces, "FEW", 1)


def cached(tenant: Tenant, folder: Path) -> Area:
    """The same share for a process that keeps what it reads and writes."""
    config, secrets, _ = tenant.area.repository.told("t")
    return Repository(tenant.objects, config, secrets, folder).area("t", "s")


def rot(tenant: Tenant, key: str) -> None:
    raw = bytearray(tenant.objects.get(key))
    raw[len(raw) // 2] ^= 1
    tenant.objects.put(key, raw)


def put_join(tenant: Tenant, made: Sequence[str], of: Sequence[str]) -> str:
    name = new_id()
    lines = [*(f"+ {each}" for each in made), *(f"- {each}" for each in of)]
    text = "\n".join(["dunlin joins 1", *lines, f"end {len(lines)}"])
    tenant.area.put_container(f"{tenant.listed().directory}/{name}{pieces.SUFFIX}", text.encode())
    return name


@pytest.mark.parametrize("keeps", [False, True])
def test_what_was_joined_stays_where_the_store_has_lost_what_was_made_of_it(
    keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it does not see that: it reads its own copy."""
    tenant = Tenant()
    other = tenant.area
    tenant.area = cached(tenant, tmp_path) if keeps else other
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "FEW", 1)
        tenant.back_up()
        tenant.back_up()
    there = tenant.listed()
    (join,) = pieces._known(tenant.area, there).joins
    (made,) = join.made
    rot(tenant, there.pieces[made].key)
    tenant.back_up()
    assert join.of <= tenant.listed().pieces.keys()
    mine, tenant.area = tenant.area, other
    assert all(tenant.found())
    monkeypatch.setattr(pieces, "FEW", 1)
    for _ in range(3):
        tenant.area = mine
        tenant.back_up()
        tenant.area = other
        assert all(tenant.found())
    assert join.id not in tenant.listed().joins
    assert not join.of & tenant.listed().pieces.keys()


@pytest.mark.usefixtures("eager")
def test_a_prune_counts_on_no_copy_of_a_piece_either(tmp_path: Path) -> None:
    tenant = Tenant(append_only=True)
    tenant.area = cached(tenant, tmp_path)
    tenant.back_up()
    tenant.back_up()
    there = tenant.listed()
    (join,) = pieces._known(tenant.area, there).joins
    (made,) = (there.pieces[name].key for name in join.made)
    sources = {there.pieces[name].key for name in join.of}
    assert pieces.superfluous(tenant.area, True, frozenset()).keys() == sources
    rot(tenant, made)
    assert pieces.superfluous(tenant.area, True, frozenset()).keys() == {there.key(join.id)}
    # What is written anew from what was read need not be there.
    assert pieces.superfluous(tenant.area, True, {made}).keys() == sources | {there.key(join.id)}


def test_what_a_newer_join_contains_is_proved_by_it() -> None:
    """A piece that one join made is gone, since another contains it: what that one made must be whole for both."""
    tenant = Tenant()
    for _ in range(3):
        tenant.back_up()
    first, second, newest = tenant.listed().pieces
    between = new_id()
    one = put_join(tenant, [between], [first, second])
    two = put_join(tenant, [newest], [between])
    there = tenant.listed()
    known = pieces._known(tenant.area, there)
    assert [join.id for join in known.joins] == [two, one]
    assert pieces._proved(tenant.area, there, known) == known
    rot(tenant, there.pieces[newest].key)
    assert pieces._proved(tenant.area, there, known) == pieces.Known([], frozenset())


@pytest.mark.usefixtures("eager")
def test_a_join_whose_answer_was_lost_keeps_what_was_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = Tenant()
    tenant.back_up()
    put = Area.put_container

    def lost(self: Area, key: str, data: bytes | memoryview) -> int:
        size = put(self, key, data)
        if key.endswith(pieces.SUFFIX):
            raise DunlinError("write", key, ErrorKind.NETWORK, "the connection broke")
        return size

    with monkeypatch.context() as patch:
        patch.setattr(Area, "put_container", lost)
        with pytest.raises(DunlinError, match="connection broke"):
            tenant.back_up()
    (join,) = pieces._known(tenant.area, tenant.listed()).joins
    assert join.made <= tenant.listed().pieces.keys()
    for _ in range(3):
        tenant.back_up()
        assert all(tenant.found())
    assert not join.of & tenant.listed().pieces.keys()


@pytest.mark.usefixtures("eager")
def test_a_damaged_piece_is_contained_by_none_and_keeps_no_other_from_being_joined() -> None:
    tenant = Tenant(append_only=True)
    tenant.back_up()
    ((damaged, each),) = tenant.listed().pieces.items()
    tenant.objects.put(each.key, tenant.objects.get(each.key)[:10])
    for _ in range(5):
        tenant.back_up()
    known = pieces._known(tenant.area, tenant.listed())
    assert known.joins
    assert damaged not in known.contained
    assert len(pieces.read(tenant.area, True, [])) <= 2
    assert tenant.found()[1:] == [True] * 5


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("how", ["damaged", "what it made is damaged", "what it made is missing"])
def test_a_join_that_does_not_hold_is_named_by_the_next_and_read_no_more(how: str) -> None:
    tenant = Tenant(append_only=True)
    tenant.back_up()
    tenant.back_up()
    there = tenant.listed()
    (join,) = pieces._known(tenant.area, there).joins
    (made,) = (there.pieces[name].key for name in join.made)
    if how == "damaged":
        rot(tenant, there.key(join.id))
    elif how == "what it made is damaged":
        rot(tenant, made)
    else:
        tenant.store.delete([made])
    for _ in range(3):
        tenant.back_up()
    known = pieces._known(tenant.area, tenant.listed())
    assert join.id in known.contained
    tenant.fetched.clear()
    assert all(tenant.found())
    assert there.key(join.id) not in tenant.fetched
    told = [each.key for each in verify([tenant.area], data=Subset()).damages]
    assert told == ([made] if how == "what it made is damaged" else [])


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", [ErrorKind.IO, ErrorKind.CHECKSUM, ErrorKind.NEWER])
def test_a_verification_goes_on_behind_a_join_that_cannot_be_read(
    kind: ErrorKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = Tenant()
    tenant.back_up()
    tenant.back_up()
    ((_, join),) = tenant.listed().joins.items()
    real = tenant.objects.pieces

    def fails(key: str) -> Iterator[Any]:
        if key == join.key:
            raise DunlinError("read", "elsewhere", kind, "no good")
        return real(key)

    monkeypatch.setattr(tenant.objects, "pieces", fails)
    found = verify([tenant.area], data=Subset())
    assert [(each.what, each.key, each.reason) for each in found.damages] == [("index", join.key, "no good")]
    assert found.chunks == 0  # of snapshots: there are none
    assert found.read_packs == 2


@pytest.mark.usefixtures("eager")
def test_who_may_only_add_is_told_so_before_pieces_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = Tenant()
    remove = tenant.objects.remove
    tenant.back_up()
    tenant.back_up()
    (join,) = pieces._known(tenant.area, tenant.listed()).joins

    def refused(keys: Sequence[str]) -> None:
        if any("/chunks/" in key for key in keys):
            raise DunlinError("remove", keys[0], ErrorKind.DENIED, "not allowed")
        remove(keys)

    monkeypatch.setattr(tenant.objects, "remove", refused)
    monkeypatch.setattr(pieces, "FEW", 8)
    for expected in (1, 1):
        tenant.fetched.clear()
        tenant.back_up()
        (made,) = (tenant.listed().pieces[name].key for name in join.made)
        assert tenant.fetched.count(made) == expected  # to find what is stored, and not to prove it
    monkeypatch.setattr(tenant.objects, "remove", remove)
    tenant.fetched.clear()
    tenant.back_up()
    assert tenant.fetched.count(made) == 2
