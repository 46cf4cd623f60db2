"""The HTTP server: uvicorn in a thread of its own, on a socket that is bound before anything else is begun.

The main thread keeps the signals: uvicorn takes them only where it runs in that thread. What uvicorn, asyncio and
Litestar have to say goes into the service's log, as events.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.report import Event, Level
from dunlin.report.address import Address

BACKLOG = 1024
LINGER = 10
"""Seconds that requests which are under way have at the end."""


def listen(address: Address) -> socket.socket:
    """A socket that listens. Raises USAGE in one line where it cannot."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        unknown = error.errno is None or error.errno < 0
        reason = "there is no such host here" if unknown else translate(error, "", "").reason
        raise DunlinError(
            "listen at", str(address), ErrorKind.USAGE, reason, "http.addr names another address"
        ) from error
    # Connections inherit it. asyncio would set it only on sockets whose protocol number is given, and an answer is sent
    # in two pieces: without it the second waits for the client's delayed acknowledgement, 40 ms for each request.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class Listener:
    """Serves an application from `start` to `close`."""

    def __init__(self, app: Any, listening: socket.socket, log: Callable[[Event], None]) -> None:
        import uvicorn

        self._socket = listening
        host, port = listening.getsockname()[:2]
        self.address = Address(host, port)
        config = uvicorn.Config(
            app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=30, timeout_graceful_shutdown=LINGER, loop="asyncio",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._told = _bridge(log)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it answers, or will in a moment."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Accept nothing more, finish what is under way, within `LINGER` seconds."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(LINGER + 5)
        self._socket.close()
        logging.getLogger().removeHandler(self._told)


class _Bridge(logging.Handler):
    """Records of other libraries as events."""

    def __init__(self, log: Callable[[Event], None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARN
        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            words = f"{words.strip()}: {type(error).__name__}: {error}"
            inner = told_by(error)
            words += f": {inner}" if inner is not error else ""
        self._log(Event(level, "http.trouble", " ".join(words.split()), {"from": record.name}))


def told_by(error: BaseException) -> BaseException:
    """What an error of another library has wrapped: ours, or the first of all."""
    while not isinstance(error, DunlinError):
        if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            break
    return error


def _bridge(log: Callable[[Event], None]) -> logging.Handler:
    handler = _Bridge(log)
    logging.getLogger().addHandler(handler)
    return handler
