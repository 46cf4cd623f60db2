"""How one process sees the pair: what asks before anything becomes final."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.report import NullReport
from dunlin.stores.login import Login
from dunlin.stores.open import Far
from dunlin.stores.wrap import UnlessThere
from dunlin.transfer import Options
from dunlin.workers.context import Rules
from dunlin.workers.setup import Setup, build


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket.create()
    yield made
    made.close()


def setup(tmp_path: str) -> Setup:
    keys = Login({"access_key_id": "k", "secret_access_key": "s", "endpoint": "http://127.0.0.1:9"})
    return Setup(
        f"file://{tmp_path}", "s3://bucket", Options(), Rules(Policy(), run="0badc0de"), target_far=Far(login=keys)
    )


def test_a_request_is_not_made_again_once_the_lease_is_lost(tmp_path: str, bucket: Bucket) -> None:
    lost: list[bool] = []

    def guard() -> None:
        if lost:
            raise DunlinError("finish", "f", ErrorKind.INTERRUPTED, "its lease ran out")

    gate = build(setup(tmp_path), bucket, 1, NullReport(), guard).site.gate
    assert gate is not None
    gate.sleep(0.0)
    lost.append(True)
    with pytest.raises(DunlinError) as raised:
        gate.sleep(0.0)
    assert raised.value.kind is ErrorKind.INTERRUPTED


def test_objects_are_created_on_a_condition_only_under_a_lease(tmp_path: str, bucket: Bucket) -> None:
    fenced = build(setup(tmp_path), bucket, 1, NullReport(), lambda: None).site
    assert isinstance(fenced.vacant, UnlessThere)
    alone = build(setup(tmp_path), bucket, 1, NullReport(), None).site
    assert alone.vacant is alone.target
    here = setup(tmp_path)._replace(target=f"file://{tmp_path}", target_far=None)
    local = build(here, bucket, 1, NullReport(), lambda: None)
    assert local.site.vacant is local.site.target
