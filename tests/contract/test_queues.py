"""The contract of queues: every engine keeps it, on a real server of its own kind."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue import rules
from dunlin.queue.base import PAYLOAD, Kind, Lease, Queue, Status, WorkerInfo
from tests.contract.queues import BRIEF, LONG, Place, keys, leased, news, put, stats, task, until

ODD = [
    "plain", "with space", "sla/sh", "dot.", "..", "back\\slash", "quote'\"", "percent%s {0}", "tab\tnew\nline\r",
    "nul\0", "esc\x1b001b", "unit\x1f\x1e", "é", "e\u0301", "日本", "🐦", "bad\udcff\udc80", "*", "?[a]", "x" * 1000,
]  # fmt: skip


# ---- putting and leasing ----


def test_a_task_is_handed_out_as_it_was_put(queue: Queue) -> None:
    assert queue.put([task("k", label="docs/a.txt")]) == 1
    before = time.monotonic()
    (lease,) = queue.lease("w", 5, LONG)
    assert lease[1:5] == ("q", "k", b"p-k", 1)
    assert lease.label == "docs/a.txt"
    assert before + LONG <= lease.until <= time.monotonic() + LONG
    assert leased(queue) == []


def test_nothing_put_is_nothing_done(queue: Queue) -> None:
    assert queue.put([]) == 0
    assert leased(queue, 0) == []
    assert queue.ack([]) == []
    assert queue.heartbeat([], LONG) == []
    queue.release([])
    assert queue.known("q", []) == set()
    assert queue.stats() == []


def test_those_put_first_come_first(queue: Queue) -> None:
    put(queue, *map(str, range(10)))
    put(queue, *"abc")
    assert keys(leased(queue, 4)) == ["0", "1", "2", "3"]
    assert keys(leased(queue)) == ["4", "5", "6", "7", "8", "9", *"abc"]


def test_higher_priorities_come_first_over_all_queues(queue: Queue) -> None:
    put(queue, "low", priority=-5)
    put(queue, "a", "b")
    put(queue, "c", queue="other")
    put(queue, "high", queue="other", priority=1_000_000)
    put(queue, "middle", priority=7)
    assert keys([*leased(queue, 1), *leased(queue, 2), *leased(queue)]) == ["high", "middle", "a", "b", "c", "low"]


def test_a_low_priority_is_done_in_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many higher ones keep coming: it waits as long as the priorities differ by, here two seconds."""
    monkeypatch.setattr(rules, "STEP", 1)
    queue = place.open()
    begun, before = time.monotonic(), 0
    put(queue, "low", priority=-1)
    put(queue, "high 0", priority=1)
    while (lease := leased(queue, 1)[0]).key != "low":
        before += 1
        put(queue, f"high {before}", priority=1)
        assert queue.ack([(lease, b"")]) == [True]
        assert time.monotonic() - begun < 10
    assert before > 1
    assert time.monotonic() - begun > 1
    assert [(info.key, info.priority) for info in queue.tasks(status=Status.WAITING)] == [(f"high {before}", 1)]
    assert [info.priority for info in queue.tasks(search="low")] == [-1]


def test_the_most_and_the_least_priority(queue: Queue) -> None:
    put(queue, "never", priority=-(1 << 40))
    put(queue, "low", priority=-100)
    put(queue, "high", priority=100)
    put(queue, "ever", priority=1 << 40)
    assert [info.priority for info in queue.tasks()] == [-rules.MOST_PRIORITY, -100, 100, rules.MOST_PRIORITY]
    assert keys(leased(queue)) == ["ever", "high", "low", "never"]


def test_a_delayed_task_comes_when_it_is_due(queue: Queue) -> None:
    put(queue, "much later", delay=LONG, priority=1)
    put(queue, "now")
    assert keys(leased(queue)) == ["now"]
    assert stats(queue)[1:4] == (0, 1, 1)
    assert 0 < queue.tasks(search="later")[0].due <= LONG
    begun = time.monotonic()
    put(queue, "later", delay=0.3)
    assert keys(leased(queue, wait=10)) == ["later"]
    assert time.monotonic() - begun >= 0.29


