"""Which layer wins, and under which names variables are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.config.file import File, Job, Value
from dunlin.config.schema import FLAGS, KEYS
from dunlin.config.settings import Settings

FLAGS_KNOWN = sorted(key.flag for key in KEYS)
LAYERS = ("DUNLIN_", "GETBLOBZ_", "SYNC4LOONG_", "job", "file")


def value(text: str) -> Value:
    return Value(text, f"dunlin.yaml:{text}", "x.y")


@given(st.sampled_from(FLAGS_KNOWN), st.sets(st.sampled_from(LAYERS)))
def test_the_strongest_layer_that_says_something_wins(flag: str, said: set[str]) -> None:
    bare = flag.lstrip("-").replace("-", "_").upper()
    environ = {f"{layer}{bare}": layer for layer in said if layer.endswith("_")}
    file = File("dunlin.yaml", {flag: value("file")} if "file" in said else {})
    job = Job({flag: value("job")} if "job" in said else {}, "", "", "")
    found = Settings(file, job, environ).find(flag)
    wanted = next((layer for layer in LAYERS if layer in said), None)
    assert (found.value if found else None) == wanted
    assert found is None or found.layer == ("environment" if wanted and wanted.endswith("_") else "file")


@given(st.sampled_from(FLAGS_KNOWN), st.data())
def test_every_key_has_a_variable_by_section_and_name(flag: str, data: st.DataObject) -> None:
    section, name = data.draw(st.sampled_from(FLAGS[flag]))
    variable = f"DUNLIN_{section}_{name}".upper()
    found = Settings(environ={variable: "x"}).find(flag)
    assert found is not None
    assert (found.value, found.origin) == ("x", variable)


@pytest.mark.parametrize(
    ("variable", "flag", "aliases"),
    [
        ("DUNLIN_BWLIMIT", "--bwlimit", ()),
        ("DUNLIN_BANDWIDTH_LIMIT", "--bwlimit", ("--bandwidth-limit",)),
        ("DUNLIN_PERFORMANCE_BANDWIDTH_LIMIT", "--bwlimit", ()),
        ("DUNLIN_STATE_DATABASE", "--state-db", ()),
        ("DUNLIN_SYNC_DELETE_EXTRAS", "--delete-extras", ()),
        ("DUNLIN_SOURCE_ACCOUNT_KEY", "--source-account-key", ()),
        ("getblobz_CONNECTION_STRING", "--connection-string", ()),
        ("GETBLOBZ_AZURE_ACCOUNT_KEY", "--account-key", ()),
        ("getblobz_bandwidth_limit", "--bwlimit", ("--bandwidth-limit",)),
        ("SYNC4LOONG_S3_REGION", "--s3-region", ()),
    ],
)
def test_names_of_variables(variable: str, flag: str, aliases: tuple[str, ...]) -> None:
    settings = Settings(environ={variable: "x"})
    found = settings.find(flag, aliases)
    assert found is not None
    assert found.origin == variable
    old = not variable.startswith("DUNLIN")
    assert bool(settings.notes) is old
    if old:
        settings.find(flag, aliases)
        [note] = settings.notes
        assert variable in note
        assert f"DUNLIN_{flag.lstrip('-').replace('-', '_').upper()}" in note


def test_no_variable_of_ours_no_answer() -> None:
    assert Settings(environ={"dunlin_workers": "3", "WORKERS": "3"}).find("--workers") is None
