"""Configuration files: what is read, and what is refused with file, line and key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.config.file import File, load
from dunlin.config.settings import discover, settings
from dunlin.errors import DunlinError, ErrorKind

SPEC_A = """\
azure:
  connection_string: "DefaultEndpointsProtocol=https;..."
  account_name: "myaccount"
  account_key: "key=="
  use_managed_identity: true

sync:
  container: "mycontainer"
  output_path: "./downloads"
  prefix: ""
  workers: 10
  batch_size: 5000
  skip_existing: true
  verify_checksums: true

watch:
  enabled: false
  interval: "5m"

logging:
  level: "info"
  format: "text"

state:
  database: "./.sync-state.db"

performance:
  max_memory_mb: 0              # 0 = auto-detect
  max_cpu_percent: 80
  auto_throttle: true
  throttle_threshold: 0.8
  bandwidth_limit: ""           # e.g., "50M" for 50 MB/s
  disk_buffer_mb: 32
"""


def read(tmp_path: Path, text: str, name: str = "dunlin.yaml") -> File:
    path = tmp_path / name
    path.write_text(text)
    return load(str(path))


def plain(file: File) -> dict[str, object]:
    return {flag: value.value for flag, value in file.values.items()}


def as_toml(text: str) -> str:
    lines = []
    for line in text.splitlines():
        bare = line.partition("#")[0].rstrip()
        if bare.endswith(":") and not bare.startswith(" "):
            lines.append(f"[{bare[:-1]}]")
        else:
            lines.append(bare.strip().replace(": ", " = ", 1))
    return "\n".join(lines) + "\n"


def test_getblobz_file_is_taken_as_it_is(tmp_path: Path) -> None:
    found = plain(read(tmp_path, SPEC_A))
    assert found == {
        "--connection-string": "DefaultEndpointsProtocol=https;...",
        "--account-name": "myaccount",
        "--account-key": "key==",
        "--use-managed-identity": True,
        "--container": ["mycontainer"],
        "--output-path": "./downloads",
        "--prefix": "",
        "--workers": 10,
        "--batch-size": 5000,
        "--skip-existing": True,
        "--verify-checksums": True,
        "--watch": False,
        "--watch-interval": "5m",
        "--log-level": "info",
        "--log-format": "text",
        "--state-db": "./.sync-state.db",
        "--max-memory-mb": 0,
        "--max-cpu-percent": 80,
        "--auto-throttle": True,
        "--throttle-threshold": 0.8,
        "--bwlimit": "",
        "--disk-buffer-mb": 32,
    }


def test_toml_says_the_same_and_in_the_same_lines(tmp_path: Path) -> None:
    yaml, toml = read(tmp_path, SPEC_A), read(tmp_path, as_toml(SPEC_A), "dunlin.toml")
    assert plain(toml) == plain(yaml)
    for flag, value in yaml.values.items():
        assert toml.values[flag].origin.rpartition(":")[2] == value.origin.rpartition(":")[2], flag
    assert yaml.values["--workers"].origin.endswith("dunlin.yaml:11")


REFUSED = [
    ("sync:\n  wokers: 3\n", 2, "sync.wokers: there is no such key; did you mean workers?"),
    ("\nsnyc:\n  workers: 3\n", 2, "snyc: there is no such section; did you mean sync?"),
    ("workers: 3\n", 1, "workers: there is no such section; did you mean sync.workers?"),
    ("performance:\n  workers: 3\n", 2, "performance.workers: there is no such key; did you mean sync.workers?"),
    ("sync:\n  workers: many\n", 2, "sync.workers: it must be a whole number from 1 to 1,024, or 0 for automatic"),
    ("sync:\n  workers: 1025\n", 2, "sync.workers: 1025 is no whole number from 1 to 1,024"),
    ("sync:\n  workers: -1\n", 2, "sync.workers: -1 is no whole number"),
    ("sync:\n  workers: 1.5\n", 2, "not 1.5"),
    ("sync:\n  workers: true\n", 2, "not true"),
    ("sync:\n  workers: [1]\n", 2, "not a list"),
    ("sync:\n  archive: 1\n", 2, "sync.archive: it must be true or false, not 1"),
    ("sync:\n  archive: 'yes'\n", 2, "not 'yes'"),
    ("sync:\n  container: 2024\n", 2, "sync.container: 2024 is no text; put it in quotes"),
    ("sync:\n  max_size: 5X\n", 2, "sync.max_size: '5X' is no size"),
    ("sync:\n  checksum: crc32\n", 2, "sync.checksum: 'crc32' is none of blake3"),
    ("sync:\n  batch_size: 5001\n", 2, "from 1 to 5,000"),
    ("sync:\n  timeout: 200ms\n", 2, "sync.timeout: '200ms' is not from 1s to 1d, or 0 for no limit"),
    ("sync:\n  request_timeout: -1\n", 2, "sync.request_timeout: '-1' is no duration"),
    ("watch:\n  interval: soon\n", 2, "watch.interval: 'soon' is no duration"),
    ("watch:\n  interval: 500ms\n", 2, "less than a second"),
    ("logging:\n  level: loud\n", 2, "logging.level: 'loud' is none of debug, info, warn, error"),
    ("performance:\n  throttle_threshold: 1.5\n", 2, "1.5 is no number above 0 and up to 1"),
    ("performance:\n  throttle_threshold: 0\n", 2, "0 is no number above 0"),
    ("performance:\n  max_cpu_percent: 101\n", 2, "from 1 to 100"),
    ("performance:\n  max_memory_mb: 63\n", 2, "63 is no whole number from 64"),
    ("performance:\n  bandwidth_limit: fast\n", 2, "performance.bandwidth_limit: 'fast' is no"),
    ("sync:\n  bwlimit: 1M\nperformance:\n  bandwidth_limit: 2M\n", 4, "says the same thing; leave one of them out"),
    ("sync: 3\n", 1, "sync: there must be keys and values here"),
    ("- sync\n", 1, "there must be keys and values here"),
    ("jobs: 3\n", 1, "jobs: it must be a list"),
    ("jobs:\n  - source: a\n", 2, "jobs[1]: destination is missing"),
    ("jobs:\n  - destination: a\n", 2, "jobs[1]: source is missing"),
    ("jobs:\n  - workers: 2\n", 2, "jobs[1]: it names neither source and destination nor a container"),
    ("jobs:\n  - source: a\n    destination: b\n  - source: a\n    container: c\n", 4,
     "jobs[2]: source and container do not go together"),
    ("jobs:\n  - source: a\n    destination: b\n    delete_extra: true\n", 4,
     "jobs[1].delete_extra: there is no such key; did you mean delete_extras?"),
    ("jobs:\n  - source: a\n    destination: 3\n", 3, "jobs[1].destination: it must be a path or a URL"),
    ("locations:\n  a:\n    region: x\n", 2, "locations.a: url is missing"),
    ("locations:\n  a:\n    url: s3://b\n    regoin: x\n", 4,
     "locations.a.regoin: a place of this kind (s3) has no such key; did you mean region?"),
    ("locations:\n  a:\n    url: s3://b\n    account_key: x\n", 4, "(s3) has no such key"),
    ("locations:\n  a:\n    url: /mnt/x\n    region: x\n", 4, "it needs nothing but a url"),
    ("locations:\n  a:\n    url: loc://b\n", 3, "cannot lie in another one"),
    ("locations:\n  a/b:\n    url: /x\n", 2, "a name is made of letters"),
    ("sync:\n  workers: 1\n  workers: 2\n", 3, "workers: it stands in line 2 already"),
    ("sync:\n  prefix: 'a\n", None, "not valid YAML"),
    ("sync: {a: [}\n", 1, "not valid YAML"),
    ("sync:\n\tworkers: 1\n", 2, "not valid YAML"),
    ("a: &a [*a]\n", None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_does_not_fit_names_file_line_and_key(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    with pytest.raises(DunlinError) as caught:
        read(tmp_path, text)
    assert caught.value.kind is ErrorKind.CONFIG
    assert caught.value.exit_code == 1
    assert "dunlin.yaml: line " in str(caught.value)
    assert said in str(caught.value)
    if line is not None:
        assert f"line {line}: " in str(caught.value)


TOML_REFUSED = [
    ('[sync]\nwokers = 3\n', 2, "sync.wokers: there is no such key; did you mean workers?"),
    ('[sync]\n\nworkers = "many"\n', 3, "sync.workers: it must be a whole number"),
    ('sync.workers = 9999\n', 1, "sync.workers: 9999"),
    ('[sync]\nworkers = 1\nworkers = 2\n', 3, "not valid TOML"),
    ('[sync\n', 1, "not valid TOML"),
    ('[[jobs]]\nsource = "a"\ndestination = "b"\n\n[[jobs]]\nsource = "a"\n', 5, "jobs[2]: destination is missing"),
    ('[locations.a]\nurl = "s3://b"\n"regoin" = "x"\n', 3, "locations.a.regoin"),
]


@pytest.mark.parametrize(("text", "line", "said"), TOML_REFUSED, ids=lambda each: str(each)[:40])
def test_toml_errors_have_lines_too(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(DunlinError) as caught:
        read(tmp_path, text, "dunlin.toml")
    assert f"dunlin.toml: line {line}: " in str(caught.value)
    assert said in str(caught.value)


KEY = "AAAAMadeUpKeyAAAA=="


@pytest.mark.parametrize(
    "text",
    [
        f"azure:\n  account_key: [{KEY}]\n",
        f"azure:\n  account_key: {{a: {KEY}}}\n",
        f"azure:\n  account_key: '{KEY}\n",
        f"azure:\n  account_key: {KEY}: x\n",
        f"azure:\n  account_kye: {KEY}\n",
        f"azure:\n  account_key: *{KEY}\n",
        f"azure:\n  account_key: !{KEY} x\n",
        f"azure:\n  account_name: a\n  account_key: {KEY}\n  account_key: {KEY}\n",
        f"jobs:\n  - container: c\n    account_key: [{KEY}]\n",
        f"locations:\n  a:\n    url: az://c\n    account_key: [{KEY}]\n",
    ],
)
@pytest.mark.parametrize("ending", ["yaml", "toml"])
def test_no_complaint_quotes_a_secret(tmp_path: Path, text: str, ending: str) -> None:
    with pytest.raises(DunlinError) as caught:
        read(tmp_path, text if ending == "yaml" else as_toml(text), f"dunlin.{ending}")
    assert "MadeUp" not in str(caught.value)
    assert "MadeUp" not in repr(caught.value)


NOTHING = ["", "# nothing\n", "sync:\n", "sync:\n  workers:\n", "jobs:\nlocations:\n", "\ufeffsync:\n"]


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_said_is_nothing_wrong(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.values, found.jobs, found.locations) == ({}, (), {})


def test_yaml_words_that_are_not_what_they_look_like(tmp_path: Path) -> None:
    found = plain(read(tmp_path, "sync:\n  bwlimit: off\n  checksum: no\n  min_age: 2026-01-31\n  archive: on\n"))
    assert found == {"--bwlimit": "off", "--checksum": "none", "--min-age": "2026-01-31", "--archive": True}


def test_lists_and_single_texts(tmp_path: Path) -> None:
    found = plain(read(tmp_path, "sync:\n  exclude: ['*.o', b]\n  include: x\n  container: ''\n"))
    assert found == {"--exclude": ["*.o", "b"], "--include": ["x"], "--container": []}


def test_jobs_and_locations(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "locations:\n  off:\n    url: s3://b/p\n    region: r\n    anonymous: true\n  disk: {url: /mnt/x}\n"
        "jobs:\n  - {source: /a, destination: loc://off/q, workers: 2, bandwidth_limit: 1M}\n"
        "  - container: [c, d]\n    prefix: x/\n    source_account_key: k\n",
    )
    assert found.locations["off"].url == "s3://b/p"
    said = {name: each.value for name, each in found.locations["off"].values.items()}
    assert said == {"region": "r", "anonymous": True}
    first, second = found.jobs
    assert (first.source, first.destination) == ("/a", "loc://off/q")
    assert {flag: each.value for flag, each in first.values.items()} == {"--workers": 2, "--bwlimit": "1M"}
    assert second.values["--container"].value == ["c", "d"]
    assert second.values["--source-account-key"].value == "k"
    assert second.origin.endswith("dunlin.yaml:9")


def test_a_container_beside_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DunlinError, match=r"sync\.container .*:2.* and jobs .*:4.* both say"):
        read(tmp_path, "sync:\n  container: c\njobs:\n  - {source: a, destination: b}\n")


@pytest.mark.parametrize(
    ("text", "mode", "exposed"),
    [
        ("azure:\n  account_key: k\n", 0o644, True),
        ("azure:\n  account_key: k\n", 0o600, False),
        ("azure:\n  account_key: '@k'\n", 0o644, False),
        ("azure:\n  account_name: k\n", 0o644, False),
        ("locations:\n  a: {url: 's3://b', secret_access_key: k}\n", 0o640, True),
        ("jobs:\n  - {container: c, sas_token: k}\n", 0o644, True),
        ("gcs:\n  service_account: key.json\n", 0o644, False),
        ("notify:\n  webhook_url: 'https://h/secret'\n", 0o644, True),
        ("notify:\n  smtp_password: k\n", 0o644, True),
        ("notify:\n  webhook_url: '@hook.txt'\n  smtp_url: smtp://u@h\n", 0o644, False),
    ],
)
def test_a_file_with_secrets_that_others_may_read_is_told(tmp_path: Path, text: str, mode: int, exposed: bool) -> None:
    path = tmp_path / "dunlin.yaml"
    path.write_text(text)
    path.chmod(mode)
    assert load(str(path)).exposed is exposed
    assert any("chmod 600" in note for note in settings(str(path)).notes) is exposed


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DunlinError) as missing:
        load(str(tmp_path / "none.yaml"))
    assert missing.value.kind is ErrorKind.NOT_FOUND
    assert missing.value.exit_code == 1
    (tmp_path / "latin.yaml").write_bytes(b"sync:\n  prefix: \xe9\n")
    with pytest.raises(DunlinError, match=r"line 2: it is not UTF-8"):
        load(str(tmp_path / "latin.yaml"))


def test_the_first_file_that_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    (home / "dunlin").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    assert discover() is None
    assert settings().file is None
    wanted = []
    for directory, name in ((home / "dunlin", "config"), (here, "dunlin")):
        for ending in ("toml", "yml", "yaml"):
            (directory / f"{name}.{ending}").touch()
            wanted.append(os.path.relpath(directory / f"{name}.{ending}", here))
            assert os.path.relpath(discover() or "", here) == wanted[-1]
    assert settings("none").file is None
