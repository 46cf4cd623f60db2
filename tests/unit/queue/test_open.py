"""open: what names a queue, and what is said when one cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dunlin.cli.extras import missing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import NewTask
from dunlin.queue.embedded import Embedded
from dunlin.queue.open import open_queue, shown

SECRET = "geh:eim@1%"
QUOTED = "geh%3Aeim%401%25"


@pytest.mark.parametrize(
    "form", ["{}", "sqlite://{}", "sqlite:///{}", "SQLite://{}?sync=normal", "sqlite://{}?sync=full"]
)
def test_a_file_is_a_queue(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a queue.db"
    url = form.format(path if form == "{}" else str(path).replace(" ", "%20"))
    queue = open_queue(url)
    assert isinstance(queue, Embedded)
    queue.put([NewTask("q", "k", b"")])
    queue.close()
    assert path.exists()


def test_a_relative_path_is_a_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_queue("queue.db").close()
    open_queue("odd:name").close()
    assert {path.name for path in tmp_path.iterdir()} == {"queue.db", "odd:name"}


@pytest.mark.parametrize(
    "url",
    ["", "redis:/host", "postgresql:host", "ftp://host/queue", "sqlite://host/queue.db", "sqlite:queue.db",
     "sqlite:///tmp/q?sync=never", "redis://host/0?namespace=A-B", "postgresql://host/d?namespace=x;drop",
     "redis://[broken/0", "redis://host:port/0", f"postgresql://u:{SECRET}%zz@h:5432/d", "postgresql://h/d?nonsense=1"],
)  # fmt: skip
def test_what_is_no_queue_is_said(url: str) -> None:
    with pytest.raises(DunlinError) as raised:
        open_queue(url)
    assert raised.value.kind is ErrorKind.USAGE
    assert "geh" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"redis://:{QUOTED}@host:1/0", "redis://@host:1/0"),
        (f"postgresql://me:{QUOTED}@host/d?password={QUOTED}&sslkey=x", "postgresql://me@host/d"),
        (f"postgresql://me:{SECRET}@host/d", "postgresql://me@host/d"),
        ("rediss://host", "rediss://host"),
        ("/var/lib/queue.db", "/var/lib/queue.db"),
    ],
)
def test_people_see_no_password(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_nobody_answers(scheme: str) -> None:
    with pytest.raises(DunlinError) as raised:
        open_queue(f"{scheme}://me:{QUOTED}@127.0.0.1:1/0?namespace=n")
    error = raised.value
    assert (error.kind, error.where) == (ErrorKind.NETWORK, f"{scheme}://me@127.0.0.1:1/0")
    assert "efused" in str(error)
    assert "geh" not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(("url", "module"), [("redis://h", "redis"), ("postgresql://h/d", "psycopg")])
def test_a_missing_package_is_named(url: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module or name.startswith("dunlin.queue.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    import dunlin.queue.open as fresh

    with pytest.raises(DunlinError) as raised:
        fresh.open_queue(url)
    assert raised.value.kind is ErrorKind.USAGE
    assert "pip install 'dunlin[queue]'" in str(raised.value)
    assert missing(raised.value) == "queue"


def test_another_programs_file_is_no_queue(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one " * 50)
    with pytest.raises(DunlinError) as raised:
        open_queue(str(tmp_path / "text"))
    assert raised.value.kind is ErrorKind.CORRUPT
    assert "--queue" in str(raised.value)
