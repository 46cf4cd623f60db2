"""An address to listen on, as people write it.

Where no host is named it is loopback, also in ``:9100``, which listens everywhere in other programs: how much data
somebody has is not for everybody. Other hosts are named on purpose: ``0.0.0.0:9100``, ``[::]:9100``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dunlin.errors import usage

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it, and what is sent there does not leave it."""
    if host.lower() == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Address(NamedTuple):
    """Where to listen; port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT`` or ``PORT``; without a host: loopback. Raises USAGE."""
    match = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):)?([0-9]{1,5})", text.strip())
    if match is None or int(match[3]) > 65_535:
        raise usage(f"{text!r} is no address to listen on", "write HOST:PORT, or PORT for this machine alone")
    return Address(match[1] or match[2] or LOOPBACK, int(match[3]))
