"""How far a run is, and how long the rest of it takes.

A file counts as its bytes and `PER_FILE` more, which is about what opening, naming and closing cost: so the bytes
decide where files are large and their number where they are small, and a backlog that holds both does not jump between
two estimates.

Under a limit what a file costs beside its bytes is spent while others wait for their turn: for the time that is left it
counts less the more of the limit is used, and nothing when all of it is. The share must not swing with the rate, nor
fall in a pause; for it a file counts the less the lower the limit is.

For the time that is left this says too little where the small files came first: their number has made the run look
fast, and what waits is bytes. Two bounds hold from below. No rest is through sooner than a limit lets its bytes go;
and where bytes are most of what waits and most of what moves, at their own rate.
"""

from __future__ import annotations

PER_FILE = 64 << 10
"""What a file costs beside its bytes, in bytes."""

FULL = 100 << 20
"""Bytes per second without a limit, about: below it a file costs as much time, and so fewer bytes, beside its own."""


def share(done_files: float, done_bytes: float, files: float, size: float, limit: float = 0) -> float:
    """How much is done, 0 to 1, where `files` of `size` bytes together still wait; 1 where nothing does.

    `limit`: bytes per second that may move at most; 0: as many as can.
    """
    each = PER_FILE * (min(1.0, limit / FULL) if limit > 0 else 1.0)
    done, rest = done_bytes + each * done_files, size + each * files
    return done / (done + rest) if rest > 0 else 1.0


def seconds_left(files: float, size: float, files_rate: float, bytes_rate: float, limit: float = 0) -> float | None:
    """Seconds for so many files of so many bytes together, at these rates per second; None: cannot be told.

    `limit`: bytes per second that may move at most; 0: as many as can.
    """
    if size <= 0 and files <= 0:
        return 0.0
    if bytes_rate <= 0 and files_rate <= 0:
        return None
    each = PER_FILE * (max(0.0, 1 - bytes_rate / limit) if limit > 0 else 1.0)
    weight, pace = each * files, each * files_rate
    left = (size + weight) / (bytes_rate + pace)
    if size > weight and bytes_rate > pace:
        left = max(left, size / bytes_rate)
    return max(left, size / limit) if limit > 0 else left
