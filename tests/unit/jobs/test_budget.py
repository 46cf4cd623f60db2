"""What a run may hold in memory, shared out."""

from __future__ import annotations

import os

import pytest

from dunlin import transfer
from dunlin.jobs.budget import FAR_FILES, IN_HAND, LEAST, PROCESS, budget, crew_size, far_most
from dunlin.jobs.options import Crew, Limits, SyncOptions
from dunlin.pace.climb import START

MIB = 1 << 20


def options(memory: int = 0, buffers: int = 64 * MIB) -> SyncOptions:
    return SyncOptions("a", "b", transfer=transfer.Options(buffer_bytes=buffers), limits=Limits(memory_bytes=memory))


def test_without_a_limit_the_buffers_are_shared_by_the_movers() -> None:
    assert budget(options(), 2, 32) == (32 * MIB, 32)
    assert budget(options(buffers=256 * MIB), 1, 32) == (256 * MIB, 32)
    assert budget(options(), 2, 5) == (32 * MIB, 5)


@pytest.mark.parametrize("memory", [200, 256, 300, 512, 4096])
@pytest.mark.parametrize("movers", [1, 2])
def test_all_together_stay_below_the_limit(memory: int, movers: int) -> None:
    shares = budget(options(memory * MIB, 1 << 40), movers, 10**6)
    taken = PROCESS * (movers + 1) + movers * shares.buffers + shares.hands * IN_HAND
    assert taken <= memory * MIB
    assert taken > memory * MIB * 0.9


def test_of_what_processes_leave_half_is_for_buffers_also_far_away() -> None:
    far = budget(options(200 * MIB)._replace(destination="s3://bucket"), 1, 4)
    assert far.buffers == budget(options(200 * MIB), 1, 4).buffers == (200 * MIB - 2 * PROCESS) // 2


def test_a_limit_that_leaves_nothing_still_lets_the_run_go_on() -> None:
    assert budget(options(1), 2, 32) == (LEAST, 2), "one for each mover"


def test_a_generous_limit_changes_nothing() -> None:
    assert budget(options(8 << 30), 2, 32) == budget(options(), 2, 32)


@pytest.mark.parametrize(
    ("crew", "cores", "movers", "threads"),
    [
        (Crew(), 2, 2, 32),
        (Crew(), 64, 8, 128),
        (Crew(workers=1), 4, 1, 1),
        (Crew(workers=8), 2, 2, 8),
        (Crew(workers=5), 2, 2, 5),
        (Crew(workers=3), 64, 3, 3),
        (Crew(movers=3), 2, 3, 48),
        (Crew(movers=3, workers=2), 2, 2, 2),
        (Crew(movers=1, threads=5), 2, 1, 5),
        (Crew(movers=2, threads=5, workers=7), 2, 2, 7),
        (Crew(threads=2, workers=7), 2, 2, 4),
    ],
)
def test_crew_size(monkeypatch: pytest.MonkeyPatch, crew: Crew, cores: int, movers: int, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert crew_size(options()._replace(crew=crew)) == (movers, threads)


@pytest.mark.parametrize(
    ("asked", "workers", "memory", "most"),
    [(0, 0, 0, 128), (0, 0, 4096, 128), (0, 0, 300, 58), (0, 0, 130, 32), (20, 20, 0, 32), (0, 10, 0, 32)],
)
def test_requests_may_become_more_where_neither_user_nor_machine_says_how_many(
    asked: int, workers: int, memory: int, most: int
) -> None:
    made = options(memory * MIB)._replace(crew=Crew(workers=workers))
    assert far_most(made, asked, 2, FAR_FILES) == most


def test_a_run_begins_where_the_search_for_more_does() -> None:
    assert FAR_FILES == START
