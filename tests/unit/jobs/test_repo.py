"""Making repositories, passwords for parts of them, and what they say they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.backup import chunks, keys
from dunlin.backup.chunks import Segment
from dunlin.backup.repository import CONFIG, Area, Settings
from dunlin.backup.words import Location
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import repo


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


@pytest.fixture
def place(tmp_path: Path) -> repo.Place:
    return repo.Place(str(tmp_path / "vault"))


def test_one_is_made_where_nothing_is(place: repo.Place, tmp_path: Path) -> None:
    made = repo.init(place, b"word", Settings(append_only=True))
    again = repo.open_at(place, lambda: b"word")
    assert again.id == made.id
    assert again.settings.append_only
    assert again.secrets.master == made.secrets.master
    with pytest.raises(DunlinError, match="there is one already") as caught:
        repo.init(place, b"word", Settings())
    assert caught.value.exit_code == 1
    assert str(tmp_path / "vault") in str(caught.value)


@pytest.mark.parametrize(("names", "fine"), [([".dunlin-ab-1.tmp"], True), (["letters"], False), ([".x"], False)])
def test_other_things_are_left_alone(place: repo.Place, tmp_path: Path, names: list[str], fine: bool) -> None:
    (tmp_path / "vault").mkdir()
    for name in names:
        (tmp_path / "vault" / name).touch()
    if fine:
        repo.init(place, None, Settings())
    else:
        with pytest.raises(DunlinError, match="other things are there") as caught:
            repo.init(place, None, Settings())
        assert caught.value.kind is ErrorKind.USAGE
    assert (tmp_path / "vault" / CONFIG).exists() is fine


def test_an_empty_password_is_none(place: repo.Place, tmp_path: Path) -> None:
    with pytest.raises(DunlinError, match="protects nothing"):
        repo.init(place, b"", Settings())
    assert not (tmp_path / "vault").exists()


def test_another_process_asks_for_nothing(place: repo.Place) -> None:
    made = repo.init(place, b"word", Settings())
    again = repo.again(place, made)
    assert again.objects is not made.objects
    assert again.secrets is made.secrets
    assert (again.id, again.settings) == (made.id, made.settings)


def test_passwords(place: repo.Place) -> None:
    made = repo.init(place, b"word", Settings())
    slot = repo.add_password(made, b"another", "acme")
    assert [each.tenant for each in repo.slots(repo.open_at(place, lambda: b"word"))] == ["", "acme"]
    limited = repo.open_at(place, lambda: b"another")
    assert limited.secrets.master is None
    with pytest.raises(DunlinError, match="that of a tenant"):
        repo.add_password(limited, b"more")
    with pytest.raises(DunlinError, match="protects nothing"):
        repo.add_password(made, b"")
    for other in repo.slots(made):
        if not other.tenant:
            with pytest.raises(DunlinError, match="that of a tenant"):
                repo.remove_password(limited, other.id)
    with pytest.raises(DunlinError, match="the last that opens the tenant acme"):
        repo.remove_password(limited, slot.id)
    repo.remove_password(made, slot.id[:5])
    with pytest.raises(DunlinError, match="wrong password"):
        repo.open_at(place, lambda: b"another")


def test_one_without_encryption_has_none(place: repo.Place) -> None:
    made = repo.init(place, None, Settings())
    assert repo.slots(made) == []
    for act in (lambda: repo.add_password(made, b"x"), lambda: repo.remove_password(made, "x")):
        with pytest.raises(DunlinError, match="not encrypted"):
            act()


def test_chunks_are_counted_while_others_join_the_index(place: repo.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = repo.init(place, None, Settings())
    rows = [(bytes([number]) * 32, Location(b"p" * 16, number, 1, 512)) for number in range(3)]
    made.area("t", "s").put_chunk_segment(chunks.build(rows), True)
    real, asked = Area.chunk_segments, [0]

    def replaced(self: Area, *told: bool) -> list[tuple[str, Segment]]:
        asked[0] += 1
        if asked[0] == 1:
            raise DunlinError("read", "", ErrorKind.NOT_FOUND, "it is gone")
        return real(self, *told)  # type: ignore[arg-type]

    monkeypatch.setattr(Area, "chunk_segments", replaced)
    assert repo.stats(made).chunks == 3
    assert asked[0] > 1
