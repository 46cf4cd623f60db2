"""Events as lines: nothing breaks a line, nothing forges a field, identifiers tie lines together."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.report import Event, Level
from dunlin.report.logs import FORMATS, Log

NOON = 1_769_860_800.25  # 2026-01-31T12:00:00.250Z
ODD = 'a\nb\x1b[31m\udcff "q" é=\u2028'
PAIR = re.compile(r'([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')


def log(format: str, level: Level = Level.INFO) -> tuple[Log, list[str]]:
    """A log at noon and the lines that it writes."""
    lines: list[str] = []
    return Log(lines.append, format, level, clock=lambda: NOON), lines


def read_logfmt(line: str) -> dict[str, str]:
    found = {}
    for key, value in PAIR.findall(line):
        found[key] = json.loads(value) if value.startswith('"') else value
    return found


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans() | st.none()))
def test_a_json_line_is_one_line_and_gives_everything_back(message: str, fields: dict[str, Any]) -> None:
    report, lines = log("json")
    report.event(Event(Level.WARN, "x.y", message, fields))
    [line] = lines
    assert line.isprintable()
    record = json.loads(line)
    assert (record["time"], record["level"], record["event"]) == ("2026-01-31T12:00:00.250Z", "warn", "x.y")
    assert record["message"] == message
    for key, value in fields.items():
        if key not in ("time", "level", "event", "message") and f"{key}_" not in fields and not key.endswith("_"):
            assert record[key] == value


@given(st.text(), st.text())
def test_a_logfmt_line_is_one_line_and_gives_text_back(message: str, path: str) -> None:
    report, lines = log("logfmt")
    report.event(Event(Level.WARN, "x.y", message, {"path": path, "size": 3, "yes": True, "none": None}))
    [line] = lines
    assert line.isprintable()
    record = read_logfmt(line)
    assert (record["message"], record["path"]) == (message, path)
    assert (record["size"], record["yes"], record["none"], record["level"]) == ("3", "true", "", "warn")


def test_a_name_cannot_forge_a_field() -> None:
    report, lines = log("logfmt")
    report.event(Event(Level.INFO, "x", "m", {"path": 'a level=fatal "', "level": "no"}))
    record = read_logfmt(lines[0])
    assert record["level"] == "info"
    assert record["level_"] == "no"
    assert record["path"] == 'a level=fatal "'


@given(st.text(), st.sampled_from(["text", "short"]))
def test_no_message_breaks_a_line_for_people(message: str, format: str) -> None:
    report, lines = log(format)
    report.event(Event(Level.WARN, "file.failed", message))
    assert lines[0].isprintable()


@pytest.mark.parametrize("format", ["text", "short"])
def test_lines_for_people_act_on_no_terminal(format: str) -> None:
    report, lines = log(format)
    report.event(Event(Level.ERROR, "x", ODD))
    assert lines[0].isprintable()
    assert "\\x1b" in lines[0]


def test_a_traceback_keeps_its_lines() -> None:
    report, lines = log("text", Level.DEBUG)
    report.event(Event(Level.DEBUG, "fault", "Traceback:\n  File x\n"))
    assert lines[0].split("\n")[1:] == ["  File x"]


def test_text_has_level_and_message() -> None:
    report, lines = log("text")
    report.event(Event(Level.WARN, "x", "careful"))
    assert re.fullmatch(r"2026-\d\d-\d\d \d\d:\d\d:\d\d WARN  careful", lines[0])


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (Level.INFO, "dunlin: m"),
        (Level.WARN, "dunlin: warning: m"),
        (Level.ERROR, "dunlin: m"),
        (Level.DEBUG, "dunlin: debug: m"),
    ],
)
def test_short_lines(level: Level, line: str) -> None:
    report, lines = log("short", Level.DEBUG)
    report.event(Event(level, "x", "m"))
    assert lines == [line]


@pytest.mark.parametrize("level", [Level.DEBUG, Level.INFO, Level.WARN, Level.ERROR])
def test_only_events_at_or_above_the_level(level: Level) -> None:
    report, lines = log("short", level)
    for each in Level:
        report.event(Event(each, "x", each.name))
    assert [line.rpartition(" ")[2] for line in lines] == [each.name for each in Level if each >= level]


def test_the_run_is_on_every_line_after_the_first_that_names_it() -> None:
    report, lines = log("json")
    report.event(Event(Level.INFO, "a", ""))
    report.event(Event(Level.INFO, "run.started", "", {"run": 7}))
    report.event(Event(Level.INFO, "b", "", {"operation": 3}))
    records = [json.loads(line) for line in lines]
    assert [record.get("run") for record in records] == [None, 7, 7]
    assert records[2]["operation"] == 3


def test_counts_gauges_and_tasks_make_no_lines() -> None:
    report, lines = log("text", Level.DEBUG)
    report.count("copied_files", 3)
    report.gauge("movers", 2)
    task = report.task("big", 10)
    task.advance(10)
    task.end()
    assert lines == []


def test_formats_by_name() -> None:
    assert set(FORMATS) == {"text", "short", "json", "logfmt"}
    with pytest.raises(KeyError):
        Log(print, "yaml")
