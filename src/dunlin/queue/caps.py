"""What all who share a queue hold to: how many tasks of a group at a time, how many bytes a second on an account.

Theory. The service knows both from its configuration; those who obey are elsewhere. Caps are obeyed by the queue
itself, whoever leases. Bytes are drawn by workers from accounts in the queue (`Queue.draw`), at rates that they read
from its board. Both are kept as one value on the board, so that whoever puts others knows which of the old ones are no
longer wanted, and finds out when a queue has forgotten everything.

Groups and accounts have the same names: ``tenant:NAME``, ``store:PLACE`` (`jobs.groups`), and `PUBLISHING`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from dunlin.queue.base import Queue

NAME = "caps"
"""Where they stand on the board."""

PUBLISHING = "publishing"
"""The account of all that is published, whoever asked for it."""


class Shared(NamedTuple):
    """What holds for all. `caps`: tasks of a group at a time; `rates`: bytes per second of an account. 0: no limit."""

    caps: Mapping[str, int] = {}
    rates: Mapping[str, int] = {}


_shared = msgspec.msgpack.Decoder(Shared).decode


def tenant_group(tenant: str) -> str:
    """The group, and the account, of a tenant."""
    return f"tenant:{tenant}"


def read(queue: Queue) -> Shared | None:
    """What was put last; None: nothing, or the queue has forgotten it. Raises what the queue raises."""
    body = queue.read(NAME)
    if body is None:
        return None
    try:
        return _shared(body)
    except msgspec.MsgspecError:
        return None  # of a version that writes it otherwise: it is put again


def put(queue: Queue, wanted: Shared) -> None:
    """Have this hold from now on, and nothing of what was put before. Raises what the queue raises."""
    before = read(queue) or Shared()
    for group in before.caps.keys() - wanted.caps.keys():
        queue.cap(group, 0)
    for group, most in wanted.caps.items():
        queue.cap(group, most)
    queue.write(NAME, msgspec.msgpack.encode(wanted))


def keep(queue: Queue, wanted: Shared) -> bool:
    """Put it again where the queue has lost it; what another service has put stays. Raises what the queue raises."""
    lost = read(queue) is None
    if lost:
        put(queue, wanted)
    return lost
