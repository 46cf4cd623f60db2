"""Figures of backups: from the ledger, whoever did them, and again after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.ledger import Ledger, open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob
from dunlin.report.prometheus import Metrics
from dunlin.web.backup_metrics import OFTEN, BackupMetrics
from dunlin.web.exposition import ServiceMetrics
from dunlin.web.outcome import Done


class Made:
    def __init__(self, tmp_path: Path) -> None:
        self.now, self.time = 0.0, 1_800_000_000.0
        self.ledger: Ledger = open_ledger(str(tmp_path / "ledger.db"), lambda: self.time)
        self.known = {"vault"}
        self.asked = 0

    def metrics(self) -> BackupMetrics:
        def page(*words: Any) -> list[Job]:
            self.asked += 1
            return self.ledger.jobs.page(*words)

        return BackupMetrics(page, lambda: self.known, lambda: self.now)

    def job(self, kind: str, good: bool, result: dict[str, Any], tenant: str = "acme") -> Job:
        """A job that ended so."""
        self.time += 10
        jobs = self.ledger.jobs
        id = jobs.submit(NewJob(kind, tenant=tenant)).job.id
        jobs.move(id, JobStatus.RUNNING)
        status = JobStatus.COMPLETED if good else JobStatus.FAILED
        found = jobs.move(id, status, result=msgspec.json.encode(result))
        assert found is not None
        return found

    def backup(self, share: str, good: bool = True, **totals: int) -> Job:
        made = {"tenant": "acme", "share": share, "id": "x"}
        return self.job("backup", good, {"repository": "vault", "seconds": 2.5, "snapshot": made, "totals": totals})

    def verification(self, damaged: int) -> Job:
        result = {"repository": "vault", "whole": not damaged, "found": {"damages": damaged}}
        return self.job("verify", not damaged, result)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path)
    yield found
    found.ledger.close()


def shown(metrics: BackupMetrics) -> dict[tuple[str, ...], float]:
    return {(each.name, *labels): value for each, samples in metrics().items() for labels, value in samples}


DOCS = ("vault", "acme", "docs")


def test_the_last_good_backup_of_each_share_counts(made: Made) -> None:
    made.backup("docs", files=1)
    good = made.backup("docs", files=3, bytes=300, new_bytes=30, stored_bytes=9)
    made.backup("docs", good=False, files=9)
    made.backup("mail", files=5)
    made.job("backup", True, {"repository": "vault", "totals": {"files": 77}, "dry_run": True})
    found = shown(made.metrics())
    assert {name: value for (name, *labels), value in found.items() if tuple(labels) == DOCS} == {
        "dunlin_backup_last_success_time_seconds": good.ended, "dunlin_backup_last_duration_seconds": 2.5,
        "dunlin_backup_last_files": 3, "dunlin_backup_last_bytes": 300, "dunlin_backup_last_new_bytes": 30,
        "dunlin_backup_last_stored_bytes": 9,
    }  # fmt: skip
    assert found["dunlin_backup_last_files", "vault", "acme", "mail"] == 5
    assert 77 not in found.values()


def test_damage_shows_until_a_verification_finds_none(made: Made) -> None:
    whole = made.verification(0)
    made.verification(4)
    metrics = made.metrics()
    found = shown(metrics)
    assert found["dunlin_backup_damaged_objects", "vault", "acme"] == 4
    assert found["dunlin_backup_verified_time_seconds", "vault", "acme"] == whole.ended
    later = made.verification(0)
    made.now += OFTEN
    found = shown(metrics)
    assert found["dunlin_backup_damaged_objects", "vault", "acme"] == 0
    assert found["dunlin_backup_verified_time_seconds", "vault", "acme"] == later.ended


def test_the_ledger_is_asked_now_and_then_and_when_a_job_of_ours_has_ended(made: Made) -> None:
    metrics = made.metrics()
    assert shown(metrics) == {}
    mine = made.backup("docs", files=1)
    assert shown(metrics) == {}
    assert made.asked == 2
    metrics.ended(mine, Done("completed", True, "", {}))
    found = shown(metrics)
    assert found["dunlin_backup_last_files", *DOCS] == 1
    assert found["dunlin_backup_jobs", "backup", "completed"] == 1
    made.backup("docs", files=2)  # another service's
    assert shown(metrics)["dunlin_backup_last_files", *DOCS] == 1
    made.now += OFTEN
    assert shown(metrics)["dunlin_backup_last_files", *DOCS] == 2
    made.known = set()
    assert {name for name, *_ in shown(metrics)} == {"dunlin_backup_jobs"}


def test_how_jobs_ended_is_counted(made: Made) -> None:
    metrics = made.metrics()
    job = made.verification(1)
    metrics.ended(job, Done("completed", False, "1 object damaged", {}))
    metrics.ended(job, Done("interrupted", False, "", {}))
    metrics.ended(job._replace(kind="sync"), Done("completed", True, "", {}))
    counts = {labels: n for labels, n in shown(metrics).items() if labels[0] == "dunlin_backup_jobs"}
    assert counts == {("dunlin_backup_jobs", "verify", "failed"): 1, ("dunlin_backup_jobs", "verify", "cancelled"): 1}


def test_a_ledger_that_is_away_leaves_the_other_metrics(made: Made) -> None:
    def away(*_: Any, **__: Any) -> list[Job]:
        raise DunlinError("read", "", ErrorKind.NETWORK)

    scraped = _scrape(made, BackupMetrics(away, lambda: made.known))
    assert "dunlin_queue_up" in scraped
    made.backup("docs", files=4)
    assert scraped_value(_scrape(made, made.metrics())) == 4.0


def _scrape(made: Made, metrics: BackupMetrics) -> dict[str, Any]:
    empty: Callable[[], Any] = list
    families = ServiceMetrics(Metrics("1"), empty, empty, dict, metrics).collect()
    return {family.name: family for family in families}


def scraped_value(scraped: dict[str, Any]) -> float:
    [sample] = scraped["dunlin_backup_last_files"].samples
    assert sample.labels == {"repository": "vault", "tenant": "acme", "share": "docs"}
    return float(sample.value)
