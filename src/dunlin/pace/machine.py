"""What there is of the machine for this process: processors and memory, and the class that follows from them.

A container is a cgroup with limits, and the machine's own figures say nothing about those: a pod that may use half a
processor of sixty-four sees sixty-four. So the limits are read where the kernel tells them.

    version 2   one tree below /sys/fs/cgroup; ``0::PATH`` in /proc/self/cgroup names the group
                cpu.max ("QUOTA PERIOD" in us, or "max PERIOD"), cpuset.cpus.effective, memory.max (bytes or "max")
    version 1   a tree for each controller, /sys/fs/cgroup/cpu, .../cpuset, .../memory; ``N:cpu,cpuacct:PATH``
                cpu.cfs_quota_us (-1: none) over cpu.cfs_period_us, cpuset.cpus, memory.limit_in_bytes (2^63: none)

A limit of a group holds for all below it, so the smallest on the way up counts. Within a container the path may be
that of the host, which is not mounted there: then what is mounted is the container's own group.

The formats are those of the kernel's documentation (admin-guide/cgroup-v2 and cgroup-v1).
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from typing import NamedTuple

GIB = 1 << 30
MIB = 1 << 20


class Machine(NamedTuple):
    """What this process may use.

    Attributes:
        cores: processors, as a number that need not be whole.
        memory_bytes: memory; 0 where nothing tells it.
        arm: the processors are ARM.
    """

    cores: float
    memory_bytes: int
    arm: bool = False

    @property
    def whole_cores(self) -> int:
        """Processors that can be busy at the same time, at least one."""
        return max(1, math.ceil(self.cores))


class Class(NamedTuple):
    """What a run takes of a kind of machine when nobody says otherwise.

    Attributes:
        name: "edge", "desktop", "standard" or "high-end".
        workers: most files in flight; 0: as many as the way to the store asks for.
        memory_bytes: most resident memory. cpu_percent: most of all processors.
        auto_throttle: slow down while the machine is busy; the two limits hold only with it.
    """

    name: str
    workers: int
    memory_bytes: int
    cpu_percent: int
    auto_throttle: bool


EDGE = Class("edge", 2, 256 * MIB, 50, True)
DESKTOP = Class("desktop", 6, 1024 * MIB, 70, True)
STANDARD = Class("standard", 10, 2048 * MIB, 80, False)
SMALL = STANDARD._replace(workers=0)
"""A server of two or three processors: what it lacks in them says nothing about the way to a store."""
HIGH_END = Class("high-end", 20, 4096 * MIB, 80, False)


def class_of(machine: Machine) -> Class:
    """The class of a machine: the table of getblobz, with the gaps between its rows filled."""
    memory = machine.memory_bytes or 4 * GIB
    if memory < 4 * GIB or (machine.arm and memory < 8 * GIB):
        return EDGE
    if machine.cores >= 32:
        return HIGH_END
    if machine.cores >= 8:
        return STANDARD
    return DESKTOP if machine.cores >= 4 else SMALL


def this_machine(root: str = "/", cores: int = 0, arm: bool | None = None) -> Machine:
    """What this process may use, of the machine and of its control group.

    Args:
        root: where /proc and /sys lie; for tests.
        cores: processors without any control group; 0: those this process may run on.
        arm: whether they are ARM; None: ask.
    """
    groups = _groups(root)
    allowed: list[float] = [cores or _affinity()]
    memory = [total] if (total := _memory_of_machine(root)) else []
    for place in groups.cpu:
        allowed += _quota(place)
    for place in groups.cpuset:
        allowed += _set(place)
    memory += [limit for place in groups.memory if (limit := _limit(place)) > 0]
    is_arm = platform.machine().lower().startswith(("arm", "aarch")) if arm is None else arm
    return Machine(min(allowed), min(memory, default=0), is_arm)


def memory_share(root: str = "/") -> float:
    """How full the fullest of the control groups with a limit is, 0 to 1; what the kernel could drop does not count."""
    share = 0.0
    for place in _groups(root).memory:
        used = max(_number(f"{place}/memory.current"), _number(f"{place}/memory.usage_in_bytes"))
        if (limit := _limit(place)) > 0:
            share = max(share, (used - _file_cache(place)) / limit)
    return share


class _Groups(NamedTuple):
    """The directories of this process's groups, the innermost first, by what they limit."""

    cpu: list[str]
    cpuset: list[str]
    memory: list[str]


def _groups(root: str) -> _Groups:
    found = _Groups([], [], [])
    mounted = f"{root}/sys/fs/cgroup"
    for line in _text(f"{root}/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for base in (mounted, f"{mounted}/unified"):
                if os.path.exists(f"{base}/cgroup.controllers"):
                    for each in found:
                        each.extend(_upwards(base, path))
            continue
        for name in controllers.split(","):
            if name in found._fields:
                joined = f"{mounted}/{controllers}"
                base = joined if os.path.isdir(joined) else f"{mounted}/{name}"
                getattr(found, name).extend(_upwards(base, path))
    return found


def _upwards(base: str, path: str) -> Iterator[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        place = "/".join((base, *parts[:n]))
        if os.path.isdir(place):
            yield place


def _quota(place: str) -> list[float]:
    words = _text(f"{place}/cpu.max").split()
    if not words:
        words = [_text(f"{place}/cpu.cfs_{what}_us").strip() for what in ("quota", "period")]
    try:
        quota, period = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []


def _set(place: str) -> list[float]:
    text = _text(f"{place}/cpuset.cpus.effective") or _text(f"{place}/cpuset.cpus")
    try:
        ends = [part.split("-") for part in text.strip().split(",") if part]
        count = sum(int(each[-1]) - int(each[0]) + 1 for each in ends)
    except ValueError:
        return []
    return [count] if count else []


def boot_id() -> str:
    """What changes with every boot of this machine; "" where nothing does."""
    return _text("/proc/sys/kernel/random/boot_id").strip()


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_of_machine(root: str) -> int:
    for line in _text(f"{root}/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    if root == "/" and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _limit(place: str) -> int:
    return max(_number(f"{place}/memory.max"), _number(f"{place}/memory.limit_in_bytes"))


def _file_cache(place: str) -> int:
    for line in _text(f"{place}/memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(file: str) -> int:
    """What a file holds, -1 for "max" and where there is none."""
    try:
        return int(_text(file))
    except ValueError:
        return -1


def _text(file: str) -> str:
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read()
    except (OSError, ValueError):
        return ""
