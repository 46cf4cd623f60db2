"""Names that break careless programs: every byte but NUL and the slash may stand in one."""

from __future__ import annotations

import json
import os
import sqlite3
import unicodedata
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import OLD, SECOND, Pair, change_times, names, same, touched

ODD = (
    b"\xff\xfe invalid", b"half\xc3", b"\xed\xa0\x80surrogate", b"new\nline", b"\n", b"tab\tbed", b"car\rriage",
    b'quo"te', b"apo'strophe", b"back\\slash", b"-leading-dash", b"--delete-extras", b" leading", b"trailing ", b" ",
    b"dot.", b"...", b"..foo", b".hidden", b"~", b"*", b"?", b"[a]", b"$HOME", b"%s%n", b"a&b;c|d", b"x" * 255,
    "é".encode() * 127, "日".encode() * 85, b"\x01\x02\x1b[31mred\x1b[0m", b"\x07bell", b"\x7f",
    "\x9b31m".encode(), "\u2028line".encode(),
    "👩‍👩‍👧‍👦".encode(), "مرحبا".encode(), "\u202eevil".encode(), unicodedata.normalize("NFC", "café").encode(),
    unicodedata.normalize("NFD", "café").encode(), "ﬁ".encode(), b"a", b"a-b", b"a.txt", b"a0", b"a b",
    b"CON", b"aux.c", b"nul:", b"README", b"Readme", b"file:x", b"loc:x", b"s3:x", b"\xef\xbb\xbfbom",
    b"line\x85", b"\xc2\xa0",
)  # fmt: skip
LIKE_OURS = (
    b".dunlin-x", b".dunlin-", b".dunlin-00000000-1.tmp.bak", b"x.dunlin-00000000-1.tmp", b".dunlin-repository.json",
    b".dunlin-0000000g-1.tmp", b".dunlin-0-probe.tmp", ".dunlin-0-probé.txt".encode(),
    b"dunlin.yaml", b".sync-state.db2",
)  # fmt: skip
"""Names of users that resemble ours, but are not."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def fill(root: Path) -> list[bytes]:
    """Every odd name as a file, a directory with a file, a link and (as its own target) a link's text."""
    made = []
    for kind in (b"files", b"directories", b"links"):
        here = os.path.join(os.fsencode(root), kind)
        os.mkdir(here)
        for number, name in enumerate(ODD + LIKE_OURS):
            path = os.path.join(here, name)
            if kind == b"files":
                with open(path, "wb") as file:
                    file.write(name * (number % 5))
                os.utime(path, ns=(OLD, OLD + number))
                made.append(path)
            elif kind == b"directories":
                os.mkdir(path)
                with open(os.path.join(path, name), "wb") as file:
                    file.write(name)
            else:
                os.symlink(name, path)
    os.mkdir(os.path.join(os.fsencode(root), b"order"))
    for name in (b"a-b", b"a.txt", b"a0", b"a b"):
        open(os.path.join(os.fsencode(root), b"order", name), "wb").close()
    os.mkdir(os.path.join(os.fsencode(root), b"order/a"))
    return made


