"""How much of a unit's time was work: what tells a slow mount from a busy machine.

A unit that took longer than its processor time either waited for a mount, and then more threads help, or
for a processor, and then they make it worse. Linux counts the second kind for each thread
(``schedstat``: ns on a processor, ns ready but waiting for one), so both can be told apart.
"""

from __future__ import annotations

import os
import threading
import time

_local = threading.local()


def effort() -> float:
    """Seconds that this thread was on a processor, or ready to be; elsewhere than on Linux only the first."""
    try:
        fd = _local.schedstat
    except AttributeError:
        try:
            fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            fd = -1
        _local.schedstat = fd
    if fd < 0:
        return time.thread_time()
    try:
        _, ready, _ = os.pread(fd, 80, 0).split()
    except (OSError, ValueError):
        return time.thread_time()
    # The file's first number lags behind by up to a timer tick, which is as long as a small unit takes.
    return time.thread_time() + int(ready) / 1e9
