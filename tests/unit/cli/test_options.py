"""From a command line to `SyncOptions`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from dunlin import hashing, plan
from dunlin.cli import parameters
from dunlin.cli.options import ordered, sync_options
from dunlin.cli.sync import command as sync_command
from dunlin.errors import DunlinError
from dunlin.filters import Rule
from dunlin.jobs.options import Crawling, SyncOptions
from dunlin.stores.objects.answers import TIMEOUTS
from dunlin.stores.open import Far
from dunlin.transfer import Options as Transfer

Run = Callable[..., Result]

KEPT = ("links", "perms", "owner", "group", "devices", "specials", "hard_links", "attributes")


@pytest.fixture
def ask(dunlin: Run, engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., SyncOptions]:
    """The options that reach the engine for these words."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, command: str = "sync", env: dict[str, str] | None = None) -> SyncOptions:
        result = dunlin(command, *words, "a", "b", env=env)
        # The engine stops a watch after its first cycle.
        assert result.exit_code == (130 if engine.options[-1].watch else 0), result.stderr
        options: SyncOptions = engine.options[-1]
        return options

    return run


Ask = Callable[..., SyncOptions]


def test_the_lists_that_are_written_out_are_those_of_the_rooms() -> None:
    assert parameters.ALGORITHMS == hashing.ALGORITHMS
    assert parameters.COMPARE == plan.COMPARE


def test_without_options_the_rooms_decide(ask: Ask) -> None:
    options = ask()
    plain = SyncOptions("a", "b", user_state=options.user_state, runtime=options.runtime)
    assert options == plain
    assert options.user_state.endswith("dunlin")
    assert options.runtime


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], set()),
        (["-a"], {"links", "perms", "owner", "group", "devices", "specials"}),
        (["-rtl"], {"links"}),
        (["-a", "--no-o", "--no-group"], {"links", "perms", "devices", "specials"}),
        (["--no-owner", "-a"], {"links", "perms", "group", "devices", "specials"}),
        (["-a", "--no-D"], {"links", "perms", "owner", "group"}),
        (["-D"], {"devices", "specials"}),
        (["-a", "--no-devices"], {"links", "perms", "owner", "group", "specials"}),
        (["-A"], {"perms", "attributes"}),
        (["-A", "--no-perms"], {"attributes"}),
        (["-X"], {"attributes"}),
        (["-H"], {"hard_links"}),
        (["-pog"], {"perms", "owner", "group"}),
    ],
)
def test_metadata(ask: Ask, words: list[str], kept: set[str]) -> None:
    options = ask(*words)
    assert {name for name in KEPT if getattr(options.policy, name)} == kept
    for name in ("perms", "owner", "group", "hard_links"):
        assert getattr(options.transfer, name) is (name in kept)


def test_the_usual_rsync_line(ask: Ask) -> None:
    options = ask("-aHAXS", "--numeric-ids", "--delete", "--inplace")
    assert all(getattr(options.policy, name) for name in KEPT)
    assert (options.transfer.xattrs, options.transfer.acls, options.transfer.sparse) == (True, True, True)
    assert options.policy.delete
    assert options.policy.clear
    assert options.transfer.clear
    assert options.transfer.in_place


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ([], "size+mtime"),
        (["-c"], "checksum"),
        (["--size-only"], "size"),
        (["--compare", "mtime"], "mtime"),
        (["-c", "--compare", "checksum"], "checksum"),
    ],
)
def test_compare(ask: Ask, words: list[str], how: str) -> None:
    assert ask(*words).policy.compare == how
    assert ask(*words, command="check").policy.compare == how


def field(options: SyncOptions, path: str) -> Any:
    value: Any = options
    for name in path.split("."):
        value = getattr(value, name)
    return value


