"""What a run may list at a time and hold in memory, on machines from 512 MB to 512 GB."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dunlin.jobs.budget import PROCESS, needed
from dunlin.jobs.crawling import ENOUGH, LEAST_SHARE, crawl_plan
from dunlin.jobs.limits import capped
from dunlin.jobs.options import Crawling, Limits, SyncOptions
from dunlin.pace.machine import GIB, MIB, Machine
from dunlin.pace.window import LEAST_FILES, NAME_BYTES, Marks, run_length
from dunlin.workers.crawl import CrawlPlan

LOCAL = ("file:///a", "file:///b")


def plan(machine: Machine, urls: tuple[str, str] = LOCAL, memory_mb: int = 0, **asked: object) -> CrawlPlan:
    options = SyncOptions(
        "/a", "/b", limits=Limits(memory_bytes=memory_mb * MIB), crawl=Crawling(**asked)  # type: ignore[arg-type]
    )  # fmt: skip
    options = capped(options, machine)
    movers = options.crew.movers or min(machine.whole_cores, 8)
    return crawl_plan(options, machine, movers, options.crew.workers or movers * 16, urls)


@pytest.mark.parametrize(
    ("machine", "directories", "files", "run"),
    [
        (Machine(1, GIB // 2), 4, 72_000, 9_000),
        (Machine(1, GIB), 4, 72_000, 9_000),
        (Machine(2, 2 * GIB), 8, 56_000, 3_500),
        (Machine(2, 8 * GIB), 8, 3_300_000, 50_000),
        (Machine(16, 64 * GIB), 64, 26_700_000, 50_000),
        (Machine(128, 512 * GIB), 512, 214_600_000, 50_000),
    ],
)
def test_the_table_of_the_documentation(machine: Machine, directories: int, files: int, run: int) -> None:
    made = plan(machine)
    assert made.limits.directories == directories
    assert made.limits.files == pytest.approx(files, rel=0.01)
    assert min(50_000, run_length(made.limits.files, directories)) == pytest.approx(run, rel=0.01)
    assert made.limits.files <= made.most_files
    assert directories <= made.most_directories


def test_threads_are_counted_on_for_as_many_files_as_there_may_come_to_be() -> None:
    machine, urls = Machine(2, 8 * GIB), ("file:///a", "s3://b")
    one, other = (crawl_plan(SyncOptions("a", "s3://b"), machine, 2, 32, urls, flights) for flights in (0, 128))
    assert (one.limits.threads, other.limits.threads) == (4 * 32 + 64, 4 * 128 + 64)
    assert one.limits._replace(threads=0) == other.limits._replace(threads=0)
    assert one.most_directories == other.most_directories


def test_the_smallest_machine_has_the_smallest_window() -> None:
    """B7: below 2 GB a budget was rounded to 0, which counted as none."""
    files = [plan(Machine(1, mib * MIB)).limits.files for mib in (64, 128, 256, 512, 1024)]
    assert files == sorted(files)
    assert files[0] >= LEAST_FILES
    whole = plan(Machine(1, 512 * MIB))
    assert whole.limits.files * NAME_BYTES < 256 * MIB // 4


def test_many_processors_in_a_small_container_list_no_more_than_memory_bears() -> None:
    made = plan(Machine(128, 512 * MIB))
    assert made.limits.directories <= max(1, made.limits.files // LEAST_FILES)
    assert made.limits.directories < 128


def test_memory_that_is_asked_for_bounds_names_and_queues() -> None:
    made = plan(Machine(2, 8 * GIB), memory_mb=128)
    assert made.limits.files * NAME_BYTES <= (128 * MIB - 2 * PROCESS) / 4
    assert made.memory_bytes == 128 * MIB
    assert made.share == 128 * MIB / ENOUGH
    assert plan(Machine(2, 8 * GIB)).share == 1.0
    assert plan(Machine(2, 8 * GIB)).memory_bytes == 8 * GIB
    assert plan(Machine(1, 16 * MIB), memory_mb=16).share == LEAST_SHARE


def test_what_the_user_says_is_a_cap() -> None:
    made = plan(Machine(2, 8 * GIB), parallelism=3, max_active_files=50_000)
    assert made.limits[:2] == (3, 50_000)
    assert (made.most_directories, made.most_files, made.lifts) == (3, 50_000, False)
    assert plan(Machine(2, 8 * GIB), max_active_files=2_000).limits[:2] == (1, 2_000)
    one = plan(Machine(2, 8 * GIB), max_active_files=1)
    assert (one.limits[:2], one.least_files) == ((1, 1), 1)
    assert made.least_files == LEAST_FILES, "the monitor goes no lower than one directory takes"
    assert plan(Machine(2, 8 * GIB), max_active_files=1 << 40).limits.files == 4_000_000


@pytest.mark.parametrize(("urls", "each"), [(LOCAL, 4), (("s3://b/p", "file:///b"), 8), (("file:///a", "az://c"), 2)])
def test_the_kind_of_the_pair_decides(urls: tuple[str, str], each: int) -> None:
    made = plan(Machine(8, 64 * GIB), urls)
    assert made.limits.directories == 8 * each
    assert made.lifts


def test_threads_follow_the_files_in_flight_and_experts_have_their_say() -> None:
    made = plan(Machine(16, 64 * GIB), engage=0.9, release=0.5, consistency=3, cooldown=7.0)
    assert made.limits.threads == 4 * 10 + 64
    assert made.limits.marks == Marks(0.9, 0.5)
    assert (made.consistency, made.cooldown) == (3, 7.0)


CORES = [1, 2, 8, 32]


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("urls", [LOCAL, ("s3://b/p", "file:///b"), ("file:///a", "az://c")])
def test_more_memory_is_never_a_smaller_window_whether_it_is_asked_for_or_there(
    cores: int, urls: tuple[str, str]
) -> None:
    """From 64 MB to 4 GB: a mover is added only where the names that may be held do not become fewer by that."""
    asked = [plan(Machine(cores, 8 * GIB), urls, memory_mb=mib) for mib in range(64, 4097)]
    there = [plan(Machine(cores, mib * MIB), urls) for mib in range(64, 4097)]
    for found in (asked, there):
        windows = [(*made.limits[:2], made.most_directories, made.most_files) for made in found]
        for before, after in pairwise(windows):
            assert all(less <= more for less, more in zip(before, after, strict=True)), (before, after)


@pytest.mark.parametrize("cores", CORES)
def test_memory_becomes_movers_up_to_the_processors(cores: int) -> None:
    movers = [
        capped(SyncOptions("/a", "/b", limits=Limits(memory_bytes=mib * MIB)), Machine(cores, 8 * GIB)).crew.movers
        for mib in range(64, 601)
    ]
    assert movers == sorted(movers)
    assert sorted(set(movers)) == list(range(1, min(cores, 8) + 1))


@pytest.mark.parametrize("movers", [1, 2, 3, 7])
def test_each_mover_has_names_for_all_directories_of_a_processor(movers: int) -> None:
    made = plan(Machine(8, 8 * GIB), memory_mb=-(-needed(movers) // MIB))
    assert made.limits.files >= 4 * LEAST_FILES * movers
    assert made.limits.directories >= 4 * movers
