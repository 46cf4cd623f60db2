"""On what the figures were measured."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path


def facts() -> dict[str, str]:
    """Cores, memory, kernel and the versions of all programs involved; nothing that names the machine."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor[1] if processor else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "unknown",
        "kernel": re.match(r"[\d.]+", platform.release()).group(),  # type: ignore[union-attr]
        "python": platform.python_version(),
        "rsync": first_line("rsync", "--version"),
        "cp": first_line("cp", "--version"),
    }


def first_line(*command: str) -> str:
    """What a program says about its version."""
    try:
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "not installed"
    return re.sub(r"\s+", " ", re.sub(r"protocol version.*", "", line)).strip()
