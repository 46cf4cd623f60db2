"""What all engines of queues do alike: names as they are stored, limits, lanes, waiting, debts.

Names
    Keys and labels are names of files as often as not: with undecodable bytes (lone surrogates), with NUL. PostgreSQL
    stores neither, and JSON in a script only half. So what cannot be stored everywhere is written as ESC and four
    hexadecimal digits, ESC itself too; `stored` and `meant` are inverse to each other. The unit and record separators
    are escaped as well: lanes are joined with them.

Lanes
    A lane holds the tasks of one queue that have the same host label and the same groups. Whether a task may be handed
    out now (its queue is not paused, the worker has its label, none of its groups is full) is the same for all of a
    lane, so whoever leases looks at lanes, of which there are few, then merges the heads of those that are open: a
    million tasks of a tenant who has reached a cap cost nothing.

Priorities
    A step of priority is worth `STEP` seconds of waiting: a task is handed out as if it had been put so much earlier.
    So the order of two tasks is known when they are put, nothing has to be looked at again while they wait, an index
    serves it, and nothing starves: a task is overtaken only by what is put within the minutes that their priorities
    differ by. `weight` and the second in which a task is put add up to its rank; lower ranks come first.

What becomes of a delivery that failed
    `Fate` says it; the table is in `fate`. `used` counts deliveries and begins anew with `revive`; the attempt is the
    fence and only ever grows.
"""

from __future__ import annotations

import enum
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import PAYLOAD, NewTask

T = TypeVar("T")

UNIT = "\x1f"
_ODD = re.compile("[\x00\x1b\x1e\x1f\ud800-\udfff]")
_ESCAPED = re.compile("\x1b([0-9a-f]{4})")

STEP = 60
"""Seconds of waiting that one step of priority is worth."""
MOST_PRIORITY = 10_000_000
"""What lies above counts as this, and below its opposite: ranks fit into 32 bits until 2060."""
SINCE = 1_577_836_800
"""Ranks count from here, seconds since 1970."""

LAST_PAUSE = 0.1
"""The longest pause between looks while waiting, seconds; the first one is a twentieth: what was just put is found."""
FAR_PAUSE = 0.25
"""The same where each look is a request to a server: 300 idle workers make 1,200 a second."""


def stored(text: str) -> str:
    """A name as engines store it: valid UTF-8 without NUL, ESC and separators."""
    return text if text.isprintable() else _ODD.sub(lambda found: f"\x1b{ord(found[0]):04x}", text)


def meant(text: str) -> str:
    """The name that `stored` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\x1b" in text else text


def lane(task: NewTask) -> str:
    """What tells the lane of a task: its queue, host label and groups, stored and joined."""
    return UNIT.join([stored(task.queue), stored(task.host), *(stored(group) for group in sorted(set(task.groups)))])


def weight(priority: int) -> int:
    """What a task's rank is, less the second since 1970 in which it is put."""
    return -SINCE - STEP * max(-MOST_PRIORITY, min(MOST_PRIORITY, priority))


def priority(lead: int) -> int:
    """The priority of a task. `lead`: the second in which it was put, less its rank; the inverse of `weight`."""
    return (lead - SINCE) // STEP


def number(id: str) -> int:
    """The number behind a task's id, or -1 where it is none of ours."""
    try:
        return int(id, 16) if len(id) == 15 else -1
    except ValueError:
        return -1


def name(number: int) -> str:
    """The id of the task with that number; ids sort as their numbers do."""
    return f"{number:015x}"


def fits(body: bytes, what: str) -> bytes:
    """`body`, or INTERNAL when it is longer than `PAYLOAD`."""
    if len(body) > PAYLOAD:
        reason = f"it has {len(body):,} bytes; {PAYLOAD:,} is the most"
        raise DunlinError("put into the queue", what, ErrorKind.INTERNAL, reason)
    return body


def matches(queue: str, patterns: Sequence[str]) -> bool:
    """Whether a queue is one of those that the patterns name; no patterns: it is."""
    return not patterns or any(
        queue.startswith(pattern[:-1]) if pattern.endswith("*") else queue == pattern for pattern in patterns
    )


class Fate(enum.Enum):
    """What becomes of a task whose delivery failed or ran out."""

    AGAIN = "again"
    LOST = "lost"
    DEAD = "dead"


def fate(used: int, retries: int, *, expired: bool = False, final: bool = False) -> Fate:
    """What becomes of a task after `used` deliveries.

    ============  ==================  =====================  ==========
    deliveries    failed (`nack`)     failed, and `final`    ran out
    ============  ==================  =====================  ==========
    are left      AGAIN               DEAD                   AGAIN
    are used up   DEAD                DEAD                   DEAD; LOST when none beyond the first was promised
    ============  ==================  =====================  ==========
    """
    if used <= retries and not final:
        return Fate.AGAIN
    return Fate.LOST if expired and not retries else Fate.DEAD


def ran_out(worker: str) -> str:
    """The error of a task whose lease nobody ended or renewed."""
    return f"the lease of {worker} ran out"


def waiting(
    look: Callable[[], Sequence[T]],
    wait: float,
    last: float = LAST_PAUSE,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Sequence[T]:
    """What `look` finds, looking again with growing pauses until it finds something or `wait` seconds have passed."""
    found = look()
    if found or wait <= 0:
        return found
    end = clock() + wait
    for pause in pauses(last):
        left = end - clock()
        if left <= 0:
            return found
        sleep(min(pause, left))
        found = look()
        if found:
            break
    return found


def pauses(last: float) -> Iterator[float]:
    """Seconds to pause, doubling from a twentieth of `last` up to it.

    Each is up to a fifth shorter, so that workers do not look in step.
    """
    pause = last / 20
    while True:
        yield pause * (1 - random.random() / 5)
        pause = min(2 * pause, last)


def debt(owed: float, passed: float, amount: int, rate: int, burst: int) -> tuple[float, float]:
    """The debt after a draw, and the seconds to wait before using what was drawn.

    Args:
        owed: the debt after the last draw, that many seconds (`passed`) ago.
        amount, rate, burst: as in `Queue.draw`. Without a rate nothing is owed.
    """
    if rate <= 0:
        return 0.0, 0.0
    owed = max(0.0, owed - max(0.0, passed) * rate) + amount
    return owed, max(0.0, owed - burst) / rate
