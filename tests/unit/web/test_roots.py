"""Places that a job may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Log, SyncOptions
from dunlin.web.roots import allowed, check_files, check_places


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
    [("s3://b", True), ("s3://b/", True), ("s3://b/k", True), ("s3://bb", False), ("s3://a/../b", False),
     ("s3://b?x", False), ("gs://b", False), ("/b", False)],
)  # fmt: skip
def test_urls(place: str, good: bool) -> None:
    assert allowed(place, ("s3://b",)) is good


def test_every_path_among_the_options_is_looked_at(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    fine = SyncOptions(str(root / "a"), str(root / "b"), backup_dir="old", log=Log(file=str(root / "log")))
    check_places(fine, {}, (str(root),))
    for options, given in (
        (fine._replace(source="/etc"), {}),
        (fine._replace(destination="/etc"), {}),
        (fine._replace(destination="s3://bucket/x"), {}),
        (fine._replace(backup_dir="../../../../../../etc"), {}),
        (fine._replace(backup_dir="/etc"), {}),
        (fine._replace(log=Log(file="/etc/log")), {}),
        (fine._replace(log=Log(report_file="/etc/log")), {}),
        (fine._replace(state_db="/etc/state.db"), {"state_db": "/etc/state.db"}),
    ):
        with pytest.raises(DunlinError) as found:
            check_places(options, given, (str(root),))
        assert found.value.kind is ErrorKind.DENIED
        check_places(options, given, ())


@pytest.mark.parametrize("name", ["files_from", "include_from", "exclude_from", "filter_from"])
def test_files_of_patterns_are_looked_at_before_they_are_read(tmp_path: Path, name: str) -> None:
    roots = (str(tmp_path.resolve()),)
    check_files({name: str(tmp_path / "list")}, roots)
    for value in ("/etc/shadow", ["/etc/shadow"], "-", 3, "a\0b"):
        with pytest.raises(DunlinError):
            check_files({name: value}, roots)
