"""What `dunlin config show` tells, and what it does not."""

from __future__ import annotations

from pathlib import Path

from dunlin.config.file import load
from dunlin.config.schema import KEYS
from dunlin.config.settings import Settings
from dunlin.config.show import DEFAULT, MASK, listed, rows

TEXT = """\
azure:
  account_key: MadeUp1
  client_secret: '@secret.txt'
sync:
  workers: 8
  source_sas_token: MadeUp2
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
    assert found["locations.off.url"] == (f"https://a.blob.core.windows.net/c?{MASK}", f"{path}:8")
    assert found["locations.off.account_name"] == ("a", f"{path}:8")
    assert found["jobs[1].source"][0] == f"s3://{MASK}@b"
    assert found["jobs[1].s3_secret_access_key"][0] == MASK
    assert "MadeUp" not in repr(found)


def test_without_a_file_all_is_default() -> None:
    found = list(rows(Settings(environ={}), {}))
    assert {row.origin for row in found} == {DEFAULT}
    assert {row.key for row in found} == {key.path for key in KEYS if key.default}
