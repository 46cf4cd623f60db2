"""What is synced, with whose login, and which layer of the configuration wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dunlin.cli import extras
from dunlin.cli.asking import NO_CONFIGURATION
from dunlin.cli.main import main
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import options as jobs
from dunlin.jobs.options import SyncOptions
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Report
from dunlin.stores.login import Login

Run = Callable[..., Result]
KEY = "TWFkZVVwS2V5"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory, with no configuration in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(engine: Any, dunlin: Run, *words: str, code: int = 0, **more: Any) -> list[SyncOptions]:
    engine.options.clear()
    result = dunlin(*words, **more)
    stopped = not code and any(each.watch for each in engine.options)
    assert result.exit_code == (130 if stopped else code), result.output
    return list(engine.options)


def pairs(options: list[SyncOptions]) -> list[tuple[str, str]]:
    return [(each.source, each.destination) for each in options]


def test_a_container_alone(dunlin: Run, engine: Any, home: Path) -> None:
    [one] = asked(engine, dunlin, "sync", "--container", "c", "--account-name", "a", env={"DUNLIN_ACCOUNT_KEY": KEY})
    assert (one.source, one.destination, one.begin) == ("az://c", "./data", "")
    assert one.login_source == Login({"account_name": "a", "account_key": KEY})
    assert not one.login_target.given()
    [one] = asked(engine, dunlin, "sync", "--container", "c", "--output-path", "out", "--prefix", "data/20")
    assert (one.source, one.destination, one.begin) == ("az://c", "out", "data/20")


def test_several_containers_have_a_directory_each(dunlin: Run, engine: Any, home: Path) -> None:
    found = asked(engine, dunlin, "sync", "--container", "c", "--container", "d", "--output-path", "out")
    assert pairs(found) == [("az://c", "out/c"), ("az://d", "out/d")]
    found = asked(engine, dunlin, "sync", env={"DUNLIN_CONTAINER": "c\nd"})
    assert pairs(found) == [("az://c", "./data/c"), ("az://d", "./data/d")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--container", "c", "a", "b"], "--container and SOURCE DESTINATION are two ways to say what is synced"),
        (["--prefix", "c", "a", "b"], "--prefix and SOURCE DESTINATION"),
        (["--output-path", "c", "a", "b"], "--output-path and SOURCE DESTINATION"),
        (["--container", "c/d"], "is no name of a container"),
        (["--container", ""], "is no name of a container"),
        (["--container", "c", "--container", "c"], "the container c is given twice"),
        (["--connection-string", "@none"], "--container is missing"),
        (["--prefix", "x"], "--container is missing"),
        (["--container", "c", "--connection-string", "@none"], "No such file"),
        (["--container", "c", "--batch-size", "0"], "for --batch-size: '0' is no whole number from 1 to 5,000"),
        (["--container", "c", "--watch-interval", "0"], "for --watch-interval: '0' is less than a second"),
        (["--container", "c", "--max-cpu-percent", "101"], "for --max-cpu-percent"),
        (["--container", "c", "--max-memory-mb", "8"], "for --max-memory-mb"),
        (["--container", "c", "--throttle-threshold", "2"], "for --throttle-threshold: '2' is no number above 0"),
        (["--container", "c", "--watch", "-n"], "--watch repeats a run"),
        (["--config", "none.yaml"], "cannot read the configuration none.yaml: No such file or directory"),
        (["loc://off/x", "b"], "there is no location off"),
        (["https://a.blob.core.windows.net/c?sig=MadeUp", "https://a.blob.core.windows.net/c"], "are the same"),
        (["--conatiner", "c"], "did you mean --container?"),
    ],
)
def test_wrong_words_are_one_line(dunlin: Run, engine: Any, home: Path, words: list[str], said: str) -> None:
    result = dunlin("sync", *words)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert said in line
    assert "MadeUp" not in line
    assert engine.options == []


def test_nothing_given_is_the_message_of_getblobz_and_the_help(dunlin: Run, engine: Any, home: Path) -> None:
    result = dunlin("sync")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == NO_CONFIGURATION
    assert NO_CONFIGURATION == (
        "Error: No configuration found. Please provide --config, create dunlin.yaml in current directory, or pass "
        "required flags (--container, --connection-string)"
    )
    assert "Usage: " in result.stderr
    assert "--connection-string" in result.stderr.partition("Usage: ")[2]


def test_a_file_that_does_not_say_what_is_synced(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text("sync:\n  workers: 3\n")
    for command in ("sync", "check"):
        result = dunlin(command)
        assert result.exit_code == 1
        assert "neither the command line nor dunlin.yaml says what is synced" in result.stderr
    assert asked(engine, dunlin, "sync", "a", "b")[0].crew.workers == 3


FILE = """\
azure:
  account_name: acct
  account_key: TWFkZVVwS2V5
