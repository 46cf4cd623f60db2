"""The outcome of every file in the audit log and in the report file."""

from __future__ import annotations

import json

import pytest

from dunlin import hashing
from dunlin.errors import DunlinError
from dunlin.jobs.options import Log
from dunlin.jobs.record import own_paths
from dunlin.transfer import Options
from tests.unit.jobs.conftest import Places


def test_the_audit_log_has_a_line_for_every_file(places: Places) -> None:
    places.file("d/a", "one")
    places.file("d/b\n", "two!")
    log = places.root / "log"
    places.run(log=Log(file=str(log), format="json"), transfer=Options(checksum="sha1"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    sha1 = hashing.one_shot("sha1")
    assert sha1 is not None
    found = {line["source"].rpartition("/")[2]: line for line in lines}
    assert found.keys() == {"a", "b\n"}
    assert {line["outcome"] for line in lines} == {"copied"}
    assert sha1(b"one").hex() in json.dumps(found["a"])
    assert found["a"]["size"] == 3
    assert found["b\n"]["destination"].endswith("target/d/b\n")


def test_the_audit_log_goes_on_where_the_last_run_ended(places: Places) -> None:
    log = places.root / "log"
    for name in ("a", "b"):
        places.file(name)
        places.run(log=Log(file=str(log), format="json"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["source"].rpartition("/")[2] for line in lines] == ["a", "b"]


def test_the_report_file_lists_outcomes_of_this_run_only(places: Places) -> None:
    report = places.root / "report"
    fields = {"log": Log(report_file=str(report)), "delete": True}
    places.file("a")
    places.file("b\t\\n")
    places.run(**fields)
    assert sorted(report.read_text().splitlines()) == ["copied\ta", "copied\tb\\t\\\\n"]
    (places.source / "a").unlink()
    places.file("c")
    places.target.joinpath("c").mkdir()
    places.target.joinpath("c/x").write_text("x")
    (places.source / "b\t\\n").chmod(0o600)
    places.run(log=Log(report_file=str(report)))
    assert sorted(report.read_text().splitlines()) == ["failed\tc", "metadata\tb\\t\\\\n"]
    places.run(**fields)
    assert sorted(report.read_text().splitlines()) == ["copied\tc", "deleted\ta", "deleted\tc/x"]


def test_a_dry_run_lists_what_it_would_do_and_keeps_no_audit_log(places: Places) -> None:
    places.file("a")
    report, log = places.root / "report", places.root / "log"
    places.run(mode="plan", log=Log(report_file=str(report), file=str(log)))
    assert report.read_text() == "copy\ta\n"
    assert not log.exists()


def test_a_report_file_that_cannot_be_opened_is_one_readable_error(places: Places) -> None:
    with pytest.raises(DunlinError, match="cannot open the report file"):
        places.run(log=Log(report_file=str(places.root / "no" / "report")))


def test_copied_files_are_named_where_that_is_asked_for(places: Places) -> None:
    places.file("d/a")
    places.run(log=Log(names=True))
    assert [event.fields["path"] for event in places.report.named("file.copied")] == ["d/a"]
    places.file("d/b")
    places.run()
    assert places.report.named("file.copied") == []


def test_own_paths_are_all_that_a_run_writes(places: Places) -> None:
    options = places.options(log=Log(file="log", keep=2, report_file="report", profile="profile"))
    found = own_paths(options, "state.db")
    names = {path.removeprefix(f"{places.root}/") for path in found}
    assert {"state.db", "state.db-wal", "log", "log.1", "log.2", "report"} <= names
    assert all(path.startswith("/") for path in found)
    assert own_paths(places.options(), None) == []
