"""How often a client may ask: a bucket per client, in the memory of this process.

The rule is the generic cell rate algorithm (ITU-T I.371) in its form with a theoretical arrival time: `until` moves on
by 1/rate with every request that passes, and one passes when `until` is no more than the burst ahead of now. What is
remembered of a client is one number, and a client that has been quiet for a burst's time is as good as unknown, so
that the table is bounded: it is swept when it is full. (`pace.bucket` makes bytes wait; a request is not kept waiting
but refused, and there are as many buckets as clients.)
"""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections.abc import Callable

MOST_CLIENTS = 20_000

SITE = 64
"""Bits of an IPv6 address that tell one client from another: whoever has such a network has all addresses in it."""


@functools.lru_cache(4096)
def client_of(address: str) -> str:
    """Who is counted as one client: an IPv4 address, however it is written, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, SITE), strict=False))


class Rates:
    """Requests per second, by client. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, client: str, rate: float, burst: float) -> float:
        """Let a request pass and return 0, or the seconds after which it may be made again.

        Args:
            rate: per second; 0: any number. burst: how many may come at once.
        """
        if rate <= 0:
            return 0.0
        now = self._clock()
        with self._lock:
            if len(self._until) >= MOST_CLIENTS:
                self._until = {name: until for name, until in self._until.items() if until > now}
                if len(self._until) >= MOST_CLIENTS:
                    return 1.0  # so many clients at once are no clients
            until = max(now, self._until.get(client, now))
            wait = until + 1 / rate - now - burst / rate
            if wait > 1e-9:
                return wait
            self._until[client] = until + 1 / rate
            return 0.0


class Failures:
    """Failed logins: after `most` within `span` seconds a name has to wait until they are older.

    Where there are too many names the one that failed first is forgotten, and never the newest.
    """

    def __init__(self, most: int = 5, span: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._span, self._clock = most, span, clock
        self._times: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def wait(self, *names: str) -> float:
        """Seconds until one more attempt is looked at; 0: now."""
        now = self._clock()
        with self._lock:
            return max((self._wait(name, now) for name in names), default=0.0)

    def _wait(self, name: str, now: float) -> float:
        recent = [moment for moment in self._times.get(name, ()) if moment > now - self._span]
        return recent[-self._most] + self._span - now if len(recent) >= self._most else 0.0

    def note(self, *names: str) -> None:
        """An attempt with these names failed."""
        now = self._clock()
        with self._lock:
            if len(self._times) >= MOST_CLIENTS:
                self._times = {name: kept for name, kept in self._times.items() if kept[-1] > now - self._span}
            for name in names:
                before = self._times.pop(name, [])
                while len(self._times) >= MOST_CLIENTS:
                    del self._times[next(iter(self._times))]
                self._times[name] = [*before[-self._most + 1 :], now]

    def forget(self, *names: str) -> None:
        """A login succeeded."""
        with self._lock:
            for name in names:
                self._times.pop(name, None)
