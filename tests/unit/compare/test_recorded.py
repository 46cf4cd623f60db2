"""Times of listings that do not tell them."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.compare.recorded import CHANGED, source_times, surely, target_times
from dunlin.model import CTIME, GID, MODE, MTIME, SURE, UID, Kind, facts


class Row(NamedTuple):
    mtime: int | None
    etag: str | None
    unfinished: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    ctime: int | None = None
    last_synced: int | None = None


def thing(etag: str, uploaded: int = 500, mtime: int | None = None):
    what = facts(Kind.FILE, 3, uploaded, ident=etag)
    return what if mtime is None else (*what[:MTIME], mtime, *what[MTIME + 1 :])


def mtimes(batch):
    return [what[MTIME] for _, what in batch]


def test_the_recorded_version_of_the_source_has_the_recorded_time():
    assert mtimes(source_times([("a", thing("v1"))], {"a": Row(123, "v1")})) == [123]


def test_another_version_of_the_source_has_changed_whatever_its_metadata_says():
    assert mtimes(source_times([("a", thing("v2", mtime=123))], {"a": Row(123, "v1")})) == [CHANGED]


def test_what_is_not_on_record_keeps_what_the_listing_says():
    batch = [("a", thing("v1", mtime=7)), ("b", thing("v1", uploaded=9))]
    assert source_times(batch, {"b": Row(1, None)}) == batch


def test_without_metadata_the_source_was_changed_when_it_was_uploaded():
    what = thing("v1", uploaded=9)
    unknown = (*what[:MTIME], None, *what[MTIME + 1 :])
    assert mtimes(source_times([("a", unknown)], {})) == [9]
    assert mtimes(target_times([("a", unknown)], {})) == [None]


def test_the_recorded_version_of_the_destination_has_the_recorded_time():
    assert mtimes(target_times([("a", thing("v1"))], {"a": Row(123, "v1")})) == [123]


def test_the_time_of_an_upload_is_no_mtime():
    assert mtimes(target_times([("a", thing("v2")), ("b", thing("v1"))], {"a": Row(123, None)})) == [None, None]


def test_another_version_of_the_destination_has_changed_whatever_its_metadata_says():
    batch = [("a", thing("v2")), ("b", thing("v2", mtime=123))]
    assert mtimes(target_times(batch, {"a": Row(123, "v1"), "b": Row(123, "v1")})) == [CHANGED, CHANGED]


def test_metadata_of_the_destination_tells_its_time():
    batch = [("a", thing("v2", mtime=77)), ("b", thing("v1", mtime=78))]
    assert target_times(batch, {"a": Row(123, None), "b": Row(123, "v1")}) == batch


def test_a_source_whose_transfer_failed_or_waits_is_not_in_sync():
    batch = [("a", thing("v1")), ("b", thing("v1", mtime=77)), ("c", thing("v1", mtime=77))]
    known = {"a": Row(123, "v1", True), "b": Row(77, None, True), "c": Row(None, "v1", True)}
    assert mtimes(source_times(batch, known)) == [CHANGED, CHANGED, CHANGED]


def test_a_destination_whose_transfer_failed_is_not_in_sync():
    batch = [("a", thing("v1")), ("b", thing("v1", mtime=77))]
    known = {"a": Row(123, "v1", True), "b": Row(77, None, True)}
    assert mtimes(target_times(batch, known)) == [CHANGED, CHANGED]


def test_all_other_facts_stay():
    (name, what), = source_times([("a", thing("v1"))], {"a": Row(123, "v1")})
    assert (name, what[:MTIME], what[MTIME + 1 :]) == ("a", thing("v1")[:MTIME], thing("v1")[MTIME + 1 :])


def test_a_check_guesses_no_time():
    unknown = (*thing("v1", uploaded=9)[:MTIME], None, *thing("v1", uploaded=9)[MTIME + 1 :])
    assert mtimes(source_times([("a", unknown)], {}, guess=False)) == [None]
    assert mtimes(source_times([("a", unknown)], {"a": Row(3, "v1")}, guess=False)) == [3]
    assert mtimes(source_times([("a", unknown)], {"a": Row(3, "v0")}, guess=False)) == [CHANGED]


def dress(what):
    return (what[MODE], what[UID], what[GID])


def test_the_recorded_version_of_the_destination_has_the_recorded_mode_and_owner():
    row = Row(123, "v1", mode=0o100640, uid=3, gid=4)
    told = (*thing("v1", mtime=500)[:MODE], 0o100600, *thing("v1")[MODE + 1 : UID], 7, 8, *thing("v1")[GID + 1 :])
    (_, same), (_, other), (_, known) = target_times(
        [("a", thing("v1")), ("b", thing("v2")), ("c", told)], {"a": row, "b": row, "c": row}
    )
    assert dress(same) == (0o100640, 3, 4)
    assert dress(other) == (0o100000, None, None), "another version"
    assert dress(known) == (0o100600, 7, 8), "its metadata tells"


def test_what_was_no_file_lends_no_mode():
    row = Row(123, "v1", mode=0o120777, uid=3, gid=4)
    assert dress(target_times([("a", thing("v1"))], {"a": row})[0][1]) == (0o100000, None, None)


def sure(what, row, *, is_source, etags):
    ((name, found),) = surely([("a", what)], {"a": row} if row else {}, is_source=is_source, etags=etags)
    assert name == "a"
    return found


def test_the_etag_on_record_is_a_side_in_which_nothing_has_changed():
    row = Row(123, "v1", ctime=9, last_synced=9)
    for is_source in (True, False):
        assert sure(thing("v1"), row, is_source=is_source, etags=True)[SURE] is True
        assert sure(thing("v1"), row, is_source=is_source, etags=True)[MTIME] == 123


def test_another_etag_is_another_version_that_tells_its_own_time():
    what = sure(thing("v2", mtime=77), Row(123, "v1"), is_source=True, etags=True)
    assert (what[MTIME], what[SURE]) == (77, False)


def test_of_what_is_not_on_record_nobody_is_sure():
    for row in (None, Row(123, None), Row(123, "v1", True)):
        for is_source in (True, False):
            for etags in (True, False):
                assert sure(thing("v1"), row, is_source=is_source, etags=etags)[SURE:] == ()
    assert sure(thing("v1"), Row(123, "v1", True), is_source=True, etags=True)[MTIME] == CHANGED


def test_a_local_source_is_as_it_was_while_its_change_time_is():
    row = Row(123, "theirs", ctime=500, last_synced=9999)
    assert sure(thing("inode"), row, is_source=True, etags=False)[SURE] is True
    for ctime in (499, 501):
        what = thing("inode")
        assert not sure((*what[:CTIME], ctime, *what[CTIME + 1 :]), row, is_source=True, etags=False)[SURE]


def test_a_destination_is_as_it_was_left_until_its_change_time_is_later():
    row = Row(123, "theirs", ctime=1, last_synced=500)
    what = thing("inode")
    for ctime, as_left in ((499, True), (500, True), (501, False), (None, False)):
        found = sure((*what[:CTIME], ctime, *what[CTIME + 1 :]), row, is_source=False, etags=False)
        assert (found[SURE:] == (True,)) is as_left, ctime


def test_the_destination_has_the_recorded_mode_while_its_etag_is_the_recorded_one():
    row = Row(123, "v1", mode=0o100640, uid=3, gid=4)
    assert dress(sure(thing("v1"), row, is_source=False, etags=True)) == (0o100640, 3, 4)
    assert dress(sure(thing("v2"), row, is_source=False, etags=True)) == (0o100000, None, None)