def quiet(text: str) -> bool:
    """Whether nothing in the text acts upon a terminal, beside ends of lines."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("options", [[], ["--scan-first"], ["--state-db", "none"], ["-H", "-X"]], ids=" ".join)
def test_every_name_is_copied(pair: Pair, options: list[str]) -> None:
    """All of them, as files, directories and links; a second run finds nothing to do, also with the state alone."""
    fill(pair.source)
    pair.sync("-a", *options)
    same(pair.source, pair.target)
    before = change_times(pair.target)
    pair.sync("-a", *options)
    if "none" not in options:
        pair.sync("-a", "--trust-state", *options)
    assert touched(before, change_times(pair.target)) == []
    dunlin("check", pair.source, pair.target, cwd=pair.cwd, expect=0)


def test_every_name_is_deleted(pair: Pair) -> None:
    """With --delete-extras, and moved to a backup directory, under the same names."""
    fill(pair.source)
    pair.sync("-a")
    found = names(pair.source)
    for path in sorted(pair.source.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (pair.source / "one").write_text("left")
    pair.sync("-a", "--delete-extras", "--max-delete", "100000", "--backup-dir", pair.root / "kept")
    same(pair.source, pair.target)
    assert {name for name in names(pair.root / "kept") if not (pair.root / "kept" / name).is_dir()} == {
        name for name in found if not name.startswith("directories/") or name.count("/") == 2
    } - {"files", "directories", "links", "order", "order/a"}


def test_no_name_escapes_from_its_line(pair: Pair) -> None:
    """--verbose, --report-file, the audit log and --json: one line per file, no escape sequence comes through."""
    made = fill(pair.source)
    done = pair.sync("-a", "-v", "--report-file", pair.root / "report", "--log-file", pair.root / "audit")
    assert quiet(done.stdout)
    assert quiet(done.stderr)
    for name in ("report", "audit"):
        text = (pair.root / name).read_bytes()
        lines = text.decode("utf-8", "surrogateescape").splitlines()
        assert all(line.isprintable() for line in text.decode().rstrip("\n").replace("\t", " ").split("\n")), name
        assert len(lines) == len(text.rstrip(b"\n").split(b"\n"))
        assert len([line for line in lines if "copied" in line]) == len(made) + len(ODD + LIKE_OURS) + 4
    dry = pair.sync("-a", "-n", "--force-resync")
    assert quiet(dry.stdout + dry.stderr)


def test_names_in_json(pair: Pair) -> None:
    """Failures and events in JSON are valid JSON on one line each, and give names back byte for byte."""
    fill(pair.source)
    done = pair.sync(
        "-a", "-v", "--json", "--log-format", "json", "--log-file", pair.root / "audit", "--log-file-format", "json"
    )
    summary = json.loads(done.stdout)
    assert summary["exit_code"] == 0
    for line in done.stderr.splitlines():
        assert line.isprintable()
        if not line.startswith(("copied ", "created ")):  # what --verbose prints is no event
            json.loads(line)
    copied = [json.loads(line) for line in (pair.root / "audit").read_text().splitlines()]
    kept = {os.fsencode(os.path.basename(record["source"])) for record in copied if "/files/" in record["source"]}
    assert kept == set(ODD + LIKE_OURS)


def test_failures_name_their_file_on_one_line(pair: Pair) -> None:
    """An odd name in an error message."""
    directory = pair.source / "bad\x1b[2Jname\nbreak"
    directory.mkdir()
    (directory / "x").write_text("x")
    os.mkfifo(pair.source / "fifo\nx\x1b[31m")
    pair.sync("-a")
    directory.joinpath("x").unlink()
    directory.rmdir()
    directory.write_text("a file now")
    done = pair.sync("-a", expect=23)
    assert quiet(done.stdout + done.stderr)
    assert "\\nbreak" in done.stderr
    done = pair.sync("-r", expect=23)
    assert quiet(done.stdout + done.stderr)


def test_state_knows_every_name(pair: Pair) -> None:
    fill(pair.source)
    pair.sync("-a")
    database = sqlite3.connect(pair.cwd / ".sync-state.db")
    try:
        (files,) = database.execute("SELECT count(*) FROM file").fetchone()
        assert files == 2 * len(ODD + LIKE_OURS) + 4
    finally:
        database.close()


def test_temporary_names_of_ours_are_no_users_files(pair: Pair) -> None:
    """A left-over temporary file in the source is not copied; at the destination a fresh one is left alone."""
    ours = ".dunlin-01234567ab-1.tmp"
    (pair.source / ours).write_text("left over")
    (pair.source / "f").write_text("x")
    pair.target.mkdir()
    (pair.target / ours).write_text("of a run elsewhere")
    pair.sync("-a", "--delete-extras")
    assert names(pair.target) == {"f", ours}
    assert (pair.target / ours).read_text() == "of a run elsewhere"
    # An old mtime says nothing: just before it gets its name, a temporary file has that of its source.
    old = (pair.target / ours).stat().st_mtime_ns - 25 * 3600 * SECOND
    os.utime(pair.target / ours, ns=(old, old))
    pair.sync("-a", "--delete-extras")
    assert names(pair.target) == {"f", ours}


@pytest.mark.parametrize("name", ["-x", "--", "--help", "-", "sp ace", "new\nline", "caf\udcc3"])
def test_roots_with_odd_names(tmp_path: Path, name: str) -> None:
    """The roots themselves may be called anything; what begins with a dash stands after ``--``."""
    source, target = tmp_path / f"{name}", tmp_path / f"{name}-copy"
    source.mkdir()
    (source / "f").write_text("x")
    dunlin("sync", "-a", "--state-db", "none", "--", os.fsencode(name).decode("utf-8", "surrogateescape"),
           f"{name}-copy", cwd=tmp_path, expect=0)  # fmt: skip
    same(source, target)
