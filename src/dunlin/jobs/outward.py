"""What a command tells the world outside while it works: metrics to whoever scrapes, messages to people.

It begins before anything else is done, since an address that cannot be listened on should be known then, and ends
after everything, when the last message has gone or had its time. In between each run is handed a report for it. All of
it lives in threads: a process that has some must not fork, so movers are spawned where this is used.

A dry run has none of it: it changes nothing, and a watch of the same configuration may have the address already.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.pace.retry import PATIENCE, REACH, Retry, retry
from dunlin.report import Event, Fan, Level, Report, Task
from dunlin.report.notify import DEFAULT_EVENTS, INTERVAL, STALLED_AFTER, Notice, Notices
from dunlin.report.outbox import WAIT, Outboxes, Pause, Send, Way

if TYPE_CHECKING:
    from dunlin.report.address import Address
    from dunlin.report.endpoint import Endpoint
    from dunlin.report.mail import Mail
    from dunlin.report.prometheus import Usage
    from dunlin.report.webhook import Webhook

SENDING = Retry(attempts=6, deadline=120.0, base=1.0, kinds=REACH.kinds | PATIENCE.kinds)
"""Around one message: what a network or a busy server does passes within two minutes, or is told."""

TICK = 5.0
"""Seconds between two looks at whether a run stands still; less where that is asked for soon."""


class Options(NamedTuple):
    """What is asked for; `webhook` and `mail` do not show their secrets.

    Attributes:
        address: where metrics are served; None: nowhere.
        webhook, mail: ways to send messages; None: not that way.
        events: words of `report.notify.EVENTS`.
        stalled_after: seconds without progress after which a run stands still.
        interval: seconds between two messages of one kind about one pair.
    """

    address: Address | None = None
    webhook: Webhook | None = None
    mail: Mail | None = None
    events: frozenset[str] = frozenset(DEFAULT_EVENTS)
    stalled_after: float = STALLED_AFTER
    interval: float = INTERVAL


class Outward:
    """Metrics and messages of one command. Raises USAGE where the address cannot be listened on.

    Args:
        pairs: how many pairs there are.
        version: of the program.
    """

    def __init__(self, options: Options, pairs: int, version: str) -> None:
        self._tell: Callable[[Event], None] | None = None
        self._served: Endpoint | None = None
        self._boxes: Outboxes | None = None
        self._notices: Notices | None = None
        reports: list[Report] = []
        if options.address is not None:
            from dunlin.report.endpoint import Endpoint
            from dunlin.report.prometheus import Metrics

            metrics = Metrics(version, pairs, usage)
            self._served = Endpoint(metrics, options.address)
            reports.append(metrics)
        ways = ways_of(options)
        if ways:
            here = socket.gethostname() or platform.node() or "localhost"
            self._boxes = Outboxes(ways, min(TICK, options.stalled_after / 4))
            self._notices = Notices(self._boxes.put, options.events, here, options.stalled_after, options.interval)
            self._boxes.watch(self._notices.look)
            reports.append(self._notices)
        self.report: Report = Fan(reports)

    def pair(self, number: int, cycle: int = 0) -> Pair:
        """What a run of the pair with this number (from 1) reports to; `cycle` of a watch, from 1."""
        return Pair(self, number, cycle)

    def telling(self, tell: Callable[[Event], None]) -> None:
        """From now on tell the person at the terminal this way; the first time also where the metrics are."""
        if self._tell is None and self._served is not None:
            tell(Event(Level.INFO, "metrics.served", f"metrics are at {self._served.url}", {"url": self._served.url}))
        self._tell = tell

    def pass_on(self) -> None:
        """Tell what went wrong with messages; only the run's own thread may call it."""
        for event in self._boxes.troubles() if self._boxes is not None else ():
            self._say(event)

    def _say(self, event: Event) -> None:
        if self._tell is not None:
            self._tell(event)

    def close(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Send the last messages, for at most `outbox.WAIT` seconds, and serve no more metrics.

        `hurry`: whether to give up what is not sent yet; asked again and again.
        """
        if self._boxes is not None and self._notices is not None:
            self._boxes.rest()
            self._notices.close()
            for event in self._boxes.close(WAIT, hurry):
                self._say(event)
        if self._served is not None:
            self._served.close()


class Pair:
    """One run of one pair, seen from outside: a report for it, told when it begins and how it ends."""

    def __init__(self, outward: Outward, number: int, cycle: int) -> None:
        self._outward = outward
        self._fan = outward.report
        self._pass_on = outward.pass_on
        self._more = {"pair": number, "cycle": cycle}

    def begins(self, event: Event, tell: Callable[[Event], None]) -> None:
        """The run begins: the event of `jobs.told.started`; `tell` takes what the person should know meanwhile."""
        self._outward.telling(tell)
        self._fan.event(event._replace(fields={**event.fields, **self._more}))

    def ends(self, event: Event, fields: Mapping[str, Any]) -> None:
        """The run is over: the event of `jobs.told.ended`; `fields`: more about it, for programs."""
        self._fan.event(event._replace(fields={**fields, **event.fields, **self._more}))
        self._pass_on()

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        self._fan.count(name, n)
        self._pass_on()

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        self._fan.gauge(name, value)

    def event(self, event: Event) -> None:
        """See `Report`."""
        self._fan.event(event)
        self._pass_on()

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return self._fan.task(name, total)


def ways_of(options: Options) -> list[Way]:
    """The ways of sending; each repeats an attempt by the one policy."""
    ways = []
    if (hook := options.webhook) is not None:
        from dunlin.report.webhook import post

        ways.append(Way(hook.shown, _patiently(lambda notice: post(hook, notice))))
    if (mail := options.mail) is not None:
        from dunlin.report.mail import deliver

        here = socket.gethostname() or "localhost"
        ways.append(Way(mail.shown, _patiently(lambda notice: deliver(mail, notice, here))))
    return ways


def _patiently(once: Callable[[Notice], None]) -> Send:
    def send(notice: Notice, pause: Pause) -> None:
        # The pause is made where the error is known, since it may end in raising it.
        retry(lambda: once(notice), SENDING, lambda error, attempt, wait: pause(error, wait), sleep=lambda wait: None)

    return send


def usage() -> Usage:
    """What this process and the movers have taken of the machine; movers that have ended are counted, too."""
    import psutil

    from dunlin.report.prometheus import Usage

    own = os.times()
    cpu, resident, number = own.user + own.system + own.children_user + own.children_system, 0, 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            resident += int(process.memory_info().rss)
            number += 1
            if process.pid != me.pid:
                times = process.cpu_times()
                cpu += times.user + times.system
    return Usage(round(cpu, 2), resident, number)  # the kernel counts in hundredths, sums of fractions drift
