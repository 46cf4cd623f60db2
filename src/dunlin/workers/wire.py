"""Messages between the parent and its movers: length, then `marshal`.

Both ends are the same interpreter, started by us over a socket pair of our own, so the fastest codec
that Python has is safe here. Workers on other machines speak another format.
"""

from __future__ import annotations

import marshal
import socket
import struct
import threading
from typing import Any

_HEAD = struct.Struct("=I")
_VERSION = 2  # version 3 keeps a table of all objects to share them: slower for flat rows


class Wire:
    """One end of the socket; whole messages in and out. Sending is safe from several threads."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._lock = threading.Lock()
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For `selectors`."""
        return self.socket.fileno()

    def send(self, message: tuple[Any, ...]) -> None:
        """Send one message. Raises `OSError` when the other end is gone."""
        data = marshal.dumps(message, _VERSION)
        with self._lock:
            self.socket.sendall(_HEAD.pack(len(data)) + data)

    def receive(self) -> list[tuple[Any, ...]] | None:
        """The messages that are complete after one read; None when the other end is gone."""
        try:
            chunk = self.socket.recv(1 << 18)
        except (ConnectionError, InterruptedError):
            chunk = b""
        if not chunk:
            return None
        self._buffer += chunk
        messages = []
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._buffer, at)
            end = at + _HEAD.size + length
            if len(self._buffer) < end:
                break
            messages.append(marshal.loads(memoryview(self._buffer)[at + _HEAD.size : end]))
            at = end
        del self._buffer[:at]
        return messages

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
