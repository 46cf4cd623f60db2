from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import FILE, REQUEST, Retry, retry


class World:
    """A clock that moves only in `sleep`, and a call that fails with the given errors, then answers."""

    def __init__(self, *errors: DunlinError, takes: float = 0.0) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.errors = list(errors)
        self.calls = 0
        self.takes = takes

    def call(self) -> str:
        self.calls += 1
        self.now += self.takes
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def retry(self, policy: Retry, chance: float = 0.0, told: list[tuple[str, int, float]] | None = None) -> str:
        note = None if told is None else lambda e, n, w: told.append((e.kind.value, n, w))
        return retry(self.call, policy, note, sleep=self.sleep, clock=lambda: self.now, chance=lambda: chance)


def failure(kind: ErrorKind = ErrorKind.NETWORK, retry_after: float | None = None) -> DunlinError:
    error = DunlinError("read", "x", kind)
    if retry_after is not None:
        error.retry_after = retry_after  # type: ignore[attr-defined]
    return error


def test_success_sleeps_never() -> None:
    world = World()
    assert world.retry(Retry()) == "done"
    assert (world.calls, world.slept) == (1, [])


def test_waits_double_up_to_the_cap_and_are_told() -> None:
    world, told = World(*(failure() for _ in range(5))), []
    assert world.retry(Retry(base=1, cap=5, jitter=0), told=told) == "done"
    assert world.slept == [1, 2, 4, 5, 5]
    assert told == [("network", 1, 1), ("network", 2, 2), ("network", 3, 4), ("network", 4, 5), ("network", 5, 5)]


def test_the_last_error_is_raised_when_attempts_run_out() -> None:
    errors = [failure() for _ in range(9)]
    world = World(*errors)
    with pytest.raises(DunlinError) as caught:
        world.retry(Retry(deadline=None))
    assert caught.value is errors[7]
    assert (world.calls, len(world.slept)) == (8, 7)


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if not failure(kind).retryable])
def test_what_is_not_worth_a_retry_is_raised_at_once(kind: ErrorKind) -> None:
    world = World(failure(kind))
    with pytest.raises(DunlinError):
        world.retry(Retry())
    assert world.calls == 1


def test_foreign_errors_are_not_retried() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise OSError("not translated")

    with pytest.raises(OSError, match="not translated"):
        retry(call, sleep=lambda seconds: None)
    assert len(calls) == 1


def test_the_server_says_how_long_to_wait() -> None:
    world = World(failure(ErrorKind.BUSY, 7.5), failure(ErrorKind.BUSY, 0.001))
    world.retry(Retry(base=1, jitter=0))
    assert world.slept == [7.5, 2]


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    world = World(failure(), failure(ErrorKind.BUSY, 60))
    with pytest.raises(DunlinError) as caught:
        world.retry(Retry(deadline=30, base=1, jitter=0))
    assert caught.value.kind is ErrorKind.BUSY
    assert world.slept == [1]


def test_slow_calls_use_up_the_deadline() -> None:
    world = World(*(failure() for _ in range(9)), takes=12)
    with pytest.raises(DunlinError):
        world.retry(Retry(deadline=30, base=1, jitter=0))
    assert world.calls == 3


def test_request_and_file_do_not_multiply() -> None:
    assert not REQUEST.kinds & FILE.kinds
    world = World(*(failure() for _ in range(50)))
    with pytest.raises(DunlinError):
        retry(lambda: world.retry(REQUEST), FILE, sleep=world.sleep)
    assert world.calls == 8
    world = World(*(failure(ErrorKind.CHECKSUM) for _ in range(50)))
    with pytest.raises(DunlinError):
        retry(lambda: world.retry(REQUEST), FILE, sleep=world.sleep)
    assert world.calls == 3


def test_a_sleep_that_raises_ends_it() -> None:
    def stop(seconds: float) -> None:
        raise DunlinError("go on", "", ErrorKind.INTERRUPTED)

    with pytest.raises(DunlinError) as caught:
        retry(World(failure()).call, sleep=stop)
    assert caught.value.kind is ErrorKind.INTERRUPTED


@given(attempt=st.integers(1, 5000), chance=st.floats(0, 1), jitter=st.floats(0, 1))
def test_waits_stay_between_their_bounds(attempt: int, chance: float, jitter: float) -> None:
    policy = Retry(base=0.2, cap=30, jitter=jitter)
    full = policy.wait(attempt, 0)
    assert full <= 30
    assert full * (1 - jitter) - 1e-9 <= policy.wait(attempt, chance) <= full


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base": -1}, {"cap": -1}, {"jitter": 1.5}])
def test_senseless_policies_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        Retry(**wrong)  # type: ignore[arg-type]
