"""Whether a key exists: one look-up per key, a cache before it, and what was seen later counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.existence import FRESH, Existence, ExistenceOptions, Found
from dunlin.queue.ledger.words import Existence as Seen
from dunlin.report import RecordingReport
from dunlin.stores.objects.store import ObjectStore
from tests.unit.stores.objects.fake_service import FakeService

BUCKET = "bucket"


class Memory:
    """A cache in memory that may be away."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Seen] = {}
        self.ttl = 0.0
        self.away = False

    def _there(self) -> None:
        if self.away:
            raise DunlinError("reach the cache", "redis", ErrorKind.NETWORK, "connection refused")

    def get(self, bucket: str, key: str) -> Seen | None:
        self._there()
        return self.rows.get((bucket, key))

    def put(self, bucket: str, key: str, seen: Seen, ttl: float = 0.0) -> None:
        self.put_many(bucket, {key: seen}, ttl)

    def put_many(self, bucket: str, seen: Mapping[str, Seen], ttl: float = 0.0) -> None:
        self._there()
        self.ttl = ttl
        self.rows.update({(bucket, key): one for key, one in seen.items()})

    def delete(self, bucket: str, key: str) -> bool:
        self._there()
        return self.rows.pop((bucket, key), None) is not None


class Held(FakeService):
    """A service whose answers wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.asked = threading.Semaphore(0)
        self.under_way = self.most = 0
        self.count = threading.Lock()

    def head(self, key: str) -> Any:
        with self.count:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.asked.release()
        try:
            assert self.go.wait(20)
            return super().head(key)
        finally:
            with self.count:
                self.under_way -= 1


class Scene:
    def __init__(self) -> None:
        self.service = Held()
        self.cache = Memory()
        self.report = RecordingReport()
        self.now = 1000.0
        self.ticks = 0.0
        self.existence = self.made()

    def made(self, **options: Any) -> Existence:
        store = ObjectStore(self.service)
        return Existence(
            lambda: store,
            self.cache,
            ExistenceOptions(BUCKET, ("store/",), timeout=20.0)._replace(**options),
            self.report,
            clock=lambda: self.now,
            monotonic=lambda: self.ticks,
        )

    def check(self, key: str = "store/a") -> Found:
        return self.existence.check(key)

    def in_thread(self, act: Callable[[], Any]) -> Callable[[], Any]:
        """Begin `act` elsewhere; what is returned waits for what it returned."""
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(act())
            except DunlinError as error:
                results.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def result() -> Any:
            thread.join(20)
            return results[0]

        return result

    def begun(self) -> None:
        assert self.service.asked.acquire(timeout=20)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.service.go.set()
    made.existence.close()


def test_a_hit_asks_nobody(scene: Scene) -> None:
    scene.service.put("store/a", b"12345", {})
    assert scene.check() == Found(True, False, 1000.0, 5)
    scene.now = 2000.0
    assert scene.check() == Found(True, True, 1000.0, 5)
    assert scene.service.requests["head"] == 1
    assert scene.cache.rows == {(BUCKET, "store/a"): Seen(True, 5, 1000.0)}


def test_what_does_not_exist_is_remembered_too(scene: Scene) -> None:
    assert scene.check() == Found(False, False, 1000.0, 0)
    assert scene.check() == Found(False, True, 1000.0, 0)
    assert scene.service.requests == {"head": 1}


def test_a_directory_is_no_key(scene: Scene) -> None:
    scene.service.put("store/a/b", b"x", {})
    assert not scene.check().exists


@pytest.mark.parametrize(("key", "kind"), [("other/a", ErrorKind.DENIED), ("store/../a", ErrorKind.USAGE)])
def test_keys_that_may_not_be_asked_for(scene: Scene, key: str, kind: ErrorKind) -> None:
    for act in (scene.existence.check, scene.existence.invalidate):
        with pytest.raises(DunlinError) as caught:
            act(key)
        assert caught.value.kind is kind
    assert not scene.service.requests


def test_prefixes_of_one_who_asks(scene: Scene) -> None:
    assert not scene.existence.check("mine/a", ["mine/"]).exists
    with pytest.raises(DunlinError):
        scene.existence.check("store/a", ["mine/"])


def test_many_who_ask_for_one_key_make_one_request(scene: Scene) -> None:
    scene.service.put("store/a", b"1", {})
    scene.service.go.clear()
    answers = [scene.in_thread(scene.check) for _ in range(20)]
    scene.begun()
    scene.service.go.set()
    assert {answer().exists for answer in answers} == {True}
    assert scene.service.requests["head"] == 1


def test_no_more_look_ups_at_a_time_than_wanted(scene: Scene) -> None:
    scene.existence.close()
    scene.existence = scene.made(most=3)
    scene.service.go.clear()
    answers = [scene.in_thread(lambda n=n: scene.check(f"store/{n}")) for n in range(12)]
    for _ in range(3):
        scene.begun()
    scene.service.go.set()
    assert not any(answer().exists for answer in answers)
    assert scene.service.most == 3
    assert scene.service.requests["head"] == 12


def test_whoever_asks_waits_no_longer_than_the_time_out(scene: Scene) -> None:
    scene.existence.close()
    scene.existence = scene.made(timeout=0.01)
    scene.service.go.clear()
    with pytest.raises(DunlinError) as caught:
        scene.check()
    assert caught.value.kind is ErrorKind.TIMEOUT
    scene.service.go.set()
    # The look-up goes on, and the next one finds what it saw.
    while (BUCKET, "store/a") not in scene.cache.rows:
        pass
    assert scene.check().cached


def test_a_store_that_fails_is_told_to_all_and_kept_nowhere(scene: Scene) -> None:
    scene.service.faults["head"] = [DunlinError("reach", "s3", ErrorKind.DENIED, "Access Denied")]
    with pytest.raises(DunlinError) as caught:
        scene.check()
    assert caught.value.reason == "Access Denied"
    assert not scene.cache.rows
    assert not scene.check().exists  # asked anew


# ---- what was seen later counts ----


def test_an_upload_that_ends_during_a_look_up_is_not_forgotten(scene: Scene) -> None:
    scene.service.go.clear()
    answer = scene.in_thread(scene.check)
    scene.begun()
    scene.now = 1001.0
    scene.existence.uploaded_many(BUCKET, {"store/a": 7})
    scene.service.go.set()
    assert answer() == Found(False, False, 1000.0, 0)
    assert scene.check() == Found(True, True, 1001.0, 7)


def test_a_worker_in_this_process_tells_at_once(scene: Scene) -> None:
    assert not scene.check().exists
    scene.existence.uploaded(BUCKET, "store/a", 7)
    scene.existence.uploaded("other bucket", "store/b", 7)
    assert scene.check() == Found(True, True, 1000.0, 7)
    assert not scene.check("store/b").exists
    scene.existence.uploaded_many(BUCKET, {"store/a": 7})
    assert scene.cache.rows[BUCKET, "store/a"].size == 7
    assert scene.existence.invalidate("store/a")
    assert not scene.check().cached


def test_what_workers_told_is_bounded(scene: Scene) -> None:
    for n in range(FRESH + 5):
        scene.existence.uploaded(BUCKET, f"store/{n}", 1)
    assert not scene.check("store/0").cached
    assert scene.check(f"store/{FRESH + 4}").cached


def test_invalidating(scene: Scene) -> None:
    assert not scene.check().exists
    scene.service.put("store/a", b"1", {})
    assert not scene.check().exists
    assert scene.existence.invalidate("store/a") is True
    assert scene.existence.invalidate("store/a") is False
    assert scene.check() == Found(True, False, 1000.0, 1)


def test_a_look_up_that_began_before_is_not_kept(scene: Scene) -> None:
    scene.service.go.clear()
    answer = scene.in_thread(scene.check)
    scene.begun()
    scene.existence.invalidate("store/a")
    scene.service.go.set()
    assert not answer().exists
    assert not scene.cache.rows


def test_ttl(scene: Scene) -> None:
    scene.existence.configure(ExistenceOptions(BUCKET, ("store/",), ttl=60.0))
    scene.check()
    assert scene.cache.ttl == 60.0
    scene.existence.uploaded_many(BUCKET, {"store/b": 1})
    assert scene.cache.ttl == 60.0


def test_other_options(scene: Scene) -> None:
    scene.existence.configure(ExistenceOptions(BUCKET, ("nix/",), most=2))
    assert not scene.check("nix/a").exists
    with pytest.raises(DunlinError):
        scene.check("store/a")


def test_after_the_end_nothing_is_looked_for(scene: Scene) -> None:
    scene.existence.uploaded(BUCKET, "store/known", 1)
    scene.existence.close()
    assert scene.check("store/known").exists
    for _ in range(2):
        with pytest.raises(DunlinError) as caught:
            scene.check()
        assert caught.value.kind is ErrorKind.INTERRUPTED


# ---- without the cache ----


def test_a_cache_that_is_away_is_passed_by_and_said_once_a_minute(scene: Scene) -> None:
    scene.cache.away = True
    scene.service.put("store/a", b"1", {})
    for scene.ticks in (0.0, 30.0, 59.0):
        assert scene.check() == Found(True, False, 1000.0, 1)
    scene.existence.uploaded_many(BUCKET, {"store/b": 1})
    assert scene.service.requests["head"] == 3
    assert len(scene.report.named("cache.away")) == 1
    scene.ticks = 61.0
    scene.check()
    assert len(scene.report.named("cache.away")) == 2
    with pytest.raises(DunlinError):
        scene.existence.invalidate("store/a")
