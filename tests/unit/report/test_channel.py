"""The bounded channel of errors: never in the way, never wrong in its counts."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import ErrorClass, ErrorKind
from dunlin.report.channel import FIRST, Channel, Trouble

SEVERITY = ErrorClass.RECOVERABLE


def trouble(path: str, kind: ErrorKind = ErrorKind.DENIED, severity: ErrorClass = SEVERITY) -> Trouble:
    return Trouble(severity, kind, path, f"cannot read {path}")


def test_what_is_kept_comes_out_in_order_and_makes_room() -> None:
    over: list[Trouble] = []
    channel = Channel(over.append, 2)
    assert [channel.offer(trouble(name)) for name in "abc"] == [True, True, False]
    assert [each.path for each in over] == ["c"]
    assert [each.path for each in channel.take()] == ["a", "b"]
    assert channel.take() == []
    assert channel.offer(trouble("d"))
    assert [each.path for each in channel.take()] == ["d"]
    assert (channel.overflowed, channel.total()) == (1, 4)


@given(
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.none(), st.tuples(st.sampled_from(list(ErrorClass)), st.sampled_from([ErrorKind.IO, ErrorKind.BUSY]))
        )
    ),
)
def test_no_count_depends_on_the_room(room: int, steps: list[tuple[ErrorClass, ErrorKind] | None]) -> None:
    """None stands for the consumer, who takes."""
    over: list[Trouble] = []
    taken: list[Trouble] = []
    channel = Channel(over.append, room)
    for step in steps:
        if step is None:
            held = channel.take()
            assert len(held) <= room
            taken += held
        else:
            channel.offer(trouble("x", step[1], step[0]))
    taken += channel.take()
    offered = [step for step in steps if step is not None]
    assert sorted(map(repr, offered)) == sorted(repr((each.severity, each.kind)) for each in over + taken)
    assert channel.counts == {key: offered.count(key) for key in set(offered)}


def test_many_threads_lose_nothing_and_nobody_waits_for_the_consumer() -> None:
    over: list[Trouble] = []
    channel = Channel(over.append, 10)

    def fail(who: int) -> None:
        for n in range(500):
            channel.offer(trouble(f"{who}/{n}"))

    threads = [threading.Thread(target=fail, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)  # nobody has taken anything yet
    kept = channel.take()
    assert len(kept) == 10
    assert channel.total() == 4_000
    assert len({each.path for each in kept + over}) == 4_000


def test_the_overflow_may_offer_again() -> None:
    """It is called without the lock: what it does cannot stop the others."""
    channel = Channel(lambda each: channel.count(ErrorClass.EXPECTED, each.kind, 1), 1)
    for name in "ab":
        channel.offer(trouble(name))
    assert channel.counts == {(SEVERITY, ErrorKind.DENIED): 2, (ErrorClass.EXPECTED, ErrorKind.DENIED): 1}


def test_the_last_word_counts_by_kind_and_names_the_first_of_each() -> None:
    channel = Channel(lambda each: None, 1)
    for n in range(30):
        channel.offer(trouble(f"d{n}"))
    for n in range(2):
        channel.offer(trouble(f"t\n{n}", ErrorKind.TIMEOUT))
    channel.count(ErrorClass.EXPECTED, ErrorKind.VANISHED, 99)
    channel.count(ErrorClass.FATAL, ErrorKind.NO_SPACE, 1)
    assert channel.summary() == "33 errors: 30 denied (d0, d1, d2, ...), 2 timeout (t\\n0, t\\n1), 1 no-space"
    assert FIRST == 3
    assert Channel(lambda each: None).summary() == ""


def test_a_channel_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Channel(lambda each: None, 0)
