"""What people read of a publish job."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from dunlin.jobs.publish import Origin, PublishOptions
from dunlin.jobs.publish_results import go_duration, sync_result
from dunlin.queue.ledger.words import File, FileStatus, Item, Job, JobStatus, Wish


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (0.0015, "1.5ms"),
        (0.999, "999ms"),
        (1, "1s"),
        (1.25, "1.25s"),
        (59.9999999999, "1m0s"),
        (61.5, "1m1.5s"),
        (3600, "1h0m0s"),
        (90061.001, "25h1m1.001s"),
    ],
)
def test_durations_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


class Files:
    def __init__(self, items: list[Item], failed: list[File]) -> None:
        self._items, self._failed = items, failed

    def items(self, job: str) -> list[Item]:
        return self._items

    def failures(self, job: str, after: int = -1, count: int = 100, search: str = "") -> Sequence[File]:
        return [file for file in self._failed if file.number > after][:count]


def item(number: int, source: str, **counts: int | str) -> Item:
    made = Item("j", number, source, "store/", False, False, 0, 0, 0, 0, 0, 0, 0, True, "")
    return made._replace(**counts)


def failed(number: int, item: int, path: str) -> File:
    return File("j", number, item, path, f"store/{path}", 1, FileStatus.FAILED, 1, "w", 0.0, "why")


def job(*origins: Origin, ended: float | None = 12.5) -> Job:
    options = msgspec.json.encode(PublishOptions("s3://b", "b", ["/"], list(origins)))
    return Job(
        "j", "publish", "", "", "", JobStatus.FAILED, options, b"", {}, "", 9.0, 10.0, ended, 0, "", "", Wish.NONE
    )


def test_the_result_names_files_as_people_know_them() -> None:
    items = [
        item(0, "/data/link", total_files=3, uploaded=1, failed=2),
        item(1, "/data/one.txt", total_files=1, failed=1),
        item(2, "/data/gone", error="the folder holds no files"),
    ]
    files = Files(items, [failed(1, 0, "a"), failed(2, 0, "d/b"), failed(5, 1, "one.txt")])
    origins = (
        Origin("/real", "", "store/"),
        Origin("/data", "one.txt", "store/one"),
        Origin("/data/gone", "", "store/"),
    )
    result = sync_result(job(*origins), files, 0.0)  # type: ignore[arg-type]
    assert result == {
        "items": [
            {
                "from": "/data/link",
                "to": "store/",
                "total_files": 3,
                "uploaded_files": 1,
                "failed_files": ["/data/link/a", "/data/link/d/b"],
            },
            {
                "from": "/data/one.txt",
                "to": "store/",
                "total_files": 1,
                "uploaded_files": 0,
                "failed_files": ["/data/one.txt"],
            },
            {
                "from": "/data/gone",
                "to": "store/",
                "total_files": 0,
                "uploaded_files": 0,
                "failed_files": ["/data/gone"],
            },
        ],
        "total_files": 4,
        "uploaded_files": 1,
        "failed_files": ["/data/link/a", "/data/link/d/b", "/data/one.txt", "/data/gone"],
        "duration": "2.5s",
    }


def test_a_job_that_runs_lasts_until_now() -> None:
    assert sync_result(job(ended=None), Files([], []), 11.0)["duration"] == "1s"  # type: ignore[arg-type]


def test_no_more_failures_than_wanted() -> None:
    files = Files([item(0, "/d")], [failed(n, 0, str(n)) for n in range(3000)])
    one = Origin("/d", "", "store/")
    assert len(sync_result(job(one), files, 0.0, most=2500)["failed_files"]) == 2500  # type: ignore[arg-type]
