"""What all who share a queue hold to, on real servers: caps and rates are put, changed, found again and drawn from."""

from __future__ import annotations

import threading
import time

from dunlin.queue import caps
from dunlin.queue.base import Queue
from dunlin.queue.caps import PUBLISHING, Shared
from dunlin.workers.accounts import Accounts, Limits, account_name
from tests.contract.queues import LONG, Place, keys, leased, put, stats


def test_what_is_put_holds_and_what_was_put_before_no_longer(queue: Queue) -> None:
    put(queue, *"abc", groups=("tenant:one",))
    put(queue, *"xyz", groups=("store:s3://b",))
    caps.put(queue, Shared({"tenant:one": 1, "store:s3://b": 2}, {"tenant:one": 1_000}))
    assert keys(leased(queue)) == ["a", "x", "y"]
    caps.put(queue, Shared({"tenant:one": 2}, {PUBLISHING: 7}))
    assert caps.read(queue) == Shared({"tenant:one": 2}, {PUBLISHING: 7})
    assert keys(leased(queue)) == ["b", "z"]
    caps.put(queue, Shared())
    assert keys(leased(queue)) == ["c"]


def test_a_queue_that_forgot_is_told_again_and_another_services_word_stays(place: Place) -> None:
    queue, other = place.open(), place.open()
    assert caps.keep(queue, Shared({"g": 1}))
    assert not caps.keep(queue, Shared({"g": 1}))
    caps.put(other, Shared({"g": 3}))
    assert not caps.keep(queue, Shared({"g": 1}))
    put(queue, *"abcd", groups=("g",))
    assert keys(leased(queue)) == ["a", "b", "c"]
    queue.write(caps.NAME, None)
    queue.cap("g", 0)
    assert caps.keep(queue, Shared({"g": 1}))
    assert keys(leased(queue)) == []


def test_a_word_that_this_version_cannot_read_is_none(queue: Queue) -> None:
    queue.write(caps.NAME, b"\xc1 of another version")
    assert caps.read(queue) is None
    assert caps.keep(queue, Shared({"g": 1}))
    assert caps.read(queue) == Shared({"g": 1}, {})


def test_tenants_and_stores_bound_each_other(queue: Queue) -> None:
    """Three tenants on one store: each has its cap, and all together have the store's."""
    caps.put(queue, Shared({"tenant:a": 2, "tenant:b": 2, "store:s": 5}))
    for tenant in "abc":
        put(queue, *(f"{tenant}{n}" for n in range(4)), groups=(f"tenant:{tenant}", "store:s"))
    first = leased(queue)
    assert keys(first) == ["a0", "a1", "b0", "b1", "c0"]
    queue.ack([(lease, b"") for lease in first[:1]])
    assert keys(leased(queue)) == ["a2"]
    queue.ack([(lease, b"") for lease in first[4:]])
    assert keys(leased(queue)) == ["c1"]


def test_high_priorities_do_not_pass_a_cap_and_hold_nobody_up(queue: Queue) -> None:
    caps.put(queue, Shared({"tenant:a": 1}))
    put(queue, *(f"a{n}" for n in range(3)), groups=("tenant:a",), priority=100)
    put(queue, "b", groups=("tenant:b",), priority=-100)
    assert keys(leased(queue)) == ["a0", "b"]


def test_never_more_at_a_time_than_the_caps_however_many_workers(place: Place) -> None:
    queues = [place.open() for _ in range(3)]
    caps.put(queues[0], Shared({"tenant:a": 2, "store:s": 3}))
    for tenant in "ab":
        groups = (f"tenant:{tenant}", "store:s")
        put(queues[0], *(f"{tenant}{n}" for n in range(40)), groups=groups, priority=10 if tenant == "a" else -10)
    lock, held, most, done = threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "both": 0}, []
    deadline = time.monotonic() + 60

    def work(queue: Queue) -> None:
        while len(done) < 80 and time.monotonic() < deadline:
            for lease in queue.lease("w", 2, LONG, 0.1):
                with lock:
                    held[lease.key[0]] += 1
                    most["a"] = max(most["a"], held["a"])
                    most["both"] = max(most["both"], sum(held.values()))
                time.sleep(0.001)
                with lock:  # before it is acknowledged: another one may be handed out at once then
                    held[lease.key[0]] -= 1
                    done.append(lease.key)
                queue.ack([(lease, b"")])

    crew = [threading.Thread(target=work, args=(queue,)) for queue in queues for _ in range(2)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(done) == sorted(f"{tenant}{n}" for tenant in "ab" for n in range(40))
    assert 1 <= most["a"] <= 2
    assert 1 <= most["both"] <= 3
    assert stats(queues[0])[1:4] == (0, 0, 0)


def test_an_account_bounds_all_who_draw_from_it(place: Place) -> None:
    """Two workers of one tenant, and a third of another one, all publishing: three accounts, each byte in two."""
    one, two = place.open(), place.open()
    caps.put(one, Shared({}, {"tenant:a": 100_000, PUBLISHING: 1_000_000}))
    first, second = Accounts(one, [PUBLISHING, "tenant:a"]), Accounts(two, [PUBLISHING, "tenant:a"])
    third = Accounts(two, [PUBLISHING, "tenant:b"], "run/x/bytes")
    assert (first.look(), second.look(), third.look()) == (100_000, 100_000, 1_000_000)
    assert third.look(5_000) == 5_000
    assert third.look() == 1_000_000
    begun = time.monotonic()
    waits = [each.draw(100_000, 0, 0) for each in (first, second, first)]
    # What the others drew counts here too, by the wider account alone.
    waits.append(third.draw(100_000, 0, 0))
    passed = time.monotonic() - begun
    for wait, whole in zip(waits, (1.0, 2.0, 3.0, 0.4), strict=True):
        assert whole - passed - 0.01 < wait < whole + 0.01, (waits, passed)
    assert one.draw(account_name("tenant:b"), 1, 1, 0) == 1.0, "nothing was drawn there: it has no rate"


def test_limits_of_one_process_follow_what_is_put(queue: Queue) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    limits = Limits(queue, clock=lambda: now[0], sleep=sleep)
    limit = limits(["tenant:a"])
    assert limits(("tenant:a",)) is limit
    limit.take(10_000_000)
    assert slept == []
    caps.put(queue, Shared({}, {"tenant:a": 1_000_000}))
    limit.take(10_000_000)
    assert slept == [], "it looks once a second"
    now[0] += 1
    limit.take(1_000_000)
    assert sum(slept) > 0.8
    caps.put(queue, Shared())
    now[0] += 1
    before = sum(slept)
    limit.take(10_000_000)
    assert sum(slept) == before


def test_a_limit_does_not_end_because_the_board_has_forgotten_it(queue: Queue) -> None:
    accounts = Accounts(queue, ["tenant:a"], "run/x/bytes")
    assert accounts.look() == 0
    caps.put(queue, Shared({}, {"tenant:a": 100_000}))
    assert accounts.look() == 100_000
    queue.write(caps.NAME, None)
    assert (accounts.look(), accounts.look(5_000)) == (100_000, 5_000)
    caps.put(queue, Shared())
    assert accounts.look() == 0, "that there is none was said"
