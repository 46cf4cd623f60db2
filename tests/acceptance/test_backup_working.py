"""What people and programs see while `verify`, `prune`, `forget --prune` and `repo rebuild-index` work."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.acceptance import program
from tests.acceptance.terminal import Terminal
from tests.acceptance.trouble import ended, until
from tests.acceptance.vaults import Run, fill, leases, runner
from tests.fuse.slowfs import mounted

ENVIRONMENT = {"DUNLIN_REPO": "vault"}
STAGE = r"{words}: [\d,]+ of \d+ {unit}s?, .* of [\d.]+ MiB"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    desk = tmp_path / "desk"
    fill(desk / "home", 40, 2_000_000, *[3000] * 4, directories=4)
    return desk


@pytest.fixture
def run(desk: Path) -> Run:
    run = runner(desk, ENVIRONMENT)
    run("repo", "init", "vault", "--no-encryption")
    run("backup", "home")
    return run


@pytest.mark.fuse
def test_a_terminal_shows_how_far_a_verification_is_and_ctrl_c_ends_it(desk: Path, run: Run) -> None:
    terminal = Terminal(desk, 90, 24)
    try:
        with mounted(desk / "vault", desk / "slow", read_rate=4_000_000):
            terminal.type("dunlin verify --read-data --repo slow; echo EXIT $?")
            shown = terminal.until(lambda screen: re.search(r"reading packs: [1-9]\d* of \d+ packs, .* MiB", screen))
            assert re.search(r"\[#*-*\] \d+%", shown)
            assert re.search(r"\d+s elapsed", shown)
            terminal.press("C-c")
            shown = terminal.until(lambda screen: "EXIT 130" in screen)
        assert "dunlin: interrupted by SIGINT" in shown
        assert "reading packs" not in terminal.visible
        assert terminal.cursor
    finally:
        terminal.close()
    # What had been read is remembered: the next one goes on.
    told = json.loads(run("verify", "--max-age", "1d", "--json").stdout)
    assert told["read_packs"] < told["packs"]


@pytest.mark.fuse
def test_a_prune_that_is_interrupted_removes_nothing_that_is_needed(desk: Path, run: Run) -> None:
    for number in range(0, 40, 10):
        (desk / "home" / f"d{number % 4}" / f"f{number}").unlink()
    run("backup", "home")
    with mounted(desk / "vault", desk / "slow", read_rate=3_000_000):
        running = program.start("forget", "--keep-last", "1", "--prune", "--repo", "slow", cwd=desk, env=ENVIRONMENT)
        until(lambda: leases(desk), running)
        running.send_signal(signal.SIGINT)
        code, words = ended(running, 60)
    assert code == 130, words
    assert "dunlin: interrupted by SIGINT" in words
    assert not list((desk / "vault/default/leases").iterdir())
    assert "all is whole" in run("verify", "--read-data").stdout
    run("prune")
    run("restore", "latest", "back")
    assert len(list((desk / "back").rglob("f*"))) == 36


def test_each_of_them_answers_programs_with_one_object_and_says_nothing_when_asked_to_be_quiet(
    desk: Path, run: Run
) -> None:
    for words in (["verify"], ["prune"], ["forget", "--keep-last", "1", "--prune"], ["repo", "rebuild-index"]):
        done = run(*words, "--json")
        told = json.loads(done.stdout)
        assert (told["status"], told["exit_code"], told["message"]) == ("completed", 0, "")
        assert done.stderr == ""
        quiet = run(*words, "--quiet")
        assert (quiet.stdout, quiet.stderr) == ("", "")
    assert json.loads(run("forget", "--keep-last", "1", "--prune", "--json").stdout)["prune"]["removed_objects"] == 0


def test_trouble_is_told_to_programs_and_to_who_is_quiet(desk: Path, run: Run) -> None:
    done = run("verify", "--json", "--repo", "nowhere", expect=1)
    told = json.loads(done.stdout)
    assert (told["status"], told["exit_code"]) == ("failed", 1)
    assert "there is no repository" in told["message"]
    pack = max((desk / "vault/default/packs").rglob("*"), key=lambda path: path.stat().st_size)
    pack.write_bytes(pack.read_bytes()[:-100])
    said = run("verify", "-q", expect=3).stdout
    assert f"damaged pack default/packs/{pack.parent.name}/{pack.name}" in said
    assert json.loads(run("verify", "--json", expect=3).stdout)["exit_code"] == 3
    assert run("repo", "rebuild-index", "-q", expect=3).stdout.startswith("damaged: ")


def test_a_log_tells_when_it_began_and_ended(run: Run) -> None:
    lines = [json.loads(line) for line in run("verify", "--log-format", "json").stderr.splitlines()]
    assert [each["event"] for each in lines] == ["run.begins", "run.ended"]
    assert lines[0]["message"] == "Verification started (repository=vault)"
