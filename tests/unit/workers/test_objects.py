"""Units on a pair of which a side is an object store: what is looked at before a delete, and what goes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CHANGED, MTIME
from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.stores.base import Store
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.keys import key_of, path_of
from dunlin.stores.objects.store import ObjectStore
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.site import Site
from dunlin.workers.context import Context, Rules
from dunlin.workers.rows import as_row
from dunlin.workers.tasks import Delete, Finish, Move, Scan, Task
from dunlin.workers.units import run_unit
from tests.unit.stores.objects.fake_service import FakeService
from tests.unit.transfer.trees import put


def do(task: Task, bucket: Bucket, source: Store, target: Store, mode: str = "sync", **policy: Any) -> Outcome:
    site = Site(source=source, target=target, options=Options(), bucket=bucket)
    rules = Rules(policy=Policy(delete=True, partial=True, **policy), mode=mode)
    return run_unit(Context(site, rules, lambda: 10**18), task, lambda part: None)


def service(*keys: str) -> FakeService:
    made = FakeService()
    for key in keys:
        made.put(key, b"" if key.endswith("/") else b"x", {})
    made.requests.clear()
    return made


def test_objects_are_deleted_many_in_a_request(bucket: Bucket) -> None:
    there = service("d/a", "d/b", "d/c", "other")
    task = Delete("d", (("a", False), ("b", False), ("c", False)), absent=False)
    outcome = do(task, bucket, MemoryStore(), ObjectStore(there))
    assert (sorted(there.objects), there.requests["delete"]) == (["other"], 1)
    assert outcome.counts["deleted_files"] == 3
    assert [fields["path"] for _, name, _, fields in outcome.news if name == "file.deleted"] == ["d/a", "d/b", "d/c"]


def test_one_object_that_may_not_go_does_not_stop_the_others(bucket: Bucket) -> None:
    there = service("a", "b")
    no = DunlinError("delete", "a", ErrorKind.DENIED)
    there.faults["delete"] = [no, no, None]
    outcome = do(Delete("", (("a", False), ("b", False)), absent=False), bucket, MemoryStore(), ObjectStore(there))
    assert sorted(there.objects) == ["a"]
    assert [name for name, *_ in outcome.failed] == ["a"]
    assert outcome.counts["deleted_files"] == 1


def test_a_directory_goes_without_the_file_of_its_name(bucket: Bucket) -> None:
    there = service("d", "d/", "e", "e/kept")
    outcome = do(Delete("", (("d", True), ("e", True)), absent=False), bucket, MemoryStore(), ObjectStore(there))
    assert sorted(there.objects) == ["d", "e", "e/kept"]
    assert outcome.counts["deleted_directories"] == 1


@pytest.mark.parametrize(("keys", "gone"), [(("a/in",), {"a"}), (("a",), {"a/x"}), (("a", "a/y"), set())])
def test_a_file_and_a_directory_of_one_name_are_looked_for_apart(
    bucket: Bucket, keys: tuple[str, ...], gone: set[str]
) -> None:
    """The extras are the file `a` and the directory `a` with `x` in it, as far as the source lacks them."""
    source, there = ObjectStore(service(*keys)), service("a", "a/x")
    do(Delete("", (("a", False),), absent=False), bucket, source, ObjectStore(there))
    do(Delete("a", (("x", False),), absent=True), bucket, source, ObjectStore(there))
    assert {"a", "a/x"} - there.objects.keys() == gone


def test_a_scan_keeps_them_apart_too(bucket: Bucket) -> None:
    source = MemoryStore()
    put(source, "a", b"x")
    there = service("a/old")
    outcome = do(Scan(""), bucket, source, ObjectStore(there))
    assert (outcome.extras, outcome.blocked, outcome.failed) == ([("a", True)], [], [])
    assert sorted(there.objects) == ["a", "a/old"]


def test_directories_of_a_bucket_have_nothing_to_be_dressed_with(bucket: Bucket) -> None:
    source, target = ObjectStore(service("d/f")), MemoryStore()
    target.make_directory("d")
    before = target.stat("d")
    for task in (Finish("d"), Scan("d")):
        assert do(task, bucket, source, target).failed == []
    assert target.stat("d").facts[0] == before.facts[0]
    inner = service("d/f")
    local = MemoryStore()
    local.make_directory("d")
    assert do(Finish("d"), bucket, local, ObjectStore(inner)).failed == []
    assert inner.requests == Counter()


def test_temporary_files_are_those_of_the_local_side_only(bucket: Bucket) -> None:
    ours, theirs = ".dunlin-0123abcd-1.tmp", ".dunlin-0123abcd-2.tmp"
    target = MemoryStore()
    put(target, ours, b"half")
    assert do(Scan(""), bucket, ObjectStore(service(theirs)), target).extras == []
    assert sorted(name for batch in target.list("") for name, _ in batch) == [ours, path_of(theirs)]
    other = service()
    do(Scan(""), bucket, target, ObjectStore(other))
    assert sorted(other.objects) == [theirs], "what a bucket had goes back to one, what is ours does not"


def test_an_empty_directory_is_no_difference_to_a_bucket(bucket: Bucket) -> None:
    source = MemoryStore()
    source.make_directory("empty")
    for mode in ("sync", "plan", "check"):
        outcome = do(Scan(""), bucket, source, ObjectStore(service()), mode)
        assert [name for name, _ in outcome.subdirectories] == ["empty"]
        assert outcome.counts["created_directories"] + outcome.counts["missing_directories"] == 0


def test_a_directory_of_a_files_name_is_not_what_a_waiting_file_meets(bucket: Bucket) -> None:
    source = MemoryStore()
    put(source, "a", b"new")
    there = service("a/in")
    outcome = do(Move("", (("a", 3, 8, True),)), bucket, source, ObjectStore(there))
    assert outcome.failed == []
    assert there.objects["a"].data == b"new"


def test_metadata_is_set_with_the_times_of_the_source_itself(bucket: Bucket) -> None:
    here = FakeService(metadata_listed=False)
    here.put("f", b"content", {"mtime": "1600000000.000000001"})
    target = MemoryStore()
    put(target, "f", b"content", mtime=5)
    outcome = do(Scan(""), bucket, ObjectStore(here), target, compare="checksum")
    assert outcome.counts["verified_files"] == 1
    assert target.stat("f").facts[MTIME] == 1_600_000_000_000_000_001
    assert [row[2] for row in outcome.seen] == [1_600_000_000_000_000_001]


def test_a_time_that_nobody_knows_is_put_on_no_record() -> None:
    what = ObjectStore(service("f")).stat("f").facts
    row = as_row("f", (*what[:MTIME], CHANGED, *what[MTIME + 1 :]))
    assert row[2] == what[5]


@pytest.mark.parametrize(("begin", "extras", "everything"), [
    ("2024/", {"2024/gone", "2024/x/y"}, False),
    ("2024", {"2024/gone", "2024/x/y", "2024.txt"}, False),
    ("2024/x/", {"2024/x/y"}, False),
    ("2024/g", {"2024/gone"}, False),
    ("2024/g", {"2024/gone", "2024/x/y", "2024.txt", "2025/a", "other", "a//b"}, True),
    ("a//", {"a//b"}, False),
    ("", {"2024/gone", "2024/x/y", "2024.txt", "2025/a", "other", "a//b"}, False),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["sync", "check"])
def test_what_does_not_begin_with_the_prefix_is_no_extra(
    bucket: Bucket, begin: str, extras: set[str], everything: bool, mode: str
) -> None:
    there = service("2024/gone", "2024/x/y", "2024.txt", "2025/a", "other", "a//b")
    source = MemoryStore()
    site = Site(source=source, target=ObjectStore(there), options=Options(), bucket=bucket)
    rules = Rules(policy=Policy(delete=True, partial=True), mode=mode, begin=begin, delete_excluded=everything)
    context = Context(site, rules, lambda: 10**18)
    found, left = set(), [("", Presence.UNKNOWN)]
    while left:
        directory, presence = left.pop()
        outcome = run_unit(context, Scan(directory, presence=presence), lambda part: None)
        for name, is_directory in outcome.extras:
            path = f"{directory}/{name}" if directory else name
            if is_directory:
                left.append((path, Presence.TARGET))
            else:
                found.add(key_of(path))
    assert found == extras
