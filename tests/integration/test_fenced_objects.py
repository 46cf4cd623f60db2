"""Uploads of a unit whose lease runs out in the last instant, against servers that keep conditions.

The guard lets the worker pass; then, before its request is there, it is stopped, and a successor uploads a newer
version. With servers that ignore the condition (`rclone serve s3`) the older one would stand there: `workers.fence`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Action
from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.report import NullReport
from dunlin.stores.open import Far
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome
from dunlin.workers.context import Rules
from dunlin.workers.setup import Setup, build
from dunlin.workers.tasks import Move, Scan, Task
from dunlin.workers.units import run_unit
from tests.acceptance.clouds import KINDS, Cloud, cloud

SCAN = Scan("")
SIZES = {"in one request": 100, "streamed": 3 << 20, "in parts": 7 << 20}


class Stopped:
    """A guard: when the file has been read to its end and the guard has let it pass, the successor writes."""

    def __init__(self, bucket: Cloud, passes: int, stopped: bool) -> None:
        self.bucket = bucket
        self.passes = passes
        self.stopped = stopped
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        if self.looks == self.passes:
            self.bucket.put({"f": b"newer"})
        if self.looks > self.passes and self.stopped:
            raise DunlinError("finish", "f", ErrorKind.INTERRUPTED, "its lease ran out")


def upload(bucket: Cloud, source: Path, guard: Stopped, unit: Task = SCAN) -> Outcome:
    setup = Setup(
        f"file://{source}", bucket.url, Options(perms=True), Rules(Policy(perms=True), run="0badc0de"), hands=1,
        target_far=Far(login=bucket.login),
    )  # fmt: skip
    shared = Bucket.create()
    context = build(setup, shared, 1, NullReport(), guard)
    outcome = run_unit(context, unit, lambda part: None)
    assert context.site.hands is not None
    context.site.hands.close()
    for store in (context.site.source, context.site.target):
        store.close()
    shared.close()
    return outcome


@pytest.fixture(params=KINDS)
def bucket(request: pytest.FixtureRequest) -> Cloud:
    return cloud(request, request.param)


@pytest.fixture(params=SIZES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/f").write_bytes(os.urandom(SIZES[request.param]))
    return tmp_path / "source"


def looks(bucket: Cloud, source: Path) -> int:
    """How often the guard is asked until an upload is done."""
    guard = Stopped(bucket, 0, stopped=False)
    assert upload(bucket, source, guard).counts["copied_files"] == 1
    bucket.delete("f")
    return guard.looks


def test_a_zombies_late_upload_does_not_replace_a_newer_object(bucket: Cloud, source: Path) -> None:
    guard = Stopped(bucket, looks(bucket, source), stopped=True)
    outcome = upload(bucket, source, guard)
    assert bucket.content() == {"f": b"newer"}
    assert outcome.counts["copied_files"] == 0
    assert outcome.fatal is None or outcome.fatal[0] == ErrorKind.INTERRUPTED.value


def test_whoever_holds_its_lease_replaces_what_somebody_put_there(bucket: Cloud, source: Path) -> None:
    guard = Stopped(bucket, looks(bucket, source), stopped=False)
    outcome = upload(bucket, source, guard)
    assert bucket.content() == {"f": (source / "f").read_bytes()}
    assert (outcome.counts["copied_files"], outcome.failed) == (1, [])


def test_an_object_that_is_replaced_is_written_once(bucket: Cloud, source: Path) -> None:
    """It is looked at first, where its turn comes: a refused upload would have been for nothing."""
    asked = looks(bucket, source)
    bucket.put({"f": b"old"})
    guard = Stopped(bucket, 0, stopped=False)
    outcome = upload(bucket, source, guard, Move("", (("f", (source / "f").stat().st_size, int(Action.COPY), True),)))
    assert (outcome.counts["copied_files"], guard.looks) == (1, asked)
    assert bucket.content() == {"f": (source / "f").read_bytes()}
