"""What the dead left goes, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Kind, facts
from dunlin.stores.local.store import LocalStore
from dunlin.stores.objects.keys import path_of
from dunlin.stores.objects.store import ObjectStore
from dunlin.workers.leftover import remove, sweep
from tests.unit.stores.objects.fake_service import FakeService

STAGE = ".dunlin-0badc0de01-7.tmp"
OTHER = ".dunlin-c0ffee0001-7.tmp"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = LocalStore(str(tmp_path))
    yield opened
    opened.close()


def stages(place: Path, *names: str) -> None:
    for name in names:
        (place / name).mkdir()
        for file in ("a", "b"):
            (place / name / file).write_text(file)


def dead(run: str, mover: str) -> bool:
    return run == "0badc0de"


def test_a_stage_goes_with_the_files_in_it(store: LocalStore, tmp_path: Path) -> None:
    stages(tmp_path, STAGE, OTHER, "d", ".dunlin-notes")
    (tmp_path / ".dunlin-0badc0de01-8.tmp").write_text("a temporary file")
    assert sweep(store, "", dead) == []
    assert sorted(os.listdir(tmp_path)) == [OTHER, ".dunlin-notes", "d"]
    assert sorted(os.listdir(tmp_path / OTHER)) == ["a", "b"]


@pytest.mark.parametrize("what", ["directory", "link"])
def test_a_directory_that_holds_more_than_files_stays_as_it_is(store: LocalStore, tmp_path: Path, what: str) -> None:
    stages(tmp_path, STAGE, "outside")
    other = tmp_path / STAGE / "more"
    other.mkdir() if what == "directory" else other.symlink_to(tmp_path / "outside")
    (tmp_path / ".dunlin-0badc0de02-1.tmp").write_text("goes all the same")
    (error,) = sweep(store, "", dead)
    assert error.kind is ErrorKind.EXISTS
    assert sorted(os.listdir(tmp_path)) == [STAGE, "outside"]
    assert sorted(os.listdir(tmp_path / STAGE)) == ["a", "b", "more"]


def test_a_link_in_the_place_of_a_stage_is_not_followed(store: LocalStore, tmp_path: Path) -> None:
    stages(tmp_path, "outside")
    (tmp_path / STAGE).symlink_to(tmp_path / "outside")
    assert sweep(store, "", dead) == []
    assert os.listdir(tmp_path) == ["outside"]
    assert sorted(os.listdir(tmp_path / "outside")) == ["a", "b"]
    # also when it was a directory as long as it was listed
    (tmp_path / STAGE).symlink_to(tmp_path / "outside")
    with pytest.raises(DunlinError) as error:
        remove(store, STAGE, facts(Kind.DIRECTORY, 0))
    assert error.value.kind is ErrorKind.CHANGED
    assert sorted(os.listdir(tmp_path / "outside")) == ["a", "b"]


def test_one_that_another_mover_has_removed_is_no_error(store: LocalStore) -> None:
    remove(store, STAGE, facts(Kind.DIRECTORY, 0))
    remove(store, STAGE, facts(Kind.FILE, 0))


def test_a_directory_that_cannot_be_listed(store: LocalStore) -> None:
    (error,) = sweep(store, "absent", dead)
    assert error.kind is ErrorKind.NOT_FOUND


def test_an_object_of_such_a_name_is_somebodys_file() -> None:
    service = FakeService()
    service.put(STAGE, b"x", {})
    service.put(f"{STAGE}/in", b"x", {})
    assert sweep(ObjectStore(service), "", dead) == []
    assert sorted(service.objects) == [STAGE, f"{STAGE}/in"]


def test_a_file_of_a_stages_name_stays() -> None:
    service = FakeService()
    service.put(STAGE, b"x", {})
    service.put(f"{STAGE}/in", b"x", {})
    remove(ObjectStore(service), path_of(STAGE), facts(Kind.DIRECTORY))
    assert sorted(service.objects) == [STAGE]
