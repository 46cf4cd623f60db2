from __future__ import annotations

import pytest

from dunlin.jobs.budget import FAR_LEAST, PROCESS, fitting, needed
from dunlin.jobs.limits import FAR_SMALLEST, FEWEST, capped, enforced, too_little
from dunlin.jobs.options import Crawling, Crew, Limits, SyncOptions
from dunlin.pace.machine import GIB, MIB, Machine
from dunlin.pace.sizes import format_size
from dunlin.report import Event, Level
from dunlin.workers.governor import Enforced

SERVER = Machine(16, 64 * GIB)
SMALL = Machine(2, 8 * GIB)
DESKTOP = Machine(4, 16 * GIB)
BOARD = Machine(4, 1 * GIB, True)


def options(crew: Crew = Crew(), **limits: object) -> SyncOptions:  # noqa: B008
    return SyncOptions("a", "b", crew=crew, limits=Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("machine", [SERVER, SMALL, Machine(64, 256 * GIB)])
def test_a_server_holds_to_nothing_by_itself(machine: Machine) -> None:
    assert enforced(options(), machine) is None


def test_classes_that_mind_their_load_hold_to_their_limits() -> None:
    assert enforced(options(), DESKTOP) == Enforced(4, 70, 1024 * MIB, 0.8)
    assert enforced(options(), BOARD) == Enforced(4, 50, 256 * MIB, 0.8)
    assert enforced(options(), Machine(1, 256 * MIB)) == Enforced(1, 50, 128 * MIB, 0.8)
    assert enforced(options(), Machine(1, 100 * MIB)) == Enforced(1, 50, 64 * MIB, 0.8), "never less than can be asked"


def test_a_server_that_is_told_to_mind_its_load_does() -> None:
    wanted = options(auto_throttle=True, throttle_threshold=0.5, link_bytes=1000)
    assert enforced(wanted, SERVER) == Enforced(16, 80, 2048 * MIB, 0.5, 1000)


def test_what_is_asked_for_holds_without_throttling() -> None:
    assert enforced(options(cpu_percent=25), SERVER) == Enforced(16, 25, 0, 0.0)
    assert enforced(options(memory_bytes=150 * MIB), SERVER) == Enforced(16, 0, 150 * MIB, 0.0)
    assert enforced(options(cpu_percent=25, auto_throttle=False), DESKTOP) == Enforced(4, 25, 0, 0.0)


def test_all_of_the_processors_is_no_limit() -> None:
    assert enforced(options(cpu_percent=100), SERVER) is None


@pytest.mark.parametrize(("machine", "workers"), [(SERVER, 10), (SMALL, 0), (DESKTOP, 6), (BOARD, 2)])
def test_the_class_caps_what_is_automatic(machine: Machine, workers: int) -> None:
    assert capped(options(), machine).crew.workers == workers
    assert capped(options(Crew(workers=17)), machine).crew.workers == 17
    assert capped(options(Crew(threads=3)), machine).crew.workers == 0


@pytest.mark.parametrize(("limit", "movers"), [(64, 1), (159, 1), (160, 2), (218, 2), (219, 3), (400, 4), (4000, 4)])
def test_where_memory_is_short_there_are_fewer_movers(limit: int, movers: int) -> None:
    made = capped(options(memory_bytes=limit * MIB), DESKTOP)
    assert made.crew.movers == movers
    assert made.limits.memory_bytes == limit * MIB


def test_a_limit_above_the_memory_of_the_machine_makes_no_more_movers_than_that() -> None:
    assert capped(options(memory_bytes=4 * GIB), Machine(4, 200 * MIB)).crew.movers == 2


@pytest.mark.parametrize("movers", [1, 2, 4])
def test_a_mover_that_is_added_has_room_for_two_parts_from_far_away(movers: int) -> None:
    assert needed(movers) - PROCESS >= movers * (PROCESS + FAR_LEAST)
    assert (fitting(needed(movers)), fitting(needed(movers) - 1)) == (movers, max(1, movers - 1))


def test_movers_that_were_asked_for_are_cut_down_as_well() -> None:
    assert capped(options(Crew(movers=8), memory_bytes=100 * MIB), DESKTOP).crew.movers == 1
    assert capped(options(Crew(movers=8)), SERVER).crew.movers == 8


def test_the_memory_of_a_class_is_a_budget_only_where_it_holds() -> None:
    assert capped(options(), DESKTOP).limits.memory_bytes == 1024 * MIB
    assert capped(options(), SERVER).limits.memory_bytes == 0


def test_a_limit_below_what_processes_take_is_said_to_be_too_little_where_an_object_store_is() -> None:
    def said(limit: int, source: str) -> list[Event]:
        return list(too_little(options(memory_bytes=limit)._replace(source=source)))

    assert said(FAR_SMALLEST - 1, "/tree") == []
    assert said(FAR_SMALLEST, "s3://bucket") == []
    assert said(0, "s3://bucket") == []
    (event,) = said(64 * MIB, "s3://bucket")
    assert (event.level, event.name) == (Level.WARN, "memory.floor")
    assert f"at least {format_size(FAR_SMALLEST)} is needed" in event.message
    assert event.fields == {"limit": 64 * MIB, "needed": FAR_SMALLEST}


def test_fewer_names_than_a_long_directory_takes_are_said_to_be_too_few() -> None:
    def said(files: int) -> list[Event]:
        return list(too_little(options()._replace(crawl=Crawling(max_active_files=files))))

    assert said(0) == said(FEWEST) == []
    (event,) = said(FEWEST - 1)
    assert (event.level, event.name) == (Level.WARN, "files.floor")
    assert event.message == (
        "--max-active-files: 3,999 is less than a long directory takes, up to 4,000 names may be held"
    )
    assert event.fields == {"limit": 3_999, "needed": 4_000}


def test_no_automatic_limit_lies_below_what_an_object_store_needs() -> None:
    board = Machine(1, 100 * MIB)
    held = enforced(options()._replace(destination="s3://bucket"), board)
    assert held is not None
    assert held.memory_bytes == FAR_SMALLEST
