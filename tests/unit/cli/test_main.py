"""The program: what it says of itself, and what it says when it is spoken to in the wrong way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from dunlin import __version__
from dunlin.cli import base, habits
from dunlin.cli.main import COMMANDS, complain, main
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.test_architecture import script

Run = Callable[..., Result]

HEAVY = ("rich", "msgspec", "apsw", "awscrt", "blake3", "xxhash", "psutil", "yaml", "tomllib", "dunlin.config.schema")


def commands() -> list[base.Command]:
    context = click.Context(main, info_name="dunlin")
    found = [main.get_command(context, name) for name in COMMANDS]
    return [each for each in found if isinstance(each, base.Command)]


def test_every_command_is_there_with_the_help_that_is_listed() -> None:
    assert {each.name: each.short_help for each in commands()} == COMMANDS


@pytest.mark.parametrize("words", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS), ["sync", "-h"]])
def test_help_shows_the_exit_codes_and_an_example(dunlin: Run, words: list[str]) -> None:
    result = dunlin(*words)
    assert result.exit_code == 0
    for code, meaning in base.EXIT_CODES:
        assert re.search(rf"^  {code} +{re.escape(meaning[:20])}", result.stdout, re.MULTILINE)
    examples = result.stdout.partition("Examples:")[2]
    assert examples.strip().startswith("dunlin ")


@pytest.mark.parametrize("command", commands(), ids=lambda each: each.name)
def test_every_option_has_help_and_a_section(command: base.Command) -> None:
    shown = [option for _, options in command.sections() for option in options]
    assert shown
    for option in shown:
        assert (option.help or "").endswith("."), option.flag
        assert option.section != "Other", option.flag


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["sync", "--help"], ["status", "--help"], ["sync", "a"]])
def test_what_is_asked_often_loads_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\nfrom dunlin.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"


def test_version(dunlin: Run) -> None:
    assert dunlin("--version").stdout == f"dunlin {__version__}\n"
    assert re.search(r"^apsw +3\.", dunlin("version").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["snyc", "a", "b"], "did you mean sync?"),
        (["rsync", "a", "b"], "did you mean `dunlin sync`?"),
        (["archive", "a"], "did you mean `dunlin backup`?"),
        (["forgt"], "did you mean forget?"),
        (["repo", "inti"], "did you mean init?"),
        (["backup", "a", "--keep-last", "3"], "there is no option --keep-last"),
        (["forget", "--keep-last", "x", "--repo", "a"], "for --keep-last: 'x' is no whole number"),
        (["pause"], "did you mean `dunlin control pause`?"),
        (["/tmp", "/var"], "did you mean `dunlin sync SOURCE DESTINATION`?"),
        (["xyzzy"], "there is no command xyzzy"),
        (["sync", "--bwlimt", "3M"], "did you mean --bwlimit?"),
        (["sync", "-avz", "a", "b"], habits.HABITS["-z"]),
        (["sync", "--transfers", "4", "a", "b"], "use --workers N"),
        (["check"], "SOURCE and DESTINATION are missing"),
        (["sync", "a"], "DESTINATION is missing"),
        (["sync", "a", "b", "c", "d"], "more than SOURCE and DESTINATION: c d"),
        (["sync", "", "b"], "SOURCE is empty"),
        (["sync", "a", "./a/"], "are the same"),
        (["check", "a", "file://a"], "are the same"),
        (["sync", "--workers", "0", "a", "b"], "for --workers: '0' is no whole number from 1 to 1,024"),
        (["sync", "--workers", "x", "a", "b"], "'x' is no whole number"),
        (["sync", "--block-size", "5X", "a", "b"], "for --block-size: '5X' is no size"),
        (["sync", "--block-size", "100", "a", "b"], "less than 4096"),
        (["sync", "--bwlimit", "25:00,5M", "a", "b"], "there is no such time of day"),
        (["sync", "--max-age", "soon", "a", "b"], "'soon' is no age for --max-age"),
        (["sync", "--exclude", "[a", "a", "b"], "[ without ]"),
        (["sync", "-c", "--size-only", "a", "b"], "-c and --size-only ask for different comparisons"),
        (["sync", "--delete-excluded", "a", "b"], "give --delete-extras too"),
        (["sync", "--trust-state", "--state-db", "none", "a", "b"], "needs a state"),
        (["sync", "--min-size", "2K", "--max-size", "1K", "a", "b"], "no file could take part"),
        (["sync", "--log-file"], "--log-file"),
        (["control"], "what shall the run do?"),
        (["control", "puase"], "did you mean pause?"),
        (["control", "bwlimit"], "bwlimit needs a rate"),
        (["control", "bwlimit", "fast"], "'fast' is no bandwidth limit"),
        (["control", "stop", "now"], "stop takes nothing more"),
    ],
)
def test_wrong_words_get_one_clear_line_and_exit_code_1(
    dunlin: Run, engine: object, words: list[str], said: str
) -> None:
    result = dunlin(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("dunlin: ")
    assert said in line


def test_a_wrong_variable_is_named(dunlin: Run, engine: object) -> None:
    result = dunlin("sync", "a", "b", env={"DUNLIN_WORKERS": "many"})
    assert result.exit_code == 1
    assert "for DUNLIN_WORKERS: 'many' is no whole number" in result.stderr


def test_nothing_at_all_shows_the_help(dunlin: Run) -> None:
    result = dunlin()
    assert result.exit_code == 1
    assert "Commands:" in result.stderr


def test_no_habit_is_an_option_of_ours() -> None:
    [sync] = [each for each in commands() if each.name == "sync"]
    names = {name for each in sync.params for name in (*each.opts, *each.secondary_opts)}
    assert names & set(habits.HABITS) == set()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DunlinError("read", "/x", ErrorKind.DENIED, "No", "ask"), 2, "cannot read /x: No; ask"),
        (DunlinError("take", "", ErrorKind.LOCKED, "busy"), 1, "cannot take: busy"),
        (DunlinError("stop", "", ErrorKind.INTERRUPTED, "asked"), 130, "cannot stop: asked"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (TypeError("a\nb"), 2, "a fault of dunlin itself: TypeError: a b; --log-level debug shows where"),
    ],
)  # fmt: skip
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str) -> None:
    assert complain(error, traceback=False) == code
    assert capsys.readouterr().err == f"dunlin: {line}\n"


@pytest.mark.parametrize(
    ("words", "env", "shown"),
    [
        ([], {}, False),
        (["--log-level", "debug"], {}, True),
        (["--log-level=debug"], {}, True),
        ([], {"DUNLIN_LOG_LEVEL": "debug"}, True),
        (["--log-level", "info"], {"DUNLIN_LOG_LEVEL": "debug"}, False),
    ],
)
def test_a_traceback_is_for_those_who_ask(
    dunlin: Run, engine: object, words: list[str], env: dict[str, str], shown: bool
) -> None:
    def fault(stop: object, report: object) -> None:
        raise TypeError("oh")

    engine.act = fault  # type: ignore[attr-defined]
    result = dunlin("sync", *words, "a", "b", env=env)
    assert result.exit_code == 2
    assert ("Traceback" in result.stderr) is shown
    assert "TypeError: oh" in result.stderr


def test_a_reader_who_goes_away_ends_status_quietly() -> None:
    command = f"{sys.executable} -m dunlin version | true"
    result = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.strip() in ("0", "1")  # 0 if the pipe was still open when everything had been written


FULL = f"{sys.executable} -m dunlin"


@pytest.mark.parametrize("words", ["version", "sync -n {0}/a {0}/b", "sync --json -n {0}/a {0}/b"])
def test_an_output_without_room_is_an_error(words: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "x").mkdir(parents=True)
    command = f"{FULL} {words.format(tmp_path)} >/dev/full"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("dunlin: cannot write the output: No space left on device\n") == 1
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_that_the_encoding_lacks_are_escaped(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "\u6f22").mkdir(parents=True)
    words = [sys.executable, "-m", "dunlin", "sync", "-n", "a", "b"]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    assert "make directory \\u6f22" in result.stdout


def test_the_reference_page_is_up_to_date() -> None:
    docs = script("docs_cli")
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), "run scripts/docs_cli.py"


def test_the_reference_page_names_every_option() -> None:
    page = script("docs_cli").page()
    for command in commands():
        for each in command.params:
            if isinstance(each, base.Option) and not each.hidden:
                for name in (*each.shown, *each.aliases):
                    assert re.search(rf"`[^`]*(?<![\w-]){re.escape(name)}(?![\w-])[^`]*`", page), name


def test_the_page_of_exit_codes_has_them_all() -> None:
    page = (script("docs_cli").PAGE.parent.parent / "exit-codes.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == [str(code) for code, _ in base.EXIT_CODES]
