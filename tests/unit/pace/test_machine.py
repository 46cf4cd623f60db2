from __future__ import annotations

import re
from pathlib import Path

import pytest

from dunlin.pace.machine import (
    DESKTOP,
    EDGE,
    GIB,
    HIGH_END,
    MIB,
    SMALL,
    STANDARD,
    Machine,
    boot_id,
    class_of,
    memory_share,
    this_machine,
)


def tree(root: Path, groups: str, files: dict[str, str], memory: int = 64 * GIB) -> str:
    """A machine of the given memory, whose /proc and /sys lie below `root`."""
    for name, text in {
        "proc/self/cgroup": groups,
        "proc/meminfo": f"MemTotal:       {memory // 1024} kB\nMemFree: 5 kB\n",
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


V2 = {"cgroup.controllers": "cpu memory\n"}


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert this_machine(tree(tmp_path, "", {}), 16, False) == Machine(16, 64 * GIB)


def test_nothing_to_read_is_no_error(tmp_path: Path) -> None:
    assert this_machine(str(tmp_path), 2, False) == Machine(2, 0)
    assert memory_share(str(tmp_path)) == 0


def test_the_real_machine_has_processors_and_memory() -> None:
    machine = this_machine()
    assert machine.cores > 0
    assert machine.memory_bytes > 16 * MIB


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"a/b/cpu.max": "150000 100000\n", "a/b/memory.max": "536870912\n"}, 1.5, 512 * MIB),
        ({"a/b/cpu.max": "max 100000\n", "a/b/memory.max": "max\n"}, 16, 64 * GIB),
        # A limit holds for all below it.
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "800000 100000\n", "a/memory.max": f"{GIB}\n"}, 4, GIB),
        ({"a/b/cpuset.cpus.effective": "0-1,4,6-7\n"}, 5, 64 * GIB),
        ({"a/b/cpu.max": "nonsense\n", "a/b/cpuset.cpus.effective": "\n"}, 16, 64 * GIB),
        # More than there is limits nothing.
        ({"a/b/cpu.max": "6400000 100000\n", "a/b/memory.max": f"{256 * GIB}\n"}, 16, 64 * GIB),
    ],
)
def test_version_2(tmp_path: Path, files: dict[str, str], cores: float, memory: int) -> None:
    inner = {"a/b/cgroup.procs": "", **V2, **files}
    assert this_machine(tree(tmp_path, "0::/a/b\n", inner), 16, False) == Machine(cores, memory)


def test_in_a_container_the_path_of_the_host_is_not_mounted(tmp_path: Path) -> None:
    files = {**V2, "cpu.max": "50000 100000", "memory.max": "1000000"}
    root = tree(tmp_path, "0::/system.slice/docker-1.scope\n", files)
    assert this_machine(root, 16, False) == Machine(0.5, 1_000_000)


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        (
            {
                "cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
                "memory/job/memory.limit_in_bytes": "268435456\n",
            },
            2.5,
            256 * MIB,
        ),
        (
            {
                "cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
                "memory/job/memory.limit_in_bytes": "9223372036854771712\n",
            },
            16,
            64 * GIB,
        ),
        ({"cpuset/job/cpuset.cpus": "0-2\n", "memory/memory.limit_in_bytes": "5000000\n"}, 3, 5_000_000),
    ],
)
def test_version_1(tmp_path: Path, files: dict[str, str], cores: float, memory: int) -> None:
    groups = "4:memory:/job\n3:cpuset:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/job\n"
    assert this_machine(tree(tmp_path, groups, files), 16, False) == Machine(cores, memory)


def test_a_controller_mounted_under_its_own_name(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}
    assert this_machine(tree(tmp_path, "2:cpu,cpuacct:/\n", files), 8, False).cores == 1


def test_how_full_a_group_is_leaves_out_what_could_be_dropped(tmp_path: Path) -> None:
    files = {**V2, "memory.max": "1000", "memory.current": "900", "memory.stat": "anon 300\ninactive_file 400\n"}
    assert memory_share(tree(tmp_path, "0::/\n", files)) == 0.5


def test_how_full_a_group_of_version_1_is(tmp_path: Path) -> None:
    files = {
        "memory/g/memory.limit_in_bytes": "1000",
        "memory/g/memory.usage_in_bytes": "800",
        "memory/g/memory.stat": "cache 1\ntotal_inactive_file 100\n",
    }
    assert memory_share(tree(tmp_path, "4:memory:/g\n", files)) == 0.7


def test_a_group_without_a_limit_is_never_full(tmp_path: Path) -> None:
    assert memory_share(tree(tmp_path, "0::/\n", {**V2, "memory.max": "max", "memory.current": "900"})) == 0


@pytest.mark.parametrize(
    ("cores", "memory", "arm", "expected"),
    [
        (1, GIB, False, EDGE),
        (64, 2 * GIB, False, EDGE),
        (4, 4 * GIB, True, EDGE),
        (4, 8 * GIB, True, DESKTOP),
        (2, 4 * GIB, False, SMALL),
        (3.5, 16 * GIB, False, SMALL),
        (4, 16 * GIB, False, DESKTOP),
        (7, 16 * GIB, False, DESKTOP),
        (8, 16 * GIB, False, STANDARD),
        (31, 64 * GIB, False, STANDARD),
        (32, 64 * GIB, False, HIGH_END),
        (2, 0, False, SMALL),
    ],
)
def test_classes(cores: float, memory: int, arm: bool, expected: object) -> None:
    assert class_of(Machine(cores, memory, arm)) == expected


def test_the_table_of_getblobz() -> None:
    rows = [(row.workers, row.memory_bytes // MIB, row.cpu_percent, row.auto_throttle) for row in
            (HIGH_END, STANDARD, DESKTOP, EDGE)]  # fmt: skip
    assert rows == [(20, 4096, 80, False), (10, 2048, 80, False), (6, 1024, 70, True), (2, 256, 50, True)]
    assert STANDARD._replace(workers=0) == SMALL


def test_half_a_processor_is_one_that_can_be_busy() -> None:
    assert [Machine(cores, 0).whole_cores for cores in (0.25, 1, 1.5, 4)] == [1, 1, 2, 4]


def test_beside_version_1_version_2_is_mounted_below_it(tmp_path: Path) -> None:
    files = {"unified/cgroup.controllers": "cpu\n", "unified/job/cpu.max": "150000 100000\n"}
    assert this_machine(tree(tmp_path, "1:name=systemd:/job\n0::/job\n", files), 16, False).cores == 1.5


def test_a_path_that_leads_out_of_what_is_mounted_is_not_followed(tmp_path: Path) -> None:
    files = {**V2, "memory.max": f"{2 * GIB}\n", "../other/memory.max": f"{GIB}\n"}
    assert this_machine(tree(tmp_path, "0::/../other\n", files), 16, False).memory_bytes == 2 * GIB


def test_a_boot_has_a_name_of_its_own() -> None:
    assert re.fullmatch("[0-9a-f-]{36}", boot_id())
    assert boot_id() == boot_id()
