"""The ledger's contract, in every engine: jobs, audit, existence, thinning, and the engine itself."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger import (
    ENDED,
    Existence,
    ExistenceCache,
    FileResult,
    FileStatus,
    Job,
    JobStatus,
    Keep,
    Ledger,
    NewItem,
    NewJob,
    RedisExistence,
    Role,
    Tenant,
    UnitResult,
    Wish,
    open_ledger,
)
from dunlin.queue.ledger.jobs import ALLOWED
from dunlin.queue.ledger.words import Share
from tests.contract.ledgers import NOON, Clock, files, later, published, walk
from tests.servers.redis import redis_server

ODD = "a\udcff\x00b\n\x1b[31m\u202e%_\\é"
"""A name as file systems have it, which no database holds as it is."""
DAY = 86_400.0


def fails(kind: ErrorKind, call: Callable[[], object]) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        call()
    assert caught.value.kind is kind, caught.value
    return caught.value


# ---- jobs ----


def test_a_job_is_kept_as_it_was_asked_for(ledger: Ledger) -> None:
    new = NewJob("sync", b'{"delete":true}', "acme", "dk_1", ODD, 3, "key 1", b"the body")
    made, fresh = ledger.jobs.submit(new)
    assert fresh
    told = made.label
    assert "\x00" not in told
    assert "\n" not in told
    assert made == Job(
        made.id, "sync", "acme", "dk_1", told, JobStatus.QUEUED, b'{"delete":true}', b"", {}, "", NOON, None, None, 3,
        "key 1", "", Wish.NONE,
    )  # fmt: skip
    assert ledger.jobs.get(made.id) == made
    assert ledger.jobs.get(made.id, "acme") == made
    assert ledger.jobs.get(made.id, "other") is None
    assert ledger.jobs.get("nonsense") is None


def test_options_that_are_no_json_are_refused(ledger: Ledger) -> None:
    for options in (b"", b"{", b"\xff", b"{} {}"):
        fails(ErrorKind.USAGE, lambda options=options: ledger.jobs.submit(NewJob("sync", options)))
    assert ledger.jobs.page() == []


def test_the_same_key_and_request_give_the_first_job(ledger: Ledger) -> None:
    new = NewJob("sync", b'{"a":1}', "acme", key="k")
    first = ledger.jobs.submit(new)
    ledger.jobs.claim("me", 60)
    again = ledger.jobs.submit(new)
    assert (again.new, again.job.id, again.job.status) == (False, first.job.id, JobStatus.RUNNING)
    assert len(ledger.jobs.page()) == 1


def test_the_job_of_a_key_is_found_without_submitting(ledger: Ledger) -> None:
    job = ledger.jobs.submit(NewJob("publish", b"{}", "acme", key="k", body=b"body")).job
    assert ledger.jobs.asked("acme", "k", b"body") == job
    assert ledger.jobs.asked("other", "k", b"body") is None
    assert ledger.jobs.asked("acme", "", b"body") is None
    fails(ErrorKind.EXISTS, lambda: ledger.jobs.asked("acme", "k", b"other"))


def test_a_key_belongs_to_one_request_of_one_tenant(ledger: Ledger) -> None:
    ledger.jobs.submit(NewJob("sync", b'{"a":1}', "acme", key="k"))
    fails(ErrorKind.EXISTS, lambda: ledger.jobs.submit(NewJob("sync", b'{"a":2}', "acme", key="k")))
    fails(ErrorKind.EXISTS, lambda: ledger.jobs.submit(NewJob("check", b'{"a":1}', "acme", key="k")))
    assert ledger.jobs.submit(NewJob("sync", b'{"a":2}', "other", key="k")).new
    assert ledger.jobs.submit(NewJob("sync", b'{"a":1}', "acme")).new
    assert ledger.jobs.submit(NewJob("sync", b'{"a":1}', "acme")).new, "no key: no job is the same"


def test_of_many_who_submit_one_key_at_once_one_is_first(ledger: Ledger) -> None:
    gate = threading.Barrier(6)

    def submit(_: int) -> Any:
        gate.wait()
        return ledger.jobs.submit(NewJob("sync", key="k"), [NewItem("/a", "a/")])

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(submit, range(6)))
    assert sum(one.new for one in made) == 1
    assert len({one.job.id for one in made}) == 1
    assert len(ledger.files.items(made[0].job.id)) == 1


def test_pages_show_every_job_once_newest_first(ledger: Ledger, clock: Clock) -> None:
    made = []
    for n in range(7):
        clock.now += n % 2  # some within the same millisecond
        made.append(ledger.jobs.submit(NewJob("sync")).job.id)
    assert made == sorted(made)
    seen, after = [], ""
    while page := ledger.jobs.page(after=after, count=3):
        seen += [job.id for job in page]
        after = page[-1].id
    assert seen == made[::-1]


def test_jobs_are_found_by_what_they_are(ledger: Ledger) -> None:
    one = ledger.jobs.submit(NewJob("sync", tenant="acme", label="/Data/100%_sure -> s3://x")).job
    two = ledger.jobs.submit(NewJob("publish", tenant="acme", label="/data/other")).job
    three = ledger.jobs.submit(NewJob("publish", tenant="b", label="none")).job
    ledger.jobs.move(three.id, JobStatus.CANCELLED)

    def found(**filters: Any) -> set[str]:
        return {job.id for job in ledger.jobs.page(**filters)}

    assert found(tenant="acme") == {one.id, two.id}
    assert found(kind="publish") == {two.id, three.id}
    assert found(statuses={JobStatus.CANCELLED, JobStatus.FAILED}) == {three.id}
    assert found(search="/dATA") == {one.id, two.id}
    assert found(search="100%_") == {one.id}
    assert found(search="0_sure") == set(), "_ is no wildcard"
    assert found(search=two.id) == {two.id}
    assert found(search=one.id[:7]) >= {one.id}
    assert found(tenant="acme", kind="publish", search="other", statuses=[JobStatus.QUEUED]) == {two.id}
    counts = ledger.jobs.counts("acme")
    assert (counts[JobStatus.QUEUED], counts[JobStatus.CANCELLED]) == (2, 0)
    assert ledger.jobs.counts(kind="publish")[JobStatus.CANCELLED] == 1


def test_claim_takes_the_most_urgent_then_the_oldest(ledger: Ledger, clock: Clock) -> None:
    names = {}
    for label, priority, kind in (("a", 0, "sync"), ("b", 5, "sync"), ("c", 5, "sync"), ("d", 9, "check")):
        names[ledger.jobs.submit(NewJob(kind, label=label, priority=priority)).job.id] = label
    clock.now += 5
    order = []
    while job := ledger.jobs.claim("me", 30, ["sync"]):
        order.append(names[job.id])
        assert (job.status, job.owner, job.started) == (JobStatus.RUNNING, "me", clock.now)
    assert order == ["b", "c", "a"]
    assert ledger.jobs.claim("me", 30) is not None
    assert ledger.jobs.claim("me", 30) is None


def submitted(ledger: Ledger, names: str, tenant: str = "", **values: Any) -> dict[str, str]:
    return {ledger.jobs.submit(NewJob("sync", tenant=tenant, label=name, **values)).job.id: name for name in names}


def test_the_tenant_of_whom_fewest_jobs_run_comes_first(ledger: Ledger) -> None:
    names = submitted(ledger, "abc", "one") | submitted(ledger, "x", "two") | submitted(ledger, "y", "two", priority=50)
    order = []
    while job := ledger.jobs.claim("me", 30, ["sync"]):
        order.append(names[job.id])
    assert order == ["y", "a", "b", "x", "c"]


def test_jobs_of_other_kinds_do_not_count_against_a_tenant(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.jobs.submit(NewJob("publish", tenant="one"))
        assert ledger.jobs.claim("me", 30, ["publish"]) is not None
    names = submitted(ledger, "a", "one") | submitted(ledger, "b", "two")
    claimed = ledger.jobs.claim("me", 30, ["sync"], Share({"one": 1}))
    assert claimed is not None
    assert names[claimed.id] == "a"


def test_no_tenant_has_more_than_its_share(ledger: Ledger) -> None:
    names = submitted(ledger, "abcd", "one") | submitted(ledger, "wxyz", "two")
    share = Share({"one": 1, "two": 0}, each=2)
    order = [names[job.id] for owner in ("me", "me", "me", "you", "you", "you")
             if (job := ledger.jobs.claim(owner, 30, ["sync"], share))]  # fmt: skip
    # One has one of all services; two has two of each of them, and all its jobs run then.
    assert order == ["a", "w", "x", "y", "z"]
    ledger.jobs.sweep("me")
    assert names[running(ledger, "you", share)] == "b"


def running(ledger: Ledger, owner: str, share: Share) -> str:
    job = ledger.jobs.claim(owner, 30, ["sync"], share)
    assert job is not None
    return job.id


def test_a_job_is_overtaken_for_so_many_minutes_as_priorities_differ(ledger: Ledger, clock: Clock) -> None:
    names = submitted(ledger, "l", priority=-2)
    clock.now += 119
    names |= submitted(ledger, "n")
    clock.now += 2
    names |= submitted(ledger, "m")
    order = [names[running(ledger, "me", Share())] for _ in range(3)]
    assert order == ["n", "l", "m"]


def test_a_priority_is_changed_until_the_job_is_over(ledger: Ledger) -> None:
    names = submitted(ledger, "ab")
    a, b = names
    assert ledger.jobs.prioritise(b, 5)
    job = ledger.jobs.claim("me", 30)
    assert job is not None
    assert (job.id, job.priority) == (b, 5)
    ledger.jobs.move(b, JobStatus.COMPLETED)
    assert not ledger.jobs.prioritise(b, 1)
    assert not ledger.jobs.prioritise("nothing", 1)
    assert ledger.jobs.prioritise(a, -1)


def test_a_cap_on_a_tenant_holds_when_many_claim_at_once(
    ledger: Ledger, ledger_url: str, opened: Any, clock: Clock
) -> None:
    submitted(ledger, "abcdefghij", "one")
    each = [ledger, *(opened(ledger_url, clock) for _ in range(3))]
    gate = threading.Barrier(4)

    def claim(n: int) -> int:
        gate.wait()
        return sum(each[n].jobs.claim(f"o{n}", 30, ["sync"], Share({"one": 3})) is not None for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(4))) == 3


def test_no_job_is_claimed_twice(ledger: Ledger, ledger_url: str, opened: Any, clock: Clock) -> None:
    for _ in range(40):
        ledger.jobs.submit(NewJob("sync"))
    others = [ledger, opened(ledger_url, clock)]
    gate = threading.Barrier(4)

    def claim(n: int) -> list[str]:
        gate.wait()
        mine = []
        while job := others[n % 2].jobs.claim(f"service {n}", 60):
            mine.append(job.id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [id for mine in pool.map(claim, range(4)) for id in mine]
    assert len(taken) == len(set(taken)) == 40


def test_a_job_whose_owner_is_gone_is_interrupted(ledger: Ledger, clock: Clock) -> None:
    for _ in range(2):
        ledger.jobs.submit(NewJob("sync"))
    dead, alive = ledger.jobs.claim("dead", 30), ledger.jobs.claim("alive", 30)
    assert dead is not None
    assert alive is not None
    later(ledger, clock, 20)
    assert ledger.jobs.renew("alive", 30) == [alive.id]
    assert ledger.jobs.sweep() == []
    later(ledger, clock, 11)
    assert ledger.jobs.sweep() == [dead.id]
    found = ledger.jobs.get(dead.id)
    assert found is not None
    assert (found.status, found.owner, found.ended) == (JobStatus.INTERRUPTED, "", clock.now)
    assert ledger.jobs.renew("dead", 30) == [], "a zombie learns that it is none"
    assert ledger.jobs.sweep("alive") == [alive.id], "a service that starts again takes over from itself"
    assert ledger.jobs.sweep("") == []


def test_services_whose_clocks_differ_do_not_take_each_others_jobs(postgres: Any, clock: Clock, opened: Any) -> None:
    url, ahead = postgres.queue(), Clock()
    ahead.now += 3600
    one, other = opened(url, clock), opened(url, ahead)
    mine = one.jobs.submit(NewJob("sync")).job
    assert one.jobs.claim("one", 30)
    assert other.jobs.sweep() == [], "an hour ahead"
    assert one.jobs.renew("one", 30) == [mine.id]
    theirs = other.jobs.submit(NewJob("sync")).job
    assert other.jobs.claim("other", 30)
    assert one.jobs.sweep() == [], "an hour behind"
    later(one, clock, 31)
    assert sorted(one.jobs.sweep()) == sorted([mine.id, theirs.id]), "on the server half a minute has passed"


def test_who_does_not_run_a_job_any_more_cannot_end_it(ledger: Ledger, clock: Clock) -> None:
    job = ledger.jobs.submit(NewJob("sync")).job
    assert ledger.jobs.claim("slept", 30)
    assert ledger.jobs.progress(job.id, {"copied_files": 1}, owner="slept")
    later(ledger, clock, 31)
    ledger.jobs.sweep()
    assert ledger.jobs.move(job.id, JobStatus.QUEUED, owner="slept") is None, "interrupted, and nobody's"
    ledger.jobs.move(job.id, JobStatus.QUEUED)
    assert ledger.jobs.claim("awake", 30)
    assert ledger.jobs.move(job.id, JobStatus.COMPLETED, (JobStatus.RUNNING,), owner="slept") is None
    assert not ledger.jobs.progress(job.id, {"copied_files": 9}, owner="slept")
    assert ledger.jobs.renew("slept", 30) == []
    assert ledger.jobs.progress(job.id, {"copied_files": 2}, owner="awake")
    done = ledger.jobs.move(job.id, JobStatus.COMPLETED, (JobStatus.RUNNING,), owner="awake")
    assert done is not None
    assert (done.status, done.counts, done.owner) == (JobStatus.COMPLETED, {"copied_files": 2}, "")


@pytest.mark.parametrize("begin", JobStatus)
@pytest.mark.parametrize("to", JobStatus)
def test_a_status_follows_only_those_that_it_may(begin: JobStatus, to: JobStatus, clock: Clock, opened: Any) -> None:
    ledger: Ledger = opened(None, clock)
    job = ledger.jobs.submit(NewJob("sync")).job
    path = {JobStatus.QUEUED: [], JobStatus.INTERRUPTED: [JobStatus.RUNNING, JobStatus.INTERRUPTED]}.get(begin, [begin])
    for step in path:
        assert ledger.jobs.move(job.id, step) is not None
    moved = ledger.jobs.move(job.id, to)
    now = ledger.jobs.get(job.id)
    assert now is not None
    assert moved == (now if to in ALLOWED[begin] else None)
    assert now.status is (to if to in ALLOWED[begin] else begin)
    assert (now.ended is not None) == (now.status in ENDED or now.status is JobStatus.INTERRUPTED)


def test_move_keeps_what_it_is_not_told_to_change(ledger: Ledger, clock: Clock) -> None:
    job = ledger.jobs.submit(NewJob("sync", b"[1]")).job
    ledger.jobs.move(job.id, JobStatus.RUNNING, owner="me")
    ledger.jobs.progress(job.id, {"copied_files": 3})
    clock.now += 9
    done = ledger.jobs.move(job.id, JobStatus.FAILED, [JobStatus.RUNNING], "disk\nfull", b'{"a":1}')
    assert done is not None
    assert (done.error, done.result, done.counts) == ("disk\\nfull", b'{"a":1}', {"copied_files": 3})
    assert (done.started, done.ended, done.owner) == (NOON, clock.now, "")
    assert ledger.jobs.move(job.id, JobStatus.QUEUED, only=[JobStatus.COMPLETED]) is None
    again = ledger.jobs.move(job.id, JobStatus.RUNNING)
    assert again is not None
    assert (again.error, again.result, again.ended, again.started) == ("", b'{"a":1}', None, clock.now)
    assert ledger.jobs.move("0" * 12, JobStatus.RUNNING) is None
    fails(ErrorKind.USAGE, lambda: ledger.jobs.move(job.id, JobStatus.COMPLETED, result=b"no json"))


def test_a_wish_reaches_the_owner_and_ends_with_the_status(ledger: Ledger) -> None:
    job = ledger.jobs.submit(NewJob("sync")).job
    assert not ledger.jobs.ask(job.id, Wish.CANCEL), "nobody runs it"
    ledger.jobs.claim("me", 60)
    assert ledger.jobs.ask(job.id, Wish.PAUSE)
    assert ledger.jobs.wishes("me") == {job.id: Wish.PAUSE}
    assert ledger.jobs.wishes("you") == {}
    ledger.jobs.move(job.id, JobStatus.PAUSED)
    assert ledger.jobs.wishes("me") == {}


# ---- existence ----


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def cache(request: pytest.FixtureRequest, clock: Clock, opened: Any) -> Iterator[Any]:
    if request.param == "redis":
        cache = RedisExistence(request.getfixturevalue("redis").url)
        yield cache
        cache.close()
        return
    where = None if request.param == "sqlite" else request.getfixturevalue("postgres").queue()
    yield opened(where, clock).existence


def test_what_exists_is_remembered_until_it_is_forgotten(cache: ExistenceCache, request: Any) -> None:
    bucket = f"bucket {request.node.name}"
    assert cache.get(bucket, "a") is None
    cache.put(bucket, "a", Existence(True, 5, NOON))
    cache.put(bucket, ODD, Existence(False, 0, NOON + 0.25))
    assert cache.get(bucket, "a") == Existence(True, 5, NOON)
    assert cache.get(bucket, ODD) == Existence(False, 0, NOON + 0.25)
    assert cache.get("other", "a") is None
    cache.put_many(bucket, {"a": Existence(True, 6, NOON + 1), "b": Existence(True, 7, NOON + 1)})
    assert cache.get(bucket, "a") == Existence(True, 6, NOON + 1)
    assert cache.get(bucket, "b") == Existence(True, 7, NOON + 1)
    cache.put_many(bucket, {})
    assert cache.delete(bucket, "a")
    assert not cache.delete(bucket, "a")
    assert cache.get(bucket, "a") is None


def test_rows_expire_and_an_older_look_does_not_win(ledger: Ledger, clock: Clock) -> None:
    ledger.existence.put("b", "k", Existence(True, 1, NOON), ttl=10)
    ledger.existence.put("b", "k", Existence(False, 0, NOON - 1))
    assert ledger.existence.get("b", "k") == Existence(True, 1, NOON)
    clock.now += 10
    assert ledger.existence.get("b", "k") is None
    assert ledger.thin().existence == 1


def test_redis_has_the_keys_and_values_of_the_specification(redis: Any) -> None:
    import json

    from redis import Redis

    cache = RedisExistence(redis.url)
    with Redis.from_url(redis.url) as raw:
        cache.put("bucket", "store/bin/bash", Existence(True, 1024, 1_704_067_200.0), ttl=60)
        found = raw.get("file_exists:bucket:store/bin/bash")
        assert json.loads(found) == {"exists": True, "size": 1024, "timestamp": "2024-01-01T00:00:00Z"}  # type: ignore[arg-type]
        assert 0 < raw.pttl("file_exists:bucket:store/bin/bash") <= 60_000  # type: ignore[operator]
        cache.put("bucket", "kept", Existence(False, 0, NOON))
        assert raw.pttl("file_exists:bucket:kept") == -1
        raw.set("file_exists:bucket:go", '{"exists":true,"size":3,"timestamp":"2024-01-01T12:00:00.5+01:00","more":1}')
        assert cache.get("bucket", "go") == Existence(True, 3, 1_704_106_800.5)
        for bad in ("", "{", "[]", '{"exists":1}', '{"exists":true,"timestamp":"noon"}', b"\xff"):
            raw.set("file_exists:bucket:bad", bad)
            assert cache.get("bucket", "bad") is None
    cache.close()


def test_a_redis_that_was_started_again_is_found_again() -> None:
    with redis_server() as server:
        cache = RedisExistence(server.url)
        cache.put("b", "k", Existence(True, 1, NOON))
        server.process.stop()
        fails(ErrorKind.NETWORK, lambda: cache.get("b", "k"))
        server.process.start()
        assert cache.get("b", "k") == Existence(True, 1, NOON)
        server.process.stop()
        server.process.start()
        assert cache.get("b", "k") == Existence(True, 1, NOON)
        cache.close()


def test_a_redis_that_does_not_answer_is_away_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.queue.ledger.existence.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = RedisExistence(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        begin = time.monotonic()
        fails(ErrorKind.NETWORK, lambda: cache.get("b", "k"))
        assert time.monotonic() - begin < 5
        cache.close()


def test_a_redis_that_is_away_says_so_without_the_password(redis: Any) -> None:
    away = RedisExistence("redis://:hush@127.0.0.1:9/0")
    error = fails(ErrorKind.NETWORK, lambda: away.get("b", "k"))
    assert "hush" not in str(error)
    wrong = RedisExistence(redis.url.replace(redis.password, "hush"))
    error = fails(ErrorKind.AUTH, lambda: wrong.put("b", "k", Existence(True, 1, NOON)))
    assert "hush" not in str(error)
    fails(ErrorKind.USAGE, lambda: RedisExistence("http://:hush@x"))
    wrong.close()
    away.close()


# ---- audit ----


def test_the_audit_tells_the_newest_first(ledger: Ledger, clock: Clock) -> None:
    for n in range(5):
        clock.now += 1
        ledger.audit.record("ann", "job.cancel", f"job {n}", "x\ny", "acme" if n % 2 else "")
    page = ledger.audit.page(count=3)
    assert [deed.target for deed in page] == ["job 4", "job 3", "job 2"]
    assert [deed.target for deed in ledger.audit.page(before=page[-1].number)] == ["job 1", "job 0"]
    assert [deed.target for deed in ledger.audit.page("acme")] == ["job 3", "job 1"]
    assert [deed.time for deed in ledger.audit.page(search="B 2")] == [NOON + 3]
    assert page[0].detail == "x\\ny"


# ---- thinning ----


def test_old_jobs_lose_their_files_first_and_then_go(ledger: Ledger, clock: Clock) -> None:
    id = published(ledger)
    [unit] = walk(ledger, id, files(3))
    outcomes = (FileStatus.UPLOADED, FileStatus.FAILED, FileStatus.SKIPPED)
    told = [FileResult(place, status, "no") for place, status in enumerate(outcomes)]
    ledger.files.apply([UnitResult(id, unit.number, 1, told)])
    assert ledger.files.settle(id) is not None
    alive = published(ledger)
    clock.now += 7 * DAY
    assert ledger.thin().files_of == 0, "not yet: it must be older"
    clock.now += 1
    assert ledger.thin().files_of == 1
    assert [file.path for file in ledger.files.page(id)] == ["00001"]
    assert ledger.files.failures(id)[0].error == "no"
    assert ledger.files.totals(id).uploaded == 1
    assert ledger.thin().files_of == 0
    clock.now += 30 * DAY
    assert ledger.thin().jobs == 1
    assert ledger.jobs.get(id) is None
    assert ledger.files.items(id) == ledger.files.failures(id) == ledger.files.page(id) == []
    assert ledger.jobs.get(alive) is not None, "it has not ended"


def test_a_job_of_one_machine_is_not_claimed_elsewhere(ledger: Ledger) -> None:
    nas = ledger.jobs.submit(NewJob("sync", host="nas")).job
    anybody = ledger.jobs.submit(NewJob("sync")).job
    assert (nas.host, anybody.host) == ("nas", "")

    def claim(host: str) -> str:
        job = ledger.jobs.claim("me", 60.0, ("sync",), host=host)
        return "" if job is None else job.id

    assert [claim("far"), claim("far"), claim("nas"), claim("nas")] == [anybody.id, "", nas.id, ""]
    other = ledger.jobs.submit(NewJob("sync", host="tape")).job
    assert claim("") == other.id, "a service that is alone takes all"


def test_a_tenant_keeps_so_many_jobs_that_ended(ledger: Ledger) -> None:
    ids = [ledger.jobs.submit(NewJob("sync", tenant="a")).job.id for _ in range(6)]
    other = ledger.jobs.submit(NewJob("sync", tenant="b")).job.id
    for id in [*ids[:5], other]:
        ledger.jobs.move(id, JobStatus.CANCELLED)
    assert ledger.thin(Keep(most_jobs=2)).jobs == 3
    assert [job.id for job in ledger.jobs.page("a")] == ids[:2:-1]
    assert ledger.jobs.get(other) is not None


def test_a_call_drops_a_bounded_number_of_rows(ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.queue.ledger.thinning.ROWS", 10)
    monkeypatch.setattr("dunlin.queue.ledger.thinning.PIECES", 2)
    id = published(ledger)
    walk(ledger, id, files(50))
    ledger.jobs.move(id, JobStatus.CANCELLED)
    ledger.files.cancel(id)
    clock.now += 31 * DAY
    left = [50]
    while left[-1]:
        ledger.thin()
        left.append(len(ledger.files.page(id, count=100)))
    assert left == [50, 30, 10, 0]
    assert ledger.jobs.get(id) is None


def test_sessions_and_deeds_go_when_their_time_is_over(ledger: Ledger, clock: Clock) -> None:
    ledger.accounts.add_user("ann", "long enough", Role.VIEWER)
    ledger.sessions.start("ann", 60)
    ledger.audit.record("ann", "x", "y")
    clock.now += 366 * DAY
    dropped = ledger.thin()
    assert (dropped.sessions, dropped.deeds) == (1, 1)


# ---- the engine ----


def test_everything_is_there_when_it_is_opened_again(
    ledger: Ledger, ledger_url: str, clock: Clock, opened: Callable[..., Ledger]
) -> None:
    ledger.accounts.put_tenant(Tenant("acme", (ODD,), ("store/",), {"jobs": 3}))
    job = published(ledger)
    walk(ledger, job, files(2))
    ledger.close()
    ledger.close()
    again = opened(ledger_url, clock)
    again.ping()
    assert again.accounts.tenant("acme") == Tenant("acme", (ODD,), ("store/",), {"jobs": 3}, NOON)
    assert again.files.totals(job).total_files == 2


def test_an_error_undoes_the_whole_transaction(ledger: Ledger) -> None:
    with pytest.raises(AttributeError):
        ledger.jobs.submit(NewJob("sync"), [NewItem("/a", "a"), None])  # type: ignore[list-item]
    assert ledger.jobs.page() == []
    assert ledger.jobs.submit(NewJob("sync")).new


def test_readers_do_not_wait_for_a_writer(ledger: Ledger) -> None:
    job = ledger.jobs.submit(NewJob("sync")).job
    with ledger._base.writing() as rows:
        rows.execute("UPDATE job SET error = $1", ("half done",))
        found = ledger.jobs.get(job.id)
        assert found is not None
        assert found.error == ""


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    def work(n: int) -> int:
        for _ in range(10):
            job = ledger.jobs.submit(NewJob("sync", label=f"of {n:02}")).job
            assert ledger.jobs.get(job.id) == job
        return len(ledger.jobs.page(search=f"of {n:02}"))

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(work, range(12))) == [10] * 12


@pytest.mark.parametrize(
    "where",
    ["redis://:hush@h", "sqlite://host/x", "sqlite:///", "postgresql://u:hush@127.0.0.1:1/x?namespace=No", "ftp://a:hush@b"],
)
def test_what_is_no_ledger_is_refused_without_its_password(where: str) -> None:
    assert "hush" not in str(fails(ErrorKind.USAGE, lambda: open_ledger(where)))


def test_a_server_that_is_away_or_refuses_is_told_apart(postgres: Any) -> None:
    error = fails(ErrorKind.NETWORK, lambda: open_ledger("postgresql://u:hush@127.0.0.1:9/x"))
    assert "hush" not in str(error)
    error = fails(ErrorKind.AUTH, lambda: open_ledger(postgres.url(password="hush")))
    assert "hush" not in str(error)
    fails(ErrorKind.NOT_FOUND, lambda: open_ledger(postgres.url("nowhere")))


def test_a_ledger_of_schema_1_is_brought_up(ledger: Ledger, ledger_url: str) -> None:
    kept = ledger.jobs.submit(NewJob("sync", label="old")).job
    with ledger._base.writing() as rows:
        for table in ("job", "schedule"):
            rows.execute(f"ALTER TABLE {table} DROP COLUMN host")
        rows.execute("UPDATE version SET number = 1" if "://" in ledger_url else "PRAGMA user_version = 1")
    ledger.close()
    for _ in range(2):
        again = open_ledger(ledger_url)
        assert again.jobs.get(kept.id) == kept
        assert again.jobs.submit(NewJob("sync", host="nas")).job.host == "nas"
        again.close()


def test_a_newer_ledger_is_refused(ledger: Ledger, ledger_url: str) -> None:
    with ledger._base.writing() as rows:
        newer = "UPDATE version SET number = 99" if "://" in ledger_url else "PRAGMA user_version = 99"
        rows.execute(newer)
    ledger.close()
    fails(ErrorKind.NEWER, lambda: open_ledger(ledger_url))


def test_several_services_may_make_the_tables_at_once(ledger_url: str) -> None:
    gate = threading.Barrier(4)

    def make(_: int) -> bool:
        gate.wait()
        ledger = open_ledger(ledger_url)
        ledger.ping()
        ledger.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(make, range(4)))
