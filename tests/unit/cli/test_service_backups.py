"""From the words of a job with a repository to the options of its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.backup.retention import FOREVER, Policy
from dunlin.backup.verified import Subset
from dunlin.cli.service_backups import ask, keys_of
from dunlin.config.file import load
from dunlin.config.service import Tenant
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError
from dunlin.web.backups import Asked
from dunlin.web.kinds import KEEPS

TENANT = Tenant("acme", (), ())
LISTED = TENANT._replace(listed=True)
BACKUP = {"repository": "vault", "source": "/srv/Docs"}
RESTORE = {"repository": "vault", "destination": "/srv/back"}


def asked(kind: str, options: dict[str, Any], tenant: Tenant = TENANT) -> Asked:
    return ask(kind, options, tenant, Settings(environ={}))


def test_a_backup_is_the_tenants_and_of_the_source() -> None:
    found = asked("backup", {**BACKUP, "tag": ["x", "y", "x"], "exclude": "*.tmp", "bwlimit": "5M", "force": True,
                             "xattrs": False, "attempts": 7, "timeout": 9})  # fmt: skip
    options = found.options
    assert (found.repository, found.share, found.dry) == ("vault", "docs", False)
    assert (options.tenant, options.source, options.share, options.tags) == ("acme", "/srv/Docs", "", ("x", "y"))
    assert (options.force, options.xattrs, options.attempts, options.content) == (True, False, 7, True)
    assert [rule.pattern for rule in options.selection.rules] == ["*.tmp"]
    assert options.bandwidth is not None
    assert options.timeout == 9


def test_a_scan_reads_nothing() -> None:
    assert not asked("scan", BACKUP).options.content


def test_neither_file_nor_environment_says_whose_a_backup_is_or_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text("backup: {tenant: other, share: theirs, repository: /x, password_file: y, cache: none}")
    for name in ("TENANT", "SHARE", "TAG", "KEEP_LAST", "KEEP_TAG", "DELETE", "DRY_RUN", "STATE_DB", "REPORT_FILE"):
        monkeypatch.setenv(f"DUNLIN_{name}", "1")
    below = Settings(load(str(file)))
    found = ask("backup", BACKUP, TENANT, below).options
    assert (found.tenant, found.share, found.tags, found.dry) == ("acme", "", (), False)
    restored = ask("restore", RESTORE, TENANT, below)
    assert (restored.snapshot, restored.options.policy.delete, restored.options.mode) == ("latest", False, "sync")
    assert (restored.options.state_db, restored.options.log.report_file) == ("none", None)
    forgotten = ask("forget", {"repository": "vault", "keep_daily": 2}, TENANT, below).options
    assert (forgotten.policy, forgotten.tenant, forgotten.share) == (Policy(daily=2), "acme", "")


def test_a_restore_is_a_sync_that_spawns_and_makes_the_way() -> None:
    found = asked("restore", {**RESTORE, "snapshot": "2026", "path": "/a//b/", "overwrite": "never", "verify": True,
                              "delete": True, "share": "docs", "workers": 3})  # fmt: skip
    assert (found.snapshot, found.path, found.overwrite, found.verify, found.share) == (
        "2026", "a/b", "never", True, "docs"
    )  # fmt: skip
    options = found.options
    assert (options.crew.start, options.make_parents, options.policy.delete, options.crew.workers) == (
        "spawn", True, True, 3
    )  # fmt: skip
    assert (options.policy.perms, options.policy.owner, options.transfer.xattrs) == (True, True, True)
    assert options.home  # this machine's disk is another one's with the same path


def test_a_service_of_root_keeps_no_owners_for_its_tenants_unless_they_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = asked("restore", RESTORE, LISTED).options
    assert (found.policy.perms, found.policy.owner, found.transfer.xattrs, found.transfer.acls) == (False,) * 4
    assert asked("restore", {**RESTORE, "owner": True}, LISTED).options.policy.owner
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert asked("restore", RESTORE, LISTED).options.policy.perms


def test_how_much_a_verification_reads() -> None:
    def data(**options: Any) -> Any:
        return asked("verify", {"repository": "vault", **options}).options.data

    assert data() is None
    assert data(read_data=True) == Subset()
    assert data(read_data_subset="5%") == Subset(fraction=0.05)
    assert data(max_age="90d") == Subset()
    found = asked("verify", {"repository": "vault", "share": "docs", "snapshot": "2026", "max_age": "1h"}).options
    assert found[:3] == ("acme", "docs", "2026")
    assert found.max_age == 3600


def test_rules_of_forgetting_and_how_much_a_prune_leaves() -> None:
    found = asked("forget", {"repository": "vault", "keep_last": 3, "keep_yearly": "all", "keep_within": "1d",
                             "keep_tag": ["a"], "prune": True, "dry_run": True})  # fmt: skip
    assert found.options.policy == Policy(last=3, yearly=FOREVER, within=86_400, tags=("a",))
    assert (found.prune, found.dry, found.options.dry) == (True, True, True)
    assert asked("forget", {"repository": "vault", "damaged": True}).options.damaged
    assert asked("forget", {"repository": "vault", "snapshots": ["9c" * 16]}).options.snapshots == ("9c" * 16,)
    assert asked("prune", {"repository": "vault", "max_unused": "10%"}).options.max_unused == 0.1
    assert asked("prune", {"repository": "vault"}).options.max_unused == 0.05


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("backup", {}, "repository is missing"),
        ("backup", {"repository": "vault"}, "source is missing"),
        ("backup", {**BACKUP, "source": 5}, "source: it must be a path or a URL"),
        ("backup", {**BACKUP, "repository": ["x"]}, "repository: it must be a name"),
        ("backup", {**BACKUP, "source": "a\0b"}, "a path cannot hold a NUL byte"),
        ("backup", {**BACKUP, "tenant": "other"}, "tenant: there is no such option"),
        ("backup", {**BACKUP, "password_file": "/etc/shadow"}, "password_file: there is no such option"),
        ("backup", {**BACKUP, "account_key": "x"}, "account_key: there is no such option"),
        ("backup", {**BACKUP, "movers": 64}, "movers: there is no such option"),
        ("backup", {**BACKUP, "share": "../other"}, "cannot be the name of a share"),
        ("backup", {**BACKUP, "source": "https://h.blob.core.windows.net/c?sig=x"}, "a URL with a secret behind it"),
        ("backup", {**BACKUP, "attempts": 0}, "attempts"),
        ("restore", {**RESTORE, "snapshot": "latest:etc"}, "the path in it is an option of its own"),
        ("restore", {**RESTORE, "path": "../x"}, "goes up"),
        ("restore", {**RESTORE, "state_db": "/x"}, "state_db: there is no such option"),
        ("restore", {**RESTORE, "report_file": "/x"}, "report_file: there is no such option"),
        ("restore", {**RESTORE, "workers": 1000}, "workers: at most"),
        ("restore", {**RESTORE, "overwrite": "sometimes"}, "overwrite"),
        ("verify", {"repository": "vault", "read_data_subset": "7"}, None),
        ("verify", {"repository": "vault", "read_data_subset": "9/3"}, "is no part of the data"),
        ("prune", {"repository": "vault", "max_unused": "101%"}, "is no percentage"),
        ("prune", {"repository": "vault", "share": "x"}, "share: there is no such option"),
        ("forget", {"repository": "vault"}, "no rule says what is kept"),
        ("forget", {"repository": "vault", "snapshots": ["9c" * 16], "keep_last": 1}, "do not go together"),
        ("forget", {"repository": "vault", "snapshots": "9c" * 16}, None),
        ("forget", {"repository": "vault", "snapshots": ["9c2f1a70"]}, "by their whole ids"),
        ("forget", {"repository": "vault", "snapshots": ["latest"]}, "by their whole ids"),
        ("forget", {"repository": "vault", "snapshots": [5]}, "snapshots"),
        ("forget", {"repository": "vault", "keep_last": 0}, "no rule says what is kept"),
        ("forget", {"repository": "vault", "keep_last": -1}, "keep_last"),
        ("forget", {"repository": "vault", "keep_last": True}, "keep_last"),
        ("forget", {"repository": "vault", "keep_within": "soon"}, "keep_within"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(kind: str, options: dict[str, Any], words: str | None) -> None:
    if words is None:
        asked(kind, options)
        return
    with pytest.raises(DunlinError) as caught:
        asked(kind, options)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", KEEPS)
def test_every_option_is_one_of_the_command(kind: str) -> None:
    from importlib import import_module

    command = import_module(f"dunlin.cli.{kind}").command
    known = {each.flag for each in command.params if hasattr(each, "flag")} | {"--snapshot", "--snapshots", "--path"}
    assert {key.flag for key in keys_of(kind).values()} <= known


def test_with_a_queue_workers_take_part(tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text(
        "locations: {off: {url: 's3://bucket'}}\n"
        "queue: {host_label: nas, shared_roots: [/srv]}\n"
        f"repositories: {{vault: {{place: 'loc://off/x'}}, near: {{place: '{tmp_path}/v'}}}}"
    )
    below = Settings(load(str(file)))

    def spread(kind: str, **options: Any) -> Any:
        found = ask(kind, {"repository": "vault", **options}, TENANT, below, "redis://q")
        return getattr(found.options, "spread", None)

    assert spread("backup", source="/srv/Docs")[:5] == ("redis://q", True, "", "loc://off/x", "")
    assert spread("scan", source="/other/docs").host == "nas"
    assert spread("backup", source="/srv/Docs", repository="near").host == "nas"
    assert spread("restore", destination="/srv/back")[2:5] == ("loc://off/x", "", "")
    assert spread("verify").source == "loc://off/x"
    alone: list[tuple[str, dict[str, Any]]] = [
        ("prune", {}), ("forget", {"keep_last": 1}), ("backup", {"source": "/srv/d", "dry_run": True}),
        ("restore", {"destination": "/srv/d", "dry_run": True}),
    ]  # fmt: skip
    for kind, options in alone:
        assert spread(kind, **options) is None
    assert ask("backup", BACKUP, TENANT, below).options.spread is None
