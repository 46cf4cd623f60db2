"""The groups of tasks: one place has the same ones by whatever name it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.jobs.groups import all_groups, directory_groups, place_groups, whole_store
from dunlin.stores.login import Login

ACCOUNT = Login({"account_name": "acc"})
SERVER = Login({"endpoint": "http://127.0.0.1:9000"})


@pytest.mark.parametrize(
    ("url", "login", "whole"),
    [
        ("s3://bucket", None, "s3://bucket"),
        ("s3://bucket/", None, "s3://bucket"),
        ("s3://bucket/a/b", None, "s3://bucket"),
        ("s3://bucket/bucket", None, "s3://bucket"),
        ("s3://bucket/a", SERVER, "http://127.0.0.1:9000/bucket"),
        ("gs://bucket/a", None, "gs://bucket"),
        ("az://cont/a/b", ACCOUNT, "https://acc.blob.core.windows.net/cont"),
        ("https://acc.blob.core.windows.net/cont/a", None, "https://acc.blob.core.windows.net/cont"),
        ("azfiles://share/a/b", ACCOUNT, "https://acc.file.core.windows.net/share"),
        ("azfiles://share", ACCOUNT, "https://acc.file.core.windows.net/share"),
    ],
)
def test_what_lies_in_a_bucket_belongs_to_it(url: str, login: Login | None, whole: str) -> None:
    assert whole_store(url, login) == whole
    assert place_groups("", url, login) == [f"store:{whole}"]


def test_a_location_is_a_group_besides_its_store() -> None:
    assert place_groups("loc://off/x", "s3://bucket/p/x") == ["store:loc://off", "store:s3://bucket"]
    assert place_groups("loc://nas/x", "/mnt/nas/x") == ["store:loc://nas"]


def test_directories_have_the_groups_of_those_with_a_cap(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to("nas")
    capped = (str(tmp_path / "nas"), str(tmp_path / "na"), str(tmp_path))
    wanted = [f"store:{tmp_path / 'nas'}", f"store:{tmp_path}"]
    assert place_groups("", str(tmp_path / "nas" / "a"), None, capped) == wanted
    assert place_groups("", f"file://{tmp_path}/link/a", None, capped) == wanted
    assert place_groups("", str(tmp_path / "nasty"), None, capped) == wanted[1:]
    assert place_groups("", "/elsewhere", None, capped) == []
    assert directory_groups(["/x", "/y"], ["/"]) == ["store:/"]


def test_a_task_has_each_group_once() -> None:
    assert all_groups("one", ["s", "t"], ["t", "u"]) == ("tenant:one", "s", "t", "u")
    assert all_groups("", ["s"], ["s"]) == ("s",)
