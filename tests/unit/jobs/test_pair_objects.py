"""Pairs of which a side is an object store: what is mistyped, how they lie to each other, what they can hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin import transfer
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import SyncOptions, Watch
from dunlin.jobs.pair import PairOfStores, open_pair, resolve_attributes, resolve_policy
from dunlin.jobs.remembered import remembered
from dunlin.plan import Policy
from dunlin.report import NullReport
from dunlin.state.store import State
from dunlin.stores.memory import CAPS
from dunlin.stores.objects import place
from dunlin.stores.objects.store import ObjectStore
from tests.unit.stores.objects.fake_service import FakeService

OBJECTS = ObjectStore(FakeService()).caps

Opening = Callable[..., PairOfStores]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    service = FakeService()
    monkeypatch.setattr(place, "open_service", lambda *_, **__: service)
    return service


@pytest.fixture
def opening(tmp_path: Path, bucket: FakeService) -> Opening:
    def make(source: str, destination: str = "", **fields: object) -> PairOfStores:
        pair = open_pair(SyncOptions(source, destination or str(tmp_path / "target"), **fields))  # type: ignore[arg-type]
        pair.source_store.close()
        pair.target_store.close()
        return pair

    return make


@pytest.mark.parametrize("fields", [{}, {"mode": "plan"}])
def test_a_prefix_with_nothing_below_it_is_mistyped(
    opening: Opening, bucket: FakeService, fields: dict[str, object]
) -> None:
    bucket.put("photos/a", b"x", {})
    with pytest.raises(DunlinError) as caught:
        opening("s3://bucket/photso", **fields)
    assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.NOT_FOUND, 1)
    assert "photso/" in caught.value.reason
    with pytest.raises(DunlinError) as caught:
        opening("s3://bucket", begin="photso")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert opening("s3://bucket", begin="pho").source_empty is False


def test_an_empty_bucket_and_what_somebody_vouches_for_are_empty(opening: Opening) -> None:
    assert opening("s3://bucket").source_empty
    assert opening("s3://bucket/p", accept_source=True).source_empty
    assert opening("s3://bucket/p", watch=Watch()).source_empty


def test_a_prefix_in_a_prefix_takes_no_part(opening: Opening, bucket: FakeService) -> None:
    bucket.put("p/a", b"x", {})
    assert opening("s3://bucket/p", "s3://bucket/p/in//ner").skip_source == frozenset({"in/\u201b_/ner"})
    bucket.put("p/q/a", b"x", {})
    assert opening("s3://bucket/p/q", "s3://bucket/p").skip_target == frozenset({"q"})
    assert opening("s3://bucket/p/q", "s3://bucket").skip_target == frozenset({"p/q"})
    beside = opening("s3://bucket/p", "s3://bucket/p2")
    assert (beside.skip_source, beside.skip_target) == (frozenset(), frozenset())


def test_what_is_only_put_down_beside_an_object_needs_no_right() -> None:
    asked = Policy(perms=True, owner=True, group=True, hard_links=True, links=True)
    policy = resolve_policy(asked, CAPS, OBJECTS)
    assert (policy.perms, policy.owner, policy.group, policy.groups) == (True, True, True, None)
    assert (policy.plain, policy.hard_links) == (True, False)
    local = resolve_policy(asked, OBJECTS, CAPS)
    assert (local.plain, local.hard_links, local.owner) == (False, True, os.geteuid() == 0)


def test_attributes_that_objects_have_not_are_dropped_with_a_line() -> None:
    asked = transfer.Options(xattrs=True, acls=True)
    for source, target, side in ((CAPS, OBJECTS, "destination"), (OBJECTS, CAPS, "source")):
        kept, line = resolve_attributes(asked, source, target)
        assert (kept.xattrs, kept.acls) == (False, False)
        assert line.startswith("extended attributes and ACLs are not kept")
        assert side in line
    assert resolve_attributes(asked, CAPS, CAPS) == (asked, "")
    assert resolve_attributes(transfer.Options(), CAPS, OBJECTS) == (transfer.Options(), "")


def test_what_a_check_may_know(opening: Opening, bucket: FakeService, tmp_path: Path) -> None:
    bucket.put("a", b"x", {})
    pair = opening("s3://bucket")
    path = str(tmp_path / "state.db")
    options = SyncOptions("s3://bucket", pair.target, mode="check", state_db=path)
    assert remembered(options, pair) == ("", 0)
    state = State.open(path, NullReport())
    state.pair("elsewhere", pair.target, "")
    assert remembered(options, pair) == ("", 0)
    number = state.pair(pair.source, pair.target, "").id
    state.close()
    assert remembered(options, pair) == (path, number)
    assert remembered(options._replace(state_db="none"), pair) == ("", 0)
    pair.source_far = None
    assert remembered(options, pair) == ("", 0)


def test_a_state_that_cannot_be_read_only_means_to_know_less(
    opening: Opening, bucket: FakeService, tmp_path: Path
) -> None:
    bucket.put("a", b"x", {})
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    pair = opening("s3://bucket")
    options = SyncOptions("s3://bucket", pair.target, mode="plan", state_db=str(tmp_path / "state.db"))
    assert remembered(options, pair) == ("", 0)
