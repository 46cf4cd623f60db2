"""Seconds that have passed, also while the machine slept.

``CLOCK_MONOTONIC``, which `time.monotonic` shows on Linux, stands still while a machine sleeps, and so do all waits.
``CLOCK_BOOTTIME`` goes on (clock_gettime(2)). Whoever holds something that others take for lost after a while, a lease,
must count by that.
"""

from __future__ import annotations

import time


def passed() -> float:
    """Seconds since some moment, those included that the machine slept, where it can tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.monotonic()
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def asleep() -> float:
    """Seconds that the machine has slept since it booted, give or take a constant; 0 where nobody knows."""
    return passed() - time.monotonic()
