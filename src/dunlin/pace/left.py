"""How long the rest of a run takes.

A file counts as its bytes and `PER_FILE` more, which is about what opening, naming and closing cost: so the bytes
decide where files are large and their number where they are small, and a backlog that holds both does not jump between
two estimates.
"""

from __future__ import annotations

PER_FILE = 64 << 10
"""What a file costs beside its bytes, in bytes."""


def seconds_left(files: float, size: float, files_rate: float, bytes_rate: float) -> float | None:
    """Seconds for so many files of so many bytes together, at these rates per second; None: cannot be told."""
    work = size + PER_FILE * files
    speed = bytes_rate + PER_FILE * files_rate
    if work <= 0:
        return 0.0
    return work / speed if speed > 0 else None
