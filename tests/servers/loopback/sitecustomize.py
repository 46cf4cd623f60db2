"""Keeps a program under test on this machine: Python loads a module of this name, from PYTHONPATH, before all others.

Logins know addresses by heart (the metadata service of virtual machines, the services of clouds), and one that a test
forgot to redirect would be asked for real. Here every look-up and connection that is not for loopback fails as it does
on a machine without a network, and is noted in the file that STRAYED names. STAND_IN_HOSTS leads names elsewhere:
"storage.example:443=127.0.0.1:5000 ...".
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

_LEADS = dict(word.split("=", 1) for word in os.environ.get("STAND_IN_HOSTS", "").split())
_resolve = socket.getaddrinfo


def _lead(host: Any, port: Any, *more: Any, **named: Any) -> Any:
    to = _LEADS.get(f"{host}:{port}")
    if to is not None:
        host, port = to.rsplit(":", 1)
    return _resolve(host, port, *more, **named)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        # Of a UNIX socket the address is a path, of one that is connected there is none.
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in ("localhost", "::1") or name.startswith("127."):
        return
    with open(os.environ["STRAYED"], "a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    raise OSError(errno.ENETUNREACH, f"a test was about to reach {name}")


socket.getaddrinfo = _lead
sys.addaudithook(_watch)
