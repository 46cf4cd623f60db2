"""What a run tells: summary, JSON, audit log, report file, log formats, the live view, exit codes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import CHECKOUT, UNPRIVILEGED, command, dunlin, environment, start
from tests.acceptance.trees import being_written, make, snapshot
from tests.acceptance.trouble import until
from tests.fuse.slowfs import mounted

root = pytest.mark.root
fuse = pytest.mark.fuse

CONTENT: dict[str, bytes | None] = {
    "a": b"1", "sub/b": b"22" * 700, "sub/c": b"", "odd \"quotes\"": b"q", "new\nline": b"n", "\udcff": b"u", "é": b"e",
    "\x1b[31mred": b"r",
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source", CONTENT)


def expected_hash(path: str) -> str:
    content = CONTENT[path]
    assert content is not None
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# ---- --json ----


def test_json_is_one_object_and_nothing_else(source: Path, tmp_path: Path) -> None:
    for more in ((), ("-v",), ("-q",), ("-n",), ("--log-level=debug",), ("-P",)):
        done = dunlin("sync", "-a", "--json", *more, source, tmp_path / "d", cwd=tmp_path, expect=0)
        told = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        assert done.stdout.isascii()
        assert told["status"] == "completed"
    told = json.loads(dunlin("sync", "-a", "--json", source, tmp_path / "e", cwd=tmp_path, expect=0).stdout)
    size = sum(len(content or b"") for content in CONTENT.values())
    assert (told["stats"]["copied_files"], told["stats"]["copied_bytes"]) == (len(CONTENT), size)
    assert (told["source"], told["destination"]) == (str(source), str(tmp_path / "e"))
    assert told["exit_code"] == 0
    assert told["run"] == 6
    assert told["rates"]["files_per_second"] > 0


def test_json_tells_failures_from_the_start_too(tmp_path: Path) -> None:
    done = dunlin("sync", "--json", tmp_path / "none", tmp_path / "d", cwd=tmp_path, expect=1)
    told = json.loads(done.stdout)
    assert told["status"] == "failed"
    assert told["exit_code"] == 1
    assert "none" in told["message"]


def test_json_of_an_interrupted_run(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(12 << 20)})
    process = start("sync", "--json", "--bwlimit=1M", source, tmp_path / "d", cwd=tmp_path)
    until(lambda: being_written(tmp_path / "d"), process)
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=30)
    assert process.returncode == 130, log
    told = json.loads(out)
    assert told["status"] == "interrupted"
    assert "SIGTERM" in told["message"]
    assert told["stats"]["pending_files"] == 1
    assert not list((tmp_path / "d").iterdir())


# ---- the audit log ----


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().splitlines()]


def test_the_audit_log_in_json(source: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    options = ("--checksum=sha256", "--log-file", log, "--log-file-format=json", "--delete-extras")
    begun = time.time()
    make(tmp_path / "d", {"extra": b"x"})
    dunlin("sync", "-a", *options, source, tmp_path / "d", cwd=tmp_path, expect=0)
    lines = json_lines(log)
    copied = {line["source"]: line for line in lines if line["outcome"] == "copied"}
    prefix = f"file://{source}/"
    assert set(copied) == {f"{prefix}{path}" for path in CONTENT}
    for path, content in CONTENT.items():
        line = copied[f"{prefix}{path}"]
        assert line["destination"] == f"file://{tmp_path}/d/{path}"
        assert line["hash"] == expected_hash(path)
        assert line["size"] == len(content or b"")
        assert line["error"] == ""
        assert line["seconds"] >= 0
        assert line["run"] == 1
        assert begun - 2 <= datetime.fromisoformat(line["time"]).timestamp() <= time.time() + 1
    assert [line["destination"] for line in lines if line["outcome"] == "deleted"] == [f"file://{tmp_path}/d/extra"]
    # It is appended to, and a run without news adds nothing.
    dunlin("sync", "-a", *options, source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert json_lines(log) == lines
    (source / "a").write_bytes(b"changed")
    dunlin("sync", "-a", *options, source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert len(json_lines(log)) == len(lines) + 1
    assert json_lines(log)[-1]["run"] == 3


TEXT = re.compile(
    r'time=\S+Z run=(\d+) op=\d+ outcome=(\w+) source=("(?:[^"\\]|\\.)*") destination=("(?:[^"\\]|\\.)*") '
    r'hash=(\S*) size=(\d*) seconds=([\d.]*) error=("(?:[^"\\]|\\.)*")'
)


def test_the_audit_log_in_text(source: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    dunlin("sync", "--checksum=sha256", "--log-file", log, source, tmp_path / "d", cwd=tmp_path, expect=0)
    lines = log.read_text(encoding="utf-8").splitlines()
    matches = [TEXT.fullmatch(line) for line in lines]
    assert all(matches), lines
    found = {json.loads(match[3]): match for match in matches if match}
    assert set(found) == {f"file://{source}/{path}" for path in CONTENT}
    for path, content in CONTENT.items():
        match = found[f"file://{source}/{path}"]
        assert match[2] == "copied"
        assert match[5] == expected_hash(path)
        assert int(match[6]) == len(content or b"")
    assert "\x1b" not in log.read_text(encoding="utf-8")


@root
def test_failed_vanished_and_skipped_files_have_their_line(source: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    (source / "a").chmod(0)
    (source / "link").symlink_to("a")
    make(tmp_path / "d", {"sub/b": b"mine", "é": b"mine"})
    dunlin(
        "sync", "--skip-existing", "--log-file", log, "--log-file-format=json", source, tmp_path / "d",
        cwd=tmp_path, expect=23, prefix=UNPRIVILEGED,
    )  # fmt: skip
    lines = json_lines(log)
    by_outcome: dict[str, set[str]] = {}
    for line in lines:
        by_outcome.setdefault(line["outcome"], set()).add(line["source"].removeprefix(f"file://{source}/"))
    assert by_outcome["failed"] == {"a"}
    assert by_outcome["skipped"] == {"sub/b", "é", "link"}
    assert by_outcome["copied"] == set(CONTENT) - {"a", "sub/b", "é"}
    failed = next(line for line in lines if line["outcome"] == "failed")
    assert "Permission denied" in failed["error"]
    assert failed["hash"] is None


def test_rotation_by_size(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"d{at}/f{n}": b"x" for at in range(20) for n in range(20)})
    log = tmp_path / "audit.log"
    dunlin(
        "sync", "--log-file", log, "--log-file-format=json", "--log-file-size=20K", "--log-file-keep=2",
        source, tmp_path / "d", cwd=tmp_path, expect=0,
    )  # fmt: skip
    files = sorted(path.name for path in tmp_path.glob("audit.log*"))
    assert files == ["audit.log", "audit.log.1", "audit.log.2"]
    for name in files:
        assert (tmp_path / name).stat().st_size <= 20 << 10
        assert all(line["outcome"] == "copied" for line in json_lines(tmp_path / name))


def test_no_rotation_where_none_is_wanted(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"f{n}": b"x" for n in range(300)})
    log = tmp_path / "audit.log"
    dunlin("sync", "--log-file", log, "--log-file-size=0", source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert [path.name for path in tmp_path.glob("audit.log*")] == ["audit.log"]
    assert len(log.read_text().splitlines()) == 300


def test_a_log_in_the_source_is_no_part_of_the_tree(source: Path, tmp_path: Path) -> None:
    arguments = ("--log-file", source / "audit.log", "--report-file", source / "report", source, tmp_path / "d")
    for _ in range(2):
        dunlin("sync", *arguments, cwd=tmp_path, expect=0)
    assert not (tmp_path / "d/audit.log").exists()
    assert not (tmp_path / "d/report").exists()


def test_a_log_that_cannot_be_opened_ends_the_run_before_it_begins(source: Path, tmp_path: Path) -> None:
    for option in ("--log-file", "--report-file"):
        done = dunlin("sync", option, tmp_path / "no/such/dir/log", source, tmp_path / "d", cwd=tmp_path)
        assert done.returncode in (1, 2)
        assert "no/such/dir/log" in done.stderr
        assert not (tmp_path / "d/a").exists()


# ---- the report file ----


def test_the_report_file_lists_outcomes(source: Path, tmp_path: Path) -> None:
    make(tmp_path / "d", {"extra": b"x"})
    report = tmp_path / "report"
    dunlin("sync", "-a", "--delete-extras", "--report-file", report, source, tmp_path / "d", cwd=tmp_path, expect=0)
    lines = dict(reversed(line.split("\t")) for line in report.read_text().splitlines())
    assert lines.pop("extra") == "deleted"
    assert set(lines.values()) == {"copied"}
    assert len(lines) == len(CONTENT)
    assert "new\\nline" in lines
    dunlin("sync", "-a", "--report-file", report, source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert report.read_text() == "", "the report is of this run alone"


# ---- the log on standard error ----


def test_log_formats_can_be_read_by_programs(source: Path, tmp_path: Path) -> None:
    options = ("--log-format=json", "--log-level=debug", "-v")
    done = dunlin("sync", *options, source, tmp_path / "d", cwd=tmp_path, expect=0)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "event", "message"} <= set(lines[0])
    assert {line["event"] for line in lines} >= {"run.begins", "run.started", "run.ended"}
    assert all(line["run"] == 1 for line in lines if line["event"] != "run.begins")
    done = dunlin("sync", "--log-format=logfmt", source, tmp_path / "d", cwd=tmp_path, expect=0)
    for line in done.stderr.splitlines():
        fields = dict(word.partition("=")[::2] for word in shlex.split(line))
        assert {"time", "level", "event", "message"} <= set(fields), line


@pytest.mark.parametrize(("level", "levels"), [("debug", "DIWE"), ("info", "IWE"), ("warn", "WE"), ("error", "E")])
def test_log_levels(source: Path, tmp_path: Path, level: str, levels: str) -> None:
    os.mkfifo(source / "fifo")
    (source / "in-the-way").write_bytes(b"")
    make(tmp_path / "d", {"in-the-way/f": b""})
    arguments = ("sync", "--log-format=json", "--log-level", level, source, tmp_path / "d")
    done = dunlin(*arguments, cwd=tmp_path, expect=23)
    found = {json.loads(line)["level"][0].upper() for line in done.stderr.splitlines()}
    assert found == set(levels)


def test_verbose_names_every_file_and_quiet_none(source: Path, tmp_path: Path) -> None:
    make(tmp_path / "d", {"extra": b"x"})
    (source / "link").symlink_to("a")
    done = dunlin("sync", "-v", "--delete-extras", source, tmp_path / "d", cwd=tmp_path, expect=0)
    lines = set(done.stdout.splitlines())
    assert {"copied a", "copied sub/b", "deleted extra", "skipped link", "copied new\\nline"} <= lines
    assert not any("\x1b" in line for line in lines)
    (source / "a").write_bytes(b"again")
    done = dunlin("sync", "-q", source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert (done.stdout, done.stderr) == ("", "")


def test_skipped_links_are_counted_and_explained(source: Path, tmp_path: Path) -> None:
    for at in range(3):
        (source / f"link{at}").symlink_to("a")
    done = dunlin("sync", source, tmp_path / "d", cwd=tmp_path, expect=0)
    assert "3 symbolic links were skipped; -l copies them" in done.stdout
    told = json.loads(dunlin("sync", "--json", source, tmp_path / "d", cwd=tmp_path, expect=0).stdout)
    assert told["skipped"] == {"link": 3}


# ---- exit codes ----


@fuse
@pytest.mark.parametrize(("size", "code"), [(10, 0), (1 << 20, 24), (9 << 20, 24)])
def test_24_when_files_only_vanished(tmp_path: Path, size: int, code: int) -> None:
    """It is removed when it is first read: what one read got whole is a whole file, the rest can be had no more."""
    make(tmp_path / "backing", {"stays": b"1", "goes": bytes(size)})
    changes = {"goes": "vanish"}
    with mounted(tmp_path / "backing", tmp_path / "mnt", change_during_read=changes, direct_io=True) as mount:
        make(tmp_path / "d", {"extra": b"x"})
        done = dunlin("sync", "--delete-extras", mount.path, tmp_path / "d", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert ("1 file vanished" in done.stdout) is (code == 24)
    assert (tmp_path / "d/goes").exists() is (code == 0)
    assert not (tmp_path / "d/extra").exists(), "a vanished file is no source error"


def test_24_when_a_file_is_gone_before_its_turn(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(9 << 20), "zz/later": bytes(9 << 20)})
    process = start("sync", "--bwlimit=3M", "--scan-first", "--movers=1", source, tmp_path / "d", cwd=tmp_path)
    until(lambda: being_written(tmp_path / "d"), process)
    begun = "zz/later" if list((tmp_path / "d").glob("zz/.dunlin-*")) else "large"
    other = "large" if begun == "zz/later" else "zz/later"
    (source / other).unlink()
    out, log = process.communicate(timeout=60)
    assert process.returncode == 24, log
    assert b"1 file vanished" in out
    assert (tmp_path / "d" / begun).exists()


@fuse
@pytest.mark.parametrize("change", ["grow", "shrink"])
def test_a_file_that_changes_once_is_tried_again(tmp_path: Path, change: str) -> None:
    make(tmp_path / "backing", {"small": b"1" * 50, "large": os.urandom(9 << 20)}, mtime=None)
    changes = {"small": change, "large": change}
    with mounted(tmp_path / "backing", tmp_path / "mnt", change_during_read=changes) as mount:
        dunlin("sync", mount.path, tmp_path / "d", cwd=tmp_path, expect=0)
    for name in changes:
        assert (tmp_path / "d" / name).read_bytes() == (tmp_path / "backing" / name).read_bytes()


@fuse
def test_23_and_2_and_what_the_summary_says(source: Path, tmp_path: Path) -> None:
    with mounted(source, tmp_path / "mnt", errors={"read:sub/b": errno.EIO}) as mount:
        done = dunlin("sync", mount.path, tmp_path / "d", cwd=tmp_path, expect=23)
    assert "failed: cannot read" in done.stdout
    assert "sub/b: Input/output error" in done.stdout
    (tmp_path / "backing").mkdir()
    with mounted(tmp_path / "backing", tmp_path / "mnt", read_only=True) as mount:
        done = dunlin("sync", source, mount.path, cwd=tmp_path, expect=2)
        assert "mnt" in done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("dunlin:")]) == 1
    with mounted(tmp_path / "backing", tmp_path / "mnt", capacity=1000) as mount:
        done = dunlin("sync", source, mount.path, cwd=tmp_path, expect=2)
        assert "No space left" in done.stdout + done.stderr
    assert not list((tmp_path / "backing").rglob(".dunlin-*"))


def test_the_second_run_on_a_destination_names_the_first(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(9 << 20)})
    process = start("sync", "--bwlimit=1M", source, tmp_path / "d", cwd=tmp_path)
    try:
        until(lambda: being_written(tmp_path / "d"), process)
        done = dunlin("sync", "--lock-wait=0", source, tmp_path / "d", cwd=tmp_path, expect=1)
        assert f"process {process.pid}" in done.stderr
    finally:
        process.kill()
        process.communicate()


# ---- terminals ----


class Screen:
    """As much of a terminal as the view needs: a grid, the cursor, and the few sequences that move and erase."""

    TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b[=>78]|\r|\n|[^\x1b\r\n]")

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        self.cursor = True
        self.widest = 0

    def feed(self, text: str) -> None:
        for match in self.TOKEN.finditer(text):
            token = match[0]
            if token == "\r":
                self.column = 0
            elif token == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif match[3]:
                self.sequence(match[1], match[2], match[3])
            elif not token.startswith("\x1b"):
                self.put(token)

    def put(self, char: str) -> None:
        if self.column >= self.columns:
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1
        self.widest = max(self.widest, self.column)

    def sequence(self, private: str, numbers: str, letter: str) -> None:
        if private and numbers == "25":
            self.cursor = letter == "h"
        elif letter == "A":
            self.row = max(0, self.row - int(numbers or 1))
        elif letter == "K":
            self.lines[self.row] = "" if numbers == "2" else self.lines[self.row][: self.column]
        elif letter == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif letter not in "mlh":
            raise AssertionError(f"the view sent CSI {private}{numbers}{letter}")

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).strip()


def in_terminal(
    *arguments: str | Path, cwd: Path, columns: int = 80, env: dict[str, str] | None = None, after: Any = None
) -> tuple[int, str, Screen, list[str]]:
    """Run in a pseudo-terminal; (exit code, all that was sent, the screen at the end, pictures of the screen)."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments), cwd=cwd, env=environment(cwd, {"TERM": "xterm-256color", **(env or {})}),
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    screen, sent, pictures = Screen(columns), "", []
    deadline = time.monotonic() + 60
    while True:
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it has not ended; this is on the screen:\n{screen.text}")
        ready, _, _ = select.select([leader], [], [], 0.2)
        if ready:
            try:
                data = os.read(leader, 65536).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                break
            if not data:
                break
            sent += data
            screen.feed(data)
            pictures.append(screen.text)
        if after is not None and after(process, screen):
            after = None
    os.close(leader)
    return process.wait(10), sent, screen, pictures