VALUES = [
    (["--modify-window", "1.5"], "policy.window", 1_500_000_000),
    (["-u"], "policy.update", True),
    (["--ignore-existing"], "policy.skip_existing", True),
    (["--trust-state"], "trust_state", True),
    (["--ctime-skip"], "ctime_skip", True),
    (["--share-snapshot"], "share_snapshot", True),
    (["--ctime-margin", "2m"], "ctime_margin", 120.0),
    (["--force-resync"], "force_resync", True),
    (["--force-resync"], "policy.force", True),
    (["--checksum", "md5"], "transfer.checksum", "md5"),
    (["--block-size", "1M"], "transfer.block_size", 1 << 20),
    (["--queue-capacity", "50"], "transfer.queue_capacity", 50),
    (["--disk-buffer-mb", "16"], "transfer.buffer_bytes", 16 << 20),
    (["--fsync", "file"], "transfer.fsync", "file"),
    (["--attempts", "5"], "transfer.attempts", 5),
    (["--workers", "24"], "crew.workers", 24),
    (["--movers", "3"], "crew.movers", 3),
    (["--threads", "4"], "crew.threads", 4),
    ([], "crawl", Crawling()),
    (["--crawl-parallelism", "16"], "crawl.parallelism", 16),
    (["--max-active-files", "2000"], "crawl.max_active_files", 2000),
    (["--throttle-engage-threshold", "90%"], "crawl.engage", 0.9),
    (["--throttle-engage-threshold", "50"], "crawl.release", 0.42),
    (["--throttle-release-threshold", "60"], "crawl.release", 0.6),
    (["--consistency-threshold", "3"], "crawl.consistency", 3),
    (["--adjustment-cooldown", "0"], "crawl.cooldown", 0.0),
    (["--scan-first"], "crew.scan_first", True),
    (["--mover-start", "spawn"], "crew.start", "spawn"),
    (["--bandwidth-limit", "off"], "bandwidth", None),
    (["--database", "x.db"], "state_db", "x.db"),
    (["--state-db", "none"], "state_db", "none"),
    (["--rescan"], "rescan", True),
    (["--lock-wait", "0"], "lock_wait", 0.0),
    ([], "timeout", 30.0),
    (["--timeout", "0"], "timeout", 0.0),
    (["--timeout", "1.5"], "timeout", 1.5),
    ([], "request_timeout", 300.0),
    (["--request-timeout", "1h"], "request_timeout", 3600.0),
    (["--lock-wait", "2m"], "lock_wait", 120.0),
    (["--delete-extras", "--delete-excluded"], "delete_excluded", True),
    (["--delete-extras", "--accept-source"], "accept_source", True),
    (["--max-delete", "0"], "max_delete", 0),
    (["--backup-dir", ".old"], "backup_dir", ".old"),
    (["--audit-log", "a.log"], "log.file", "a.log"),
    (["--log-file-format", "json"], "log.format", "json"),
    (["--log-file-size", "0"], "log.max_size", 0),
    (["--log-file-keep", "0"], "log.keep", 0),
    (["--report-file", "r"], "log.report_file", "r"),
    (["--profile", "p"], "log.profile", "p"),
    (["--profile", ""], "log.profile", None),
    (["-n"], "mode", "plan"),
    (["--min-size", "0"], "selection.min_size", 0),
    (["--max-size", "1K"], "selection.max_size", 1024),
    (["--max-depth", "2"], "selection.max_depth", 2),
    (["--ignore-case"], "selection.ignore_case", True),
    (["--batch-size", "5000"], "batch_size", 5000),
    (["--watch"], "watch.interval", 300.0),
    (["--watch", "--watch-interval", "2m"], "watch.interval", 120.0),
    (["--watch-interval", "2m"], "watch", None),
    (["--no-verify-checksums"], "verify", False),
    (["--verify-checksums"], "verify", True),
    (["--max-memory-mb", "256"], "limits.memory_bytes", 256 << 20),
    (["--max-cpu-percent", "80"], "limits.cpu_percent", 80),
    (["--auto-throttle"], "limits.auto_throttle", True),
    (["--no-auto-throttle"], "limits.auto_throttle", False),
    (["--throttle-threshold", "0.5"], "limits.throttle_threshold", 0.5),
    (["--link-speed", "12.5MB"], "limits.link_bytes", 12_500_000),
]


