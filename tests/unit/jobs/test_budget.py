"""What a run may hold in memory, shared out."""

from __future__ import annotations

import pytest

from dunlin import transfer
from dunlin.jobs.budget import IN_HAND, LEAST, PROCESS, budget
from dunlin.jobs.options import Limits, SyncOptions

MIB = 1 << 20


def options(memory: int = 0, buffers: int = 64 * MIB) -> SyncOptions:
    return SyncOptions("a", "b", transfer=transfer.Options(buffer_bytes=buffers), limits=Limits(memory_bytes=memory))


def test_without_a_limit_the_buffers_are_shared_by_the_movers() -> None:
    assert budget(options(), 2, 32) == (32 * MIB, 16)
    assert budget(options(buffers=256 * MIB), 1, 32) == (256 * MIB, 32)
    assert budget(options(), 8, 3) == (8 * MIB, 1)


@pytest.mark.parametrize("memory", [200, 256, 300, 512, 4096])
@pytest.mark.parametrize("movers", [1, 2])
def test_all_together_stay_below_the_limit(memory: int, movers: int) -> None:
    shares = budget(options(memory * MIB, 1 << 40), movers, 10**6)
    taken = PROCESS * (movers + 1) + movers * (shares.buffers + shares.hands * IN_HAND)
    assert taken <= memory * MIB
    assert taken > memory * MIB * 0.9


def test_a_limit_that_leaves_nothing_still_lets_the_run_go_on() -> None:
    assert budget(options(1), 2, 32) == (LEAST, 1)


def test_a_generous_limit_changes_nothing() -> None:
    assert budget(options(8 << 30), 2, 32) == budget(options(), 2, 32)
