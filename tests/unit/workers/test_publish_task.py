"""Destinations of publishing: nothing becomes final there once the lease of the unit is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Lease
from dunlin.report import RecordingReport
from dunlin.stores.base import Body, Data, Meta, Store
from dunlin.stores.login import Login
from dunlin.workers import publish_task
from dunlin.workers.fence import Held, bound, guard
from dunlin.workers.publish_task import LONGEST, PublishTasks, TaskOptions, guarded
from dunlin.workers.publish_words import VERSION, PublishFile, PublishUnit, Root, pack
from tests.servers.faults import Rules, faults
from tests.servers.s3 import S3


def held() -> Held:
    return Held(Lease("1", "publish", "k", b"", 1, float("inf")))


def body(mine: Held, blocks: int = 2) -> Body:
    """Content that loses its lease with the last block."""

    def open_at(start: int) -> Iterator[Data]:
        for n in range(blocks):
            if n == blocks - 1:
                mine.lost = True
            yield b"12345678"

    return Body(8 * blocks, open_at)


def test_a_local_file_gets_no_name_without_a_lease(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"newer")
    store = guarded(str(tmp_path), Login(), guard(), "0123abcd")
    mine = held()
    try:
        with bound(mine), pytest.raises(DunlinError) as caught:
            store.write("a", body(mine), meta=Meta())
    finally:
        store.close()
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", b"newer")]


def test_the_last_look_is_right_before_the_name(tmp_path: Path) -> None:
    """Whoever is stopped after the last byte was read, and wakes up with everything on disk, renames nothing."""
    mine, looks = held(), 0

    def stopped() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:  # after those before the write and after its last byte
            mine.lost = True
        guard()()

    (tmp_path / "a").write_bytes(b"newer")
    store = guarded(str(tmp_path), Login(), stopped, "0123abcd")
    try:
        with bound(mine), pytest.raises(DunlinError):
            store.write("a", Body(8, lambda start: iter((b"12345678"[start:],))), meta=Meta())
    finally:
        store.close()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", b"newer")]


@pytest.fixture
def bucket(rclone_s3: S3) -> str:
    return rclone_s3.bucket()


def opened(server: S3, bucket: str, origin: str = "") -> Store:
    keys = {"access_key_id": server.key_id, "secret_access_key": server.secret, "endpoint": origin or server.url}
    return guarded(f"s3://{bucket}", Login(keys), guard(), "0123abcd")


def objects(server: S3, bucket: str) -> list[str]:
    client = server.client()
    found = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    client.close()
    return found


def test_a_request_that_failed_is_not_made_again_without_a_lease(
    rclone_s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zombie of finding 5: its first request is broken, and when it would be made again it has slept."""
    mine = held()
    with faults(rclone_s3.url, Rules(busy=1.0)) as proxy:

        def slept(gate: object, error: DunlinError, attempt: int = 1, wait: float = 0.0) -> None:
            proxy.rules = Rules()  # the next one would come through
            mine.lost = True

        monkeypatch.setattr(publish_task.Gate, "note", slept)
        store = opened(rclone_s3, bucket, proxy.origin)
        try:
            with bound(mine), pytest.raises(DunlinError) as caught:
                store.write("a", Body(4, lambda start: iter((b"data"[start:],))), meta=Meta())
        finally:
            store.close()
    assert caught.value.kind is ErrorKind.INTERRUPTED
    assert objects(rclone_s3, bucket) == []


@pytest.mark.parametrize("blocks", [1, 3])
def test_an_object_is_not_sent_without_a_lease(rclone_s3: S3, bucket: str, blocks: int) -> None:
    mine = held()
    store = opened(rclone_s3, bucket)
    try:
        with bound(mine), pytest.raises(DunlinError):
            store.write("a", body(mine, blocks), meta=Meta())
    finally:
        store.close()
    assert objects(rclone_s3, bucket) == []


def test_how_long_a_unit_may_take() -> None:
    tasks = PublishTasks(lambda place: (place, Login()), TaskOptions(), RecordingReport())

    def lease(files: int, seconds: float) -> Lease:
        unit = PublishUnit(
            VERSION, "job", 1, 0, "s3://b", "b", seconds, 0.0, ["/"], [Root("/x", False, False)],
            [PublishFile(n, 0, f"{n}", f"store/{n}", 4) for n in range(files)],
        )  # fmt: skip
        return Lease("1", "publish", "k", pack(unit), 1, 0.0)

    assert [tasks.limit(lease(3, 60.0)), tasks.limit(lease(250, 1800.0))] == [180.0, LONGEST]