@pytest.mark.parametrize("columns", [40, 80])
def test_the_live_view_appears_and_is_cleaned_up(tmp_path: Path, columns: int) -> None:
    source = make(tmp_path / "source", {"a-large-file-with-a-rather-long-name": bytes(9 << 20), "small": b"x"})
    code, sent, screen, pictures = in_terminal(
        "sync", "--bwlimit=2M", source, tmp_path / "d", cwd=tmp_path, columns=columns
    )
    assert code == 0, sent
    live = [picture for picture in pictures if "pending" in picture or "scanned" in picture]
    assert live, sent
    assert any("a-lar" in picture and "%" in picture for picture in live), "the file that is being copied"
    assert any(re.search(r"ETA ~?\d", picture) for picture in live)
    assert screen.widest <= columns
    assert screen.cursor, "the cursor is back"
    assert "copied 2 files" in screen.text
    assert "pending" not in screen.text
    assert "%" not in screen.text
    assert len(screen.text.splitlines()) <= 4


def test_no_color_and_dumb_terminals(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(9 << 20)})
    arguments = ("sync", "--bwlimit=3M", source)
    _, colored, _, _ = in_terminal(*arguments, tmp_path / "a", cwd=tmp_path)
    _, plain, _, _ = in_terminal(*arguments, tmp_path / "b", cwd=tmp_path, env={"NO_COLOR": "1"})
    code, dumb, _, _ = in_terminal(*arguments, tmp_path / "c", cwd=tmp_path, env={"TERM": "dumb"})
    color = re.compile(r"\x1b\[[\d;]*3\d[\d;]*m")
    assert color.search(colored)
    assert not color.search(plain)
    assert "pending" in plain
    assert "\x1b" not in dumb
    assert code == 0


