from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from dunlin.pace import load
from dunlin.pace.load import Gauges, Psutil, Times, Traffic


class Figures:
    """A probe that tells what the test sets."""

    def __init__(self) -> None:
        self.spent = Times(100.0, 10.0, 1000.0)
        self.full = 0.25
        self.known: dict[int, tuple[float, int]] = {}
        self.asked: list[list[int]] = []
        self.moved: dict[str, Traffic] = {}

    def times(self) -> Times:
        return self.spent

    def memory(self) -> tuple[float, int]:
        return self.full, 1000

    def processes(self, pids: Iterable[int]) -> Mapping[int, tuple[float, int]]:
        self.asked.append(list(pids))
        return dict(self.known)

    def traffic(self) -> Mapping[str, Traffic]:
        return dict(self.moved)


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_processors_count_as_busy_since_the_last_look() -> None:
    figures = Figures()
    gauges = Gauges(probe=figures, clock=Watch())
    figures.spent = Times(106.0, 11.0, 1010.0)
    assert gauges.look([]).gauges == {"cpu": 0.6, "memory": 0.25, "iowait": 0.1}
    figures.spent = Times(107.0, 16.0, 1020.0)
    assert gauges.look([]).gauges == {"cpu": 0.1, "memory": 0.25, "iowait": 0.5}


def test_two_looks_at_the_same_moment_say_nothing_of_the_processors() -> None:
    gauges = Gauges(probe=Figures(), clock=Watch())
    assert gauges.look([]).gauges == {"cpu": 0.0, "memory": 0.25, "iowait": 0.0}


def test_resident_memory_is_a_gauge_where_it_is_limited() -> None:
    figures = Figures()
    figures.known = {1: (5.0, 20), 2: (7.0, 30)}
    gauges = Gauges(200, probe=figures, clock=Watch())
    load = gauges.look([1, 2])
    assert gauges.resident([1, 2]) == 50
    assert (load.gauges["resident"], load.resident, figures.asked) == (0.25, 50, [[1, 2]] * 2)
    assert (load.own["memory"], load.own["resident"]) == (0.05, 0.0)
    assert "resident" not in Gauges(probe=figures, clock=Watch()).look([]).gauges


def test_the_runs_own_part_of_the_processors() -> None:
    figures = Figures()
    gauges = Gauges(probe=figures, clock=Watch())
    figures.known = {1: (5.0, 0), 2: (7.0, 0)}
    gauges.look([1, 2])
    figures.spent, figures.known = Times(108.0, 10.0, 1010.0), {1: (6.0, 0), 2: (7.5, 0), 3: (50.0, 0)}
    assert gauges.look([1, 2, 3]).own["cpu"] == 0.15, "of one that is new nobody knows when it did what it did"
    figures.spent, figures.known = Times(109.0, 10.0, 1020.0), {1: (7.0, 0)}
    load = gauges.look([1, 2, 3])
    assert (load.gauges["cpu"], load.own["cpu"]) == (0.1, 0.1), "one that has ended counts no more"


def test_disks_and_network_are_taken_for_the_runs_own() -> None:
    figures, watch = Figures(), Watch()
    figures.moved = {"eth0": Traffic(0, 0, 1000)}
    gauges = Gauges(probe=figures, clock=watch)
    figures.spent, figures.moved, watch.now = Times(100.0, 14.0, 1010.0), {"eth0": Traffic(0, 500, 1000)}, 1.0
    load = gauges.look([])
    assert (load.own["iowait"], load.own["network"]) == (0.4, 0.5)


def network(before: Traffic, after: Traffic, name: str = "eth0", link: int = 0) -> tuple[float, float | None]:
    """What two seconds between the two make: bytes per second, and the gauge."""
    figures, watch = Figures(), Watch()
    figures.moved = {name: before}
    gauges = Gauges(0, link, figures, watch)
    figures.moved, watch.now = {name: after}, 2.0
    load = gauges.look([])
    return load.network, load.gauges.get("network")


def test_the_network_is_as_full_as_its_busier_direction() -> None:
    assert network(Traffic(0, 1000, 1000), Traffic(200, 2600, 1000)) == (900, 0.8)


def test_a_network_of_unknown_speed_has_no_gauge() -> None:
    assert network(Traffic(0, 0, 0), Traffic(0, 10**9, 0)) == (5e8, None)


def test_a_speed_that_was_given_counts_for_every_interface() -> None:
    assert network(Traffic(0, 0, 10**9), Traffic(0, 1000, 10**9), link=1000) == (500, 0.5)
    assert network(Traffic(0, 0, 0), Traffic(0, 1000, 0), link=1000)[1] == 0.5


def test_the_loopback_is_no_network() -> None:
    assert network(Traffic(0, 0, 10), Traffic(0, 10**6, 10), "lo") == (0, None)


def test_a_counter_that_begins_anew_says_nothing() -> None:
    assert network(Traffic(5000, 5000, 1000), Traffic(0, 0, 1000)) == (0, 0.0)


def test_an_interface_that_was_not_there_before_says_nothing() -> None:
    figures, watch = Figures(), Watch()
    gauges = Gauges(probe=figures, clock=watch)
    figures.moved, watch.now = {"new": Traffic(10**9, 0, 10)}, 1.0
    assert gauges.look([]).network == 0


def test_the_figures_of_this_machine() -> None:
    probe = Psutil()
    before = probe.times()
    while probe.times().total <= before.total:  # a tick of its clock
        with suppress(ValueError):
            int("no number")
    after = probe.times()
    assert 0 <= after.busy - before.busy <= after.total - before.total + 0.05
    share, whole = probe.memory()
    assert 0 < share < 1
    assert whole > 1 << 20
    assert all(name and each.sent >= 0 for name, each in probe.traffic().items())


def test_resident_memory_of_processes_that_live_and_of_those_that_do_not() -> None:
    probe = Psutil()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    found = probe.processes([os.getpid(), ended.pid])
    assert list(found) == [os.getpid()]
    cpu, held = found[os.getpid()]
    assert cpu > 0
    assert held > 1 << 20
    assert probe.processes([]) == {}


class Counted(NamedTuple):
    """Times of one processor."""

    user: float
    idle: float
    iowait: float
    guest: float


def test_what_psutil_says_is_taken_apart_as_the_gauges_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests are part of the user's time, waiting is not work, other processors do not count, Mbit/s are not bytes."""
    probe = Psutil()
    traffic = SimpleNamespace(bytes_sent=7, bytes_recv=9)
    card = {"eth0": SimpleNamespace(speed=100, isup=True), "eth1": SimpleNamespace(speed=100, isup=False)}
    probe._psutil = SimpleNamespace(
        cpu_times=lambda percpu: [Counted(10, 20, 5, 4), Counted(1000, 1000, 1000, 0), Counted(1, 2, 3, 0)],
        virtual_memory=lambda: SimpleNamespace(available=30, total=100),
        net_if_stats=lambda: card,
        net_io_counters=lambda pernic, nowrap: {"eth0": traffic, "eth1": traffic},
    )
    probe._allowed = {0, 2}
    assert probe.times() == (11, 8, 41)
    assert probe.traffic() == {"eth0": Traffic(7, 9, 12_500_000)}
    for group, expected in ((0.2, 0.7), (0.9, 0.9)):
        monkeypatch.setattr(load, "memory_share", lambda group=group: group)
        assert probe.memory() == (pytest.approx(expected), 100)
