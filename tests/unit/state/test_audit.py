"""audit: one line per file whatever its name, rotation, full disks."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import NullReport, RecordingReport
from dunlin.state import AuditLog, AuditOptions, audit

NOON = 1_769_860_800_123_456_789  # 2026-01-31T12:00:00
ROW: audit.AuditRow = ("copied", "sub/x", "blake3", b"\xab\xcd", 4096, 0.0012, "")


def open_log(path: Path, report: Any = None, **options: Any) -> AuditLog:
    return AuditLog(str(path), AuditOptions(**options), 7, "/a", "/b/", report or NullReport(), clock=lambda: NOON)


FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ ]*)(?: |$)')


def parse(line: str, form: str) -> dict[str, Any]:
    """A line as any reader of logfmt or JSON would take it."""
    if form == "json":
        found = json.loads(line)
        assert isinstance(found, dict)
        return found
    assert "".join(match.group(0) for match in FIELD.finditer(line)) == line
    return {key: json.loads(value) if value[:1] == '"' else value for key, value in FIELD.findall(line)}


def test_text_line(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.write([ROW, ("failed", "y", None, None, None, None, 'no "such" thing')], operation=3)
    log.close()
    assert (tmp_path / "log").read_text().splitlines() == [
        "time=2026-01-31T12:00:00.123456Z run=7 op=3 outcome=copied "
        'source="/a/sub/x" destination="/b/sub/x" hash=blake3:abcd size=4096 seconds=0.001 error=""',
        "time=2026-01-31T12:00:00.123456Z run=7 op=3 outcome=failed "
        'source="/a/y" destination="/b/y" hash= size= seconds= error="no \\"such\\" thing"',
    ]


def test_json_line(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", format="json")
    log.write([ROW, ("failed", "y", None, None, None, None, "no")])
    log.close()
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert first == {
        "time": "2026-01-31T12:00:00.123456Z",
        "run": 7,
        "op": 0,
        "outcome": "copied",
        "source": "/a/sub/x",
        "destination": "/b/sub/x",
        "hash": "blake3:abcd",
        "size": 4096,
        "seconds": 0.001,
        "error": "",
    }
    assert (second["hash"], second["size"], second["seconds"], second["error"]) == (None, None, None, "no")


names = st.binary(min_size=1).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("form", ["text", "json"])
@given(st.lists(st.tuples(names, names), min_size=1, max_size=4))
def test_no_name_breaks_a_line_or_is_changed(tmp_path_factory: Any, form: str, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("audit") / "log"
    log = open_log(path, format=form)
    log.write([("failed", name, None, None, 1, 1.0, error) for name, error in pairs])
    log.close()
    lines = path.read_bytes().decode().splitlines()  # also splits at U+2028, NEL, form feed
    assert len(lines) == len(pairs)
    for line, (name, error) in zip(lines, pairs, strict=True):
        assert line.isprintable()
        found = parse(line, form)
        assert found["source"] == "/a/" + name
        assert found["destination"] == "/b/" + name
        assert found["error"] == error


def test_appends_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    for _ in range(2):
        log = open_log(tmp_path / "log")
        log.write([ROW])
        log.close()
        log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_rotates_by_size_and_keeps_some(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", max_bytes=400, keep=2)
    for n in range(20):
        log.write([("copied", f"{n:02d}", None, None, n, 0.0, "")])
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 400 for path in tmp_path.iterdir())
    text = "".join((tmp_path / name).read_text() for name in ("log.2", "log.1", "log"))
    numbers = [int(n) for n in re.findall(r"size=(\d+)", text)]
    assert numbers == list(range(numbers[0], 20))


def test_rotates_without_keeping_any(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", max_bytes=1, keep=0)
    log.write([ROW])
    log.write([ROW])
    log.close()
    assert os.listdir(tmp_path) == ["log"]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_follows_rotation_from_outside(tmp_path: Path, how: str) -> None:
    log = open_log(tmp_path / "log")
    log.write([ROW])
    if how == "moved":
        os.rename(tmp_path / "log", tmp_path / "old")
    else:
        os.unlink(tmp_path / "log")
    log.write([ROW, ROW])
    log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_full_disk_loses_lines_counts_them_and_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = RecordingReport()
    log = open_log(tmp_path / "log", report)
    log.write([ROW])
    write, room = os.write, [30]

    def full(descriptor: int, data: Any) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        done = write(descriptor, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(audit.os, "write", full)
    log.write([ROW, ROW])
    log.write([ROW])
    assert log.lost == 3
    room[0] = 1 << 20
    log.write([ROW])
    log.close()
    assert [event.name for event in report.events] == ["audit.lost", "audit.closed"]
    assert "3 lines" in report.events[1].message
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0] == lines[2], "what comes after a torn line begins a new one"
    assert len(lines[1]) == 30


def test_log_that_cannot_rotate_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path / "log", max_bytes=1)
    log.write([ROW])

    def refused(*paths: str, **directories: int | None) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(audit.os, "replace", refused)
    log.write([ROW])
    log.close()
    assert log.lost == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(DunlinError) as caught:
        open_log(tmp_path / "no" / "log")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    with pytest.raises(ValueError, match="xml"):
        open_log(tmp_path / "log", format="xml")


def test_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path / "log")
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(audit.os, "write", lambda fd, data: sizes.append(len(data)) or write(fd, data))
    log.write([ROW] * 1000)
    log.write([])
    log.close()
    assert len(sizes) == 1
