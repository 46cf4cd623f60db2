"""Which of the many places a login comes from, and that nothing is mixed that does not belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.config.credentials import CREDENTIALS
from dunlin.config.file import File, Job, Location, Value
from dunlin.config.logins import Located, place
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import SECRET


def values(**said: Any) -> dict[str, Value]:
    """Values of a file by option: ``account_key="k"``."""
    return {f"--{name.replace('_', '-')}": Value(value, "dunlin.yaml:1", name) for name, value in said.items()}


def find(
    url: str = "az://c",
    side: str = "source",
    *,
    flags: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    job: dict[str, Value] | None = None,
    file: dict[str, Value] | None = None,
    locations: dict[str, Location] | None = None,
    path: str = "dunlin.yaml",
) -> Located:
    settings = Settings(File(path, file or {}, (), locations or {}), Job(job or {}, "", "", ""), environ or {})
    said = {f"--{name.replace('_', '-')}": value for name, value in (flags or {}).items()}
    return place(url, side, said, settings, environ or {})


def login(*arguments: Any, **layers: Any) -> dict[str, str]:
    found = find(*arguments, **layers).login
    return {name: found[name] for name in found.given()}


AZURE = [
    ({"flags": {"connection_string": "AccountName=a;AccountKey=k"}},
     {"connection_string": "AccountName=a;AccountKey=k"}),
    ({"flags": {"account_name": "a", "account_key": "k"}}, {"account_name": "a", "account_key": "k"}),
    ({"flags": {"account_name": "a"}, "file": values(account_key="k")}, {"account_name": "a", "account_key": "k"}),
    ({"file": values(account_name="a", use_managed_identity=True)},
     {"account_name": "a", "use_managed_identity": "true"}),
    # within a layer: SAS or connection string > key > service principal > identity > CLI
    ({"file": values(account_name="a", account_key="k", sas_token="s", use_azure_cli=True)},
     {"account_name": "a", "sas_token": "s"}),
    ({"file": values(connection_string="x", account_key="k")}, {"connection_string": "x"}),
    ({"file": values(account_name="a", account_key="k", client_secret="p", tenant_id="t", client_id="i")},
     {"account_name": "a", "account_key": "k"}),
    ({"file": values(account_name="a", client_secret="p", tenant_id="t", client_id="i", use_managed_identity=True)},
     {"account_name": "a", "client_secret": "p", "tenant_id": "t", "client_id": "i"}),
    ({"file": values(account_name="a", use_managed_identity=True, use_azure_cli=True, client_id="i")},
     {"account_name": "a", "use_managed_identity": "true", "client_id": "i"}),
    ({"file": values(account_name="a", use_workload_identity=True, use_azure_cli=True)},
     {"account_name": "a", "use_workload_identity": "true"}),
    # the strongest layer that names a way decides, whatever the order says
    ({"flags": {"account_name": "a", "use_managed_identity": "true"},
      "file": values(connection_string="AccountName=a;x")},
     {"account_name": "a", "use_managed_identity": "true"}),
    ({"environ": {"DUNLIN_USE_AZURE_CLI": "1"}, "file": values(account_name="a", account_key="k")},
     {"account_name": "a", "use_azure_cli": "true"}),
    ({"job": values(account_key="j"), "file": values(account_name="a", account_key="k")},
     {"account_name": "a", "account_key": "j"}),
    ({"file": values(account_name="a", use_azure_cli=True), "environ": {"AZURE_STORAGE_KEY": "k"}},
     {"account_name": "a", "use_azure_cli": "true"}),
    # off in a stronger layer
    ({"flags": {"use_managed_identity": ""}, "file": values(account_name="a", use_managed_identity=True)},
     {"account_name": "a"}),
    ({"environ": {"DUNLIN_CONNECTION_STRING": ""}, "file": values(connection_string="x", account_name="a")},
     {"account_name": "a"}),
    # standard variables come last
    ({"environ": {"AZURE_STORAGE_CONNECTION_STRING": "x"}}, {"connection_string": "x"}),
    ({"environ": {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "k"}}, {"account_name": "a", "account_key": "k"}),
    ({"environ": {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_SAS_TOKEN": "s"}},
     {"account_name": "a", "sas_token": "s"}),
    ({"file": values(account_name="f", account_key="k"), "environ": {"AZURE_STORAGE_CONNECTION_STRING": "x"}},
     {"account_name": "f", "account_key": "k"}),
    ({"environ": {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "p",
                  "AZURE_STORAGE_ACCOUNT": "a", "AZURE_AUTHORITY_HOST": "h"}},
     {"tenant_id": "t", "client_id": "i", "client_secret": "p", "account_name": "a", "authority_host": "h"}),
    # nothing but a name: what the default chain takes along
    ({"flags": {"account_name": "a"}, "environ": {"AZURE_FEDERATED_TOKEN_FILE": "f", "IDENTITY_ENDPOINT": "e"}},
     {"account_name": "a", "federated_token_file": "f", "identity_endpoint": "e"}),
    ({}, {}),
    # a secret stays with its account
    ({"flags": {"account_name": "b"}, "file": values(account_name="a", account_key="k")}, {"account_name": "b"}),
    ({"flags": {"account_name": "b"}, "environ": {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=k"}},
     {"account_name": "b"}),
    ({"flags": {"account_name": "a"}, "environ": {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=k"}},
     {"connection_string": "AccountName=a;AccountKey=k"}),
    ({"flags": {"account_name": "b"}, "file": values(account_name="a", sas_token="s"),
      "environ": {"AZURE_STORAGE_ACCOUNT": "b", "AZURE_STORAGE_KEY": "k"}}, {"account_name": "b", "account_key": "k"}),
    # forms for one side
    ({"flags": {"account_name": "a", "account_key": "k", "source_account_key": "own"}},
     {"account_name": "a", "account_key": "own"}),
    ({"flags": {"account_name": "a", "account_key": "k", "dest_account_key": "other"}},
     {"account_name": "a", "account_key": "k"}),
    ({"flags": {"account_name": "a", "account_key": "k", "source_account_name": "b"}}, {"account_name": "b"}),
    ({"environ": {"DUNLIN_SOURCE_ACCOUNT_KEY": "own"}, "flags": {"account_name": "a", "account_key": "k"}},
     {"account_name": "a", "account_key": "k"}),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "wanted"), AZURE, ids=range(len(AZURE)))
def test_azure(layers: dict[str, Any], wanted: dict[str, str]) -> None:
    assert login("az://c", **layers) == wanted


S3 = [
    ({"environ": {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t", "AWS_PROFILE": "p",
                  "AWS_DEFAULT_REGION": "r", "AWS_ENDPOINT_URL": "e"}},
     {"access_key_id": "i", "secret_access_key": "s", "session_token": "t", "region": "r", "endpoint": "e"}),
    ({"environ": {"AWS_REGION": "r", "AWS_DEFAULT_REGION": "d", "AWS_ENDPOINT_URL_S3": "s3", "AWS_ENDPOINT_URL": "e"}},
     {"region": "r", "endpoint": "s3"}),
    ({"environ": {"AWS_PROFILE": "p"}, "flags": {"s3_access_key_id": "i", "s3_secret_access_key": "s"}},
     {"access_key_id": "i", "secret_access_key": "s"}),
    ({"flags": {"s3_profile": "p", "s3_role_arn": "r"},
      "environ": {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s"}},
     {"profile": "p", "role_arn": "r"}),
    ({"flags": {"s3_anonymous": "true"}, "environ": {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s"}},
     {"anonymous": "true"}),
    ({"flags": {"s3_access_key_id": "i"}, "environ": {"DUNLIN_S3_SECRET_ACCESS_KEY": "s"}},
     {"access_key_id": "i", "secret_access_key": "s"}),
    # half a key is told by the store; the other half of another key is not taken
    ({"flags": {"s3_access_key_id": "x"}, "environ": {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s"}},
     {"access_key_id": "x"}),
    ({"file": {**values(s3_access_key_id="x", s3_secret_access_key="y")},
      "environ": {"AWS_ACCESS_KEY_ID": "i", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}},
     {"access_key_id": "x", "secret_access_key": "y"}),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "wanted"), S3, ids=range(len(S3)))
def test_s3(layers: dict[str, Any], wanted: dict[str, str]) -> None:
    assert login("s3://b/p", **layers) == wanted


def test_two_ways_in_one_layer_of_s3() -> None:
    with pytest.raises(DunlinError, match="access_key_id and anonymous are different ways to log in to s3"):
        login("s3://b", flags={"s3_anonymous": "true", "s3_access_key_id": "i", "s3_secret_access_key": "s"})


KEY_FILE = '{"type": "service_account", "private_key": "MadeUp"}'


def test_gcs(tmp_path: Path) -> None:
    key, user = tmp_path / "key.json", tmp_path / "user.json"
    key.write_text(KEY_FILE)
    user.write_text('{"type": "authorized_user"}')
    assert login("gs://b", flags={"gcs_service_account": str(key)}) == {"service_account": KEY_FILE}
    assert login("gs://b", environ={"GOOGLE_APPLICATION_CREDENTIALS": str(key)}) == {"service_account": KEY_FILE}
    assert login("gs://b", environ={"GOOGLE_APPLICATION_CREDENTIALS": str(user)}) == {}, "the default chain reads it"
    assert login("gs://b", environ={"DUNLIN_GCS_SERVICE_ACCOUNT": KEY_FILE}) == {"service_account": KEY_FILE}
    emulator = {"STORAGE_EMULATOR_HOST": "localhost:9023"}
    assert login("gs://b", environ=emulator) == {"endpoint": "http://localhost:9023", "anonymous": "true"}
    assert login("gs://b", environ=emulator, flags={"gcs_service_account": str(key), "gcs_endpoint": "http://x"}) == {
        "endpoint": "http://x", "service_account": KEY_FILE,
    }  # fmt: skip
    with pytest.raises(DunlinError, match=r"that --gcs-service-account names:.*No such file") as caught:
        login("gs://b", flags={"gcs_service_account": str(tmp_path / "none")})
    assert caught.value.kind is ErrorKind.CONFIG


@pytest.mark.parametrize("url", ["/tmp/x", "x", "file:///x", "memory://x", "host:x"])
def test_local_places_need_no_login(url: str) -> None:
    everything = values(account_key="k", s3_access_key_id="i", s3_secret_access_key="s")
    assert find(url, file=everything) == Located(url, find("/x").login)
    assert not find(url, file=everything).login.given()


def test_a_side_sees_only_credentials_of_its_store() -> None:
    both = {**values(account_name="a", account_key="k"), **values(s3_access_key_id="i", s3_secret_access_key="s")}
    assert login("az://c", file=both) == {"account_name": "a", "account_key": "k"}
    assert login("s3://c", "dest", file=both) == {"access_key_id": "i", "secret_access_key": "s"}
    assert login("gs://c", file=both) == {}


def test_a_sas_in_the_url_is_taken_out_of_it() -> None:
    found = find("https://acct.blob.core.windows.net/c/p?sv=1&sig=MadeUp", flags={"account_key": "k"})
    assert found.url == "https://acct.blob.core.windows.net/c/p"
    assert (found.login["sas_token"], found.login["account_name"], found.exposed) == ("sv=1&sig=MadeUp", "acct", True)
    found = find("https://acct.file.core.windows.net/s/p?sv=1&sig=MadeUp", flags={"account_key": "k"})
    assert found.url == "https://acct.file.core.windows.net/s/p"
    assert (found.login["sas_token"], found.login["account_name"], found.exposed) == ("sv=1&sig=MadeUp", "acct", True)
    found = find("azfiles://s/p?sv=1&sig=MadeUp", flags={"account_name": "a"})
    assert (found.url, found.login["sas_token"]) == ("azfiles://s/p", "sv=1&sig=MadeUp")
    found = find("az://c/p?sv=1&sig=MadeUp", flags={"account_name": "a"})
    assert (found.url, found.login["sas_token"], found.login["account_name"]) == ("az://c/p", "sv=1&sig=MadeUp", "a")
    assert find("s3://b/what?").url == "s3://b/what?", "a question mark is a character of a key"


def test_the_account_in_the_url_is_the_account() -> None:
    url = "https://acct.blob.core.windows.net/c"
    assert login(url, file=values(account_name="other", account_key="k")) == {"account_name": "acct"}
    assert login(url, file=values(account_name="acct", account_key="k")) == {"account_name": "acct", "account_key": "k"}


def test_a_login_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(DunlinError) as caught:
        find("s3://key:MadeUp@bucket/x")
    assert "MadeUp" not in str(caught.value)


def location(url: str, **said: Any) -> dict[str, Location]:
    entries = {name: Value(value, "dunlin.yaml:3", name) for name, value in said.items()}
    return {"off": Location("off", url, entries, "dunlin.yaml:2")}


def test_locations() -> None:
    there = location("s3://b/p/", access_key_id="i", secret_access_key="s", endpoint="e")
    found = find("loc://off/q/r", locations=there, flags={"s3_region": "r", "s3_endpoint": "other"},
                 environ={"AWS_PROFILE": "p"})  # fmt: skip
    assert found.url == "s3://b/p/q/r"
    assert {name: found.login[name] for name in found.login.given()} == {
        "access_key_id": "i", "secret_access_key": "s", "endpoint": "e",
    }  # fmt: skip
    assert find("loc://off", locations=there).url == "s3://b/p/"
    assert find("loc://off/", locations=there).url == "s3://b/p/"
    own = find("loc://off/x", "dest", locations=there, flags={"dest_s3_endpoint": "own"})
    assert own.login["endpoint"] == "own"
    plain = find("loc://off/x", locations=location("s3://b"), flags={"s3_endpoint": "e"})
    assert (plain.url, plain.login["endpoint"]) == ("s3://b/x", "e")
    assert find("loc://off/x", locations=location("/mnt/nas")).url == "/mnt/nas/x"
    sas = find("loc://off/x", locations=location("https://a.blob.core.windows.net/c?sig=MadeUp"))
    assert (sas.url, sas.login["sas_token"]) == ("https://a.blob.core.windows.net/c/x", "sig=MadeUp")
    assert not sas.exposed


@pytest.mark.parametrize(
    ("url", "said"),
    [("loc://of/x", "there is no location of; did you mean off?"), ("loc:off", "write loc://NAME/PATH"),
     ("loc:///x", "write loc://NAME/PATH")],
)  # fmt: skip
def test_locations_that_are_not_there(url: str, said: str) -> None:
    with pytest.raises(DunlinError) as caught:
        find(url, locations=location("s3://b"))
    assert said in str(caught.value)


def test_secrets_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "key").write_text("from-conf\n")
    (tmp_path / "key").write_text("from-here\r\n")
    (tmp_path / "empty").write_text("\n")
    monkeypatch.chdir(tmp_path)
    base = {"flags": {"account_name": "a"}, "path": str(conf / "dunlin.yaml")}
    assert login(**base, file=values(account_key="@key"))["account_key"] == "from-conf"
    assert login(**base, job=values(account_key="@key"))["account_key"] == "from-conf"
    assert login(**base, environ={"DUNLIN_ACCOUNT_KEY": "@key"})["account_key"] == "from-here"
    assert login(**base, environ={"AZURE_STORAGE_KEY": "@key"})["account_key"] == "from-here"
    assert login(flags={"account_name": "@key", "account_key": "@key"}) == {
        "account_name": "@key", "account_key": "from-here",
    }, "a name is no secret"  # fmt: skip
    for name, said in (("none", "No such file"), ("empty", "the file is empty"), ("conf", "Is a directory")):
        with pytest.raises(DunlinError) as caught:
            login(flags={"account_key": f"@{name}"})
        assert said in str(caught.value)
        assert "--account-key" in str(caught.value)
        assert caught.value.exit_code == 1


AZURE_NAMES = sorted(each.name for each in CREDENTIALS if each.store == "azure" and each.flag)
SWITCHES = {each.name for each in CREDENTIALS if each.switch}
LAYER = st.dictionaries(st.sampled_from([name for name in AZURE_NAMES if name != "endpoint"]), st.just("1"))


@given(LAYER, LAYER, LAYER)
def test_a_way_comes_from_the_strongest_layer_and_no_stranger_gets_a_secret(
    flags: dict[str, str], environ: dict[str, str], file: dict[str, str]
) -> None:
    """Layers name accounts of their own; whatever is chosen, account and secret are of layers that agree."""

    def made(layer: dict[str, str], mark: str) -> dict[str, str]:
        return {name: "true" if name in SWITCHES else f"{name}-{mark}" for name in layer}

    def text(name: str, value: str) -> str:
        return f"AccountName=account_name-{value[-1]};" if name == "connection_string" else value

    one, two, three = ({name: text(name, value) for name, value in made(layer, mark).items()}
                       for layer, mark in ((flags, "1"), (environ, "2"), (file, "3")))  # fmt: skip
    found = find(
        flags=one,
        environ={f"DUNLIN_{name.upper()}": value for name, value in two.items()},
        file=values(**{name: value == "true" if name in SWITCHES else value for name, value in three.items()}),
    ).login
    secrets = found.given() & SECRET
    assert len(secrets) <= 1
    account = found["account_name"]
    for name in secrets - {"client_secret"}:
        home = next(layer for layer in (one, two, three) if layer.get(name) == found[name])
        assert not account or home.get("account_name", account) == account


SAS = "sv=1&sig=MadeUp"
ELSEWHERE = "http://other.example/acct/c"


@pytest.mark.parametrize(
    ("url", "layers"),
    [
        (ELSEWHERE, {"environ": {"AZURE_STORAGE_SAS_TOKEN": SAS}}),
        (ELSEWHERE, {"environ": {"DUNLIN_SAS_TOKEN": SAS}}),
        (ELSEWHERE, {"file": values(sas_token=SAS)}),
        (ELSEWHERE, {"file": values(sas_token=SAS, account_name="acct")}),
        ("http://127.0.0.1:10000/acct/c", {"file": values(sas_token=SAS)}),
        ("http://acct.blob.core.windows.net/c", {"file": values(sas_token=SAS)}),
        ("https://acct.blob.core.windows.net.other.example/c", {"file": values(sas_token=SAS)}),
        ("az://c", {"flags": {"azure_endpoint": "http://other.example/acct"}, "file": values(sas_token=SAS)}),
        (ELSEWHERE, {"file": values(sas_token=SAS, azure_endpoint="http://third.example/acct")}),
    ],
)  # fmt: skip
def test_a_sas_that_was_not_given_for_a_host_is_not_sent_there(url: str, layers: dict[str, Any]) -> None:
    with pytest.raises(DunlinError, match=r"the SAS of \S+ is not sent to https?://") as caught:
        find(url, **layers)
    assert caught.value.exit_code == 1
    assert "MadeUp" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "layers"),
    [
        (f"{ELSEWHERE}?{SAS}", {}),
        (ELSEWHERE, {"flags": {"sas_token": SAS}}),
        (ELSEWHERE, {"job": values(sas_token=SAS)}),
        (ELSEWHERE, {"file": values(sas_token=SAS, azure_endpoint="http://OTHER.example:80/acct")}),
        ("az://c", {"file": values(sas_token=SAS, azure_endpoint="http://other.example/acct")}),
        ("az://c", {"flags": {"azure_endpoint": "http://[::1]:7/acct"}, "file": values(sas_token=SAS)}),
        ("az://c", {"flags": {"azure_endpoint": "https://other.example/acct"}, "file": values(sas_token=SAS)}),
        ("az://c", {"flags": {"account_name": "acct"}, "environ": {"AZURE_STORAGE_SAS_TOKEN": SAS}}),
        ("https://acct.blob.core.windows.net/c", {"environ": {"AZURE_STORAGE_SAS_TOKEN": SAS}}),
        ("https://acct.z7.blob.storage.azure.net/c", {"environ": {"AZURE_STORAGE_SAS_TOKEN": SAS}}),
        ("loc://off", {"locations": location(ELSEWHERE, sas_token=SAS)}),
    ],
)
def test_a_sas_goes_where_it_was_given_for(url: str, layers: dict[str, Any]) -> None:
    assert find(url, **layers).login["sas_token"] == SAS