@pytest.mark.parametrize(("words", "path", "value"), VALUES, ids=lambda each: str(each))
def test_one_option(ask: Ask, words: list[str], path: str, value: Any) -> None:
    assert field(ask(*words), path) == value


def test_every_long_option_reaches_the_engine_or_the_output() -> None:
    """No option may be parsed and then forgotten: each is in the table above, or is for the output alone."""
    tested = {word for words, _, _ in VALUES for word in words if word.startswith("--")}
    elsewhere = {"archive", "links", "perms", "owner", "group", "devices_specials", "devices", "specials", "hard_links"}
    elsewhere |= {"xattrs", "acls", "sparse", "in_place", "compare", "compare_checksum", "size_only", "bwlimit"}
    elsewhere |= {"include", "exclude", "include_from", "exclude_from", "filter_from", "files_from", "min_age"}
    elsewhere |= {"max_age", "dry_run", "update"}
    elsewhere |= {"container", "output_path", "prefix", "config"}  # test_asking
    outward = (*parameters.metrics_options(), *parameters.notify_options())
    elsewhere |= {option.name for option in outward}  # test_outward
    elsewhere |= {option.name for option in parameters.credential_options()}  # test_asking, config/test_logins
    elsewhere |= {option.name for option in parameters.queue_options()}  # config/test_spread
    accepted = {"numeric_ids", "times", "recursive", "human_readable"}
    output = {"verbose", "quiet", "progress", "as_json", "log_level", "log_format"}
    for each in sync_command.params:
        if isinstance(each, click.Option) and each.name not in elsewhere | accepted | output:
            assert tested & set(each.opts), each.opts


def test_a_timetable(ask: Ask) -> None:
    schedule = ask("--bwlimit", "08:00,5M 19:00,off").bandwidth
    assert schedule is not None
    assert {rate for _, rate in schedule.entries} == {5 << 20, 0}


def test_check_looks_for_extras_unless_it_looks_one_way(ask: Ask) -> None:
    assert ask(command="check").mode == "check"
    assert ask(command="check").policy.delete
    assert not ask("--one-way", command="check").policy.delete


def test_the_order_of_filters_is_kept_between_options(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("- from-file\n")
    options = ask(
        "--exclude", "1", "--include=2", "-a", "--filter-from", "rules", "--exclude", "3", "--include", "--exclude"
    )
    assert options.selection.rules == (
        Rule(False, "1"), Rule(True, "2"), Rule(False, "from-file"), Rule(False, "3"), Rule(True, "--exclude"),
    )  # fmt: skip


def test_filters_of_the_environment_come_last_one_per_line(ask: Ask) -> None:
    options = ask("--include", "a b", env={"DUNLIN_EXCLUDE": "x y\n*.o"})
    assert options.selection.rules == (Rule(True, "a b"), Rule(False, "x y"), Rule(False, "*.o"))


FILTERS = ["--include", "--exclude", "--include-from"]
FILTER_VALUES = ["x", "-", "--", "-a", "--include=y"]
SINGLE = ["--include=p", "--exclude=", "-a", "-nv", "--no-links", "plain", "--log-file=--include", "-"]
WORDS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(FILTERS), st.sampled_from(FILTER_VALUES)),
        st.tuples(st.sampled_from(["--log-file", "--backup-dir"]), st.sampled_from(["x", "--include", "--exclude=z"])),
        st.tuples(st.sampled_from(SINGLE)),
        st.sampled_from([("-@", "1"), ("-n@2",), ("-@", "2m")]),
    ),
    max_size=8,
)


@given(WORDS, st.booleans())
def test_the_second_reading_finds_what_click_found(words: list[tuple[str, ...]], ended: bool) -> None:
    arguments = [*(word for each in words for word in each), *(["--", "--include", "z"] if ended else [])]
    try:
        context = sync_command.make_context("sync", list(arguments))
    except click.UsageError:
        return
    found = ordered(arguments, sync_command.params, parameters.FILTERS)
    for name in parameters.FILTERS:
        assert [value for option, value in found if option == name] == list(context.params[name] or ())


