"""Which files failed in a run and are not in sync since, so that they can be tried again by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.state.runs import Run
from dunlin.state.store import State


class Retry(NamedTuple):
    """What is to be tried again.

    Attributes:
        run: the number of the run whose files they are, a whole one.
        runs: it, and those that tried its files again and failed.
        files: how many.
        source, destination: of the pair; for an object store as it was written.
        public: the options of the run, as they are on record.
    """

    run: int
    runs: tuple[int, ...]
    files: int
    source: str
    destination: str
    public: dict[str, Any]


def find(state: State, number: int | None, lives: Callable[[Run], bool]) -> Retry:
    """What failed in the run of that number; None: in the last one.

    Args:
        lives: whether the process of a run is there.

    Raises NOT_FOUND where there is no such run, and USAGE where files cannot be tried again by themselves: a run of the
    pair goes on, the last one was cut short, or an older dunlin did not put on record how it was made.
    """
    run = _run(state, number)
    while run.options.get("retry"):
        run = _run(state, min(run.options["retry"]))
    last = state.last_run(run.pair)
    assert last is not None
    if last.status == "running" and lives(last):
        raise usage(
            f"run {last.id} of this pair is still going, and nothing is tried again beside it",
            "wait until it has ended, or `dunlin control stop` it",
        )
    left = state.unfinished(run.pair)
    if left is not None and left.any:
        raise usage(
            f"run {last.id} of this pair was cut short, and has more to do than to try files again",
            "`dunlin sync` with the same pair continues it",
        )
    runs = (run.id, *state.retries(run.pair, run.id))
    source, destination = next((a, b) for pair, a, b in state.pairs() if pair == run.pair)
    places = run.options.get("places") or [source, destination]
    return Retry(
        run.id,
        runs,
        sum(state.count_failed(each) for each in runs),
        source if source.startswith("file:") else places[0],
        destination if destination.startswith("file:") else places[1],
        run.options,
    )


def _run(state: State, number: int | None) -> Run:
    hint = "`dunlin status` shows the runs that are on record"
    if number is None:
        last = state.newest_run()
        if last is None:
            raise DunlinError("find a run", "", ErrorKind.NOT_FOUND, "there was none yet")
        return last
    try:
        return state.run(number)
    except KeyError:
        raise DunlinError(f"find run {number}", "", ErrorKind.NOT_FOUND, "there is none of that number", hint) from None