def test_whoever_waits_gets_what_is_put_meanwhile(place: Place) -> None:
    waiting, putting = place.open(), place.open()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(waiting.lease, "w", 1, LONG, 20.0)
        time.sleep(0.1)
        put(putting, "k")
        assert keys(future.result()) == ["k"]


def test_waiting_ends_when_its_time_is_over(queue: Queue) -> None:
    begun = time.monotonic()
    assert queue.lease("w", 1, LONG, wait=0.2) == []
    assert queue.collect("q", 1, wait=0.2) == []
    assert 0.4 <= time.monotonic() - begun < 5


def test_a_key_that_is_known_is_not_put_again(queue: Queue) -> None:
    put(queue, "k")
    assert queue.put([task("k", payload=b"other"), task("new"), task("new")]) == 1
    assert queue.put([task("k", queue="another")]) == 1
    first = leased(queue, queues=["q"])
    assert [(lease.key, lease.payload) for lease in first] == [("k", b"p-k"), ("new", b"p-new")]
    assert queue.put([task("k")]) == 0
    queue.ack([(lease, b"") for lease in first])
    assert queue.put([task("k")]) == 0, "its news is not confirmed"
    queue.confirm("q", queue.collect("q", 10)[-1].number)
    assert queue.put([task("k")]) == 1
    assert stats(queue).put == 3


def test_patterns_choose_queues(queue: Queue) -> None:
    for name in ("run-1", "run-2", "publish", "run"):
        put(queue, name, queue=name)
    assert keys(leased(queue, queues=["nothing", "ru"])) == []
    assert keys(leased(queue, queues=["publish"])) == ["publish"]
    assert sorted(keys(leased(queue, queues=["run-*"]))) == ["run-1", "run-2"]
    assert keys(leased(queue, queues=["*"])) == ["run"]


def test_host_labels_keep_tasks_from_others(queue: Queue) -> None:
    put(queue, "anywhere")
    put(queue, "here", host="here")
    put(queue, "there", host="there", priority=1)
    assert keys(leased(queue)) == ["anywhere"]
    assert keys(leased(queue, labels=["elsewhere", "here"])) == ["here"]
    assert keys(leased(queue, labels=["there"])) == ["there"]


@pytest.mark.parametrize("odd", ODD, ids=itertools.count())
def test_odd_names_survive(queue: Queue, odd: str) -> None:
    put(queue, odd, queue=odd, label=odd, host=odd, groups=(odd, "g"))
    queue.cap(odd, 1)
    assert queue.known(odd, [odd, "other"]) == {odd}
    (info,) = queue.tasks(queue=odd, search=odd)
    assert (info.queue, info.key, info.label) == (odd, odd, odd)
    (lease,) = queue.lease(odd, 1, LONG, queues=[odd], labels=[odd])
    assert (lease.queue, lease.key, lease.label) == (odd, odd, odd)
    queue.hello(WorkerInfo(odd, odd, 1, 1, 1, (odd,), (odd,), odd, 0, 0), LONG)
    assert [one[:8] for one in queue.workers()] == [(odd, odd, 1, 1, 1, (odd,), (odd,), odd)]
    queue.write(odd, b"v")
    assert queue.read(odd) == b"v"
    assert queue.hold(odd, odd, LONG)
    assert not queue.hold(odd, "other", LONG)
    assert queue.nack(lease, odd, final=True)
    assert news(queue, odd) == [(odd, 1, Kind.DEAD, b"", odd, odd)]
    assert queue.cancel(odd, [odd]) == 1


