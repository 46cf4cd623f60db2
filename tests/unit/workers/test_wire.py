"""Messages over a socket pair, however the bytes are cut."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.workers.wire import Wire

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Trickle:
    """A socket that gives what it was given in pieces of the sizes asked for."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data = data
        self.sizes = sizes

    def recv(self, limit: int) -> bytes:
        size = min(self.sizes.pop(0) if self.sizes else len(self.data), limit)
        piece, self.data = self.data[:size], self.data[size:]
        return piece


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        self.data += data


@given(st.lists(st.tuples(VALUES), max_size=5), st.lists(st.integers(1, 40), max_size=200))
def test_messages_arrive_whole_and_in_order_however_they_are_cut(
    messages: list[tuple[Any, ...]], sizes: list[int]
) -> None:
    sink: Any = Sink()
    sender = Wire(sink)
    for message in messages:
        sender.send(message)
    trickle: Any = Trickle(sink.data, sizes)
    receiver = Wire(trickle)
    found: list[tuple[Any, ...]] = []
    while (arrived := receiver.receive()) is not None:
        found += arrived
    assert found == messages


def test_strange_names_survive() -> None:
    ours, theirs = (Wire(end) for end in socket.socketpair())
    ours.send(("\udcff\n", 1 << 70, b"\0"))
    assert theirs.receive() == [("\udcff\n", 1 << 70, b"\0")]
    ours.close()
    assert theirs.receive() is None
    theirs.close()


def test_a_message_larger_than_the_sockets_buffers_passes() -> None:
    ours, theirs = (Wire(end) for end in socket.socketpair())
    big = ("x", [b"y" * 1000] * 5000)
    thread = threading.Thread(target=ours.send, args=(big,))
    thread.start()
    found: list[tuple[Any, ...]] = []
    while not found:
        found += theirs.receive() or []
    thread.join()
    assert found == [big]
    for wire in (ours, theirs):
        wire.close()


def test_threads_do_not_mix_their_messages() -> None:
    ours, theirs = (Wire(end) for end in socket.socketpair())

    def talk(number: int) -> None:
        for n in range(50):
            ours.send((number, n, "x" * (number * 997)))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found: list[tuple[Any, ...]] = []
    while len(found) < 200:
        found += theirs.receive() or []
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [m[1] for m in found if m[0] == number] == list(range(50))
        assert {len(m[2]) for m in found if m[0] == number} == {number * 997}
    for wire in (ours, theirs):
        wire.close()


def test_sending_to_nobody_is_an_os_error() -> None:
    ours, theirs = (Wire(end) for end in socket.socketpair())
    theirs.close()
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send(("x",))
    assert ours.fileno() >= 0
    ours.close()
