"""Requests that come through a proxy: who made them, and whether they came over TLS.

A proxy that is known (`http.trusted_proxies`) is believed what it says in X-Forwarded-For and X-Forwarded-Proto. The
former is a list to which each proxy adds the address that it was asked from, so it is read from its end, past the
proxies that are known; what stands further ahead may have been written by the client.

Any other proxy is not believed, and where no key is needed it is not answered: there the service trusts whoever is on
this machine, and a proxy on this machine brings everybody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

from dunlin.web.problems import Refused

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
TRACES = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
"""Headers that proxies add."""


def check_direct(headers: Mapping[bytes, str]) -> None:
    """Refuse what came through a proxy to a service that trusts whoever reaches it. Raises `Refused`."""
    if any(name in headers for name in TRACES):
        raise Refused(
            403, "this came through a proxy, and this service trusts whoever is on its machine",
            "set http.keys to required, and http.allowed_roots",
        )  # fmt: skip


def believe(scope: MutableMapping[str, Any], headers: Mapping[bytes, str], known: Sequence[Network]) -> None:
    """Put into an ASGI scope who made the request, and how, where a known proxy says so."""
    client = scope.get("client")
    if not known or client is None or not _is(client[0], known):
        return
    address = client[0]
    for word in reversed(headers.get(b"x-forwarded-for", "").split(",")):
        word = word.strip().strip("[]")
        try:
            ipaddress.ip_address(word)
        except ValueError:
            break
        address = word
        if not _is(word, known):
            break
    scope["client"] = (address, client[1] if address == client[0] else 0)
    proto = headers.get(b"x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    if proto in ("http", "https"):
        scope["scheme"] = proto


def _is(address: str, known: Sequence[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in known)
