"""A worker's part in a run: opened with its own places and logins, or refused with a line that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue import caps
from dunlin.queue.caps import Shared
from dunlin.queue.embedded import Embedded
from dunlin.report import NullReport
from dunlin.state.codec import FileStatus
from dunlin.state.files import KnownFile
from dunlin.stores.login import Login
from dunlin.workers import packing, part, root
from dunlin.workers.fence import Held
from dunlin.workers.packing import Orders, RunSetup, Side
from dunlin.workers.part import ALONE, Brought, Done, Part, SyncWork, join, take_part
from dunlin.workers.remote import orders_name, setup_name
from tests.unit.workers.remote import RUN, Clock, open_queue, setup

NONE = Orders()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Embedded]:
    made = open_queue(tmp_path, Clock())
    yield made
    made.close()


def announce(queue: Embedded, made: RunSetup, orders: Orders = NONE) -> None:
    queue.write(setup_name(RUN), packing.pack_setup(made))
    queue.write(orders_name(RUN), packing.pack_orders(orders))


def as_named(text: str, side: str) -> tuple[str, Login]:
    return text, Login()


def joined(queue: Embedded, resolve: part.Resolve = as_named) -> Part[SyncWork] | None:
    return take_part(queue, RUN, 0x1A2B, 2, resolve, lambda: None, NullReport())


def test_a_part_has_the_stores_the_limit_and_a_token_of_its_own(tmp_path: Path, queue: Embedded) -> None:
    announce(queue, setup(tmp_path), Orders(5_000, True))
    made = joined(queue)
    assert made is not None
    assert made.work.context.site.token == f"{RUN}1a2b"
    assert made.work.context.site.source.url == f"file://{tmp_path}/source"
    assert (made.bucket.rate, made.bucket.paused, made.bucket.stopped) == (5_000, True, False)
    made.close()


def test_a_part_holds_to_the_limit_of_its_tenant_as_well(tmp_path: Path, queue: Embedded) -> None:
    caps.put(queue, Shared({}, {"tenant:one": 3_000, "tenant:two": 1}))
    announce(queue, setup(tmp_path, accounts=("tenant:one",)), Orders(5_000))
    made = joined(queue)
    assert made is not None
    assert made.bucket.rate == 3_000
    caps.put(queue, Shared({}, {"tenant:one": 9_000}))
    made.obey(packing.pack_orders(Orders(5_000)), 1.0)
    assert made.bucket.rate == 5_000
    made.obey(packing.pack_orders(Orders()), 2.0)
    assert made.bucket.rate == 9_000
    assert queue.draw("bytes/tenant:one", 0, 9_000, 0) == 0.0
    made.accounts.draw(9_000, 9_000, 0)
    assert queue.draw("bytes/tenant:one", 0, 9_000, 0) == 1.0
    caps.put(queue, Shared())
    made.obey(packing.pack_orders(Orders()), 3.0)
    assert made.bucket.rate == 0
    made.close()


def test_what_was_opened_is_closed_where_the_orders_cannot_be_read(tmp_path: Path, queue: Embedded) -> None:
    class Opened:
        title, closed = "", 0

        def do(self, held: Held, tell: Callable[[bytes], object]) -> Done:
            raise AssertionError("no unit may be begun")

        def cancel(self) -> None:
            raise AssertionError("there is nothing to cancel")

        def close(self) -> None:
            self.closed += 1

    announce(queue, setup(tmp_path))
    queue.write(orders_name(RUN), b"no orders")
    work = Opened()
    with pytest.raises(DunlinError) as raised:
        join(queue, RUN, packing.unpack_setup, lambda setup, bucket: work)
    assert (raised.value.kind, work.closed) == (ErrorKind.INTERNAL, 1)


def test_a_run_that_the_board_does_not_know_has_no_part(tmp_path: Path, queue: Embedded) -> None:
    assert joined(queue) is None
    announce(queue, setup(tmp_path))
    queue.write(orders_name(RUN), None)
    assert joined(queue) is None


def test_places_are_those_of_this_machine(tmp_path: Path, queue: Embedded) -> None:
    made = setup(tmp_path)
    announce(queue, made._replace(source=Side("loc://nas/x", made.source.inode), target=Side("loc://out")))
    asked: list[tuple[str, str]] = []

    def resolve(text: str, side: str) -> tuple[str, Login]:
        asked.append((text, side))
        return (str(tmp_path / "source") if side == "source" else str(tmp_path / "target")), Login()

    found = joined(queue, resolve)
    assert found is not None
    assert asked == [("loc://nas/x", "source"), ("loc://out", "dest")]
    found.close()


def seen(made: RunSetup, tmp_path: Path) -> RunSetup:
    """With what the roots are known by besides their inodes."""
    proof = root.prove(str(tmp_path / "target"), run=RUN)
    source = made.source._replace(marks=root.marks(str(tmp_path / "source")))
    return made._replace(source=source, target=made.target._replace(proof=proof))


def test_the_roots_that_the_coordinator_saw_are_taken(tmp_path: Path, queue: Embedded) -> None:
    announce(queue, seen(setup(tmp_path), tmp_path))
    found = joined(queue)
    assert found is not None
    found.close()


@pytest.mark.parametrize("side", ["source", "target"])
def test_another_share_whose_root_has_the_same_inode_is_refused(tmp_path: Path, queue: Embedded, side: str) -> None:
    made = seen(setup(tmp_path), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("of somebody else")
    there = getattr(made, side)._replace(place=f"file://{other}", inode=other.stat().st_ino)
    announce(queue, made._replace(**{side: there}))
    with pytest.raises(DunlinError) as raised:
        joined(queue)
    assert "another directory here" in str(raised.value)
    assert "is it mounted?" in str(raised.value)


def test_an_unknown_location_is_one_clear_line(tmp_path: Path, queue: Embedded) -> None:
    announce(queue, setup(tmp_path))

    def resolve(text: str, side: str) -> tuple[str, Login]:
        raise usage("there is no location nas")

    with pytest.raises(DunlinError, match="there is no location nas"):
        joined(queue, resolve)


@pytest.mark.parametrize("there", [True, False])
def test_a_share_that_is_not_mounted_here_is_refused(tmp_path: Path, queue: Embedded, there: bool) -> None:
    announce(queue, setup(tmp_path))
    (tmp_path / "target").rename(tmp_path / "elsewhere")
    if there:
        (tmp_path / "target").mkdir()
    with pytest.raises(DunlinError) as raised:
        joined(queue)
    assert raised.value.kind is ErrorKind.NOT_FOUND
    assert "mounted" in raised.value.hint


def test_a_stop_lets_units_end_and_keeps_their_outcome(tmp_path: Path, queue: Embedded) -> None:
    announce(queue, setup(tmp_path))
    made = joined(queue)
    assert made is not None
    made.obey(packing.pack_orders(Orders(stopped=True)), 0.0)
    assert made.over
    assert made.bucket.stopped
    made.close()


def test_without_a_coordinator_everything_waits_and_is_given_up_in_the_end(tmp_path: Path, queue: Embedded) -> None:
    announce(queue, setup(tmp_path))
    made = joined(queue)
    assert made is not None
    made.obey(None, 100.0)
    assert made.bucket.paused
    made.obey(packing.pack_orders(Orders()), 110.0)
    assert not made.bucket.paused
    made.obey(None, 120.0)
    made.obey(None, 120.0 + ALONE - 1)
    assert not made.bucket.stopped
    made.obey(None, 120.0 + ALONE + 1)
    assert made.bucket.stopped
    assert not made.over  # what became of units is wanted by nobody
    made.close()


def test_rows_are_known_while_their_unit_is_done() -> None:
    row = KnownFile("f", 1, 2, None, None, None, None, "etag", None, None, FileStatus.SYNCED)
    brought = Brought()
    with brought.knowing("d", [row]), brought.knowing("e", []):
        assert brought.rows("d", ["f"]) == {"f": row}
        assert brought.rows("e", ["f"]) == {}
    assert brought.rows("d", ["f"]) == {}
