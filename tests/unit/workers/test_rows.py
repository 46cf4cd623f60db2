from dunlin.transfer.outcome import Outcome
from dunlin.workers.context import Rules
from dunlin.workers.rows import wanted
from dunlin.workers.tasks import Move, Scan

KEPT, THROWN_AWAY = Rules(), Rules(rows=False)


def outcome() -> Outcome:
    row = ("f", 1, 2, 3, None, 0o100644, 0, 0, None)
    waiting, failed = [("w", (), 1, False)], [("g", "io", "no", 1)]
    return Outcome(copied=[row], seen=[row], failed=failed, vanished=["h"], waiting=waiting)


def test_files_in_sync_are_put_on_record_where_anybody_asks_for_them_again() -> None:
    found = outcome()
    assert wanted(KEPT, Scan("d", 0), 0, found) is found
    assert wanted(THROWN_AWAY, Scan("d", 0), 0, found) == Outcome(
        failed=found.failed, vanished=found.vanished, waiting=found.waiting
    )


def test_what_may_have_been_waiting_on_record_is_settled_there() -> None:
    found = outcome()
    assert wanted(THROWN_AWAY, Move("d", (("f", 1, 1, False),)), 0, found) is found
    assert wanted(THROWN_AWAY, Scan("d", 0), 1, found) is found
    assert wanted(THROWN_AWAY, Scan("d", 0, bookmark=("token", b"last")), 0, found) is found