def test_payloads_have_a_limit(queue: Queue) -> None:
    big = bytes(range(256)) * (PAYLOAD // 256)
    assert queue.put([task("big", payload=big), task("empty", payload=b"")]) == 2
    leases = leased(queue)
    for call in (
        lambda: queue.put([task("fits"), task("big2", payload=big + b"x")]),
        lambda: queue.ack([(leases[0], big + b"x")]),
        lambda: queue.tell(leases[0], big + b"x"),
        lambda: queue.write("name", big + b"x"),
    ):
        with pytest.raises(DunlinError, match="is the most") as raised:
            call()
        assert raised.value.kind is ErrorKind.INTERNAL
    assert queue.known("q", ["fits"]) == set()
    assert [lease.payload for lease in leases] == [big, b""]
    assert queue.tell(leases[0], big)
    assert queue.ack([(leases[0], big), (leases[1], b"")]) == [True, True]
    assert [one.body for one in queue.collect("q", 10)] == [big, big, b""]


# ---- results, and the fence ----


def test_a_result_reaches_the_owner(queue: Queue) -> None:
    put(queue, "a", "b")
    a, b = leased(queue)
    assert queue.tell(a, b"part 1")
    assert queue.tell(a, b"part 2")
    assert queue.ack([(b, b"result b"), (a, b"result a")]) == [True, True]
    assert news(queue) == [
        ("a", 1, Kind.PART, b"part 1", "", "w"),
        ("a", 1, Kind.PART, b"part 2", "", "w"),
        ("b", 1, Kind.DONE, b"result b", "", "w"),
        ("a", 1, Kind.DONE, b"result a", "", "w"),
    ]
    assert stats(queue)[1:9] == (0, 0, 0, 0, 4, 2, 2, 0)


def test_news_stays_until_it_is_confirmed(place: Place) -> None:
    queue = place.open()
    put(queue, *"abcd")
    queue.ack([(lease, lease.key.encode()) for lease in leased(queue)])
    first = queue.collect("q", 2)
    assert [one.body for one in first] == [b"a", b"b"]
    assert queue.collect("q", 2) == first
    assert [one.body for one in queue.collect("q", 9, after=first[1].number)] == [b"c", b"d"]
    queue.confirm("q", first[0].number)
    again = place.open().collect("q", 9)  # an owner that crashed and began anew
    assert [one.body for one in again] == [b"b", b"c", b"d"]
    assert again[0] == first[1]
    assert [one.number for one in again] == sorted({one.number for one in again})
    queue.confirm("q", again[-1].number)
    assert queue.collect("q", 9) == []
    assert queue.known("q", list("abcd")) == set()
    put(queue, "a")
    queue.ack([(leased(queue)[0], b"")])
    assert queue.collect("q", 9)[0].number > again[-1].number


def test_each_queue_has_its_own_news(queue: Queue) -> None:
    put(queue, "a")
    put(queue, "a", queue="other")
    queue.ack([(lease, lease.queue.encode()) for lease in leased(queue)])
    (mine,) = queue.collect("q", 9)
    (others,) = queue.collect("other", 9)
    assert (mine.body, others.body) == (b"q", b"other")
    queue.confirm("q", mine.number + 100)
    assert queue.collect("other", 9) == [others]
    assert queue.known("other", ["a"]) == {"a"}


def test_a_zombie_is_refused_in_everything(queue: Queue) -> None:
    put(queue, "k")
    (zombie,) = leased(queue, worker="zombie", seconds=0)
    assert queue.sweep() == 1
    (lease,) = leased(queue, worker="live")
    assert (lease.id, lease.attempt) == (zombie.id, 2)
    for _ in range(2):  # while the other one works, and when it is done
        assert queue.heartbeat([zombie], LONG) == [None]
        assert not queue.tell(zombie, b"part")
        assert queue.ack([(zombie, b"result")]) == [False]
        assert not queue.nack(zombie, "error")
        queue.release([zombie])
        assert not queue.nack(zombie, "error", final=True)
        assert leased(queue) == []
        queue.ack([(lease, b"good")])
    assert news(queue) == [("k", 2, Kind.DONE, b"good", "", "live")]


def test_a_zombie_is_refused_before_anybody_else_has_the_task(queue: Queue) -> None:
    put(queue, "k")
    (zombie,) = leased(queue, seconds=0)
    queue.sweep()
    assert queue.ack([(zombie, b"result")]) == [False]
    assert queue.heartbeat([zombie], LONG) == [None]
    assert not queue.nack(zombie, "error")
    queue.release([zombie])
    assert leased(queue)[0].attempt == 2


def test_a_zombie_of_a_key_that_was_put_anew_is_refused(queue: Queue) -> None:
    put(queue, "k")
    (zombie,) = leased(queue)
    queue.cancel("q")
    put(queue, "k")
    (lease,) = leased(queue)
    assert lease.attempt == zombie.attempt
    assert queue.ack([(zombie, b"old"), (lease, b"new")]) == [False, True]
    assert [one.body for one in queue.collect("q", 9)] == [b"new"]


def test_leases_that_never_were_are_refused(queue: Queue) -> None:
    for id in ("", "7", "000000000000099", "zzzzzzzzzzzzzzz", "' OR 1=1 --"):
        lease = Lease(id, "q", "k", b"", 1, 0.0)
        assert queue.heartbeat([lease], LONG) == [None]
        assert queue.ack([(lease, b"")]) == [False]
        assert not queue.tell(lease, b"")
        assert not queue.nack(lease, "")
        assert queue.task(id) is None
        assert queue.remove([id]) == queue.revive([id]) == 0


def test_a_heartbeat_keeps_a_lease(queue: Queue) -> None:
    put(queue, "a", "b")
    a, b = leased(queue, seconds=0)
    before = time.monotonic()
    kept, gone = queue.heartbeat([a, b._replace(attempt=2)], LONG)
    assert gone is None
    assert kept is not None
    assert kept[:5] == a[:5]
    assert kept.until >= before + LONG
    assert queue.sweep() == 1
    assert queue.ack([(kept, b""), (b, b"")]) == [True, False]


# ---- failures ----


def test_a_lease_that_ran_out_is_delivered_again_until_the_task_is_dead(queue: Queue) -> None:
    put(queue, "k", retries=2)
    for attempt in (1, 2, 3):
        (lease,) = leased(queue, worker=f"w{attempt}", seconds=0)
        assert lease.attempt == attempt
        assert queue.collect("q", 9) == []
        assert queue.sweep() == 1
    assert leased(queue) == []
    assert news(queue) == [("k", 3, Kind.DEAD, b"", "the lease of w3 ran out", "w3")]
    assert queue.sweep() == 0
    assert stats(queue)[1:9] == (0, 0, 0, 1, 1, 1, 0, 0)
    assert stats(queue).lost == 3


def test_a_lease_that_ran_out_is_told_as_lost_where_nothing_more_was_promised(queue: Queue) -> None:
    put(queue, "k", retries=0)
    leased(queue, worker="w1", seconds=0)
    assert queue.sweep() == 1
    assert news(queue) == [("k", 1, Kind.LOST, b"", "w1", "w1")]
    assert leased(queue) == []
    assert queue.tasks() == []
    assert queue.known("q", ["k"]) == {"k"}
    queue.confirm("q", queue.collect("q", 1)[0].number)
    assert queue.known("q", ["k"]) == set()
    put(queue, "k", retries=0)


def test_a_sweep_takes_back_only_what_ran_out(queue: Queue) -> None:
    put(queue, "a", "b")
    leased(queue, 1, seconds=0)
    leased(queue, 1)
    assert queue.sweep() == 1
    assert keys(leased(queue)) == ["a"]


def test_many_leases_run_out_at_once(queue: Queue) -> None:
    put(queue, *map(str, range(2500)), retries=0)
    assert len(leased(queue, 2500, seconds=0)) == 2500
    assert queue.sweep() == 2500
    assert Counter(one.kind for one in queue.collect("q", 3000)) == {Kind.LOST: 2500}


def test_a_failure_is_delivered_again_after_its_delay(queue: Queue) -> None:
    put(queue, "much later", "k", retries=1)
    far, near = leased(queue)
    assert queue.nack(far, "timeout", delay=LONG)
    assert leased(queue) == []
    (info,) = queue.tasks(search="later")
    assert (info.status, info.error, info.worker) == (Status.WAITING, "timeout", "")
    begun = time.monotonic()
    assert queue.nack(near, "timeout", delay=0.2)
    (lease,) = leased(queue, wait=10)
    assert time.monotonic() - begun >= 0.19
    assert lease.attempt == 2
    assert queue.nack(lease, "timeout again")
    assert news(queue) == [("k", 2, Kind.DEAD, b"", "timeout again", "w")]
    assert stats(queue).failed == 3


def test_a_final_failure_is_dead_at_once(queue: Queue) -> None:
    put(queue, "k", retries=9)
    assert queue.nack(leased(queue)[0], "refused", delay=5, final=True)
    assert queue.tasks()[0].status is Status.DEAD
    assert news(queue) == [("k", 1, Kind.DEAD, b"", "refused", "w")]


def test_the_dead_stay_for_people_and_are_revived(queue: Queue) -> None:
    put(queue, "k", retries=1)
    for _ in range(2):
        queue.nack(leased(queue)[0], "bad")
    queue.confirm("q", queue.collect("q", 9)[-1].number)
    (info,) = queue.tasks(status=Status.DEAD)
    assert (info.key, info.attempt, info.retries, info.error, info.worker) == ("k", 2, 1, "bad", "w")
    assert queue.put([task("k")]) == 0
    assert queue.revive([info.id, info.id]) == 1
    assert queue.revive([info.id]) == 0
    assert queue.nack(leased(queue)[0], "bad")
    (lease,) = leased(queue)
    assert lease.attempt == 4
    assert queue.ack([(lease, b"at last")]) == [True]
    assert news(queue) == [("k", 4, Kind.DONE, b"at last", "", "w")]


def test_what_was_not_begun_goes_back_to_its_place(queue: Queue) -> None:
    put(queue, "a", "b", "c", retries=1)
    a, b = leased(queue, 2)
    queue.release([b, a])
    again = leased(queue)
    assert keys(again) == ["a", "b", "c"]
    assert [lease.attempt for lease in again] == [2, 2, 1]
    assert queue.ack([(a, b"")]) == [False]
    for left in (True, False):  # two deliveries: the one that was given back does not count
        assert queue.collect("q", 9) == []
        assert queue.nack(again[0], "bad")
        again = leased(queue) if left else []
    assert [one.kind for one in queue.collect("q", 9)] == [Kind.DEAD]


# ---- cancelling, dropping, pausing ----


def test_cancelled_tasks_are_gone_and_their_workers_find_out(queue: Queue) -> None:
    put(queue, "leased")
    (lease,) = leased(queue)
    put(queue, "waiting", "kept")
    put(queue, "delayed", delay=60)
    assert queue.cancel("q", ["leased", "waiting", "delayed", "unknown"]) == 3
    assert queue.heartbeat([lease], LONG) == [None]
    assert queue.ack([(lease, b"")]) == [False]
    assert queue.collect("q", 9) == []
    assert queue.known("q", ["leased", "waiting", "kept", "delayed"]) == {"kept"}
    assert keys(leased(queue)) == ["kept"]


def test_a_queue_is_cancelled_as_a_whole(queue: Queue) -> None:
    put(queue, "dead", "leased", "done", retries=0)
    dead, _, done = leased(queue)
    queue.nack(dead, "bad")
    queue.ack([(done, b"r")])
    put(queue, "waiting")
    put(queue, "waiting", queue="other")
    assert queue.cancel("q") == 3
    assert [(info.queue, info.key) for info in queue.tasks()] == [("other", "waiting")]
    assert [one.kind for one in queue.collect("q", 9)] == [Kind.DEAD, Kind.DONE], "what happened stays told"
    assert queue.cancel("q") == 0


def test_a_dropped_queue_leaves_nothing(queue: Queue) -> None:
    put(queue, "a", "b", "c", "d")
    done, dead, _ = leased(queue, 3)
    queue.ack([(done, b"")])
    queue.nack(dead, "bad", final=True)
    queue.pause("q")
    put(queue, "kept", queue="other")
    queue.drop("q")
    assert [one.queue for one in queue.stats()] == ["other"]
    assert queue.known("q", list("abcd")) == set()
    assert queue.collect("q", 9) == []
    put(queue, "a")
    assert keys(leased(queue)) == ["kept", "a"], "not paused any more"
    assert stats(queue)[1:10] == (0, 0, 1, 0, 0, 1, 0, 0, 0)
    queue.drop("never was")


def test_a_paused_queue_hands_out_nothing(queue: Queue) -> None:
    put(queue, "a", "b")
    (lease,) = leased(queue, 1)
    queue.pause("q")
    assert stats(queue).paused
    assert leased(queue) == []
    put(queue, "elsewhere", queue="other")
    assert keys(leased(queue)) == ["elsewhere"]
    assert queue.heartbeat([lease], LONG) != [None]
    assert queue.ack([(lease, b"")]) == [True]
    queue.pause("q", False)
    assert keys(leased(queue)) == ["b"]
    queue.pause("early")
    put(queue, "a", queue="early")
    assert leased(queue) == []


# ---- caps ----


def test_a_cap_holds_over_all_workers(place: Place) -> None:
    first, second = place.open(), place.open()
    put(first, *"abcde", groups=("tenant",))
    put(first, "free")
    first.cap("tenant", 2)
    one = leased(first, worker="one")
    assert keys(one) == ["a", "b", "free"]
    assert leased(second, worker="two") == []
    first.ack([(one[0], b"")])
    assert keys(leased(second, worker="two")) == ["c"]
    second.nack(one[1], "bad", final=True)
    assert keys(leased(second, worker="two")) == ["d"]
    second.cap("tenant", 0)
    assert keys(leased(first)) == ["e"]


def test_a_full_group_does_not_hold_up_others(queue: Queue) -> None:
    put(queue, *(f"capped {n}" for n in range(50)), groups=("a",), priority=9)
    put(queue, "other", groups=("b",))
    put(queue, "both", groups=("b", "a"))
    queue.cap("a", 1)
    assert keys(leased(queue, 10)) == ["capped 0", "other"]
    assert leased(queue, 10) == []


def test_all_groups_of_a_task_count(queue: Queue) -> None:
    put(queue, "1", groups=("t1", "s"))
    put(queue, "2", groups=("t2", "s"))
    put(queue, "3", groups=("t1",))
    queue.cap("s", 1)
    queue.cap("t1", 5)
    first = leased(queue)
    assert keys(first) == ["1", "3"]
    queue.release(first[:1])
    assert keys(leased(queue, 1)) == ["1"]


def test_leases_that_ran_out_make_room(queue: Queue) -> None:
    put(queue, "a", "b", groups=("g",), retries=0)
    queue.cap("g", 1)
    assert keys(leased(queue, seconds=0)) == ["a"]
    assert leased(queue) == []
    queue.sweep()
    assert keys(leased(queue)) == ["b"]
    queue.cancel("q")
    put(queue, "c", groups=("g",))
    assert keys(leased(queue)) == ["c"]


def test_a_cap_holds_when_many_lease_at_once(place: Place) -> None:
    queues = [place.open() for _ in range(4)]
    put(queues[0], *map(str, range(200)), groups=("g",))
    queues[0].cap("g", 3)
    over, lock, most, ended, seen = 0, threading.Lock(), 0, [], []

    def one(queue: Queue) -> None:
        nonlocal over, most
        while len(ended) < 200:
            for lease in queue.lease("w", 2, LONG, wait=0.2):
                with lock:
                    over += 1
                    most = max(most, over)
                seen.append(stats(queue).leased)
                with lock:  # before the acknowledgement: another one may lease as soon as that is done
                    over -= 1
                    ended.append(lease.key)
                queue.ack([(lease, b"")])

    crew = [threading.Thread(target=one, args=(queue,)) for queue in queues for _ in range(2)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(ended) == sorted(map(str, range(200)))
    assert len(seen) == 200
    assert 1 <= min(seen) <= max(seen) <= 3  # one at least: the one who looks has it
    assert most <= 3


# ---- looking ----


def test_tasks_are_listed_page_by_page(queue: Queue) -> None:
    put(queue, *map(str, range(25)), label="x")
    put(queue, "else", queue="other")
    seen, after = [], ""
    while page := queue.tasks(queue="q", after=after, count=10):
        seen += page
        after = page[-1].id
    assert [info.key for info in seen] == list(map(str, range(25)))
    assert [info.key for info in queue.tasks(count=3)] == ["0", "1", "2"]
    assert len({info.id for info in queue.tasks()}) == 26
    assert queue.tasks(count=0) == []


def test_tasks_are_searched(queue: Queue) -> None:
    put(queue, "unit-1", label="photos/Sea.jpg")
    put(queue, "unit-2", label="docs/100%_.txt")
    put(queue, "sea", retries=0)
    assert [info.key for info in queue.tasks(search="ea")] == ["unit-1", "sea"]
    assert [info.key for info in queue.tasks(search="%_")] == ["unit-2"]
    assert [info.key for info in queue.tasks(search="unit")] == ["unit-1", "unit-2"]
    assert queue.tasks(search="SEA") == []
    leased(queue, 1)
    assert [info.key for info in queue.tasks(status=Status.LEASED)] == ["unit-1"]
    assert [info.key for info in queue.tasks(status=Status.WAITING)] == ["unit-2", "sea"]
    assert queue.tasks(status=Status.DEAD) == []


def test_a_task_is_shown_with_its_payload(queue: Queue) -> None:
    put(queue, "k", label="l", priority=4, retries=2)
    (listed,) = queue.tasks()
    (lease,) = leased(queue)
    found = queue.task(lease.id)
    assert found is not None
    info, payload = found
    assert payload == b"p-k"
    assert info[:10] == (listed.id, "q", "k", "l", Status.LEASED, 4, 1, 2, "w", "")
    assert 0 <= info.age < 10
    assert LONG - 10 < info.due <= LONG
    assert info.size == 3
    queue.ack([(lease, b"")])
    assert queue.task(lease.id) is None


def test_tasks_are_removed_by_id(queue: Queue) -> None:
    put(queue, "leased")
    (lease,) = leased(queue)
    put(queue, "waiting", "kept")
    ids = {info.key: info.id for info in queue.tasks()}
    assert queue.remove([ids["leased"], ids["waiting"], ids["waiting"]]) == 2
    assert [info.key for info in queue.tasks()] == ["kept"]
    assert queue.ack([(lease, b"")]) == [False]
    assert queue.known("q", ["leased", "waiting"]) == set()


def test_stats_tell_of_every_queue_by_name(queue: Queue) -> None:
    put(queue, "a", queue="z")
    put(queue, "a", "b", queue="B")
    put(queue, "a", queue="a", delay=60)
    leased(queue, 1, queues=["B"])
    time.sleep(0.05)
    found = queue.stats()
    assert [one[:5] for one in found] == [("B", 1, 0, 1, 0), ("a", 0, 1, 0, 0), ("z", 1, 0, 0, 0)]
    assert all(0.04 < one.oldest < 10 for one in found)
    leased(queue)
    assert {one.queue: one.oldest for one in queue.stats()}["z"] == 0


def test_workers_say_that_they_are_alive(place: Place) -> None:
    queue = place.open()
    info = WorkerInfo("w-2", "host", 17, 4, 2, ("run-*", "publish"), ("here",), "1.2", 5.0, 99.0)
    queue.hello(info, LONG)
    queue.hello(info._replace(worker="w-1", busy=0, queues=(), labels=()), LONG)
    queue.hello(info._replace(worker="gone"), 0.02)
    queue.hello(info._replace(worker="left"), LONG)
    queue.hello(info._replace(worker="left"), 0)
    queue.hello(info._replace(busy=3), LONG)
    time.sleep(0.05)
    first, second = place.open().workers()
    assert (first.worker, first.busy, first.queues, first.labels) == ("w-1", 0, (), ())
    assert second[:8] == ("w-2", "host", 17, 4, 3, ("run-*", "publish"), ("here",), "1.2")
    assert 5.04 < second.age < 15
    assert 0.04 < second.seen < 10
    queue.sweep()
    assert len(queue.workers()) == 2


# ---- what is shared ----


def test_values_are_shared_and_forgotten(place: Place) -> None:
    one, two = place.open(), place.open()
    assert one.read("setup") is None
    one.write("setup", b"\0\xff")
    assert two.read("setup") == b"\0\xff"
    two.write("setup", b"")
    assert one.read("setup") == b""
    one.write("setup", None)
    assert two.read("setup") is None
    begun = time.monotonic()
    one.write("brief", b"v", BRIEF)
    one.write("long", b"v", LONG)
    assert two.read("brief") == b"v" or time.monotonic() - begun > BRIEF
    until(lambda: two.read("brief") is None)
    assert time.monotonic() - begun > BRIEF - 0.01
    one.sweep()
    assert two.read("long") == b"v"
    one.write("brief", b"back")
    assert two.read("brief") == b"back"


def test_an_office_has_one_holder(place: Place) -> None:
    one, two = place.open(), place.open()
    assert one.hold("coordinator", "one", LONG)
    assert not two.hold("coordinator", "two", LONG)
    assert two.hold("scheduler", "two", LONG)
    begun = time.monotonic()
    assert one.hold("coordinator", "one", BRIEF), "it may go on"
    two.leave("coordinator", "two")
    until(lambda: two.hold("coordinator", "two", LONG))
    assert time.monotonic() - begun > BRIEF - 0.01, "the other one's time is over"
    assert not one.hold("coordinator", "one", LONG)
    two.leave("coordinator", "two")
    assert one.hold("coordinator", "one", LONG)


def test_a_rate_is_shared(place: Place) -> None:
    one, two = place.open(), place.open()
    rate, burst = 1_000_000, 100_000
    assert one.draw("limit", 100_000, rate, burst) == 0
    begun = time.monotonic()
    first = two.draw("limit", 500_000, rate, burst)
    second = one.draw("limit", 500_000, rate, burst)
    between = time.monotonic() - begun
    assert 0.3 < first <= 0.5
    assert 0.49 - between < second - first <= 0.5
    assert two.draw("another", 100_000, rate, burst) == 0
    assert one.draw("limit", 10**12, 0, burst) == 0, "without a rate nothing is limited"


def test_a_shared_rate_recovers_with_time(queue: Queue) -> None:
    rate, burst = 1_000_000, 1000
    queue.draw("limit", 100_000, rate, burst)
    time.sleep(0.2)
    assert queue.draw("limit", 1000, rate, burst) == 0
    assert queue.draw("limit", 101_000, rate, burst) > 0.05, "nobody saves up more than a burst"