sync:
  container: fromfile
  output_path: out
  prefix: p/
  exclude: ['*.o']
  workers: 4
watch:
  enabled: true
  interval: 2m
"""


def test_a_file_alone_is_enough_and_the_command_line_wins(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text(FILE)
    (home / "dunlin.yaml").chmod(0o600)
    [one] = asked(engine, dunlin, "sync")
    assert (one.source, one.destination, one.begin) == ("az://fromfile", "out", "p/")
    assert one.crew.workers == 4
    assert one.watch == jobs.Watch(120.0)
    assert [rule.pattern for rule in one.selection.rules] == ["*.o"]
    assert one.login_source == Login({"account_name": "acct", "account_key": KEY})
    [one] = asked(engine, dunlin, "sync", "--container", "c", "--workers", "5", "--no-watch", "--exclude", "x")
    assert (one.source, one.destination, one.begin) == ("az://c", "out", "p/")
    assert (one.crew.workers, one.watch) == (5, None)
    [one] = asked(engine, dunlin, "sync", "a", "b")
    assert (one.source, one.destination, one.begin) == ("a", "b", "")
    [one] = asked(engine, dunlin, "sync", env={"DUNLIN_WORKERS": "0", "DUNLIN_OUTPUT_PATH": "env"})
    assert (one.crew.workers, one.destination) == (0, "env")
    [one] = asked(engine, dunlin, "check")
    assert (one.mode, one.source, one.destination) == ("check", "az://fromfile", "out")
    for words in (["--config", "none", "sync"], ["--config", "", "sync"]):
        assert dunlin("sync", *words[:2]).stderr.startswith(NO_CONFIGURATION)


JOBS = """\
locations:
  off: {url: s3://b/p, access_key_id: i, secret_access_key: TWFkZVVwS2V5, endpoint: http://e}
sync: {workers: 4}
azure: {account_name: acct, account_key: TWFkZVVwS2V5}
jobs:
  - {source: /x, destination: loc://off/y, workers: 5, exclude: ['*.o'], delete_extras: true}
  - {container: c, prefix: q, source_account_name: other, account_key: T3RoZXI=}
  - {container: [d, e], output_path: /out, archive: true}
"""


def test_jobs(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text(JOBS)
    one, two, three, four = asked(engine, dunlin, "sync")
    assert pairs([one, two, three, four]) == [
        ("/x", "s3://b/p/y"), ("az://c", "./data/c"), ("az://d", "/out/d"), ("az://e", "/out/e"),
    ]  # fmt: skip
    assert [each.crew.workers for each in (one, two, three, four)] == [5, 4, 4, 4]
    assert [each.policy.delete for each in (one, two, three, four)] == [True, False, False, False]
    assert [each.policy.links for each in (one, two, three, four)] == [False, False, True, True]
    assert [len(each.selection.rules) for each in (one, two, three, four)] == [1, 0, 0, 0]
    assert one.login_target == Login({"access_key_id": "i", "secret_access_key": KEY, "endpoint": "http://e"})
    assert two.login_source == Login({"account_name": "other", "account_key": "T3RoZXI="})
    assert three.login_source == Login({"account_name": "acct", "account_key": KEY})
    assert two.begin == "q"
    over = asked(engine, dunlin, "sync", "--workers", "9", "--exclude", "x")
    assert [each.crew.workers for each in over] == [9] * 4
    assert pairs(asked(engine, dunlin, "sync", "a", "b")) == [("a", "b")]
    assert pairs(asked(engine, dunlin, "sync", "--container", "z")) == [("az://z", "./data")]
    result = dunlin("sync", "--prefix", "x")
    assert "--prefix goes with --container" in result.stderr


def test_a_job_that_is_wrong_only_together_names_its_line(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text("jobs:\n  - source: a\n    destination: b\n    block_size: 100\n")
    result = dunlin("sync")
    assert result.exit_code == 1
    assert "jobs[1].block_size (dunlin.yaml:4): '100' is less than 4096 bytes" in result.stderr


def test_jobs_that_would_delete_each_others_files(dunlin: Run, engine: Any, home: Path) -> None:
    entries = "".join(f"  - {{source: {name}, destination: out}}\n" for name in "ab")
    (home / "dunlin.yaml").write_text(f"jobs:\n{entries}")
    assert len(asked(engine, dunlin, "sync")) == 2
    result = dunlin("sync", "--delete-extras")
    assert result.exit_code == 1
    assert "each would delete what the others brought" in result.stderr


@pytest.mark.parametrize(("one", "other", "right"), [
    ("destination: out, delete_extras: true", "destination: out", False),
    ("destination: out, delete_extras: true", "destination: ./x/../out/sub", False),
    ("destination: out, delete_extras: true", "destination: link/sub", False),
    ("destination: out, delete_extras: true", "destination: 'file://localhost{here}/out/s%75b'", False),
    ("destination: out", "destination: out/sub, delete_extras: true", True),
    ("destination: out, delete_extras: true", "destination: out2", True),
    ("destination: 's3://bkt/p', delete_extras: true", "destination: 's3://bkt/p/q/'", False),
    ("destination: 's3://bkt', delete_extras: true", "destination: 's3://bkt/p'", False),
    ("destination: 's3://bkt/p', delete_extras: true", "destination: 's3://bkt/p2'", True),
    ("destination: 's3://bkt', delete_extras: true", "destination: 'gs://bkt/p'", True),
    ("destination: 's3://bkt', delete_extras: true",
     "destination: 's3://bkt/p', dest_s3_endpoint: 'http://127.0.0.1:1'", True),
    ("destination: out, delete_extras: true, exclude: [/a/sub/]", "destination: out/a/sub/b", True),
    ("destination: out, delete_extras: true, exclude: [/a/sub/], delete_excluded: true",
     "destination: out/a/sub/b", False),
    ("destination: out, delete_extras: true, exclude: [/out/]", "destination: out", False),
    ("destination: out, delete_extras: true", "destination: 's3://'", True),
])  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_a_job_may_not_delete_what_lies_in_the_destination_of_another(
    dunlin: Run, engine: Any, home: Path, one: str, other: str, right: bool, turned: bool
) -> None:
    (home / "out").mkdir()
    (home / "link").symlink_to("out")
    jobs = [f"  - {{source: x, {text.replace('{here}', str(home))}}}\n" for text in (one, other)]
    (home / "dunlin.yaml").write_text(f"jobs:\n{''.join(jobs[::-1] if turned else jobs)}")
    result = dunlin("sync")
    assert (result.exit_code, len(engine.options)) == ((0, 2) if right else (1, 0)), result.output
    assert ("would delete what the other" in result.stderr) is not right


def test_a_check_of_nested_destinations_deletes_nothing(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text("jobs:\n  - {source: a, destination: x}\n  - {source: b, destination: x/y}\n")
    assert len(asked(engine, dunlin, "check")) == 2


@pytest.mark.parametrize(("codes", "code", "runs"), [
    ([0, 0], 0, 2), ([23, 0], 23, 2), ([0, 24], 24, 2), ([23, 2], 2, 2), ([24, 23], 23, 2), ([130, 0], 130, 1),
])  # fmt: skip
def test_the_worst_end_of_several_runs_counts(
    dunlin: Run, engine: Any, home: Path, codes: list[int], code: int, runs: int
) -> None:
    ends = iter(codes)
    engine.act = lambda stop, report: jobs.Result(Stats(), "failed", "", next(ends))
    assert len(asked(engine, dunlin, "sync", "--container", "c", "--container", "d", code=code)) == runs


@pytest.mark.parametrize("more", [(), ("--json",), ("-q",)])
def test_a_run_that_cannot_begin_does_not_keep_the_next_ones_from_it(
    dunlin: Run, engine: Any, home: Path, more: tuple[str, ...]
) -> None:
    def act(stop: Stop, report: Report) -> jobs.Result:
        if len(engine.options) == 2:
            return jobs.Result(Stats(), "completed", "", 23)
        raise DunlinError("read the source", f"/{len(engine.options)}", ErrorKind.NOT_FOUND, "gone")

    engine.act = act
    containers = [word for name in ("one", "two", "three") for word in ("--container", name)]
    result = dunlin("sync", *more, *containers)
    assert (result.exit_code, len(engine.options)) == (1, 3)
    said = [line for line in result.stderr.splitlines() if line.startswith("dunlin: cannot")]
    assert said == [f"dunlin: cannot read the source /{n}: gone" for n in (1, 3)]


@pytest.mark.parametrize("missing", [False, True])
def test_nothing_follows_a_run_that_was_stopped_or_begins_again(
    dunlin: Run, engine: Any, home: Path, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(stop: Stop, report: Report) -> None:
        kind = ErrorKind.USAGE if missing else ErrorKind.INTERRUPTED
        raise DunlinError("open", "az://one", kind, "no")

    engine.act = act
    monkeypatch.setattr(extras, "addable", lambda error: missing)
    monkeypatch.setattr(extras, "begin_again", lambda error: 7 if missing else None)
    result = dunlin("sync", "--container", "one", "--container", "two")
    assert (result.exit_code, len(engine.options)) == (7 if missing else 130, 1)


def test_a_secret_on_the_command_line_is_warned_of_once_and_not_repeated(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "key").write_text(KEY)
    words = ["sync", "--container", "c", "--account-name", "a"]
    result = dunlin(*words, "--account-key", KEY, "--dest-s3-secret-access-key", KEY)
    [line] = [line for line in result.stderr.splitlines() if "list of processes" in line]
    assert "WARN" in line
    assert "--account-key and --dest-s3-secret-access-key" in line
    assert "DUNLIN_ACCOUNT_KEY" in line
    assert KEY not in result.output
    for quiet in ([*words, "--account-key", "@key"], [*words, "--use-azure-cli"]):
        result = dunlin(*quiet)
        assert result.exit_code == 0
        assert "processes" not in result.output
    result = dunlin("sync", "https://a.blob.core.windows.net/c?sv=1&sig=MadeUp", "out")
    assert "the secret in the URL" in result.stderr
    assert "MadeUp" not in result.output
    assert engine.options[-1].login_source["sas_token"] == "sv=1&sig=MadeUp"
    assert "MadeUp" not in repr(engine.options[-1])


def test_old_variables_are_read_with_a_notice(dunlin: Run, engine: Any, home: Path) -> None:
    env = {"getblobz_CONTAINER": "c", "getblobz_OUTPUT_PATH": "o", "getblobz_WORKERS": "3", "getblobz_ACCOUNT_KEY": KEY,
           "getblobz_ACCOUNT_NAME": "a"}  # fmt: skip
    result = dunlin("sync", env=env)
    assert result.exit_code == 0
    [one] = engine.options
    assert (one.source, one.destination, one.crew.workers) == ("az://c", "o", 3)
    assert one.login_source["account_key"] == KEY
    assert "getblobz_WORKERS is read as DUNLIN_WORKERS" in result.stderr
    assert KEY not in result.output


def test_two_stores_of_one_kind(dunlin: Run, engine: Any, home: Path) -> None:
    [one] = asked(
        engine, dunlin, "sync", "s3://a", "s3://b", "--s3-region", "r", "--source-s3-anonymous", "--dest-s3-endpoint",
        "http://e", env={"DUNLIN_DEST_S3_ACCESS_KEY_ID": "i", "DUNLIN_DEST_S3_SECRET_ACCESS_KEY": KEY},
    )  # fmt: skip
    assert one.login_source == Login({"region": "r", "anonymous": "true"})
    assert one.login_target == Login(
        {"region": "r", "endpoint": "http://e", "access_key_id": "i", "secret_access_key": KEY}
    )


def test_the_section_sync_is_for_sync_and_check_alone(dunlin: Run, engine: Any, home: Path) -> None:
    (home / "dunlin.yaml").write_text("sync: {json: true}\nlogging: {level: error}\n")
    assert dunlin("sync", "a", "b").stdout.startswith("{")
    assert dunlin("config", "show").stdout.startswith("dunlin.yaml\n")
    assert dunlin("config", "show", env={"DUNLIN_JSON": "1"}).stdout.startswith("{")


# ---- flags > environment > job > file > default, through the whole program ----

VALUES: dict[str, tuple[str, Callable[[SyncOptions], Any], list[Any], Any]] = {
    "--workers": ("sync.workers", lambda o: o.crew.workers, [1, 2, 3, 4], 0),
    "--compare": ("sync.compare", lambda o: o.policy.compare, ["size", "mtime", "checksum", "size"], "size+mtime"),
    "--watch-interval": ("watch.interval", lambda o: o.watch and o.watch.interval, [1, 2, 3, 4], 300.0),
    "--state-db": ("state.database", lambda o: o.state_db, ["a", "b", "c", "d"], None),
    "--max-cpu-percent": ("performance.max_cpu_percent", lambda o: o.limits.cpu_percent, [1, 2, 3, 4], 0),
    "--archive": ("sync.archive", lambda o: o.policy.links, [True, False, True, False], False),
    "--account-name": ("azure.account_name", lambda o: o.login_source["account_name"], list("abcd"), ""),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.sets(st.integers(0, 3)), min_size=1))
def test_precedence(engine: Any, tmp_path_factory: pytest.TempPathFactory, said: dict[str, set[int]]) -> None:
    flags: list[str] = ["--watch"]
    env: dict[str, str] = {}
    job: dict[str, Any] = {"container": "c"}
    file: dict[str, dict[str, Any]] = {}
    for flag, layers in said.items():
        path, _, values, _ = VALUES[flag]
        section, name = path.split(".")
        bare = flag.lstrip("-").replace("-", "_")
        for layer in layers:
            value = values[layer]
            if layer == 0:
                flags += [flag] if value is True else [flag, str(value)]
            elif layer == 1:
                env[f"DUNLIN_{bare.upper()}"] = str(value)
            elif layer == 2:
                job[bare] = value
            else:
                file.setdefault(section, {})[name] = value
    import json

    path_of_file = tmp_path_factory.mktemp("precedence") / "dunlin.yaml"
    path_of_file.write_text(json.dumps({**file, "jobs": [job]}))  # JSON is YAML
    engine.options.clear()
    result = CliRunner().invoke(main, ["sync", "--config", str(path_of_file), *flags], env=env)
    assert result.exit_code == 130, result.output
    [options] = engine.options
    for flag, (_, read, values, default) in VALUES.items():
        layers = said.get(flag, set())
        assert read(options) == (values[min(layers)] if layers else default), flag
