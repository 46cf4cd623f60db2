"""Ids of jobs: short, and in the order in which jobs were submitted.

An id is a number of 60 bits: 40 for the milliseconds since 2024, which last until 2058, and 20 by chance, so that
several services may give ids without asking each other. Whoever finds the number taken draws again. Its text is 12
digits of base 32 in the alphabet of Crockford (no i, l, o, u), which sorts as the numbers do.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
LENGTH = 12
EPOCH = 1_704_067_200.0
"""2024-01-01 UTC, seconds since 1970."""


def text_of(number: int) -> str:
    """The id of a number of 60 bits."""
    return "".join(DIGITS[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def number_of(id: str) -> int:
    """The number of an id; -1 for what is none."""
    if len(id) != LENGTH:
        return -1
    number = 0
    for digit in id:
        value = _VALUES.get(digit, -1)
        if value < 0:
            return -1
        number = number << 5 | value
    return number


def span_of(beginning: str) -> tuple[int, int]:
    """The smallest and the greatest number whose ids begin so; (0, -1) where none does."""
    low = number_of(beginning.ljust(LENGTH, DIGITS[0]))
    return (low, number_of(beginning.ljust(LENGTH, DIGITS[-1]))) if low >= 0 else (0, -1)


def short(length: int) -> str:
    """So many digits by chance."""
    return "".join(secrets.choice(DIGITS) for _ in range(length))


class Ids:
    """Gives numbers that grow, also within a millisecond and when the clock is set back."""

    __slots__ = ("_clock", "_last", "_lock")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """A number greater than all that this object gave before."""
        with self._lock:
            now = max(0, int((self._clock() - EPOCH) * 1000)) & (1 << 40) - 1
            self._last = max(now, (self._last >> 20) + 1) << 20 | secrets.randbits(20)
            return self._last