def test_control_c_in_a_terminal(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(9 << 20)})

    def interrupt(process: subprocess.Popen[bytes], screen: Screen) -> bool:
        if "%" not in screen.text:
            return False
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the foreground group
        return True

    code, sent, screen, _ = in_terminal(
        "sync", "--bwlimit=1M", source, tmp_path / "d", cwd=tmp_path, after=interrupt
    )
    assert code == 130, sent
    assert "press Ctrl-C again" in screen.text
    assert "interrupted" in screen.text
    assert screen.cursor
    assert not list((tmp_path / "d").iterdir())


def test_warnings_stand_above_the_view_and_stay(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"large": bytes(9 << 20), "in-the-way": b"x"})
    make(tmp_path / "d", {"in-the-way/full": b"x"})
    code, sent, screen, _ = in_terminal("sync", "--bwlimit=9M", source, tmp_path / "d", cwd=tmp_path)
    assert code == 23, sent
    assert "cannot replace" in screen.text
    assert screen.text.splitlines()[0].startswith("dunlin: ")


# ---- readers that go away ----


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = shlex.join(command())
    env = environment(cwd)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; dunlin() {{ {program} \"$@\"; }}; {line}"],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_reader_that_leaves_ends_a_dry_run_quietly(tmp_path: Path) -> None:
    make(tmp_path / "source", {f"d{at}/f{n}": b"" for at in range(40) for n in range(100)}, mtime=None)
    for line in ("dunlin sync -n source d | head -1", "dunlin check --one-way source e | head -1"):
        (tmp_path / "e").mkdir(exist_ok=True)
        done = shell(line, tmp_path)
        assert len(done.stdout.splitlines()) == 1
        assert "Traceback" not in done.stderr
        assert "Broken pipe" not in done.stderr
        assert "Exception" not in done.stderr
    done = shell("dunlin sync -v source d | head -1", tmp_path)
    assert "Traceback" not in done.stderr
    assert snapshot(tmp_path / "source").keys() == snapshot(tmp_path / "d").keys(), "a real run goes on in silence"
    done = shell("dunlin sync --help | head -1", tmp_path)
    assert done.stdout.startswith("Usage:")
    assert "Traceback" not in done.stderr


def test_a_full_standard_output_is_told(tmp_path: Path) -> None:
    make(tmp_path / "source", {"f": b""})
    done = shell("dunlin sync -n source d > /dev/full", tmp_path)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_standard_output_and_input(source: Path, tmp_path: Path) -> None:
    done = shell("dunlin sync source d >&- 2>&- <&-", tmp_path)
    assert done.returncode == 0
    assert snapshot(source).keys() == snapshot(tmp_path / "d").keys()


def test_ascii_locale(source: Path, tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    dunlin("sync", "-v", "--log-file", "log", source, tmp_path / "d", cwd=tmp_path, env=env, expect=0)
    assert snapshot(source).keys() == snapshot(tmp_path / "d").keys()


def test_the_verification_script(tmp_path: Path) -> None:
    """scripts/verify.sh, against this interpreter and this checkout."""
    launcher = tmp_path / "dunlin"
    launcher.write_text(f"#!/bin/sh\nPYTHONPATH={CHECKOUT}/src exec {sys.executable} -m dunlin \"$@\"\n")
    launcher.chmod(0o755)
    done = subprocess.run(
        [CHECKOUT / "scripts/verify.sh", launcher],
        env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert done.stdout.endswith("all checks passed\n")
