"""What `dunlin config show` tells, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.config.credentials import CREDENTIALS, SIDES, side_flag
from dunlin.config.file import load
from dunlin.config.schema import KEYS, OPTIONS, Key, names, text
from dunlin.config.settings import Settings
from dunlin.config.show import DEFAULT, MASK, listed, rows, shown

TEXT = """\
azure:
  account_key: MadeUp1
  client_secret: '@secret.txt'
sync:
  workers: 8
  source_sas_token: MadeUp2
notify: {webhook_url: 'https://h/MadeUp10', smtp_password: MadeUp11, smtp_url: 'smtps://u:MadeUp12@h'}
locations:
  off: {url: 'https://a.blob.core.windows.net/c?sig=MadeUp3', sas_token: MadeUp4, account_name: a}
jobs:
  - {source: 's3://id:MadeUp5@b', destination: /x, s3_secret_access_key: MadeUp6}
"""
ENVIRON = {"DUNLIN_WORKERS": "9", "getblobz_CONNECTION_STRING": "MadeUp7", "AWS_SECRET_ACCESS_KEY": "MadeUp8",
           "AWS_REGION": "r", "DUNLIN_GCS_SERVICE_ACCOUNT": '{"private_key": "MadeUp9"}'}  # fmt: skip


def test_values_origins_and_masks(tmp_path: Path) -> None:
    path = tmp_path / "dunlin.yaml"
    path.write_text(TEXT)
    file = load(str(path))
    told = [*rows(Settings(file, environ=ENVIRON), ENVIRON), *listed(file)]
    found = {row.key: (row.value, row.origin) for row in told}
    assert found["sync.workers"] == ("9", "DUNLIN_WORKERS")
    assert found["azure.account_key"] == (MASK, f"{path}:2")
    assert found["azure.client_secret"] == ("@secret.txt", f"{path}:3")
    assert found["azure.connection_string"] == (MASK, "getblobz_CONNECTION_STRING")
    assert found["s3.secret_access_key"] == (MASK, "AWS_SECRET_ACCESS_KEY")
    assert found["s3.region"] == ("r", "AWS_REGION")
    assert found["gcs.service_account"] == (MASK, "DUNLIN_GCS_SERVICE_ACCOUNT")
    assert found["sync.source_sas_token"][0] == MASK
    assert found["sync.output_path"] == ("./data", DEFAULT)
    assert found["notify.webhook_url"] == found["notify.smtp_password"] == (MASK, f"{path}:7")
    assert found["notify.smtp_url"][0] == f"smtps://{MASK}@h"
    assert found["locations.off.url"] == (f"https://a.blob.core.windows.net/c?{MASK}", f"{path}:9")
    assert found["locations.off.account_name"] == ("a", f"{path}:9")
    assert found["jobs[1].source"][0] == f"s3://{MASK}@b"
    assert found["jobs[1].s3_secret_access_key"][0] == MASK
    assert "MadeUp" not in repr(found)


TEXTS = [key for key in OPTIONS.values() if key.kind in (text, names) and not key.secret]


@pytest.mark.parametrize("key", TEXTS, ids=lambda key: key.path)
@pytest.mark.parametrize("url", [
    *("http://u:MadeUp@h:9/p", "http://MadeUp@h", "https://h/acct?sv=1&sig=MadeUp", "https://h/x#MadeUp"),
    *("https://h/hook?token=MadeUp", "u:MadeUp@h:/p", "https:/u:MadeUp@h", "http://u:Ma@MadeUp@h"),
])  # fmt: skip
def test_no_key_that_holds_text_shows_the_secret_in_a_url(key: Key, url: str) -> None:
    for value in (url, [url]) if key.kind is names else (url,):
        assert "MadeUp" not in str(shown(key, value)), shown(key, value)


@pytest.mark.parametrize("key", [key for key in TEXTS if key.flag.endswith("endpoint")], ids=lambda key: key.path)
def test_what_stands_before_the_host_of_an_endpoint_is_masked_however_odd(key: Key) -> None:
    for endpoint in (
        "u:MadeUp@h:9",
        "http://u:x/MadeUp@h",
        "http://u:MadeUp?x@h",
        "//u:MadeUp@h",
        "http://h?sig=a@MadeUp",
    ):
        assert "MadeUp" not in str(shown(key, endpoint)), endpoint
    for plain in ("http://127.0.0.1:9000", "https://[::1]:9000/path", "127.0.0.1:9000"):
        assert shown(key, plain) == plain


def test_every_endpoint_takes_part_in_that() -> None:
    flags = {key.flag for key in TEXTS}
    urls = {each.flag for each in CREDENTIALS if "endpoint" in each.name and each.flag}
    assert urls
    assert urls | {side_flag(flag, side) for flag in urls for side in SIDES} <= flags


@pytest.mark.parametrize(
    "value", ["./data", "out/a@b", "/x/y?z", "*.{jpg,png}", "rules#1.txt", True, 4, ["a?", "@list"]]
)
def test_what_is_no_url_is_shown_as_it_is(value: object) -> None:
    assert shown(OPTIONS["output_path"], value) == value


def test_the_key_of_a_service_account_is_masked_in_a_location(tmp_path: Path) -> None:
    path = tmp_path / "dunlin.yaml"
    path.write_text("locations:\n  g: {url: 'gs://b', service_account: '{\"private_key\": \"MadeUp\"}'}\n"
                    "  h: {url: 'gs://b', service_account: key.json}\n")  # fmt: skip
    found = {row.key: row.value for row in listed(load(str(path)))}
    assert found["locations.g.service_account"] == MASK
    assert found["locations.h.service_account"] == "key.json"


def test_without_a_file_all_is_default() -> None:
    found = list(rows(Settings(environ={}), {}))
    assert {row.origin for row in found} == {DEFAULT}
    assert {row.key for row in found} == {key.path for key in KEYS if key.default}


def test_repositories_are_shown_without_what_lets_one_in(tmp_path: Path) -> None:
    path = tmp_path / "dunlin.yaml"
    path.write_text("repositories: {v: {place: 'az://c/p?sig=MadeUp', password_file: word, tenants: ['*']}}")
    found = {row.key: row.value for row in listed(load(str(path)))}
    assert found == {
        "repositories.v.place": "az://c/p?***", "repositories.v.password_file": "word", "repositories.v.tenants": ["*"]
    }  # fmt: skip
