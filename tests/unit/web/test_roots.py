"""Places that a job may name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.config.service import Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Log, SyncOptions, Within
from dunlin.plan import Policy
from dunlin.stores.login import Login
from dunlin.transfer import Options
from dunlin.web import runner
from dunlin.web.roots import allowed, allowed_path, check_files, check_kept, check_places
from tests.unit.web.test_runner import made


def test_links_and_dots_are_resolved_before_anything_is_compared(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (tmp_path / "way").symlink_to(root)
    roots = (str(root),)
    for good in (root, root / "inner", root / "new" / "newer", tmp_path / "way" / "inner", f"file://{root}/inner"):
        assert allowed(str(good), roots), good
    for bad in (outside, root / "link" / "x", root / ".." / "outside", f"{root}x", "/", tmp_path / "way" / ".."):
        assert not allowed(str(bad), roots), bad


@pytest.mark.parametrize(
    ("place", "good"),
    [("s3://bucket", True), ("s3://bucket/", True), ("s3://bucket/k", True), ("s3://bucketb", False),
     ("s3://other/../bucket", False), ("s3://bucket/../other", False), ("s3://bucket/./k", False),
     ("s3://bucket?x", False), ("gs://bucket", False), ("/bucket", False)],
)  # fmt: skip
def test_urls(place: str, good: bool) -> None:
    assert allowed(place, ("s3://bucket",)) is good


def test_a_bucket_of_another_server_is_another_place() -> None:
    here = Login({"endpoint": "http://127.0.0.1:9000"})
    roots = ("http://127.0.0.1:9000/bucket", "/srv")
    assert allowed("s3://bucket/k", roots, here)
    assert not allowed("s3://bucket/k", roots)
    assert not allowed("s3://bucket/k", roots, Login({"endpoint": "http://127.0.0.1:9001"}))
    check_places(SyncOptions("s3://bucket/k", "/srv/x", login_source=here), {}, roots)
    with pytest.raises(DunlinError, match="outside the allowed roots"):
        check_places(SyncOptions("/srv/x", "s3://bucket/k"), {}, roots)


def test_steps_upwards_behind_a_link_lead_where_the_system_says(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (root / "far" / "down").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path / "outside" / "deep")
    (root / "in").symlink_to(root / "far" / "down")
    roots = (str(root.resolve()),)
    assert not allowed(f"{root}/out/../x", roots)
    assert not allowed(f"file://{root}/out/../x", roots)
    assert not allowed_path(f"{root}/out/../x", roots)
    assert not allowed_path(f"{root}/in/../../../x", roots)
    assert allowed(f"{root}/in/../x", roots)
    # A run takes the words of a backup directory as they are written, and not as the system does.
    assert not allowed_path(f"{root}/in/../../x", (str((root / "in").resolve()), f"{root.resolve()}/far"))


def test_every_path_among_the_options_is_looked_at(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    fine = SyncOptions(str(root / "a"), str(root / "b"), backup_dir="old", log=Log(file=str(root / "log")))
    check_places(fine, {}, (str(root),))
    for options, given in (
        (fine._replace(source="/etc"), {}),
        (fine._replace(destination="/etc"), {}),
        (fine._replace(destination="s3://bucket/x"), {}),
        (fine._replace(backup_dir="../../../../../../etc"), {"backup_dir": "../../../../../../etc"}),
        (fine._replace(backup_dir="/etc"), {"backup_dir": "/etc"}),
        (fine._replace(log=Log(file="/etc/log")), {"log_file": "/etc/log"}),
        (fine._replace(log=Log(report_file="/etc/log")), {"report_file": "/etc/log"}),
        (fine._replace(state_db="/etc/state.db"), {"state_db": "/etc/state.db"}),
    ):
        with pytest.raises(DunlinError) as found:
            check_places(options, given, (str(root),))
        assert found.value.kind is ErrorKind.DENIED
        check_places(options, given, ())


def test_what_the_configuration_of_the_service_says_is_not_the_jobs(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    options = SyncOptions(
        str(root / "a"), str(root / "b"), backup_dir="/var/old", state_db="/var/state.db",
        log=Log(file="/var/log/audit", report_file="/var/log/report"),
    )  # fmt: skip
    check_places(options, {"log_file": None}, (str(root),))


@pytest.mark.parametrize(
    "options",
    [SyncOptions("/a", "/b", policy=Policy(perms=True)), SyncOptions("/a", "/b", policy=Policy(owner=True)),
     SyncOptions("/a", "/b", transfer=Options(xattrs=True))],
)  # fmt: skip
def test_root_hands_out_nothing_of_itself(options: SyncOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(DunlinError, match="this service runs as root"):
        check_kept(options)
    check_kept(SyncOptions("/a", "/b", policy=Policy(links=True)))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check_kept(options)


@pytest.mark.parametrize("name", ["files_from", "include_from", "exclude_from", "filter_from"])
def test_files_of_patterns_are_looked_at_before_they_are_read(tmp_path: Path, name: str) -> None:
    roots = (str(tmp_path.resolve()),)
    check_files({name: str(tmp_path / "list")}, roots)
    for value in ("/etc/shadow", ["/etc/shadow"], "-", 3, "a\0b"):
        with pytest.raises(DunlinError):
            check_files({name: value}, roots)


def test_a_run_is_told_what_it_must_not_leave(tmp_path: Path) -> None:
    root = str(tmp_path.resolve())
    options = SyncOptions(f"{root}/a", f"{root}/b", log=Log(file=f"{root}/log", report_file="/var/report"))
    found = check_places(options, {"log_file": f"{root}/log"}, (root, "s3://bucket"))
    assert found == options._replace(within=Within((root,), frozenset({"log_file"})))
    far = SyncOptions("s3://bucket/a", "s3://bucket/b")
    assert check_places(far, {}, ("s3://bucket",)).within == Within(())
    assert check_places(options, {}, ()) is options


def test_what_a_job_keeps_is_looked_at_for_tenants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[SyncOptions] = []
    monkeypatch.setattr(runner, "check_kept", looked.append)
    root = str(tmp_path.resolve())
    asked = {"source": f"{root}/a", "destination": f"{root}/b"}
    with made(tmp_path) as it:
        it.runner.check("sync", asked, Tenant("default", (root,), ()))
        assert looked == []
        it.runner.check("sync", asked, Tenant("default", (root,), (), listed=True))
        assert [each.source for each in looked] == [f"{root}/a"]
