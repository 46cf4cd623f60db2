"""listener: the socket of the service."""

from __future__ import annotations

import socket

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report.address import Address
from dunlin.web.listener import listen, told_by


def test_answers_are_not_held_back_for_an_acknowledgement() -> None:
    """Without it every request over a connection that is kept takes 40 ms: an answer is sent in two pieces."""
    with listen(Address("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken_is_said_in_one_line() -> None:
    with listen(Address("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(DunlinError, match=r"http\.addr names another address") as error:
            listen(Address("127.0.0.1", port))
    assert error.value.exit_code == 1


def test_what_others_wrapped_is_told() -> None:
    ours = DunlinError("read", "a", ErrorKind.IO, "damaged")
    ours.__cause__ = KeyError("inside")
    outer = RuntimeError("after the response began")
    outer.__cause__ = ExceptionGroup("tasks", [ours])
    assert told_by(outer) is ours
    assert told_by(ours) is ours
    outer.__cause__ = ExceptionGroup("tasks", [KeyError("a"), KeyError("b")])
    assert told_by(outer) is outer.__cause__
    plain = KeyError("a")
    assert told_by(plain) is plain