def test_ages_are_before_now_and_the_words_are_kept() -> None:
    now = 1_000_000 * 10**9
    options = sync_options({"places": ("a", "b"), "min_age": "1h", "max_age": "7d"}, now=now)
    assert options.selection.older_than == now - 3600 * 10**9
    assert options.selection.newer_than == now - 7 * 86400 * 10**9
    assert options.selection.ages == ("1h", "7d")


def test_a_list_of_files(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a/b\n./c\n")
    assert ask("--files-from", "list").selection.files == {"a/b", "c"}


def test_a_missing_list_is_named() -> None:
    with pytest.raises(DunlinError, match="missing-list"):
        sync_options({"places": ("a", "b"), "files_from": "missing-list"})


ENVIRONMENT = [
    ({"DUNLIN_BLOCK_SIZE": "1M"}, [], "transfer.block_size", 1 << 20),
    ({"DUNLIN_BLOCK_SIZE": "1M"}, ["--block-size", "2M"], "transfer.block_size", 2 << 20),
    ({"DUNLIN_LINKS": "1"}, [], "policy.links", True),
    ({"DUNLIN_LINKS": "yes"}, ["--no-links"], "policy.links", False),
    ({"DUNLIN_LINKS": ""}, ["-a"], "policy.links", False),
    ({"DUNLIN_WORKERS": "0"}, [], "crew.workers", 0),
    ({"DUNLIN_WORKERS": "8"}, [], "crew.workers", 8),
    ({"DUNLIN_PERFORMANCE_MAX_MEMORY_MB": "0"}, [], "limits.memory_bytes", 0),
    ({"DUNLIN_WATCH_ENABLED": "true", "DUNLIN_WATCH_INTERVAL": "1m"}, [], "watch.interval", 60.0),
    ({"DUNLIN_CHECKSUM": ""}, [], "transfer.checksum", "none"),
    ({"DUNLIN_FSYNC": ""}, [], "transfer.fsync", "none"),
    ({"DUNLIN_TIMEOUT": "90"}, [], "timeout", 90.0),
    ({"DUNLIN_TIMEOUT": ""}, [], "timeout", 0.0),
    ({"DUNLIN_REQUEST_TIMEOUT": "0"}, [], "request_timeout", 0.0),
    ({"DUNLIN_SYNC_REQUEST_TIMEOUT": "10m"}, ["--request-timeout", "20m"], "request_timeout", 1200.0),
    ({"DUNLIN_STATE_DB": ""}, [], "state_db", "none"),
    ({"DUNLIN_BWLIMIT": ""}, [], "bandwidth", None),
    ({"DUNLIN_LOG_FILE": ""}, [], "log.file", None),
    ({"DUNLIN_DRY_RUN": "true"}, [], "mode", "plan"),
]


@pytest.mark.parametrize(("env", "words", "path", "value"), ENVIRONMENT, ids=lambda each: str(each))
def test_environment(ask: Ask, env: dict[str, str], words: list[str], path: str, value: Any) -> None:
    assert field(ask(*words, env=env), path) == value


def test_defaults_in_the_help_are_true() -> None:
    text = {each.flag: each.help or "" for _, options in sync_command.sections() for each in options}
    default = Transfer()
    assert f"{default.checksum} (default)" in text["--checksum"]
    assert f"{default.fsync} (default" in text["--fsync"]
    assert f"Default: {default.block_size >> 20}M." in text["--block-size"]
    assert f"Default: {default.queue_capacity}." in text["--queue-capacity"]
    assert f"Default: {default.buffer_bytes >> 20}." in text["--disk-buffer-mb"]
    assert f"Default: {default.attempts}." in text["--attempts"]
    whole, far = SyncOptions("a", "b"), Far()
    assert (far.idle, far.total) == (whole.timeout, whole.request_timeout) == TIMEOUTS
    assert f"Default: {whole.timeout:g}." in text["--timeout"]
    assert f"Default: {whole.request_timeout:g}." in text["--request-timeout"]
